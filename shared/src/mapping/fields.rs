//! The types of the fields that a mapping names, as the indices of a pattern have them.
//!
//! Owns the reading of a `_field_caps` answer and the rules of what is usable: a host field that can be
//! grouped by, numeric metrics, a date. The answer must have been asked for with `include_unmapped=true`,
//! else an index that lacks a `.keyword` could not be told from one that has it. Asks nobody itself.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use serde::Deserialize;

use super::{Mapping, Metric};

/// Suffix of the sub-field that dynamic mapping puts beside a `text` field.
const KEYWORD_SUFFIX: &str = ".keyword";

/// Numeric types that `max`, `avg`, `min` and `stats` take, by the engines' page on numeric field types.
const NUMERIC_TYPES: [&str; 9] =
    ["long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float", "unsigned_long"];

/// How the host field stands in the indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// Text as it was written; compared byte by byte.
    Keyword,
    /// An address; comes back in the engine's own canonical form, whatever form was asked for.
    Ip,
}

/// What a search may name: the fields of a mapping, resolved against the indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTypes {
    /// Field to filter and group hosts by: the mapping's, or its `.keyword`.
    pub host_field: String,
    /// How hosts stand in it.
    pub host_kind: HostKind,
}

/// Why the fields of a mapping cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldTypesError {
    /// The answer is not what `_field_caps` gives.
    #[error("the answer on field types is malformed: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// No index answered: either the pattern matches none, or those that match could not be reached. Only
    /// a search tells these apart.
    #[error("no index answered when asked for its field types")]
    NoIndex,
    /// No index that answered has the field. A cluster that was skipped may have it: only a search tells.
    #[error("no index has the field \"{field}\" ({key} of the mapping)")]
    Missing {
        /// Key below `mappings.<name>`.
        key: String,
        /// The field.
        field: String,
    },
    /// The field has a type that cannot be used, or types that do not go together.
    #[error("the field \"{field}\" ({key} of the mapping) is {types}: {reason}")]
    Unusable {
        /// Key below `mappings.<name>`.
        key: String,
        /// The field.
        field: String,
        /// Its types, in words.
        types: String,
        /// What would be usable.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
struct CapsAnswer {
    #[serde(default)]
    indices: OneOrMany,
    fields: BTreeMap<String, BTreeMap<String, Caps>>,
}

#[derive(Debug, Deserialize)]
struct Caps {
    searchable: bool,
    aggregatable: bool,
    /// Absent when all indices have this one type.
    #[serde(default)]
    indices: Option<OneOrMany>,
}

/// Elasticsearch 7 before 7.2 gives one name as a bare string.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

impl FieldTypes {
    /// The fields as the mapping names them, taken for usable: for a search that only has to show whether
    /// every index can be reached.
    pub fn unresolved(mapping: &Mapping) -> Self {
        Self { host_field: mapping.host_field.clone(), host_kind: HostKind::Keyword }
    }

    /// The fields to ask `_field_caps` for, each once: those of the mapping that a search reads, and everything
    /// below the host and the metrics. Below them stands the `.keyword` of the host, and only with what is
    /// below it do the engines report a field that is an object in some index.
    pub fn to_ask_for(mapping: &Mapping) -> Vec<String> {
        let mut fields = vec![mapping.time_field.clone()];
        for field in std::iter::once(mapping.host_field.as_str()).chain(mapping.metric_fields()) {
            fields.push(field.to_owned());
            fields.push(format!("{field}.*"));
        }
        let mut seen = HashSet::new();
        fields.retain(|field| seen.insert(field.clone()));
        fields
    }

    /// Reads the answer of `_field_caps` (with `include_unmapped=true`) for [`FieldTypes::to_ask_for`].
    ///
    /// Different numeric types in several indices go together (dynamic mapping takes the first value of a
    /// day for a `long` or a `float`), so do `date` and `date_nanos`. Any other mixture is refused.
    ///
    /// # Errors
    ///
    /// The first field that cannot be used, in the order time, host, cpu, memory, disk.
    pub fn read(mapping: &Mapping, answer: &[u8]) -> Result<Self, FieldTypesError> {
        let answer: CapsAnswer =
            serde_json::from_slice(answer).map_err(|err| FieldTypesError::Malformed { reason: err.to_string() })?;
        if answer.indices.names().is_empty() {
            return Err(FieldTypesError::NoIndex);
        }
        answer.check("time_field", &mapping.time_field, &["date", "date_nanos"], "it must be a date")?;
        let host = answer.host(&mapping.host_field)?;
        for metric in Metric::ALL {
            let fields = mapping.metric(metric);
            for (statistic, field) in [("max", &fields.max), ("avg", &fields.avg), ("min", &fields.min)] {
                let key = format!("{}.{statistic}", metric.key());
                answer.check(&key, field, &NUMERIC_TYPES, "it must be a plain number that can be aggregated")?;
            }
        }
        Ok(host)
    }
}

impl CapsAnswer {
    /// The types of a field, without the `unmapped` of indices that lack it; empty if all lack it.
    fn types_of(&self, field: &str) -> Vec<(&str, &Caps)> {
        self.fields
            .get(field)
            .into_iter()
            .flatten()
            .filter(|(kind, _)| *kind != "unmapped")
            .map(|(kind, caps)| (kind.as_str(), caps))
            .collect()
    }

    fn check(&self, key: &str, field: &str, usable: &[&str], reason: &str) -> Result<(), FieldTypesError> {
        let types = self.types_of(field);
        if types.is_empty() {
            return Err(missing(key, field));
        }
        if types.iter().all(|(kind, caps)| usable.contains(kind) && caps.searchable && caps.aggregatable) {
            return Ok(());
        }
        Err(unusable(key, field, &types, reason))
    }

    fn host(&self, field: &str) -> Result<FieldTypes, FieldTypesError> {
        const KEY: &str = "host_field";
        let types = self.types_of(field);
        match types.as_slice() {
            [] => Err(missing(KEY, field)),
            [("keyword", caps)] if caps.searchable && caps.aggregatable => {
                Ok(FieldTypes { host_field: field.to_owned(), host_kind: HostKind::Keyword })
            }
            [("ip", caps)] if caps.searchable && caps.aggregatable => {
                Ok(FieldTypes { host_field: field.to_owned(), host_kind: HostKind::Ip })
            }
            [("text", text)] => {
                let sub_field = format!("{field}{KEYWORD_SUFFIX}");
                match self.types_of(&sub_field).as_slice() {
                    [("keyword", keyword)]
                        if keyword.searchable && keyword.aggregatable && self.covers(keyword, text) =>
                    {
                        Ok(FieldTypes { host_field: sub_field, host_kind: HostKind::Keyword })
                    }
                    [("keyword", _)] => Err(unusable(
                        KEY,
                        field,
                        &types,
                        &format!("\"{sub_field}\" is missing or cannot be aggregated in some of the indices"),
                    )),
                    _ => Err(unusable(
                        KEY,
                        field,
                        &types,
                        &format!("it must be keyword or ip, or have a keyword field \"{sub_field}\" beside it"),
                    )),
                }
            }
            [_] => Err(unusable(
                KEY,
                field,
                &types,
                "it must be keyword or ip and can be neither searched nor aggregated otherwise",
            )),
            _ => Err(unusable(
                KEY,
                field,
                &types,
                "it must have one type in all indices of the pattern; narrow the pattern to indices of one shape",
            )),
        }
    }

    /// Whether every index that has `part` has `whole` too.
    fn covers(&self, whole: &Caps, part: &Caps) -> bool {
        let Some(whole) = &whole.indices else { return true };
        let whole: HashSet<&String> = whole.names().iter().collect();
        part.indices.as_ref().unwrap_or(&self.indices).names().iter().all(|index| whole.contains(index))
    }
}

fn missing(key: &str, field: &str) -> FieldTypesError {
    FieldTypesError::Missing { key: key.to_owned(), field: field.to_owned() }
}

fn unusable(key: &str, field: &str, types: &[(&str, &Caps)], reason: &str) -> FieldTypesError {
    FieldTypesError::Unusable {
        key: key.to_owned(),
        field: field.to_owned(),
        types: in_words(types),
        reason: reason.to_owned(),
    }
}

/// "float", or "float in logs-1 and object in logs-2 and 4 more". A field that cannot be aggregated says so.
fn in_words(types: &[(&str, &Caps)]) -> String {
    let one = |(kind, caps): &(&str, &Caps)| {
        let mut text = (*kind).to_owned();
        if !caps.aggregatable && *kind != "text" && *kind != "object" && *kind != "nested" {
            text.push_str(" (not aggregatable)");
        }
        if types.len() > 1
            && let Some((first, rest)) = caps.indices.as_ref().and_then(|indices| indices.names().split_first())
        {
            text.push_str(" in ");
            text.push_str(first);
            if !rest.is_empty() {
                let _ = write!(text, " (and {} more)", rest.len());
            }
        }
        text
    };
    types.iter().map(one).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn caps(kind: &str) -> Value {
        let aggregatable = !matches!(kind, "text" | "object");
        json!({kind: {"type": kind, "searchable": kind != "object", "aggregatable": aggregatable}})
    }

    fn answer() -> Value {
        json!({
            "indices": ["day-1", "day-2"],
            "fields": {
                "@timestamp": caps("date"),
                "hostIp": caps("keyword"),
                "cpu": caps("float"),
                "available_memory": caps("double"),
                "total_disk_space_all": caps("long"),
            },
        })
    }

    fn read(answer: &Value) -> Result<FieldTypes, FieldTypesError> {
        FieldTypes::read(&Mapping::zabbix(), answer.to_string().as_bytes())
    }

    #[test]
    fn each_field_is_asked_for_once_with_what_is_below_it() {
        assert_eq!(
            FieldTypes::to_ask_for(&Mapping::zabbix()),
            [
                "@timestamp",
                "hostIp",
                "hostIp.*",
                "cpu",
                "cpu.*",
                "available_memory",
                "available_memory.*",
                "total_disk_space_all",
                "total_disk_space_all.*",
            ]
        );
    }

    #[test]
    fn keyword_and_ip_are_used_as_they_are() {
        let types = read(&answer()).expect("usable");
        assert_eq!((types.host_field.as_str(), types.host_kind), ("hostIp", HostKind::Keyword));
        let mut ip = answer();
        ip["fields"]["hostIp"] = caps("ip");
        assert_eq!(read(&ip).expect("usable").host_kind, HostKind::Ip);
    }

    #[test]
    fn text_is_used_by_its_keyword() {
        let mut text = answer();
        text["fields"]["hostIp"] = caps("text");
        text["fields"]["hostIp.keyword"] = caps("keyword");
        assert_eq!(read(&text).expect("usable").host_field, "hostIp.keyword");
    }

    #[test]
    fn text_without_a_keyword_is_refused() {
        let mut text = answer();
        text["fields"]["hostIp"] = caps("text");
        text["fields"]["hostIp.keyword"] =
            json!({"unmapped": {"type": "unmapped", "searchable": false, "aggregatable": false}});
        let error = read(&text).expect_err("unusable").to_string();
        assert!(error.contains("\"hostIp\" (host_field of the mapping) is text"), "{error}");
        assert!(error.contains("hostIp.keyword"), "{error}");
    }

    #[test]
    fn a_keyword_that_only_some_text_indices_have_is_refused() {
        let mut text = answer();
        text["fields"]["hostIp"] = caps("text");
        text["fields"]["hostIp.keyword"] = json!({
            "keyword": {"type": "keyword", "searchable": true, "aggregatable": true, "indices": ["day-1"]},
            "unmapped": {"type": "unmapped", "searchable": false, "aggregatable": false, "indices": ["day-2"]},
        });
        let error = read(&text).expect_err("unusable").to_string();
        assert!(error.contains("missing or cannot be aggregated in some of the indices"), "{error}");

        // The index without the sub-field has no hosts at all: nothing is lost.
        text["fields"]["hostIp"] = json!({
            "text": {"type": "text", "searchable": true, "aggregatable": false, "indices": "day-1"},
            "unmapped": {"type": "unmapped", "searchable": false, "aggregatable": false, "indices": "day-2"},
        });
        assert_eq!(read(&text).expect("usable").host_field, "hostIp.keyword");
    }

    #[test]
    fn several_numeric_types_go_together() {
        let mut mixed = answer();
        mixed["fields"]["cpu"] = json!({
            "long": {"type": "long", "searchable": true, "aggregatable": true, "indices": ["day-1"]},
            "float": {"type": "float", "searchable": true, "aggregatable": true, "indices": ["day-2"]},
        });
        assert!(read(&mixed).is_ok());
    }

    #[test]
    fn other_mixtures_are_refused_by_field_type_and_index() {
        let mut mixed = answer();
        mixed["fields"]["cpu"] = json!({
            "object": {"type": "object", "searchable": false, "aggregatable": false, "indices": ["day-1", "day-3"]},
            "float": {"type": "float", "searchable": true, "aggregatable": true, "indices": ["day-2"]},
        });
        let error = read(&mixed).expect_err("unusable").to_string();
        assert_eq!(
            error,
            "the field \"cpu\" (cpu.max of the mapping) is float in day-2 and object in day-1 (and 1 more): \
             it must be a plain number that can be aggregated"
        );
        let mut mixed = answer();
        mixed["fields"]["hostIp"] = json!({
            "keyword": {"type": "keyword", "searchable": true, "aggregatable": true, "indices": ["day-1"]},
            "ip": {"type": "ip", "searchable": true, "aggregatable": true, "indices": ["day-2"]},
        });
        let error = read(&mixed).expect_err("unusable").to_string();
        assert!(error.contains("ip in day-2 and keyword in day-1: it must have one type"), "{error}");
    }

    #[test]
    fn text_metrics_and_numbers_without_doc_values_are_refused() {
        let mut text = answer();
        text["fields"]["cpu"] = caps("text");
        let error = read(&text).expect_err("unusable").to_string();
        assert!(error.contains("\"cpu\" (cpu.max of the mapping) is text: it must be a plain number"), "{error}");
        text["fields"]["cpu"] = json!({"float": {"type": "float", "searchable": true, "aggregatable": false}});
        let error = read(&text).expect_err("unusable").to_string();
        assert!(error.contains("is float (not aggregatable)"), "{error}");
    }

    #[test]
    fn a_field_that_no_index_has_is_missing() {
        let mut answer = answer();
        answer["fields"].as_object_mut().expect("fields").remove("total_disk_space_all");
        let error = read(&answer).expect_err("missing");
        assert_eq!(error.to_string(), "no index has the field \"total_disk_space_all\" (disk.max of the mapping)");
    }

    #[test]
    fn no_index_and_a_malformed_answer_are_told_apart() {
        assert_eq!(read(&json!({"indices": [], "fields": {}})), Err(FieldTypesError::NoIndex));
        assert!(matches!(read(&json!({"indices": ["a"]})), Err(FieldTypesError::Malformed { .. })));
        assert!(matches!(FieldTypes::read(&Mapping::zabbix(), b"<html>"), Err(FieldTypesError::Malformed { .. })));
    }
}
