//! The pace of a release: how many of the line may be on their way.

mod search;

use std::num::NonZeroU32;
use std::time::Instant;

use self::search::Search;
use crate::{Generation, Limits, Pace};

/// A request answered within this of its turn does not widen the window: more at once would only wait for each other, and other
/// apps of the same threads with them: 64 that wait for one processor take 3 to 8 ms (measured). A small window still lets
/// thousands go on in a second.
const PROMPT_US: u32 = 25_000;
/// So long after the release began each one widens it, however prompt: requests may come faster than so few go on.
const PATIENT_FOR_US: u32 = 3_000_000;

/// Two limits. `unwritten` keeps the order: over all releases, never more than `concurrency`
/// requests are granted and not yet written upstream. `running` against `window` spares the
/// upstream: it counts the requests of this release only, so that endless responses of an earlier
/// one cannot block it.
#[derive(Debug)]
pub(crate) struct Ramp {
    pace: Pace,
    failures_max: Option<NonZeroU32>,
    generation: Generation,
    /// When its release did; none: there was none.
    began: Option<Instant>,
    unwritten: u32,
    running: u32,
    window: u32,
    search: Search,
    /// Since the last request of this release that did not fail.
    failures: u32,
    stop: Stop,
}

/// Whether failures keep the line from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Not,
    /// One more may try.
    Stopped {
        trial: bool,
    },
    /// It has been for long enough: no failure stops this release any more.
    Overruled,
}

/// A place in the ramp, held by a granted request.
#[derive(Debug)]
pub(crate) struct Place {
    generation: Generation,
    /// Since its release began, 71 minutes at most; a request in line has room for no more.
    taken_us: u32,
    written: bool,
    failed: bool,
}

impl Ramp {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            pace: limits.pace,
            failures_max: limits.failures_max,
            generation: Generation::NONE,
            began: None,
            unwritten: 0,
            running: 0,
            window: limits.pace.concurrency.get(),
            search: Search::default(),
            failures: 0,
            stop: Stop::Not,
        }
    }

    /// A window that has grown goes on from where it is, within the new bounds. What has stopped
    /// is tried again.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        let pace = limits.pace;
        self.pace = pace;
        self.failures_max = limits.failures_max;
        // One that was narrowed was so within the bounds before: it is searched for anew, as at the beginning.
        self.window = self.window.clamp(pace.concurrency.get(), self.widest());
        self.search = Search::default();
        if limits.failures_max.is_none() && self.is_stopped() {
            self.stop = Stop::Not;
        }
    }

    /// The release of `generation` begins: the window starts again with what is configured.
    pub(crate) fn begin(&mut self, generation: Generation, now: Instant) {
        self.generation = generation;
        self.began = Some(now);
        self.running = 0;
        self.window = self.pace.concurrency.get();
        self.search = Search::default();
        self.failures = 0;
        self.stop = Stop::Not;
    }

    pub(crate) fn try_take(&mut self, now: Instant) -> Option<Place> {
        if self.unwritten >= self.pace.concurrency.get() || self.running >= self.window {
            return None;
        }
        match &mut self.stop {
            Stop::Not | Stop::Overruled => {}
            Stop::Stopped { trial } if *trial => *trial = false,
            Stop::Stopped { .. } => return None,
        }
        self.unwritten += 1;
        self.running += 1;
        Some(Place {
            generation: self.generation,
            taken_us: self.age_us(now),
            written: false,
            failed: false,
        })
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.stop, Stop::Stopped { .. })
    }

    /// One more may try, if failures have stopped the release.
    pub(crate) fn retry(&mut self) {
        if let Stop::Stopped { trial } = &mut self.stop {
            *trial = true;
        }
    }

    /// The line goes on whatever fails.
    pub(crate) fn overrule(&mut self) {
        self.stop = Stop::Overruled;
    }

    /// Says whether this was news.
    pub(crate) fn written(&mut self, place: &mut Place) -> bool {
        if place.written {
            return false;
        }
        place.written = true;
        self.unwritten -= 1;
        true
    }

    /// Only a request that was written and did not fail says something of the window: one given back proves nothing.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub(crate) fn give_back(&mut self, place: Place, now: Instant) {
        let Place { generation, taken_us, written, failed } = place;
        if !written {
            self.unwritten -= 1;
        }
        if generation != self.generation {
            return;
        }
        self.running -= 1;
        if failed {
            self.count_failure();
        } else if written {
            self.failures = 0;
            if self.is_stopped() {
                self.stop = Stop::Not;
                self.window = self.pace.concurrency.get();
                self.search = Search::default();
                return;
            }
            let age_us = self.age_us(now);
            self.pace_by(age_us, age_us.saturating_sub(taken_us));
        }
    }

    /// An answer came so long after the release began, and after its turn.
    fn pace_by(&mut self, age_us: u32, took_us: u32) {
        if took_us >= PROMPT_US || age_us >= PATIENT_FOR_US {
            self.search.was_slow();
            self.window = self.window.saturating_add(1).min(self.widest());
        } else {
            let concurrency = self.pace.concurrency.get();
            self.window = self.search.was_prompt(age_us, self.running, self.window, concurrency);
        }
    }

    fn widest(&self) -> u32 {
        self.pace.concurrency_max.max(self.pace.concurrency).get()
    }

    /// How long ago the release began.
    fn age_us(&self, now: Instant) -> u32 {
        let age = self.began.map(|began| now.saturating_duration_since(began).as_micros());
        age.map_or(0, |age| u32::try_from(age).unwrap_or(u32::MAX))
    }

    fn count_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let enough = self.failures_max.is_some_and(|max| self.failures >= max.get());
        if enough && self.stop == Stop::Not {
            self.stop = Stop::Stopped { trial: false };
        }
    }

    /// Granted in the newest release and not yet answered.
    pub(crate) const fn running(&self) -> u32 {
        self.running
    }

    /// Everyone granted has been written: who comes now overtakes nobody.
    pub(crate) const fn all_written(&self) -> bool {
        self.unwritten == 0
    }
}

impl Place {
    pub(crate) const fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) const fn is_written(&self) -> bool {
        self.written
    }

    pub(crate) const fn fail(&mut self) {
        self.failed = true;
    }
}

#[cfg(test)]
mod tests;
