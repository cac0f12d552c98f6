//! URLs that hold a user and a password: which are taken, and how they are shown.
//!
//! Owns the rule that a character which ends a user or a password early is written percent-encoded. Programs differ in
//! where they cut `mysql://user:p@ss/word@host/db`, so what one of them takes for the host another may show, log or look
//! up: such a URL is refused. Showing goes by the text alone and masks up to the last `@`, whatever was checked before.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use hostsync_model::MASK;

/// What is said of a user or a password that ends early.
const HOW_TO_ENCODE: &str = "in the user and the password write @ as %40, / as %2F, # as %23, ? as %3F and % as %25";

/// Options of a URL that are shown. The value of any other is masked: somebody may have taken it for a password's place.
const SHOWN_OPTIONS: [&str; 19] = [
    "ssl-mode",
    "sslmode",
    "ssl-ca",
    "sslca",
    "ssl-cert",
    "sslcert",
    "ssl-key",
    "sslkey",
    "charset",
    "collation",
    "socket",
    "timezone",
    "time-zone",
    "statement-cache-capacity",
    "heartbeat",
    "connection_timeout",
    "channel_max",
    "frame_max",
    "auth_mechanism",
];

/// Checks `database.url`.
pub(super) fn database_url(text: &str) -> Result<(), String> {
    const FORM: &str = "must have the form mysql://user:password@host:3306/db";
    let url = checked(text, FORM)?;
    if url.scheme() != "mysql" || !url.has_host() {
        return Err(FORM.to_owned());
    }
    let name = url.path().trim_start_matches('/');
    if name.is_empty() || name.contains('/') {
        return Err(format!("must name a database after the host: it {FORM}"));
    }
    Ok(())
}

/// Checks `rabbitmq.url`. A vhost that is left out, with or without the slash before it, is `/`.
pub(super) fn rabbitmq_url(text: &str) -> Result<(), String> {
    const FORM: &str = "must have the form amqp://user:password@host:5672/vhost, or amqps://";
    let url = checked(text, FORM)?;
    if !matches!(url.scheme(), "amqp" | "amqps") || !url.has_host() {
        return Err(FORM.to_owned());
    }
    Ok(())
}

/// The URL, if it means the same to everybody.
fn checked(text: &str, form: &str) -> Result<Url, String> {
    let (user_info, _) = parts(text).map(|parts| (parts.user_info, parts.rest)).unwrap_or_default();
    if user_info.contains(['@', '/', '#', '?', '\\']) {
        return Err(format!("does not say where the password ends: {HOW_TO_ENCODE}; it {form}"));
    }
    // A URL parser drops tabs and line ends, wherever they are.
    if text.contains(|c: char| c.is_control()) || text.trim() != text {
        return Err(format!(
            "must hold no control character and no blank at its ends, which are written %09 and the like; it {form}"
        ));
    }
    if percent_decode_str(user_info).decode_utf8().is_err() {
        return Err(format!("has a % in the user or the password that makes no UTF-8: {HOW_TO_ENCODE}"));
    }
    if lacks_a_port(text) {
        return Err(format!("has a colon without a port behind it: {HOW_TO_ENCODE}; it {form}"));
    }
    let url = Url::parse(text).map_err(|error| format!("is no URL ({error}); it {form}, and {HOW_TO_ENCODE}"))?;
    if url.fragment().is_some() {
        return Err(format!("must not hold a #: {HOW_TO_ENCODE}"));
    }
    Ok(url)
}

/// Whether the host of a URL ends with a colon. That may be a user before a password which begins with a slash and was cut
/// off before its `@`, as by a quote in a file: a URL parser takes the password for the path then.
pub(super) fn lacks_a_port(text: &str) -> bool {
    let rest = parts(text).map_or(text, |parts| parts.rest);
    rest.split(['/', '?', '#', '\\']).next().is_some_and(|place| place.ends_with(':'))
}

/// The pieces of a URL's text.
#[derive(Debug, Default)]
struct Parts<'a> {
    scheme: &'a str,
    /// All up to the last `@`; empty without one.
    user_info: &'a str,
    rest: &'a str,
}

impl Parts<'_> {
    /// The user, unless what stands before the last `@` may be cut in several ways.
    fn user(&self) -> &str {
        if self.user_info.contains(['@', '/', '#', '?', '\\']) {
            return MASK;
        }
        self.user_info.split_once(':').map_or(self.user_info, |(user, _)| user)
    }
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = text.split_once("://")?;
    let (user_info, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    Some(Parts { scheme, user_info, rest })
}

