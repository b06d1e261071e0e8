//! What the admin API says, the same types on both sides. Times are milliseconds.

use serde::{Deserialize, Serialize};

pub const STATUS_PATH: &str = "/v1/status";
pub const APPS_PATH: &str = "/v1/apps";
pub const EVENTS_PATH: &str = "/v1/events";
pub const OPENAPI_PATH: &str = "/v1/openapi.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    pub version: String,
    pub pid: u32,
    /// The addresses really listened on, where the configuration may say port 0.
    pub listen: Vec<String>,
    /// As `listen`: where TLS is spoken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen_tls: Vec<String>,
    /// As `listen`: where this API is served over TCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admin_listen: Vec<String>,
    pub workers: usize,
    pub stopping: bool,
    /// The process that this one has taken over from, as long as it has connections; what is counted of the apps is of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor_pid: Option<u32>,
    /// What the caller may do.
    pub role: Role,
    /// Where the gate keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_log: Option<AuditLogStatus>,
    pub apps: Vec<AppStatus>,
}

/// What a caller may do; whoever operates may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See what is there and what happens.
    Read,
    /// Hold, renew, release and warm up.
    Operate,
}

/// How writing the audit log goes, since the gate was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditLogStatus {
    pub written: u64,
    /// Changes that are not in the file.
    pub lost: u64,
    /// What is wrong with it now.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Apps {
    pub apps: Vec<AppStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AppStatus {
    pub name: String,
    pub hosts: Vec<String>,
    pub upstreams: Vec<UpstreamStatus>,
    pub state: AppState,
    /// Of the hold, or of the last one; 0 before the first.
    pub generation: u64,
    /// Requests in line.
    pub held: usize,
    pub in_flight: u64,
    /// Those of them that the newest release let go on.
    pub released_in_flight: u32,
    /// Released requests have failed one after the other: the others wait until one does not.
    #[serde(default)]
    pub release_stopped: bool,
    /// How long the head of the line has waited.
    pub oldest_ms: Option<u64>,
    pub hold: Option<HeldBy>,
    pub summary: Summary,
    /// How long a request may be held.
    pub max_wait_ms: u64,
    pub warm_up: Option<WarmUpSettings>,
}

/// One upstream of an app, and whether it is given requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UpstreamStatus {
    pub upstream: String,
    pub health: UpstreamHealth,
    /// Why it is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How long it is left out yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out_for_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UpstreamHealth {
    Up,
    /// As the health checks have it.
    Down,
    /// Left out for a while, after users' requests had failed.
    Ejected,
}

/// What is asked of an app's upstreams before a swap releases it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WarmUpSettings {
    /// Without its query.
    pub path: String,
    pub host: String,
    pub successes: usize,
    pub concurrency: usize,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    Open,
    Draining,
    Held,
    Releasing,
}

/// Who holds, since when and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeldBy {
    pub generation: u64,
    pub holder: String,
    pub reason: String,
    pub held_for_ms: u64,
    pub lease_left_ms: u64,
}

/// The figures of one hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// Requests that waited in line.
    pub held: u64,
    pub released: u64,
    /// Answered 503 because they had waited as long as they may.
    pub timed_out: u64,
    /// Answered 503 when the lease ended.
    #[serde(default)]
    pub rejected: u64,
    /// Answered 503 at once because the line was full, or their client had its share of it.
    pub refused: u64,
    /// Clients that left before their turn; nothing of theirs was forwarded.
    pub left: u64,
    pub longest_wait_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Who asks; told to whoever else wants to hold.
    pub holder: String,
    #[serde(default)]
    pub reason: String,
    /// The app's own if left out.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// Not longer than the lease. The app's own if left out.
    #[serde(default)]
    pub drain_ms: Option<u64>,
}

/// Nothing is in flight, and no request goes on until the release or the end of the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HoldReply {
    pub generation: u64,
    pub lease_ms: u64,
    pub drained_ms: u64,
    /// Requests that were cut off, because the app says so (`app.stragglers`); some, where there were many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub killed: Vec<Straggler>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    pub generation: u64,
    /// The app's own if left out.
    #[serde(default)]
    pub lease_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RenewReply {
    pub generation: u64,
    pub lease_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    pub generation: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReleaseReply {
    pub generation: u64,
    /// The figures so far: those released are still on their way.
    pub summary: Summary,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WarmUpRequest {
    /// Less than the app's own. That if left out.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// Every upstream answers. Empty if the app has no warm-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WarmUpReply {
    pub upstreams: Vec<WarmUpstream>,
}

/// An upstream that answers as it must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WarmUpstream {
    pub upstream: String,
    /// How many requests it took.
    pub requests: u64,
    /// Those of them that did not succeed.
    pub failed: u64,
    pub took_ms: u64,
}

/// A request that was in flight when the drain was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Straggler {
    pub method: String,
    pub path: String,
    pub age_ms: u64,
}

/// The body of every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorBody {
    pub status: u16,
    pub code: ErrorCode,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<HeldBy>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stragglers: Vec<Straggler>,
    /// With `forbidden`: the role that the call needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Role>,
    /// With `forbidden`: the role that the caller has, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has: Option<Role>,
    /// With `too_many_failures`: in seconds; also as the header Retry-After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    NotFound,
    MethodNotAllowed,
    BadRequest,
    TooLarge,
    UnknownApp,
    AlreadyHeld,
    /// The generation named is not, or no longer, in force.
    Stale,
    /// Released, or its lease ended, while it was still draining.
    ReleasedWhileDraining,
    DrainTimedOut,
    StateNotWritten,
    TooManySubscribers,
    /// An upstream did not answer as it must within the warm-up's time.
    WarmUpFailed,
    /// The gate that this one has taken over from could not be held as well.
    PredecessorFailed,
    /// Another caller warms this app up.
    WarmUpUnderWay,
    Stopping,
    /// Over TCP: without a token or certificate, or with a wrong token.
    Unauthorized,
    /// The caller is known, and may not do this.
    Forbidden,
    /// Over TCP: too many wrong tokens came from the caller's address.
    TooManyFailures,
    /// Over TCP.
    TooManyConnections,
}

/// What `GET /v1/events` sends, one JSON object each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    pub unix_ms: u64,
    pub app: String,
    pub generation: u64,
    pub kind: EventKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Held again after a restart of the gate.
    Restored,
    Draining,
    Held,
    DrainTimedOut,
    Renewed,
    Released,
    Expired,
    /// Requests that were released have failed one after the other: the others wait.
    ReleaseStopped,
    /// They go on.
    ReleaseResumed,
}

/// In place of events that a subscriber was too slow to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lost {
    pub lost: u64,
}

impl Role {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

impl AppState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Held => "held",
            Self::Releasing => "releasing",
        }
    }
}

impl UpstreamHealth {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
        }
    }
}
