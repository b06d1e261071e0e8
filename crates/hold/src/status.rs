//! What can be said about a hold at one moment.

use std::fmt;
use std::time::Duration;

use crate::Generation;

/// `Open → Draining → Held → Releasing → Open`; a new hold may begin while releasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// Nobody goes on; requests that were forwarded before are still in flight.
    Draining,
    /// Nobody goes on and nothing is in flight.
    Held,
    /// The line goes on from its head; who arrives now goes to its tail.
    Releasing,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Held => "held",
            Self::Releasing => "releasing",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who holds, and why; told to whoever else wants to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub name: String,
    /// Free text, may be empty.
    pub reason: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{} ({})", self.name, self.reason)
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    /// Of the current hold, or of the last one; [`Generation::NONE`] before the first.
    pub generation: Generation,
    /// Requests in line now.
    pub held: usize,
    pub in_flight: u64,
    /// Those of `in_flight` that the newest release let go on.
    pub released_in_flight: u32,
    /// Releasing, and stopped by requests that failed.
    pub is_stopped: bool,
    /// How long the head of the line has waited.
    pub oldest: Option<Duration>,
    /// While draining or held.
    pub hold: Option<Current>,
    /// Figures of `generation`.
    pub summary: Summary,
}

/// The hold that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    pub holder: Holder,
    pub held_for: Duration,
    /// Zero once the lease is over and its end not yet carried out.
    pub lease_left: Duration,
}

/// The figures of one hold. Whoever entered the line is in exactly one of: still in line,
/// `released`, `timed_out`, `client_gone`, `rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests that waited in line, those taken over from the hold before included.
    pub held_total: u64,
    pub released: u64,
    pub timed_out: u64,
    pub client_gone: u64,
    /// Turned away when the lease ended.
    pub rejected: u64,
    /// Requests turned away because the line was full, or their client had its share of it.
    pub refused_full: u64,
    /// Those still in line included.
    pub longest_wait: Duration,
}
