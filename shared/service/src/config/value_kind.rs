//! How single values are read and shown: each from its own TOML type or from a text, since the environment gives
//! nothing but texts.
//!
//! Owns the wording for a value of the wrong form or out of its bounds, and which values are secrets. Which key is of which
//! kind stands in the tables of keys.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use figment2::value::Value;
use url::Url;

use super::server_url::{lacks_a_port, masked_url};
use super::toml::{number_text, quoted};
use hostsync_model::MASK;
use hostsync_model::secret::Secret;
use hostsync_model::time_span;

type Read<T> = Box<dyn Fn(&Value) -> Result<T, String>>;

/// A kind of values.
pub(super) struct ValueKind<T> {
    /// Reads what is given; else why not, as a sentence without subject.
    pub(super) read: Read<T>,
    /// Writes it as TOML.
    pub(super) show: Box<dyn Fn(&T) -> String>,
    /// The least and the most, in words.
    pub(super) bounds: Option<String>,
    /// A secret may stand in a file that `<key>_file` names, and is read again when that changes.
    pub(super) secret: Option<SecretKind<T>>,
    /// An empty text means that nothing is given: the only way for the environment to take back what the file says.
    pub(super) may_be_empty: bool,
}

/// What a kind of secrets is.
pub(super) struct SecretKind<T> {
    /// What is replaced when its file changes.
    pub(super) of: fn(&T) -> &Secret,
    /// Whether it takes a text.
    pub(super) check: fn(&str) -> Result<(), String>,
}

impl<T: 'static> ValueKind<T> {
    fn new(read: impl Fn(&Value) -> Result<T, String> + 'static, show: impl Fn(&T) -> String + 'static) -> Self {
        Self { read: Box::new(read), show: Box::new(show), bounds: None, secret: None, may_be_empty: false }
    }

    /// From a text alone; `form` completes the sentence "must be …" for anything else.
    fn of_text(
        form: &'static str,
        parse: impl Fn(&str) -> Result<T, String> + 'static,
        show: impl Fn(&T) -> String + 'static,
    ) -> Self {
        Self::new(move |value| value.as_str().map_or_else(|| Err(must_be(form, value)), &parse), show)
    }

    /// From a text of a form that says all of it.
    fn of_form(
        form: impl Into<String>,
        parse: impl Fn(&str) -> Option<T> + 'static,
        show: impl Fn(&T) -> String + 'static,
    ) -> Self {
        let form = form.into();
        Self::new(move |value| value.as_str().and_then(&parse).ok_or_else(|| must_be(&form, value)), show)
    }

    /// With [`Self::may_be_empty`].
    pub(super) fn or_empty(self) -> Self {
        Self { may_be_empty: true, ..self }
    }
}

fn must_be(form: &str, value: &Value) -> String {
    format!("must be {form}, not {}", found(value))
}

/// A value in a report.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::String(_, text) => shown(text),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => number_text(*number),
        Value::Char(..) | Value::Empty(..) => "what stands there".to_owned(),
    }
}

/// A text in a report. A URL with a user, wherever somebody has put it, may hold a password.
pub(super) fn shown(text: &str) -> String {
    if text.contains("://") && text.contains('@') { "what stands there".to_owned() } else { format!("{text:?}") }
}

fn quoted_display(value: &impl Display) -> String {
    quoted(&value.to_string())
}

/// A whole number within bounds: a TOML integer or a text of digits.
pub(super) fn whole<N>(bounds: RangeInclusive<N>) -> ValueKind<N>
where
    N: Copy + PartialOrd + Display + TryFrom<i128> + 'static,
{
    let (least, most) = (*bounds.start(), *bounds.end());
    let read = move |value: &Value| {
        let number = value.as_str().map_or_else(|| value.to_i128(), |text| text.parse().ok());
        number
            .and_then(|number| N::try_from(number).ok())
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| must_be(&format!("a whole number from {least} to {most}"), value))
    };
    ValueKind { bounds: Some(format!("{least} to {most}")), ..ValueKind::new(read, N::to_string) }
}

