//! The body of a search: many hosts and one window, asked for at once.
//!
//! Owns the shape of the question; `read` owns that of the answer, and both take the names of the
//! aggregations from here. Sends nothing.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::slices::{MAX_CORE_NUMBERS, hosts_within_buckets, parts_within_buckets};
use super::{
    FieldTypes, HostField, HostKind, Mapping, Metric, MetricFields, ROLL_UP_AVG, ROLL_UP_MAX, ROLL_UP_MIN,
    ROLL_UP_WEIGHT, Skip, Slices,
};
use hostsync_model::host::HostIp;
use hostsync_model::window::Window;

/// Most hosts in one search. Elasticsearch and `OpenSearch` take no more than 65,536 terms in a query
/// (`index.max_terms_count`) and buckets in an answer (`search.max_buckets`) by default, and a host is asked for in
/// several spellings. Beyond it the search is refused before it is sent; a worker asks for far fewer.
pub const MAX_HOSTS: usize = 65_536 / HostIp::MAX_SPELLINGS;

/// Name of the aggregation over hosts.
pub(super) const HOSTS: &str = "hosts";
/// Name of the aggregation that counts all documents.
pub(super) const DOCUMENTS: &str = "documents";
/// Name of the aggregation that finds the last document.
pub(super) const LAST: &str = "last";
/// Name of the aggregation over slices, below that of a split.
pub(super) const SLICES: &str = "slices";
/// Name of the aggregation over the parts of a slice.
pub(super) const PARTS: &str = "parts";
/// Name of the average of a part.
pub(super) const USED: &str = "used";
/// Name of the times of the documents of a part.
pub(super) const TIME: &str = "time";
/// Name of the average capacity of a part.
pub(super) const TOTAL: &str = "total";
/// Name of the aggregation over numbers of cores.
pub(super) const CORES: &str = "cores";
/// Name of a weighted average, below its filter.
pub(super) const MEAN: &str = "mean";
/// Name of the sum of its weights.
pub(super) const WEIGHT: &str = "weight";
/// Name of the number of its weights, where the mapping names their field.
pub(super) const WEIGHTS: &str = "weights";
/// Name of the aggregation that shows whether the field of what is skipped is there at all.
pub(super) const SKIP_FIELD: &str = "skip_field";

/// Why there is no search to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An empty list of hosts: `terms` with `size` 0 is no valid aggregation.
    #[error("a search needs at least one host")]
    NoHosts,
    /// More than [`max_hosts`].
    #[error("{hosts} hosts are more than one search may ask for ({most})")]
    TooManyHosts {
        /// How many were given.
        hosts: usize,
        /// How many may be.
        most: usize,
    },
}

/// Most hosts that one search may ask for: [`MAX_HOSTS`], or what stays within
/// [`MAX_BUCKETS`](super::MAX_BUCKETS) where a host is more than one.
pub fn max_hosts(mapping: &Mapping, window: Window) -> usize {
    let within_buckets = hosts_within_buckets(mapping, window).and_then(|hosts| usize::try_from(hosts).ok());
    within_buckets.map_or(MAX_HOSTS, |hosts| hosts.min(MAX_HOSTS))
}

/// Name of an aggregation of a metric beside the one named as the metric itself, such as `cpu_max`.
pub(super) fn part_name(metric: Metric, statistic: &str) -> String {
    format!("{}_{statistic}", metric.key())
}

/// The body of `_search` that reads `hosts` in `window` by one of the host fields of `types`.
///
/// Hosts are filtered and grouped by the same list, so that a document with many addresses brings back
/// none that was not asked for, and `size` is its length, so that no list is cut short. A keyword holds an
/// address as the document spells it, so the list has the usual spellings; an `ip` field compares by value. There is no
/// `timeout` in it: an engine that stops early would answer in part. Counts of documents come from the
/// buckets and are exact; `size` and the other keys are those that a query proxy takes too.
///
/// # Errors
///
/// [`PlanError`] if `hosts` is empty or longer than [`max_hosts`].
pub fn search_body(
    mapping: &Mapping,
    types: &FieldTypes,
    host_field: &HostField,
    window: Window,
    hosts: &[String],
) -> Result<Value, PlanError> {
    if hosts.is_empty() {
        return Err(PlanError::NoHosts);
    }
    let most = max_hosts(mapping, window);
    if hosts.len() > most {
        return Err(PlanError::TooManyHosts { hosts: hosts.len(), most });
    }
    let parts = parts_within_buckets(mapping, window, hosts.len());
    let terms = match host_field.kind {
        HostKind::Ip => hosts.to_vec(),
        HostKind::Keyword | HostKind::Unknown => spelled(hosts),
    };
    let mut metrics = Map::new();
    for metric in Metric::ALL {
        let fields = mapping.metric(metric);
        match (&fields.split, types.split_field(metric)) {
            (Some(_), Some(split_field)) => {
                let slices = slices(mapping, types, fields, split_field, window, parts);
                metrics.insert(part_name(metric, SLICES), slices);
            }
            _ => add_metric(&mut metrics, types, metric, fields),
        }
    }
    if let Some(skip) = &mapping.skip {
        metrics.insert(SKIP_FIELD.to_owned(), json!({"filter": {"exists": {"field": skip.field}}}));
    }
    Ok(json!({
        "size": 0,
        "query": query(mapping, window, [json!({"terms": {&host_field.field: terms}})], &host_field.except),
        "aggs": {HOSTS: {
            "terms": {"field": host_field.field, "include": terms, "size": terms.len()},
            "aggs": metrics,
        }},
    }))
}

