//! When the guardian steps in, and how long the sentinel looks.

use std::time::Duration;

use super::Swap;
use crate::config::Fault;

pub const DEFAULT_GUARDIAN_AFTER: Duration = Duration::from_secs(1);
pub const DEFAULT_SENTINEL_FOR: Duration = Duration::from_secs(3);

/// Sooner a busy machine would look like a dead one.
const GUARDIAN_AFTER_MIN: Duration = Duration::from_millis(200);
const GUARDIAN_AFTER_MAX: Duration = Duration::from_secs(10);
const SENTINEL_FOR_MAX: Duration = Duration::from_mins(10);

impl Swap {
    pub(super) fn check_guardian(&self) -> Result<(), Fault> {
        let within = GUARDIAN_AFTER_MIN..=GUARDIAN_AFTER_MAX;
        if !within.contains(&self.guardian_after) {
            let problem = format!(
                "{:?} is not within {GUARDIAN_AFTER_MIN:?} and {GUARDIAN_AFTER_MAX:?}",
                self.guardian_after
            );
            return Err(Fault::new("swap.guardian_after", problem, "write for example \"1s\""));
        }
        if self.sentinel_for > SENTINEL_FOR_MAX {
            let problem = format!("{:?} is more than {SENTINEL_FOR_MAX:?}", self.sentinel_for);
            return Err(Fault::new("swap.sentinel_for", problem, "write for example \"3s\""));
        }
        Ok(())
    }
}

pub(super) const fn default_after() -> Duration {
    DEFAULT_GUARDIAN_AFTER
}

pub(super) const fn default_sentinel_for() -> Duration {
    DEFAULT_SENTINEL_FOR
}
