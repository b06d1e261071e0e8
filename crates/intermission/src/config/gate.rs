//! `[gate]` and `[[app]]`: where requests come in, where they go, and how long anything may take.

mod admin;
mod app;
mod asked;
mod balance;
mod bypass;
mod hold;
mod tls;
mod upstream;
mod warm_up;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::admin::{AdminTls, SocketGroup};
pub(super) use self::app::check_apps;
pub use self::app::{
    ANY_HOST, ANY_PATH, App, DEFAULT_CONTROL_FROM, DEFAULT_DRAIN, DEFAULT_ENDLESS_TYPES,
    DEFAULT_HELD_MAX, DEFAULT_HELD_PER_CLIENT_MAX, DEFAULT_LEASE, DEFAULT_LEASE_MAX,
    DEFAULT_MAX_WAIT, Switch, WILDCARD,
};
pub use self::balance::{
    Balance, DEFAULT_EJECT_DURATION, DEFAULT_EJECT_FAILURES, DEFAULT_HEALTH_FALL,
    DEFAULT_HEALTH_INTERVAL, DEFAULT_HEALTH_RISE, DEFAULT_HEALTH_TIMEOUT, DEFAULT_TRY_DURATION,
    Eject, Health,
};
pub use self::bypass::{Bypass, BypassHeader};
use self::hold::HELD_MAX_MAX;
pub use self::hold::{
    DEFAULT_RELEASE_CONCURRENCY, DEFAULT_RELEASE_CONCURRENCY_MAX, DEFAULT_RELEASE_FAILURES_MAX,
    DEFAULT_RELEASE_STOPPED_MAX, OnExpiry, Release, Stragglers, Upgrades,
};
pub use self::tls::Certificate;
pub use self::upstream::{Upstream, UpstreamError};
pub use self::warm_up::{
    DEFAULT_WARM_UP_CONCURRENCY, DEFAULT_WARM_UP_INTERVAL, DEFAULT_WARM_UP_SUCCESSES,
    DEFAULT_WARM_UP_TIMEOUT, WarmUp,
};
use super::Fault;
use super::cidr::Cidr;

pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// 0 = one worker thread per core.
pub const DEFAULT_THREADS: usize = 0;
pub const DEFAULT_ADMIN_SOCKET: &str = "/run/intermission/admin.sock";
pub const DEFAULT_STATE_DIR: &str = "/var/lib/intermission";
pub const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// A WebSocket that nobody ends has to end some time, so that two versions do not live side by side for ever.
pub const DEFAULT_TAKE_OVER_GRACE: Duration = Duration::from_mins(10);
pub const DEFAULT_CONNECTIONS_MAX: usize = 16_384;
/// No limit: many people come by one address of a company or a mobile network.
pub const DEFAULT_CONNECTIONS_PER_CLIENT_MAX: usize = 0;
/// One clock for a whole request head and for an idle kept-alive connection: both wait for a head. Longer than what may be in
/// front keeps its idle connections (nginx and AWS's load balancers: 60 s), so that they close first: a request that crosses
/// our closing is lost.
pub const DEFAULT_CLIENT_HEAD_TIMEOUT: Duration = Duration::from_secs(75);
pub const DEFAULT_CLIENT_BODY_TIMEOUT: Duration = Duration::from_secs(60);
pub const DEFAULT_CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);
pub const DEFAULT_UPSTREAM_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub const DEFAULT_UPSTREAM_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
pub const DEFAULT_UPSTREAM_BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Below the keep-alive time of every common application server (gunicorn's 2 s is the shortest), so
/// that we close an idle connection before its server does.
pub const DEFAULT_UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_millis(1500);
pub const DEFAULT_UPSTREAM_IDLE_MAX: usize = 64;
/// The lifetime of a record in the name servers of common container platforms.
pub const DEFAULT_UPSTREAM_RESOLVE_INTERVAL: Duration = Duration::from_secs(5);
/// Upgraded connections and endless responses are silent for long; applications that mean them to last say something
/// every minute or so.
pub const DEFAULT_ENDLESS_IDLE_TIMEOUT: Duration = Duration::from_hours(1);

/// Of which a held request gets half.
const FRONT_TIMEOUT_MIN: Duration = Duration::from_secs(1);
const THREADS_MAX: usize = 256;
const CONNECTIONS_MAX: usize = 1_000_000;
/// Longer waits are typing errors ("30m" for "30s"), and no client stays that long.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_hours(24);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Where HTTP is spoken in clear text.
    pub listen: Vec<SocketAddr>,
    /// Where it is spoken with TLS, with one of `certificates`.
    pub listen_tls: Vec<SocketAddr>,
    /// Chosen by the name the client asks for; the first where it asks for none that is known.
    pub certificates: Vec<Certificate>,
    pub threads: usize,
    pub admin_socket: PathBuf,
    /// Whose members may connect to the socket, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_socket_group: Option<SocketGroup>,
    /// Where the admin API is served to other machines besides, with TLS and a token or a certificate.
    pub admin_listen: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_tls: Option<AdminTls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_token_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_token_file: Option<PathBuf>,
    /// Of those who may read and change nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_read_token_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_read_token_file: Option<PathBuf>,
    pub state_dir: PathBuf,
    /// Every change of a hold is written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_log: Option<PathBuf>,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub shutdown_grace: Duration,
    /// What a gate that has a successor may take to finish.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub take_over_grace: Duration,
    pub connections_max: usize,
    /// Of one address, or of one /64 of IPv6; 0: no limit.
    pub connections_per_client_max: usize,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub client_head_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub client_body_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub client_write_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub upstream_connect_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub upstream_head_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub upstream_body_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub upstream_idle_timeout: Duration,
    /// Idle connections kept per upstream and worker thread.
    pub upstream_idle_max: usize,
    /// How often the names of upstreams are looked up.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub upstream_resolve_interval: Duration,
    /// Between two parts of what is not meant to end: upgraded connections and responses of an
    /// app's `endless_types`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub endless_idle_timeout: Duration,
    /// What is in front of the gate gives up this long after it has passed a request on: one that is held is answered before.
    #[serde(
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional"
    )]
    pub front_timeout: Option<Duration>,
    /// A directory with pages for the answers that the gate gives itself, by status: `503.html`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_pages: Option<PathBuf>,
    /// Clients that are other proxies: what they say in `X-Forwarded-*`, `X-Request-Id` and
    /// `X-Request-Start` is believed and extended.
    pub trusted_proxies: Vec<Cidr>,
    /// Peers whose connections begin with a PROXY header, and must.
    pub proxy_protocol_from: Vec<Cidr>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            listen: vec![DEFAULT_LISTEN.parse().expect("the constant is an address and a port")],
            listen_tls: Vec::new(),
            certificates: Vec::new(),
            threads: DEFAULT_THREADS,
            admin_socket: PathBuf::from(DEFAULT_ADMIN_SOCKET),
            admin_socket_group: None,
            admin_listen: Vec::new(),
            admin_tls: None,
            admin_token_env: None,
            admin_token_file: None,
            admin_read_token_env: None,
            admin_read_token_file: None,
            state_dir: PathBuf::from(DEFAULT_STATE_DIR),
            audit_log: None,
            shutdown_grace: DEFAULT_SHUTDOWN_GRACE,
            take_over_grace: DEFAULT_TAKE_OVER_GRACE,
            connections_max: DEFAULT_CONNECTIONS_MAX,
            connections_per_client_max: DEFAULT_CONNECTIONS_PER_CLIENT_MAX,
            client_head_timeout: DEFAULT_CLIENT_HEAD_TIMEOUT,
            client_body_timeout: DEFAULT_CLIENT_BODY_TIMEOUT,
            client_write_timeout: DEFAULT_CLIENT_WRITE_TIMEOUT,
            upstream_connect_timeout: DEFAULT_UPSTREAM_CONNECT_TIMEOUT,
            upstream_head_timeout: DEFAULT_UPSTREAM_HEAD_TIMEOUT,
            upstream_body_timeout: DEFAULT_UPSTREAM_BODY_TIMEOUT,
            upstream_idle_timeout: DEFAULT_UPSTREAM_IDLE_TIMEOUT,
            upstream_idle_max: DEFAULT_UPSTREAM_IDLE_MAX,
            upstream_resolve_interval: DEFAULT_UPSTREAM_RESOLVE_INTERVAL,
            endless_idle_timeout: DEFAULT_ENDLESS_IDLE_TIMEOUT,
            front_timeout: None,
            error_pages: None,
            trusted_proxies: Vec::new(),
            proxy_protocol_from: Vec::new(),
        }
    }
}

