//! Where values come from: the TOML file and the environment, merged by figment, the environment winning.
//!
//! Owns reading both and telling for each key where its value came from. Every value of the environment
//! is a text, to the letter: figment's own provider would turn the password `1e5` into a number.
//! Nothing here knows a key; the environment is passed in.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment2::providers::{Format, Toml};
use figment2::value::{Dict, Map, Tag, Value};
use figment2::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;

use super::error::{Origin, Problem};
use super::leaf;
use super::spelling::meant_by;

/// What every name in the environment begins with.
const PREFIX: &str = "HOSTSYNC_";

/// Between two levels of a key in a name of the environment.
const SEPARATOR: &str = "__";

/// Largest configuration file read, in bytes. A larger one is refused: it is not a configuration.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Most problems reported of one configuration; what lies beyond is left for the next try.
const MAX_PROBLEMS: usize = 100;

/// The values of both sources, merged, each with its origin.
#[derive(Debug)]
pub(super) struct ConfigSources {
    values: Value,
    figment: Figment,
    file: Option<PathBuf>,
    variables: BTreeMap<Vec<String>, String>,
    warnings: Vec<String>,
}

/// The values that one source gives.
struct Given {
    name: &'static str,
    values: Dict,
}

const FROM_ENVIRONMENT: &str = "environment";
const FROM_FILE: &str = "file";

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> figment2::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
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
        let from_file = file.map(|path| read_file(path).map_err(|reason| (path, reason)));
        let from_file = match from_file {
            None => Dict::new(),
            Some(Ok(values)) => values,
            Some(Err((path, reason))) => {
                problems.push(Problem { key: String::new(), reason, origin: Origin::File(path.to_owned()) });
                Dict::new()
            }
        };
        let (from_environment, variables, warnings) = read_environment(environment, problems);
        let figment = Figment::new()
            .merge(Given { name: FROM_FILE, values: from_file })
            .merge(Given { name: FROM_ENVIRONMENT, values: from_environment });
        let values = figment.find_value("").unwrap_or_else(|_| Value::from(Dict::new()));
        Self { values, figment, file: file.map(Path::to_owned), variables, warnings }
    }

    /// Sentences about names of the environment that are ignored and look as if they should not be.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where the value of a key came from.
    pub(super) fn origin(&self, key: &[String]) -> Origin {
        let Some(tag) = self.tag(key) else {
            return Origin::NotGiven;
        };
        let source = self.figment.get_metadata(tag).map(|metadata| metadata.name.as_ref());
        match source {
            Some(FROM_ENVIRONMENT) => (0..=key.len())
                .rev()
                .find_map(|depth| self.variables.get(&key[..depth]))
                .or_else(|| self.variables.iter().find(|(path, _)| path.starts_with(key)).map(|(_, name)| name))
                .map_or(Origin::NotGiven, |name| Origin::Variable(name.clone())),
            Some(FROM_FILE) => self.file.clone().map_or(Origin::NotGiven, Origin::File),
            _ => Origin::NotGiven,
        }
    }

    /// The tag of the value of a key, else of the nearest level above it that is not a table.
    fn tag(&self, key: &[String]) -> Option<Tag> {
        let mut value = &self.values;
        for level in key {
            match value {
                Value::Dict(_, table) => value = table.get(level)?,
                Value::Array(..) => break,
                _ => return None,
            }
        }
        Some(value.tag())
    }

    /// The table at a key, if there is one.
    pub(super) fn table(&self, key: &str) -> Option<&Dict> {
        self.values.find_ref(key).and_then(Value::as_dict)
    }

    /// Reads all values as a `T`, whose every field has a default. A value that does not fit is reported
    /// and left out, and the rest is read again, so that all problems come to light.
    pub(super) fn extract<T: DeserializeOwned + Default>(&self, problems: &mut Vec<Problem>) -> T {
        let mut values = self.values.clone();
        let mut removed: Vec<Vec<String>> = Vec::new();
        for _ in 0..MAX_PROBLEMS {
            let error = match T::deserialize(&values) {
                Ok(read) => return read,
                Err(error) => error,
            };
            let mut key = error.path.clone();
            let at = key.clone();
            if let figment2::error::Kind::MissingField(field) = &error.kind {
                key.push(field.to_string());
            }
            // What lacks a value that was left out has been reported by that value.
            let is_consequence = removed.iter().any(|gone| gone.starts_with(&key));
            if !is_consequence {
                problems.push(Problem { reason: reason(&error.kind), origin: self.origin(&key), key: key.join(".") });
            }
            let Some(depth) = (1..=at.len()).rev().find(|depth| remove(&mut values, &at[..*depth])) else { break };
            removed.push(at[..depth].to_vec());
        }
        T::default()
    }
}

