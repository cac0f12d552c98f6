//! Reads a host file: one address a line, as people write them.
//!
//! Owns what is forgiven and what is told. Pure: knows neither the request that carried the file nor the database.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::request::InvalidLine;
use hostsync_model::host::{HostIp, visible};

/// Largest file, in bytes: 8 MiB. A larger one is refused as a whole.
pub(crate) const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;

/// Most hosts of one execution that a request names. A longer list is refused as a whole.
pub(crate) const MAX_HOSTS: usize = 100_000;

/// Most bad lines that are told of; the rest is counted.
pub(crate) const MAX_INVALID_LINES: usize = 1_000;

/// Most characters of a bad line that are shown.
pub(crate) const MAX_LINE_CHARS: usize = 100;

/// What a host file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostFile {
    /// The addresses in the order of the file, each once.
    pub(crate) hosts: Vec<HostIp>,
    /// The first [`MAX_INVALID_LINES`] bad lines.
    pub(crate) invalid_lines: Vec<InvalidLine>,
    /// How many bad lines there are in all.
    pub(crate) invalid_line_count: usize,
}

/// Why a file is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostFileError {
    /// More than [`MAX_FILE_BYTES`].
    #[error("is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// More than [`MAX_HOSTS`].
    #[error("holds more than {MAX_HOSTS} hosts")]
    TooManyHosts,
}

/// Reads a file, in UTF-8, or in UTF-16 with its byte order mark. Blank lines and comments from `#` on are skipped; CR before
/// the end of a line, blanks and invisible characters around an address and one comma behind it are forgiven; repeats are
/// taken once.
///
/// # Errors
///
/// The file is too large or names too many hosts.
pub(crate) fn parse_host_file(content: &[u8]) -> Result<HostFile, HostFileError> {
    if content.len() > MAX_FILE_BYTES {
        return Err(HostFileError::TooLarge);
    }
    let content = decoded(content);
    let mut file = HostFile::default();
    let mut seen = HashSet::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line);
        let address = visible(line.split('#').next().unwrap_or_default());
        let address = visible(address.strip_suffix(',').unwrap_or(address));
        if address.is_empty() {
            continue;
        }
        match address.parse::<HostIp>() {
            Ok(host) => {
                if seen.insert(host) {
                    if file.hosts.len() == MAX_HOSTS {
                        return Err(HostFileError::TooManyHosts);
                    }
                    file.hosts.push(host);
                }
            }
            Err(error) => {
                file.invalid_line_count += 1;
                if file.invalid_lines.len() < MAX_INVALID_LINES {
                    file.invalid_lines.push(InvalidLine {
                        line: index + 1,
                        text: visible(&line).chars().take(MAX_LINE_CHARS).collect(),
                        reason: error.reason,
                    });
                }
            }
        }
    }
    Ok(file)
}

