//! `[swap] before_release`: commands that are run while users wait.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

use crate::config::{Fault, gate::check_timeout};

pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// A command that is run before anybody is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookCommand {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// For all its runs together.
    #[serde(with = "friendly", default = "default_hook_timeout")]
    pub timeout: Duration,
}

impl HookCommand {
    pub(super) fn check(&self, key: &str) -> Result<(), Fault> {
        if self.command.first().is_none_or(String::is_empty) {
            let mend = "write the program and its arguments as a list";
            return Err(Fault::new(format!("{key}.command"), "is empty", mend));
        }
        check_timeout(&format!("{key}.timeout"), self.timeout)
    }
}

const fn default_hook_timeout() -> Duration {
    DEFAULT_HOOK_TIMEOUT
}