/// What is wrong, in our words. Keys that hold secrets give their reasons themselves
/// (`Kind::Message`), so no value of theirs is repeated here.
fn reason(kind: &figment2::error::Kind) -> String {
    use figment2::error::{Actual, Kind};

    let found = |actual: &Actual| match actual {
        Actual::Map => "a table".to_owned(),
        Actual::Seq => "a list".to_owned(),
        Actual::Str(text) => format!("the text {}", leaf::shown(text)),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        other => other.to_string(),
    };
    match kind {
        Kind::Message(text) => text.clone(),
        Kind::InvalidType(Actual::Str(_), expected) if expected.starts_with("struct") || expected == "a map" => {
            "must be a table".to_owned()
        }
        Kind::InvalidType(actual, expected) if expected.starts_with("struct") || expected == "a map" => {
            format!("must be a table, not {}", found(actual))
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("must be {expected}, not {}", found(actual))
        }
        Kind::UnknownField(_, known) => format!("is no key of hostsync; known here: {}", known.join(", ")),
        Kind::UnknownVariant(found, known) => format!("must be one of {}, not {found:?}", known.join(", ")),
        Kind::MissingField(_) => "must be set".to_owned(),
        other => other.to_string(),
    }
}

/// Takes the value at a key out; false when there is none.
fn remove(values: &mut Value, key: &[String]) -> bool {
    let Some((first, rest)) = key.split_first() else {
        return false;
    };
    let Value::Dict(_, table) = values else {
        return false;
    };
    // A list is taken out as a whole: without one item it would mean something else.
    if !rest.is_empty()
        && let Some(below @ Value::Dict(..)) = table.get_mut(first)
    {
        return remove(below, rest);
    }
    table.remove(first).is_some()
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

/// Takes the names with our prefix and a separator; all other names are ignored, with a warning where one resembles a key.
fn read_environment<K, V>(
    environment: impl IntoIterator<Item = (K, V)>,
    problems: &mut Vec<Problem>,
) -> (Dict, BTreeMap<Vec<String>, String>, Vec<String>)
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let mut values = Dict::new();
    let mut variables: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut warnings = Vec::new();
    for (name, value) in environment {
        let Ok(name) = name.into().into_string() else {
            continue;
        };
        let Some(path) = path_of_variable(&name) else {
            continue;
        };
        if !path.contains(SEPARATOR) {
            let meant = meant_by(&path);
            if !meant.is_empty() {
                let meant = meant.join(" or ");
                warnings.push(format!(
                    "the environment variable {name} sets nothing: two underscores stand between levels, as in {meant}"
                ));
            }
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
        if let Some(other) = variables.get(&key) {
            report(format!("is also given by {other}; keep one of the two"));
            continue;
        }
        let Ok(value) = value.into().into_string() else {
            report("is not UTF-8".to_owned());
            continue;
        };
        if insert(&mut values, &key, value) {
            variables.insert(key, name);
        } else {
            report("contradicts another variable, which gives a value to a level above or below this one".to_owned());
        }
    }
    warnings.sort();
    (values, variables, warnings)
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
