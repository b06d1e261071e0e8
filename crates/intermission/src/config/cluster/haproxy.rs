//! `[swap] haproxy`: a backend that clients find the primary by.

use std::{collections::BTreeMap, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

use crate::config::Fault;

pub const DEFAULT_HAPROXY_TIMEOUT: Duration = Duration::from_secs(1);

/// A backend of HAProxy that clients find the primary by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaProxySettings {
    /// The runtime API of every HAProxy: paths of unix sockets, or `host:port`; level admin.
    pub sockets: Vec<String>,
    pub backend: String,
    /// A server's name in the backend, where that is not its name here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, String>,
    #[serde(with = "friendly", default = "default_haproxy_timeout")]
    pub timeout: Duration,
}

impl HaProxySettings {
    /// What becomes part of a command is plain.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.sockets.is_empty() || self.sockets.iter().any(String::is_empty) {
            let mend = "write [\"/run/haproxy/admin.sock\"]";
            return Err(Fault::new("swap.haproxy.sockets", "is empty or has an empty name", mend));
        }
        if self.timeout.is_zero() {
            return Err(Fault::new("swap.haproxy.timeout", "is zero", "write for example \"1s\""));
        }
        let plain = |name: &String| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            !name.is_empty() && name.chars().all(known)
        };
        match self.servers.values().chain([&self.backend]).find(|name| !plain(name)) {
            None => Ok(()),
            Some(name) => Err(Fault::new(
                "swap.haproxy",
                format!("{name:?} is no name of a backend or server"),
                "use letters, digits, dashes, dots, colons and underscores, as HAProxy does",
            )),
        }
    }
}

const fn default_haproxy_timeout() -> Duration {
    DEFAULT_HAPROXY_TIMEOUT
}
