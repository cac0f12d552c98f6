//! The body of a search: many hosts and one window, asked for at once.
//!
//! Owns the shape of the question; `read` owns that of the answer, and both take the names of the
//! aggregations from here. Sends nothing.

use serde_json::{Map, Value, json};

use super::{FieldTypes, Mapping, Metric, MetricFields};
use crate::window::Window;

/// Most hosts in one search. Elasticsearch and `OpenSearch` take no more terms in a query
/// (`index.max_terms_count`) and no more buckets in an answer (`search.max_buckets`) by default. Beyond it
/// the search is refused before it is sent; a worker asks for far fewer.
pub const MAX_HOSTS: usize = 65_536;

/// Name of the aggregation over hosts.
pub(super) const HOSTS: &str = "hosts";

/// Why there is no search to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An empty list of hosts: `terms` with `size` 0 is no valid aggregation.
    #[error("a search needs at least one host")]
    NoHosts,
    /// More than [`MAX_HOSTS`].
    #[error("{hosts} hosts are more than one search may ask for ({MAX_HOSTS})")]
    TooManyHosts {
        /// How many were given.
        hosts: usize,
    },
}

/// The statistics of one metric, as they are asked for and found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistics {
    /// One `stats` aggregation, named as the metric.
    Shared,
    /// `max`, `avg` and `min` aggregations, named by [`part_name`].
    Separate,
}

impl Statistics {
    pub(super) fn of(fields: &MetricFields) -> Self {
        if fields.shared_field().is_some() { Self::Shared } else { Self::Separate }
    }
}

/// Name of one of three separate aggregations, such as `cpu_max`.
pub(super) fn part_name(metric: Metric, statistic: &str) -> String {
    format!("{}_{statistic}", metric.key())
}

/// The body of `_search` that reads `hosts` in `window`.
///
/// Hosts are filtered and grouped by the same list, so that a document with many addresses brings back
/// none that was not asked for, and `size` is their number, so that no list is cut short. There is no
/// `timeout` in it: an engine that stops early would answer in part. Counts of documents come from the
/// buckets and are exact, hence `track_total_hits` is off.
///
/// # Errors
///
/// [`PlanError`] if `hosts` is empty or longer than [`MAX_HOSTS`].
pub fn search_body(
    mapping: &Mapping,
    types: &FieldTypes,
    window: Window,
    hosts: &[String],
) -> Result<Value, PlanError> {
    if hosts.is_empty() {
        return Err(PlanError::NoHosts);
    }
    if hosts.len() > MAX_HOSTS {
        return Err(PlanError::TooManyHosts { hosts: hosts.len() });
    }
    let mut filters = vec![
        json!({"range": {&mapping.time_field: {
            "gte": window.from.timestamp_millis(),
            "lt": window.to.timestamp_millis(),
            "format": "epoch_millis",
        }}}),
        json!({"terms": {&types.host_field: hosts}}),
    ];
    filters.extend(mapping.filter.clone());
    let mut metrics = Map::new();
    for metric in Metric::ALL {
        add_metric(&mut metrics, metric, mapping.metric(metric));
    }
    Ok(json!({
        "size": 0,
        "track_total_hits": false,
        "query": {"bool": {"filter": filters}},
        "aggs": {HOSTS: {
            "terms": {"field": types.host_field, "include": hosts, "size": hosts.len()},
            "aggs": metrics,
        }},
    }))
}

fn add_metric(aggs: &mut Map<String, Value>, metric: Metric, fields: &MetricFields) {
    match Statistics::of(fields) {
        Statistics::Shared => {
            aggs.insert(metric.key().to_owned(), json!({"stats": {"field": fields.max}}));
        }
        Statistics::Separate => {
            for (statistic, field) in [("max", &fields.max), ("avg", &fields.avg), ("min", &fields.min)] {
                aggs.insert(part_name(metric, statistic), json!({statistic: {"field": field}}));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{HostKind, Unit};
    use chrono::DateTime;

    fn window() -> Window {
        Window {
            from: DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time"),
            to: DateTime::from_timestamp_millis(1_700_086_400_000).expect("a time"),
        }
    }

    #[test]
    fn the_zabbix_mapping_asks_for_all_hosts_at_once() {
        let types = FieldTypes { host_field: "hostIp.keyword".to_owned(), host_kind: HostKind::Keyword };
        let hosts = ["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
        let body = search_body(&Mapping::zabbix(), &types, window(), &hosts).expect("a body");
        assert_eq!(
            body,
            json!({
                "size": 0,
                "track_total_hits": false,
                "query": {"bool": {"filter": [
                    {"range": {"@timestamp": {
                        "gte": 1_700_000_000_000_i64, "lt": 1_700_086_400_000_i64, "format": "epoch_millis",
                    }}},
                    {"terms": {"hostIp.keyword": ["10.0.0.1", "10.0.0.2"]}},
                ]}},
                "aggs": {"hosts": {
                    "terms": {"field": "hostIp.keyword", "include": ["10.0.0.1", "10.0.0.2"], "size": 2},
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
            weight: None,
            total: None,
            unit: Unit::Percent,
        };
        mapping.filter = Some(json!({"term": {"kind": "host"}}));
        let body =
            search_body(&mapping, &FieldTypes::unresolved(&mapping), window(), &["h".to_owned()]).expect("a body");
        assert_eq!(body["query"]["bool"]["filter"][2], json!({"term": {"kind": "host"}}));
        let aggs = &body["aggs"]["hosts"]["aggs"];
        assert_eq!(aggs["cpu_max"], json!({"max": {"field": "c.max"}}));
        assert_eq!(aggs["cpu_avg"], json!({"avg": {"field": "c.avg"}}));
        assert_eq!(aggs["cpu_min"], json!({"min": {"field": "c.min"}}));
        assert_eq!(aggs["cpu"], Value::Null);
    }

    #[test]
    fn no_hosts_and_too_many_hosts_are_refused() {
        let mapping = Mapping::zabbix();
        let types = FieldTypes::unresolved(&mapping);
        let most = vec![String::new(); MAX_HOSTS];
        assert!(search_body(&mapping, &types, window(), &most).is_ok());
        let more = vec![String::new(); MAX_HOSTS + 1];
        assert_eq!(
            search_body(&mapping, &types, window(), &more),
            Err(PlanError::TooManyHosts { hosts: MAX_HOSTS + 1 })
        );
        assert_eq!(search_body(&mapping, &types, window(), &[]), Err(PlanError::NoHosts));
    }
}
