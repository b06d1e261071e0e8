//! The configuration file: TOML (or the `cluster.yml` of an older script), every unknown key an error, every default a named constant.

pub mod cidr;
pub mod cluster;
pub mod cluster_yml;
mod error;
pub mod failover;
pub mod gate;
pub mod pem;
pub mod secret;
pub mod token;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::swap::endpoint::quote;

pub use self::error::ConfigError;
use self::{
    cluster::{Cluster, Swap},
    failover::Failover,
    gate::{App, Gate},
    secret::Secret,
};

/// Looked for in this order when no `-c/--config` is given.
pub const DEFAULT_PATHS: [&str; 2] = ["./intermission.toml", "/etc/intermission/intermission.toml"];

/// No sane file is larger; a wrong path (a log, a dump) is refused instead of read into memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything one file says, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub gate: Gate,
    #[serde(default, rename = "app")]
    pub apps: Vec<App>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
    #[serde(default, skip_serializing_if = "Failover::is_empty")]
    pub failover: Failover,
    /// The file it was read from, where that is not found without being named.
    #[serde(skip)]
    pub named: Option<PathBuf>,
    /// The file itself, for another process of the same swap: it may be a different one by the time that reads it.
    #[serde(skip)]
    pub source: Option<Source>,
}

/// A configuration file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    /// It may have passwords in it.
    pub text: Secret,
}

impl Config {
    /// Reads the file at `named`, or the first of [`DEFAULT_PATHS`] that exists.
    ///
    /// # Errors
    /// Names the file and the key, and says how to mend it.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = match named {
            Some(path) => path.to_path_buf(),
            None => Self::find()?,
        };
        let unreadable = |source| ConfigError::Unreadable { path: path.clone(), source };
        let metadata = std::fs::metadata(&path).map_err(unreadable)?;
        if metadata.len() > FILE_BYTES_MAX {
            return Err(ConfigError::TooLarge { path, bytes_max: FILE_BYTES_MAX });
        }
        let text = std::fs::read_to_string(&path).map_err(unreadable)?;
        let mut config = Self::parse(&path, &text)?;
        // As it was named: a link may lead to another file the next time it is read.
        config.named =
            named.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        config.source = Some(Source { path, text: Secret::new(text) });
        Ok(config)
    }

    /// How an operator calls this program with this configuration.
    #[must_use]
    pub fn program(&self) -> String {
        match &self.named {
            Some(path) => format!("intermission -c {}", quote(&path.display().to_string())),
            None => "intermission".to_owned(),
        }
    }

    /// Parses and checks `text`; `path` is only named in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = if cluster_yml::is_meant(path) {
            cluster_yml::parse(path, text)?
        } else {
            toml::from_str(text).map_err(|source| ConfigError::parse(path, text, &source))?
        };
        config.check().map_err(|fault| ConfigError::Invalid { path: path.to_path_buf(), fault })?;
        Ok(config)
    }

    /// The `[cluster]` section.
    ///
    /// # Errors
    /// Names the file that has none, as where only the gate is used.
    pub fn cluster_section(&self) -> Result<&Cluster, ConfigError> {
        self.cluster.as_ref().ok_or_else(|| self.lacks("cluster"))
    }

    /// The `[swap]` section.
    ///
    /// # Errors
    /// As [`Config::cluster_section`].
    pub fn swap_section(&self) -> Result<&Swap, ConfigError> {
        self.swap.as_ref().ok_or_else(|| self.lacks("swap"))
    }

    fn lacks(&self, section: &str) -> ConfigError {
        let mend = format!("write a section [{section}], as examples/intermission.toml has one");
        let fault = Fault::new(section, "is missing, and this command needs it", mend);
        let path = self.source.as_ref().map(|source| source.path.clone()).unwrap_or_default();
        ConfigError::Invalid { path, fault }
    }

    /// The resolved values as TOML.
    ///
    /// # Errors
    /// A value that TOML cannot hold; none of the present types has one.
    pub fn print(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    fn find() -> Result<PathBuf, ConfigError> {
        DEFAULT_PATHS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .ok_or(ConfigError::NotFound)
    }

    fn check(&self) -> Result<(), Fault> {
        self.gate.check()?;
        gate::check_apps(&self.apps, &self.gate.trusted_proxies)?;
        self.cluster.as_ref().map_or(Ok(()), Cluster::check)?;
        self.swap.as_ref().map_or(Ok(()), Swap::check)?;
        self.failover.check()?;
        self.check_servers_for_swap()
    }

    /// It can only move to a device that is named, and clients are one account.
    fn check_servers_for_swap(&self) -> Result<(), Fault> {
        let (Some(cluster), Some(swap)) = (&self.cluster, &self.swap) else { return Ok(()) };
        let mut accounts = cluster.servers.iter().map(|server| &server.account);
        let first = accounts.next();
        if swap.client_address.is_some() && accounts.any(|account| Some(account) != first) {
            let problem =
                "is used with the first server's account, and the servers have different ones";
            let mend = "give the servers one account, or leave client_address out";
            return Err(Fault::new("swap.client_address", problem, mend));
        }
        if swap.client_address.is_some() && !cluster.has_one_tls() {
            let problem =
                "is reached with the TLS settings of all servers, and they have different ones";
            let mend = "write tls and tls_ca_file in [cluster] only (the file may have several certificates), or leave \
                        client_address out";
            return Err(Fault::new("swap.client_address", problem, mend));
        }
        let lacking = cluster.servers.iter().find(|server| server.device.is_none());
        match lacking {
            Some(server) if swap.floating_ip.is_some() => Err(Fault::new(
                "cluster.servers",
                format!("{} has no device for the floating IP", server.name),
                "write device = \"eth0\", and exec to reach its host, such as [\"ssh\", \"root@db1\"]",
            )),
            _ => Ok(()),
        }
    }
}

/// A value that parses but cannot be meant: which key, what is wrong, what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub key: String,
    pub problem: String,
    pub mend: String,
}

impl Fault {
    pub(crate) fn new(
        key: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { key: key.into(), problem: problem.into(), mend: mend.into() }
    }
}

#[cfg(test)]
mod tests;
