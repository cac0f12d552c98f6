//! The address of a host, parsed once at the border.
//!
//! Owns what counts as a host address, and how one and the same may be written. A host is its value, not its text. Knows
//! nothing of the pool, the search or the queue.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 or IPv6 address; an IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is the IPv4 address. Its text is the canonical
/// one (RFC 5952 for IPv6), at most 39 characters.
///
/// No zone index, no port, no prefix length, no host name. What cannot be seen around an address (blanks, zero-width
/// characters) is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostIp(IpAddr);

/// The text is no IPv4 or IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" {reason}")]
pub struct HostIpError {
    /// What was given, cut to 60 characters.
    pub text: String,
    /// What is wrong with it, as a sentence goes on after it.
    pub reason: String,
}

impl HostIp {
    /// Most texts of [`HostIp::spellings`].
    pub const MAX_SPELLINGS: usize = 8;

    /// The address itself, never an IPv4-mapped one.
    pub fn addr(self) -> IpAddr {
        self.0
    }

    /// The usual ways to write it, the canonical one first: with and without `::` and leading zeros, in small and in
    /// capital letters; an IPv4 address also as an IPv4-mapped one. At most
    /// [`HostIp::MAX_SPELLINGS`].
    pub fn spellings(self) -> Vec<String> {
        let mut all = vec![self.to_string()];
        let mut add = |text: String| {
            if !all.contains(&text) {
                all.push(text);
            }
        };
        match self.0 {
            IpAddr::V4(v4) => add(format!("::ffff:{v4}")),
            IpAddr::V6(v6) => {
                let short = v6.to_string();
                let plain = v6.segments().map(|group| format!("{group:x}")).join(":");
                for text in [padded(&short), padded(&plain), plain, short] {
                    add(text.to_uppercase());
                    add(text);
                }
            }
        }
        all
    }

    /// What every text of this address begins with, whatever its spelling, but for blanks before it: a few texts, so that
    /// a key on the text can be used. Of IPv6 the first group; of IPv4 all of it, or the zeros of an IPv4-mapped one.
    pub fn prefixes(self) -> BTreeSet<String> {
        let zeros = || ["::", "0:", "00:", "000:", "0000:"].map(str::to_owned);
        match self.0 {
            IpAddr::V4(v4) => std::iter::once(v4.to_string()).chain(zeros()).collect(),
            IpAddr::V6(v6) if v6.segments()[0] == 0 => zeros().into(),
            IpAddr::V6(v6) => {
                let group = format!("{:x}", v6.segments()[0]);
                let padded = (group.len()..=4).map(|width| format!("{group:0>width$}:"));
                padded.flat_map(|text| in_any_case(&text)).collect()
            }
        }
    }
}

/// The groups of an IPv6 address with leading zeros. `::` stays.
fn padded(text: &str) -> String {
    let groups = text.split(':').map(|group| if group.is_empty() { String::new() } else { format!("{group:0>4}") });
    groups.collect::<Vec<_>>().join(":")
}

/// A text with each of its letters small or capital.
fn in_any_case(text: &str) -> Vec<String> {
    text.chars().fold(vec![String::new()], |texts, letter| {
        let cases = BTreeSet::from([letter.to_ascii_lowercase(), letter.to_ascii_uppercase()]);
        texts.iter().flat_map(|text| cases.iter().map(move |case| format!("{text}{case}"))).collect()
    })
}

/// What all texts of the same address have in common: the canonical form, or, of what is no address, its lower case. The
/// database compares by its collation; what comes back is matched by this.
pub fn address_key(text: &str) -> String {
    text.parse::<HostIp>().map_or_else(|_| text.to_lowercase(), |address| address.to_string())
}

/// A text without the blanks and invisible characters at its ends.
pub fn visible(text: &str) -> &str {
    text.trim_matches(|letter: char| letter.is_whitespace() || invisible(letter).is_some())
}

/// The name of a character that cannot be seen, and that editors, spreadsheets and chat programs leave behind.
fn invisible(letter: char) -> Option<&'static str> {
    Some(match letter {
        '\0' => "a zero byte",
        '\u{a0}' | '\u{2007}' | '\u{202f}' => "a no-break space",
        '\u{ad}' => "a soft hyphen",
        '\u{180e}' | '\u{200b}' => "a zero-width space",
        '\u{200c}' | '\u{200d}' => "a zero-width joiner",
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "a mark of the direction of writing"
        }
        '\u{2060}'..='\u{2064}' => "a word joiner",
        '\u{feff}' => "a byte order mark",
        _ => return None,
    })
}

/// Why a text is no address, as helpful as its form allows.
fn reason(text: &str) -> String {
    let hint =
        if let Some(letter) = text.chars().find(|letter| !letter.is_ascii_graphic() && !letter.is_ascii_whitespace()) {
            match invisible(letter) {
                Some(_) if letter == '\0' => ": it holds zero bytes, as UTF-16 has; save the file as UTF-8".to_owned(),
                Some(name) => format!(": it holds {name} (U+{:04X})", u32::from(letter)),
                None if letter == char::REPLACEMENT_CHARACTER => ": it holds bytes that are no UTF-8".to_owned(),
                None => format!(": it holds the character U+{:04X}", u32::from(letter)),
            }
        } else if text.contains('/') {
            ": a network (/) is not taken, name each host".to_owned()
        } else if text.contains('%') {
            ": a zone (%) is not taken".to_owned()
        } else if text.contains([',', ';', ' ', '\t']) {
            ": one address a line".to_owned()
        } else {
            String::new()
        };
    format!("is not an IPv4 or IPv6 address{hint}")
}

