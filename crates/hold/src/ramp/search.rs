//! How few at once are enough, while answers are prompt: found by trying.
//!
//! An upstream that waits for a processor answers no more requests a second when more of them run: they wait for each other, and requests
//! of other apps behind them. One that waits for something else answers twice as many when twice as many run. Both look the same by the
//! time a single answer takes, so it is the rate of answers that tells, with some and with twice as many.

/// So many are enough to keep an upstream at work that answers at once: no fewer are tried.
pub(super) const NARROW: u32 = 16;
/// The rate is that of as many answers as this many full windows.
const WINDOWS: u32 = 4;
/// As many answers come between a trial that was no good and the next one.
const REST: u32 = 8192;

#[derive(Debug, Default)]
pub(super) struct Search {
    phase: Phase,
    /// Answers that this phase has had.
    had: u32,
    /// When it began, since the release did.
    since_us: u32,
    trial: Trial,
    /// The window that a trial is compared with, and its answers a second.
    before: u32,
    rate: u64,
    /// What comes first after a rest.
    is_wider_next: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// A whole window of prompt answers in a row begins the search. Fewer may be the prompt ones among slow ones, which come first.
    #[default]
    Opening,
    /// So many that began with another window are still to be answered.
    Settling(u32),
    Measuring,
    Resting,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trial {
    /// The window as it is.
    #[default]
    None,
    Narrower,
    Wider,
}

impl Search {
    /// An answer took its time.
    pub(super) fn was_slow(&mut self) {
        if self.phase == Phase::Opening {
            self.had = 0;
        }
    }

    /// A prompt answer, and so many still run: the window for those that come next, wider only as far as `concurrency`.
    pub(super) fn was_prompt(
        &mut self,
        age_us: u32,
        running: u32,
        window: u32,
        concurrency: u32,
    ) -> u32 {
        if concurrency <= NARROW {
            return window;
        }
        self.had = self.had.saturating_add(1);
        let is_over = self.had
            >= match self.phase {
                Phase::Opening => window,
                Phase::Settling(running) => running,
                Phase::Measuring => window.saturating_mul(WINDOWS),
                Phase::Resting => REST,
            };
        match self.phase {
            _ if !is_over => window,
            Phase::Opening => {
                self.is_wider_next = true;
                self.attempt(Trial::None, NARROW.min(window), running)
            }
            Phase::Settling(_) => {
                self.since_us = age_us;
                self.enter(Phase::Measuring, window)
            }
            Phase::Measuring => self.judge(age_us, running, window, concurrency),
            Phase::Resting => {
                (self.trial, self.since_us) = (Trial::None, age_us);
                self.enter(Phase::Measuring, window)
            }
        }
    }

    fn judge(&mut self, age_us: u32, running: u32, window: u32, concurrency: u32) -> u32 {
        let took_us = u64::from(age_us.saturating_sub(self.since_us)).max(1);
        let rate = u64::from(self.had) * 1_000_000 / took_us;
        let is_good = match self.trial {
            Trial::None => true,
            // Nearly as many by half as many, or many more by twice as many.
            Trial::Narrower => rate * 4 >= self.rate * 3,
            Trial::Wider => rate * 2 >= self.rate * 3,
        };
        if !is_good {
            self.is_wider_next = self.trial == Trial::Narrower;
            return self.enter(Phase::Resting, self.before);
        }
        (self.rate, self.before) = (rate, window);
        let may_widen = window < concurrency;
        let next = match self.trial {
            Trial::None if self.is_wider_next && may_widen || window <= NARROW => Trial::Wider,
            Trial::None => Trial::Narrower,
            onwards @ (Trial::Narrower | Trial::Wider) => onwards,
        };
        match next {
            Trial::Wider if may_widen => {
                self.attempt(next, window.saturating_mul(2).min(concurrency), running)
            }
            Trial::Narrower if window > NARROW => {
                self.attempt(next, (window / 2).max(NARROW), running)
            }
            Trial::None | Trial::Narrower | Trial::Wider => self.enter(Phase::Resting, window),
        }
    }

    const fn attempt(&mut self, trial: Trial, window: u32, running: u32) -> u32 {
        self.trial = trial;
        self.enter(Phase::Settling(running), window)
    }

    const fn enter(&mut self, phase: Phase, window: u32) -> u32 {
        (self.phase, self.had) = (phase, 0);
        window
    }
}
