//! Where values come from: the TOML file and the environment, merged, the environment winning.
//!
//! Owns reading both and telling for each key where its value came from. Every value of the environment
//! is a text, to the letter: the password `1e5` is no number.
//! Nothing here knows a key; the environment is passed in.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment2::providers::{Format, Toml};
use figment2::value::{Dict, Value};

use super::error::{Origin, Problem};

/// What every name in the environment begins with.
const PREFIX: &str = "HOSTSYNC_";

/// Between two levels of a key in a name of the environment.
const SEPARATOR: &str = "__";

/// Largest configuration file read, in bytes. A larger one is refused: it is not a configuration.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The values of both sources, merged, each with its origin. It holds secrets as they were given, so it has no `Debug`.
#[derive(Default)]
pub(super) struct ConfigSources {
    values: Dict,
    file: Option<PathBuf>,
    variables: BTreeMap<Vec<String>, String>,
    ignored: Vec<(String, String)>,
}

impl ConfigSources {
    /// Reads the file, if one is named, and takes what concerns us from the environment.
    ///
    /// A file that cannot be read or is no TOML, and names of the environment that contradict each
    /// other, are reported in `problems`; the rest is still taken.
    pub(super) fn read<K, V>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
        problems: &mut Vec<Problem>,
    ) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut sources = Self { file: file.map(Path::to_owned), ..Self::default() };
        if let Some(path) = file {
            match read_file(path) {
                Ok(values) => sources.values = values,
                Err(reason) => {
                    problems.push(Problem { key: String::new(), reason, origin: Origin::File(path.to_owned()) });
                }
            }
        }
        let from_environment = sources.read_environment(environment, problems);
        merge(&mut sources.values, from_environment);
        sources
    }

    /// All values.
    pub(super) fn values(&self) -> &Dict {
        &self.values
    }

    /// Names of the environment with our prefix that set nothing, and what stands behind the prefix, in lower case.
    pub(super) fn ignored(&self) -> &[(String, String)] {
        &self.ignored
    }

    /// Where the value of a key came from.
    pub(super) fn origin(&self, key: &[String]) -> Origin {
        if !self.is_given(key) {
            return Origin::NotGiven;
        }
        let above = (0..=key.len()).rev().find_map(|depth| self.variables.get(&key[..depth]));
        let below = || self.variables.iter().find(|(path, _)| path.starts_with(key)).map(|(_, name)| name);
        match (above.or_else(below), &self.file) {
            (Some(name), _) => Origin::Variable(name.clone()),
            (None, Some(file)) => Origin::File(file.clone()),
            (None, None) => Origin::NotGiven,
        }
    }

    /// Whether there is a value of a key, or a list above it.
    fn is_given(&self, key: &[String]) -> bool {
        let mut table = &self.values;
        for (depth, level) in key.iter().enumerate() {
            match table.get(level) {
                None => return false,
                Some(Value::Dict(_, below)) => table = below,
                Some(Value::Array(..)) => return true,
                Some(_) => return depth + 1 == key.len(),
            }
        }
        true
    }

    /// Takes the names with our prefix and a separator; all other names are ignored.
    fn read_environment<K, V>(
        &mut self,
        environment: impl IntoIterator<Item = (K, V)>,
        problems: &mut Vec<Problem>,
    ) -> Dict
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut values = Dict::new();
        for (name, value) in environment {
            let Ok(name) = name.into().into_string() else {
                continue;
            };
            let Some(path) = path_of_variable(&name) else {
                continue;
            };
            if !path.contains(SEPARATOR) {
                self.ignored.push((name, path));
                continue;
            }
            let key: Vec<String> = path.split(SEPARATOR).map(str::to_owned).collect();
            let mut report = |reason: String| {
                problems.push(Problem { key: key.join("."), reason, origin: Origin::Variable(name.clone()) });
            };
            if key.iter().any(String::is_empty) {
                report("the name has an empty level; two underscores stand between levels".to_owned());
                continue;
            }
            if let Some(other) = self.variables.get(&key) {
                report(format!("is also given by {other}; keep one of the two"));
                continue;
            }
            let Ok(value) = value.into().into_string() else {
                report("is not UTF-8".to_owned());
                continue;
            };
            if insert(&mut values, &key, value) {
                self.variables.insert(key, name);
            } else {
                report(
                    "contradicts another variable, which gives a value to a level above or below this one".to_owned(),
                );
            }
        }
        values
    }
}

/// Reads the file as TOML. The reason given for a bad one holds a line number, not the line: a secret
/// may stand there.
fn read_file(path: &Path) -> Result<Dict, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read the file: {error}"))?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("the file has {size} bytes; at most {MAX_FILE_BYTES} are read"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read the file: {error}"))?;
    Toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("line {line}: {}", error.message())
    })
}

/// Puts values over others.
fn merge(values: &mut Dict, over: Dict) {
    for (key, value) in over {
        match (values.get_mut(&key), value) {
            (Some(Value::Dict(_, below)), Value::Dict(_, over)) => merge(below, over),
            (_, value) => {
                values.insert(key, value);
            }
        }
    }
}

/// What stands behind our prefix in a name of the environment, in lower case.
fn path_of_variable(name: &str) -> Option<String> {
    let (prefix, path) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| path.to_lowercase())
}

/// The usual spelling of the name of the environment that means a key.
pub(super) fn variable_of_key(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_uppercase())
}

/// Puts a text at a key; false when a text stands where a table is needed or the other way round.
fn insert(table: &mut Dict, key: &[String], text: String) -> bool {
    match key {
        [] => false,
        [last] if table.contains_key(last) => false,
        [last] => table.insert(last.clone(), Value::from(text)).is_none(),
        [first, rest @ ..] => match table.entry(first.clone()).or_insert_with(|| Value::from(Dict::new())) {
            Value::Dict(_, below) => insert(below, rest, text),
            _ => false,
        },
    }
}