impl From<IpAddr> for HostIp {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl FromStr for HostIp {
    type Err = HostIpError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address: Result<IpAddr, _> = visible(text).parse();
        address
            .map(Self::from)
            .map_err(|_| HostIpError { text: text.chars().take(60).collect(), reason: reason(visible(text)) })
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
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> HostIp {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_address_is_kept_in_its_canonical_form() {
        assert_eq!(host("2001:DB8:0:0::1").to_string(), "2001:db8::1");
    }

    #[test]
    fn a_host_is_its_value_whatever_its_spelling() {
        for (text, value) in [
            ("2001:DB8:66::A", "2001:db8:66::a"),
            ("2001:0db8:0066:0000:0000:0000:0000:000b", "2001:db8:66::b"),
            ("::ffff:10.66.8.2", "10.66.8.2"),
            ("::FFFF:a42:802", "10.66.8.2"),
            ("0000:0000:0000:0000:0000:ffff:0A42:0802", "10.66.8.2"),
            (" 10.0.0.1\t", "10.0.0.1"),
            ("\u{feff}10.0.0.1\u{200b}\u{a0}", "10.0.0.1"),
            ("\u{202a}fd00::1\u{202c}", "fd00::1"),
        ] {
            assert_eq!(host(text).to_string(), value, "{text:?}");
            assert_eq!(address_key(text), value, "{text:?}");
        }
        assert_eq!(address_key("Web-1"), "web-1");
        assert_ne!(host("::10.66.8.2"), host("10.66.8.2"), "IPv4-compatible addresses are IPv6");
    }

    #[test]
    fn names_ports_prefixes_and_leading_zeros_are_no_addresses() {
        for text in ["", "web-1", "10.0.0.1:80", "10.0.0.0/8", "010.0.0.1", "fe80::1%eth0", "10.0. 0.1"] {
            assert!(text.parse::<HostIp>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_character_that_cannot_be_seen_is_named() {
        let told = |text: &str| text.parse::<HostIp>().expect_err(text).reason;
        assert_eq!(told("10.0\u{200b}.0.1"), "is not an IPv4 or IPv6 address: it holds a zero-width space (U+200B)");
        assert_eq!(told("10.0.0\u{ad}.1"), "is not an IPv4 or IPv6 address: it holds a soft hyphen (U+00AD)");
        assert_eq!(told("10.0.0.１"), "is not an IPv4 or IPv6 address: it holds the character U+FF11");
        assert_eq!(told("web-1"), "is not an IPv4 or IPv6 address");
    }

    #[test]
    fn an_address_is_asked_for_in_its_usual_spellings() {
        assert_eq!(host("10.0.0.1").spellings(), ["10.0.0.1", "::ffff:10.0.0.1"]);
        assert_eq!(
            host("2001:db8:66::a").spellings(),
            [
                "2001:db8:66::a",
                "2001:0DB8:0066::000A",
                "2001:0db8:0066::000a",
                "2001:0DB8:0066:0000:0000:0000:0000:000A",
                "2001:0db8:0066:0000:0000:0000:0000:000a",
                "2001:DB8:66:0:0:0:0:A",
                "2001:db8:66:0:0:0:0:a",
                "2001:DB8:66::A",
            ]
        );
        assert_eq!(host("fd00::").prefixes(), BTreeSet::from(["FD00:", "Fd00:", "fD00:", "fd00:"].map(str::to_owned)));
        assert_eq!(host("db8::1").prefixes().len(), 8);
    }

    /// An address in one of all the ways in which it may be written.
    fn spelled() -> impl Strategy<Value = (u128, String)> {
        (any::<u128>(), any::<u8>(), prop::array::uniform8(0..5_usize), any::<bool>(), 0..9_usize).prop_map(
            |(bits, zeros, widths, capital, gap)| {
                let mut groups = std::net::Ipv6Addr::from_bits(bits).segments();
                // Random groups are hardly ever zero.
                for (n, group) in groups.iter_mut().enumerate() {
                    *group = if zeros >> n & 1 == 1 { 0 } else { *group >> widths[n] };
                }
                let written = |range: std::ops::Range<usize>| {
                    let groups = range.map(|n| format!("{:0>width$}", format!("{:x}", groups[n]), width = widths[n]));
                    groups.collect::<Vec<_>>().join(":")
                };
                let end = (gap..8).find(|n| groups[*n] != 0).unwrap_or(8);
                let text = if end > gap { format!("{}::{}", written(0..gap), written(end..8)) } else { written(0..8) };
                let text = if capital { text.to_uppercase() } else { text };
                (std::net::Ipv6Addr::from(groups).to_bits(), text)
            },
        )
    }

    proptest! {
        #[test]
        fn every_spelling_is_the_same_host_and_begins_as_its_prefixes_say((bits, text) in spelled()) {
            let address = host(&text);
            prop_assert_eq!(address, HostIp::from(IpAddr::V6(bits.into())), "{}", text);
            prop_assert!(
                address.prefixes().iter().any(|prefix| text.starts_with(prefix)),
                "{} is none of {:?}", text, address.prefixes()
            );
            for spelling in address.spellings() {
                prop_assert_eq!(host(&spelling), address, "{}", spelling);
                prop_assert!(spelling.len() <= 45);
            }
            prop_assert!(address.spellings().len() <= HostIp::MAX_SPELLINGS);
        }
    }
}
