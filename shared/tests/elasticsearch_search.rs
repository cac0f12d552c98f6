//! Searches against a real engine, and against a stand-in for what a healthy engine will not answer.
//!
//! The real one is named by `HOSTSYNC_DEV_ELASTICSEARCH_URL`, which `make up` provides. Each test has indices of
//! its own and removes them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_shared::elasticsearch::{Auth, Endpoint, EndpointSettings, MAX_ANSWER_BYTES, SearchAnswer, SearchError};
use hostsync_shared::mapping::{Mapping, MetricFields, Stats, Unit};
use hostsync_shared::window::Window;
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const TIMEOUT: Duration = Duration::from_secs(30);

// ---------------------------------------------------------------------------------------------------------
// The engines

fn engine_url() -> String {
    std::env::var("HOSTSYNC_DEV_ELASTICSEARCH_URL").unwrap_or_else(|_| {
        panic!(
            "HOSTSYNC_DEV_ELASTICSEARCH_URL is not set: \
             run `make up`, then `. .dev/env`, or `make test`, which does both"
        )
    })
}

fn endpoint_at(url: &str, auth: Auth, timeout: Duration) -> Endpoint {
    // All tests of the process share the provider that the first one installs.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = url.parse().expect("a URL");
    let settings = EndpointSettings { name: "test".to_owned(), url, auth, ca_file: None, timeout };
    Endpoint::new(settings).expect("an endpoint")
}

fn real() -> Endpoint {
    endpoint_at(&engine_url(), Auth::None, TIMEOUT)
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_750_000_000_123).expect("a time")
}

fn window_of_a_day() -> Window {
    Window { from: start(), to: start() + TimeDelta::days(1) }
}

fn texts<const N: usize>(hosts: [&str; N]) -> Vec<String> {
    hosts.map(str::to_owned).to_vec()
}

/// Indices that begin with a prefix of their own, gone when dropped.
struct Indices {
    prefix: String,
    client: reqwest::Client,
}

impl Indices {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let nanos = Utc::now().timestamp_nanos_opt().unwrap_or_default();
        Self { prefix: format!("hs-es-{}-{nanos}-{count}", std::process::id()), client: reqwest::Client::new() }
    }

    fn named(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    fn pattern(&self) -> String {
        format!("{}-*", self.prefix)
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: &Value) {
        let response = self.client.request(method, format!("{}/{path}", engine_url())).json(body).send().await;
        let response = response.expect("an answer");
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap_or_default());
    }

    /// Creates an index with the mapping of its fields.
    async fn create(&self, suffix: &str, properties: &Value) -> String {
        self.create_with(suffix, &json!({"number_of_replicas": 0}), properties).await
    }

    /// The same with settings of its own. Waits until it can be searched, if a node may hold it.
    async fn create_with(&self, suffix: &str, settings: &Value, properties: &Value) -> String {
        let index = self.named(suffix);
        let active = u8::from(settings.get("routing.allocation.require._name").is_none());
        let body = json!({"settings": {"index": settings}, "mappings": {"properties": properties}});
        self.send(reqwest::Method::PUT, &format!("{index}?wait_for_active_shards={active}"), &body).await;
        index
    }

    /// Adds documents and makes them visible to searches.
    async fn add(&self, index: &str, documents: impl IntoIterator<Item = Value>) {
        let lines: Vec<String> =
            documents.into_iter().map(|document| format!("{{\"index\":{{}}}}\n{document}\n")).collect();
        for chunk in lines.chunks(5_000) {
            let response = self
                .client
                .post(format!("{}/{index}/_bulk", engine_url()))
                .header("content-type", "application/x-ndjson")
                .body(chunk.concat())
                .send()
                .await
                .expect("an answer");
            let answer: Value = response.json().await.expect("JSON");
            assert_eq!(answer["errors"], false, "{answer}");
        }
        self.send(reqwest::Method::POST, &format!("{index}/_refresh"), &json!({})).await;
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        let url = format!("{}/{}", engine_url(), self.pattern());
        let remove = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(reqwest::Client::new().delete(url).send()))
        };
        // What cannot be removed is of no use to anybody, and harms no later run.
        let _ = std::thread::spawn(remove).join();
    }
}

