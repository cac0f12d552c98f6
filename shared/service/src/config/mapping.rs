//! A table `[mappings.<name>]`. What it may say is the mapping module's matter.

use figment2::error::{Actual, Error, Kind};
use figment2::value::Value;
use serde::Deserialize;

use super::error::MAX_PROBLEMS;
use super::keys::Key;
use super::section::ConfigSection;
use super::table::Table;
use super::toml::{TomlText, value_text};
use super::value_kind;
use hostsync_mapping::Mapping;

impl ConfigSection for Mapping {
    fn list(path: &str, keys: &mut Vec<Key>) {
        let meaning = "how to read documents, what to skip: a table; built in: zabbix, metricbeat";
        keys.push(Key { name: path.to_owned(), default: None, bounds: None, meaning });
    }

    /// A value that does not fit is reported and left out, and the rest is read again, so that all problems come to light.
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let mut values = Value::from(table.values().clone());
        let mut removed: Vec<Vec<String>> = Vec::new();
        for _ in 0..MAX_PROBLEMS {
            let error = match Self::deserialize(&values) {
                Ok(mapping) if removed.is_empty() => {
                    let Err(error) = mapping.validate() else { return Some(mapping) };
                    table.report(error.key.split('.'), error.reason);
                    return None;
                }
                // A second report would be about the default of what has been left out.
                Ok(_) => return None,
                Err(error) => error,
            };
            let mut key = error.path.clone();
            if let Kind::MissingField(field) = &error.kind {
                key.push(field.to_string());
            }
            // What lacks a value that was left out has been reported by that value.
            if !removed.iter().any(|gone| gone.starts_with(&key)) {
                table.report(key.iter().map(String::as_str), reason(&error));
            }
            let depth = (1..=error.path.len()).rev().find(|depth| remove(&mut values, &error.path[..*depth]))?;
            removed.push(error.path[..depth].to_vec());
        }
        None
    }

    fn show(&self, path: &str, text: &mut TomlText) {
        text.table(path);
        let values = Value::serialize(self).ok().and_then(Value::into_dict).unwrap_or_default();
        for (key, value) in &values {
            text.key(key, Some(&value_text(value)));
        }
    }
}

/// What is wrong, in our words.
fn reason(error: &Error) -> String {
    let found = |actual: &Actual| match actual {
        Actual::Map => "a table".to_owned(),
        Actual::Seq => "a list".to_owned(),
        Actual::Str(text) => format!("the text {}", value_kind::shown(text)),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        other => other.to_string(),
    };
    match &error.kind {
        Kind::Message(text) => text.clone(),
        Kind::InvalidType(Actual::Str(_), expected) if expected.starts_with("struct") => "must be a table".to_owned(),
        Kind::InvalidType(actual, expected) if expected.starts_with("struct") => {
            format!("must be a table, not {}", found(actual))
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("must be {expected}, not {}", found(actual))
        }
        Kind::UnknownField(_, known) => format!("is no key of hostsync; known here: {}", known.join(", ")),
        Kind::MissingField(_) => "must be set".to_owned(),
        other => other.to_string(),
    }
}

/// Takes the value at a key out; false when there is none.
fn remove(values: &mut Value, key: &[String]) -> bool {
    let (Some((first, rest)), Value::Dict(_, table)) = (key.split_first(), values) else { return false };
    // A list is taken out as a whole: without one item it would mean something else.
    if !rest.is_empty()
        && let Some(below @ Value::Dict(..)) = table.get_mut(first)
    {
        return remove(below, rest);
    }
    table.remove(first).is_some()
}
