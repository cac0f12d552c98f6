//! From what is given to what is meant: secrets that stand in files, names, reports with their origin.
//!
//! Owns reading a secret's file and the rule that a secret is given once, directly or by a file.
//! Must never put a secret into a report.

use std::path::{Path, PathBuf};

use super::error::Problem;
use super::source::ConfigSources;
use hostsync_model::secret::Secret;

/// Largest file of one secret, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Most characters of a name that the user chooses (of an endpoint or a mapping).
const MAX_NAME_CHARS: usize = 64;

/// What the sections need while they check themselves.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a ConfigSources,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// Reports a problem with a key.
    pub(super) fn report(&mut self, key: &[&str], reason: impl Into<String>) {
        let key: Vec<String> = key.iter().map(|level| (*level).to_owned()).collect();
        self.problems.push(Problem { origin: self.sources.origin(&key), key: key.join("."), reason: reason.into() });
    }

    /// Whether a problem with a key has been reported.
    pub(super) fn has_problem(&self, key: &[&str]) -> bool {
        let key = key.join(".");
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// Whether a problem below a key has been reported.
    pub(super) fn has_problem_below(&self, key: &[&str]) -> bool {
        let prefix = format!("{}.", key.join("."));
        self.problems.iter().any(|problem| problem.key.starts_with(&prefix))
    }

    /// Checks a name that the user chose, the last level of `key`. The environment can only give names in
    /// lower case and without two underscores in a row, so there are no others.
    pub(super) fn check_name(&mut self, key: &[&str]) {
        let name = key.last().copied().unwrap_or_default();
        let is_good = (1..=MAX_NAME_CHARS).contains(&name.len())
            && !name.contains("__")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if !is_good {
            let reason = format!(
                "the name must be 1 to {MAX_NAME_CHARS} of a-z, 0-9, _ and -, without two underscores in a row"
            );
            self.report(key, reason);
        }
    }

    /// The secret `section.name`, given directly or in the file that `section.name_file` names, if it is
    /// given and passes `check`. Line ends at the end of a file are not part of it.
    pub(super) fn secret(
        &mut self,
        section: &[&str],
        name: &str,
        given: Option<Secret>,
        file: Option<PathBuf>,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<Secret> {
        let file_name = format!("{name}_file");
        let file_key = [section, &[&file_name]].concat();
        let mut key = [section, &[name]].concat();
        let secret = match (given, file) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                let here = self.sources.origin(&key.iter().map(|level| (*level).to_owned()).collect::<Vec<_>>());
                self.report(&file_key, format!("{} is given too ({here}); keep one of the two", key.join(".")));
                return None;
            }
            (Some(secret), None) => secret,
            (None, Some(path)) => match read_secret(&path) {
                Ok(secret) => {
                    key = file_key;
                    secret
                }
                Err(reason) => {
                    self.report(&file_key, reason);
                    return None;
                }
            },
        };
        match check(secret.expose()) {
            Ok(()) => Some(secret),
            Err(reason) => {
                self.report(&key, reason);
                None
            }
        }
    }
}

fn read_secret(path: &Path) -> Result<Secret, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(cannot)?.len();
    if size > MAX_SECRET_FILE_BYTES {
        return Err(format!("{} has {size} bytes; a secret has at most {MAX_SECRET_FILE_BYTES}", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// A secret that goes into an HTTP header: visible ASCII without blanks.
pub(super) fn header_secret(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be visible ASCII characters without blanks, since it goes into an HTTP header".to_owned());
    }
    Ok(())
}

/// A secret that may be any text but the empty one.
pub(super) fn any_secret(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
}
