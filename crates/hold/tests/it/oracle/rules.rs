//! The rules of a hold, restated as plainly as possible: everything is counted anew each time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hold::{Drain, State};

use super::step::Bounds;

/// The same as the rules know it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Known {
    InLine,
    /// Its turn has come in the release of this generation; not yet fetched.
    Granted(u64),
    /// Turned away at the end of a lease; not yet told.
    Rejected,
    /// In flight. Those that were in line: of which release, and whether written.
    Running(Option<(u64, bool)>),
}

/// Whether failures have stopped the release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stop {
    Not,
    Stopped { trial: bool },
    Overruled,
}

/// Answered within so many ms of its turn, in the first seconds of a release, none widens the window.
const PROMPT: u64 = 25;
const PATIENT_FOR: u64 = 3000;

/// Times are milliseconds since the beginning.
pub(super) struct Rules {
    pub(super) held_max: usize,
    pub(super) concurrency: usize,
    pub(super) concurrency_max: usize,
    pub(super) state: State,
    pub(super) generation: u64,
    /// Of the lease of `generation`.
    pub(super) since: u64,
    pub(super) until: u64,
    pub(super) line: VecDeque<usize>,
    pub(super) known: BTreeMap<usize, Known>,
    /// When each came that was ever in line, and how long it waited once that is over.
    pub(super) came: BTreeMap<usize, u64>,
    pub(super) waited: BTreeMap<usize, u64>,
    /// Of the release that runs or ran last.
    pub(super) releasing: u64,
    pub(super) began: u64,
    pub(super) window: usize,
    /// When the turn of each came, since its release began.
    pub(super) taken: BTreeMap<usize, u64>,
    pub(super) rejects: bool,
    pub(super) failures_max: u32,
    pub(super) failures: u32,
    pub(super) stop: Stop,
    /// Those in flight that have failed.
    pub(super) failed: BTreeSet<usize>,
    pub(super) rejected: u64,
    pub(super) held_total: u64,
    pub(super) released: u64,
    pub(super) timed_out: u64,
    pub(super) client_gone: u64,
    pub(super) refused_full: u64,
    pub(super) longest_wait: u64,
}

impl Rules {
    pub(super) fn new(held_max: usize, concurrency: usize, concurrency_max: usize) -> Self {
        Self {
            held_max,
            concurrency,
            concurrency_max,
            state: State::Open,
            generation: 0,
            since: 0,
            until: 0,
            line: VecDeque::new(),
            known: BTreeMap::new(),
            came: BTreeMap::new(),
            waited: BTreeMap::new(),
            releasing: 0,
            began: 0,
            window: 0,
            taken: BTreeMap::new(),
            rejects: false,
            failures_max: 0,
            failures: 0,
            stop: Stop::Not,
            failed: BTreeSet::new(),
            rejected: 0,
            held_total: 0,
            released: 0,
            timed_out: 0,
            client_gone: 0,
            refused_full: 0,
            longest_wait: 0,
        }
    }

    pub(super) fn count(&self, which: impl Fn(&Known) -> bool) -> usize {
        self.known.values().filter(|known| which(known)).count()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.count(|known| !matches!(known, Known::InLine | Known::Rejected))
    }

    pub(super) fn unwritten(&self) -> usize {
        self.count(|known| matches!(known, Known::Granted(_) | Known::Running(Some((_, false)))))
    }

    pub(super) fn running(&self) -> usize {
        let of = |release: u64| release == self.releasing;
        self.count(|known| match known {
            Known::Granted(release) | Known::Running(Some((release, _))) => of(*release),
            Known::InLine | Known::Rejected | Known::Running(None) => false,
        })
    }

    pub(super) fn is_held(&self, generation: u64) -> bool {
        generation == self.generation && matches!(self.state, State::Draining | State::Held)
    }

    /// What whoever waits for the drain of `generation` is told now, if anything.
    pub(super) fn drain_end(&self, generation: u64) -> Option<Drain> {
        if !self.is_held(generation) {
            return Some(Drain::Over);
        }
        (self.state == State::Held).then_some(Drain::Drained)
    }

    /// How long the head of the line has waited.
    pub(super) fn oldest(&self, now: u64) -> Option<u64> {
        self.line.front().map(|head| now.saturating_sub(self.came[head]))
    }

