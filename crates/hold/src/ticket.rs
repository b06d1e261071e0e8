//! The right to be forwarded.

use std::time::Duration;

use crate::Lane;
use crate::line::Grant;
use crate::sync;

/// A request in flight, until it is dropped. Keep it as long as the response runs.
#[derive(Debug)]
#[must_use = "dropping it completes the request"]
pub struct Ticket {
    lane: Lane,
    /// Only if it waited in line.
    grant: Option<Grant>,
}

impl Ticket {
    pub(crate) const fn new(lane: Lane, grant: Option<Grant>) -> Self {
        Self { lane, grant }
    }

    /// The request is written upstream. In a release this lets the next one go, and only a request that was written, and took
    /// its time, widens the window when it completes. No effect otherwise.
    pub fn written(&mut self) {
        let Some(grant) = &mut self.grant else { return };
        if grant.place.is_written() {
            return;
        }
        let now = sync::now();
        self.lane.shared().settle(|inner, outbox| inner.written(&mut grant.place, now, outbox));
    }

    /// What was released has failed: too many of them in a row stop the release, where
    /// [`Limits::failures_max`](crate::Limits::failures_max) says so. Counted when the ticket is
    /// dropped. No effect for a request that was not held.
    pub const fn failed(&mut self) {
        if let Some(grant) = &mut self.grant {
            grant.place.fail();
        }
    }

    /// How long the request was held; `None` if it never was.
    pub fn waited(&self) -> Option<Duration> {
        self.grant.as_ref().map(|grant| grant.waited)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Who was held gives its place back, even to a lane that is open again: it is counted until
        // it is answered. Who was not costs an open lane no lock.
        let closed = self.lane.word().leave();
        let place = self.grant.take().map(|grant| grant.place);
        if closed || place.is_some() {
            let now = sync::now();
            self.lane.shared().settle(|inner, outbox| inner.completed(place, now, outbox));
        }
    }
}
