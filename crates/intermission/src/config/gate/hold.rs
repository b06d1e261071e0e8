//! What becomes of held requests and of what is no request any more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{check_range, check_timeout};
use crate::config::Fault;

pub const DEFAULT_RELEASE_CONCURRENCY: usize = 64;
/// Below the listen backlog of common application servers (1024), each of which gets a new connection for it.
pub const DEFAULT_RELEASE_CONCURRENCY_MAX: usize = 512;
/// More than one broken page makes in a row, and few enough to answer with errors.
pub const DEFAULT_RELEASE_FAILURES_MAX: usize = 16;
/// Below the patience of people and of what is in front of the gate, the wait before it included.
pub const DEFAULT_RELEASE_STOPPED_MAX: Duration = Duration::from_secs(10);

pub(super) const HELD_MAX_MAX: usize = 1_000_000;

/// What a hold does to upgraded connections (WebSockets and others). No drain waits for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upgrades {
    /// They go on through the hold.
    #[default]
    Keep,
    /// Both sides of a WebSocket are told "Service Restart", other connections are closed.
    Close,
}

/// What becomes of requests that are still in flight when the drain is almost over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stragglers {
    /// They go on, and the hold is off.
    #[default]
    Keep,
    /// They are cut off from their upstream, which may go on with what it was sent.
    Kill,
}

/// What becomes of held requests when nobody renews the lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExpiry {
    /// They go on.
    #[default]
    Release,
    /// They are answered 503.
    Reject,
}

/// How many held requests run at once when a hold ends: from `concurrency`, growing as responses
/// complete, up to `concurrency_max`; in the first three seconds only as those complete that took 25 ms.
/// Fewer than `concurrency` while answers come within that and fewer are answered as fast. After `failures_max` that fail in a row it stops, for
/// `stopped_max` at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Release {
    pub concurrency: usize,
    pub concurrency_max: usize,
    /// 0 = it never stops.
    pub failures_max: usize,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub stopped_max: Duration,
}

impl Release {
    pub(super) fn check(&self, key: &str) -> Result<(), Fault> {
        let Self { concurrency, concurrency_max, failures_max, stopped_max } = *self;
        let key = |name: &str| format!("{key}.{name}");
        check_range(&key("concurrency_max"), concurrency_max, 1, HELD_MAX_MAX)?;
        check_range(&key("concurrency"), concurrency, 1, concurrency_max)?;
        check_range(&key("failures_max"), failures_max, 0, HELD_MAX_MAX)?;
        check_timeout(&key("stopped_max"), stopped_max)
    }
}

impl Default for Release {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_RELEASE_CONCURRENCY,
            concurrency_max: DEFAULT_RELEASE_CONCURRENCY_MAX,
            failures_max: DEFAULT_RELEASE_FAILURES_MAX,
            stopped_max: DEFAULT_RELEASE_STOPPED_MAX,
        }
    }
}
