//! What the answer to a search says of each host, or why it is no answer.
//!
//! Owns the rule that an answer which is not whole is none: stopped early, shards or clusters missing, a
//! list cut short, a part absent or of another type. What passes here may be taken to the letter: a host
//! that is absent has no data. It converts no unit and judges no value; `values` does.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::engine_error::{Cause, EngineReason, bounded, engine_reason};
use super::plan::{HOSTS, Statistics, part_name};
use super::{FieldTypes, HostKind, Mapping, Metric, MetricFields};

/// Longest description of a malformed answer, in characters.
const MALFORMED_MAX_CHARS: usize = 300;

/// Maximum, average and minimum of one metric, in the unit of its field or in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stats {
    /// Largest.
    pub max: f64,
    /// Mean.
    pub avg: f64,
    /// Smallest.
    pub min: f64,
}

/// What a whole answer says of one host that has data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostReading {
    /// Documents of this host in the window, at least 1 and exact.
    pub data_point_count: u64,
    /// Processor load in the unit of the mapping; `None` if no document holds a number.
    pub cpu: Option<Stats>,
    /// Used memory in the unit of the mapping; `None` if no document holds a number.
    pub memory: Option<Stats>,
    /// Used disk space in the unit of the mapping; `None` if no document holds a number.
    pub disk: Option<Stats>,
}

