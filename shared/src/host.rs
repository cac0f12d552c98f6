//! The address of a host, parsed once at the border.
//!
//! Owns what counts as a host address; knows nothing of the pool, the search or the queue.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 or IPv6 address in its canonical text form (RFC 5952 for IPv6), at most 45 characters.
///
/// No zone index, no port, no prefix length, no host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostIp(IpAddr);

/// The text is no IPv4 or IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an IPv4 or IPv6 address")]
pub struct HostIpError {
    /// What was given, cut to 60 characters.
    pub text: String,
}

impl HostIp {
    /// The address itself.
    pub fn addr(self) -> IpAddr {
        self.0
    }
}

/// What two spellings of the same address have in common: the canonical form, or, of what is no address, its lower case.
/// The database compares by its collation; what comes back is matched by this.
pub fn address_key(text: &str) -> String {
    text.parse::<IpAddr>().map_or_else(|_| text.to_lowercase(), |address| address.to_string())
}

impl FromStr for HostIp {
    type Err = HostIpError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| HostIpError { text: text.chars().take(60).collect() })
    }
}

impl TryFrom<String> for HostIp {
    type Error = HostIpError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostIp> for String {
    fn from(ip: HostIp) -> Self {
        ip.to_string()
    }
}

impl fmt::Display for HostIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_in_its_canonical_form() {
        let ip: HostIp = "2001:DB8:0:0::1".parse().expect("an address");
        assert_eq!(ip.to_string(), "2001:db8::1");
    }

    #[test]
    fn names_ports_prefixes_and_leading_zeros_are_no_addresses() {
        for text in ["", "web-1", "10.0.0.1:80", "10.0.0.0/8", "010.0.0.1", "fe80::1%eth0", " 10.0.0.1"] {
            assert!(text.parse::<HostIp>().is_err(), "{text:?}");
        }
    }
}
