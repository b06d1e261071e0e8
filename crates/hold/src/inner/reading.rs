//! What can be seen of a hold at one moment. Nothing here changes it.

use std::time::{Duration, Instant};

use super::Inner;
use crate::{Generation, Ramping, Stale, Status, Summary};

impl Inner {
    pub(crate) fn status(&self, now: Instant) -> Status {
        let in_flight = self.in_flight();
        // A request is counted out before it gives its place back, and in between others may look.
        let within = u32::try_from(in_flight).unwrap_or(u32::MAX);
        Status {
            state: self.state,
            generation: self.generation,
            held: self.line.len(),
            in_flight,
            released_in_flight: self.ramp.running().min(within),
            is_stopped: self.ramping(self.generation) == Ramping::Stopped,
            oldest: self.oldest(now),
            hold: self.lease.as_ref().map(|lease| lease.current(now)),
            summary: self.summary(now),
        }
    }

    #[cfg(not(loom))]
    pub(crate) fn lease_until(&self, named: Generation) -> Option<Instant> {
        self.lease.as_ref().filter(|_| named == self.generation).map(|lease| lease.until)
    }

    pub(super) fn summary(&self, now: Instant) -> Summary {
        let oldest = self.oldest(now).unwrap_or_default();
        Summary { longest_wait: self.summary.longest_wait.max(oldest), ..self.summary }
    }

    pub(super) fn oldest(&self, now: Instant) -> Option<Duration> {
        self.line.oldest().map(|since| now.saturating_duration_since(since))
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.words.iter().map(|word| word.in_flight()).sum()
    }

    pub(super) fn is_current(&self, named: Generation) -> bool {
        named == self.generation && self.lease.is_some()
    }

    pub(super) fn stale(&self, named: Generation) -> Stale {
        Stale {
            named,
            generation: self.generation,
            state: self.state,
            holder: self.lease.as_ref().map(|lease| lease.holder.clone()),
        }
    }
}
