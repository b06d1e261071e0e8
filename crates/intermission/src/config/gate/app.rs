//! `[[app]]`: one named scope of traffic, its upstreams and the bounds of its hold.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::balance::check_try_duration;
use super::{
    Balance, Bypass, DEFAULT_TRY_DURATION, Eject, HELD_MAX_MAX, Health, OnExpiry, Release,
    Stragglers, Upgrades, Upstream, WarmUp, check_absolute, check_range, check_timeout,
};
use crate::config::Fault;
use crate::config::cidr::Cidr;

/// In `hosts`: this app takes every host no other app names.
pub const ANY_HOST: &str = "*";
/// Before the rest of a name in `hosts`: every name that ends so.
pub const WILDCARD: &str = "*.";
/// In `paths`: every path no other app of the host takes.
pub const ANY_PATH: &str = "/";
pub const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(30);
pub const DEFAULT_HELD_MAX: usize = 10_000;
/// No limit: many people come by one address of a company or a mobile network.
pub const DEFAULT_HELD_PER_CLIENT_MAX: usize = 0;
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
pub const DEFAULT_LEASE_MAX: Duration = Duration::from_mins(5);
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

pub const DEFAULT_CONTROL_FROM: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Server-sent events: they end when the client leaves.
pub const DEFAULT_ENDLESS_TYPES: [&str; 1] = ["text/event-stream"];

const ENDLESS_TYPES_MAX: usize = 100;
const APPS_MAX: usize = 1000;
const UPSTREAMS_MAX: usize = 1000;
const PATHS_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    pub name: String,
    pub hosts: Vec<String>,
    /// What the paths of its requests begin with.
    #[serde(default = "default_paths")]
    pub paths: Vec<String>,
    /// May be none where a web server only asks.
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
    /// Which of them gets the next request.
    #[serde(default)]
    pub balance: Balance,
    /// How long a request of which nothing was sent is tried again while no upstream can be connected to.
    #[serde(
        default = "default_try_duration",
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required"
    )]
    pub try_duration: Duration,
    /// When one that fails requests is left out.
    #[serde(default)]
    pub eject: Eject,
    /// What each of them has to answer to be given requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Where a web server beside the gate asks whether a request may go on: 204 when it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_path: Option<String>,
    /// Below it `enable`, `disable` and `status` hold, release and tell, for who comes from the older pauser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_path: Option<String>,
    /// From where.
    #[serde(default = "default_control_from")]
    pub control_from: Vec<Cidr>,
    /// Paths that the gate itself answers 200, held or not: for who asks whether the gate is there.
    #[serde(default)]
    pub answer_paths: Vec<String>,
    /// What no hold holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<Bypass>,
    /// While this file exists the app is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_file: Option<PathBuf>,
    /// Instead of the gate's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_pages: Option<PathBuf>,
    /// How long one request may be held before it is answered 503.
    #[serde(
        default = "default_max_wait",
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required"
    )]
    pub max_wait: Duration,
    #[serde(default = "default_held_max")]
    pub held_max: usize,
    /// Of one client; 0 = no limit.
    #[serde(default = "default_held_per_client_max")]
    pub held_per_client_max: usize,
    /// The lease of a hold that does not ask for one, and the longest one may ask for.
    #[serde(
        default = "default_lease",
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required"
    )]
    pub lease: Duration,
    #[serde(
        default = "default_lease_max",
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required"
    )]
    pub lease_max: Duration,
    /// How long a hold waits for the requests in flight when it does not say.
    #[serde(
        default = "default_drain",
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required"
    )]
    pub drain: Duration,
    /// What becomes of those that are still in flight shortly before its end.
    #[serde(default)]
    pub stragglers: Stragglers,
    /// What becomes of held requests when nobody renews the lease.
    #[serde(default)]
    pub on_expiry: OnExpiry,
    #[serde(default)]
    pub release: Release,
    /// What a hold does to upgraded connections.
    #[serde(default)]
    pub upgrades: Upgrades,
    /// Content types of responses that are not meant to end: a hold does not wait for them once
    /// their head was sent.
    #[serde(default = "default_endless_types")]
    pub endless_types: Vec<String>,
    /// What every upstream has to answer before a swap lets held requests go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
}

/// What is asked below an app's `control_path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    Status,
    Enable,
    Disable,
}

impl App {
    /// Whether a request for this path only asks.
    #[must_use]
    pub fn is_asked_at(&self, path: &str) -> bool {
        self.ask_path.as_deref() == Some(path)
    }

