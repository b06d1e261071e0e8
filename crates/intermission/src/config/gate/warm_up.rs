//! `[[app]] warm_up`: what is asked of every upstream before held requests are let go on to it.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

use super::asked::{check_asked, host_for};
use super::{check_range, check_timeout};
use crate::config::Fault;

pub const DEFAULT_WARM_UP_SUCCESSES: usize = 3;
pub const DEFAULT_WARM_UP_CONCURRENCY: usize = 1;
pub const DEFAULT_WARM_UP_INTERVAL: Duration = Duration::from_millis(50);
pub const DEFAULT_WARM_UP_TIMEOUT: Duration = Duration::from_secs(5);

const SUCCESSES_MAX: usize = 1000;
/// More than the pool of any application process has connections.
const CONCURRENCY_MAX: usize = 256;
/// Users wait for it.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// A request that an upstream has to answer 2xx, several times in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// Of a GET; one that goes through the application's pool of database connections.
    pub path: String,
    /// The `Host` it is asked under; the app's first host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How many rounds in a row have to succeed.
    #[serde(default = "default_successes")]
    pub successes: usize,
    /// Requests at once in each round, so that all connections of a pool have their turn.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// The pause after a round that failed. Those that succeed follow each other at once: users wait.
    #[serde(default = "default_interval", with = "friendly")]
    pub interval: Duration,
    /// All upstreams, which are asked at the same time, may take this long.
    #[serde(default = "default_timeout", with = "friendly")]
    pub timeout: Duration,
}

impl WarmUp {
    /// The `Host` for an app with these hosts; nothing where none is a name.
    #[must_use]
    pub fn host_for<'a>(&'a self, hosts: &'a [String]) -> Option<&'a str> {
        host_for(self.host.as_deref(), hosts)
    }

    /// Without its query, which may hold what nobody should read.
    #[must_use]
    pub fn shown_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// `key` is the app's.
    pub(super) fn check(&self, key: &str, hosts: &[String]) -> Result<(), Fault> {
        let Self { path, successes, concurrency, interval, timeout, host } = self;
        check_asked(key, path, host.as_deref(), hosts)?;
        check_range(&format!("{key}.successes"), *successes, 1, SUCCESSES_MAX)?;
        check_range(&format!("{key}.concurrency"), *concurrency, 1, CONCURRENCY_MAX)?;
        check_timeout(&format!("{key}.interval"), *interval)?;
        check_timeout(&format!("{key}.timeout"), *timeout)?;
        if *timeout > TIMEOUT_MAX {
            let problem = format!("{timeout:?} is longer than {TIMEOUT_MAX:?}");
            return Err(Fault::new(format!("{key}.timeout"), problem, "write for example \"5s\""));
        }
        Ok(())
    }
}

const fn default_successes() -> usize {
    DEFAULT_WARM_UP_SUCCESSES
}

const fn default_concurrency() -> usize {
    DEFAULT_WARM_UP_CONCURRENCY
}

const fn default_interval() -> Duration {
    DEFAULT_WARM_UP_INTERVAL
}

const fn default_timeout() -> Duration {
    DEFAULT_WARM_UP_TIMEOUT
}
