//! What the lock guards: every decision about closing, the line and its release.

mod lease;
mod reading;

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use self::lease::Lease;
use crate::line::{Grant, Line, Number, Verdict, Waiting};
use crate::outbox::Outbox;
use crate::ramp::{Place, Ramp};
use crate::watch::Watchers;
use crate::word::Word;
use crate::{
    AlreadyHeld, Drain, Expiry, Generation, Holder, Limits, OnExpiry, Ramping, Stale, State,
    Summary,
};

/// Lanes are closed exactly while `state` is not `Open`. A lease exists exactly while `state` is
/// `Draining` or `Held`. In `Releasing` somebody is in line or not yet written upstream.
#[derive(Debug)]
pub(crate) struct Inner {
    words: Vec<Arc<Word>>,
    held_max: usize,
    on_expiry: OnExpiry,
    state: State,
    generation: Generation,
    lease: Option<Lease>,
    line: Line,
    ramp: Ramp,
    summary: Summary,
    pub(crate) watchers: Watchers,
}

#[derive(Debug)]
pub(crate) enum Arrival {
    Forward,
    Wait(Number),
    Full,
}

// === closing ===

impl Inner {
    pub(crate) fn new(limits: Limits, words: Vec<Arc<Word>>) -> Self {
        Self {
            words,
            held_max: limits.held_max,
            on_expiry: limits.on_expiry,
            state: State::Open,
            generation: Generation::NONE,
            lease: None,
            line: Line::default(),
            ramp: Ramp::new(&limits),
            summary: Summary::default(),
            watchers: Watchers::default(),
        }
    }

