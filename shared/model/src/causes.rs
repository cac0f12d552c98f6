//! Why something failed, as a log line says it: an error with everything that caused it.
//!
//! Owns the one form in which errors are logged: whole, in one line, each cause once, credentials masked. A log line
//! carries it in the field `error`, at the place that handles the error, and nowhere else.

use std::error::Error;
use std::fmt;

/// What stands for the credentials of a URL.
const MASKED: &str = "***";

/// An error with what caused it, to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Causes<'a>(&'a (dyn Error + 'static));

/// The error and what caused it: `tracing::warn!(error = %causes(&error), "…")`.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> Causes<'a> {
    Causes(error)
}

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = String::new();
        let mut next = Some(self.0);
        while let Some(error) = next {
            let cause = error.to_string();
            // Some errors of libraries repeat their cause in their own text.
            if shown.is_empty() {
                shown = cause;
            } else if !shown.contains(&cause) {
                shown = format!("{shown}: {cause}");
            }
            next = error.source();
        }
        f.write_str(&without_credentials(&shown).replace(['\n', '\r'], " "))
    }
}

/// The text with what stands between `://` and the last `@` of a URL masked.
fn without_credentials(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || "\"'`<>()".contains(c)).unwrap_or(after.len());
        let (url, behind) = after.split_at(end);
        match url.rsplit_once('@') {
            Some((_, host)) => {
                masked.push_str(MASKED);
                masked.push('@');
                masked.push_str(host);
            }
            None => masked.push_str(url),
        }
        rest = behind;
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn told(error: &anyhow::Error) -> String {
        causes(error.as_ref()).to_string()
    }

    #[test]
    fn every_cause_is_told_once() {
        let error = anyhow::anyhow!("refused").context("connecting failed: refused").context("the database failed");
        assert_eq!(told(&error), "the database failed: connecting failed: refused");
        let error = anyhow::anyhow!("no route").context("cannot connect").context("fires wait");
        assert_eq!(told(&error), "fires wait: cannot connect: no route");
    }

    #[test]
    fn a_chain_is_one_line_without_credentials() {
        for (text, expected) in [
            ("cannot use mysql://u:p@ss/w#rd@127.0.0.1/db now", "cannot use mysql://***@127.0.0.1/db now"),
            ("\"amqp://guest:x@broker:5672/\" and http://a/b", "\"amqp://***@broker:5672/\" and http://a/b"),
            ("two\nlines of someone@example.com", "two lines of someone@example.com"),
            ("://", "://"),
        ] {
            assert_eq!(told(&anyhow::anyhow!("{text}")), expected);
        }
    }

    /// Every source file of the services and of what they share.
    fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("tests") {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a file");
                found.push((path, text));
            }
        }
    }

    #[test]
    fn every_log_line_with_an_error_tells_its_causes() {
        let mut found = Vec::new();
        for folder in ["shared", "scheduler", "worker", "api"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder), &mut found);
        }
        assert!(found.len() > 100, "{} files", found.len());
        for (path, text) in found {
            // An error is told by `causes` or is a text already; in the message it would be told without its causes.
            for form in ["error = %error", "error = ?error", "(%error,", ", %error,", "as &dyn std::error::Error,"] {
                let is_told = !text.contains(form) || path.ends_with("causes.rs") || path.ends_with("tests.rs");
                assert!(is_told, "{} logs an error as `{form}`: use `causes`", path.display());
            }
        }
    }
}
