//! What a whole answer says of each host.
//!
//! What passes here may be taken to the letter: a host that is absent has no data. A host whose bucket lacks a part, or has one
//! of another type, makes the whole answer malformed. Converts no unit and judges no value; `values` does.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::aggregates::{AggregatesByHost, HostAggregates, MetricAggregates};
use super::buckets::{Agg, BucketDefect, CoresBucket, HostBucket, HostsAggregation, Number, SliceBucket, Terms};
use super::engine_error::EngineError;
use super::fetches::Part;
use super::plan::{DOCUMENTS, LAST, SKIP_FIELD, SLICES, TIME, TOTAL, USED, part_name};
use super::stats::WeightedStats;
use super::whole_answer::{AnswerError, malformed, read_whole};
use super::{FieldTypes, HostField, Mapping, Metric, MetricFields};
use hostsync_model::host::HostIp;

/// A whole answer about hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct HostsAnswer {
    /// Milliseconds that the search engine took, by its own account.
    pub took_ms: u64,
    /// Shards that were searched.
    pub shards: u64,
    /// The hosts that have data; the others have none in the indices that this search reads.
    pub hosts: AggregatesByHost,
}

/// Reads the answer to a [`search_body`](super::search_body) of the same mapping, types, field and hosts.
///
/// What is no whole answer is an error; `whole_answer` has the rules.
///
/// # Errors
///
/// [`AnswerError`], and then nothing may be concluded about any host.
pub fn read_answer(
    mapping: &Mapping,
    types: &FieldTypes,
    host_field: &HostField,
    hosts: &[String],
    body: &[u8],
) -> Result<HostsAnswer, AnswerError> {
    let raw = read_whole::<HostsAggregation>(body, |failure| host_field.is_read_otherwise(failure))?;
    let aggregations = raw.aggregations.ok_or_else(|| malformed("aggregations is missing"))?;
    let hosts = read_hosts(mapping, types, &RequestedHosts::new(hosts), &aggregations.hosts)?;
    Ok(HostsAnswer { took_ms: raw.took, shards: raw.shards.total, hosts })
}

/// Whether an answer is whole, whatever was asked for.
///
/// # Errors
///
/// [`AnswerError`].
pub fn check_answer(body: &[u8]) -> Result<(), AnswerError> {
    read_whole::<IgnoredAny>(body, |_| false).map(|_| ())
}

/// Reads the answer to a [`count_body`](super::count_body): how many documents there are.
///
/// # Errors
///
/// As [`read_answer`].
pub fn read_count(body: &[u8]) -> Result<u64, AnswerError> {
    let aggregations = read_aggregations(body, |_| false)?;
    let documents = aggregations.get(DOCUMENTS).and_then(|documents| documents.get("doc_count"));
    documents.and_then(Value::as_u64).ok_or_else(|| malformed("aggregations.documents.doc_count is missing"))
}

/// Reads the answer to a [`last_body`](super::last_body): when the last document of the host was; `None`: it has none.
///
/// # Errors
///
/// As [`read_answer`].
pub fn read_last(host_field: &HostField, body: &[u8]) -> Result<Option<DateTime<Utc>>, AnswerError> {
    let aggregations = read_aggregations(body, |failure| host_field.is_read_otherwise(failure))?;
    let last = aggregations.get(LAST).and_then(|last| last.get("value"));
    let last = last.ok_or_else(|| malformed("aggregations.last.value is missing"))?;
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a date")]
    Ok(last.as_f64().and_then(|ms| DateTime::from_timestamp_millis(ms as i64)))
}

/// The aggregations of a whole answer, as a tree: for the short answers that are not about a list of hosts.
/// `is_forgiven` says which shards may fail, since another search reads them.
pub(super) fn read_aggregations(
    body: &[u8],
    is_forgiven: impl Fn(&EngineError) -> bool,
) -> Result<Map<String, Value>, AnswerError> {
    let raw = read_whole::<Map<String, Value>>(body, is_forgiven)?;
    raw.aggregations.ok_or_else(|| malformed("aggregations is missing"))
}

