//! What names a generation, done to the hold and to the rules.

use std::num::NonZeroU32;

use hold::{Drain, Expiry, Limits, OnExpiry, State};

use super::Run;
use super::rules::Stop;
use super::step::{Bounds, Command};
use crate::fixture::pace;

impl Run<'_> {
    pub(super) fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Release(behind) => {
                let (number, generation) = self.generation(behind);
                let current = self.rules.is_held(number);
                assert_eq!(self.app.hold.release(generation).is_ok(), current);
                if current {
                    self.rules.release(now);
                }
            }
            Command::AbortDrain(behind) => {
                let (number, generation) = self.generation(behind);
                let expected = match (self.rules.is_held(number), self.rules.in_flight()) {
                    (false, _) => Drain::Over,
                    (true, 0) => Drain::Drained,
                    (true, count) => Drain::TimedOut { in_flight: u64::try_from(count).unwrap() },
                };
                assert_eq!(self.app.hold.abort_drain(generation), expected);
                if matches!(expected, Drain::TimedOut { .. }) {
                    self.rules.release(now);
                }
            }
            Command::GoOn(behind, all) => {
                let (number, generation) = self.generation(behind);
                let is_stopped = self.rules.state == State::Releasing
                    && number == self.rules.generation
                    && self.rules.is_stopped();
                let hold = &self.app.hold;
                let did = if all { hold.overrule(generation) } else { hold.retry(generation) };
                assert_eq!(did, is_stopped);
                if is_stopped {
                    let stopped = Stop::Stopped { trial: true };
                    self.rules.stop = if all { Stop::Overruled } else { stopped };
                }
            }
            Command::Renew(behind, ahead) => {
                let (number, generation) = self.generation(behind);
                let renewed = self.app.hold.renew(generation, self.at(now + ahead)).is_ok();
                assert_eq!(renewed, self.rules.is_held(number));
                if renewed {
                    self.rules.until = self.rules.until.max(now + ahead);
                }
            }
            Command::Expire(behind, ahead) => {
                let (number, generation) = self.generation(behind);
                let at = now.saturating_add_signed(ahead);
                let held = self.rules.is_held(number);
                match self.app.hold.expire(generation, self.at(at)) {
                    Expiry::Over => assert!(!held),
                    Expiry::NotYet(until) => {
                        assert!(held && at < self.rules.until);
                        assert_eq!(until, self.at(self.rules.until));
                    }
                    Expiry::Released(_) => {
                        assert!(held && at >= self.rules.until);
                        self.rules.expire(at);
                        // By the clock that it was judged by.
                        self.rules.settle(at);
                    }
                }
            }
        }
    }

    pub(super) fn set_limits(&mut self, bounds: Bounds) {
        let pace = pace(bounds.concurrency, bounds.concurrency_max);
        self.app.hold.set_limits(Limits {
            on_expiry: if bounds.rejects { OnExpiry::Reject } else { OnExpiry::Release },
            failures_max: NonZeroU32::new(bounds.failures_max),
            ..Limits::new(bounds.held_max, pace)
        });
        self.rules.set_limits(bounds);
    }
}
