//! What a source, a broker or a database does that is in trouble, and what becomes of a run then.

#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation, reason = "tests make their documents now")]

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::fleet::Fleet;
use hostsync_e2e::service::{self, RunningService};
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::{SampleHost, ips};
use hostsync_testing::gate::Gate;
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

const LIMIT: Duration = Duration::from_secs(90);

async fn outcomes(client: &Client, id: u64) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for detail in client.details(id).await.expect("details") {
        *outcomes.entry(detail["sync_status"].as_str().expect("a status").to_owned()).or_default() += 1;
    }
    outcomes
}

/// A source that answers every search with this, and field types as Zabbix's indices have them.
async fn source(search: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let field = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": kind != "text"}});
    let fields = json!({
        "indices": ["data"],
        "fields": {
            "@timestamp": field("date"), "hostIp": field("text"), "hostIp.keyword": field("keyword"),
            "cpu": field("double"), "available_memory": field("double"), "total_disk_space_all": field("double"),
        },
    });
    Mock::given(path_regex("/_field_caps$"))
        .respond_with(ResponseTemplate::new(200).set_body_json(fields))
        .mount(&server)
        .await;
    Mock::given(method("POST")).and(path_regex("/_search$")).respond_with(search).mount(&server).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(json!({}))).mount(&server).await;
    server
}

