//! How fields that hosts or names are grouped by stand in the indices of a pattern, and how they are read there.
//!
//! Owns the choice of the field to search by. It makes a difference where a template was changed, so that indices of two shapes
//! stand under one pattern. Knows no answer of an engine: `field_caps` reads one.

/// Suffix of the sub-field that dynamic mapping puts beside a `text` field.
pub const KEYWORD_SUFFIX: &str = ".keyword";

/// How the host field stands in the indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// Text as it was written; compared byte by byte.
    Keyword,
    /// An address; comes back in the engine's own canonical form, whatever form was asked for.
    Ip,
    /// One of the two: a query proxy does not say which.
    Unknown,
}

/// A field to filter and group hosts by.
///
/// Where indices of two shapes stand under one pattern there are two such fields, and a search is made by each. Together the
/// two read every document once. For example, with `hostIp` a keyword in `day-1` and a text with a `.keyword` in `day-2`:
///
/// | field | reads | leaves out (`except`) |
/// |---|---|---|
/// | `hostIp` | `day-1` | `day-2`, where it is a text |
/// | `hostIp.keyword` | `day-2` | nothing: `day-1` has no such field |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostField {
    /// The mapping's field, or its `.keyword`.
    pub field: String,
    /// How hosts stand in it.
    pub kind: HostKind,
    /// Indices that the other field reads: their documents are left out, and their shards may fail, since this field is a
    /// text there.
    pub except: Vec<String>,
}

impl HostField {
    pub(super) fn only(field: String, kind: HostKind) -> Vec<Self> {
        vec![Self { field, kind, except: Vec::new() }]
    }
}

/// How a field that can be grouped by stands in the indices of a pattern. Of `hostIp`, for example:
///
/// | in the indices | is | searched by |
/// |---|---|---|
/// | `keyword` in all | [`Grouping::Keyword`] | `hostIp` |
/// | `ip` in all | [`Grouping::Ip`] | `hostIp` |
/// | `text` in all, with a `hostIp.keyword` | [`Grouping::Text`] | `hostIp.keyword` |
/// | `keyword` in `day-1`, `text` with a `hostIp.keyword` in `day-2` | [`Grouping::Mixed`] | `hostIp`, then `hostIp.keyword` |
/// | something that can be grouped by; a query proxy does not say more | [`Grouping::AsItIs`] | `hostIp` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// As a keyword.
    Keyword,
    /// As an address.
    Ip,
    /// As a whole number.
    Number,
    /// As one of the three: a query proxy does not say which.
    AsItIs,
    /// As a text with a `.keyword` beside it.
    Text,
    /// As a keyword in some indices, and as a text with a `.keyword` in others. An index of `both` would be read by both
    /// searches, so the one by `.keyword` leaves it out. For example `day-1` a keyword, `day-2` a text with a `.keyword`,
    /// `day-3` a keyword that has a `.keyword` all the same: `text` is `day-2`, `keyword` is `day-1` and `day-3`, `both` is
    /// `day-3`.
    Mixed {
        /// The indices where it is a text.
        text: Vec<String>,
        /// The indices where it is a keyword.
        keyword: Vec<String>,
        /// The indices where it is a keyword and has a `.keyword` below it nevertheless.
        both: Vec<String>,
    },
}

impl Grouping {
    /// The host fields to search by. A number is none.
    pub fn host_fields(self, field: &str) -> Vec<HostField> {
        let own = field.to_owned();
        let keyword = format!("{field}{KEYWORD_SUFFIX}");
        match self {
            Self::Ip => HostField::only(own, HostKind::Ip),
            Self::Keyword => HostField::only(own, HostKind::Keyword),
            Self::Number | Self::AsItIs => HostField::only(own, HostKind::Unknown),
            Self::Text => HostField::only(keyword, HostKind::Keyword),
            Self::Mixed { text, both, .. } => vec![
                HostField { field: own, kind: HostKind::Keyword, except: text },
                HostField { field: keyword, kind: HostKind::Keyword, except: both },
            ],
        }
    }

    /// How to read names from the field.
    pub fn name_field(self, field: &str) -> NameField {
        match self {
            Self::Keyword | Self::Ip | Self::Number | Self::AsItIs => NameField::Grouped(field.to_owned()),
            Self::Text => NameField::Grouped(format!("{field}{KEYWORD_SUFFIX}")),
            Self::Mixed { keyword, .. } => NameField::Mixed { field: field.to_owned(), keyword },
        }
    }
}

/// A field with names: of a group, or of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameField {
    /// Can be grouped by in all indices.
    Grouped(String),
    /// A keyword in some, a text with a `.keyword` in others.
    Mixed {
        /// The field.
        field: String,
        /// The indices where it is a keyword.
        keyword: Vec<String>,
    },
}