/// The hosts that were asked for. The key of a bucket is one of them if it is the same text, or the same address: asked for
/// `2001:DB8::1`, an `ip` field answers `2001:db8::1`.
struct RequestedHosts<'a> {
    texts: HashMap<&'a str, &'a String>,
    addresses: HashMap<HostIp, &'a String>,
}

impl<'a> RequestedHosts<'a> {
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

/// The hosts that were asked for; a bucket of any other is passed over.
fn read_hosts(
    mapping: &Mapping,
    types: &FieldTypes,
    requested: &RequestedHosts<'_>,
    hosts: &Terms<HostBucket>,
) -> Result<AggregatesByHost, AnswerError> {
    let buckets = hosts.whole_list()?;
    let mut all = AggregatesByHost::default();
    let mut keys = HashSet::with_capacity(buckets.len());
    for bucket in buckets {
        let key = &bucket.key;
        let Some(host) = requested.find(key) else { continue };
        if !keys.insert(key.as_str()) {
            return Err(malformed(&format!("{key} has two buckets")));
        }
        if bucket.doc_count == 0 {
            continue;
        }
        let documents = bucket.doc_count;
        let mut metrics: [MetricAggregates; 3] = Default::default();
        for (aggregates, metric) in metrics.iter_mut().zip(Metric::ALL) {
            *aggregates =
                read_metric(bucket, types, metric, mapping.metric(metric)).map_err(|defect| defect.of_host(key))?;
        }
        // Only a warning hangs on it, so an answer without it is an answer.
        let has_skip_field = bucket.agg(SKIP_FIELD).is_some_and(|agg| is_some_number(agg.doc_count));
        // Two spellings of one host are two buckets, usually over different documents.
        let aggregates = HostAggregates { documents, metrics, has_skip_field };
        all.add(AggregatesByHost { hosts: HashMap::from([(host.clone(), aggregates)]) });
    }
    Ok(all)
}

/// A number of an aggregation; `None` where no document had one.
fn number(bucket: &HostBucket, name: &str, read: impl Fn(&Agg) -> Number) -> Result<Option<f64>, BucketDefect> {
    bucket.agg(name).map_or(Number::Missing, read).known(|| name.to_owned())
}

/// Whether a count is there and is not 0.
fn is_some_number(count: Number) -> bool {
    matches!(count, Number::Known(count) if count > 0.0)
}

/// What a `stats` aggregation says.
fn stats(bucket: &HostBucket, name: &str) -> Result<WeightedStats, BucketDefect> {
    Ok(WeightedStats {
        max: number(bucket, name, |agg| agg.max)?,
        avg: number(bucket, name, |agg| agg.avg)?,
        min: number(bucket, name, |agg| agg.min)?,
        weight: number(bucket, name, |agg| agg.count)?.unwrap_or_default(),
    })
}

/// One metric of a host, in every shape that was asked for: of `cpu` as a number and a roll-up, for example, the aggregations
/// `cpu` and `cpu_roll_up_max`, `cpu_roll_up_avg`, `cpu_roll_up_min`.
fn read_metric(
    bucket: &HostBucket,
    types: &FieldTypes,
    metric: Metric,
    fields: &MetricFields,
) -> Result<MetricAggregates, BucketDefect> {
    let mut aggregates = MetricAggregates::default();
    let part = |statistic: &str| part_name(metric, statistic);
    if fields.split.is_some() && types.split_field(metric).is_some() {
        let name = part(SLICES);
        let slices = bucket.agg(&name).and_then(|agg| agg.slices.as_ref());
        for slice in &slices.ok_or_else(|| BucketDefect::Missing(name.clone()))?.buckets {
            read_slice(slice, fields, &name, &mut aggregates)?;
        }
        return Ok(aggregates);
    }
    let value = |statistic: &str| number(bucket, &part(statistic), |agg| agg.value);
    if fields.total.is_some() {
        aggregates.total = value(TOTAL)?;
    }
    if fields.percent.is_some() {
        aggregates.percent.push(stats(bucket, &part("percent"))?);
    }
    let weighted = |statistic: &str| -> Result<(Option<f64>, f64), BucketDefect> {
        let name = part(statistic);
        let weight = number(bucket, &name, |agg| agg.weight.value)?.unwrap_or_default();
        Ok((number(bucket, &name, |agg| agg.mean.value)?, weight))
    };
    let shapes = types.shapes(metric);
    if shapes.roll_up && fields.roll_up_field().is_some() {
        let (avg, weight) = weighted("roll_up_avg")?;
        aggregates.shapes.push(WeightedStats { max: value("roll_up_max")?, avg, min: value("roll_up_min")?, weight });
    }
    if shapes.per_core && fields.per_core.is_some() {
        aggregates.shapes.extend(read_per_core(bucket, metric)?);
    }
    if !shapes.plain {
        return Ok(aggregates);
    }
    aggregates.shapes.push(if fields.shared_field().is_some() && fields.weight.is_none() {
        stats(bucket, metric.key())?
    } else {
        let (avg, weight) = if fields.weight.is_some() {
            aggregates.has_weights = bucket.agg(&part("avg")).is_some_and(|agg| is_some_number(agg.weights.value));
            weighted("avg")?
        } else {
            let WeightedStats { avg, weight, .. } = stats(bucket, &part("avg"))?;
            (avg, weight)
        };
        WeightedStats { max: value("max")?, avg, min: value("min")?, weight }
    });
    Ok(aggregates)
}

/// Documents with a sum over cores, for each number of cores: a sum of 3.2 over 4 cores is a load of 0.8.
fn read_per_core(bucket: &HostBucket, metric: Metric) -> Result<Vec<WeightedStats>, BucketDefect> {
    let name = part_name(metric, "per_core");
    let numbers =
        bucket.agg(&name).and_then(|agg| agg.cores.as_ref()).ok_or_else(|| BucketDefect::Missing(name.clone()))?;
    let mut shapes = Vec::new();
    for CoresBucket { key: cores, used } in numbers.whole_list().map_err(BucketDefect::Answer)? {
        let known = |number: Number| number.known(|| format!("{name}.{USED}"));
        let share = |number: Number| Ok(known(number)?.map(|value| value / cores));
        // A processor without cores says nothing.
        if *cores > 0.0 {
            let weight = known(used.count)?.unwrap_or_default();
            shapes.push(WeightedStats { max: share(used.max)?, avg: share(used.avg)?, min: share(used.min)?, weight });
        }
    }
    Ok(shapes)
}

/// The parts of one slice of time, such as the mounts of a disk between 12:00 and 13:00.
fn read_slice(
    slice: &SliceBucket,
    fields: &MetricFields,
    name: &str,
    aggregates: &mut MetricAggregates,
) -> Result<(), BucketDefect> {
    let own = aggregates.slices.entry(slice.key).or_default();
    for part in slice.parts.whole_list().map_err(BucketDefect::Answer)? {
        let value = |number: Number, key: &str| number.known(|| format!("{name}.{key}"));
        let total = if fields.total.is_some() { value(part.total.value, TOTAL)? } else { None };
        let used = value(part.used.value, USED)?;
        let (first_ms, last_ms) = (value(part.time.min, TIME)?, value(part.time.max, TIME)?);
        if let (Some(used), Some(first_ms), Some(last_ms), samples @ 1..) = (used, first_ms, last_ms, part.time.count) {
            #[expect(clippy::cast_precision_loss, reason = "counts of documents are far below 2^52")]
            let documents = part.doc_count as f64;
            own.insert(part.key.0.clone(), Part { used, total, samples, documents, first_ms, last_ms });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{bucket, stats, whole, with};
    use crate::{Extremes, HostKind, HostReading, Share, SliceSum, Stats};
    use hostsync_model::window::Window;
    use proptest::prelude::*;
    use serde_json::json;

    fn hosts() -> Vec<String> {
        vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()]
    }

    fn types() -> FieldTypes {
        FieldTypes::unresolved(&Mapping::zabbix())
    }

    /// Five hours from the epoch on, in slices of 5 minutes.
    fn window() -> Window {
        let time = |ms| chrono::DateTime::from_timestamp_millis(ms).expect("a time");
        Window { from: time(0), to: time(5 * 3_600_000) }
    }

    /// What is left of an answer once its parts are put together.
    #[derive(Debug, PartialEq)]
    struct ReadAnswer {
        took_ms: u64,
        readings: HashMap<String, HostReading>,
    }

    fn read_with(
        mapping: &Mapping,
        types: &FieldTypes,
        hosts: &[String],
        body: &str,
    ) -> Result<ReadAnswer, AnswerError> {
        let answer = read_answer(mapping, types, &types.hosts[0], hosts, body.as_bytes())?;
        Ok(ReadAnswer { took_ms: answer.took_ms, readings: answer.hosts.readings(mapping, window()) })
    }

    fn read(answer: &Value) -> Result<ReadAnswer, AnswerError> {
        read_with(&Mapping::zabbix(), &types(), &hosts(), &answer.to_string())
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
                disk_slices: None,
                coverage: answer.readings["10.0.0.1"].coverage,
            }
        );
    }