impl HostReading {
    /// The statistics of one metric.
    pub fn metric(&self, metric: Metric) -> Option<Stats> {
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.memory,
            Metric::Disk => self.disk,
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Milliseconds that the search engine took, by its own account.
    pub took_ms: u64,
    /// The hosts that have data, by the text that they were asked for with. The others have none.
    pub readings: HashMap<String, HostReading>,
}

/// Why an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It covers a part of the documents only.
    #[error("the answer is not whole: {reason}")]
    Partial {
        /// Which part is missing, and the first reason given for it.
        reason: String,
        /// What the failures behind it ask for.
        cause: Cause,
    },
    /// It covers a part of the hosts only: to be split.
    #[error("the list of hosts in the answer was cut short: {reason}")]
    Truncated {
        /// How that shows.
        reason: String,
    },
    /// Nothing was searched at all, since no index matches the pattern. Fatal: it says nothing of any host.
    #[error("no index matches the pattern")]
    NoShards,
    /// It is not what a search engine gives.
    #[error("the answer is malformed: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
struct RawAnswer {
    took: u64,
    timed_out: bool,
    #[serde(default)]
    terminated_early: Option<bool>,
    #[serde(default)]
    is_partial: Option<bool>,
    #[serde(default)]
    is_running: Option<bool>,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(default, rename = "_clusters")]
    clusters: Option<Clusters>,
    #[serde(default)]
    aggregations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Shards {
    total: u64,
    successful: u64,
    failed: u64,
    #[serde(default)]
    failures: Vec<Value>,
}

/// Elasticsearch 7 and `OpenSearch` give the first three, Elasticsearch 8.8 and newer all of them.
#[derive(Deserialize)]
struct Clusters {
    total: u64,
    successful: u64,
    #[serde(default)]
    skipped: u64,
    #[serde(default)]
    partial: u64,
    #[serde(default)]
    failed: u64,
    #[serde(default)]
    running: u64,
    #[serde(default)]
    details: Map<String, Value>,
}

/// Reads the answer to a [`search_body`](super::search_body) of the same mapping, types and hosts.
///
/// Whether the answer is whole is checked before whether anything was searched: a pattern whose only
/// cluster was skipped shows zero shards too. `_shards.skipped` is no defect (shards that cannot hold
/// the window), but `successful` below `total` is one even if `failed` is 0: shards without a node to
/// live on are in neither count.
///
/// # Errors
///
/// [`Refusal`], and then nothing may be concluded about any host.
pub fn read_answer(mapping: &Mapping, types: &FieldTypes, hosts: &[String], body: &[u8]) -> Result<Answer, Refusal> {
    let raw: RawAnswer = serde_json::from_slice(body).map_err(|err| malformed(&err.to_string()))?;
    check_whole(&raw)?;
    if raw.shards.total == 0 {
        return Err(Refusal::NoShards);
    }
    let readings = read_hosts(mapping, &Asked::new(types, hosts), raw.aggregations)?;
    Ok(Answer { took_ms: raw.took, readings })
}

fn check_whole(raw: &RawAnswer) -> Result<(), Refusal> {
    if raw.timed_out {
        return Err(partial("the search engine stopped at its own time limit (timed_out)"));
    }
    if let Some(clusters) = &raw.clusters {
        check_clusters(clusters)?;
    }
    check_shards(&raw.shards)?;
    for (flag, name) in
        [(raw.terminated_early, "terminated_early"), (raw.is_partial, "is_partial"), (raw.is_running, "is_running")]
    {
        if flag == Some(true) {
            return Err(partial(&format!("the search engine says so itself ({name})")));
        }
    }
    Ok(())
}

fn check_clusters(clusters: &Clusters) -> Result<(), Refusal> {
    let Clusters { total, successful, skipped, partial, failed, running, details } = clusters;
    let culprit = details.iter().find(|(_, detail)| {
        detail.get("status").and_then(Value::as_str).is_some_and(|status| status != "successful")
            || detail.get("timed_out").and_then(Value::as_bool) == Some(true)
    });
    let none_missing = [skipped, partial, failed, running].into_iter().all(|clusters| *clusters == 0);
    if culprit.is_none() && successful >= total && none_missing {
        return Ok(());
    }
    let mut reason = format!(
        "of {total} clusters {successful} answered in full \
         ({skipped} skipped, {partial} partial, {failed} failed, {running} running)"
    );
    let mut cause = Cause::Other;
    if let Some((alias, detail)) = culprit {
        let alias = if alias == "(local)" { "the local cluster" } else { alias.as_str() };
        let _ = write!(reason, "; {alias}");
        if let Some(failures) = detail.get("failures").and_then(Value::as_array).filter(|list| !list.is_empty()) {
            let first = failure_reason(failures);
            let _ = write!(reason, ": {}", first.text);
            cause = first.cause;
        }
    }
    Err(Refusal::Partial { reason, cause })
}

fn check_shards(shards: &Shards) -> Result<(), Refusal> {
    let Shards { total, successful, failed, failures } = shards;
    if *failed == 0 && failures.is_empty() && successful >= total {
        return Ok(());
    }
    if failures.is_empty() {
        let missing = total.saturating_sub(*successful);
        return Err(partial(&format!(
            "{missing} of {total} shards did not answer ({failed} failed), as when no node holds them"
        )));
    }
    let EngineReason { text, cause } = failure_reason(failures);
    Err(Refusal::Partial { reason: format!("{failed} of {total} shards failed: {text}"), cause })
}

/// The text of the first failure, the cause of all: one overloaded shard among others decides.
fn failure_reason(failures: &[Value]) -> EngineReason {
    let reasons = failures.iter().map(|failure| engine_reason(failure.get("reason").unwrap_or(failure)));
    let mut all = EngineReason { text: String::new(), cause: Cause::Other };
    for reason in reasons {
        if all.text.is_empty() {
            all.text = reason.text;
        }
        all.cause = match (all.cause, reason.cause) {
            (Cause::TooLarge, _) | (_, Cause::TooLarge) => Cause::TooLarge,
            (Cause::Busy, _) | (_, Cause::Busy) => Cause::Busy,
            (Cause::Other, Cause::Other) => Cause::Other,
        };
    }
    all
}

/// The hosts that were asked for, found again by the key of a bucket.
enum Asked<'a> {
    Text(HashMap<&'a str, &'a String>),
    Ip(HashMap<IpAddr, &'a String>),
}

impl<'a> Asked<'a> {
    fn new(types: &FieldTypes, hosts: &'a [String]) -> Self {
        match types.host_kind {
            HostKind::Keyword => Self::Text(hosts.iter().map(|host| (host.as_str(), host)).collect()),
            HostKind::Ip => Self::Ip(hosts.iter().filter_map(|host| Some((canonical(host)?, host))).collect()),
        }
    }