/// Each address in its usual spellings; what is none as it stands.
fn spelled(hosts: &[String]) -> Vec<String> {
    hosts.iter().flat_map(|host| host.parse().map_or_else(|_| vec![host.clone()], HostIp::spellings)).collect()
}

/// The body that counts the documents of the window, exactly.
pub fn count_body(mapping: &Mapping, window: Window) -> Value {
    json!({
        "size": 0,
        "query": query(mapping, window, [], &[]),
        "aggs": {DOCUMENTS: {"filter": {"match_all": {}}}},
    })
}

/// The body that asks when the last document of a host was, of those before the end of the window.
pub fn last_body(mapping: &Mapping, host_field: &HostField, window: Window, host: &str) -> Value {
    let ever = Window { from: DateTime::UNIX_EPOCH, to: window.to };
    let terms = match host_field.kind {
        HostKind::Ip => vec![host.to_owned()],
        HostKind::Keyword | HostKind::Unknown => spelled(&[host.to_owned()]),
    };
    json!({
        "size": 0,
        "query": query(mapping, ever, [json!({"terms": {&host_field.field: terms}})], &host_field.except),
        "aggs": {LAST: {"max": {"field": mapping.time_field}}},
    })
}

/// The documents of the window and the mapping that also match `filters` and stand in none of `except`.
pub(super) fn query(
    mapping: &Mapping,
    window: Window,
    filters: impl IntoIterator<Item = Value>,
    except: &[String],
) -> Value {
    let mut all = vec![json!({"range": {&mapping.time_field: {
        "gte": window.from.timestamp_millis(),
        "lt": window.to.timestamp_millis(),
        "format": "epoch_millis",
    }}})];
    all.extend(filters);
    all.extend(mapping.filter.clone());
    let mut query = json!({"filter": all});
    let mut none: Vec<Value> = mapping.skip.iter().flat_map(skipped).collect();
    if !except.is_empty() {
        none.push(json!({"terms": {"_index": except}}));
    }
    if !none.is_empty() {
        query["must_not"] = Value::Array(none);
    }
    json!({"bool": query})
}

/// Queries for what is skipped. A keyword is compared by its bytes, so each value is asked for in both cases.
fn skipped(skip: &Skip) -> Vec<Value> {
    let cases = |value: &String| BTreeSet::from([value.clone(), value.to_lowercase(), value.to_uppercase()]);
    let all: BTreeSet<String> = skip.values.iter().flat_map(cases).collect();
    let (prefixes, whole): (Vec<String>, Vec<String>) = all.into_iter().partition(|value| value.ends_with('*'));
    let terms = (!whole.is_empty()).then(|| json!({"terms": {&skip.field: whole}}));
    let prefix = |value: String| json!({"prefix": {&skip.field: value.trim_end_matches('*')}});
    terms.into_iter().chain(prefixes.into_iter().map(prefix)).collect()
}

