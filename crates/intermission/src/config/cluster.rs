//! `[cluster]` and `[swap]`: the servers, who logs in, and what a swap may take.

mod endpoint;
mod gate;
mod guardian;
mod haproxy;
mod hook;
mod tls;

use std::{path::PathBuf, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

pub use self::endpoint::{
    ClientAddressSettings, DEFAULT_ENDPOINT_TIMEOUT, DEFAULT_FLOATING_IP_TIMEOUT, EndpointCommand,
    FloatingIpSettings,
};
pub use self::gate::{GateAddress, RemoteGate, SwapGate};
pub use self::guardian::{DEFAULT_GUARDIAN_AFTER, DEFAULT_SENTINEL_FOR};
pub use self::haproxy::{DEFAULT_HAPROXY_TIMEOUT, HaProxySettings};
pub use self::hook::{DEFAULT_HOOK_TIMEOUT, HookCommand};
pub use self::tls::{ServerTls, TlsMode};
use super::{
    Fault,
    gate::{Gate, check_range},
    secret::{AccountSource, Password},
};
use crate::swap::{observation::Address, plan::parity, settings::Bounds};

pub const DEFAULT_PORT: u16 = 3306;
pub const DEFAULT_MARKER_SCHEMA: &str = "intermission";
pub const DEFAULT_ATTEMPTS: u32 = 3;
pub const DEFAULT_BACKOFF: Duration = Duration::from_secs(2);

/// An attempt that is taken back is felt, if hardly; more of them than this need a person.
const ATTEMPTS_MAX: u32 = 10;
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// Users wait for each of them.
const HOOKS_MAX: usize = 16;
/// The fewest servers of a cluster: a primary and its replica. Which of them is primary is seen, never configured.
pub const SERVERS_MIN: usize = 2;
/// The most: a primary and four replicas.
pub const SERVERS_MAX: usize = 5;
/// Linux: IFNAMSIZ without its final zero.
const DEVICE_LENGTH_MAX: usize = 15;
/// MySQL manual, "Identifier Length Limits".
const SCHEMA_LENGTH_MAX: usize = 64;

/// The servers and the accounts used on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub servers: Vec<Server>,
    pub user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<Password>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password_file: Option<PathBuf>,
    /// How our own connections to the servers are encrypted.
    #[serde(default)]
    pub tls: TlsMode,
    /// What the servers' certificates are signed by (PEM; several are fine), for the modes that look into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// Where the marker row lives.
    #[serde(default = "default_marker_schema")]
    pub marker_schema: String,
    /// What the new replica logs in with on the new primary.
    pub replication: AccountSource,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub name: String,
    /// As the other server reaches it too: the new replica is pointed here.
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    /// The network device the floating IP is on while this server is primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What is put before a command to run it on this server's host, such as `["ssh", "root@db1"]`; without it the
    /// command runs on this machine. Where neither this nor `device` is there the host is asked nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<String>,
    /// A database that has to be on this server: the application's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The account that swaps, where this server has another one than the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountSource>,
    /// What a replica logs in to this server with, where that is another account than the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<AccountSource>,
    /// As the cluster's, where this server needs another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
}

impl Server {
    #[must_use]
    pub fn address(&self) -> Address {
        Address { host: self.host.clone(), port: self.port }
    }
}

