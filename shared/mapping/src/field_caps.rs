//! The answer of `_field_caps`: which types the fields of a mapping have, and whether they can be used.
//!
//! Owns the rules of what is usable. The answer must have been asked for with `include_unmapped=true`, else an index that lacks
//! a `.keyword` could not be told from one that has it. For example
//! `"hostIp": {"keyword": {"indices": ["day-1"], …}, "text": {"indices": ["day-2"], …}}` is usable if `day-2` has a
//! `hostIp.keyword`.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use serde::Deserialize;

use super::field_role::FieldRole;
use super::grouping::{Grouping, KEYWORD_SUFFIX};
use super::whole_answer::is_cut;
use super::{Mapping, Metric, MetricFields, ROLL_UP_AVG, ROLL_UP_MAX, ROLL_UP_MIN, ROLL_UP_WEIGHT};

/// Numeric types that `max`, `avg`, `min` and `stats` take, by the engines' page on numeric field types.
const NUMERIC_TYPES: [&str; 9] =
    ["long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float", "unsigned_long"];

/// Types of whole numbers that a part may be named by.
const WHOLE_TYPES: [&str; 5] = ["long", "integer", "short", "byte", "unsigned_long"];

/// Why the fields of a mapping cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldTypesError {
    /// The answer is not what `_field_caps` gives.
    #[error("the answer on field types is malformed: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
        /// It ends in the middle.
        is_cut: bool,
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

/// A field that its flags in `_field_caps` say cannot be used. They are a hint only (Elasticsearch 7 calls a number without
/// an index unsearchable, and finds it nevertheless): a search tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDoubt {
    /// The field.
    pub field: String,
    /// Why it could not be used, for people.
    pub reason: String,
}

/// The whole answer.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FieldCapsAnswer {
    #[serde(default)]
    pub(super) indices: IndexNames,
    fields: BTreeMap<String, BTreeMap<String, FieldCaps>>,
}

/// One type of a field, and what can be done with it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FieldCaps {
    searchable: bool,
    aggregatable: bool,
    /// Absent when all indices have this one type.
    #[serde(default)]
    indices: Option<IndexNames>,
}

/// Names of indices. Elasticsearch 7 before 7.2 gives one name as a bare string.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum IndexNames {
    One(String),
    Many(Vec<String>),
}

impl Default for IndexNames {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl IndexNames {
    pub(super) fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// One of two ways to read a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricSource {
    /// By its own three fields.
    Own,
    /// By the sum over cores and their number.
    PerCore,
}

impl FieldCapsAnswer {
    pub(super) fn read(answer: &[u8]) -> Result<Self, FieldTypesError> {
        let answer: Self = serde_json::from_slice(answer).map_err(|error| FieldTypesError::Malformed {
            reason: error.to_string(),
            is_cut: is_cut(&error, answer),
        })?;
        if answer.indices.names().is_empty() {
            return Err(FieldTypesError::NoIndex);
        }
        Ok(answer)
    }

    /// Tries `ask` with the flags, then without them. What passes only without them comes with a doubt.
    pub(super) fn by_types<T>(
        &self,
        ask: impl Fn(&Self) -> Result<T, FieldTypesError>,
        doubted: impl FnOnce(T, FieldDoubt) -> T,
    ) -> Result<T, FieldTypesError> {
        match ask(self) {
            Err(FieldTypesError::Unusable { key, field, types, reason }) => {
                let (doubted_field, error) = (field.clone(), FieldTypesError::Unusable { key, field, types, reason });
                let doubt = FieldDoubt { field: doubted_field, reason: error.to_string() };
                ask(&self.without_flags()).map(|found| doubted(found, doubt)).map_err(|_| error)
            }
            found => found,
        }
    }

    /// The same with every flag set.
    fn without_flags(&self) -> Self {
        let mut all = self.clone();
        for caps in all.fields.values_mut().flat_map(BTreeMap::values_mut) {
            caps.searchable = true;
            caps.aggregatable = true;
        }
        all
    }

    /// The types of a field, without the `unmapped` of indices that lack it; empty if all lack it.
    pub(super) fn types_of(&self, field: &str) -> Vec<(&str, &FieldCaps)> {
        self.fields
            .get(field)
            .into_iter()
            .flatten()
            .filter(|(kind, _)| *kind != "unmapped")
            .map(|(kind, caps)| (kind.as_str(), caps))
            .collect()
    }

    /// Whether all fields of one way to read a metric stand in some index.
    pub(super) fn has_all(&self, fields: &MetricFields, reading: MetricSource) -> bool {
        let in_some_index = |field: &str| !self.types_of(field).is_empty();
        match (reading, &fields.per_core) {
            (MetricSource::Own, _) => {
                [&fields.max, &fields.avg, &fields.min].into_iter().all(|field| in_some_index(field))
            }
            (MetricSource::PerCore, Some(per_core)) => in_some_index(&per_core.field) && in_some_index(&per_core.cores),
            (MetricSource::PerCore, None) => false,
        }
    }