/// The URL with its password masked; the mask alone when it cannot be taken apart.
pub(super) fn masked_url(secret: &SecretString) -> String {
    let Some(parts) = parts(secret.expose_secret()) else { return MASK.to_owned() };
    let user_info = match (parts.user(), parts.user_info.contains(':')) {
        ("", false) => String::new(),
        (user, false) => format!("{user}@"),
        (user, true) => format!("{user}:{MASK}@"),
    };
    let (place, options) = parts.rest.split_once('?').unwrap_or((parts.rest, ""));
    let options: Vec<String> = options.split('&').filter(|option| !option.is_empty()).map(shown_option).collect();
    let options = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
    format!("{}://{user_info}{place}{options}", parts.scheme)
}

fn shown_option(option: &str) -> String {
    match option.split_once('=') {
        Some((name, _)) if !SHOWN_OPTIONS.contains(&name) => format!("{name}={MASK}"),
        Some(_) => option.to_owned(),
        None if SHOWN_OPTIONS.contains(&option) => option.to_owned(),
        None => MASK.to_owned(),
    }
}

/// Where a URL leads and as whom, without its password and its options: `user@host:3306/db`.
pub fn place_of(secret: &SecretString) -> String {
    let Some(parts) = parts(secret.expose_secret()) else { return MASK.to_owned() };
    let place = parts.rest.split(['?', '#']).next().unwrap_or_default();
    match parts.user() {
        "" => place.to_owned(),
        user => format!("{user}@{place}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a text shows four characters of a secret in a row.
    fn shows(text: &str, secret: &str) -> bool {
        let secret: Vec<char> = secret.chars().collect();
        secret.windows(4).any(|piece| text.contains(&piece.iter().collect::<String>()))
    }

    #[test]
    fn the_user_and_the_place_are_shown_and_the_password_never() {
        let shown = |text: &str| {
            let secret = SecretString::from(text);
            (masked_url(&secret), place_of(&secret))
        };
        for (text, masked, place) in [
            ("mysql://u:p%40ss@h:3306/db", "mysql://u:***@h:3306/db", "u@h:3306/db"),
            ("mysql://u@h/db?ssl-mode=required", "mysql://u@h/db?ssl-mode=required", "u@h/db"),
            ("mysql://h/db?user=u&password=hunter2&hunter2", "mysql://h/db?user=***&password=***&***", "h/db"),
            ("mysql://u:p@ss/w#rd@127.0.0.1/db", "mysql://***:***@127.0.0.1/db", "***@127.0.0.1/db"),
            ("amqp://guest:Tr0ub@dor/3@h", "amqp://***:***@h", "***@h"),
            ("amqp://:hunter2@h/%2f", "amqp://:***@h/%2f", "h/%2f"),
            ("mysql:u:hunter2@h/db", "***", "***"),
        ] {
            assert_eq!(shown(text), (masked.to_owned(), place.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_password_that_ends_early_is_refused_and_one_that_does_not_is_taken() {
        for password in
            ["p@ss", "p/ss", "p#ss", "p?ss", "p\\ss", "p\tss", "12/34", "@", "p%ffss", "p%C3ss", "a@b/c?d#e"]
        {
            let told = database_url(&format!("mysql://u:{password}@h/db")).expect_err(password);
            assert!(told.contains("%40") || told.contains("%09"), "{password}: {told}");
            assert!(rabbitmq_url(&format!("amqp://u:{password}@h/")).is_err(), "{password}");
        }
        for password in ["p:ss", "p%40ss", "50%", "%zz", "p ss", "$&+,;=", "пароль", "[", "p%2Fss%3F%23"] {
            database_url(&format!("mysql://u:{password}@h/db")).expect(password);
            rabbitmq_url(&format!("amqp://u:{password}@h")).expect(password);
        }
        for text in ["mysql://u:/p", "mysql://u:/p/db", "mysql://u:p@h:/db"] {
            assert!(database_url(text).expect_err(text).contains("without a port"), "{text:?}");
        }
        for text in ["mysql://u:p@h/db#x", " mysql://u:p@h/db", "mysql://u:p@h/db\n", "mysql://u:p@h/d@b"] {
            assert!(database_url(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_password_is_no_piece_of_it_is_shown(password in "[A-Z0-9@/#?:%&=+\\\\ \\[\\]~^!]{4,16}", place in "[a-z.]{1,8}(:33)?/[a-z]{1,6}") {
            for scheme in ["mysql", "amqp"] {
                let text = format!("{scheme}://user:{password}@{place}");
                let secret = SecretString::from(text.as_str());
                let told = if scheme == "mysql" { database_url(&text) } else { rabbitmq_url(&text) };
                for shown in [masked_url(&secret), place_of(&secret), told.err().unwrap_or_default()] {
                    prop_assert!(!shows(&shown, &password), "{shown}");
                    prop_assert!(shown.is_empty() || shown.contains(&place) || shown.contains("must") || shown.contains('%'));
                }
            }
        }
    }
}
