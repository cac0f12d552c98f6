//! One table of what is given, while a section takes its keys from it.
//!
//! Owns what is said of a key that is not known, of one that is missing, of a name that the user chose, and the rule that a
//! secret is given once, directly or by a file. Must never put a secret into a report.

use std::path::Path;

use figment2::value::{Dict, Value};

use super::error::Problem;
use super::source::ConfigSources;
use super::value_kind::{self, ValueKind};
use crate::secret_files::{SecretFile, read_secret_file};
use hostsync_model::secret::Secret;

/// Most characters of a name that the user chooses (of an endpoint or a mapping).
const MAX_NAME_CHARS: usize = 64;

/// A table, and where problems with it go.
pub(super) struct Table<'a> {
    sources: &'a ConfigSources,
    problems: &'a mut Vec<Problem>,
    /// The files of secrets that are read again when they change.
    secret_files: &'a mut Vec<SecretFile>,
    path: Vec<String>,
    values: &'a Dict,
    /// What has been asked for.
    known: Vec<String>,
}

/// A field that holds a `T`, or an [`Option`] of one.
pub(super) trait Slot<T>: Sized {
    /// `None`: it needs one.
    fn fill(value: Option<T>) -> Option<Self>;

    fn held(&self) -> Option<&T>;
}

impl<T> Slot<T> for T {
    fn fill(value: Option<T>) -> Option<Self> {
        value
    }

    fn held(&self) -> Option<&T> {
        Some(self)
    }
}

impl<T> Slot<T> for Option<T> {
    fn fill(value: Option<T>) -> Option<Self> {
        Some(value)
    }

    fn held(&self) -> Option<&T> {
        self.as_ref()
    }
}

impl<'a> Table<'a> {
    /// The outermost table.
    pub(super) fn root(
        sources: &'a ConfigSources,
        problems: &'a mut Vec<Problem>,
        secret_files: &'a mut Vec<SecretFile>,
    ) -> Self {
        Self { sources, problems, secret_files, path: Vec::new(), values: sources.values(), known: Vec::new() }
    }
}