    fn find(&self, key: &str) -> Option<&'a String> {
        match self {
            Self::Text(hosts) => hosts.get(key).copied(),
            Self::Ip(hosts) => hosts.get(&canonical(key)?).copied(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(hosts) => hosts.len(),
            Self::Ip(hosts) => hosts.len(),
        }
    }
}

/// An `ip` field keeps `::ffff:10.0.0.1` and `10.0.0.1` as one value and gives back the latter.
fn canonical(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn read_hosts(
    mapping: &Mapping,
    asked: &Asked<'_>,
    aggregations: Option<Map<String, Value>>,
) -> Result<HashMap<String, HostReading>, Refusal> {
    let aggregations = aggregations.ok_or_else(|| malformed("aggregations is missing"))?;
    let hosts = aggregations.get(HOSTS).and_then(Value::as_object);
    let hosts = hosts.ok_or_else(|| malformed("aggregations.hosts is missing"))?;
    for count in ["doc_count_error_upper_bound", "sum_other_doc_count"] {
        match hosts.get(count).and_then(Value::as_i64) {
            Some(0) => {}
            Some(documents) => {
                return Err(Refusal::Truncated { reason: format!("{count} is {documents}") });
            }
            None => return Err(malformed(&format!("aggregations.hosts.{count} is missing or no number"))),
        }
    }
    let buckets = hosts.get("buckets").and_then(Value::as_array);
    let buckets = buckets.ok_or_else(|| malformed("aggregations.hosts.buckets is missing or no list"))?;
    let mut readings = HashMap::with_capacity(buckets.len().min(asked.len()));
    for bucket in buckets {
        let key = bucket.get("key").and_then(Value::as_str);
        let key = key.ok_or_else(|| malformed("a bucket has no key, or one that is no text"))?;
        let Some(host) = asked.find(key) else { continue };
        let documents = bucket.get("doc_count").and_then(Value::as_u64);
        let data_point_count = documents.ok_or_else(|| malformed(&format!("the bucket of {key} has no doc_count")))?;
        if data_point_count == 0 {
            continue;
        }
        let read = |metric| {
            read_metric(bucket, metric, mapping.metric(metric))
                .map_err(|part| malformed(&format!("in the bucket of {key}, {part} is missing or no number")))
        };
        let reading = HostReading {
            data_point_count,
            cpu: read(Metric::Cpu)?,
            memory: read(Metric::Memory)?,
            disk: read(Metric::Disk)?,
        };
        if readings.insert(host.clone(), reading).is_some() {
            return Err(malformed(&format!("{key} has two buckets")));
        }
    }
    Ok(readings)
}

/// The statistics of one metric, known only if all three are. The error names the part that is malformed.
fn read_metric(bucket: &Value, metric: Metric, fields: &MetricFields) -> Result<Option<Stats>, String> {
    let statistic = |statistic: &str| match Statistics::of(fields) {
        Statistics::Shared => {
            let part = bucket.get(metric.key()).and_then(|stats| stats.get(statistic));
            number(part).map_err(|NotANumber| format!("{}.{statistic}", metric.key()))
        }
        Statistics::Separate => {
            let name = part_name(metric, statistic);
            let part = bucket.get(&name).and_then(|value| value.get("value"));
            number(part).map_err(|NotANumber| format!("{name}.value"))
        }
    };
    let (max, avg, min) = (statistic("max")?, statistic("avg")?, statistic("min")?);
    Ok(match (max, avg, min) {
        (Some(max), Some(avg), Some(min)) => Some(Stats { max, avg, min }),
        _ => None,
    })
}

struct NotANumber;

/// A number, or `None` for the null that stands where no document had one. What JSON has no number for
/// comes as a text; it is kept as it is, so that its host fails for it and is not taken for unknown.
fn number(value: Option<&Value>) -> Result<Option<f64>, NotANumber> {
    match value {
        Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number.as_f64().map(Some).ok_or(NotANumber),
        Some(Value::String(text)) => match text.as_str() {
            "NaN" => Ok(Some(f64::NAN)),
            "Infinity" => Ok(Some(f64::INFINITY)),
            "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
            _ => Err(NotANumber),
        },
        _ => Err(NotANumber),
    }
}

fn partial(reason: &str) -> Refusal {
    Refusal::Partial { reason: reason.to_owned(), cause: Cause::Other }
}

fn malformed(reason: &str) -> Refusal {
    Refusal::Malformed { reason: bounded(reason, MALFORMED_MAX_CHARS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn hosts() -> Vec<String> {
        vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()]
    }

    fn types() -> FieldTypes {
        FieldTypes::unresolved(&Mapping::zabbix())
    }

    fn read(answer: &Value) -> Result<Answer, Refusal> {
        read_answer(&Mapping::zabbix(), &types(), &hosts(), answer.to_string().as_bytes())
    }

    fn stats(max: f64, avg: f64, min: f64) -> Value {
        json!({"count": 3, "min": min, "max": max, "avg": avg, "sum": avg * 3.0})
    }

    fn bucket(host: &str) -> Value {
        json!({
            "key": host, "doc_count": 12_345,
            "cpu": stats(90.0, 50.5, 1.0),
            "memory": stats(8.0, 4.0, 2.0),
            "disk": {"count": 0, "min": null, "max": null, "avg": null, "sum": 0.0},
        })
    }

    fn whole() -> Value {
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

    fn with(pointer: &str, value: Value) -> Value {
        let mut answer = whole();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        answer.pointer_mut(parent).expect("a parent")[key] = value;
        answer
    }

    #[test]
    fn a_whole_answer_gives_the_hosts_that_have_data() {
        let answer = read(&whole()).expect("whole");
        assert_eq!(answer.took_ms, 7);
        assert_eq!(answer.readings.len(), 1);
        assert_eq!(
            answer.readings["10.0.0.1"],
            HostReading {
                data_point_count: 12_345,
                cpu: Some(Stats { max: 90.0, avg: 50.5, min: 1.0 }),
                memory: Some(Stats { max: 8.0, avg: 4.0, min: 2.0 }),
                disk: None,
            }
        );
    }

    #[test]
    fn skipped_shards_and_clusters_that_all_answered_are_no_defect() {
        let answer = with("/_clusters", json!({"total": 2, "successful": 2, "skipped": 0}));
        assert!(read(&answer).is_ok());
    }

    #[test]
    fn an_answer_that_is_not_whole_is_refused() {
        let failure = json!({"shard": 1, "reason": {"type": "some_exception", "reason": "broken"}});
        for (answer, sign) in [
            (with("/timed_out", json!(true)), "timed_out"),
            (with("/terminated_early", json!(true)), "terminated_early"),
            (with("/is_partial", json!(true)), "is_partial"),
            (with("/is_running", json!(true)), "is_running"),
            (
                with("/_shards", json!({"total": 5, "successful": 4, "failed": 1, "failures": [failure]})),
                "1 of 5 shards failed: some_exception: broken",
            ),
            (with("/_shards/failed", json!(1)), "(1 failed)"),
            (with("/_shards/successful", json!(3)), "2 of 5 shards did not answer"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 1})), "1 skipped"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 0, "partial": 1})), "1 partial"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 0, "failed": 1})), "1 failed"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 0, "running": 1})), "1 running"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 0})), "of 2 clusters 1"),
            (
                with(
                    "/_clusters",
                    json!({"total": 1, "successful": 1, "skipped": 0, "details": {
                        "cluster1": {"status": "partial", "failures": [failure]},
                    }}),
                ),
                "cluster1: some_exception: broken",
            ),
        ] {
            match read(&answer) {
                Err(Refusal::Partial { reason, cause: Cause::Other }) => {
                    assert!(reason.contains(sign), "{reason}");
                }
                other => panic!("{sign}: {other:?}"),
            }
        }
    }

    #[test]
    fn failed_shards_tell_what_they_ask_for() {
        for (kind, cause) in
            [("circuit_breaking_exception", Cause::TooLarge), ("es_rejected_execution_exception", Cause::Busy)]
        {
            let failures = json!([{"reason": {"type": "x", "reason": "y"}}, {"reason": {"type": kind, "reason": "z"}}]);
            let answer = with("/_shards", json!({"total": 5, "successful": 3, "failed": 2, "failures": failures}));
            assert_eq!(read(&answer), Err(Refusal::Partial { reason: "2 of 5 shards failed: x: y".to_owned(), cause }));
        }
    }

    #[test]
    fn no_shards_is_a_wrong_pattern_unless_a_cluster_was_skipped() {
        let mut answer = with("/_shards", json!({"total": 0, "successful": 0, "skipped": 0, "failed": 0}));
        answer.as_object_mut().expect("an object").remove("aggregations");
        assert_eq!(read(&answer), Err(Refusal::NoShards));
        answer["_clusters"] = json!({"total": 1, "successful": 0, "skipped": 1});
        assert!(matches!(read(&answer), Err(Refusal::Partial { .. })));
    }

    #[test]
    fn a_list_cut_short_is_noticed() {
        for count in ["sum_other_doc_count", "doc_count_error_upper_bound"] {
            for documents in [1, -1] {
                let answer = with(&format!("/aggregations/hosts/{count}"), json!(documents));
                assert!(matches!(read(&answer), Err(Refusal::Truncated { .. })), "{count}");
            }
        }
    }

    #[test]
    fn a_missing_or_ill_typed_part_is_malformed() {
        for pointer in [
            "/took",
            "/timed_out",
            "/_shards",
            "/_shards/total",
            "/_shards/successful",
            "/_shards/failed",
            "/aggregations",
            "/aggregations/hosts",
            "/aggregations/hosts/buckets",
            "/aggregations/hosts/sum_other_doc_count",
            "/aggregations/hosts/doc_count_error_upper_bound",
            "/aggregations/hosts/buckets/0/key",
            "/aggregations/hosts/buckets/0/doc_count",
            "/aggregations/hosts/buckets/0/cpu",
            "/aggregations/hosts/buckets/0/memory/max",
            "/aggregations/hosts/buckets/0/disk/avg",
        ] {
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            let mut missing = whole();
            let parent = missing.pointer_mut(parent).expect("a parent");
            parent.as_object_mut().expect("an object").remove(key);
            let mut ill_typed = whole();
            *ill_typed.pointer_mut(pointer).expect("a part") = json!("words");
            for answer in [missing, ill_typed] {
                // A key that is a text is of the right type: it is a host that nobody asked for.
                if answer.pointer("/aggregations/hosts/buckets/0/key") == Some(&json!("words")) {
                    continue;
                }
                assert!(matches!(read(&answer), Err(Refusal::Malformed { .. })), "{pointer}: {answer}");
            }
        }
        for body in ["", "null", "[]", "<html></html>", "{}", "{\"took\": 1"] {
            let answer = read_answer(&Mapping::zabbix(), &types(), &hosts(), body.as_bytes());
            assert!(matches!(answer, Err(Refusal::Malformed { .. })), "{body}");
        }
        let twice = with("/aggregations/hosts/buckets", json!([bucket("10.0.0.1"), bucket("10.0.0.1")]));
        assert!(matches!(read(&twice), Err(Refusal::Malformed { .. })));
    }

    #[test]
    fn hosts_that_were_not_asked_for_do_not_come_back() {
        let answer = with("/aggregations/hosts/buckets", json!([bucket("10.0.0.9"), bucket("10.0.0.2")]));
        let answer = read(&answer).expect("whole");
        assert_eq!(answer.readings.keys().collect::<Vec<_>>(), ["10.0.0.2"]);
    }

    #[test]
    fn an_ip_field_gives_back_the_form_that_was_asked_for() {
        let types = FieldTypes { host_field: "host.ip".to_owned(), host_kind: HostKind::Ip };
        let hosts = ["::ffff:10.0.0.1".to_owned(), "2001:DB8::1".to_owned()];
        let answer = with("/aggregations/hosts/buckets", json!([bucket("10.0.0.1"), bucket("2001:db8::1")]));
        let answer = read_answer(&Mapping::zabbix(), &types, &hosts, answer.to_string().as_bytes()).expect("whole");
        assert_eq!(answer.readings.len(), 2);
        assert!(hosts.iter().all(|host| answer.readings.contains_key(host)));
    }

    #[test]
    fn a_number_that_json_does_not_know_is_kept() {
        let answer = with("/aggregations/hosts/buckets/0/cpu/avg", json!("Infinity"));
        let cpu = read(&answer).expect("whole").readings["10.0.0.1"].cpu.expect("a metric");
        assert!(cpu.avg.is_infinite());
    }

    #[test]
    fn separate_statistics_are_found_again_and_known_only_together() {
        let mut mapping = Mapping::zabbix();
        mapping.cpu.max = "cpu_high".to_owned();
        let mut separate = bucket("10.0.0.1");
        separate.as_object_mut().expect("an object").remove("cpu");
        separate["cpu_max"] = json!({"value": 9.0});
        separate["cpu_avg"] = json!({"value": 5.0});
        separate["cpu_min"] = json!({"value": 1.0});
        let read = |bucket: &Value| {
            let answer = with("/aggregations/hosts/buckets", json!([bucket]));
            read_answer(&mapping, &types(), &hosts(), answer.to_string().as_bytes())
        };
        let cpu = read(&separate).expect("whole").readings["10.0.0.1"].cpu;
        assert_eq!(cpu, Some(Stats { max: 9.0, avg: 5.0, min: 1.0 }));
        separate["cpu_min"] = json!({"value": null});
        assert_eq!(read(&separate).expect("whole").readings["10.0.0.1"].cpu, None);
        separate.as_object_mut().expect("an object").remove("cpu_min");
        assert!(matches!(read(&separate), Err(Refusal::Malformed { .. })));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9.]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z_]{1,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The parser of JSON may be off by the last bits of a number.
    fn same(a: Option<Stats>, b: Option<Stats>) -> bool {
        let close = |a: f64, b: f64| (a - b).abs() <= 4.0 * f64::EPSILON * b.abs();
        match (a, b) {
            (Some(a), Some(b)) => close(a.max, b.max) && close(a.avg, b.avg) && close(a.min, b.min),
            (None, None) => true,
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn what_was_measured_is_what_is_read(
            documents in 1_u64..u64::MAX,
            numbers in prop::array::uniform9(-1e12..1e12_f64),
            unknown in prop::array::uniform3(any::<bool>()),
        ) {
            let metric = |index: usize| {
                let [max, avg, min] = [numbers[3 * index], numbers[3 * index + 1], numbers[3 * index + 2]];
                (!unknown[index]).then_some(Stats { max, avg, min })
            };
            let part = |index: usize| metric(index).map_or_else(
                || json!({"count": 0, "min": null, "max": null, "avg": null, "sum": 0.0}),
                |Stats { max, avg, min }| stats(max, avg, min),
            );
            let bucket = json!({
                "key": "10.0.0.2", "doc_count": documents, "cpu": part(0), "memory": part(1), "disk": part(2),
            });
            let answer = read(&with("/aggregations/hosts/buckets", json!([bucket]))).expect("whole");
            let reading = answer.readings["10.0.0.2"];
            prop_assert_eq!(reading.data_point_count, documents);
            for (index, part) in [reading.cpu, reading.memory, reading.disk].into_iter().enumerate() {
                prop_assert!(same(part, metric(index)), "{:?} {:?}", part, metric(index));
            }
        }

        #[test]
        fn no_answer_makes_the_reader_panic_or_lets_a_stranger_in(
            pointer in prop::sample::select(vec![
                "/took", "/timed_out", "/_shards", "/_shards/failures", "/_clusters", "/aggregations",
                "/aggregations/hosts", "/aggregations/hosts/buckets", "/aggregations/hosts/buckets/0",
                "/aggregations/hosts/buckets/0/cpu", "/aggregations/hosts/buckets/0/cpu/max",
            ]),
            value in any_json(),
        ) {
            let mut answer = with("/_clusters", json!({"total": 1, "successful": 1}));
            answer["_shards"]["failures"] = json!([]);
            *answer.pointer_mut(pointer).expect("a part") = value;
            if let Ok(answer) = read(&answer) {
                prop_assert!(answer.readings.keys().all(|host| hosts().contains(host)));
            }
        }

        #[test]
        fn any_defect_of_shards_or_clusters_is_refused(
            total in 1_u64..100, successful in 0_u64..100, failed in 0_u64..100, skipped in 0_u64..100,
            clusters in prop::option::of(prop::array::uniform6(0_u64..3)),
        ) {
            let mut answer = with("/_shards", json!({
                "total": total, "successful": successful, "failed": failed, "skipped": skipped,
            }));
            let mut defect = failed > 0 || successful < total;
            if let Some([total, successful, skipped, partial, failed, running]) = clusters {
                answer["_clusters"] = json!({
                    "total": total, "successful": successful, "skipped": skipped,
                    "partial": partial, "failed": failed, "running": running,
                });
                defect |= successful < total || skipped + partial + failed + running > 0;
            }
            let refused = matches!(read(&answer), Err(Refusal::Partial { .. }));
            prop_assert_eq!(refused, defect);
        }
    }
}
