//! Looking at a source before a task reads it: the real search engine, and a stand-in for what that will not answer.

use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{Answer, BASE, Ground, Server, VIEWER, clock, send, with_server, with_server_of};

const PATH: &str = "/es-sync-tasks/probe";
const DEFAULT_URL: &str = "HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL";

#[expect(clippy::disallowed_methods, reason = "the servers of the tests are named by the environment")]
pub(crate) fn engine_url() -> String {
    let url = std::env::var("HOSTSYNC_DEV_ELASTICSEARCH_URL");
    url.expect("HOSTSYNC_DEV_ELASTICSEARCH_URL is not set: start the development servers by make")
        .trim_end_matches('/')
        .to_owned()
}

/// An index in the real engine with one host: two documents, memory 4 and 8 GB. `cpu` is of the given type.
pub(crate) async fn index(name: &str, cpu: &str) {
    let number = json!({"type": "double"});
    let keyword = json!({"type": "text", "fields": {"keyword": {"type": "keyword"}}});
    let properties = json!({
        "@timestamp": {"type": "date"}, "hostIp": keyword, "hostName": keyword, "group": keyword,
        "cpu": {"type": cpu}, "available_memory": number, "total_disk_space_all": number,
    });
    let url = format!("{}/{name}", engine_url());
    let client = reqwest::Client::new();
    let body = json!({"settings": {"number_of_replicas": 0}, "mappings": {"properties": properties}});
    let created = client.put(&url).json(&body).send().await.expect("the search engine answers");
    assert!(created.status().is_success(), "{}", created.text().await.expect("a body"));
    for memory in [4.0, 8.0] {
        let at = clock() - chrono::TimeDelta::minutes(10);
        let document = json!({
            "@timestamp": at.to_rfc3339(), "hostIp": "10.0.0.1", "hostName": "web-1", "group": "web",
            "cpu": "50", "available_memory": memory, "total_disk_space_all": 25.0,
        });
        let added = client.post(format!("{url}/_doc?refresh=true")).json(&document).send().await.expect("an answer");
        assert!(added.status().is_success());
    }
}

/// A server whose default endpoint is the real engine, with an index of its own that is gone afterwards.
async fn with_source(cpu: &str, test: impl AsyncFnOnce(&Server, &str)) {
    let ground = Ground::new(true).await;
    let name = ground.name.replace('_', "-");
    index(&name, cpu).await;
    let url = engine_url();
    let more = [(DEFAULT_URL, url.as_str()), ("HOSTSYNC_ELASTICSEARCH__DEFAULT_INDEX_PATTERN", &name)];
    let tested = std::panic::AssertUnwindSafe(with_server_of(ground, &more, async |server| test(server, &name).await));
    let outcome = futures_util::FutureExt::catch_unwind(tested).await;
    reqwest::Client::new().delete(format!("{url}/{name}")).send().await.expect("the index is gone");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn field<'a>(seen: &'a Value, key: &str) -> &'a Value {
    let fields = seen["fields"].as_array().expect("fields");
    fields.iter().find(|field| field["key"] == key).unwrap_or_else(|| panic!("{key} in {seen}"))
}

async fn execute(server: &Server, sql: &'static str) {
    sqlx::query(sql).execute(&server.ground.pool).await.expect(sql);
}

/// Rows in all tables that a run writes.
async fn rows(server: &Server) -> i64 {
    server
        .number(
            "SELECT (SELECT COUNT(*) FROM es_sync_execution_log) + (SELECT COUNT(*) FROM es_sync_execution_detail)
                  + (SELECT COUNT(*) FROM es_sync_task_config) + (SELECT COUNT(*) FROM server_resources)
                  + (SELECT COUNT(*) FROM es_sync_newest_window) + (SELECT COUNT(*) FROM hosts_pool)
                  + (SELECT COUNT(*) FROM es_sync_search)",
        )
        .await
}