    /// Whether no index has the field and none needs it, since the metric can be read in the other way.
    pub(super) fn may_lack(&self, mapping: &Mapping, key: &str, field: &str) -> bool {
        let Some((metric, name)) = key.split_once('.') else { return false };
        let Some(metric) = Metric::ALL.into_iter().find(|known| known.key() == metric) else { return false };
        let fields = mapping.metric(metric);
        let other = match name {
            "max" | "avg" | "min" => MetricSource::PerCore,
            "per_core.field" | "per_core.cores" => MetricSource::Own,
            _ => return false,
        };
        self.types_of(field).is_empty() && self.has_all(fields, other)
    }

    pub(super) fn check(&self, key: &str, field: &str, role: FieldRole) -> Result<(), FieldTypesError> {
        match role {
            FieldRole::Time => self.check_types(key, field, &["date", "date_nanos"], "it must be a date"),
            FieldRole::Number => {
                self.check_types(key, field, &NUMERIC_TYPES, "it must be a plain number that can be aggregated")
            }
            FieldRole::NumberOrRollUp => self.check_number_or_roll_up(key, field),
            FieldRole::Host => match self.grouping(key, field)? {
                Grouping::Number => Err(unusable(
                    key,
                    field,
                    &self.types_of(field),
                    &format!("it must be keyword or ip, or have a keyword field \"{field}{KEYWORD_SUFFIX}\" beside it"),
                )),
                _ => Ok(()),
            },
            FieldRole::Name => self.grouping(key, field).map(|_| ()),
            FieldRole::Part => match self.grouping(key, field)? {
                Grouping::Mixed { .. } => Err(unusable(
                    key,
                    field,
                    &self.types_of(field),
                    "it must have one type in all indices of the pattern; narrow the pattern to indices of one shape",
                )),
                _ => Ok(()),
            },
        }
    }

    fn check_types(&self, key: &str, field: &str, usable_types: &[&str], reason: &str) -> Result<(), FieldTypesError> {
        let types = self.types_of(field);
        if types.is_empty() {
            return Err(missing(key, field));
        }
        if types.iter().all(|(kind, caps)| usable_types.contains(kind) && caps.searchable && caps.aggregatable) {
            return Ok(());
        }
        Err(unusable(key, field, &types, reason))
    }

    /// A number in some indices, an object with the numbers of a roll-up in the others.
    fn check_number_or_roll_up(&self, key: &str, field: &str) -> Result<(), FieldTypesError> {
        const REASON: &str = "it must be a plain number that can be aggregated, or a roll-up with the numbers \
                              value_max, value_min, value_avg and zabbix_value_count";
        let types = self.types_of(field);
        if types.is_empty() {
            return Err(missing(key, field));
        }
        for (kind, caps) in &types {
            let is_number = NUMERIC_TYPES.contains(kind) && caps.searchable && caps.aggregatable;
            let is_usable = is_number || (*kind == "object" && self.is_roll_up(field, caps));
            if !is_usable {
                return Err(unusable(key, field, &types, REASON));
            }
        }
        Ok(())
    }

    /// Whether every index where `field` is an object has all numbers of a roll-up below it.
    fn is_roll_up(&self, field: &str, object: &FieldCaps) -> bool {
        [ROLL_UP_MAX, ROLL_UP_MIN, ROLL_UP_AVG, ROLL_UP_WEIGHT].iter().all(|name| {
            let types = self.types_of(&format!("{field}.{name}"));
            let is_number = |(kind, caps): &(&str, &FieldCaps)| NUMERIC_TYPES.contains(kind) && caps.aggregatable;
            let numbers: Vec<&FieldCaps> =
                types.iter().filter(|found| is_number(found)).map(|(_, caps)| *caps).collect();
            types.iter().all(is_number) && self.cover(&numbers, object)
        })
    }