/// What a swap holds, moves and may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// The apps held while roles change.
    #[serde(default)]
    pub apps: Vec<String>,
    /// The gates that hold them; the one behind `gate.admin_socket` when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<SwapGate>,
    /// A file that is there while requests are to be held, for a web server that looks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_file: Option<PathBuf>,
    /// Where journals are written; `journal` below `gate.state_dir` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_dir: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floating_ip: Option<FloatingIpSettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub haproxy: Option<HaProxySettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointCommand>,
    /// Where clients reach the primary. A write by this way must land on the new primary before anybody is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<ClientAddressSettings>,
    /// Commands run in this order before anybody is released: restart the application, clear a cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_release: Vec<HookCommand>,
    /// Settings that may differ between the servers, by their names in docs/CHECK.md.
    #[serde(default)]
    pub allow_differences: Vec<String>,
    /// Whether a server of a newer series may take over from an older one, which may then not be able to follow.
    #[serde(default)]
    pub allow_upgrade: bool,
    /// How often a swap is tried whose fence or catch-up somebody's lock or transaction was in the way of.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// The pause before the second attempt, twice as long before each further one.
    #[serde(with = "friendly", default = "default_backoff")]
    pub backoff: Duration,
    /// A swap that says nothing to its guardian for this long is taken back.
    #[serde(with = "friendly", default = "guardian::default_after")]
    pub guardian_after: Duration,
    /// How long the sentinel looks at both servers after a swap; `0s` is not at all.
    #[serde(with = "friendly", default = "guardian::default_sentinel_for")]
    pub sentinel_for: Duration,
    #[serde(default)]
    pub bounds: Bounds,
}

impl Cluster {
    /// The environment variables that passwords are taken from.
    #[must_use]
    pub fn password_variables(&self) -> Vec<String> {
        let accounts =
            self.servers.iter().flat_map(|server| [&server.account, &server.replication]);
        let accounts = accounts.flatten().chain([&self.replication]);
        let variables = accounts.filter_map(|account| account.password_env.as_ref());
        variables.chain(&self.password_env).cloned().collect()
    }

