//! The floating IP: one address that clients use and that is on the primary's network device.
//!
//! `ip` and the announcer are started on the two hosts before anybody waits, so that inside the pause nothing starts: each
//! change is one line and its answer.

mod host;
mod output;

use std::{net::IpAddr, str::FromStr, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

pub use self::host::Host;
use self::host::{Probe, Reach};
use super::{Endpoint, EndpointError};
use crate::swap::observation::{Address, EndpointView, FloatingIpView, HostView};

/// An address and how many bits of it name its network: `10.0.0.10/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpPrefix {
    pub ip: IpAddr,
    pub bits: u8,
}

/// Text that is no [`IpPrefix`].
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text:?} is not an IP address with its prefix length, such as \"10.0.0.10/32\"")]
pub struct PrefixError {
    text: String,
}

impl FromStr for IpPrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let error = || PrefixError { text: text.to_owned() };
        let (ip, bits) = text.split_once('/').ok_or_else(error)?;
        let ip: IpAddr = ip.parse().map_err(|_| error())?;
        let bits: u8 = bits.parse().map_err(|_| error())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let is_one_host = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback();
        if bits == 0 || bits > most || !is_one_host {
            return Err(error());
        }
        Ok(Self { ip, bits })
    }
}

impl TryFrom<String> for IpPrefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<IpPrefix> for String {
    fn from(prefix: IpPrefix) -> Self {
        prefix.to_string()
    }
}

impl std::fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

/// A floating IP between the servers of a cluster.
#[derive(Debug)]
pub struct FloatingIp {
    address: IpPrefix,
    hosts: Vec<Reach>,
    probe: Probe,
    timeout: Duration,
}

impl FloatingIp {
    /// `probe` is how a third place is reached, from where is asked who has the address; empty for this machine.
    #[must_use]
    pub fn new(address: IpPrefix, hosts: Vec<Host>, probe: Vec<String>, timeout: Duration) -> Self {
        let hosts = hosts.into_iter().map(|host| Reach::new(host, address)).collect();
        Self { address, hosts, probe: Probe::new(probe, address), timeout }
    }

    fn host(&self, server: &Address) -> Result<&Reach, EndpointError> {
        let found = self.hosts.iter().find(|reach| reach.host.address == *server);
        found.ok_or_else(|| EndpointError::Host {
            server: server.to_string(),
            doing: format!("move {}", self.address),
            reason: "no network device of it is configured".to_owned(),
        })
    }

    async fn put_on(&self, server: &Address) -> Result<(), EndpointError> {
        let host = self.host(server)?;
        host.add(self.timeout).await?;
        host.announce(self.timeout).await
    }
}

#[async_trait]
impl Endpoint for FloatingIp {
    async fn observe(&self) -> EndpointView {
        let looks = self.hosts.iter().map(|reach| async {
            let found = reach.look(self.timeout).await.map_err(|error| error.to_string());
            HostView { server: reach.host.server.clone(), found }
        });
        let (hosts, answers) = tokio::join!(join_all(looks), self.probe.ask(self.timeout));
        let floating_ip =
            Some(FloatingIpView { address: self.address.to_string(), hosts, answers });
        EndpointView { refusals: Vec::new(), floating_ip }
    }

    fn bound(&self) -> Duration {
        // Off the one, on the other, announced.
        self.timeout * 3
    }

    async fn prepare(&self, old: &Address, new: &Address) -> Result<(), EndpointError> {
        self.stand_by(old, new).await?;
        self.host(new)?.forget_connections().await;
        Ok(())
    }

    async fn stand_by(&self, old: &Address, new: &Address) -> Result<(), EndpointError> {
        for reach in [self.host(old)?, self.host(new)?] {
            reach.prepare(self.timeout).await?;
        }
        Ok(())
    }

    fn withdrawal(&self) -> Option<Duration> {
        Some(self.bound())
    }

    async fn withdraw(&self, old: &Address) -> Result<String, EndpointError> {
        self.host(old)?.remove(self.timeout).await?;
        Ok(String::new())
    }

    /// On `new`, announced, and surely not on `old` unless that does not answer.
    async fn point(&self, new: &Address, old: &Address) -> Result<String, EndpointError> {
        // It was taken off there before: a host that has died since keeps nobody waiting.
        let left = self.host(old)?.remove(self.timeout).await.err();
        self.put_on(new).await?;
        Ok(left.map_or_else(String::new, |error| format!("not looked at: {error}")))
    }

    async fn point_withdrawn(&self, new: &Address, _: &Address) -> Result<String, EndpointError> {
        self.put_on(new).await?;
        Ok(String::new())
    }

    /// The announcer may be lost in a look that failed, and a way back needs it: it is started again while nobody waits.
    async fn remember(&self, old: &Address) -> Result<(), EndpointError> {
        let old = self.host(old)?;
        match old.remember_connections(self.timeout).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "connections are left to the server");
                old.prepare(self.timeout).await
            }
        }
    }

    async fn cut(&self, old: &Address) -> usize {
        match self.host(old) {
            Ok(old) => old.cut().await,
            Err(_) => 0,
        }
    }

    fn command(&self, new: &Address, old: &Address) -> String {
        let (Ok(new), Ok(old)) = (self.host(new), self.host(old)) else { return String::new() };
        format!("{} ; {}", old.command_to_remove(), new.command_to_add())
    }
}

#[cfg(test)]
mod tests {
    use super::IpPrefix;

    #[test]
    fn only_the_address_of_one_host_is_one() {
        for good in ["10.0.0.10/32", "10.0.0.10/24", "fd00::9/64", "2001:db8::1/128"] {
            let parsed: IpPrefix = good.parse().expect(good);
            assert_eq!(parsed.to_string(), good);
        }
        for bad in [
            "10.0.0.10",
            "10.0.0.10/33",
            "10.0.0.10/0",
            "127.0.0.1/8",
            "224.0.0.1/32",
            "fd00::9/129",
            "0.0.0.0/32",
            "db1/32",
            "10.0.0.10/32 dev lo",
            "",
        ] {
            assert!(bad.parse::<IpPrefix>().is_err(), "{bad}");
        }
    }
}
