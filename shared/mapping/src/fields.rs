//! How the fields of a mapping stand in the indices of a pattern.
//!
//! Owns which fields are asked for, and what a search may name once they are known. Asks nobody itself; `field_caps` reads the
//! answer and judges it, `field_role` says which fields there are, `grouping` has those that hosts are found by.

use std::collections::HashSet;

use serde::Serialize;

use super::field_caps::{FieldCapsAnswer, FieldDoubt, FieldTypesError, MetricSource, in_words};
use super::field_role::{FieldRole, fields_of};
use super::grouping::{Grouping, HostField, HostKind, KEYWORD_SUFFIX, NameField};
use super::{Mapping, Metric};

/// In which shapes a metric stands in the indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shapes {
    /// As numbers in the fields of the mapping.
    pub plain: bool,
    /// As roll-ups below the field of the mapping.
    pub roll_up: bool,
    /// As a sum over cores, with their number beside it.
    pub per_core: bool,
}

/// The name by which an engine takes the length of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IntervalKey {
    /// Elasticsearch 7.2 and newer, every `OpenSearch`.
    Fixed,
    /// Elasticsearch 7.0 and 7.1, which know no other.
    Legacy,
}

/// What a search may name: the fields of a mapping, resolved against the indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTypes {
    /// Fields to filter and group hosts by, one or two.
    pub hosts: Vec<HostField>,
    shapes: [Shapes; 3],
    splits: [Option<String>; 3],
    interval: IntervalKey,
    doubt: Option<FieldDoubt>,
}

/// A field of a mapping and what became of it, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldUse {
    /// Key below `mappings.<name>`, such as `cpu.max`.
    pub key: String,
    /// The field.
    pub field: String,
    /// Its types in words; `None` where they are not known, as through a query proxy.
    pub types: Option<String>,
    /// Whether it can be used.
    pub usable: bool,
    /// Why not.
    pub reason: Option<String>,
}

impl FieldTypes {
    /// The fields as the mapping names them, taken for usable: for a search that only has to show whether
    /// every index can be reached.
    pub fn unresolved(mapping: &Mapping) -> Self {
        let split = |metric| mapping.metric(metric).split.as_ref().map(|split| split.field.clone());
        Self {
            hosts: HostField::only(mapping.host_field.clone(), HostKind::Keyword),
            shapes: [Shapes { plain: true, roll_up: false, per_core: false }; 3],
            splits: Metric::ALL.map(split),
            interval: IntervalKey::Fixed,
            doubt: None,
        }
    }

    /// The first field whose flags say that it cannot be used. If the engine refuses a search by that field, this is why.
    pub fn doubt(&self) -> Option<&FieldDoubt> {
        self.doubt.as_ref()
    }

    /// Every shape that the mapping allows, since nobody says which there are: what is asked for and not there
    /// comes back empty.
    pub fn of_any_shape(mapping: &Mapping, hosts: Vec<HostField>) -> Self {
        let shapes = |metric| {
            let fields = mapping.metric(metric);
            Shapes { plain: true, roll_up: fields.roll_up_field().is_some(), per_core: fields.per_core.is_some() }
        };
        Self { hosts, shapes: Metric::ALL.map(shapes), ..Self::unresolved(mapping) }
    }

    /// The same with the field by which a metric is split.
    #[must_use]
    pub fn with_split_field(mut self, metric: Metric, field: String) -> Self {
        self.splits[metric as usize] = Some(field);
        self
    }

    /// The same for an engine that knows a slice's length by its old name only (Elasticsearch before 7.2).
    #[must_use]
    pub fn with_legacy_interval(mut self) -> Self {
        self.interval = IntervalKey::Legacy;
        self
    }

    /// In which shapes a metric is to be asked for.
    pub fn shapes(&self, metric: Metric) -> Shapes {
        self.shapes[metric as usize]
    }

    /// The field to split a metric by, or `None` if it is not split.
    pub fn split_field(&self, metric: Metric) -> Option<&str> {
        self.splits[metric as usize].as_deref()
    }