    /// The account that swaps.
    #[must_use]
    pub fn account(&self) -> AccountSource {
        AccountSource {
            user: self.user.clone(),
            password: self.password.clone(),
            password_env: self.password_env.clone(),
            password_file: self.password_file.clone(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        let count = self.servers.len();
        if !(SERVERS_MIN..=SERVERS_MAX).contains(&count) {
            let mend = format!("name {SERVERS_MIN} to {SERVERS_MAX}");
            return Err(Fault::new("cluster.servers", format!("names {count} servers"), mend));
        }
        for (index, server) in self.servers.iter().enumerate() {
            let key = format!("cluster.servers[{index}]");
            if server.name.is_empty() || server.host.is_empty() || server.port == 0 {
                let problem = "has an empty name or host, or port 0";
                return Err(Fault::new(key, problem, "give it a name, a host and a port"));
            }
            let mut before = self.servers.iter().take(index);
            if before.any(|o| o.name == server.name || o.address() == server.address()) {
                let problem = format!("{} is there twice", server.name);
                return Err(Fault::new("cluster.servers", problem, "name different servers"));
            }
            if count > SERVERS_MIN && server.replication.is_some() {
                let problem =
                    "is only for a cluster of two: replication carries accounts to all servers";
                let mend = "leave it out and write cluster.replication";
                return Err(Fault::new(format!("{key}.replication"), problem, mend));
            }
            if let Some(device) = &server.device {
                check_device(&format!("cluster.servers[{index}].device"), device)?;
            }
            if server.exec.iter().any(String::is_empty) {
                let key = format!("cluster.servers[{index}].exec");
                return Err(Fault::new(
                    key,
                    "has an empty word",
                    "write the command's words as a list",
                ));
            }
        }
        self.check_tls()?;
        let schema = &self.marker_schema;
        let is_plain = schema.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if schema.is_empty() || schema.len() > SCHEMA_LENGTH_MAX || !is_plain {
            return Err(Fault::new(
                "cluster.marker_schema",
                format!("{schema:?} is not a plain schema name"),
                "use letters, digits and underscores",
            ));
        }
        Ok(())
    }
}

impl Swap {
    #[must_use]
    pub fn gates_or_own(&self, gate: &Gate) -> Vec<SwapGate> {
        if self.gates.is_empty() {
            vec![SwapGate::Socket(gate.admin_socket.clone())]
        } else {
            self.gates.clone()
        }
    }

    #[must_use]
    pub fn journals(&self, gate: &Gate) -> PathBuf {
        self.journal_dir.clone().unwrap_or_else(|| gate.state_dir.join("journal"))
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        let nothing = self.apps.is_empty() && self.hold_file.is_none();
        if nothing || self.apps.iter().any(String::is_empty) {
            let mend = "name the apps to hold during a swap";
            return Err(Fault::new("swap.apps", "is empty or has an empty name", mend));
        }
        self.check_gates()?;
        if self.endpoint.is_none() && self.floating_ip.is_none() && self.haproxy.is_none() {
            let mend = "write floating_ip = {…}, haproxy = {…} or endpoint = { command = […] }";
            return Err(Fault::new(
                "swap",
                "says nothing of how clients are led to the new primary",
                mend,
            ));
        }
        if let Some(endpoint) = &self.endpoint {
            endpoint.check()?;
        }
        if let Some(haproxy) = &self.haproxy {
            haproxy.check()?;
        }
        check_range("swap.before_release (how many)", self.before_release.len(), 0, HOOKS_MAX)?;
        for (hook, index) in self.before_release.iter().zip(0..) {
            hook.check(&format!("swap.before_release[{index}]"))?;
        }
        if self.floating_ip.as_ref().is_some_and(|floating| floating.timeout.is_zero()) {
            let mend = "write for example \"2s\"";
            return Err(Fault::new("swap.floating_ip.timeout", "is zero", mend));
        }
        if self.client_address.as_ref().is_some_and(|at| at.host.is_empty() || at.port == 0) {
            let mend = "write { host = \"db.internal\", port = 3306 }";
            return Err(Fault::new("swap.client_address", "has an empty host or port 0", mend));
        }
        if let Some(name) = self.allow_differences.iter().find(|name| !parity::is_compared(name)) {
            let known: Vec<&str> = parity::names().collect();
            let mend = format!("name some of: {}", known.join(", "));
            return Err(Fault::new(
                "swap.allow_differences",
                format!("{name:?} is not compared"),
                mend,
            ));
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts) {
            let problem = format!("{} is not within 1 and {ATTEMPTS_MAX}", self.attempts);
            return Err(Fault::new("swap.attempts", problem, "write 1 for a single attempt"));
        }
        if self.backoff.is_zero() || self.backoff > BACKOFF_MAX {
            let problem = format!("{:?} is not within 1ms and {BACKOFF_MAX:?}", self.backoff);
            return Err(Fault::new("swap.backoff", problem, "write for example \"2s\""));
        }
        self.check_guardian()?;
        match self.bounds.zero() {
            Some(key) => {
                let key = format!("swap.bounds.{key}");
                Err(Fault::new(key, "is zero", "write a duration like \"250ms\""))
            }
            None => Ok(()),
        }
    }

    fn check_gates(&self) -> Result<(), Fault> {
        for (index, gate) in self.gates.iter().enumerate() {
            let key = format!("swap.gates[{index}]");
            if self.gates.iter().take(index).any(|earlier| earlier.is_at(gate)) {
                return Err(Fault::new(key, "is there twice", "name each gate once"));
            }
            if let SwapGate::Remote(remote) = gate {
                remote.check(&key)?;
            }
        }
        Ok(())
    }
}

/// It becomes part of a command.
fn check_device(key: &str, device: &str) -> Result<(), Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    if device.is_empty() || device.len() > DEVICE_LENGTH_MAX || !device.chars().all(plain) {
        let problem = format!("{device:?} is not the name of a network device");
        return Err(Fault::new(key, problem, "write for example \"eth0\""));
    }
    Ok(())
}

const fn default_port() -> u16 {
    DEFAULT_PORT
}

pub(super) fn default_marker_schema() -> String {
    DEFAULT_MARKER_SCHEMA.to_owned()
}

const fn default_attempts() -> u32 {
    DEFAULT_ATTEMPTS
}

const fn default_backoff() -> Duration {
    DEFAULT_BACKOFF
}

#[cfg(test)]
mod tests;
