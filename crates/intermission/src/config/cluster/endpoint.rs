//! How clients are led to the primary.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

use super::default_port;
use crate::{
    config::Fault,
    swap::endpoint::{IpPrefix, Start},
};

pub const DEFAULT_FLOATING_IP_TIMEOUT: Duration = Duration::from_secs(1);
pub const DEFAULT_ENDPOINT_TIMEOUT: Duration = Duration::from_secs(5);

/// The address that is on the primary's network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloatingIpSettings {
    pub address: IpPrefix,
    /// How long each of its commands may take once it is logged in.
    #[serde(with = "friendly", default = "default_floating_ip_timeout")]
    pub timeout: Duration,
    /// What is put before a command to run it in a third place, from where is asked who has the address; without it
    /// that is this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probe: Vec<String>,
}

/// Where clients reach the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAddressSettings {
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
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

impl EndpointCommand {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.command.first().is_none_or(String::is_empty) {
            let mend = "write the program and its arguments as a list";
            return Err(Fault::new("swap.endpoint.command", "is empty", mend));
        }
        if self.timeout.is_zero() {
            return Err(Fault::new("swap.endpoint.timeout", "is zero", "write for example \"5s\""));
        }
        Ok(())
    }
}

const fn default_floating_ip_timeout() -> Duration {
    DEFAULT_FLOATING_IP_TIMEOUT
}

const fn default_endpoint_timeout() -> Duration {
    DEFAULT_ENDPOINT_TIMEOUT
}