impl Table<'_> {
    pub(super) fn values(&self) -> &Dict {
        self.values
    }

    /// Whether a key is given, itself or by a file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key) || self.values.contains_key(&format!("{key}_file"))
    }

    /// Reports a problem with a key of this table, by its levels; without any, with the table.
    pub(super) fn report<'k>(&mut self, key: impl IntoIterator<Item = &'k str>, reason: impl Into<String>) {
        let key: Vec<String> = self.path.iter().cloned().chain(key.into_iter().map(str::to_owned)).collect();
        self.problems.push(Problem { origin: self.sources.origin(&key), key: key.join("."), reason: reason.into() });
    }

    /// The value of a key, else its default, of which `default` holds one or none; a bad value is reported.
    pub(super) fn key<T, S: Slot<T>>(&mut self, key: &str, kind: &ValueKind<T>, default: &[&str]) -> Option<S> {
        let given = if kind.secret.is_some() { self.secret(key) } else { self.value(key) };
        let given = given.filter(|(_, value)| !(kind.may_be_empty && value.as_str() == Some("")));
        let value = given.and_then(|(from, value)| match (kind.read)(&value) {
            Ok(value) => {
                if let Some(secret) = kind.secret.as_ref().filter(|_| from != key) {
                    self.follow(&from, (secret.of)(&value), secret.check);
                }
                Some(value)
            }
            Err(reason) => {
                self.report([from.as_str()], reason);
                None
            }
        });
        let default = || default.first().map(|text| (kind.read)(&Value::from(*text)).expect("a default is taken"));
        let filled = S::fill(value.or_else(default));
        if filled.is_none() && !self.has(key) {
            // A table with keys that must be there has a name, below the plural of what it is.
            let what = self.path.iter().rev().nth(1).map_or("table", |plural| plural.trim_end_matches('s'));
            self.report([key], format!("must be set, since other keys of this {what} are"));
        }
        filled
    }

    /// Has a secret read again when its file changes.
    fn follow(&mut self, file_key: &str, secret: &Secret, check: fn(&str) -> Result<(), String>) {
        let path = self.values.get(file_key).and_then(Value::as_str).unwrap_or_default();
        let key = self.path.iter().map(String::as_str).chain([file_key]).collect::<Vec<_>>().join(".");
        self.secret_files.push(SecretFile { key, path: path.into(), secret: secret.clone(), check });
    }

    /// What is given for a key, with the key.
    fn value(&mut self, key: &str) -> Option<(String, Value)> {
        self.known.push(key.to_owned());
        self.values.get(key).map(|value| (key.to_owned(), value.clone()))
    }

    /// What is given for a secret, with the key that gave it. Line ends at the end of a file are not part of it.
    fn secret(&mut self, key: &str) -> Option<(String, Value)> {
        let given = self.value(key);
        let Some((file_key, file)) = self.value(&format!("{key}_file")) else { return given };
        let read = match given {
            Some(_) => {
                let key: Vec<String> = self.path.iter().cloned().chain([key.to_owned()]).collect();
                let origin = self.sources.origin(&key);
                Err(format!("{} is given too ({origin}); keep one of the two", key.join(".")))
            }
            None => file
                .as_str()
                .ok_or("must be a text in quotes".to_owned())
                .and_then(|path| read_secret_file(Path::new(path))),
        };
        match read {
            Ok(secret) => Some((file_key, secret.into())),
            Err(reason) => {
                self.report([file_key.as_str()], reason);
                None
            }
        }
    }

    /// The table at a key, which may be left out.
    pub(super) fn part(&mut self, key: &str) -> Table<'_> {
        const NOTHING: &Dict = &Dict::new();
        self.known.push(key.to_owned());
        let values = self.values.get(key).and_then(|value| self.table(key, value)).unwrap_or(NOTHING);
        self.below(key, values)
    }

    /// The tables in this one, by the names that the user chose for them.
    ///
    /// The environment can only give names in lower case and without two underscores in a row, so there are no others.
    pub(super) fn each(&mut self, mut take: impl FnMut(&str, &mut Table<'_>)) {
        for (name, value) in self.values {
            let is_good = (1..=MAX_NAME_CHARS).contains(&name.len())
                && !name.contains("__")
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
            if !is_good {
                let reason = format!(
                    "the name must be 1 to {MAX_NAME_CHARS} of a-z, 0-9, _ and -, without two underscores in a row"
                );
                self.report([name.as_str()], reason);
            }
            if let Some(values) = self.table(name, value) {
                take(name, &mut self.below(name, values));
            }
        }
    }

    /// A value as the table that it must be.
    fn table<'v>(&mut self, key: &str, value: &'v Value) -> Option<&'v Dict> {
        let table = value.as_dict();
        if table.is_none() {
            // A text may be a secret.
            let found =
                if value.as_str().is_some() { String::new() } else { format!(", not {}", value_kind::found(value)) };
            self.report([key], format!("must be a table{found}"));
        }
        table
    }

    fn below<'s>(&'s mut self, key: &str, values: &'s Dict) -> Table<'s> {
        let path = self.path.iter().map(String::as_str).chain([key]).map(str::to_owned).collect();
        Table {
            sources: self.sources,
            problems: self.problems,
            secret_files: self.secret_files,
            path,
            values,
            known: Vec::new(),
        }
    }

    /// Reports what nobody has asked for.
    pub(super) fn refuse_others(&mut self) {
        let known = self.known.join(", ");
        for key in self.values.keys().filter(|key| !self.known.contains(key)).cloned().collect::<Vec<_>>() {
            self.report([key.as_str()], format!("is no key of hostsync; known here: {known}"));
        }
    }
}