    #[test]
    fn a_list_cut_short_is_noticed() {
        for count in ["sum_other_doc_count", "doc_count_error_upper_bound"] {
            for documents in [1, -1] {
                let answer = with(&format!("/aggregations/hosts/{count}"), json!(documents));
                assert!(matches!(read(&answer), Err(AnswerError::Truncated { .. })), "{count}");
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
                assert!(matches!(read(&answer), Err(AnswerError::Malformed { .. })), "{pointer}: {answer}");
            }
        }
        for body in ["null", "[]", "<html></html>", "{}"] {
            let answer = read_with(&Mapping::zabbix(), &types(), &hosts(), body);
            assert!(matches!(answer, Err(AnswerError::Malformed { .. })), "{body}");
        }
        let twice = with("/aggregations/hosts/buckets", json!([bucket("10.0.0.1"), bucket("10.0.0.1")]));
        assert!(matches!(read(&twice), Err(AnswerError::Malformed { .. })));
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
        assert!(matches!(read(&separate), Err(AnswerError::Malformed { .. })));
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
        let part = |key: u64, mount: &str, used: f64, total: f64| {
            json!({
                "key": mount, "doc_count": 6, "used": {"value": used}, "total": {"value": total},
                "time": {"count": 6, "min": key + 10_000, "max": key + 60_000},
            })
        };
        let slice = |key: u64, parts: [(&str, f64, f64); 2]| {
            let parts = parts.map(|(mount, used, total)| part(key, mount, used, total));
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
                    slice(0, [("/", 10.0, 20.0), ("/data", 30.0, 80.0)]),
                    slice(3_600_000, [("/", 20.0, 20.0), ("/data", 40.0, 80.0)]),
                ]}},
            }]),
        );
        if !parts.is_null() {
            *answer.pointer_mut("/aggregations/hosts/buckets/0/disk_slices/slices/buckets/1/parts").expect("a slice") =
                parts.clone();
        }
        answer
    }

    fn read_metricbeat(answer: &Value) -> Result<HostReading, AnswerError> {
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
        let max = SliceSum { begin_ms: 3_600_000, sum: 360.0, fetches: 6.0, quotient: 60.0 };
        let min = SliceSum { begin_ms: 0, sum: 240.0, fetches: 6.0, quotient: 40.0 };
        assert_eq!(reading.disk_slices, Some(Extremes { max, min }));
    }

    #[test]
    fn a_list_of_parts_cut_short_is_noticed() {
        let cut = json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 3, "buckets": []});
        match read_metricbeat(&metricbeat(&cut)) {
            Err(AnswerError::Truncated { reason }) => {
                assert!(reason.starts_with("10.0.0.1 has more parts"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        for broken in [json!({}), json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": [{}]})]
        {
            assert!(matches!(read_metricbeat(&metricbeat(&broken)), Err(AnswerError::Malformed { .. })), "{broken}");
        }
    }

    #[test]
    fn a_count_is_read_from_a_whole_answer_only() {
        let answer = with("/aggregations", json!({"documents": {"doc_count": 12_345}}));
        assert_eq!(read_count(answer.to_string().as_bytes()), Ok(12_345));
        assert!(matches!(read_count(whole().to_string().as_bytes()), Err(AnswerError::Malformed { .. })));
        let mut partial = answer;
        partial["timed_out"] = json!(true);
        assert!(matches!(read_count(partial.to_string().as_bytes()), Err(AnswerError::Partial { .. })));
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
    }
}
