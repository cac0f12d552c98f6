//! How single values are read: each from its own TOML type or from a text, since the environment gives
//! nothing but texts.
//!
//! Owns the wording for a value of the wrong form or out of its bounds. Bounds are given by the caller,
//! next to the key they belong to.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use url::Url;

use hostsync_model::time_span;

use super::server_url::lacks_a_port;

/// A value in a report. A URL with a user, wherever somebody has put it, may hold a password.
pub(super) fn shown(text: &str) -> String {
    if text.contains("://") && text.contains('@') { "what stands there".to_owned() } else { format!("{text:?}") }
}

/// A whole number within bounds: a TOML integer or a text of digits.
pub(super) fn whole_number<'de, D, N>(deserializer: D, bounds: RangeInclusive<N>) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: Copy + PartialOrd + fmt::Display + TryFrom<i128>,
{
    deserializer.deserialize_any(WholeNumber { bounds })
}

struct WholeNumber<N> {
    bounds: RangeInclusive<N>,
}

impl<N: Copy + PartialOrd + fmt::Display + TryFrom<i128>> WholeNumber<N> {
    fn check<E: de::Error>(&self, number: Option<i128>, found: &dyn fmt::Display) -> Result<N, E> {
        number.and_then(|number| N::try_from(number).ok()).filter(|number| self.bounds.contains(number)).ok_or_else(
            || {
                let (least, most) = (self.bounds.start(), self.bounds.end());
                E::custom(format_args!("must be a whole number from {least} to {most}, not {found}"))
            },
        )
    }
}

impl<N: Copy + PartialOrd + fmt::Display + TryFrom<i128>> Visitor<'_> for WholeNumber<N> {
    type Value = N;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", self.bounds.start(), self.bounds.end())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<N, E> {
        self.check(Some(number.into()), &number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<N, E> {
        self.check(Some(number.into()), &number)
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<N, E> {
        self.check(Some(number), &number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<N, E> {
        self.check(text.parse().ok(), &shown(text))
    }
}

/// A length of time within bounds. A number without a unit is refused.
pub(super) fn span<'de, D: Deserializer<'de>>(
    deserializer: D,
    bounds: &RangeInclusive<Duration>,
) -> Result<Duration, D::Error> {
    parsed(deserializer, "a length of time with its unit, such as 20ms, 30s, 24h or 90d", |text| {
        let span = time_span::parse(text)?;
        if bounds.contains(&span) {
            return Ok(span);
        }
        let (least, most) = (time_span::format(*bounds.start()), time_span::format(*bounds.end()));
        Err(format!("must be from {least} to {most}, not {}", shown(text)))
    })
}

/// A text that `parse` turns into a value; `expected` completes the sentence "must be …" for anything
/// that is no text.
pub(super) fn parsed<'de, D, T>(
    deserializer: D,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Parsed<'a, F> {
        expected: &'a str,
        parse: F,
    }

    impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Parsed<'_, F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.parse)(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Parsed { expected, parse })
}

/// One of a few words. (A derived enum would also take a number, as its index: `auth = 1`.)
pub(super) fn word<'de, D, T>(deserializer: D, words: &[(&str, T)]) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Copy,
{
    let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ");
    parsed(deserializer, &known, |text| {
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("must be {known}, not {}", shown(text)))
    })
}

/// An address to listen on. A host name is refused: it would be looked up at a moment nobody chose.
pub(super) fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    const FORM: &str = "an IP address and a port, such as 127.0.0.1:8888 or [::]:8888";
    parsed(deserializer, FORM, |text| text.parse().map_err(|_| format!("must be {FORM}, not {}", shown(text))))
}

/// An `http` or `https` URL without user, query and fragment; a slash at its end is dropped. Any `@` is refused: with a
/// slash in the password, what stands before it would be taken for the host and the rest of the password for a path.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    if text.contains('@') {
        return Err("must not hold a user, a password or any @; user and password have keys of their own".to_owned());
    }
    if lacks_a_port(text) {
        return Err("has a colon without a port behind it; user and password have keys of their own".to_owned());
    }
    let mut url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with http:// or https:// and name a host".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}