fn add_metric(aggs: &mut Map<String, Value>, types: &FieldTypes, metric: Metric, fields: &MetricFields) {
    let shapes = types.shapes(metric);
    let mut add = |statistic: &str, agg: Value| aggs.insert(part_name(metric, statistic), agg);
    if let Some(total) = &fields.total {
        add(TOTAL, json!({"max": {"field": total}}));
    }
    if let Some(share) = &fields.percent {
        add("percent", json!({"stats": {"field": share.field}}));
    }
    if shapes.roll_up
        && let Some(field) = fields.roll_up_field()
    {
        add("roll_up_max", json!({"max": {"field": format!("{field}.{ROLL_UP_MAX}")}}));
        add("roll_up_min", json!({"min": {"field": format!("{field}.{ROLL_UP_MIN}")}}));
        let (avg, weight) = (format!("{field}.{ROLL_UP_AVG}"), format!("{field}.{ROLL_UP_WEIGHT}"));
        add("roll_up_avg", weighted(&avg, &weight));
    }
    if shapes.per_core
        && let Some(per_core) = &fields.per_core
    {
        let none_of = [&fields.max, &fields.avg, &fields.min].map(|field| json!({"exists": {"field": field}}));
        add(
            "per_core",
            json!({
                "filter": {"bool": {"filter": [{"exists": {"field": per_core.field}}], "must_not": none_of}},
                "aggs": {CORES: {
                    "terms": {"field": per_core.cores, "size": MAX_CORE_NUMBERS},
                    "aggs": {USED: {"stats": {"field": per_core.field}}},
                }},
            }),
        );
    }
    if !shapes.plain {
        return;
    }
    if let (Some(field), None) = (fields.shared_field(), &fields.weight) {
        aggs.insert(metric.key().to_owned(), json!({"stats": {"field": field}}));
        return;
    }
    add("max", json!({"max": {"field": fields.max}}));
    add("min", json!({"min": {"field": fields.min}}));
    let avg = match &fields.weight {
        Some(weight) => {
            let mut weighted = weighted(&fields.avg, weight);
            weighted["aggs"][WEIGHTS] = json!({"value_count": {"field": weight}});
            weighted
        }
        // Not `avg`, which does not say over how many documents.
        None => json!({"stats": {"field": fields.avg}}),
    };
    add("avg", avg);
}

/// The weighted average, and the sum of the weights over the same documents, which the former does not tell.
fn weighted(value: &str, weight: &str) -> Value {
    json!({
        "filter": {"exists": {"field": value}},
        "aggs": {
            MEAN: {"weighted_avg": {"value": {"field": value}, "weight": {"field": weight, "missing": 1}}},
            WEIGHT: {"sum": {"field": weight, "missing": 1}},
        },
    })
}