#[tokio::test]
async fn a_good_source_is_shown_from_its_fields_to_the_row_of_a_host() {
    with_source("double", async |server, index| {
        execute(
            server,
            "INSERT INTO hosts_pool (host_name, host_ip, ram, disk_size) VALUES ('web-1', '10.0.0.1', 16, 100)",
        )
        .await;
        execute(
            server,
            "INSERT INTO server_resources (pool_id, ip, mon_date, cpu_load)
             SELECT id, host_ip, DATE(UTC_TIMESTAMP()), 3 FROM hosts_pool",
        )
        .await;
        let before = rows(server).await;
        let seen = server.post(PATH, &json!({"query_time_range": "1h"})).await.ok();
        assert_eq!(seen["message"], "a task would read 2 documents; host 10.0.0.1: success");
        assert_eq!(
            (&seen["problems"], &seen["reachable"], &seen["index_exists"]),
            (&json!([]), &json!(true), &json!(true))
        );
        assert!(seen["version"].is_string() && seen["product"].is_string(), "{seen}");
        assert_eq!((&seen["es_endpoint"], &seen["mapping"]), (&json!("default"), &json!("zabbix")));
        assert_eq!(
            (&seen["es_index_pattern"], &seen["index_count"], &seen["documents"]),
            (&json!(index), &json!(1), &json!(2))
        );
        let memory = field(&seen, "memory.max");
        assert_eq!((&memory["field"], &memory["unit"]), (&json!("available_memory"), &json!("gb")));
        assert_eq!((&memory["types"], &memory["usable"]), (&json!("double"), &json!(true)));
        assert_eq!(memory["columns"], json!(["used_memory", "mem_percent_max"]));

        let host = &seen["host"];
        assert_eq!(
            (&host["host_ip"], &host["in_pool"], &host["host_name"]),
            (&json!("10.0.0.1"), &json!(true), &json!("web-1"))
        );
        assert_eq!(
            (&host["ram"], &host["disk_size"], &host["sync_status"]),
            (&json!(16), &json!(100), &json!("success"))
        );
        assert_eq!(host["raw"]["documents"], 2);
        assert_eq!(host["raw"]["memory"], json!({"max": 8.0, "avg": 6.0, "min": 4.0}));
        assert_eq!((&host["memory_share"], &host["disk_share"]), (&Value::Null, &Value::Null));
        // 8 of 16 GB, 25 of 100 GB.
        assert_eq!(
            (&host["converted"]["used_memory"], &host["converted"]["mem_percent_max"]),
            (&json!(8.0), &json!(50.0))
        );
        assert_eq!(
            (&host["converted"]["disk_percent_avg"], &host["converted"]["cpu_load"]),
            (&json!(25.0), &json!(50.0))
        );
        assert_eq!(host["row_after"], host["converted"]);
        assert_eq!((&host["row_before"]["cpu_load"], &host["row_before"]["used_disk"]), (&json!(3.0), &Value::Null));
        assert_eq!(rows(server).await, before);

        // An operator is not needed: nothing is written.
        let path = format!("{BASE}{PATH}");
        send(server.request(Method::POST, &path).bearer_auth(VIEWER).json(&json!({}))).await.ok();
        send(server.request(Method::POST, &path).json(&json!({}))).await.refused(401, "unauthorized");
    })
    .await;
}

#[tokio::test]
async fn a_probed_host_gets_the_outcome_that_a_run_would_give_it() {
    with_source("double", async |server, _| {
        let probe = async |host: &str| server.post(PATH, &json!({"host_ip": host})).await.ok()["host"].clone();
        let outside = probe("10.0.0.1").await;
        assert_eq!((&outside["sync_status"], &outside["row_after"]), (&json!("not_in_pool"), &Value::Null));
        assert_eq!((&outside["converted"]["used_memory"], &outside["converted"]["mem_percent_max"]), (&json!(8.0), &Value::Null));

        execute(server, "INSERT INTO hosts_pool (host_name, host_ip, ram) VALUES ('web-1', '10.0.0.1', 5), ('web-2', '10.0.0.2', 5)")
            .await;
        let bad = probe("10.0.0.1").await;
        assert_eq!((&bad["sync_status"], &bad["converted"], &bad["row_after"]), (&json!("failed"), &Value::Null, &Value::Null));
        assert_eq!(bad["error_message"], "used memory 8.00 GB is more than the 5 GB of hosts_pool.ram");
        let silent = probe("10.0.0.2").await;
        assert_eq!((&silent["sync_status"], &silent["raw"]), (&json!("no_data"), &Value::Null));
    })
    .await;
}