#[tokio::test]
async fn an_outage_of_the_source_costs_no_attempts_and_the_run_ends_when_it_is_back() {
    on_bed("outage", async |bed| {
        bed.add_to_pool((0..60).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..60).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let (gate, url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.shut();
        let fleet = Fleet::start(&bed, &[("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", &url)]).await;
        let id = fleet.client.execute("outage", &ips(0..60), "6h").await.expect("accepted");
        wait_for("the endpoint to be closed and all jobs deferred", LIMIT, async || {
            let (closed, deferred): (i64, i64) = sqlx::query_as(
                "SELECT (SELECT COUNT(*) FROM es_sync_endpoint_state WHERE closed_since IS NOT NULL),
                        (SELECT COUNT(*) FROM es_sync_execution_detail WHERE retry_at IS NOT NULL)",
            )
            .fetch_one(&bed.pool)
            .await?;
            Ok((closed == 1 && deferred == 60).then_some(()))
        })
        .await
        .expect("closed");
        gate.open();
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "success", "{log}");
        assert_eq!(log["success_count"], 60);
        let details = fleet.client.details(id).await.expect("details");
        assert!(details.iter().all(|detail| detail["attempts"] == 1), "an outage costs no attempt");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_partial_answer_costs_an_attempt_and_is_never_no_data() {
    on_bed("partial", async |bed| {
        bed.add_to_pool((0..5).map(SampleHost)).await.expect("a pool");
        let partial = json!({
            "took": 3, "timed_out": false,
            "_shards": {"total": 2, "successful": 1, "skipped": 0, "failed": 1,
                        "failures": [{"reason": {"type": "broken", "reason": "one shard is broken"}}]},
            "hits": {"hits": []}, "aggregations": {"hosts": {"buckets": [], "sum_other_doc_count": 0, "doc_count_error_upper_bound": 0}},
        });
        let server = source(ResponseTemplate::new(200).set_body_json(partial)).await;
        let fleet = Fleet::start(&bed, &[("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", &server.uri())]).await;
        let id = fleet.client.execute("partial", &ips(0..5), "6h").await.expect("accepted");
        wait_for("an attempt to be spent", LIMIT, async || {
            let (spent,): (i64,) = sqlx::query_as(
                "SELECT COUNT(*) FROM es_sync_execution_detail
                 WHERE attempts = 1 AND retry_at IS NOT NULL AND sync_status = 'pending'",
            )
            .fetch_one(&bed.pool)
            .await?;
            Ok((spent == 5).then_some(()))
        })
        .await
        .expect("spent");
        // The last of five attempts.
        sqlx::query("UPDATE es_sync_execution_detail SET attempts = 4, retry_at = UTC_TIMESTAMP(3)")
            .execute(&bed.pool)
            .await
            .expect("later");
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "failed", "{log}");
        assert_eq!((&log["failed_count"], &log["no_data_count"]), (&json!(5), &json!(0)));
        for detail in fleet.client.details(id).await.expect("details") {
            assert_eq!(detail["attempts"], 5);
            let reason = detail["error_message"].as_str().expect("a reason");
            assert!(reason.contains("one shard is broken"), "{reason}");
        }
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_index_pattern_fails_the_execution_once() {
    on_bed("pattern", async |bed| {
        bed.add_to_pool((0..50).map(SampleHost)).await.expect("a pool");
        let fleet =
            Fleet::start(&bed, &[("HOSTSYNC_ELASTICSEARCH__DEFAULT_INDEX_PATTERN", "there-is-no-such-index-*")]).await;
        let id = fleet.client.execute("pattern", &ips(0..50), "6h").await.expect("accepted");
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "failed", "{log}");
        assert_eq!(log["failed_count"], 50);
        let reason = log["error_message"].as_str().expect("a reason");
        assert!(reason.contains("there-is-no-such-index-*"), "{reason}");
        let details = fleet.client.details(id).await.expect("details");
        assert!(details.iter().all(|detail| detail["attempts"] == 0), "no host was tried by itself");
        let metrics = reqwest::get(format!("{}/metrics", fleet.services[2].url())).await.expect("an answer");
        let metrics = metrics.text().await.expect("a text");
        assert!(
            metrics.contains("hostsync_source_refusals_total{endpoint=\"default\",reason=\"index_pattern\"} "),
            "{metrics}"
        );
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn too_many_buckets_halve_the_batch_until_it_fits() {
    on_bed("buckets", async |bed| {
        bed.add_to_pool((0..8).map(SampleHost)).await.expect("a pool");
        let error = json!({"error": {"type": "too_many_buckets_exception", "reason": "too many"}, "status": 400});
        let server = source(ResponseTemplate::new(400).set_body_json(error)).await;
        let fleet = Fleet::start(&bed, &[("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", &server.uri())]).await;
        let id = fleet.client.execute("buckets", &ips(0..8), "6h").await.expect("accepted");
        wait_for("single hosts to spend their attempt", LIMIT, async || {
            // On a slow machine the first one's next attempt comes before the last one's first.
            let (spent,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM es_sync_execution_detail WHERE attempts >= 1")
                .fetch_one(&bed.pool)
                .await?;
            Ok((spent == 8).then_some(()))
        })
        .await
        .expect("spent");
        let searches = server.received_requests().await.expect("requests");
        let searches = searches.iter().filter(|request| request.url.path().ends_with("/_search"));
        let bodies: Vec<Value> = searches.map(|search| search.body_json().expect("JSON")).collect();
        // An IPv4 address is asked for as it is and as an IPv4-mapped one.
        let of_single_hosts: HashSet<&Value> =
            bodies.iter().filter(|body| body["aggs"]["hosts"]["terms"]["size"] == 2).collect();
        assert_eq!(of_single_hosts.len(), 8, "down to single hosts: {bodies:?}");
        let log = fleet.client.execution(id).await.expect("a log");
        assert_eq!(log["pending_count"], 8);
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn one_bad_host_never_fails_another() {
    on_bed("bad_host", async |bed| {
        bed.add_to_pool((0..10).map(SampleHost)).await.expect("a pool");
        sqlx::query(
            "INSERT INTO hosts_pool (host_name, host_ip, ram, disk_size) VALUES ('odd', 'web-1.example', 8, 100)",
        )
        .execute(&bed.pool)
        .await
        .expect("a host that is no address");
        bed.index_last_day((1..10).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        // A CPU of 6,400 %.
        let document = json!({
            "@timestamp": (chrono::Utc::now() - TimeDelta::minutes(10)).to_rfc3339(), "hostIp": SampleHost(0).ip(),
            "cpu": 6400.0, "available_memory": 4.0, "total_disk_space_all": 10.0,
        });
        bed.index.put(&document).await.expect("a document");
        let fleet = Fleet::start(&bed, &[]).await;
        let task = fleet.client.create_enabled_task("bad host", "* * * * * *", "6h").await.expect("a task");
        let log = wait_for("a fire", LIMIT, async || Ok(fleet.client.execution_logs(task).await?.pop()))
            .await
            .expect("a fire");
        fleet.client.enable_task(task, false).await.expect("disabled");
        let id = log["id"].as_u64().expect("an id");
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "partial", "{log}");
        assert_eq!(
            outcomes(&fleet.client, id).await,
            BTreeMap::from([("failed".to_owned(), 2), ("success".to_owned(), 9)])
        );
        for detail in fleet.client.details(id).await.expect("details") {
            let reason = detail["error_message"].as_str().unwrap_or_default();
            match detail["host_ip"].as_str() {
                Some("web-1.example") => assert!(reason.contains("not an IPv4 or IPv6 address"), "{reason}"),
                Some(ip) if ip == SampleHost(0).ip() => assert!(reason.contains("6400"), "{reason}"),
                _ => assert_eq!(reason, ""),
            }
        }
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_no_job_or_of_a_later_version_goes_to_the_dead_letters_with_its_reason() {
    on_bed("poison", async |bed| {
        bed.add_to_pool((0..3).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..3).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let fleet = Fleet::start(&bed, &[]).await;
        let http = reqwest::Client::new();
        let api = format!("{}/api", bed.servers.management_url);
        // The second as a later release might write it, with everything that this one knows.
        let later = r#"{"v":2,"execution_id":1,"detail_id":1,"host_ip":"10.0.0.1","attempt":1,"more":true}"#;
        let long = "x".repeat(100_000);
        for payload in ["hello", later, &long] {
            let publish = json!({
                "properties": {"delivery_mode": 2}, "routing_key": "manual", "payload": payload,
                "payload_encoding": "string",
            });
            wait_for("the exchange, with the queue bound to it", LIMIT, async || {
                let url = format!("{api}/exchanges/%2F/{}.jobs.v1/publish", bed.name);
                let response = http.post(url).json(&publish).send().await?;
                if !response.status().is_success() {
                    return Ok(None);
                }
                // Until the queue is bound, the broker takes the message and drops it.
                let answer: Value = response.json().await?;
                Ok((answer["routed"] == true).then_some(()))
            })
            .await
            .expect("published");
        }
        let id = fleet.client.execute("poison", &ips(0..3), "6h").await.expect("accepted");
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 3, "its neighbours are served: {log}");
        let dead = wait_for("the dead letters in their table", LIMIT, async || {
            let listed = fleet.client.ok(Method::GET, "/es-sync-dead-letters", None).await?;
            Ok(listed["dead_letters"].as_array().filter(|letters| letters.len() >= 3).cloned())
        })
        .await
        .expect("three dead letters");
        let letter_of = |payload: &str| dead.iter().find(|letter| letter["body"] == payload).expect("its dead letter");
        let hello = letter_of("hello");
        assert!(hello["reason"].as_str().expect("a reason").starts_with("not a job"), "{dead:?}");
        assert_eq!(letter_of(later)["reason"], "job message of version 2, this release reads version 1");
        // One that is too long is moved by the broker; the first stretch of it is kept.
        let long = dead.iter().find(|letter| letter["body_bytes"] == 100_000).expect("the long one");
        assert_eq!(long["reason"], "not a job: 100000 bytes, at most 4096");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_enqueue_needs_only_the_database_and_goes_out_when_the_broker_is_back() {
    on_bed("broker", async |bed| {
        bed.add_to_pool((0..10).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..10).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let (gate, url) = Gate::before(&bed.servers.rabbitmq_url).await.expect("a door");
        gate.shut();
        // Services start while the broker is down.
        let fleet = Fleet::start(&bed, &[("HOSTSYNC_RABBITMQ__URL", &url)]).await;
        let id = fleet.client.execute("broker", &ips(0..10), "6h").await.expect("accepted");
        let ready = |service: &RunningService| format!("{}/readyz", service.url());
        wait_for("the scheduler to be ready: it fires without a broker", LIMIT, async || {
            let scheduler: Value = reqwest::get(ready(&fleet.services[1])).await?.json().await?;
            Ok((scheduler["success"] == true).then_some(()))
        })
        .await
        .expect("ready");
        let worker = reqwest::get(ready(&fleet.services[2])).await.expect("an answer");
        assert_eq!(worker.status(), 503, "a worker is nothing without a broker");
        assert_eq!(fleet.client.execution(id).await.expect("a log")["pending_count"], 10);
        gate.open();
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 10, "{log}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn services_start_while_the_database_is_down_and_go_on_when_it_comes() {
    on_bed("database", async |bed| {
        bed.add_to_pool((0..10).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..10).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let (gate, url) = Gate::before(&bed.database_url()).await.expect("a door");
        gate.shut();
        let more = [("HOSTSYNC_DATABASE__URL", url.as_str())];
        let config = || bed.config(&more).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        for service in [&api, &scheduler, &worker] {
            let answer = reqwest::get(format!("{}/readyz", service.url())).await.expect("an answer");
            assert_eq!(answer.status(), 503);
            assert!(answer.headers().contains_key("retry-after"));
        }
        let request = reqwest::Client::new()
            .get(format!("{}/api/cmdb/v1/es-sync-tasks", api.url()))
            .bearer_auth(hostsync_testing::bed::OPERATOR_TOKEN);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!((&body["success"], &body["code"]), (&json!(false), &json!("database_unavailable")));

        gate.open();
        client.wait_until_ready(LIMIT).await.expect("ready");
        let id = client.execute("database", &ips(0..10), "6h").await.expect("accepted");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 10, "{log}");

        // And once more in the middle of things.
        gate.shut();
        wait_for("the API to say so", LIMIT, async || {
            let answer = reqwest::get(format!("{}/readyz", api.url())).await?;
            Ok((answer.status() == 503).then_some(()))
        })
        .await
        .expect("said");
        gate.open();
        client.wait_until_ready(LIMIT).await.expect("ready");
        let id = client.execute("database again", &ips(0..10), "6h").await.expect("accepted");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 10, "{log}");
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

/// Until the broker has every job of a run.
async fn wait_until_published(bed: &Bed, id: u64) {
    wait_for("the jobs to be published", LIMIT, async || {
        let row: Option<(u64,)> = sqlx::query_as(
            "SELECT id FROM es_sync_execution_log WHERE id = ? AND published_watermark >= last_detail_id",
        )
        .bind(id)
        .fetch_optional(&bed.pool)
        .await?;
        Ok(row)
    })
    .await
    .expect("published");
}

#[tokio::test]
async fn a_cancelled_run_ends_cancelled_and_its_counters_add_up() {
    on_bed("cancel", async |bed| {
        bed.add_to_pool((0..30).map(SampleHost)).await.expect("a pool");
        let config = || bed.config(&[]).expect("a configuration");
        // No worker: nothing has started.
        let api = service::api(config()).await.expect("an API");
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let id = client.execute("cancel", &ips(0..30), "6h").await.expect("accepted");
        wait_until_published(&bed, id).await;
        client.ok(reqwest::Method::POST, &format!("/es-sync-executions/{id}/cancel"), None).await.expect("cancelled");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "cancelled", "{log}");
        assert_eq!((&log["cancelled_count"], &log["pending_count"]), (&json!(30), &json!(0)));
        // Its jobs are still in the queue; a worker drops them.
        let worker = service::worker(config()).await.expect("a worker");
        wait_for("the queue to be empty", LIMIT, async || {
            let queue = bed.queue("jobs.manual.v1").await?;
            Ok((queue["messages"] == 0 && queue["message_stats"]["ack"].as_u64() >= Some(30)).then_some(()))
        })
        .await
        .expect("empty");
        assert_eq!(client.execution(id).await.expect("a log"), log, "dropped jobs change nothing");
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_purged_queue_heals_itself() {
    on_bed("purge", async |bed| {
        bed.add_to_pool((0..30).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..30).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let id = client.execute("purge", &ips(0..30), "6h").await.expect("accepted");
        wait_until_published(&bed, id).await;
        let purge = format!("{}/api/queues/%2F/{}.jobs.manual.v1/contents", bed.servers.management_url, bed.name);
        let purged = reqwest::Client::new().delete(purge).send().await.expect("an answer");
        assert!(purged.status().is_success(), "{}", purged.status());
        // A minute of silence, without the wait.
        sqlx::query(
            "UPDATE es_sync_execution_log SET execution_time = execution_time - INTERVAL 61 SECOND,
                 progress_at = progress_at - INTERVAL 61 SECOND, published_at = published_at - INTERVAL 61 SECOND",
        )
        .execute(&bed.pool)
        .await
        .expect("a minute");
        let worker = service::worker(config()).await.expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 30, "{log}");
        let details = client.details(id).await.expect("details");
        assert!(details.iter().all(|detail| detail["attempts"] == 1), "repair spends no attempt");
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}
