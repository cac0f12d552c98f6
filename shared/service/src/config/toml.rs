//! What is in force, as a TOML text.
//!
//! Owns the writing of it. The text can be read back; keys that are not set stand in it as comments, so that it also serves
//! as a template.

use std::fmt::Write as _;

use figment2::value::{Empty, Num, Value};

/// A TOML text in the making.
#[derive(Default)]
pub(super) struct TomlText(pub(super) String);

// Writing to a String cannot fail.
impl TomlText {
    /// Begins a table; the outermost has no name.
    pub(super) fn table(&mut self, name: &str) {
        if !name.is_empty() {
            let gap = if self.0.is_empty() { "" } else { "\n" };
            let _ = writeln!(self.0, "{gap}[{name}]");
        }
    }

    /// A key, with its value as TOML if it is set.
    pub(super) fn key(&mut self, key: &str, value: Option<&str>) {
        let _ = match value {
            Some(value) => writeln!(self.0, "{} = {value}", key_text(key)),
            None => writeln!(self.0, "# {key} is not set"),
        };
    }
}

/// A text as a TOML basic string, which has JSON's escapes and takes no DEL as it is.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// A key, in quotes where it is no bare one.
fn key_text(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

pub(super) fn number_text(number: Num) -> String {
    match number {
        Num::F32(number) => format!("{number:?}"),
        Num::F64(number) => format!("{number:?}"),
        whole => whole.to_i128().map_or_else(|| whole.to_u128().unwrap_or_default().to_string(), |n| n.to_string()),
    }
}

/// Any value, on one line.
pub(super) fn value_text(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Char(_, c) => quoted(&c.to_string()),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => number_text(*number),
        Value::Empty(_, Empty::None | Empty::Unit) => quoted(""),
        Value::Dict(_, table) => {
            let pairs: Vec<_> =
                table.iter().map(|(key, value)| format!("{} = {}", key_text(key), value_text(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(_, items) => format!("[{}]", items.iter().map(value_text).collect::<Vec<_>>().join(", ")),
    }
}
