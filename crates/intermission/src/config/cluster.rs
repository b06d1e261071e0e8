//! `[cluster]` and `[swap]`: the two servers, who logs in, and what a swap may take.

use std::{path::PathBuf, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

use super::{
    Fault,
    gate::Gate,
    secret::{AccountSource, Password},
};
use crate::swap::{endpoint::Start, observation::Address, settings::Bounds};

pub const DEFAULT_PORT: u16 = 3306;
pub const DEFAULT_MARKER_SCHEMA: &str = "intermission";
pub const DEFAULT_ATTEMPTS: u32 = 3;
pub const DEFAULT_BACKOFF: Duration = Duration::from_secs(2);
pub const DEFAULT_ENDPOINT_TIMEOUT: Duration = Duration::from_secs(5);

/// An attempt that is taken back is felt, if hardly; more of them than this need a person.
const ATTEMPTS_MAX: u32 = 10;
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// The servers of a cluster. Which of them is primary is seen, never configured.
const SERVERS: usize = 2;
/// MySQL manual, "Identifier Length Limits".
const SCHEMA_LENGTH_MAX: usize = 64;

/// The two servers and the accounts used on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub servers: Vec<Server>,
    pub user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Password>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
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
    pub apps: Vec<String>,
    /// The admin socket of the gate that holds them; `gate.admin_socket` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<PathBuf>,
    /// Where journals are written; `journal` below `gate.state_dir` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_dir: Option<PathBuf>,
    pub endpoint: EndpointCommand,
    /// How often a swap is tried whose fence or catch-up somebody's lock or transaction was in the way of.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// The pause before the second attempt, twice as long before each further one.
    #[serde(with = "friendly", default = "default_backoff")]
    pub backoff: Duration,
    #[serde(default)]
    pub bounds: Bounds,
}

/// The command that leads clients to the new primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointCommand {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    #[serde(with = "friendly", default = "default_endpoint_timeout")]
    pub timeout: Duration,
    #[serde(default)]
    pub start: Start,
}

impl Cluster {
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
        let [first, second] = self.servers.as_slice() else {
            let problem = format!("names {} servers", self.servers.len());
            return Err(Fault::new("cluster.servers", problem, format!("name exactly {SERVERS}")));
        };
        for (key, server) in [("cluster.servers[0]", first), ("cluster.servers[1]", second)] {
            if server.name.is_empty() || server.host.is_empty() || server.port == 0 {
                let problem = "has an empty name or host, or port 0";
                return Err(Fault::new(key, problem, "give it a name, a host and a port"));
            }
        }
        if first.name == second.name || first.address() == second.address() {
            let problem = format!("{} is there twice", first.name);
            return Err(Fault::new("cluster.servers", problem, "name two different servers"));
        }
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
    pub fn admin_socket(&self, gate: &Gate) -> PathBuf {
        self.gate.clone().unwrap_or_else(|| gate.admin_socket.clone())
    }

    #[must_use]
    pub fn journals(&self, gate: &Gate) -> PathBuf {
        self.journal_dir.clone().unwrap_or_else(|| gate.state_dir.join("journal"))
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.apps.is_empty() || self.apps.iter().any(String::is_empty) {
            let mend = "name the apps to hold during a swap";
            return Err(Fault::new("swap.apps", "is empty or has an empty name", mend));
        }
        if self.endpoint.command.first().is_none_or(String::is_empty) {
            let mend = "write the program and its arguments as a list";
            return Err(Fault::new("swap.endpoint.command", "is empty", mend));
        }
        if self.endpoint.timeout.is_zero() {
            return Err(Fault::new("swap.endpoint.timeout", "is zero", "write for example \"5s\""));
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts) {
            let problem = format!("{} is not within 1 and {ATTEMPTS_MAX}", self.attempts);
            return Err(Fault::new("swap.attempts", problem, "write 1 for a single attempt"));
        }
        if self.backoff.is_zero() || self.backoff > BACKOFF_MAX {
            let problem = format!("{:?} is not within 1ms and {BACKOFF_MAX:?}", self.backoff);
            return Err(Fault::new("swap.backoff", problem, "write for example \"2s\""));
        }
        match self.bounds.zero() {
            Some(key) => {
                let key = format!("swap.bounds.{key}");
                Err(Fault::new(key, "is zero", "write a duration like \"250ms\""))
            }
            None => Ok(()),
        }
    }
}

const fn default_port() -> u16 {
    DEFAULT_PORT
}

fn default_marker_schema() -> String {
    DEFAULT_MARKER_SCHEMA.to_owned()
}

const fn default_attempts() -> u32 {
    DEFAULT_ATTEMPTS
}

const fn default_backoff() -> Duration {
    DEFAULT_BACKOFF
}

const fn default_endpoint_timeout() -> Duration {
    DEFAULT_ENDPOINT_TIMEOUT
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{config::Config, swap::settings::Bounds};

    const EXAMPLE: &str = include_str!("../../../../examples/intermission.toml");

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("x.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_shows_every_default() {
        let config = parse(EXAMPLE).expect("parses");
        let (cluster, swap) = (config.cluster.expect("a cluster"), config.swap.expect("a swap"));
        assert_eq!(swap.bounds, Bounds::default());
        assert_eq!(swap.endpoint.timeout, super::DEFAULT_ENDPOINT_TIMEOUT);
        assert_eq!(swap.endpoint.start, super::Start::default());
        assert_eq!(
            (swap.attempts, swap.backoff),
            (super::DEFAULT_ATTEMPTS, super::DEFAULT_BACKOFF)
        );
        assert!(EXAMPLE.contains("\nattempts = ") && EXAMPLE.contains("\nbackoff = "));
        assert_eq!(cluster.marker_schema, super::DEFAULT_MARKER_SCHEMA);
        assert_eq!(cluster.servers[0].port, super::DEFAULT_PORT);
        let printed = toml::to_string(&swap.bounds).expect("prints");
        let bounds = EXAMPLE.split_once("[swap.bounds]").expect("the section").1;
        for key in printed.lines().filter_map(|line| line.split(' ').next()) {
            assert!(bounds.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
        }
    }

    #[test]
    fn a_password_in_the_file_is_not_printed() {
        let text =
            EXAMPLE.replace("password_env = \"INTERMISSION_PASSWORD\"", "password = \"hunter2\"");
        let config = parse(&text).expect("parses");
        assert!(!config.print().expect("prints").contains("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (from, to, key) in [
            ("name = \"db2\"", "name = \"db1\"", "cluster.servers"),
            ("fence = \"250ms\"", "fence = \"0s\"", "swap.bounds.fence"),
            ("apps = [\"shop\"]", "apps = []", "swap.apps"),
            ("attempts = 3", "attempts = 0", "swap.attempts"),
            ("backoff = \"2s\"", "backoff = \"2h\"", "swap.backoff"),
            (
                "marker_schema = \"intermission\"",
                "marker_schema = \"a`b\"",
                "cluster.marker_schema",
            ),
            (
                "command = [\"/usr/local/bin/point-to-new-primary\"]",
                "command = []",
                "swap.endpoint.command",
            ),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = parse(&EXAMPLE.replacen(from, to, 1)).expect_err(key);
            assert!(error.contains(key), "{error}");
        }
        let unknown = parse(&format!("{EXAMPLE}\nfnece = \"1s\"\n")).expect_err("unknown key");
        assert!(unknown.contains("fnece"), "{unknown}");
    }
}
