//! An app, its lanes, and the short forms of what tests do with them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use hold::{Entry, Generation, Hold, Holder, Lane, Limits, Pace, Ticket, Wait};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

pub(crate) struct App {
    pub(crate) hold: Hold,
    pub(crate) lanes: Vec<Lane>,
}

pub(crate) fn pace(concurrency: u32, concurrency_max: u32) -> Pace {
    Pace {
        concurrency: NonZeroU32::new(concurrency).unwrap(),
        concurrency_max: NonZeroU32::new(concurrency_max).unwrap(),
    }
}

pub(crate) fn app_with(lanes: usize, held_max: usize, pace: Pace) -> App {
    let (hold, lanes) = Hold::new(Limits::new(held_max, pace), NonZeroUsize::new(lanes).unwrap());
    App { hold, lanes }
}

/// One lane, strictly serial release.
pub(crate) fn app() -> App {
    app_with(1, 100, pace(1, 1))
}

pub(crate) fn holder(name: &str) -> Holder {
    Holder { name: name.to_owned(), reason: "maintenance".to_owned() }
}

/// On the clock of the hold, which a paused test moves.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl App {
    pub(crate) fn close(&self) -> Generation {
        self.hold.close(Generation::NONE, holder("first"), now() + LEASE).unwrap()
    }

    pub(crate) fn forward(&self) -> Ticket {
        match self.lanes[0].enter() {
            Entry::Forward(ticket) => ticket,
            Entry::Wait(_) | Entry::Full => panic!("the app is open"),
        }
    }

    pub(crate) fn wait(&self) -> Wait {
        match self.lanes[0].enter() {
            Entry::Wait(wait) => wait,
            Entry::Forward(_) | Entry::Full => panic!("held, and the line is not full"),
        }
    }
}
