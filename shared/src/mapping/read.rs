//! What the answer to a search says of each host, or why it is no answer.
//!
//! Owns the rule that an answer which is not whole is none: stopped early, shards or clusters missing, a
//! list cut short, a part absent or of another type. What passes here may be taken to the letter: a host
//! that is absent has no data. It converts no unit and judges no value; `values` does.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::engine_error::{Cause, EngineReason, bounded, engine_reason, is_text_without_keyword};
use super::found::{Found, HostFound, MetricFound, Part, Weighed};
use super::plan::{DOCUMENTS, HOSTS, MEAN, PARTS, SLICES, TOTAL, USED, WEIGHT, part_name};
use super::{FieldTypes, HostField, Mapping, Metric, MetricFields};
use crate::host::HostIp;

/// Longest description of a malformed answer, in characters.
const MALFORMED_MAX_CHARS: usize = 300;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Milliseconds that the search engine took, by its own account.
    pub took_ms: u64,
    /// Shards that were searched.
    pub shards: u64,
    /// What was found of the hosts that have data, by the text that they were asked for with. The others have
    /// none in the indices that this search reads.
    pub found: Found,
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

/// Reads the answer to a [`search_body`](super::search_body) of the same mapping, types, field and hosts.
///
/// Whether the answer is whole is checked before whether anything was searched: a pattern whose only
/// cluster was skipped shows zero shards too. `_shards.skipped` is no defect (shards that cannot hold
/// the window), but `successful` below `total` is one even if `failed` is 0: shards without a node to
/// live on are in neither count. The shards of indices that another field reads may fail, if they do so because
/// this field is a text there.
///
/// # Errors
///
/// [`Refusal`], and then nothing may be concluded about any host.
pub fn read_answer(
    mapping: &Mapping,
    types: &FieldTypes,
    host_field: &HostField,
    hosts: &[String],
    body: &[u8],
) -> Result<Answer, Refusal> {
    let raw = read_whole(body, Some(host_field))?;
    let found = read_hosts(mapping, types, &Asked::new(hosts), raw.aggregations)?;
    Ok(Answer { took_ms: raw.took, shards: raw.shards.total, found })
}

/// Reads the answer to a [`count_body`](super::count_body): how many documents there are.
///
/// # Errors
///
/// As [`read_answer`].
pub fn read_count(body: &[u8]) -> Result<u64, Refusal> {
    let aggregations = read_aggregations(body, None)?;
    let documents = aggregations.get(DOCUMENTS).and_then(|documents| documents.get("doc_count"));
    documents.and_then(Value::as_u64).ok_or_else(|| malformed("aggregations.documents.doc_count is missing"))
}

/// The aggregations of a whole answer.
pub(super) fn read_aggregations(body: &[u8], host_field: Option<&HostField>) -> Result<Map<String, Value>, Refusal> {
    read_whole(body, host_field)?.aggregations.ok_or_else(|| malformed("aggregations is missing"))
}

fn read_whole(body: &[u8], host_field: Option<&HostField>) -> Result<RawAnswer, Refusal> {
    let mut raw: RawAnswer = serde_json::from_slice(body).map_err(|err| malformed(&err.to_string()))?;
    if let Some(host_field) = host_field {
        raw.forgive_shards_that_another_field_reads(host_field);
    }
    check_whole(&raw)?;
    if raw.shards.total == 0 {
        return Err(Refusal::NoShards);
    }
    Ok(raw)
}

