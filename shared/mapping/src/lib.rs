//! How the documents of a source are read: what to ask the search engine, and what its answer means.
//!
//! Owns the mapping (which field holds what, in which unit), the body of a search, the rules by which an
//! answer is no answer, and the way from measured values to the columns of the CMDB. Everything here is
//! pure: no connection, no clock, no configuration file; `source` does the talking. Nothing here
//! knows tasks, executions or tables.

mod aggregates;
mod buckets;
#[cfg(test)]
mod disk_properties;
mod engine_error;
mod fetches;
mod field_caps;
mod field_coverage;
mod field_role;
mod fields;
mod group;
mod grouping;
mod host_reading;
mod plan;
mod read;
mod refusal_kind;
#[cfg(test)]
mod samples;
mod slices;
mod stats;
mod values;
mod whole_answer;

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

pub use aggregates::AggregatesByHost;
pub use engine_error::{EngineError, FailureCause, REASON_MAX_CHARS, bounded};
pub use fetches::{Extremes, SliceSum};
pub use field_caps::{FieldDoubt, FieldTypesError};
pub use field_coverage::FieldCoverage;
pub use fields::{FieldTypes, FieldUse, Shapes};
pub use group::{GroupCursor, GroupHost, GroupHosts, GroupMember, GroupPage, MAX_GROUP_HOSTS, group_body, read_group};
pub use grouping::{Grouping, HostField, HostKind, KEYWORD_SUFFIX, NameField};
pub use host_reading::HostReading;
pub use plan::{MAX_HOSTS, PlanError, count_body, last_body, max_hosts, search_body};
pub use read::{HostsAnswer, check_answer, read_answer, read_count, read_last};
pub use refusal_kind::RefusalKind;
pub use slices::{MAX_BUCKETS, Slices};
pub use stats::{Share, Stats};
pub use values::{BadValue, Capacity, HostValues, MAX_GB, MAX_PERCENT, host_values};
pub use whole_answer::{AnswerError, ShardFailures};

/// File systems that are no disk of the host: in memory, of the kernel, layers over others, read-only images, optical
/// media, and what belongs to another host. `metricbeat` documents of them are skipped. A `*` stands for any end.
pub const METRICBEAT_SKIPPED_FILE_SYSTEMS: [&str; 42] = [
    "9p",
    "afpfs",
    "afs",
    "autofs",
    "binfmt_misc",
    "bpf",
    "cdfs",
    "ceph",
    "cgroup",
    "cgroup2",
    "cifs",
    "configfs",
    "debugfs",
    "devfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.*",
    "fusectl",
    "glusterfs",
    "hugetlbfs",
    "iso9660",
    "lustre",
    "mqueue",
    "ncpfs",
    "nfs*",
    "nsfs",
    "overlay",
    "overlayfs",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "smb*",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "udf",
    "webdav",
];

/// Most values that a mapping may skip: a search holds each up to three times.
const MAX_SKIPPED: usize = 500;

/// Longest field name that a mapping may hold, in characters.
const MAX_FIELD_CHARS: usize = 255;

/// One of the three things measured of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Processor load.
    Cpu,
    /// Used memory.
    Memory,
    /// Used disk space.
    Disk,
}

impl Metric {
    /// All of them, in the order in which they are asked for.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Disk];

    /// Its key in a mapping, also its name in a search.
    pub fn key(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// What a number in a document means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// 0 to 100.
    Percent,
    /// 0 to 1.
    Ratio,
    /// Bytes in use.
    Bytes,
    /// Gigabytes in use, of 2^30 bytes.
    Gb,
}

/// A derived enum would also take a number, as its place in the list: `unit = 0`.
impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Word([
            ("percent", Self::Percent),
            ("ratio", Self::Ratio),
            ("bytes", Self::Bytes),
            ("gb", Self::Gb),
        ]))
    }
}

/// How the parts of a split make one value of a slice of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// All parts together, as the mount points of a host.
    #[default]
    Sum,
    /// The mean of the parts, as the cores of a processor.
    Mean,
    /// The largest part, as the fullest disk.
    Max,
}