    /// What a request for this path does to the hold, if it is one of `control_path`.
    #[must_use]
    pub fn switch_at(&self, path: &str) -> Option<Switch> {
        let rest = path.strip_prefix(self.control_path.as_deref()?)?.strip_prefix('/')?;
        match rest.strip_suffix('/').unwrap_or(rest) {
            "status" => Some(Switch::Status),
            "enable" => Some(Switch::Enable),
            "disable" => Some(Switch::Disable),
            _ => None,
        }
    }

    /// Whether the gate itself answers requests for this path.
    #[must_use]
    pub fn is_answered_at(&self, path: &str) -> bool {
        self.answer_paths.iter().any(|answered| answered == path)
    }

    fn check(&self, proxies: &[Cidr]) -> Result<(), Fault> {
        self.check_places()?;
        if let Some(bypass) = &self.bypass {
            bypass.check(&self.key("bypass"), proxies)?;
        }
        self.check_upstreams()?;
        self.check_hold()
    }

    fn key(&self, key: &str) -> String {
        format!("app.{}.{key}", self.name)
    }

    fn check_places(&self) -> Result<(), Fault> {
        if self.hosts.is_empty() {
            let mend = "write the host names it serves, or [\"*\"] for every other host";
            return Err(Fault::new(self.key("hosts"), "is empty", mend));
        }
        for host in &self.hosts {
            check_host(&self.key("hosts"), host)?;
        }
        if self.paths.is_empty() {
            return Err(Fault::new(self.key("paths"), "is empty", "write [\"/\"] for all of them"));
        }
        check_range(&self.key("paths"), self.paths.len(), 1, PATHS_MAX)?;
        self.paths.iter().try_for_each(|path| check_path(&self.key("paths"), path))?;
        if let Some(path) = &self.ask_path {
            check_path(&self.key("ask_path"), path)?;
        }
        if let Some(path) = &self.control_path {
            check_path(&self.key("control_path"), path)?;
        }
        check_range(&self.key("answer_paths"), self.answer_paths.len(), 0, PATHS_MAX)?;
        self.answer_paths
            .iter()
            .try_for_each(|path| check_path(&self.key("answer_paths"), path))?;
        check_range(&self.key("endless_types"), self.endless_types.len(), 0, ENDLESS_TYPES_MAX)?;
        self.endless_types.iter().try_for_each(|kind| check_type(&self.key("endless_types"), kind))
    }

    fn check_upstreams(&self) -> Result<(), Fault> {
        if self.upstreams.is_empty() && self.ask_path.is_none() {
            let mend = "write where its requests go, for example [\"127.0.0.1:3000\"], or ask_path where a web server only \
                        asks";
            return Err(Fault::new(self.key("upstreams"), "is empty", mend));
        }
        check_range(&self.key("upstreams"), self.upstreams.len(), 0, UPSTREAMS_MAX)?;
        let twice = self.upstreams.iter().enumerate().find(|(at, upstream)| {
            self.upstreams.iter().take(*at).any(|earlier| earlier == *upstream)
        });
        if let Some((_, upstream)) = twice {
            let problem = format!("{upstream} is there twice");
            return Err(Fault::new(self.key("upstreams"), problem, "write each of them once"));
        }
        check_try_duration(&self.key("try_duration"), self.try_duration)?;
        self.eject.check(&self.key("eject"))?;
        if let Some(warm_up) = &self.warm_up {
            self.check_some_to_ask("warm_up")?;
            warm_up.check(&self.key("warm_up"), &self.hosts)?;
        }
        if let Some(health) = &self.health {
            self.check_some_to_ask("health")?;
            health.check(&self.key("health"), &self.hosts)?;
        }
        Ok(())
    }

    fn check_some_to_ask(&self, name: &str) -> Result<(), Fault> {
        if !self.upstreams.is_empty() {
            return Ok(());
        }
        let mend = format!("write its upstreams, or leave {name} out");
        Err(Fault::new(self.key(name), "has no upstreams to ask", mend))
    }

    fn check_hold(&self) -> Result<(), Fault> {
        check_absolute(&self.key("hold_file"), self.hold_file.as_deref())?;
        check_absolute(&self.key("error_pages"), self.error_pages.as_deref())?;
        check_timeout(&self.key("max_wait"), self.max_wait)?;
        check_range(&self.key("held_max"), self.held_max, 1, HELD_MAX_MAX)?;
        check_timeout(&self.key("lease"), self.lease)?;
        check_timeout(&self.key("lease_max"), self.lease_max)?;
        check_timeout(&self.key("drain"), self.drain)?;
        if self.lease > self.lease_max {
            let problem =
                format!("{:?} is longer than lease_max, {:?}", self.lease, self.lease_max);
            let mend = "make it shorter, or raise lease_max";
            return Err(Fault::new(self.key("lease"), problem, mend));
        }
        check_range(&self.key("held_per_client_max"), self.held_per_client_max, 0, HELD_MAX_MAX)?;
        self.release.check(&self.key("release"))
    }
}

