//! Answers of a search engine that the tests of several modules change.

use serde_json::{Value, json};

/// What a `stats` aggregation of three documents says.
pub(crate) fn stats(max: f64, avg: f64, min: f64) -> Value {
    json!({"count": 3, "min": min, "max": max, "avg": avg, "sum": avg * 3.0})
}

/// A host with a load and memory, and no number of its disk.
pub(crate) fn bucket(host: &str) -> Value {
    json!({
        "key": host, "doc_count": 12_345,
        "cpu": stats(90.0, 50.5, 1.0),
        "memory": stats(8.0, 4.0, 2.0),
        "disk": {"count": 0, "min": null, "max": null, "avg": null, "sum": 0.0},
    })
}

/// A whole answer about one host.
pub(crate) fn whole() -> Value {
    json!({
        "took": 7, "timed_out": false,
        "_shards": {"total": 5, "successful": 5, "skipped": 4, "failed": 0},
        "hits": {"max_score": null, "hits": []},
        "aggregations": {"hosts": {
            "doc_count_error_upper_bound": 0, "sum_other_doc_count": 0,
            "buckets": [bucket("10.0.0.1")],
        }},
    })
}

/// The same with another part.
pub(crate) fn with(pointer: &str, value: Value) -> Value {
    let mut answer = whole();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    answer.pointer_mut(parent).expect("a parent")[key] = value;
    answer
}

/// A field of one type in all indices.
pub(crate) fn caps(kind: &str) -> Value {
    let aggregatable = !matches!(kind, "text" | "object");
    json!({kind: {"type": kind, "searchable": kind != "object", "aggregatable": aggregatable}})
}

/// An answer of `_field_caps` by which the mapping `zabbix` can be used.
pub(crate) fn field_caps() -> Value {
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
