//! One worker thread's way in.

use std::sync::Arc;

use crate::inner::Arrival;
use crate::shared::Shared;
use crate::sync;
use crate::word::Word;
use crate::{Ticket, Wait};

/// The way in of one worker thread. As long as nobody holds, threads with lanes of their own share
/// no lock and no cache line here; clones of one lane share theirs.
#[derive(Clone, Debug)]
pub struct Lane(Arc<Anchor>);

/// Aligned so that the reference count, which every ticket touches, has cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Anchor {
    word: Arc<Word>,
    shared: Arc<Shared>,
}

/// What a request is told at its arrival.
#[derive(Debug)]
#[must_use = "dropping it completes the request or leaves the line"]
pub enum Entry {
    /// Go on; counted in flight.
    Forward(Ticket),
    /// Held: a future of the ticket.
    Wait(Wait),
    /// Held, and the line is full: turn it away.
    Full,
}

impl Lane {
    pub(crate) fn new(word: Arc<Word>, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Anchor { word, shared }))
    }

    /// Decides, in one atomic step, whether a request goes on or waits.
    pub fn enter(&self) -> Entry {
        if self.0.word.try_enter() {
            return Entry::Forward(Ticket::new(self.clone(), None));
        }
        self.enter_closed()
    }

    #[cold]
    fn enter_closed(&self) -> Entry {
        let now = sync::now();
        let word = &self.0.word;
        match self.0.shared.settle(|inner, outbox| inner.arrive(word, now, outbox)) {
            Arrival::Forward => Entry::Forward(Ticket::new(self.clone(), None)),
            Arrival::Wait(number) => Entry::Wait(Wait::new(self.clone(), number)),
            Arrival::Full => Entry::Full,
        }
    }

    pub(crate) fn word(&self) -> &Word {
        &self.0.word
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }
}
