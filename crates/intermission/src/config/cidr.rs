//! A range of addresses, as "10.0.0.0/8", "fd00::/8" or one address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Of an address of IPv6.
const CLIENT_BITS: u8 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

#[derive(Debug, thiserror::Error)]
pub enum CidrError {
    #[error("{0:?} is no range of addresses; write \"10.0.0.0/8\", \"fd00::/8\" or one address")]
    Malformed(String),
    #[error("{text:?} begins within its range; write \"{meant}\"")]
    Within { text: String, meant: Cidr },
}

impl Cidr {
    /// Whether `address` is one of these. An IPv4 address within IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether any address is one of both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }
}

/// What stands for whoever has `address`, where clients are counted. What belongs to one client of IPv6 is at least a /64:
/// within it addresses can be had by the billion.
#[must_use]
pub fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            Ipv6Net::new(address, CLIENT_BITS).map_or(address, |network| network.network()).into()
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        let range: IpNet = text
            .parse()
            .or_else(|_no_range| one())
            .map_err(|_no_address| CidrError::Malformed(text.to_owned()))?;
        if range.trunc() == range {
            return Ok(Self(range));
        }
        Err(CidrError::Within { text: text.to_owned(), meant: Self(range.trunc()) })
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cidr, one_client};

    #[test]
    fn a_range_holds_its_addresses_and_no_other() {
        for (range, address, within) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "a00::", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
        ] {
            let range: Cidr = range.parse().unwrap();
            assert_eq!(range.contains(address.parse().unwrap()), within, "{range} {address}");
        }
    }

    #[test]
    fn what_is_no_range_is_named() {
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/", "10.0.0.0/-1"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
        let error = "10.1.0.0/8".parse::<Cidr>().unwrap_err().to_string();
        assert!(error.contains("write \"10.0.0.0/8\""), "{error}");
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        for (address, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::ffff:0:0:1", "2001:db8::"),
            ("2001:db8:0:1::1", "2001:db8:0:1::"),
        ] {
            assert_eq!(
                one_client(address.parse().unwrap()),
                client.parse::<std::net::IpAddr>().unwrap()
            );
        }
    }
}