impl Gate {
    /// Worker threads to run: as configured, or one per core.
    #[must_use]
    pub fn workers(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX)
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.listen.is_empty() && self.listen_tls.is_empty() {
            let mend = format!("write at least one address, for example [\"{DEFAULT_LISTEN}\"]");
            return Err(Fault::new("gate.listen", "is empty", mend));
        }
        check_absolute("gate.error_pages", self.error_pages.as_deref())?;
        self.check_tls()?;
        self.check_admin()?;
        check_range("gate.threads", self.threads, 0, THREADS_MAX)?;
        check_range("gate.connections_max", self.connections_max, 1, CONNECTIONS_MAX)?;
        let per_client = self.connections_per_client_max;
        check_range("gate.connections_per_client_max", per_client, 0, CONNECTIONS_MAX)?;
        check_timeout("gate.client_head_timeout", self.client_head_timeout)?;
        check_timeout("gate.client_body_timeout", self.client_body_timeout)?;
        check_timeout("gate.client_write_timeout", self.client_write_timeout)?;
        check_timeout("gate.upstream_connect_timeout", self.upstream_connect_timeout)?;
        check_timeout("gate.upstream_head_timeout", self.upstream_head_timeout)?;
        check_timeout("gate.upstream_body_timeout", self.upstream_body_timeout)?;
        check_timeout("gate.upstream_idle_timeout", self.upstream_idle_timeout)?;
        check_timeout("gate.upstream_resolve_interval", self.upstream_resolve_interval)?;
        check_timeout("gate.endless_idle_timeout", self.endless_idle_timeout)?;
        if let Some(timeout) = self.front_timeout {
            check_timeout("gate.front_timeout", timeout)?;
            if timeout < FRONT_TIMEOUT_MIN {
                let problem = format!("{timeout:?} leaves held requests no time");
                let mend = format!("write {FRONT_TIMEOUT_MIN:?} or more, or leave it out");
                return Err(Fault::new("gate.front_timeout", problem, mend));
            }
        }
        check_timeout("gate.take_over_grace", self.take_over_grace)?;
        check_timeout("gate.shutdown_grace", self.shutdown_grace)
    }
}

pub(super) fn check_range(key: &str, value: usize, min: usize, max: usize) -> Result<(), Fault> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Fault::new(key, format!("{value} is out of range"), format!("write {min} to {max}")))
}

/// Where a process was started is nobody's to remember.
pub(super) fn check_absolute(key: &str, path: Option<&Path>) -> Result<(), Fault> {
    match path.filter(|path| !path.is_absolute()) {
        Some(path) => {
            let problem = format!("{} is not absolute", path.display());
            Err(Fault::new(key, problem, "write it from / on"))
        }
        None => Ok(()),
    }
}

/// A zero timeout would fail everything, and "no timeout" does not exist here.
pub(super) fn check_timeout(key: &str, value: Duration) -> Result<(), Fault> {
    if !value.is_zero() && value <= TIMEOUT_MAX {
        return Ok(());
    }
    Err(Fault::new(
        key,
        format!("{value:?} is out of range"),
        "write a time from \"1ms\" to \"24h\"",
    ))
}