    pub(super) fn interval_key(&self) -> &'static str {
        match self.interval {
            IntervalKey::Fixed => "fixed_interval",
            IntervalKey::Legacy => "interval",
        }
    }

    /// The fields to ask `_field_caps` for, each once: those of the mapping that a search reads, and everything
    /// below those that may be objects or have a `.keyword`; only with what is below it do the engines report a
    /// field that is an object in some index.
    pub fn to_ask_for(mapping: &Mapping) -> Vec<String> {
        Self::asked(mapping, |role| role != FieldRole::Name)
    }

    /// The same with the fields of names and groups.
    pub fn all_to_ask_for(mapping: &Mapping) -> Vec<String> {
        Self::asked(mapping, |_| true)
    }

    fn asked(mapping: &Mapping, is_asked: impl Fn(FieldRole) -> bool) -> Vec<String> {
        let mut fields = Vec::new();
        for (_, field, role) in fields_of(mapping) {
            if is_asked(role) {
                fields.push(field.to_owned());
                fields.extend((role != FieldRole::Time).then(|| format!("{field}.*")));
            }
        }
        let mut seen = HashSet::new();
        fields.retain(|field| seen.insert(field.clone()));
        fields
    }

    /// Reads the answer of `_field_caps` (with `include_unmapped=true`) for [`FieldTypes::to_ask_for`].
    ///
    /// Different numeric types in several indices go together (dynamic mapping takes the first value of a
    /// day for a `long` or a `float`), so do `date` and `date_nanos`, a keyword and a text with a `.keyword`,
    /// numbers and roll-ups. Any other mixture is refused. A field whose type would do but whose flags say no is taken, with
    /// a [`FieldDoubt`].
    ///
    /// # Errors
    ///
    /// The first field that cannot be used, in the order time, host, cpu, memory, disk.
    pub fn read(mapping: &Mapping, answer: &[u8]) -> Result<Self, FieldTypesError> {
        let answer = FieldCapsAnswer::read(answer)?;
        answer.by_types(
            |answer| Self::resolve(mapping, answer),
            |mut types, doubt| {
                types.doubt = Some(doubt);
                types
            },
        )
    }

    fn resolve(mapping: &Mapping, answer: &FieldCapsAnswer) -> Result<Self, FieldTypesError> {
        let mut types = Self::unresolved(mapping);
        for (key, field, role) in fields_of(mapping) {
            if role != FieldRole::Name && !answer.may_lack(mapping, &key, field) {
                answer.check(&key, field, role)?;
            }
        }
        types.hosts = answer.grouping("host_field", &mapping.host_field)?.host_fields(&mapping.host_field);
        for metric in Metric::ALL {
            let fields = mapping.metric(metric);
            let shapes = &mut types.shapes[metric as usize];
            if let Some(field) = fields.roll_up_field() {
                shapes.roll_up = answer.types_of(field).iter().any(|(kind, _)| *kind == "object");
                shapes.plain = answer.types_of(field).iter().any(|(kind, _)| *kind != "object");
            }
            if fields.per_core.is_some() {
                shapes.per_core = answer.has_all(fields, MetricSource::PerCore);
                shapes.plain &= answer.has_all(fields, MetricSource::Own);
            }
            if let Some(split) = &fields.split {
                let key = format!("{}.split.field", metric.key());
                if answer.grouping(&key, &split.field)? == Grouping::Text {
                    types.splits[metric as usize] = Some(format!("{}{KEYWORD_SUFFIX}", split.field));
                }
            }
        }
        Ok(types)
    }

    /// What the answer of `_field_caps` for [`FieldTypes::all_to_ask_for`] says of each field of the mapping.
    ///
    /// # Errors
    ///
    /// [`FieldTypesError::Malformed`] or [`FieldTypesError::NoIndex`].
    pub fn describe(mapping: &Mapping, answer: &[u8]) -> Result<Vec<FieldUse>, FieldTypesError> {
        let answer = FieldCapsAnswer::read(answer)?;
        let describe = |(key, field, role): (String, &str, FieldRole)| {
            let types = answer.types_of(field);
            let checked = if answer.may_lack(mapping, &key, field) {
                Ok(())
            } else {
                answer.by_types(|answer| answer.check(&key, field, role), |(), _| ())
            };
            let reason = checked.err().map(|error| error.to_string());
            FieldUse {
                key,
                field: field.to_owned(),
                types: Some(if types.is_empty() { "in no index".to_owned() } else { in_words(&types) }),
                usable: reason.is_none(),
                reason,
            }
        };
        Ok(fields_of(mapping).into_iter().map(describe).collect())
    }

    /// The fields of a mapping, with nothing known of them.
    pub fn undescribed(mapping: &Mapping) -> Vec<FieldUse> {
        let one = |(key, field, _): (String, &str, FieldRole)| FieldUse {
            key,
            field: field.to_owned(),
            types: None,
            usable: true,
            reason: None,
        };
        fields_of(mapping).into_iter().map(one).collect()
    }

    /// The indices that answered `_field_caps`.
    ///
    /// # Errors
    ///
    /// [`FieldTypesError::Malformed`] or [`FieldTypesError::NoIndex`].
    pub fn indices(answer: &[u8]) -> Result<Vec<String>, FieldTypesError> {
        FieldCapsAnswer::read(answer).map(|answer| answer.indices.names().to_vec())
    }

    /// How the field of names `field` stands in the answer of `_field_caps` for [`FieldTypes::all_to_ask_for`].
    ///
    /// # Errors
    ///
    /// As [`FieldTypes::read`].
    pub fn name_field(key: &str, field: &str, answer: &[u8]) -> Result<NameField, FieldTypesError> {
        let grouping =
            FieldCapsAnswer::read(answer)?.by_types(|answer| answer.grouping(key, field), |grouping, _| grouping)?;
        Ok(grouping.name_field(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{caps, field_caps as answer};
    use serde_json::{Value, json};

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
        assert_eq!(types.hosts, HostField::only("hostIp".to_owned(), HostKind::Keyword));
        let mut ip = answer();
        ip["fields"]["hostIp"] = caps("ip");
        assert_eq!(read(&ip).expect("usable").hosts, HostField::only("hostIp".to_owned(), HostKind::Ip));
    }

    #[test]
    fn text_is_used_by_its_keyword() {
        let mut text = answer();
        text["fields"]["hostIp"] = caps("text");
        text["fields"]["hostIp.keyword"] = caps("keyword");
        let by_keyword = HostField::only("hostIp.keyword".to_owned(), HostKind::Keyword);
        assert_eq!(read(&text).expect("usable").hosts, by_keyword);
    }

    #[test]
    fn a_flag_is_a_hint_and_only_a_search_tells() {
        assert_eq!(read(&answer()).expect("usable").doubt(), None);
        for (field, kind) in [("cpu", "float"), ("@timestamp", "date"), ("hostIp", "keyword"), ("hostIp", "ip")] {
            for (searchable, aggregatable) in [(false, true), (true, false), (false, false)] {
                let mut flagged = answer();
                flagged["fields"][field] =
                    json!({kind: {"type": kind, "searchable": searchable, "aggregatable": aggregatable}});
                let doubt = read(&flagged).expect("usable").doubt().cloned().expect("a doubt");
                assert!(doubt.field == field && doubt.reason.contains(kind), "{doubt:?}");
                let uses = FieldTypes::describe(&Mapping::zabbix(), flagged.to_string().as_bytes()).expect("uses");
                assert!(uses.iter().any(|of| of.field == field && of.usable), "{uses:?}");
            }
        }
        let mut mixed = answer();
        mixed["fields"]["hostIp"] = caps("text");
        mixed["fields"]["hostIp.keyword"] = json!({"keyword": {"searchable": false, "aggregatable": true}});
        assert_eq!(read(&mixed).expect("usable").doubt().map(|doubt| doubt.field.as_str()), Some("hostIp"));
    }

    /// `day-1` has a roll-up with these numbers, `day-2` a plain number.
    fn mixed_cpu(names: &[&str]) -> Value {
        let mut mixed = answer();
        mixed["fields"]["cpu"] = json!({
            "object": {"type": "object", "searchable": false, "aggregatable": false, "indices": ["day-1"]},
            "float": {"type": "float", "searchable": true, "aggregatable": true, "indices": ["day-2"]},
        });
        for name in names {
            mixed["fields"][format!("cpu.{name}")] = json!({
                "float": {"type": "float", "searchable": true, "aggregatable": true, "indices": ["day-1"]},
                "unmapped": {"type": "unmapped", "searchable": false, "aggregatable": false, "indices": ["day-2"]},
            });
        }
        mixed
    }

    #[test]
    fn numbers_and_roll_ups_go_together_if_no_roll_up_lacks_a_number() {
        let names = ["value_max", "value_min", "value_avg", "zabbix_value_count"];
        let types = read(&mixed_cpu(&names)).expect("usable");
        assert_eq!(types.shapes(Metric::Cpu), Shapes { plain: true, roll_up: true, per_core: false });
        assert_eq!(types.shapes(Metric::Disk), Shapes { plain: true, roll_up: false, per_core: false });
        for lacking in 0..names.len() {
            let mut names = names.to_vec();
            names.remove(lacking);
            let error = read(&mixed_cpu(&names)).expect_err("unusable").to_string();
            assert!(error.contains("or a roll-up with the numbers"), "{error}");
        }
    }

    #[test]
    fn a_keyword_and_a_text_with_a_keyword_are_read_by_a_search_each() {
        let mut mixed = answer();
        mixed["indices"] = json!(["day-1", "day-2", "day-3"]);
        mixed["fields"]["hostIp"] = json!({
            "keyword": {"type": "keyword", "searchable": true, "aggregatable": true, "indices": ["day-1", "day-3"]},
            "text": {"type": "text", "searchable": true, "aggregatable": false, "indices": ["day-2"]},
        });
        mixed["fields"]["hostIp.keyword"] = json!({
            "keyword": {"type": "keyword", "searchable": true, "aggregatable": true, "indices": ["day-2", "day-3"]},
            "unmapped": {"type": "unmapped", "searchable": false, "aggregatable": false, "indices": ["day-1"]},
        });
        let field = |field: &str, except: &str| HostField {
            field: field.to_owned(),
            kind: HostKind::Keyword,
            except: vec![except.to_owned()],
        };
        let types = read(&mixed).expect("usable");
        assert_eq!(types.hosts, [field("hostIp", "day-2"), field("hostIp.keyword", "day-3")]);
    }

    #[test]
    fn a_part_may_be_named_by_a_keyword_a_text_with_one_or_a_whole_number() {
        let mut mapping = Mapping::zabbix();
        mapping.disk.split = Some(crate::Split { field: "mount".to_owned(), how: crate::Combine::Sum });
        let read = |answer: &Value| FieldTypes::read(&mapping, answer.to_string().as_bytes());
        let mut answer = answer();
        for (kind, field) in [("keyword", "mount"), ("long", "mount"), ("text", "mount.keyword")] {
            answer["fields"]["mount"] = caps(kind);
            answer["fields"]["mount.keyword"] = caps("keyword");
            assert_eq!(read(&answer).expect(kind).split_field(Metric::Disk), Some(field));
        }
        answer["fields"]["mount"] = caps("double");
        assert!(
            read(&answer).expect_err("unusable").to_string().contains("(disk.split.field of the mapping) is double")
        );
    }

    #[test]
    fn every_field_is_described_with_its_types_and_what_is_wrong_with_it() {
        let mut answer = answer();
        answer["fields"]["cpu"] = caps("text");
        answer["fields"]["group"] = caps("keyword");
        let described = FieldTypes::describe(&Mapping::zabbix(), answer.to_string().as_bytes()).expect("an answer");
        let of = |key: &str| described.iter().find(|field| field.key == key).expect(key);
        assert_eq!((of("host_field").types.as_deref(), of("host_field").usable), (Some("keyword"), true));
        assert_eq!((of("group_field").types.as_deref(), of("group_field").usable), (Some("keyword"), true));
        assert_eq!(
            (of("host_name_field").types.as_deref(), of("host_name_field").usable),
            (Some("in no index"), false)
        );
        assert!(of("cpu.max").reason.as_deref().is_some_and(|reason| reason.contains("is text: ")), "{described:?}");
    }
}