    pub(super) fn arrive(&mut self, client: usize, now: u64) {
        self.held_total += 1;
        self.known.insert(client, Known::InLine);
        self.came.insert(client, now);
        self.line.push_back(client);
        self.settle(now);
    }

    pub(super) fn close(&mut self, now: u64, until: u64) {
        self.generation += 1;
        self.state = State::Draining;
        (self.since, self.until) = (now, until);
        self.held_total = u64::try_from(self.line.len()).unwrap();
        (self.released, self.timed_out, self.client_gone, self.refused_full) = (0, 0, 0, 0);
        (self.longest_wait, self.rejected) = (0, 0);
    }

    pub(super) fn release(&mut self, now: u64) {
        self.state = State::Releasing;
        self.began = now;
        self.releasing = self.generation;
        self.window = self.concurrency;
        (self.failures, self.stop) = (0, Stop::Not);
    }

    /// The lease is over at `now`.
    pub(super) fn expire(&mut self, now: u64) {
        if self.rejects {
            while let Some(head) = self.line.pop_front() {
                self.known.insert(head, Known::Rejected);
                self.has_waited(head, now);
                self.rejected += 1;
            }
        }
        self.release(now);
    }

    pub(super) fn set_limits(&mut self, bounds: Bounds) {
        let size = |number: u32| usize::try_from(number).unwrap();
        self.held_max = bounds.held_max;
        self.concurrency = size(bounds.concurrency);
        self.concurrency_max = size(bounds.concurrency_max);
        (self.rejects, self.failures_max) = (bounds.rejects, bounds.failures_max);
        let most = self.concurrency_max.max(self.concurrency);
        self.window = self.window.clamp(self.concurrency, most);
        if self.failures_max == 0 && self.is_stopped() {
            self.stop = Stop::Not;
        }
    }

    pub(super) const fn is_stopped(&self) -> bool {
        matches!(self.stop, Stop::Stopped { .. })
    }

    pub(super) fn complete(&mut self, client: usize, now: u64) {
        let known = self.known.remove(&client);
        let failed = self.failed.remove(&client);
        let Some(Known::Running(Some((release, written)))) = known else { return };
        if release != self.releasing {
            return;
        }
        if failed {
            self.failures += 1;
            if self.failures_max > 0 && self.failures >= self.failures_max && self.stop == Stop::Not
            {
                self.stop = Stop::Stopped { trial: false };
            }
        } else if written {
            self.failures = 0;
            if self.is_stopped() {
                (self.stop, self.window) = (Stop::Not, self.concurrency);
            } else if self.age(now).saturating_sub(self.taken[&client]) >= PROMPT
                || self.age(now) >= PATIENT_FOR
            {
                let most = self.concurrency_max.max(self.concurrency);
                self.window = (self.window + 1).min(most);
            }
        }
    }

    /// Of the release; a clock may have been ahead when it began.
    const fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.began)
    }

    /// Whether one more may go on, by what has failed.
    fn may_try(&mut self) -> bool {
        match &mut self.stop {
            Stop::Not | Stop::Overruled => true,
            Stop::Stopped { trial } => std::mem::take(trial),
        }
    }

    /// Out of the line; `false` if its turn had come already.
    pub(super) fn left_line(&mut self, client: usize, now: u64) -> bool {
        let waited = self.known.get(&client) == Some(&Known::InLine);
        if waited {
            self.line.retain(|waiting| *waiting != client);
            self.has_waited(client, now);
        }
        waited
    }

    fn has_waited(&mut self, client: usize, now: u64) {
        let waited = now.saturating_sub(self.came[&client]);
        self.waited.insert(client, waited);
        self.longest_wait = self.longest_wait.max(waited);
    }

    pub(super) fn settle(&mut self, now: u64) {
        if self.state == State::Draining && self.in_flight() == 0 {
            self.state = State::Held;
        }
        if self.state != State::Releasing {
            return;
        }
        while self.unwritten() < self.concurrency
            && self.running() < self.window
            && !self.line.is_empty()
            && self.may_try()
            && let Some(head) = self.line.pop_front()
        {
            self.known.insert(head, Known::Granted(self.releasing));
            self.taken.insert(head, self.age(now));
            self.has_waited(head, now);
            self.released += 1;
        }
        if self.line.is_empty() && self.unwritten() == 0 {
            self.state = State::Open;
        }
    }
}