fn keyword_host() -> Value {
    json!({"type": "keyword"})
}

fn text_and_keyword_host() -> Value {
    json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}})
}

fn zabbix_properties(host: &Value) -> Value {
    json!({
        "@timestamp": {"type": "date"},
        "hostIp": host,
        "cpu": {"type": "double"},
        "available_memory": {"type": "double"},
        "total_disk_space_all": {"type": "double"},
    })
}

fn document(host: &str, at: DateTime<Utc>, cpu: f64, memory: f64, disk: f64) -> Value {
    json!({
        "@timestamp": at.to_rfc3339(), "hostIp": host,
        "cpu": cpu, "available_memory": memory, "total_disk_space_all": disk,
    })
}

/// A few numbers that look like chance and are the same in each run.
fn noise(seed: u32) -> f64 {
    f64::from(seed.wrapping_mul(2_654_435_761).rotate_left(13) % 10_000) / 100.0
}

/// What the engine should say of these values, by plain arithmetic.
fn expected(values: &[f64]) -> Stats {
    let count = f64::from(u32::try_from(values.len()).expect("few values"));
    Stats {
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        avg: values.iter().sum::<f64>() / count,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
    }
}

fn assert_close(measured: Option<Stats>, expected: Stats) {
    let measured = measured.expect("a measurement");
    for (measured, expected) in
        [(measured.max, expected.max), (measured.avg, expected.avg), (measured.min, expected.min)]
    {
        assert!((measured - expected).abs() <= 1e-9 * expected.abs(), "{measured} {expected}");
    }
}

fn assert_refused(result: Result<SearchAnswer, SearchError>, sign: &str) {
    match result {
        Err(SearchError::Refused { reason }) => assert!(reason.contains(sign), "{reason}"),
        other => panic!("{sign}: {other:?}"),
    }
}

// ---------------------------------------------------------------------------------------------------------
// Against the real engine

async fn values_equal_those_computed_from_the_documents(host_type: &Value) {
    let indices = Indices::new();
    let properties = zabbix_properties(host_type);
    let days = [indices.create("day-1", &properties).await, indices.create("day-2", &properties).await];
    let hosts: Vec<String> = (1..=20).map(|number| format!("10.0.0.{number}")).collect();
    let mut values: HashMap<&str, [Vec<f64>; 3]> = HashMap::new();
    let mut documents = [Vec::new(), Vec::new()];
    for (number, host) in (0_u32..).zip(&hosts) {
        for step in 0..48_u32 {
            let seed = number * 1_000 + step;
            let (cpu, memory, disk) = (noise(seed), noise(seed + 1) / 10.0, noise(seed + 2) * 7.0);
            let at = start() + TimeDelta::minutes(30) * i32::try_from(step).expect("a small number");
            documents[usize::from(step >= 24)].push(document(host, at, cpu, memory, disk));
            let [cpus, memories, disks] = values.entry(host).or_default();
            cpus.push(cpu);
            memories.push(memory);
            disks.push(disk);
        }
    }
    for (index, documents) in days.iter().zip(documents) {
        indices.add(index, documents).await;
    }
    let endpoint = real();
    let answer =
        endpoint.search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    assert_eq!(answer.readings.len(), hosts.len());
    for (host, [cpu, memory, disk]) in values {
        let reading = answer.readings[host];
        assert_eq!(reading.data_point_count, 48);
        assert_close(reading.cpu, expected(&cpu));
        assert_close(reading.memory, expected(&memory));
        assert_close(reading.disk, expected(&disk));
    }
}

#[tokio::test]
async fn values_equal_those_computed_from_the_documents_by_a_keyword() {
    values_equal_those_computed_from_the_documents(&keyword_host()).await;
}

