//! `[failover]`: how a dead primary is kept dead.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

use super::{Fault, gate::check_timeout};

/// How long switching a host off may take: power supplies by IPMI take seconds.
pub const DEFAULT_FENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a failover needs that a swap does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// Switches the old primary off; 0 means that it surely is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceCommand>,
    /// Where the old primary's power is switched (IPMI): told to the person who has to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipmi: Option<String>,
}

/// The fence hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceCommand {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// For all its runs together.
    #[serde(with = "friendly", default = "default_fence_timeout")]
    pub timeout: Duration,
}

impl Failover {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.fence.is_none() && self.ipmi.is_none()
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        let Some(fence) = &self.fence else { return Ok(()) };
        if fence.command.first().is_none_or(String::is_empty) {
            let mend = "write the program and its arguments as a list";
            return Err(Fault::new("failover.fence.command", "is empty", mend));
        }
        check_timeout("failover.fence.timeout", fence.timeout)
    }
}

const fn default_fence_timeout() -> Duration {
    DEFAULT_FENCE_TIMEOUT
}