fn slices(
    mapping: &Mapping,
    types: &FieldTypes,
    fields: &MetricFields,
    split_field: &str,
    window: Window,
    parts: u64,
) -> Value {
    let slices = Slices::of(window);
    let mut of_part = json!({
        USED: {"avg": {"field": fields.max}},
        TIME: {"stats": {"field": mapping.time_field}},
    });
    if let Some(total) = &fields.total {
        of_part[TOTAL] = json!({"avg": {"field": total}});
    }
    json!({
        "filter": {"exists": {"field": fields.max}},
        "aggs": {SLICES: {
            "date_histogram": {
                "field": mapping.time_field,
                types.interval_key(): format!("{}s", slices.seconds),
                "offset": format!("+{}ms", slices.offset_ms(window)),
                "min_doc_count": 1,
            },
            "aggs": {PARTS: {"terms": {"field": split_field, "size": parts}, "aggs": of_part}},
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unit;

    fn types(mapping: &Mapping) -> FieldTypes {
        FieldTypes::unresolved(mapping)
    }

    fn body_of(mapping: &Mapping, hosts: &[String]) -> Result<Value, PlanError> {
        let types = types(mapping);
        search_body(mapping, &types, &types.hosts[0], window(), hosts)
    }

    fn window() -> Window {
        Window {
            from: DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time"),
            to: DateTime::from_timestamp_millis(1_700_086_400_000).expect("a time"),
        }
    }

    #[test]
    fn the_zabbix_mapping_asks_for_all_hosts_at_once() {
        let field = HostField { field: "hostIp.keyword".to_owned(), kind: HostKind::Keyword, except: Vec::new() };
        let hosts = ["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
        let zabbix = Mapping::zabbix();
        let body = search_body(&zabbix, &types(&zabbix), &field, window(), &hosts).expect("a body");
        let terms = json!(["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "::ffff:10.0.0.2"]);
        assert_eq!(
            body,
            json!({
                "size": 0,
                "query": {"bool": {"filter": [
                    {"range": {"@timestamp": {
                        "gte": 1_700_000_000_000_i64, "lt": 1_700_086_400_000_i64, "format": "epoch_millis",
                    }}},
                    {"terms": {"hostIp.keyword": terms}},
                ]}},
                "aggs": {"hosts": {
                    "terms": {"field": "hostIp.keyword", "include": terms, "size": 4},
                    "aggs": {
                        "cpu": {"stats": {"field": "cpu"}},
                        "memory": {"stats": {"field": "available_memory"}},
                        "disk": {"stats": {"field": "total_disk_space_all"}},
                    },
                }},
            })
        );
    }

    #[test]
    fn separate_fields_and_a_filter_are_asked_for_as_the_mapping_has_them() {
        let mut mapping = Mapping::zabbix();
        mapping.cpu = MetricFields {
            max: "c.max".to_owned(),
            avg: "c.avg".to_owned(),
            min: "c.min".to_owned(),
            ..MetricFields::single("", Unit::Percent)
        };
        mapping.filter = Some(json!({"term": {"kind": "host"}}));
        let body = body_of(&mapping, &["h".to_owned()]).expect("a body");
        assert_eq!(body["query"]["bool"]["filter"][2], json!({"term": {"kind": "host"}}));
        let aggs = &body["aggs"]["hosts"]["aggs"];
        assert_eq!(aggs["cpu_max"], json!({"max": {"field": "c.max"}}));
        assert_eq!(aggs["cpu_avg"], json!({"stats": {"field": "c.avg"}}));
        assert_eq!(aggs["cpu_min"], json!({"min": {"field": "c.min"}}));
        assert_eq!(aggs["cpu"], Value::Null);
    }

    #[test]
    fn no_hosts_and_too_many_hosts_are_refused() {
        for (mapping, most) in [(Mapping::zabbix(), MAX_HOSTS), (Mapping::metricbeat(), 97)] {
            assert_eq!(max_hosts(&mapping, window()), most);
            assert!(body_of(&mapping, &vec![String::new(); most]).is_ok());
            let more = vec![String::new(); most + 1];
            assert_eq!(body_of(&mapping, &more), Err(PlanError::TooManyHosts { hosts: most + 1, most }));
            assert_eq!(body_of(&mapping, &[]), Err(PlanError::NoHosts));
        }
    }

    #[test]
    fn plain_numbers_and_roll_ups_are_asked_for_side_by_side_where_both_may_stand() {
        let mapping = Mapping::zabbix();
        let types = FieldTypes::of_any_shape(&mapping, FieldTypes::unresolved(&mapping).hosts);
        let field = HostField { except: vec!["day-1".to_owned()], ..types.hosts[0].clone() };
        let body = search_body(&mapping, &types, &field, window(), &["h".to_owned()]).expect("a body");
        assert_eq!(body["query"]["bool"]["must_not"], json!([{"terms": {"_index": ["day-1"]}}]));
        let aggs = &body["aggs"]["hosts"]["aggs"];
        assert_eq!(aggs["cpu"], json!({"stats": {"field": "cpu"}}));
        assert_eq!(aggs["cpu_roll_up_max"], json!({"max": {"field": "cpu.value_max"}}));
        assert_eq!(aggs["cpu_roll_up_min"], json!({"min": {"field": "cpu.value_min"}}));
        assert_eq!(
            aggs["cpu_roll_up_avg"],
            json!({
                "filter": {"exists": {"field": "cpu.value_avg"}},
                "aggs": {
                    "mean": {"weighted_avg": {
                        "value": {"field": "cpu.value_avg"},
                        "weight": {"field": "cpu.zabbix_value_count", "missing": 1},
                    }},
                    "weight": {"sum": {"field": "cpu.zabbix_value_count", "missing": 1}},
                },
            })
        );
    }

    #[test]
    fn whether_weights_are_there_is_asked_too() {
        let mut mapping = Mapping::zabbix();
        mapping.cpu.weight = Some("samples".to_owned());
        let body = body_of(&mapping, &["h".to_owned()]).expect("a body");
        let of_avg = &body["aggs"]["hosts"]["aggs"]["cpu_avg"]["aggs"];
        assert_eq!(of_avg["weights"], json!({"value_count": {"field": "samples"}}));
        assert_eq!(of_avg["weight"], json!({"sum": {"field": "samples", "missing": 1}}));
    }

    #[test]
    fn a_split_metric_is_asked_for_by_slice_and_part() {
        let body = body_of(&Mapping::metricbeat(), &["10.0.0.1".to_owned()]).expect("a body");
        let aggs = &body["aggs"]["hosts"]["aggs"];
        assert_eq!(aggs["skip_field"], json!({"filter": {"exists": {"field": "system.filesystem.type"}}}));
        assert_eq!(aggs["memory_total"], json!({"max": {"field": "system.memory.total"}}));
        assert_eq!(aggs["memory_percent"], json!({"stats": {"field": "system.memory.actual.used.pct"}}));
        assert_eq!(
            aggs["disk_slices"],
            json!({
                "filter": {"exists": {"field": "system.filesystem.used.bytes"}},
                "aggs": {"slices": {
                    "date_histogram": {
                        "field": "@timestamp", "fixed_interval": "3600s", "offset": "+800000ms", "min_doc_count": 1,
                    },
                    "aggs": {"parts": {
                        "terms": {"field": "system.filesystem.mount_point", "size": 2_081},
                        "aggs": {
                            "used": {"avg": {"field": "system.filesystem.used.bytes"}},
                            "time": {"stats": {"field": "@timestamp"}},
                            "total": {"avg": {"field": "system.filesystem.total"}},
                        },
                    }},
                }},
            })
        );
    }
}