/// `proxies` are those that are trusted.
pub(in crate::config) fn check_apps(apps: &[App], proxies: &[Cidr]) -> Result<(), Fault> {
    check_range("app (how many)", apps.len(), 0, APPS_MAX)?;
    let mut names = HashMap::new();
    let mut hosts = HashMap::new();
    for app in apps {
        check_name(&app.name)?;
        app.check(proxies)?;
        if names.insert(app.name.as_str(), ()).is_some() {
            let key = format!("app.{}", app.name);
            return Err(Fault::new(key, "is there twice", "give each app its own name"));
        }
        let places =
            app.hosts.iter().flat_map(|host| app.paths.iter().map(move |path| (host, path)));
        for (host, path) in places {
            if let Some(other) = hosts.insert((host, path), app.name.as_str()) {
                let place = if path == ANY_PATH { String::new() } else { format!(" {path}") };
                let problem = format!("`{host}`{place} is already served by the app `{other}`");
                let key = format!("app.{}.hosts", app.name);
                let mend = "leave each host to one app, or give them different paths";
                return Err(Fault::new(key, problem, mend));
            }
        }
    }
    Ok(())
}

/// The name is part of a file name and of a path of the admin API.
fn check_name(name: &str) -> Result<(), Fault> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if first && name.len() <= NAME_BYTES_MAX && name.chars().all(plain) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    let mend = "use up to 64 of a-z, 0-9, `-` and `_`, beginning with a letter or a digit";
    Err(Fault::new("app.name", format!("{shown:?} is no usable name"), mend))
}

/// Requests name it so, without a query.
pub(super) fn check_path(key: &str, path: &str) -> Result<(), Fault> {
    let plain = |c: char| c.is_ascii_graphic() && !"?#%\\\"<>".contains(c);
    if path.starts_with('/') && path.chars().all(plain) {
        return Ok(());
    }
    let mend = "write a path such as \"/_intermission/ask\", without a query";
    Err(Fault::new(key, format!("{path:?} is no path"), mend))
}

fn check_host(key: &str, host: &str) -> Result<(), Fault> {
    if host == ANY_HOST {
        return Ok(());
    }
    let name = host.strip_prefix(WILDCARD).unwrap_or(host);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._[]:".contains(c);
    let port = !name.starts_with('[') && name.contains(':');
    let dots = name.starts_with('.') || name.ends_with('.');
    if !name.is_empty() && !port && !dots && name.chars().all(plain) {
        return Ok(());
    }
    let mend =
        "write a host name in lower case without scheme and port, or *. before the rest of one";
    Err(Fault::new(key, format!("{host:?} is no host name"), mend))
}

/// The machine itself.
fn default_control_from() -> Vec<Cidr> {
    DEFAULT_CONTROL_FROM.map(|range| range.parse().expect("the constants are ranges")).into()
}

fn default_paths() -> Vec<String> {
    vec![ANY_PATH.to_owned()]
}

fn check_type(key: &str, kind: &str) -> Result<(), Fault> {
    let plain = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !"/;,".contains(c);
    let part = |part: &str| !part.is_empty() && part.chars().all(plain);
    if kind.split_once('/').is_some_and(|(kind, subtype)| part(kind) && part(subtype)) {
        return Ok(());
    }
    let mend = "write it in lower case and without parameters, for example \"text/event-stream\"";
    Err(Fault::new(key, format!("{kind:?} is no content type"), mend))
}

fn default_max_wait() -> Duration {
    DEFAULT_MAX_WAIT
}

fn default_try_duration() -> Duration {
    DEFAULT_TRY_DURATION
}

fn default_held_max() -> usize {
    DEFAULT_HELD_MAX
}

fn default_held_per_client_max() -> usize {
    DEFAULT_HELD_PER_CLIENT_MAX
}

fn default_lease() -> Duration {
    DEFAULT_LEASE
}

fn default_lease_max() -> Duration {
    DEFAULT_LEASE_MAX
}

fn default_drain() -> Duration {
    DEFAULT_DRAIN
}

fn default_endless_types() -> Vec<String> {
    DEFAULT_ENDLESS_TYPES.map(str::to_owned).into()
}

#[cfg(test)]
mod tests;
