//! How an app's requests are spread over its upstreams, and which of these are left out for a while.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

use super::asked::{check_asked, host_for};
use super::{check_range, check_timeout};
use crate::config::Fault;

/// Longer than a process takes to listen again after a quick restart, shorter than people wait.
pub const DEFAULT_TRY_DURATION: Duration = Duration::from_secs(2);
pub const DEFAULT_EJECT_FAILURES: usize = 3;
pub const DEFAULT_EJECT_DURATION: Duration = Duration::from_secs(10);
pub const DEFAULT_HEALTH_INTERVAL: Duration = Duration::from_secs(2);
pub const DEFAULT_HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
pub const DEFAULT_HEALTH_RISE: usize = 2;
pub const DEFAULT_HEALTH_FALL: usize = 3;

const THRESHOLD_MAX: usize = 1000;
/// Users wait for it.
const TRY_DURATION_MAX: Duration = Duration::from_mins(10);

/// Which of the upstreams that are well gets the next request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// The one with the fewest connections in use, as each worker thread sees its own; those with equally many in turn.
    LeastConnections,
}

/// When an upstream that fails users' requests is left out: it could not be connected to, broke off before it answered,
/// or did not answer in time. An answer, whatever its status, is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eject {
    /// In a row; 0 = never.
    pub failures: usize,
    /// For this long; then one failure is enough to leave it out again, until it answers.
    #[serde(with = "friendly")]
    pub duration: Duration,
}

/// What every upstream is asked from time to time. One that does not answer 2xx gets no requests as long as others do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Of a GET.
    pub path: String,
    /// The `Host` it is asked under; the app's first host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default = "default_interval", with = "friendly")]
    pub interval: Duration,
    #[serde(default = "default_timeout", with = "friendly")]
    pub timeout: Duration,
    /// This many successes in a row bring it back.
    #[serde(default = "default_rise")]
    pub rise: usize,
    /// This many failures in a row take it out.
    #[serde(default = "default_fall")]
    pub fall: usize,
}

impl Default for Eject {
    fn default() -> Self {
        Self { failures: DEFAULT_EJECT_FAILURES, duration: DEFAULT_EJECT_DURATION }
    }
}

impl Eject {
    pub(super) fn check(&self, key: &str) -> Result<(), Fault> {
        check_range(&format!("{key}.failures"), self.failures, 0, THRESHOLD_MAX)?;
        check_timeout(&format!("{key}.duration"), self.duration)
    }
}

impl Health {
    /// The `Host` for an app with these hosts; nothing where none is a name.
    #[must_use]
    pub fn host_for<'a>(&'a self, hosts: &'a [String]) -> Option<&'a str> {
        host_for(self.host.as_deref(), hosts)
    }

    /// `key` is the app's.
    pub(super) fn check(&self, key: &str, hosts: &[String]) -> Result<(), Fault> {
        let Self { path, host, interval, timeout, rise, fall } = self;
        check_asked(key, path, host.as_deref(), hosts)?;
        check_timeout(&format!("{key}.interval"), *interval)?;
        check_timeout(&format!("{key}.timeout"), *timeout)?;
        check_range(&format!("{key}.rise"), *rise, 1, THRESHOLD_MAX)?;
        check_range(&format!("{key}.fall"), *fall, 1, THRESHOLD_MAX)
    }
}

/// None at all is allowed: then the first refusal is the answer.
pub(super) fn check_try_duration(key: &str, value: Duration) -> Result<(), Fault> {
    if value <= TRY_DURATION_MAX {
        return Ok(());
    }
    let mend = "write a time from \"0s\" to \"10m\"";
    Err(Fault::new(key, format!("{value:?} is out of range"), mend))
}

const fn default_interval() -> Duration {
    DEFAULT_HEALTH_INTERVAL
}

const fn default_timeout() -> Duration {
    DEFAULT_HEALTH_TIMEOUT
}

const fn default_rise() -> usize {
    DEFAULT_HEALTH_RISE
}

const fn default_fall() -> usize {
    DEFAULT_HEALTH_FALL
}