impl<'de> Deserialize<'de> for Combine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Word([("sum", Self::Sum), ("mean", Self::Mean), ("max", Self::Max)]))
    }
}

/// One of a few words, and nothing but a text.
struct Word<T, const N: usize>([(&'static str, T); N]);

impl<T: Copy, const N: usize> Visitor<'_> for Word<T, N> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        write!(f, "one of {}", words.join(", "))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let found = self.0.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
            E::custom(format_args!("must be one of {}, not {text:?}", words.join(", ")))
        })
    }
}

/// A field in which the source says itself which share is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareField {
    /// Field with the share.
    pub field: String,
    /// `percent` or `ratio`.
    pub unit: Unit,
}

/// A metric that is measured part by part, a document a part.
///
/// The window is cut into [`Slices`]. The value of a slice is the sum of all its documents ÷ the number of fetches in
/// it (how often the most frequent part was seen); or, as [`Combine`] says, the mean of the parts' means or the largest
/// of them. Over the slices' values maximum and minimum are taken, and the average over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Field that names the part: `keyword`, or `text` with a `.keyword` beside it, or a whole number.
    pub field: String,
    /// How the parts make one value.
    #[serde(default)]
    pub how: Combine,
}

/// Where documents that lack the fields of a metric have it as a sum over cores instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerCore {
    /// Field with the sum, in the unit of the metric.
    pub field: String,
    /// Field with the number of cores.
    pub cores: String,
}

/// Documents that are no matter of the mapping, by what one of their fields holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// The field: a text or keyword.
    pub field: String,
    /// What is skipped there, in lower case, in upper case or as written here; a `*` at the end stands for any end.
    pub values: Vec<String>,
}

/// The fields of one metric. The three may be the same field.
///
/// Where they are, and there is neither a weight nor a split, the field may also be a roll-up: an object with
/// the numbers [`ROLL_UP_MAX`], [`ROLL_UP_MIN`], [`ROLL_UP_AVG`] and [`ROLL_UP_WEIGHT`], in all indices or in some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricFields {
    /// Field whose largest value is the maximum.
    pub max: String,
    /// Field whose mean is the average.
    pub avg: String,
    /// Field whose smallest value is the minimum.
    pub min: String,
    /// Field that weighs the average. A document without it weighs 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Field that holds the capacity in the unit of the metric, `bytes` or `gb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// Unit of the three fields.
    pub unit: Unit,
    /// Where the source says itself which share is in use, for a metric in `bytes` or `gb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<ShareField>,
    /// How the metric is split into parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// What to read of documents that have none of the three fields; of `cpu` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_core: Option<PerCore>,
}

/// Below the field of a roll-up: its largest value.
pub const ROLL_UP_MAX: &str = "value_max";
/// Below the field of a roll-up: its smallest value.
pub const ROLL_UP_MIN: &str = "value_min";
/// Below the field of a roll-up: its average.
pub const ROLL_UP_AVG: &str = "value_avg";
/// Below the field of a roll-up: how many values it stands for, the weight of its average. A plain number is
/// one value and weighs 1 beside it.
pub const ROLL_UP_WEIGHT: &str = "zabbix_value_count";

impl MetricFields {
    /// All three statistics from one field.
    pub fn single(field: &str, unit: Unit) -> Self {
        Self {
            max: field.to_owned(),
            avg: field.to_owned(),
            min: field.to_owned(),
            weight: None,
            total: None,
            unit,
            percent: None,
            split: None,
            per_core: None,
        }
    }

    /// The one field of all three statistics, or `None` if they differ.
    pub fn shared_field(&self) -> Option<&str> {
        (self.max == self.avg && self.avg == self.min).then_some(self.max.as_str())
    }

    /// The field that may be a roll-up instead of a number, or `None` if there is no such field.
    pub fn roll_up_field(&self) -> Option<&str> {
        self.shared_field().filter(|_| self.weight.is_none() && self.split.is_none())
    }