impl RawAnswer {
    /// The engines name a failure once an index and reason, so if each that is named is forgiven, all are.
    fn forgive_shards_that_another_field_reads(&mut self, host_field: &HostField) {
        let is_read_otherwise = |failure: &Value| {
            let index = failure.get("index").and_then(Value::as_str);
            index.is_some_and(|index| host_field.except.iter().any(|except| except == index))
                && is_text_without_keyword(failure, &host_field.field)
        };
        let forgiven = |failures: &[Value]| !failures.is_empty() && failures.iter().all(is_read_otherwise);
        let shards = &mut self.shards;
        let failed = shards.failed;
        if failed == 0 || !forgiven(&shards.failures) {
            return;
        }
        shards.successful = shards.successful.saturating_add(failed);
        shards.failed = 0;
        shards.failures.clear();
        // Elasticsearch 8.8 and newer call the clusters of such shards partial.
        let Some(clusters) = &mut self.clusters else { return };
        for detail in clusters.details.values_mut().filter_map(Value::as_object_mut) {
            let failures = detail.get("failures").and_then(Value::as_array);
            let is_forgiven = failures.is_some_and(|failures| forgiven(failures))
                && detail.get("timed_out").and_then(Value::as_bool) != Some(true)
                && detail.get("status").and_then(Value::as_str) == Some("partial");
            if is_forgiven {
                detail.insert("status".to_owned(), Value::from("successful"));
                clusters.partial = clusters.partial.saturating_sub(1);
                clusters.successful = clusters.successful.saturating_add(1);
            }
        }
    }
}

fn check_whole(raw: &RawAnswer) -> Result<(), Refusal> {
    if raw.timed_out {
        return Err(partial("the search engine stopped at its own time limit (timed_out)"));
    }
    if let Some(clusters) = &raw.clusters {
        check_clusters(clusters)?;
    }
    check_shards(&raw.shards)?;
    // Not `terminated_early`: it is about `terminate_after`, which we never ask for, and OpenSearch 3 also says it of whole
    // answers, when an index knew the sums without going through its documents.
    for (flag, name) in [(raw.is_partial, "is_partial"), (raw.is_running, "is_running")] {
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

/// The hosts that were asked for, found again by the key of a bucket: by the very text, else, since documents and an `ip`
/// field have their own form of it, by the address.
struct Asked<'a> {
    texts: HashMap<&'a str, &'a String>,
    addresses: HashMap<HostIp, &'a String>,
}

impl<'a> Asked<'a> {
    fn new(hosts: &'a [String]) -> Self {
        Self {
            texts: hosts.iter().map(|host| (host.as_str(), host)).collect(),
            addresses: hosts.iter().filter_map(|host| Some((host.parse().ok()?, host))).collect(),
        }
    }

    fn find(&self, key: &str) -> Option<&'a String> {
        self.texts.get(key).copied().or_else(|| self.addresses.get(&key.parse().ok()?).copied())
    }
}

fn read_hosts(
    mapping: &Mapping,
    types: &FieldTypes,
    asked: &Asked<'_>,
    aggregations: Option<Map<String, Value>>,
) -> Result<Found, Refusal> {
    let aggregations = aggregations.ok_or_else(|| malformed("aggregations is missing"))?;
    let hosts = aggregations.get(HOSTS).ok_or_else(|| malformed("aggregations.hosts is missing"))?;
    let buckets = whole_list(hosts, "aggregations.hosts")?;
    let mut found = Found::default();
    let mut keys = HashSet::with_capacity(buckets.len());
    for bucket in buckets {
        let key = bucket.get("key").and_then(Value::as_str);
        let key = key.ok_or_else(|| malformed("a bucket has no key, or one that is no text"))?;
        let Some(host) = asked.find(key) else { continue };
        if !keys.insert(key) {
            return Err(malformed(&format!("{key} has two buckets")));
        }
        let documents = doc_count(bucket).ok_or_else(|| malformed(&format!("the bucket of {key} has no doc_count")))?;
        if documents == 0 {
            continue;
        }
        let mut metrics: [MetricFound; 3] = Default::default();
        for (found, metric) in metrics.iter_mut().zip(Metric::ALL) {
            *found =
                read_metric(bucket, types, metric, mapping.metric(metric)).map_err(|defect| defect.of_host(key))?;
        }
        // Two spellings of one host are two buckets over different documents.
        found.add(Found { hosts: HashMap::from([(host.clone(), HostFound { documents, metrics })]) });
    }
    Ok(found)
}

