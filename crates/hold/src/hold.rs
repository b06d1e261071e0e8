//! The hold of one app, as its holder and its watchers see it.

#[cfg(not(loom))]
mod timer;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use crate::inner::Inner;
use crate::shared::Shared;
use crate::watch::Watch;
use crate::word::Word;
use crate::{AlreadyHeld, Generation, Holder, Lane, Limits, Stale, Status, Summary, sync};

/// The hold of one app. Clones are the same hold; two apps have two, and share nothing.
#[derive(Clone)]
pub struct Hold(Arc<Shared>);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Nothing is in flight; the hold is in force.
    Drained,
    /// The hold has ended itself and the line goes on; nothing was killed. The stragglers as
    /// counted at the deadline.
    TimedOut { in_flight: u64 },
    /// This hold was released, expired or followed by another one.
    Over,
}

/// Whether a lease has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It has: the line goes on. Figures so far.
    Released(Summary),
    /// It was renewed until then.
    NotYet(Instant),
    /// This hold was over already; nothing was changed.
    Over,
}

/// How a release goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ramping {
    /// The line goes on.
    Running,
    /// [`Limits::failures_max`] of those that were let go on have failed in a row: the others wait.
    Stopped,
    /// Everybody has gone on, or there is a newer hold.
    Over,
}

/// How a hold whose lease was kept has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Nobody renewed it in time. Figures so far.
    Expired(Summary),
    /// Released, aborted or followed by another one.
    Over,
}

impl Hold {
    /// An open app and its way in for each of `lanes` worker threads.
    pub fn new(limits: Limits, lanes: NonZeroUsize) -> (Self, Vec<Lane>) {
        let words: Vec<_> = (0..lanes.get()).map(|_| Arc::new(Word::new())).collect();
        let shared = Arc::new(Shared::new(Inner::new(limits, words.clone())));
        let lanes = words.into_iter().map(|word| Lane::new(word, Arc::clone(&shared))).collect();
        (Self(shared), lanes)
    }

    /// Comes up held, as before a restart. To be called before any lane is used: what is in
    /// flight then is not known to this process, and counts as nothing.
    pub fn restore(
        &self,
        generation: Generation,
        holder: Holder,
        until: Instant,
    ) -> Result<(), AlreadyHeld> {
        self.close(generation, holder, until).map(drop)
    }

    /// Closes every lane. When this has returned, no request goes on but those counted in flight.
    /// The new generation is the next one, at least `floor`: a caller that writes the generation
    /// down before it closes, and remembers it over a restart, passes it here. A line that was
    /// still being released keeps its order.
    pub fn close(
        &self,
        floor: Generation,
        holder: Holder,
        until: Instant,
    ) -> Result<Generation, AlreadyHeld> {
        let now = sync::now();
        self.0.settle(|inner, outbox| inner.close(floor, holder, until, now, outbox))
    }

    /// Extends the lease; never shortens it. Which of renewal and expiry comes first is decided
    /// under the lock: a renewal that succeeded is kept, a hold that ended stays ended.
    pub fn renew(&self, generation: Generation, until: Instant) -> Result<(), Stale> {
        self.0.settle(|inner, _| inner.renew(generation, until))
    }

    /// Lets the line go on, in order. Figures so far; the final ones are in the status.
    pub fn release(&self, generation: Generation) -> Result<Summary, Stale> {
        let now = sync::now();
        self.0.settle(|inner, outbox| inner.release(generation, now, outbox))
    }

    /// Ends the hold if the lease is over at `now`: as [`Limits::on_expiry`] says.
    pub fn expire(&self, generation: Generation, now: Instant) -> Expiry {
        self.0.settle(|inner, outbox| inner.expire(generation, now, outbox))
    }

    /// Waits, without a deadline, until nothing is in flight or this hold is over.
    pub async fn drain_end(&self, generation: Generation) -> Drain {
        Watch::new(&self.0, move |inner: &Inner| inner.drain(generation)).await
    }

    /// Releases if anything is still in flight, now that the deadline of the drain has come.
    pub fn abort_drain(&self, generation: Generation) -> Drain {
        let now = sync::now();
        self.0.settle(|inner, outbox| inner.abort_drain(generation, now, outbox))
    }

    /// Waits, without a deadline, until the release of `generation` goes otherwise than it did when
    /// it was `seen`.
    pub async fn ramp_after(&self, generation: Generation, seen: Ramping) -> Ramping {
        let look = move |inner: &Inner| Some(inner.ramping(generation)).filter(|now| *now != seen);
        Watch::new(&self.0, look).await
    }

    /// Lets one more of the line try, if failures have stopped the release of `generation`: if it
    /// does not fail, the line goes on. Says whether it was stopped.
    pub fn retry(&self, generation: Generation) -> bool {
        let now = sync::now();
        self.0.settle(|inner, outbox| inner.go_on(generation, false, now, outbox))
    }

    /// Lets the line go on, whatever fails, if failures have stopped the release of `generation`.
    /// Says whether they had.
    pub fn overrule(&self, generation: Generation) -> bool {
        let now = sync::now();
        self.0.settle(|inner, outbox| inner.go_on(generation, true, now, outbox))
    }

    /// Other bounds from now on. Who is in line stays there, and what is on its way is counted as it was.
    pub fn set_limits(&self, limits: Limits) {
        let now = sync::now();
        self.0.settle(|inner, outbox| inner.set_limits(limits, now, outbox));
    }

    pub fn status(&self) -> Status {
        let now = sync::now();
        self.0.settle(|inner, _| inner.status(now))
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.status()).finish()
    }
}