    /// The fields that hold numbers, each with its key, in the order of the keys.
    fn numbers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("max", &self.max), ("avg", &self.avg), ("min", &self.min)]
            .into_iter()
            .map(|(key, field)| (key, field.as_str()))
            .chain(self.weight.as_deref().map(|field| ("weight", field)))
            .chain(self.total.as_deref().map(|field| ("total", field)))
            .chain(self.percent.as_ref().map(|share| ("percent.field", share.field.as_str())))
            .chain(self.per_core.iter().flat_map(|per_core| {
                [("per_core.field", per_core.field.as_str()), ("per_core.cores", per_core.cores.as_str())]
            }))
    }
}

/// How to read one family of documents: a table `[mappings.<name>]` of the configuration.
///
/// Deserializing checks names and types only; [`Mapping::validate`] must pass before it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Date field that the window applies to.
    pub time_field: String,
    /// Field with the address of the host: `keyword`, `ip`, or `text` with a `.keyword` beside it.
    pub host_field: String,
    /// Field with the name of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name_field: Option<String>,
    /// Field with the group that a full sync finds hosts by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_field: Option<String>,
    /// Processor load, in `percent` or `ratio`.
    pub cpu: MetricFields,
    /// Used memory.
    pub memory: MetricFields,
    /// Used disk space.
    pub disk: MetricFields,
    /// A query of the search engine's language that documents must also match. What it leaves out is not
    /// counted either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<serde_json::Value>,
    /// Documents that are not read, and not counted either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Skip>,
}

/// A mapping that cannot be used: which key, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct MappingError {
    /// Key below `mappings.<name>`, such as `cpu.weight`.
    pub key: String,
    /// What is wrong with it and what to do.
    pub reason: String,
}

impl MappingError {
    fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

impl Mapping {
    /// The built-in `zabbix` mapping: one document a host and interval, plain numbers.
    ///
    /// `available_memory` and `total_disk_space_all` hold what is used, in GB, despite their names.
    pub fn zabbix() -> Self {
        Self {
            time_field: "@timestamp".to_owned(),
            host_field: "hostIp".to_owned(),
            host_name_field: Some("hostName".to_owned()),
            group_field: Some("group".to_owned()),
            cpu: MetricFields::single("cpu", Unit::Percent),
            memory: MetricFields::single("available_memory", Unit::Gb),
            disk: MetricFields::single("total_disk_space_all", Unit::Gb),
            filter: None,
            skip: None,
        }
    }

    /// The built-in `metricbeat` mapping (Elastic Common Schema): a document a metricset.
    ///
    /// The load of a processor is the share of all its cores; before Metricbeat 7.7 that is the sum over the cores ÷
    /// their number. The share of memory in use is the source's own, GB come from its bytes. The disk is the sum over
    /// the mount points that keep data, and its percentage the sum in use ÷ the sum there is. A host belongs to the
    /// groups that its `tags` name.
    pub fn metricbeat() -> Self {
        let share = ShareField { field: "system.memory.actual.used.pct".to_owned(), unit: Unit::Ratio };
        let mounts = Split { field: "system.filesystem.mount_point".to_owned(), how: Combine::Sum };
        Self {
            time_field: "@timestamp".to_owned(),
            host_field: "host.ip".to_owned(),
            host_name_field: Some("host.name".to_owned()),
            group_field: Some("tags".to_owned()),
            cpu: MetricFields {
                per_core: Some(PerCore {
                    field: "system.cpu.total.pct".to_owned(),
                    cores: "system.cpu.cores".to_owned(),
                }),
                ..MetricFields::single("system.cpu.total.norm.pct", Unit::Ratio)
            },
            memory: MetricFields {
                total: Some("system.memory.total".to_owned()),
                percent: Some(share),
                ..MetricFields::single("system.memory.actual.used.bytes", Unit::Bytes)
            },
            disk: MetricFields {
                total: Some("system.filesystem.total".to_owned()),
                split: Some(mounts),
                ..MetricFields::single("system.filesystem.used.bytes", Unit::Bytes)
            },
            filter: None,
            skip: Some(Skip {
                field: "system.filesystem.type".to_owned(),
                values: METRICBEAT_SKIPPED_FILE_SYSTEMS.map(str::to_owned).to_vec(),
            }),
        }
    }