/// The buckets of a `terms` aggregation, if they are all that there are.
fn whole_list<'a>(terms: &'a Value, name: &str) -> Result<&'a Vec<Value>, Refusal> {
    for count in ["doc_count_error_upper_bound", "sum_other_doc_count"] {
        match terms.get(count).and_then(Value::as_i64) {
            Some(0) => {}
            Some(documents) => {
                return Err(Refusal::Truncated { reason: format!("{count} is {documents}") });
            }
            None => return Err(malformed(&format!("{name}.{count} is missing or no number"))),
        }
    }
    let buckets = terms.get("buckets").and_then(Value::as_array);
    buckets.ok_or_else(|| malformed(&format!("{name}.buckets is missing or no list")))
}

fn doc_count(bucket: &Value) -> Option<u64> {
    bucket.get("doc_count").and_then(Value::as_u64)
}

/// What is wrong with the bucket of a host.
enum Defect {
    /// This part is missing or no number.
    Malformed(String),
    /// Another defect, complete.
    Refusal(Refusal),
}

impl Defect {
    fn of_host(self, host: &str) -> Refusal {
        match self {
            Self::Malformed(part) => malformed(&format!("in the bucket of {host}, {part} is missing or no number")),
            Self::Refusal(Refusal::Truncated { reason }) => {
                Refusal::Truncated { reason: format!("{host} has more parts than there was room for ({reason})") }
            }
            Self::Refusal(refusal) => refusal,
        }
    }
}

fn read_metric(
    bucket: &Value,
    types: &FieldTypes,
    metric: Metric,
    fields: &MetricFields,
) -> Result<MetricFound, Defect> {
    let mut found = MetricFound::default();
    if fields.split.is_some() && types.split_field(metric).is_some() {
        let name = part_name(metric, SLICES);
        let slices = bucket.get(&name).and_then(|filter| filter.get(SLICES)).and_then(|slices| slices.get("buckets"));
        for slice in slices.and_then(Value::as_array).ok_or_else(|| Defect::Malformed(name.clone()))? {
            read_slice(slice, fields, &name, &mut found)?;
        }
        return Ok(found);
    }
    let part = |statistic: &str, path: &[&str]| {
        let name = part_name(metric, statistic);
        let value = path.iter().try_fold(bucket.get(&name), |value, key| Some(value?.get(key))).flatten();
        number(value).map_err(|NotANumber| Defect::Malformed(format!("{name}.{}", path.join("."))))
    };
    if fields.total.is_some() {
        found.total = part(TOTAL, &["value"])?;
    }
    if fields.percent.is_some() {
        let stats = |key| part("percent", &[key]);
        let weight = stats("count")?.unwrap_or_default();
        found.percent.push(Weighed { max: stats("max")?, avg: stats("avg")?, min: stats("min")?, weight });
    }
    let shapes = types.shapes(metric);
    if shapes.roll_up && fields.roll_up_field().is_some() {
        found.shapes.push(Weighed {
            max: part("roll_up_max", &["value"])?,
            avg: part("roll_up_avg", &[MEAN, "value"])?,
            min: part("roll_up_min", &["value"])?,
            weight: part("roll_up_avg", &[WEIGHT, "value"])?.unwrap_or_default(),
        });
    }
    if !shapes.plain {
        return Ok(found);
    }
    found.shapes.push(if fields.shared_field().is_some() && fields.weight.is_none() {
        let stats = |key: &str| {
            let value = bucket.get(metric.key()).and_then(|stats| stats.get(key));
            number(value).map_err(|NotANumber| Defect::Malformed(format!("{}.{key}", metric.key())))
        };
        Weighed {
            max: stats("max")?,
            avg: stats("avg")?,
            min: stats("min")?,
            weight: stats("count")?.unwrap_or_default(),
        }
    } else {
        let (avg, weight): (&[&str], &[&str]) = match fields.weight {
            Some(_) => (&[MEAN, "value"], &[WEIGHT, "value"]),
            None => (&["avg"], &["count"]),
        };
        Weighed {
            max: part("max", &["value"])?,
            avg: part("avg", avg)?,
            min: part("min", &["value"])?,
            weight: part("avg", weight)?.unwrap_or_default(),
        }
    });
    Ok(found)
}