    pub(crate) fn close(
        &mut self,
        floor: Generation,
        holder: Holder,
        until: Instant,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Result<Generation, AlreadyHeld> {
        if let Some(lease) = &self.lease {
            return Err(AlreadyHeld {
                generation: self.generation,
                state: self.state,
                current: lease.current(now),
            });
        }
        for word in &self.words {
            word.close();
        }
        self.generation = self.generation.next().max(floor);
        self.lease = Some(Lease { holder, since: now, until });
        self.summary = Summary { held_total: count_of(self.line.len()), ..Summary::default() };
        self.state = if self.in_flight() == 0 { State::Held } else { State::Draining };
        // Whoever looks after the release before this is done.
        self.watchers.wake(outbox);
        Ok(self.generation)
    }

    pub(crate) fn set_limits(&mut self, limits: Limits, now: Instant, outbox: &mut Outbox) {
        self.held_max = limits.held_max;
        self.on_expiry = limits.on_expiry;
        self.change_ramp(now, outbox, |ramp| ramp.set_limits(&limits));
    }

    pub(crate) fn renew(&mut self, named: Generation, until: Instant) -> Result<(), Stale> {
        if let Some(lease) = &mut self.lease
            && named == self.generation
        {
            lease.until = lease.until.max(until);
            return Ok(());
        }
        Err(self.stale(named))
    }

    pub(crate) fn release(
        &mut self,
        named: Generation,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Result<Summary, Stale> {
        if !self.is_current(named) {
            return Err(self.stale(named));
        }
        self.lease = None;
        self.state = State::Releasing;
        self.ramp.begin(named, now);
        self.watchers.wake(outbox);
        self.advance(now, outbox);
        Ok(self.summary(now))
    }

    pub(crate) fn expire(
        &mut self,
        named: Generation,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Expiry {
        match &self.lease {
            Some(lease) if named == self.generation && now < lease.until => {
                Expiry::NotYet(lease.until)
            }
            Some(_) | None => {
                if self.is_current(named) && self.on_expiry == OnExpiry::Reject {
                    self.reject_all(now, outbox);
                }
                self.release(named, now, outbox).map_or(Expiry::Over, Expiry::Released)
            }
        }
    }

    /// One more of the line may try, or all of them: of the release of `named`, if that is stopped.
    pub(crate) fn go_on(
        &mut self,
        named: Generation,
        all: bool,
        now: Instant,
        outbox: &mut Outbox,
    ) -> bool {
        if self.ramping(named) != Ramping::Stopped {
            return false;
        }
        self.change_ramp(now, outbox, |ramp| if all { ramp.overrule() } else { ramp.retry() });
        true
    }

    pub(crate) fn ramping(&self, named: Generation) -> Ramping {
        if self.state != State::Releasing || named != self.generation {
            Ramping::Over
        } else if self.ramp.is_stopped() {
            Ramping::Stopped
        } else {
            Ramping::Running
        }
    }

    /// How the drain of `named` ended, if it has.
    pub(crate) fn drain(&self, named: Generation) -> Option<Drain> {
        if !self.is_current(named) {
            return Some(Drain::Over);
        }
        (self.state == State::Held).then_some(Drain::Drained)
    }

    /// The drain's deadline has come: drained after all, or released.
    pub(crate) fn abort_drain(
        &mut self,
        named: Generation,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Drain {
        if let Some(ended) = self.drain(named) {
            return ended;
        }
        // Read once: the last one may leave between two looks.
        let in_flight = self.in_flight();
        if in_flight == 0 {
            self.now_held(outbox);
            return Drain::Drained;
        }
        match self.release(named, now, outbox) {
            Ok(_) => Drain::TimedOut { in_flight },
            Err(_) => Drain::Over,
        }
    }
}

// === requests ===

impl Inner {
    /// For a request that found its lane closed. It may have been opened meanwhile.
    pub(crate) fn arrive(
        &mut self,
        word: &Arc<Word>,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Arrival {
        if self.state == State::Open {
            word.admit();
            return Arrival::Forward;
        }
        if self.line.len() >= self.held_max {
            self.summary.refused_full += 1;
            return Arrival::Full;
        }
        let number = self.line.push(Arc::clone(word), now);
        self.summary.held_total += 1;
        self.advance(now, outbox);
        Arrival::Wait(number)
    }

    /// What became of the request, or it is woken when something has.
    pub(crate) fn fetch(
        &mut self,
        number: Number,
        waker: &Waker,
        outbox: &mut Outbox,
    ) -> Option<Verdict> {
        let verdict = self.line.fetch(number);
        if verdict.is_none() {
            self.line.note(number, waker, outbox);
        }
        verdict
    }

    /// A request has waited long enough. A verdict that came first is taken.
    pub(crate) fn time_out(
        &mut self,
        number: Number,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Result<Verdict, Duration> {
        if let Some(verdict) = self.line.fetch(number) {
            return Ok(verdict);
        }
        let mut waited = Duration::ZERO;
        if let Some(waiting) = self.line.remove(number) {
            self.summary.timed_out += 1;
            waited = self.left_line(waiting, now, outbox);
        }
        self.advance(now, outbox);
        Err(waited)
    }

    /// A request has a place in line that it should not have. A verdict that came first is taken.
    pub(crate) fn refuse(
        &mut self,
        number: Number,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Option<Verdict> {
        let verdict = self.line.fetch(number);
        if verdict.is_none()
            && let Some(waiting) = self.line.remove(number)
        {
            outbox.discard(waiting.waker);
            self.summary.held_total -= 1;
            self.summary.refused_full += 1;
            self.advance(now, outbox);
        }
        verdict
    }

    /// The client is gone. A grant it had not fetched passes to the next in line.
    pub(crate) fn abandon(
        &mut self,
        number: Number,
        word: &Word,
        now: Instant,
        outbox: &mut Outbox,
    ) {
        if let Some(waiting) = self.line.remove(number) {
            self.summary.client_gone += 1;
            self.left_line(waiting, now, outbox);
        } else if let Some(Verdict::Granted(grant)) = self.line.fetch(number) {
            let _closed = word.leave();
            if grant.place.generation() == self.generation {
                self.summary.released -= 1;
                self.summary.client_gone += 1;
            }
            self.ramp.give_back(grant.place, now);
        }
        self.advance(now, outbox);
    }

    /// A granted request was written upstream.
    pub(crate) fn written(&mut self, place: &mut Place, now: Instant, outbox: &mut Outbox) {
        if self.ramp.written(place) {
            self.advance(now, outbox);
        }
    }

    /// A request was counted out of a closed lane.
    pub(crate) fn completed(&mut self, place: Option<Place>, now: Instant, outbox: &mut Outbox) {
        self.change_ramp(now, outbox, |ramp| {
            if let Some(place) = place {
                ramp.give_back(place, now);
            }
        });
    }
}

// === moving on ===

impl Inner {
    /// Does whatever the state allows now; called after every change.
    fn advance(&mut self, now: Instant, outbox: &mut Outbox) {
        match self.state {
            State::Open | State::Held => {}
            State::Draining => {
                if self.in_flight() == 0 {
                    self.now_held(outbox);
                }
            }
            State::Releasing => {
                self.dispatch(now, outbox);
                if self.line.is_empty() && self.ramp.all_written() {
                    self.open(outbox);
                }
            }
        }
    }

    /// Whoever looks after the release is told when it stops or goes on.
    fn change_ramp(&mut self, now: Instant, outbox: &mut Outbox, change: impl FnOnce(&mut Ramp)) {
        let before = self.ramping(self.generation);
        change(&mut self.ramp);
        if self.ramping(self.generation) != before {
            self.watchers.wake(outbox);
        }
        self.advance(now, outbox);
    }

    /// The hold is over, and nobody in line goes on.
    fn reject_all(&mut self, now: Instant, outbox: &mut Outbox) {
        while let Some((number, mut waiting)) = self.line.pop() {
            let waker = waiting.waker.take();
            let waited = self.left_line(waiting, now, outbox);
            self.line.settle(number, Verdict::Rejected { waited });
            self.summary.rejected += 1;
            outbox.wake(waker);
        }
    }

    fn now_held(&mut self, outbox: &mut Outbox) {
        self.state = State::Held;
        self.watchers.wake(outbox);
    }

    /// Grants from the head of the line, as far as the ramp allows.
    fn dispatch(&mut self, now: Instant, outbox: &mut Outbox) {
        while !self.line.is_empty() {
            let Some(place) = self.ramp.try_take(now) else { return };
            let (number, waiting) = self.line.pop().expect("the line is not empty");
            let waited = now.saturating_duration_since(waiting.since);
            waiting.word.admit();
            self.line.settle(number, Verdict::Granted(Grant { place, waited }));
            self.summary.released += 1;
            self.summary.longest_wait = self.summary.longest_wait.max(waited);
            outbox.wake(waiting.waker);
        }
    }

    fn open(&mut self, outbox: &mut Outbox) {
        for word in &self.words {
            word.open();
        }
        self.state = State::Open;
        self.watchers.wake(outbox);
    }

    fn left_line(&mut self, waiting: Waiting, now: Instant, outbox: &mut Outbox) -> Duration {
        let waited = now.saturating_duration_since(waiting.since);
        self.summary.longest_wait = self.summary.longest_wait.max(waited);
        outbox.discard(waiting.waker);
        waited
    }
}

/// No count here comes near the difference between `usize` and `u64`.
fn count_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