/// A length of time within bounds. A number without a unit is refused.
pub(super) fn span(least: &'static str, most: &'static str) -> ValueKind<Duration> {
    const FORM: &str = "a length of time with its unit, such as 20ms, 30s, 24h or 90d";
    let bound = |text| time_span::parse(text).expect("a bound is a span");
    let bounds = bound(least)..=bound(most);
    let read = move |text: &str| {
        let span = time_span::parse(text)?;
        if bounds.contains(&span) {
            return Ok(span);
        }
        let (least, most) = (time_span::format(*bounds.start()), time_span::format(*bounds.end()));
        Err(format!("must be from {least} to {most}, not {}", shown(text)))
    };
    let show = |span: &Duration| quoted(&time_span::format(*span));
    ValueKind { bounds: Some(format!("{least} to {most}")), ..ValueKind::of_text(FORM, read, show) }
}

/// One of a few words.
pub(super) fn word<T: Copy + PartialEq>(words: &'static [(&'static str, T)]) -> ValueKind<T> {
    let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ");
    ValueKind::of_form(
        known,
        |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value),
        |value| words.iter().find(|(_, known)| known == value).map(|(word, _)| quoted(word)).unwrap_or_default(),
    )
}

/// An address to listen on. A host name is refused: it would be looked up at a moment nobody chose.
pub(super) fn address() -> ValueKind<SocketAddr> {
    let form = "an IP address and a port, such as 127.0.0.1:8888 or [::]:8888";
    ValueKind::of_form(form, |text| text.parse().ok(), quoted_display)
}

/// A time zone.
pub(super) fn zone() -> ValueKind<Tz> {
    ValueKind::of_form("an IANA time zone, such as Europe/Berlin or UTC", |text| text.parse().ok(), quoted_display)
}

/// A file.
pub(super) fn path() -> ValueKind<PathBuf> {
    ValueKind::of_text("a text in quotes", |text| Ok(text.into()), |path: &PathBuf| quoted_display(&path.display()))
}

/// Any text.
pub(super) fn text() -> ValueKind<String> {
    text_that(|_| Ok(()))
}

/// A text that `check` takes.
pub(super) fn text_that(check: fn(&str) -> Result<(), String>) -> ValueKind<String> {
    ValueKind::of_text("a text in quotes", move |text| check(text).map(|()| text.to_owned()), |text| quoted(text))
}

/// A text of a form that says all of it.
pub(super) fn text_of(form: impl Into<String>, is_good: fn(&str) -> bool) -> ValueKind<String> {
    ValueKind::of_form(form, move |text| is_good(text).then(|| text.to_owned()), |text| quoted(text))
}

/// A secret that `check` takes: a text, kept to the letter. Anything else is refused without being repeated; a number has
/// lost its letters (`0x1F`, `1e5`, `007`) before it gets here.
pub(super) fn secret(check: fn(&str) -> Result<(), String>) -> ValueKind<Secret> {
    let read = move |value: &Value| {
        let text = value.as_str().ok_or("must be a text in quotes")?;
        check(text).map(|()| text.into())
    };
    let secret = Some(SecretKind { of: |secret| secret, check });
    ValueKind { secret, ..ValueKind::new(read, |_| quoted(MASK)) }
}

/// A URL that holds a password; of all else in it is shown.
pub(super) fn secret_url(check: fn(&str) -> Result<(), String>) -> ValueKind<Secret> {
    ValueKind { show: Box::new(|url: &Secret| quoted(&masked_url(&url.get()))), ..secret(check) }
}

/// An `http` or `https` URL that `check` takes.
pub(super) fn url_that(form: &'static str, check: fn(&str) -> Result<(), String>) -> ValueKind<Url> {
    let show = |url: &Url| quoted(url.as_str().trim_end_matches('/'));
    ValueKind::of_text(form, move |text| check(text).and_then(|()| http_url(text)), show)
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

/// A secret that goes into an HTTP header: visible ASCII without blanks.
pub(super) fn header_secret(text: &str) -> Result<(), String> {
    any_secret(text)?;
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be visible ASCII characters without blanks, since it goes into an HTTP header".to_owned());
    }
    Ok(())
}

/// A secret that may be any text but the empty one.
pub(super) fn any_secret(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
}
