//! The gates of a swap: on this machine by their sockets, on others by TCP with TLS and a token or a certificate.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::Fault;
use crate::config::secret::Secret;
use crate::config::token::{self, TokenError};

/// RFC 1035, 2.3.4.
const HOST_LENGTH_MAX: usize = 253;

/// How a gate is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SwapGate {
    /// The path of its admin socket.
    Socket(PathBuf),
    Remote(RemoteGate),
}

/// A gate whose admin API is reached by TCP (`gate.admin_listen` there).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteGate {
    pub address: GateAddress,
    /// What the gate's certificate was signed with (PEM): a certificate authority's, or the gate's own where that is signed by
    /// itself. The authorities of the operating system are not asked: each of them could vouch for anybody.
    pub ca_file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// What this program shows the gate: PEM, then what it was signed with, if needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// What the certificate is made out to, where that is not the address's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `host:port`, `10.0.0.5:7443` or `[fd00::5]:7443`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GateAddress {
    /// A name or an IP address, without brackets.
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of a gate; write \"host:port\"")]
pub struct GateAddressError {
    text: String,
}

impl SwapGate {
    pub(super) fn is_at(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Socket(path), Self::Socket(other)) => path == other,
            (Self::Remote(gate), Self::Remote(other)) => gate.address == other.address,
            (Self::Socket(_), Self::Remote(_)) | (Self::Remote(_), Self::Socket(_)) => false,
        }
    }
}

impl RemoteGate {
    pub(super) fn check(&self, key: &str) -> Result<(), Fault> {
        let token = format!("{key}.token");
        let has_token =
            token::check(&token, self.token_env.as_deref(), self.token_file.as_deref())?;
        match (&self.certificate, &self.key) {
            (Some(_), None) | (None, Some(_)) => {
                let problem = "has a certificate or a key, and not both";
                Err(Fault::new(key, problem, "write certificate = \"….pem\", key = \"….key\""))
            }
            (None, None) if !has_token => Err(token::missing(&token, "or certificate and key")),
            (None, None) | (Some(_), Some(_)) => Ok(()),
        }
    }

    /// Finds the token, if there is one; `key` names this gate in errors.
    ///
    /// # Errors
    /// [`TokenError`] names the key, the variable or the file.
    pub fn token(&self, key: &str) -> Result<Option<Secret>, TokenError> {
        let (env, file) = (self.token_env.as_deref(), self.token_file.as_deref());
        token::resolve(&format!("{key}.token"), env, file)
    }
}

impl<'de> Deserialize<'de> for SwapGate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherGate)
    }
}

/// Not `untagged`, whose error would not say what is wrong with a table.
struct EitherGate;

impl<'de> Visitor<'de> for EitherGate {
    type Value = SwapGate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path of an admin socket, or { address = \"host:port\", ca_file, token_file or token_env or certificate and key }")
    }

    fn visit_str<E>(self, path: &str) -> Result<SwapGate, E> {
        Ok(SwapGate::Socket(PathBuf::from(path)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SwapGate, A::Error> {
        RemoteGate::deserialize(MapAccessDeserializer::new(map)).map(SwapGate::Remote)
    }
}

impl FromStr for GateAddress {
    type Err = GateAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || GateAddressError { text: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port: u16 = port.parse().map_err(|_not_a_port| error())?;
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let fits = match in_brackets {
            Some(host) => host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
            None => {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
                !host.is_empty() && host.len() <= HOST_LENGTH_MAX && host.chars().all(plain)
            }
        };
        if port == 0 || !fits {
            return Err(error());
        }
        Ok(Self { host: in_brackets.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for GateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for GateAddress {
    type Error = GateAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<GateAddress> for String {
    fn from(address: GateAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::GateAddress;

    #[test]
    fn addresses_print_as_written() {
        for text in ["gate1.internal:7443", "10.0.0.5:7443", "[fd00::5]:1"] {
            assert_eq!(text.parse::<GateAddress>().unwrap().to_string(), text);
        }
        for text in
            ["", "gate1", "gate1:0", ":7443", "fd00::5:7443", "[10.0.0.5]:1", "a/b:1", "a:70000"]
        {
            assert!(text.parse::<GateAddress>().is_err(), "{text}");
        }
    }
}