#[tokio::test]
async fn values_equal_those_computed_from_the_documents_by_the_keyword_of_a_text() {
    values_equal_those_computed_from_the_documents(&text_and_keyword_host()).await;
}

#[tokio::test]
async fn values_equal_those_computed_from_the_documents_by_an_ip() {
    values_equal_those_computed_from_the_documents(&json!({"type": "ip"})).await;
}

#[tokio::test]
async fn documents_of_dynamic_mapping_are_read_too() {
    let indices = Indices::new();
    let index = indices.named("dynamic");
    indices.add(&index, [document("10.0.0.1", start(), 12.5, 3.0, 40.0)]).await;
    let answer =
        real().search(&index, &Mapping::zabbix(), window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    assert_close(answer.readings["10.0.0.1"].cpu, expected(&[12.5]));
}

#[tokio::test]
async fn several_numeric_types_under_one_pattern_are_read_together() {
    let indices = Indices::new();
    for (suffix, kind, cpu) in [("a", "long", 10.0), ("b", "float", 20.5), ("c", "half_float", 30.0)] {
        let mut properties = zabbix_properties(&keyword_host());
        properties["cpu"] = json!({"type": kind});
        let index = indices.create(suffix, &properties).await;
        indices.add(&index, [document("10.0.0.1", start(), cpu, 3.0, 40.0)]).await;
    }
    let hosts = texts(["10.0.0.1"]);
    let answer =
        real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    assert_eq!(answer.readings["10.0.0.1"].data_point_count, 3);
    assert_close(answer.readings["10.0.0.1"].cpu, expected(&[10.0, 20.5, 30.0]));
}

#[tokio::test]
async fn a_document_without_a_number_counts_but_measures_nothing() {
    let indices = Indices::new();
    let index = indices.create("gaps", &zabbix_properties(&keyword_host())).await;
    let at = start().to_rfc3339();
    indices
        .add(
            &index,
            [
                json!({"@timestamp": at, "hostIp": "10.0.0.1", "cpu": 5.0, "available_memory": null}),
                json!({"@timestamp": at, "hostIp": "10.0.0.1", "available_memory": null}),
            ],
        )
        .await;
    let answer =
        real().search(&index, &Mapping::zabbix(), window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    let reading = answer.readings["10.0.0.1"];
    assert_eq!(reading.data_point_count, 2);
    assert_close(reading.cpu, expected(&[5.0]));
    assert_eq!((reading.memory, reading.disk), (None, None));
}

#[tokio::test]
async fn more_than_ten_thousand_documents_of_a_host_are_counted_exactly() {
    let indices = Indices::new();
    let index = indices.create("many", &zabbix_properties(&keyword_host())).await;
    let documents = (0..12_345_u32).map(|number| {
        let at = start() + TimeDelta::seconds(i64::from(number));
        document("10.0.0.1", at, noise(number), 1.0, 1.0)
    });
    indices.add(&index, documents).await;
    let answer =
        real().search(&index, &Mapping::zabbix(), window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    assert_eq!(answer.readings["10.0.0.1"].data_point_count, 12_345);
}

#[tokio::test]
async fn only_hosts_that_were_asked_for_and_have_data_come_back() {
    let indices = Indices::new();
    let index = indices.create("several", &zabbix_properties(&keyword_host())).await;
    let mut shared = document("10.0.0.1", start(), 10.0, 1.0, 1.0);
    shared["hostIp"] = json!(["10.0.0.1", "172.17.0.1", "fe80::1"]);
    let other = document("10.0.0.2", start(), 90.0, 1.0, 1.0);
    indices.add(&index, [shared, other]).await;
    let hosts = texts(["10.0.0.1", "10.0.0.3"]);
    let answer = real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    assert_eq!(answer.readings.keys().collect::<Vec<_>>(), ["10.0.0.1"]);
}

#[tokio::test]
async fn an_ip_field_finds_each_way_of_writing_an_address() {
    let indices = Indices::new();
    let index = indices.create("ip", &zabbix_properties(&json!({"type": "ip"}))).await;
    indices
        .add(&index, [document("2001:db8::1", start(), 10.0, 1.0, 1.0), document("10.0.0.1", start(), 20.0, 1.0, 1.0)])
        .await;
    let hosts = texts(["2001:DB8:0::1", "::ffff:10.0.0.1", "10.0.0.9"]);
    let answer = real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    assert_eq!(answer.readings.len(), 2);
    assert_close(answer.readings["2001:DB8:0::1"].cpu, expected(&[10.0]));
    assert_close(answer.readings["::ffff:10.0.0.1"].cpu, expected(&[20.0]));
}

#[tokio::test]
async fn the_window_begins_with_its_first_instant_and_ends_before_its_last() {
    let indices = Indices::new();
    let index = indices.create("edges", &zabbix_properties(&keyword_host())).await;
    let Window { from, to } = window_of_a_day();
    let millisecond = TimeDelta::milliseconds(1);
    let documents = [
        document("before", from - millisecond, 1.0, 1.0, 1.0),
        document("first", from, 2.0, 1.0, 1.0),
        document("last", to - millisecond, 3.0, 1.0, 1.0),
        document("after", to, 4.0, 1.0, 1.0),
    ];
    indices.add(&index, documents).await;
    let hosts = texts(["before", "first", "last", "after"]);
    let answer = real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    let mut found: Vec<_> = answer.readings.keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, ["first", "last"]);
}

#[tokio::test]
async fn a_mapping_of_ones_own_with_separate_fields_and_a_filter_is_followed() {
    let indices = Indices::new();
    let index = indices.named("own");
    let own = |kind: &str, high: f64| {
        json!({
            "when": start().to_rfc3339(), "address": "10.0.0.1", "kind": kind,
            "load": {"high": high, "mean": 0.5, "low": 0.25}, "memory_bytes": 1_073_741_824_u64, "disk": 7,
        })
    };
    indices.add(&index, [own("host", 0.75), own("container", 1.0)]).await;
    let single = MetricFields::single;
    let mapping = Mapping {
        time_field: "when".to_owned(),
        host_field: "address".to_owned(),
        host_name_field: None,
        group_field: None,
        cpu: MetricFields {
            max: "load.high".to_owned(),
            avg: "load.mean".to_owned(),
            min: "load.low".to_owned(),
            ..single("", Unit::Ratio)
        },
        memory: single("memory_bytes", Unit::Bytes),
        disk: single("disk", Unit::Gb),
        filter: Some(json!({"term": {"kind.keyword": "host"}})),
    };
    mapping.validate().expect("a valid mapping");
    let answer = real().search(&index, &mapping, window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    let reading = answer.readings["10.0.0.1"];
    assert_eq!(reading.data_point_count, 1);
    assert_eq!(reading.cpu, Some(Stats { max: 0.75, avg: 0.5, min: 0.25 }));
    assert_close(reading.memory, expected(&[1_073_741_824.0]));
}

#[tokio::test]
async fn an_index_that_does_not_exist_and_a_pattern_without_match_are_refused() {
    let indices = Indices::new();
    let hosts = texts(["10.0.0.1"]);
    let (endpoint, mapping) = (real(), Mapping::zabbix());
    let missing = endpoint.search(&indices.named("none"), &mapping, window_of_a_day(), &hosts).await;
    assert_refused(missing, "what was searched does not exist (HTTP 404): index_not_found_exception");
    let unmatched = endpoint.search(&indices.pattern(), &mapping, window_of_a_day(), &hosts).await;
    assert_refused(unmatched, "no index matches the pattern");
    let default = endpoint.search("cluster*:data-zabbix-none-*", &mapping, window_of_a_day(), &hosts).await;
    assert_refused(default, "endpoint \"test\", index \"cluster*:data-zabbix-none-*\": no index matches");
    let hostile = endpoint.search("../_cluster", &mapping, window_of_a_day(), &hosts).await;
    assert_refused(hostile, "the index pattern must not contain '/'");
}

#[tokio::test]
async fn fields_that_cannot_be_used_are_refused_by_name_and_type() {
    let indices = Indices::new();
    let hosts = texts(["10.0.0.1"]);
    for (suffix, field, kind, sign) in [
        ("a", "cpu", json!({"type": "text"}), "\"cpu\" (cpu.max of the mapping) is text"),
        ("b", "cpu", json!({"properties": {"value_max": {"type": "float"}}}), "is object"),
        ("c", "hostIp", json!({"type": "text"}), "\"hostIp\" (host_field of the mapping) is text"),
        ("d", "hostIp", json!({"type": "long"}), "must be keyword or ip"),
        ("e", "@timestamp", json!({"type": "keyword"}), "it must be a date"),
        ("f", "available_memory", json!({"type": "float", "doc_values": false}), "not aggregatable"),
    ] {
        let mut properties = zabbix_properties(&keyword_host());
        properties[field] = kind;
        let index = indices.create(suffix, &properties).await;
        assert_refused(real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await, sign);
    }
    let mut properties = zabbix_properties(&keyword_host());
    properties.as_object_mut().expect("an object").remove("total_disk_space_all");
    let index = indices.create("g", &properties).await;
    let missing = real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(missing, "no index has the field \"total_disk_space_all\" (disk.max of the mapping)");
}

#[tokio::test]
async fn indices_of_different_shape_are_refused_and_not_read_in_part() {
    let hosts = texts(["10.0.0.1"]);
    let indices = Indices::new();
    indices.create("a", &zabbix_properties(&keyword_host())).await;
    indices.create("b", &zabbix_properties(&text_and_keyword_host())).await;
    let mixed = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(mixed, "it must have one type in all indices");

    let indices = Indices::new();
    indices.create("a", &zabbix_properties(&keyword_host())).await;
    let mut rolled_up = zabbix_properties(&keyword_host());
    rolled_up["cpu"] = json!({"properties": {"value_max": {"type": "float"}}});
    indices.create("b", &rolled_up).await;
    let mixed = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(mixed, "is double in ");

    let indices = Indices::new();
    indices.create("a", &zabbix_properties(&text_and_keyword_host())).await;
    indices.create("b", &zabbix_properties(&json!({"type": "text"}))).await;
    let lacking = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(lacking, "\"hostIp.keyword\" is missing or cannot be aggregated in some of the indices");
}

#[tokio::test]
async fn more_hosts_than_the_index_takes_are_too_large() {
    let indices = Indices::new();
    let settings = json!({"number_of_replicas": 0, "max_terms_count": 2});
    let index = indices.create_with("strict", &settings, &zabbix_properties(&keyword_host())).await;
    indices.add(&index, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    let (endpoint, mapping) = (real(), Mapping::zabbix());
    let three = texts(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let result = endpoint.search(&index, &mapping, window_of_a_day(), &three).await;
    assert!(matches!(result, Err(SearchError::TooLarge { .. })), "{result:?}");
    let two = endpoint.search(&index, &mapping, window_of_a_day(), &three[..2]).await;
    assert_eq!(two.expect("an answer").readings.len(), 1);

    // One strict index among others fails alone: an answer in part.
    let other = indices.create("lenient", &zabbix_properties(&keyword_host())).await;
    indices.add(&other, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    let result = endpoint.search(&indices.pattern(), &mapping, window_of_a_day(), &three).await;
    match result {
        Err(SearchError::TooLarge { reason }) => assert!(reason.contains("1 of 2 shards failed"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_index_that_no_node_holds_makes_the_answer_incomplete() {
    let indices = Indices::new();
    let properties = zabbix_properties(&keyword_host());
    let there = indices.create("there", &properties).await;
    indices.add(&there, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    let nowhere = json!({"number_of_replicas": 0, "routing.allocation.require._name": "no such node"});
    indices.create_with("nowhere", &nowhere, &properties).await;
    let hosts = texts(["10.0.0.1"]);
    let result = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    match result {
        Err(SearchError::Incomplete { reason }) => assert!(reason.contains("1 of 2 shards"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_real_engine_is_reachable() {
    assert_eq!(real().ping().await, Ok(()));
}

// ---------------------------------------------------------------------------------------------------------
// Against a stand-in

fn caps() -> Value {
    let of = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": true}});
    json!({"indices": ["logs-1"], "fields": {
        "@timestamp": of("date"), "hostIp": of("keyword"), "cpu": of("double"),
        "available_memory": of("double"), "total_disk_space_all": of("double"),
    }})
}

fn whole() -> Value {
    json!({
        "took": 3, "timed_out": false,
        "_shards": {"total": 2, "successful": 2, "skipped": 0, "failed": 0},
        "aggregations": {"hosts": {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}},
    })
}

const FIELDS: &str = "@timestamp,hostIp,hostIp.*,cpu,cpu.*,available_memory,available_memory.*,\
                      total_disk_space_all,total_disk_space_all.*";

async fn stand_in(search: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/logs-*/_field_caps"))
        .and(query_param("fields", FIELDS))
        .and(query_param("include_unmapped", "true"))
        .respond_with(ResponseTemplate::new(200).set_body_json(caps()))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/logs-*/_search"))
        .and(query_param("allow_partial_search_results", "true"))
        .respond_with(search)
        .mount(&server)
        .await;
    server
}

async fn ask(endpoint: &Endpoint) -> Result<SearchAnswer, SearchError> {
    endpoint.search("logs-*", &Mapping::zabbix(), window_of_a_day(), &texts(["10.0.0.1"])).await
}

async fn answered_with(search: ResponseTemplate) -> SearchError {
    let server = stand_in(search).await;
    ask(&endpoint_at(&server.uri(), Auth::None, TIMEOUT)).await.expect_err("no answer to take")
}

fn status(status: u16, kind: &str) -> ResponseTemplate {
    let error = json!({"type": kind, "reason": "why", "root_cause": [{"type": kind, "reason": "why"}]});
    ResponseTemplate::new(status).set_body_json(json!({"error": error, "status": status}))
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_incomplete() {
    for (key, value, sign) in [
        ("timed_out", json!(true), "timed_out"),
        ("_clusters", json!({"total": 2, "successful": 1, "skipped": 1}), "1 skipped"),
        (
            "_shards",
            json!({"total": 2, "successful": 1, "failed": 1, "failures": [
                {"shard": 0, "index": "logs-1", "reason": {"type": "io_exception", "reason": "disk on fire"}},
            ]}),
            "1 of 2 shards failed: io_exception: disk on fire",
        ),
        ("aggregations", json!({"hosts": {"buckets": []}}), "malformed"),
    ] {
        let mut answer = whole();
        answer[key] = value;
        match answered_with(ResponseTemplate::new(200).set_body_json(answer)).await {
            SearchError::Incomplete { reason } => {
                assert!(reason.starts_with("endpoint \"test\", index \"logs-*\": the answer is "), "{reason}");
                assert!(reason.contains(sign), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    let page = ResponseTemplate::new(200).set_body_raw("<html>log in</html>", "text/html");
    assert!(matches!(answered_with(page).await, SearchError::Incomplete { .. }));
}

#[tokio::test]
async fn a_list_cut_short_is_too_large() {
    let mut answer = whole();
    answer["aggregations"]["hosts"]["sum_other_doc_count"] = json!(7);
    let error = answered_with(ResponseTemplate::new(200).set_body_json(answer)).await;
    assert!(matches!(error, SearchError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn statuses_are_sorted_into_what_comes_next() {
    let busy = answered_with(status(429, "es_rejected_execution_exception")).await;
    assert!(matches!(busy, SearchError::Outage { busy: true, .. }), "{busy:?}");
    let busy = answered_with(ResponseTemplate::new(429)).await;
    assert!(matches!(busy, SearchError::Outage { busy: true, .. }), "{busy:?}");
    let large = answered_with(status(429, "circuit_breaking_exception")).await;
    assert!(matches!(large, SearchError::TooLarge { .. }), "{large:?}");
    for code in [400, 503] {
        let large = answered_with(status(code, "too_many_buckets_exception")).await;
        assert!(matches!(large, SearchError::TooLarge { .. }), "{large:?}");
    }
    let down = answered_with(status(503, "cluster_block_exception")).await;
    assert!(matches!(down, SearchError::Outage { busy: false, .. }), "{down:?}");
    let failed = answered_with(status(500, "null_pointer_exception")).await;
    assert!(matches!(failed, SearchError::Incomplete { .. }), "{failed:?}");
    for code in [400, 401, 403, 404] {
        let refused = answered_with(status(code, "some_exception")).await;
        assert!(matches!(refused, SearchError::Refused { .. }), "{refused:?}");
        assert!(refused.reason().ends_with(&format!("(HTTP {code}): some_exception: why")), "{refused}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = MockServer::start().await;
    let location = format!("{}/elsewhere?token=hunter2", target.uri());
    let error = answered_with(ResponseTemplate::new(307).insert_header("location", location)).await;
    match error {
        SearchError::Refused { reason } => {
            assert!(reason.contains("redirects (HTTP 307 to ") && reason.contains("/elsewhere)"), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(target.received_requests().await.expect("recorded").len(), 0);
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_given_up() {
    let oversize = vec![b' '; MAX_ANSWER_BYTES + 1];
    let error = answered_with(ResponseTemplate::new(200).set_body_bytes(oversize)).await;
    assert!(matches!(error, SearchError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_told_apart_from_no_connection() {
    let server = stand_in(ResponseTemplate::new(200).set_body_json(whole()).set_delay(Duration::from_mins(1))).await;
    let endpoint = endpoint_at(&server.uri(), Auth::None, Duration::from_secs(1));
    let error = ask(&endpoint).await.expect_err("no answer");
    assert!(matches!(error, SearchError::TimedOut { .. }), "{error:?}");
    assert!(error.reason().ends_with("the search engine did not answer within 1s"), "{error}");
    assert_eq!(endpoint.ping().await, Ok(()));

    // A listener is bound to find a free port and gone before the port is used.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let endpoint = endpoint_at(&format!("http://127.0.0.1:{port}"), Auth::None, TIMEOUT);
    for error in [ask(&endpoint).await.map(|_| ()), endpoint.ping().await] {
        match error {
            Err(SearchError::Outage { reason, busy: false }) => {
                assert!(reason.contains("cannot connect to the search engine: "), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_an_outage() {
    // Accepts, and never says a word of the TLS handshake.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let endpoint = endpoint_at(&format!("https://127.0.0.1:{port}"), Auth::None, Duration::from_secs(2));
    let error = ask(&endpoint).await.expect_err("no connection");
    drop(listener);
    assert!(matches!(error, SearchError::Outage { busy: false, .. }), "{error:?}");
    assert!(error.reason().contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_may_be_either() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut connection, &mut request).await;
        }
    });
    let endpoint = endpoint_at(&format!("http://127.0.0.1:{port}"), Auth::None, TIMEOUT);
    let error = ask(&endpoint).await.expect_err("no answer");
    server.abort();
    assert!(matches!(error, SearchError::TimedOut { .. }), "{error:?}");
    assert!(error.reason().contains("the connection broke"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_an_outage() {
    // Speaks no TLS at all, which is no worse and no better than a certificate that cannot be trusted.
    let server = MockServer::start().await;
    let endpoint = endpoint_at(&server.uri().replace("http://", "https://"), Auth::None, TIMEOUT);
    let error = ask(&endpoint).await.expect_err("no trust");
    assert!(matches!(error, SearchError::Outage { busy: false, .. }), "{error:?}");
}

#[tokio::test]
async fn credentials_go_into_the_header_and_not_into_reasons() {
    for (auth, value) in [
        (Auth::Basic { username: "reader".to_owned(), password: "p:ss wörd".into() }, "Basic cmVhZGVyOnA6c3Mgd8O2cmQ="),
        (Auth::ApiKey("aWQ6a2V5".into()), "ApiKey aWQ6a2V5"),
        (Auth::Bearer("to.ken".into()), "Bearer to.ken"),
    ] {
        let server = MockServer::start().await;
        Mock::given(header("authorization", value))
            .and(path("/logs-*/_field_caps"))
            .respond_with(ResponseTemplate::new(200).set_body_json(caps()))
            .mount(&server)
            .await;
        Mock::given(header("authorization", value))
            .and(path("/logs-*/_search"))
            .respond_with(ResponseTemplate::new(200).set_body_json(whole()))
            .mount(&server)
            .await;
        ask(&endpoint_at(&server.uri(), auth.clone(), TIMEOUT)).await.expect("an answer");

        let echo = MockServer::start().await;
        let secret = value.split_once(' ').expect("two words").1.to_owned();
        Mock::given(path("/logs-*/_field_caps"))
            .respond_with(move |request: &Request| {
                let sent = request.headers["authorization"].to_str().expect("text").to_owned();
                ResponseTemplate::new(401).set_body_json(json!({"error": {"type": "x", "reason": sent}}))
            })
            .mount(&echo)
            .await;
        let error = ask(&endpoint_at(&echo.uri(), auth, TIMEOUT)).await.expect_err("refused");
        assert!(matches!(error, SearchError::Refused { .. }), "{error:?}");
        assert!(error.reason().contains("***") && !error.reason().contains(&secret), "{error}");
    }
}

#[tokio::test]
async fn field_types_are_looked_up_once_and_again_after_an_answer_that_makes_no_sense() {
    let server = stand_in(ResponseTemplate::new(200).set_body_json(whole())).await;
    let endpoint = endpoint_at(&server.uri(), Auth::None, TIMEOUT);
    let look_ups = async || {
        let requests = server.received_requests().await.expect("recorded");
        requests.iter().filter(|request| request.url.path().ends_with("/_field_caps")).count()
    };
    for _ in 0..3 {
        ask(&endpoint).await.expect("an answer");
    }
    assert_eq!(look_ups().await, 1);
    let other = Mapping { group_field: None, ..Mapping::zabbix() };
    endpoint.search("logs-*", &other, window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    assert_eq!(look_ups().await, 2);

    let failing = Mock::given(method("POST")).respond_with(status(500, "x")).with_priority(1).up_to_n_times(1);
    failing.mount(&server).await;
    ask(&endpoint).await.expect_err("a failure");
    ask(&endpoint).await.expect("an answer");
    assert_eq!(look_ups().await, 3);
}

#[tokio::test]
async fn a_skipped_cluster_is_not_mistaken_for_a_missing_field_or_index() {
    let mut skipped = whole();
    skipped["_shards"] = json!({"total": 0, "successful": 0, "skipped": 0, "failed": 0});
    skipped["_clusters"] = json!({"total": 1, "successful": 0, "skipped": 1});
    let mut lacking = caps();
    lacking["fields"].as_object_mut().expect("an object").remove("cpu");
    for types in [json!({"indices": [], "fields": {}}), lacking] {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(types)).mount(&server).await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(200).set_body_json(skipped.clone()))
            .mount(&server)
            .await;
        let error = ask(&endpoint_at(&server.uri(), Auth::None, TIMEOUT)).await.expect_err("no answer");
        assert!(matches!(error, SearchError::Incomplete { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn any_answer_but_an_overload_or_a_failure_shows_that_the_engine_is_reachable() {
    for (code, reachable) in
        [(200, true), (401, true), (404, true), (301, true), (429, false), (500, false), (503, false)]
    {
        let server = MockServer::start().await;
        Mock::given(method("GET")).and(path("/deep/")).respond_with(ResponseTemplate::new(code)).mount(&server).await;
        let endpoint = endpoint_at(&format!("{}/deep", server.uri()), Auth::None, TIMEOUT);
        assert_eq!(endpoint.ping().await.is_ok(), reachable, "{code}");
    }
}