fn read_slice(slice: &Value, fields: &MetricFields, name: &str, found: &mut MetricFound) -> Result<(), Defect> {
    let malformed = |part: &str| Defect::Malformed(format!("{name}.{part}"));
    let begin = slice.get("key").and_then(Value::as_i64).ok_or_else(|| malformed("key"))?;
    let parts = slice.get(PARTS).ok_or_else(|| malformed(PARTS))?;
    let own = found.slices.entry(begin).or_default();
    for part in whole_list(parts, name).map_err(Defect::Refusal)? {
        let key = match part.get("key") {
            Some(Value::String(key)) => key.clone(),
            Some(Value::Number(key)) => key.to_string(),
            _ => return Err(malformed("parts.key")),
        };
        let value = |name: &str| {
            number(part.get(name).and_then(|value| value.get("value"))).map_err(|NotANumber| malformed(name))
        };
        let total = if fields.total.is_some() { value(TOTAL)? } else { None };
        let documents = doc_count(part).ok_or_else(|| malformed("parts.doc_count"))?;
        if let Some(used) = value(USED)? {
            own.insert(key, Part { used, total, documents });
        }
    }
    Ok(())
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
    use crate::mapping::{HostKind, HostReading, Share, Stats};
    use proptest::prelude::*;
    use serde_json::json;

    fn hosts() -> Vec<String> {
        vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()]
    }

    fn types() -> FieldTypes {
        FieldTypes::unresolved(&Mapping::zabbix())
    }

    /// What is left of an answer once its parts are put together.
    #[derive(Debug, PartialEq)]
    struct Taken {
        took_ms: u64,
        readings: HashMap<String, HostReading>,
    }

    fn read_with(mapping: &Mapping, types: &FieldTypes, hosts: &[String], body: &str) -> Result<Taken, Refusal> {
        let answer = read_answer(mapping, types, &types.hosts[0], hosts, body.as_bytes())?;
        Ok(Taken { took_ms: answer.took_ms, readings: answer.found.readings(mapping) })
    }

    fn read(answer: &Value) -> Result<Taken, Refusal> {
        read_with(&Mapping::zabbix(), &types(), &hosts(), &answer.to_string())
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
                memory_share: Share::default(),
                disk_share: Share::default(),
            }
        );
    }

    #[test]
    fn skipped_shards_and_clusters_that_all_answered_are_no_defect() {
        let answer = with("/_clusters", json!({"total": 2, "successful": 2, "skipped": 0}));
        assert!(read(&answer).is_ok());
    }

    #[test]
    fn an_answer_for_which_the_engine_needed_no_look_at_each_document_is_whole() {
        assert!(read(&with("/terminated_early", json!(true))).is_ok());
    }

    #[test]
    fn an_answer_that_is_not_whole_is_refused() {
        let failure = json!({"shard": 1, "reason": {"type": "some_exception", "reason": "broken"}});
        for (answer, sign) in [
            (with("/timed_out", json!(true)), "timed_out"),
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
            let answer = read_with(&Mapping::zabbix(), &types(), &hosts(), body);
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
        let ip = HostField { field: "host.ip".to_owned(), kind: HostKind::Ip, except: Vec::new() };
        let mut types = types();
        types.hosts = vec![ip];
        let hosts = ["::ffff:10.0.0.1".to_owned(), "2001:DB8::1".to_owned()];
        let answer = with("/aggregations/hosts/buckets", json!([bucket("10.0.0.1"), bucket("2001:db8::1")]));
        let answer = read_with(&Mapping::zabbix(), &types, &hosts, &answer.to_string()).expect("whole");
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
        separate["cpu_avg"] = stats(6.0, 5.0, 4.0);
        separate["cpu_min"] = json!({"value": 1.0});
        let read = |bucket: &Value| {
            let answer = with("/aggregations/hosts/buckets", json!([bucket]));
            read_with(&mapping, &types(), &hosts(), &answer.to_string())
        };
        let cpu = read(&separate).expect("whole").readings["10.0.0.1"].cpu;
        assert_eq!(cpu, Some(Stats { max: 9.0, avg: 5.0, min: 1.0 }));
        separate["cpu_min"] = json!({"value": null});
        assert_eq!(read(&separate).expect("whole").readings["10.0.0.1"].cpu, None);
        separate.as_object_mut().expect("an object").remove("cpu_min");
        assert!(matches!(read(&separate), Err(Refusal::Malformed { .. })));
    }

    #[test]
    fn numbers_and_roll_ups_of_one_host_make_one_reading() {
        let mapping = Mapping::zabbix();
        let types = FieldTypes::of_any_shape(&mapping, types().hosts);
        let mut mixed = bucket("10.0.0.1");
        mixed["cpu"] = stats(20.0, 15.0, 10.0);
        mixed["cpu"]["count"] = json!(2);
        for (metric, [max, avg, min, weight]) in [
            ("cpu", [json!(90.0), json!(65.0), json!(5.0), json!(8.0)]),
            ("memory", [Value::Null, Value::Null, Value::Null, json!(0.0)]),
            ("disk", [json!(50.0), json!(40.0), json!(30.0), json!(3.0)]),
        ] {
            mixed[format!("{metric}_roll_up_max")] = json!({"value": max});
            mixed[format!("{metric}_roll_up_min")] = json!({"value": min});
            mixed[format!("{metric}_roll_up_avg")] =
                json!({"doc_count": 3, "mean": {"value": avg}, "weight": {"value": weight}});
        }
        let answer = with("/aggregations/hosts/buckets", json!([mixed]));
        let reading = read_with(&mapping, &types, &hosts(), &answer.to_string()).expect("whole").readings["10.0.0.1"];
        assert_eq!(reading.cpu, Some(Stats { max: 90.0, avg: 55.0, min: 5.0 }));
        assert_eq!(reading.memory, Some(Stats { max: 8.0, avg: 4.0, min: 2.0 }));
        assert_eq!(reading.disk, Some(Stats { max: 50.0, avg: 40.0, min: 30.0 }));
    }

    fn metricbeat(parts: &Value) -> Value {
        let part = |mount: &str, used: f64, total: f64| json!({"key": mount, "doc_count": 6, "used": {"value": used}, "total": {"value": total}});
        let slice = |key: u64, parts: Value| {
            json!({"key": key, "doc_count": 12, "parts": {
                "doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": parts,
            }})
        };
        let mut answer = with(
            "/aggregations/hosts/buckets",
            json!([{
                "key": "10.0.0.1", "doc_count": 99,
                "cpu": stats(0.5, 0.25, 0.1),
                "memory": stats(3e9, 2e9, 1e9), "memory_total": {"value": 4e9}, "memory_percent": stats(0.75, 0.5, 0.25),
                "disk_slices": {"doc_count": 24, "slices": {"buckets": [
                    slice(0, json!([part("/", 10.0, 20.0), part("/data", 30.0, 80.0)])),
                    slice(3_600_000, json!([part("/", 20.0, 20.0), part("/data", 40.0, 80.0)])),
                ]}},
            }]),
        );
        if !parts.is_null() {
            *answer.pointer_mut("/aggregations/hosts/buckets/0/disk_slices/slices/buckets/1/parts").expect("a slice") =
                parts.clone();
        }
        answer
    }

    fn read_metricbeat(answer: &Value) -> Result<HostReading, Refusal> {
        let mapping = Mapping::metricbeat();
        let answer = read_with(&mapping, &FieldTypes::unresolved(&mapping), &hosts(), &answer.to_string())?;
        Ok(answer.readings["10.0.0.1"])
    }

    #[test]
    fn shares_totals_and_parts_are_read() {
        let reading = read_metricbeat(&metricbeat(&Value::Null)).expect("whole");
        assert_eq!(reading.data_point_count, 99);
        assert_eq!(reading.memory, Some(Stats { max: 3e9, avg: 2e9, min: 1e9 }));
        let percent = Some(Stats { max: 75.0, avg: 50.0, min: 25.0 });
        assert_eq!(reading.memory_share, Share { percent, total: Some(4e9) });
        assert_eq!(reading.disk, Some(Stats { max: 60.0, avg: 50.0, min: 40.0 }));
        assert_eq!(reading.disk_share.percent, Some(Stats { max: 60.0, avg: 50.0, min: 40.0 }));
        assert_eq!(reading.disk_share.total, Some(100.0));
    }

    #[test]
    fn a_list_of_parts_cut_short_is_noticed() {
        let cut = json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 3, "buckets": []});
        match read_metricbeat(&metricbeat(&cut)) {
            Err(Refusal::Truncated { reason }) => assert!(reason.starts_with("10.0.0.1 has more parts"), "{reason}"),
            other => panic!("{other:?}"),
        }
        for broken in [json!({}), json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": [{}]})]
        {
            assert!(matches!(read_metricbeat(&metricbeat(&broken)), Err(Refusal::Malformed { .. })), "{broken}");
        }
    }

    #[test]
    fn only_shards_that_another_field_reads_may_fail_and_only_for_that_reason() {
        let text = "Text fields are not optimised for operations [...] set fielddata=true on [hostIp] in order to";
        let failure = |index: &str, reason: &str| json!({"shard": 0, "index": index, "reason": {"type": "illegal_argument_exception", "reason": reason}});
        let read = |failures: Value, except: &[&str]| {
            let field = HostField {
                except: except.iter().map(|index| (*index).to_owned()).collect(),
                ..types().hosts[0].clone()
            };
            let mut answer =
                with("/_shards", json!({"total": 5, "successful": 3, "failed": 2, "failures": failures.clone()}));
            answer["_clusters"] = json!({"total": 1, "successful": 0, "partial": 1, "skipped": 0, "details": {
                "(local)": {"status": "partial", "failures": failures},
            }});
            read_answer(&Mapping::zabbix(), &types(), &field, &hosts(), answer.to_string().as_bytes())
        };
        let both = json!([failure("a", text), failure("c1:b", text)]);
        assert_eq!(read(both.clone(), &["a", "c1:b"]).expect("whole").found.hosts.len(), 1);
        assert!(matches!(read(both.clone(), &["a"]), Err(Refusal::Partial { .. })));
        assert!(matches!(read(both, &[]), Err(Refusal::Partial { .. })));
        let other = json!([failure("a", text), failure("a", "disk on fire")]);
        assert!(matches!(read(other, &["a"]), Err(Refusal::Partial { .. })));
        let other_field = json!([failure("a", &text.replace("hostIp", "mount"))]);
        assert!(matches!(read(other_field, &["a"]), Err(Refusal::Partial { .. })));
        assert!(matches!(read(json!([]), &["a"]), Err(Refusal::Partial { .. })));
    }

    #[test]
    fn a_count_is_read_from_a_whole_answer_only() {
        let answer = with("/aggregations", json!({"documents": {"doc_count": 12_345}}));
        assert_eq!(read_count(answer.to_string().as_bytes()), Ok(12_345));
        assert!(matches!(read_count(whole().to_string().as_bytes()), Err(Refusal::Malformed { .. })));
        let mut partial = answer;
        partial["timed_out"] = json!(true);
        assert!(matches!(read_count(partial.to_string().as_bytes()), Err(Refusal::Partial { .. })));
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
