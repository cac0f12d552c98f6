//! What `--help` says of a key.

use std::fmt::Write as _;

use super::source::variable_of_key;

/// One key as `--help` shows it.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted; `<name>` stands for a name that the user chooses.
    pub(super) name: String,
    /// As it would be written in a variable of the environment; `None` for a key without one.
    pub(super) default: Option<&'static str>,
    /// The least and the most.
    pub(super) bounds: Option<String>,
    /// One line.
    pub(super) meaning: &'static str,
}

/// The text for `--help`: every key with its default and meaning, by section, and how to give it.
/// No line is longer than 100 characters.
pub(super) fn help(keys: &[Key]) -> String {
    fn split(key: &Key) -> (&str, &str) {
        key.name.rsplit_once('.').unwrap_or(("", &key.name))
    }
    let width = keys.iter().map(|key| split(key).1.len()).max().unwrap_or(0);
    let mut text = String::from(
        "Configuration: a TOML file (--config, or HOSTSYNC_CONFIG) and, winning over it, the environment.\n\
         In the environment a key is HOSTSYNC_ and its levels with two underscores between them:\n",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{} for database.url. Defaults stand in brackets.", variable_of_key("database.url"));
    let mut last_section = "";
    for key in keys {
        let (section, name) = split(key);
        if section != last_section {
            let _ = writeln!(text, "\n[{section}]");
            last_section = section;
        }
        let default = key.default.map(|default| format!(" [{default}]")).unwrap_or_default();
        let bounds = key.bounds.as_ref().map(|bounds| format!(", {bounds}")).unwrap_or_default();
        let _ = writeln!(text, "  {name:width$}  {}{bounds}{default}", key.meaning);
    }
    text.push('\n');
    text
}
