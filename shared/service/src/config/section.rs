//! A section of the configuration: a table of keys, an entry a key.
//!
//! [`section!`] declares one. Everything else follows from an entry: how the key is read and checked, what is said of it in
//! `--help`, how it is shown, and the field that holds it.

use std::collections::BTreeMap;

use super::keys::Key;
use super::table::{Slot, Table};
use super::toml::TomlText;
use super::value_kind::ValueKind;

/// What can stand at a level of the configuration.
pub(super) trait ConfigSection: Sized {
    /// Adds its keys, which stand below `path`.
    fn list(path: &str, keys: &mut Vec<Key>);

    /// Takes it; `None`: it cannot be made, and why has been reported.
    fn read(table: &mut Table<'_>) -> Option<Self>;

    /// Writes it as it is in force, secrets masked.
    fn show(&self, path: &str, text: &mut TomlText);
}

/// Sections by the names that the user chose for them.
impl<S: ConfigSection> ConfigSection for BTreeMap<String, S> {
    fn list(path: &str, keys: &mut Vec<Key>) {
        S::list(&below(path, "<name>"), keys);
    }

    fn read(table: &mut Table<'_>) -> Option<Self> {
        let mut sections = Self::new();
        table.each(|name, table| {
            sections.extend(S::read(table).map(|section| (name.to_owned(), section)));
        });
        Some(sections)
    }

    fn show(&self, path: &str, text: &mut TomlText) {
        for (name, section) in self {
            section.show(&below(path, name), text);
        }
    }
}

/// A key below a level.
pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Adds a key, and the one of its file. `default` is a slice of one or none: what [`section!`] finds behind a `=` can be left
/// out of a list, but not be turned into an [`Option`].
pub(super) fn list_key<T>(
    path: &str,
    key: &str,
    kind: &ValueKind<T>,
    default: &[&'static str],
    meaning: &'static str,
    keys: &mut Vec<Key>,
) {
    let name = below(path, key);
    let file = kind.secret.is_some().then(|| format!("{name}_file"));
    keys.push(Key { name, default: default.first().copied(), bounds: kind.bounds.clone(), meaning });
    keys.extend(file.map(|name| Key { name, default: None, bounds: None, meaning: "a file that holds it" }));
}

/// Writes a key as it is in force.
pub(super) fn show_key<T, S: Slot<T>>(key: &str, kind: &ValueKind<T>, value: &S, text: &mut TomlText) {
    text.key(key, value.held().map(|value| (kind.show)(value)).as_deref());
}

/// Declares a section:
///
/// ```text
/// pub struct BrokerConfig, check as_a_whole {
///     url: Secret, value_kind::secret(check), "a key that must be given";
///     vhost: Option<String>, value_kind::text(), "a key that may be left out";
///     prefix: String = "hostsync", value_kind::text(), "a key with its default, as the environment would give it";
///     ..queues: QueuesConfig, "A section below it.";
///     + warnings: Vec<String>, "What is no key.";
/// }
/// ```
///
/// The text of a key is a line of `--help`, and each documents its field. `check` is called with the section, or with `None`
/// where it could not be made, and with what was given. `for Type` instead of `pub struct Type` is for a struct that is
/// declared elsewhere.
macro_rules! section {
    (
        $(#[$attribute:meta])*
        pub struct $Section:ident $(, check $check:path)? {
            $($field:ident: $Type:ty $(= $default:expr)?, $kind:expr, $meaning:literal;)*
            $(..$part:ident: $Part:ty, $part_doc:literal;)*
            $(+ $other:ident: $Other:ty, $other_doc:literal;)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone)]
        #[allow(clippy::doc_markdown, rustdoc::bare_urls, reason = "a line of --help documents a field")]
        pub struct $Section {
            $(#[doc = $meaning] pub $field: $Type,)*
            $(#[doc = $part_doc] pub $part: $Part,)*
            $(#[doc = $other_doc] pub $other: $Other,)*
        }

        $crate::config::section::section! {
            for $Section $(, check $check)? {
                $($field: $Type $(= $default)?, $kind, $meaning;)*
                $(..$part: $Part;)*
                $(+ $other: $Other;)*
            }
        }
    };
    (
        for $Section:ty $(, check $check:path)? {
            $($field:ident: $Type:ty $(= $default:expr)?, $kind:expr, $meaning:literal;)*
            $(..$part:ident: $Part:ty;)*
            $(+ $other:ident: $Other:ty;)*
        }
    ) => {
        impl $crate::config::section::ConfigSection for $Section {
            fn list(path: &str, keys: &mut Vec<$crate::config::keys::Key>) {
                $($crate::config::section::list_key(path, stringify!($field), &$kind, &[$($default)?], $meaning, keys);)*
                $(<$Part>::list(&$crate::config::section::below(path, stringify!($part)), keys);)*
            }

            fn read(table: &mut $crate::config::table::Table<'_>) -> Option<Self> {
                $(let $field = table.key::<_, $Type>(stringify!($field), &$kind, &[$($default)?]);)*
                $(let $part = $crate::config::section::ConfigSection::read(&mut table.part(stringify!($part)));)*
                table.refuse_others();
                let section = (|| {
                    Some(Self { $($field: $field?,)* $($part: $part?,)* $($other: <$Other>::default(),)* })
                })();
                $($check(section.as_ref(), table);)?
                section
            }

            fn show(&self, path: &str, text: &mut $crate::config::toml::TomlText) {
                text.table(path);
                $($crate::config::section::show_key(stringify!($field), &$kind, &self.$field, text);)*
                $(self.$part.show(&$crate::config::section::below(path, stringify!($part)), text);)*
            }
        }
    };
}
pub(super) use section;
