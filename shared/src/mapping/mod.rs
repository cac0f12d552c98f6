//! How the documents of a source are read: what to ask the search engine, and what its answer means.
//!
//! Owns the mapping (which field holds what, in which unit), the body of a search, the rules by which an
//! answer is no answer, and the way from measured values to the columns of the CMDB. Everything here is
//! pure: no connection, no clock, no configuration file; `elasticsearch` does the talking. Nothing here
//! knows tasks, executions or tables.

mod engine_error;
mod fields;
mod plan;
mod read;
mod values;

use serde::{Deserialize, Serialize};

pub use engine_error::{Cause, EngineReason, REASON_MAX_CHARS, bounded, engine_reason};
pub use fields::{FieldTypes, FieldTypesError, HostKind};
pub use plan::{MAX_HOSTS, PlanError, search_body};
pub use read::{Answer, HostReading, Refusal, Stats, read_answer};
pub use values::{BadValue, Capacity, HostValues, MAX_GB, MAX_PERCENT, host_values};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// The fields of one metric. The three may be the same field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricFields {
    /// Field whose largest value is the maximum.
    pub max: String,
    /// Field whose mean is the average.
    pub avg: String,
    /// Field whose smallest value is the minimum.
    pub min: String,
    /// Field that weighs the average. Refused by [`Mapping::validate`] for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Field that holds the capacity in the unit of the metric. Refused by [`Mapping::validate`] for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// Unit of the three fields.
    pub unit: Unit,
}

impl MetricFields {
    /// All three statistics from one field.
    pub fn single(field: &str, unit: Unit) -> Self {
        Self { max: field.to_owned(), avg: field.to_owned(), min: field.to_owned(), weight: None, total: None, unit }
    }

    /// The one field of all three statistics, or `None` if they differ.
    pub fn shared_field(&self) -> Option<&str> {
        (self.max == self.avg && self.avg == self.min).then_some(self.max.as_str())
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
    /// A query of the search engine's language that documents must also match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<serde_json::Value>,
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
        }
    }

    /// The fields of one metric.
    pub fn metric(&self, metric: Metric) -> &MetricFields {
        match metric {
            Metric::Cpu => &self.cpu,
            Metric::Memory => &self.memory,
            Metric::Disk => &self.disk,
        }
    }

    /// The fields that hold measurements, each once, in the order of [`Metric::ALL`].
    pub fn metric_fields(&self) -> Vec<&str> {
        let mut fields = Vec::with_capacity(9);
        for metric in Metric::ALL {
            let MetricFields { max, avg, min, .. } = self.metric(metric);
            for field in [max, avg, min] {
                if !fields.contains(&field.as_str()) {
                    fields.push(field.as_str());
                }
            }
        }
        fields
    }

    /// Checks what a type cannot say: field names, units that make sense, and that nothing is asked for
    /// which hostsync does not do yet.
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

fn check_metric(metric: Metric, fields: &MetricFields) -> Result<(), MappingError> {
    let key = metric.key();
    for (statistic, field) in [("max", &fields.max), ("avg", &fields.avg), ("min", &fields.min)] {
        check_field(&format!("{key}.{statistic}"), field)?;
    }
    if fields.weight.is_some() {
        return Err(MappingError::new(
            format!("{key}.weight"),
            "weighted averages are not supported by this version; remove the key",
        ));
    }
    if fields.total.is_some() {
        return Err(MappingError::new(
            format!("{key}.total"),
            "a capacity from the source is not supported by this version; \
             remove the key, and the capacity of hosts_pool is used",
        ));
    }
    if metric == Metric::Cpu && !matches!(fields.unit, Unit::Percent | Unit::Ratio) {
        return Err(MappingError::new("cpu.unit", "must be percent or ratio"));
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
    fn the_built_in_mapping_is_valid_and_survives_serialization() {
        let zabbix = Mapping::zabbix();
        assert_eq!(zabbix.validate(), Ok(()));
        let json = serde_json::to_value(&zabbix).expect("a mapping");
        assert_eq!(mapping_of(json), Ok(zabbix));
    }

    #[test]
    fn a_mapping_from_configuration_alone_is_valid() {
        let mapping = mapping_of(custom()).expect("a mapping");
        assert_eq!(mapping.metric_fields(), ["c.max", "c.avg", "c.min", "m", "d"]);
        assert_eq!(mapping.cpu.shared_field(), None);
        assert_eq!(mapping.disk.shared_field(), Some("d"));
    }

    #[test]
    fn what_is_not_supported_yet_is_refused_by_its_key() {
        for (pointer, key) in [("/cpu", "weight"), ("/memory", "total")] {
            let mut json = custom();
            json.pointer_mut(pointer).expect("a metric")[key] = json!("n");
            let error = mapping_of(json).expect_err("not supported");
            assert!(error.starts_with(&format!("{}.{key}: ", &pointer[1..])), "{error}");
            assert!(error.contains("not supported by this version"), "{error}");
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