#[tokio::test]
async fn a_bad_field_and_a_missing_index_are_answers() {
    with_source("keyword", async |server, _| {
        let seen = server.post(PATH, &json!({})).await.ok();
        let cpu = field(&seen, "cpu.max");
        assert_eq!((&cpu["types"], &cpu["usable"]), (&json!("keyword"), &json!(false)));
        assert!(cpu["reason"].as_str().is_some_and(|reason| reason.contains("\"cpu\"")), "{cpu}");
        assert_eq!((&field(&seen, "disk.min")["usable"], &seen["host"]), (&json!(true), &Value::Null));
        assert!(seen["message"].as_str().is_some_and(|text| text.starts_with("the source has 3 problems: ")), "{seen}");

        let seen = server.post(PATH, &json!({"es_index_pattern": "hs-no-such-index"})).await.ok();
        assert_eq!(
            (&seen["reachable"], &seen["index_exists"], &seen["documents"]),
            (&json!(true), &json!(false), &Value::Null)
        );
        assert_eq!(field(&seen, "cpu.max")["usable"], Value::Null);
        assert_eq!(seen["problems"].as_array().map(Vec::len), Some(1), "{seen}");
    })
    .await;
}

#[tokio::test]
async fn a_source_that_is_away_is_an_answer_with_the_reason() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let url = format!("http://127.0.0.1:{port}");
    with_server_of(Ground::new(true).await, &[(DEFAULT_URL, &url)], async |server| {
        let seen = server.post(PATH, &json!({"host_ip": "10.0.0.1"})).await.ok();
        assert_eq!(
            (&seen["reachable"], &seen["index_exists"], &seen["host"]),
            (&json!(false), &Value::Null, &Value::Null)
        );
        let message = seen["message"].as_str().expect("a text");
        assert!(
            message.starts_with("the source cannot be reached: ") && message.contains("cannot connect"),
            "{message}"
        );
        assert_eq!(field(&seen, "cpu.max")["usable"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_is_too_old_and_one_without_a_whole_answer_are_answers() {
    let source = MockServer::start().await;
    let root = |version: &str| json!({"version": {"number": version}});
    let old = Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(root("6.8.23")));
    let old = source.register_as_scoped(old).await;
    with_server_of(Ground::new(true).await, &[(DEFAULT_URL, &source.uri())], async |server| {
        let seen = server.post(PATH, &json!({})).await.ok();
        assert_eq!((&seen["reachable"], &seen["version"]), (&json!(true), &json!("6.8.23")));
        assert!(seen["problems"][0].as_str().is_some_and(|problem| problem.contains("6.8.23")), "{seen}");
    })
    .await;
    drop(old);
    let partial = json!({
        "version": {"number": "8.1.0"}, "took": 1, "timed_out": true, "aggregations": {},
        "hits": {"total": {"value": 0, "relation": "eq"}},
        "_shards": {"total": 2, "successful": 1, "skipped": 0, "failed": 0},
    });
    source.register(Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(partial))).await;
    with_server_of(Ground::new(true).await, &[(DEFAULT_URL, &source.uri())], async |server| {
        let seen = server.post(PATH, &json!({})).await.ok();
        assert_eq!((&seen["reachable"], &seen["documents"], &seen["host"]), (&json!(true), &Value::Null, &Value::Null));
        assert_eq!(seen["problems"].as_array().map(Vec::len), Some(1), "{seen}");
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_probe_is_named() {
    with_server(async |server| {
        for (body, field, words) in [
            (json!({"es_endpoint": "http://127.0.0.1:1/"}), "es_endpoint", "no configured endpoint"),
            (json!({"es_index_pattern": "a/b"}), "es_index_pattern", ""),
            (json!({"mapping": "none"}), "mapping", "zabbix"),
            (json!({"query_time_range": "5y"}), "query_time_range", "5y"),
            (json!({"host_ip": "web-1"}), "host_ip", "not an IPv4 or IPv6 address"),
            (json!({"host_ip": 5}), "host_ip", "must be a text"),
            (json!({"hosts": []}), "hosts", "no field"),
        ] {
            let refusal = server.post(PATH, &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), [field], "{body}");
            assert!(refusal["errors"][0]["message"].as_str().expect("a text").contains(words), "{refusal}");
        }
    })
    .await;
}

#[tokio::test]
async fn beyond_four_probes_at_once_callers_are_told_to_wait() {
    let source = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(std::time::Duration::from_secs(4));
    source.register(Mock::given(any()).respond_with(slow)).await;
    with_server_of(Ground::new(true).await, &[(DEFAULT_URL, &source.uri())], async |server| {
        let probes =
            futures_util::future::join_all((0..6).map(|_| async { server.post(PATH, &json!({})).await })).await;
        let (busy, done): (Vec<_>, Vec<_>) = probes.into_iter().partition(|answer| answer.status == 429);
        assert_eq!((busy.len(), done.len()), (2, 4));
        for answer in busy {
            assert_eq!(answer.header("retry-after"), Some("1"));
            answer.refused(429, "too_many_requests");
        }
    })
    .await;
}