    pub(super) fn grouping(&self, key: &str, field: &str) -> Result<Grouping, FieldTypesError> {
        let types = self.types_of(field);
        let error = |reason: &str| unusable(key, field, &types, reason);
        let sub_field = format!("{field}{KEYWORD_SUFFIX}");
        let (mut text, mut keyword) = (None, None);
        match types.as_slice() {
            [] => return Err(missing(key, field)),
            [("ip", caps)] if caps.searchable && caps.aggregatable => return Ok(Grouping::Ip),
            [(kind, caps)] if WHOLE_TYPES.contains(kind) && caps.searchable && caps.aggregatable => {
                return Ok(Grouping::Number);
            }
            [(kind, _)] if !matches!(*kind, "keyword" | "text") => {
                return Err(error(&format!(
                    "it must be keyword or ip, or have a keyword field \"{sub_field}\" beside it"
                )));
            }
            types => {
                for (kind, caps) in types {
                    match *kind {
                        "text" => text = Some(*caps),
                        "keyword" if caps.searchable && caps.aggregatable => keyword = Some(*caps),
                        "keyword" => {
                            return Err(error(
                                "it must be keyword or ip and can be neither searched nor aggregated otherwise",
                            ));
                        }
                        _ => {
                            return Err(error(
                                "it must have one type in all indices of the pattern, or be keyword and text; \
                                 narrow the pattern to indices of one shape",
                            ));
                        }
                    }
                }
            }
        }
        let Some(text) = text else { return Ok(Grouping::Keyword) };
        let sub_types = self.types_of(&sub_field);
        match sub_types.as_slice() {
            [("keyword", sub)] if sub.searchable && sub.aggregatable && self.cover(&[sub], text) => {
                let Some(keyword) = keyword else { return Ok(Grouping::Text) };
                let with_sub: HashSet<&String> = self.indices_of(sub).iter().collect();
                let keyword = self.indices_of(keyword).to_vec();
                let both = keyword.iter().filter(|index| with_sub.contains(index)).cloned().collect();
                Ok(Grouping::Mixed { text: self.indices_of(text).to_vec(), keyword, both })
            }
            [("keyword", _)] => {
                Err(error(&format!("\"{sub_field}\" is missing or cannot be aggregated in some of the indices")))
            }
            _ => Err(error(&format!("it must be keyword or ip, or have a keyword field \"{sub_field}\" beside it"))),
        }
    }

    /// The indices where a field has a type: all of them, if nothing is said.
    fn indices_of<'a>(&'a self, caps: &'a FieldCaps) -> &'a [String] {
        caps.indices.as_ref().unwrap_or(&self.indices).names()
    }

    /// Whether every index of `part` is one of `whole`.
    fn cover(&self, whole: &[&FieldCaps], part: &FieldCaps) -> bool {
        if whole.iter().any(|caps| caps.indices.is_none()) {
            return true;
        }
        let whole: HashSet<&String> = whole.iter().flat_map(|caps| self.indices_of(caps)).collect();
        self.indices_of(part).iter().all(|index| whole.contains(index))
    }
}

fn missing(key: &str, field: &str) -> FieldTypesError {
    FieldTypesError::Missing { key: key.to_owned(), field: field.to_owned() }
}

fn unusable(key: &str, field: &str, types: &[(&str, &FieldCaps)], reason: &str) -> FieldTypesError {
    FieldTypesError::Unusable {
        key: key.to_owned(),
        field: field.to_owned(),
        types: in_words(types),
        reason: reason.to_owned(),
    }
}

/// "float", or "float in logs-1 and object in logs-2 and 4 more". A field that cannot be aggregated says so.
pub(super) fn in_words(types: &[(&str, &FieldCaps)]) -> String {
    let one = |(kind, caps): &(&str, &FieldCaps)| {
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
    use crate::samples::{caps, field_caps as answer};
    use crate::{FieldTypes, HostField, HostKind};
    use serde_json::{Value, json};

    fn read(answer: &Value) -> Result<FieldTypes, FieldTypesError> {
        FieldTypes::read(&Mapping::zabbix(), answer.to_string().as_bytes())
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
        let by_keyword = HostField::only("hostIp.keyword".to_owned(), HostKind::Keyword);
        assert_eq!(read(&text).expect("usable").hosts, by_keyword);
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
             it must be a plain number that can be aggregated, or a roll-up with the numbers \
             value_max, value_min, value_avg and zabbix_value_count"
        );
        mixed["fields"]["cpu"] = caps("nested");
        assert!(read(&mixed).expect_err("unusable").to_string().contains("is nested: "));
        let mut mixed = answer();
        mixed["fields"]["hostIp"] = json!({
            "keyword": {"type": "keyword", "searchable": true, "aggregatable": true, "indices": ["day-1"]},
            "ip": {"type": "ip", "searchable": true, "aggregatable": true, "indices": ["day-2"]},
        });
        let error = read(&mixed).expect_err("unusable").to_string();
        assert!(error.contains("ip in day-2 and keyword in day-1: it must have one type"), "{error}");
    }

    #[test]
    fn a_text_is_no_metric_whatever_its_flags_say() {
        let mut text = answer();
        text["fields"]["cpu"] = caps("text");
        let error = read(&text).expect_err("unusable").to_string();
        assert!(error.contains("\"cpu\" (cpu.max of the mapping) is text: it must be a plain number"), "{error}");
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