/// The file in UTF-8: editors and shells of Windows save UTF-16. What is no character becomes U+FFFD.
fn decoded(content: &[u8]) -> Cow<'_, [u8]> {
    let (is_little_endian, rest) = match content {
        [0xff, 0xfe, rest @ ..] => (true, rest),
        [0xfe, 0xff, rest @ ..] => (false, rest),
        _ => return Cow::Borrowed(content),
    };
    let (pairs, odd) = rest.as_chunks::<2>();
    let unit = |pair: &[u8; 2]| if is_little_endian { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
    let mut text: String = char::decode_utf16(pairs.iter().map(unit))
        .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    text.extend(odd.iter().map(|_| char::REPLACEMENT_CHARACTER));
    Cow::Owned(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn hosts(file: &HostFile) -> Vec<String> {
        file.hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_people_write_is_understood() {
        let content = "\u{feff}10.0.0.1\r\n\r\n# the web servers\r\n  10.0.0.2 , # front\r\n\t2001:DB8:0::1,\r\n\
                       10.0.0.1\n2001:db8::1 #again\n,\n   \n10.0.0.3";
        let file = parse_host_file(content.as_bytes()).expect("a file");
        assert_eq!(hosts(&file), ["10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.3"]);
        assert_eq!(file.invalid_lines, []);
    }

    #[test]
    fn bad_lines_are_told_and_the_rest_is_taken() {
        let content = b"10.0.0.1\nweb-1\n10.0.0.0/8\n10.0.0.1 10.0.0.2\n10.0.0.300 # typo\n\xff\xfe\nfe80::1%eth0\n";
        let file = parse_host_file(content).expect("a file");
        assert_eq!(hosts(&file), ["10.0.0.1"]);
        let told: Vec<_> = file.invalid_lines.iter().map(|l| format!("{} {} {}", l.line, l.text, l.reason)).collect();
        assert_eq!(
            told,
            [
                "2 web-1 is not an IPv4 or IPv6 address",
                "3 10.0.0.0/8 is not an IPv4 or IPv6 address: a network (/) is not taken, name each host",
                "4 10.0.0.1 10.0.0.2 is not an IPv4 or IPv6 address: one address a line",
                "5 10.0.0.300 # typo is not an IPv4 or IPv6 address",
                "6 \u{fffd}\u{fffd} is not an IPv4 or IPv6 address: it holds bytes that are no UTF-8",
                "7 fe80::1%eth0 is not an IPv4 or IPv6 address: a zone (%) is not taken",
            ]
        );
        assert_eq!(file.invalid_line_count, 6);
    }

    #[test]
    fn a_file_in_utf_16_is_read() {
        let text = "10.0.0.1\r\n# 数据库 😊\r\n2001:DB8::1\r\nweb-1\r\n";
        for (mark, bytes) in [
            ([0xff, 0xfe], text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
            ([0xfe, 0xff], text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ] {
            let file = parse_host_file(&[&mark[..], &bytes].concat()).expect("a file");
            assert_eq!(hosts(&file), ["10.0.0.1", "2001:db8::1"]);
            assert_eq!((file.invalid_line_count, file.invalid_lines[0].line), (1, 4));
            // Cut in the middle of a character.
            let file = parse_host_file(&[&mark[..], &bytes[..17]].concat()).expect("a file");
            assert_eq!((hosts(&file).len(), file.invalid_line_count), (0, 1));
        }
    }

    #[test]
    fn utf_16_without_its_mark_and_characters_that_cannot_be_seen_are_named() {
        let plain: Vec<u8> = "10.0.0.1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let told = parse_host_file(&plain).expect("a file").invalid_lines.remove(0).reason;
        assert_eq!(told, "is not an IPv4 or IPv6 address: it holds zero bytes, as UTF-16 has; save the file as UTF-8");
        let file = "\u{200b}10.0.0.1\u{a0},\u{200e}\n\u{ad}\n10.0.0.\u{2060}2\n10.0.0.3\u{feff} # \u{feff}\n";
        let file = parse_host_file(file.as_bytes()).expect("a file");
        assert_eq!(hosts(&file), ["10.0.0.1", "10.0.0.3"]);
        let told: Vec<_> = file.invalid_lines.iter().map(|line| (line.line, line.reason.as_str())).collect();
        assert_eq!(told, [(3, "is not an IPv4 or IPv6 address: it holds a word joiner (U+2060)")]);
    }

    #[test]
    fn an_empty_file_has_no_host() {
        for content in ["", "\u{feff}", "\r\n\n", "# nothing"] {
            assert_eq!(parse_host_file(content.as_bytes()), Ok(HostFile::default()), "{content:?}");
        }
    }

    #[test]
    fn bad_lines_are_bounded_in_number_and_length() {
        let content = format!("{}\n", "x".repeat(5_000)).repeat(1_001);
        let file = parse_host_file(content.as_bytes()).expect("a file");
        assert_eq!((file.invalid_lines.len(), file.invalid_line_count), (MAX_INVALID_LINES, 1_001));
        assert_eq!(file.invalid_lines[0].text, "x".repeat(MAX_LINE_CHARS));
    }

    #[test]
    fn the_limits_are_exact() {
        let line = |n: u32| format!("{}\n", Ipv4Addr::from_bits(n));
        let full: String = (0..100_000).map(line).collect();
        assert_eq!(parse_host_file(full.as_bytes()).expect("a file").hosts.len(), MAX_HOSTS);
        let repeated = format!("{full}{}", line(7));
        assert_eq!(parse_host_file(repeated.as_bytes()).expect("a file").hosts.len(), MAX_HOSTS);
        let over = format!("{full}{}", line(100_000));
        assert_eq!(parse_host_file(over.as_bytes()), Err(HostFileError::TooManyHosts));

        let mut large = vec![b'#'; MAX_FILE_BYTES];
        assert_eq!(parse_host_file(&large), Ok(HostFile::default()));
        large.push(b'#');
        assert_eq!(parse_host_file(&large), Err(HostFileError::TooLarge));
    }

    /// An address with the noise that is forgiven.
    fn good_line() -> impl Strategy<Value = (IpAddr, String)> {
        let address = prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
            any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        ];
        (address, "[ \t]{0,3}", "[ \t]{0,2}(,[ \t]{0,2})?(#[^\n]{0,10})?\r?")
            .prop_map(|(address, before, after)| (address, format!("{before}{address}{after}")))
    }

    fn skipped_line() -> impl Strategy<Value = String> {
        "[ \t]{0,3}(#[^\n]{0,20})?\r?"
    }

    proptest! {
        #[test]
        fn every_good_line_counts_once_and_in_order(
            lines in prop::collection::vec((good_line(), skipped_line()), 0..40),
            with_bom in any::<bool>(),
        ) {
            let mut content = if with_bom { "\u{feff}".to_owned() } else { String::new() };
            let mut expected: Vec<String> = Vec::new();
            for ((address, line), skipped) in &lines {
                content.extend([line, "\n", skipped, "\n"]);
                if !expected.contains(&address.to_string()) {
                    expected.push(address.to_string());
                }
            }
            let file = parse_host_file(content.as_bytes()).expect("a file");
            prop_assert_eq!(hosts(&file), expected);
            prop_assert_eq!(file.invalid_line_count, 0);
        }

        #[test]
        fn any_bytes_are_read_and_every_line_is_accounted_for(content in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let file = parse_host_file(&content).expect("a small file");
            let lines = content.split(|byte| *byte == b'\n').count();
            prop_assert!(file.hosts.len() + file.invalid_line_count <= lines);
            prop_assert_eq!(file.invalid_lines.len(), file.invalid_line_count.min(MAX_INVALID_LINES));
            for line in &file.invalid_lines {
                prop_assert!((1..=lines).contains(&line.line));
                prop_assert!(line.text.chars().count() <= MAX_LINE_CHARS);
            }
        }
    }
}