    /// The mappings that need no configuration, by name.
    pub fn built_in() -> [(&'static str, Self); 2] {
        [("zabbix", Self::zabbix()), ("metricbeat", Self::metricbeat())]
    }

    /// The fields of one metric.
    pub fn metric(&self, metric: Metric) -> &MetricFields {
        match metric {
            Metric::Cpu => &self.cpu,
            Metric::Memory => &self.memory,
            Metric::Disk => &self.disk,
        }
    }

    /// The fields that hold numbers, each once, in the order of [`Metric::ALL`] and of the keys of a metric.
    pub fn metric_fields(&self) -> Vec<&str> {
        let mut fields = Vec::with_capacity(9);
        for metric in Metric::ALL {
            for (_, field) in self.metric(metric).numbers() {
                if !fields.contains(&field) {
                    fields.push(field);
                }
            }
        }
        fields
    }

    /// Checks what a type cannot say: field names, units that make sense, and keys that go together.
    ///
    /// # Errors
    ///
    /// The first key that is wrong, and why.
    pub fn validate(&self) -> Result<(), MappingError> {
        check_field("time_field", &self.time_field)?;
        check_field("host_field", &self.host_field)?;
        if let Some(field) = &self.host_name_field {
            check_field("host_name_field", field)?;
        }
        if let Some(field) = &self.group_field {
            check_field("group_field", field)?;
        }
        for metric in Metric::ALL {
            check_metric(metric, self.metric(metric))?;
        }
        if let Some(skip) = &self.skip {
            check_skip(skip)?;
        }
        match &self.filter {
            None => Ok(()),
            Some(serde_json::Value::Object(query)) if query.len() == 1 => Ok(()),
            Some(_) => Err(MappingError::new(
                "filter",
                "must be one query, a table with exactly one key such as { term = { \"service.type\" = \"host\" } }",
            )),
        }
    }
}

fn check_skip(skip: &Skip) -> Result<(), MappingError> {
    check_field("skip.field", &skip.field)?;
    let is_bad = |value: &String| {
        let text = value.strip_suffix('*').unwrap_or(value);
        text.is_empty() || text.contains('*') || value.chars().count() > MAX_FIELD_CHARS
    };
    if skip.values.is_empty() || skip.values.len() > MAX_SKIPPED || skip.values.iter().any(is_bad) {
        let reason = format!("must be 1 to {MAX_SKIPPED} texts of 1 to 255 characters, with * at the end of one only");
        return Err(MappingError::new("skip.values", reason));
    }
    Ok(())
}

fn check_metric(metric: Metric, fields: &MetricFields) -> Result<(), MappingError> {
    let key = metric.key();
    for (name, field) in fields.numbers() {
        check_field(&format!("{key}.{name}"), field)?;
    }
    let error = |name: &str, reason: &str| Err(MappingError::new(format!("{key}.{name}"), reason));
    let is_share = |unit| matches!(unit, Unit::Percent | Unit::Ratio);
    if metric == Metric::Cpu && !is_share(fields.unit) {
        return error("unit", "must be percent or ratio");
    }
    if let Some(per_core) = &fields.per_core {
        if metric != Metric::Cpu {
            return error("per_core", "goes with cpu only");
        }
        if fields.split.is_some() || per_core.field == per_core.cores {
            return error("per_core", "needs two fields of their own, and no split beside it");
        }
    }
    if fields.total.is_some() && is_share(fields.unit) {
        return error("total", "goes with a unit of bytes or gb only: a share says nothing of a capacity");
    }
    if let Some(percent) = &fields.percent {
        if is_share(fields.unit) {
            return error("percent", "goes with a unit of bytes or gb only: the metric is a share already");
        }
        if fields.split.is_some() {
            return error(
                "percent",
                "cannot stand beside split: the share of a sum is not the sum of shares; use total",
            );
        }
        if !is_share(percent.unit) {
            return error("percent.unit", "must be percent or ratio");
        }
    }
    if let Some(split) = &fields.split {
        check_field(&format!("{key}.split.field"), &split.field)?;
        if fields.shared_field().is_none() {
            return error("split", "needs the same field for max, avg and min");
        }
        if fields.weight.is_some() {
            return error("weight", "cannot stand beside split");
        }
        if split.how == Combine::Sum && is_share(fields.unit) {
            return error("split.how", "must be mean or max for a unit of percent or ratio: shares do not add up");
        }
        if split.how == Combine::Max && fields.total.is_some() {
            return error("split.how", "must be sum or mean beside total");
        }
    }
    Ok(())
}

/// `*` and `,` would turn a name into a list when the types of the fields are asked for.
fn check_field(key: &str, field: &str) -> Result<(), MappingError> {
    let reason = if field.is_empty() {
        "must not be empty"
    } else if field.chars().count() > MAX_FIELD_CHARS {
        "must not be longer than 255 characters"
    } else if field.trim() != field || field.chars().any(|c| c.is_control() || matches!(c, '*' | ',')) {
        "must be the name of one field, without blanks around it, control characters, * or ,"
    } else if field.starts_with('.') || field.ends_with('.') || field.contains("..") {
        "must not begin or end with a dot, nor hold two in a row"
    } else {
        return Ok(());
    };
    Err(MappingError::new(key, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mapping_of(json: serde_json::Value) -> Result<Mapping, String> {
        let mapping: Mapping = serde_json::from_value(json).map_err(|err| err.to_string())?;
        mapping.validate().map_err(|err| err.to_string())?;
        Ok(mapping)
    }

    fn custom() -> serde_json::Value {
        json!({
            "time_field": "ts", "host_field": "ip",
            "cpu": {"max": "c.max", "avg": "c.avg", "min": "c.min", "unit": "ratio"},
            "memory": {"max": "m", "avg": "m", "min": "m", "unit": "bytes"},
            "disk": {"max": "d", "avg": "d", "min": "d", "unit": "gb"},
        })
    }

    #[test]
    fn the_built_in_mappings_are_valid_and_survive_serialization() {
        for (name, mapping) in Mapping::built_in() {
            assert_eq!(mapping.validate(), Ok(()), "{name}");
            let json = serde_json::to_value(&mapping).expect("a mapping");
            assert_eq!(mapping_of(json), Ok(mapping));
        }
    }

    #[test]
    fn a_mapping_from_configuration_alone_is_valid() {
        let mapping = mapping_of(custom()).expect("a mapping");
        assert_eq!(mapping.metric_fields(), ["c.max", "c.avg", "c.min", "m", "d"]);
        assert_eq!(mapping.cpu.shared_field(), None);
        assert_eq!(mapping.disk.shared_field(), Some("d"));
    }

    #[test]
    fn weight_total_percent_and_split_are_taken() {
        let mut json = custom();
        json["cpu"]["weight"] = json!("c.count");
        json["memory"]["total"] = json!("m.total");
        json["memory"]["percent"] = json!({"field": "m.pct", "unit": "percent"});
        json["disk"]["total"] = json!("d.total");
        json["disk"]["split"] = json!({"field": "mount"});
        let mapping = mapping_of(json).expect("a mapping");
        assert_eq!(
            mapping.metric_fields(),
            ["c.max", "c.avg", "c.min", "c.count", "m", "m.total", "m.pct", "d", "d.total"]
        );
        assert_eq!(mapping.disk.split.as_ref().map(|split| split.how), Some(Combine::Sum));
        assert_eq!((mapping.memory.roll_up_field(), mapping.disk.roll_up_field()), (Some("m"), None));
    }

    #[test]
    fn keys_that_do_not_go_together_are_refused_by_their_key() {
        for (pointer, value, key) in [
            ("/cpu/total", json!("t"), "cpu.total"),
            ("/cpu/percent", json!({"field": "p", "unit": "ratio"}), "cpu.percent"),
            ("/memory/percent", json!({"field": "p", "unit": "gb"}), "memory.percent.unit"),
            ("/memory/percent", json!({"field": "p*", "unit": "ratio"}), "memory.percent.field"),
            ("/memory/weight", json!(""), "memory.weight"),
            ("/memory/total", json!("a,b"), "memory.total"),
            ("/cpu/split", json!({"field": "core", "how": "mean"}), "cpu.split"),
            ("/cpu/per_core", json!({"field": "c.sum", "cores": "c.sum"}), "cpu.per_core"),
            ("/cpu/per_core", json!({"field": "c.sum", "cores": "c*"}), "cpu.per_core.cores"),
            ("/memory/per_core", json!({"field": "c.sum", "cores": "c.count"}), "memory.per_core"),
            ("/skip", json!({"field": "", "values": ["tmpfs"]}), "skip.field"),
            ("/skip", json!({"field": "kind", "values": []}), "skip.values"),
            ("/skip", json!({"field": "kind", "values": ["*"]}), "skip.values"),
            ("/skip", json!({"field": "kind", "values": ["n*fs"]}), "skip.values"),
            ("/skip", json!({"field": "kind", "values": vec!["x"; 501]}), "skip.values"),
            ("/disk/split", json!({"field": "a..b"}), "disk.split.field"),
        ] {
            let mut json = custom();
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            json.pointer_mut(parent).expect("a metric")[name] = value;
            let error = mapping_of(json).expect_err(key);
            assert!(error.starts_with(&format!("{key}: ")), "{error}");
        }
        for (disk, key) in [
            (
                json!({"max": "d", "avg": "d", "min": "d", "unit": "gb", "weight": "w", "split": {"field": "m"}}),
                "disk.weight",
            ),
            (json!({"max": "d", "avg": "d", "min": "d", "unit": "ratio", "split": {"field": "m"}}), "disk.split.how"),
            (
                json!({"max": "d", "avg": "d", "min": "d", "unit": "gb", "total": "t", "split": {"field": "m", "how": "max"}}),
                "disk.split.how",
            ),
            (
                json!({
                    "max": "d", "avg": "d", "min": "d", "unit": "gb", "split": {"field": "m"},
                    "percent": {"field": "p", "unit": "ratio"},
                }),
                "disk.percent",
            ),
        ] {
            let mut json = custom();
            json["disk"] = disk;
            let error = mapping_of(json).expect_err(key);
            assert!(error.starts_with(&format!("{key}: ")), "{error}");
        }
    }

    #[test]
    fn the_words_of_units_and_splits_are_texts_and_nothing_else() {
        for (pointer, value) in [
            ("/cpu/unit", json!(0)),
            ("/cpu/unit", json!("Ratio")),
            ("/cpu/unit", json!(["ratio"])),
            ("/disk/split", json!({"field": "m", "how": 0})),
            ("/disk/split", json!({"field": "m", "how": "product"})),
        ] {
            let mut json = custom();
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            json.pointer_mut(parent).expect("a metric")[name] = value;
            assert!(mapping_of(json.clone()).is_err(), "{json}");
        }
    }

    #[test]
    fn bad_names_units_and_filters_are_refused_by_their_key() {
        for (pointer, value, key) in [
            ("/time_field", json!(""), "time_field"),
            ("/host_field", json!("host*"), "host_field"),
            ("/cpu/avg", json!("a,b"), "cpu.avg"),
            ("/cpu/unit", json!("gb"), "cpu.unit"),
            ("/disk/max", json!("a..b"), "disk.max"),
            ("/disk/min", json!("x".repeat(256)), "disk.min"),
        ] {
            let mut json = custom();
            *json.pointer_mut(pointer).expect("a key") = value;
            let error = mapping_of(json).expect_err(key);
            assert!(error.starts_with(&format!("{key}: ")), "{error}");
        }
        for filter in [json!({}), json!({"term": {}, "match": {}}), json!("x"), json!([])] {
            let mut json = custom();
            json["filter"] = filter;
            assert!(mapping_of(json).expect_err("no query").starts_with("filter: "));
        }
        let mut json = custom();
        json["filter"] = json!({"term": {"kind": "host"}});
        assert!(mapping_of(json).is_ok());
    }

    #[test]
    fn unknown_keys_and_units_are_refused() {
        let mut json = custom();
        json["colour"] = json!("red");
        assert!(mapping_of(json).expect_err("unknown").contains("colour"));
        let mut json = custom();
        json["cpu"]["unit"] = json!("furlongs");
        assert!(mapping_of(json).expect_err("unknown").contains("furlongs"));
    }
}
