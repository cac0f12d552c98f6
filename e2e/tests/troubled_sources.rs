//! Sources of which a part is in trouble, and workers that do not all know the same of them.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::fleet::Fleet;
use hostsync_e2e::service;
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::{SampleHost, SampleIndex, ips};
use hostsync_testing::gate::Gate;
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

const LIMIT: Duration = Duration::from_mins(2);

const DEFAULT_URL: &str = "HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL";

/// Runs the hosts by another endpoint or index pattern than the default ones.
async fn execute(client: &Client, source: &Value, hosts: &[String]) -> u64 {
    let mut body = json!({"task_name": "troubled", "host_ip_list": hosts, "query_time_range": "6h"});
    for (key, value) in source.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let answer = client.ok(Method::POST, "/es-sync-execute", Some(&body)).await.expect("accepted");
    answer["execution_id"].as_u64().expect("an id")
}

/// Until a run says what it waits for in these words.
async fn until_it_waits_for(client: &Client, id: u64, words: &str) {
    wait_for(&format!("execution {id} to wait for {words}"), LIMIT, async || {
        let log = client.execution(id).await?;
        Ok(log["waiting_for"].as_str().is_some_and(|told| told.contains(words)).then_some(()))
    })
    .await
    .expect("told");
}

/// Changes the settings of an index.
async fn set(bed: &Bed, index: &str, settings: &Value) {
    let url = format!("{}/{index}/_settings", bed.servers.elasticsearch_url);
    let answer = reqwest::Client::new().put(url).json(settings).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
}

/// No host has spent an attempt that gave no result, and no endpoint was ever closed.
async fn nothing_was_lost(bed: &Bed) {
    assert_eq!(
        bed.count("SELECT COUNT(*) FROM es_sync_execution_detail WHERE attempts > 1").await.expect("a count"),
        0
    );
    assert_eq!(bed.count("SELECT COUNT(*) FROM es_sync_endpoint_state").await.expect("a count"), 0);
}

#[tokio::test]
async fn a_pattern_in_trouble_is_set_aside_alone_and_its_runs_go_on_when_it_is_over() {
    on_bed("aside", async |bed| {
        bed.add_to_pool((0..6).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..6).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let other = format!("{}-other", bed.index.name);
        let troubled = SampleIndex::create(&bed.servers.elasticsearch_url, &other).await.expect("an index");
        let (from, to) = (chrono::Utc::now() - TimeDelta::days(1), chrono::Utc::now() + TimeDelta::hours(1));
        troubled.fill((0..6).map(SampleHost), from, to, TimeDelta::hours(1), |_| {}).await.expect("documents");
        // New and empty, since an engine takes up what it holds already where it may not live as well.
        let nowhere = json!({"index.number_of_replicas": 0, "index.routing.allocation.require._name": "nowhere"});
        let homeless = format!("{other}-homeless");
        let homeless_url = format!("{}/{homeless}", bed.servers.elasticsearch_url);
        let create = reqwest::Client::new().put(format!("{homeless_url}?wait_for_active_shards=0"));
        let answer = create.json(&json!({"settings": nowhere})).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        let fleet = Fleet::with_workers(&bed, &[], &[&[]]).await;
        let blocked = json!({"index.blocks.read": true});
        set(&bed, &other, &blocked).await;
        for (index, pattern, over, words) in [
            (&other, other.clone(), json!({"index.blocks.read": null}), "blocked for reading"),
            (&homeless, format!("{other}*"), json!({"index.routing.allocation.require._name": null}), "index pattern"),
        ] {
            let pattern = json!({"es_index_pattern": pattern});
            let waits = execute(&fleet.client, &pattern, &ips(0..6)).await;
            until_it_waits_for(&fleet.client, waits, words).await;
            for _ in 0..3 {
                let healthy = execute(&fleet.client, &json!({}), &ips(0..6)).await;
                let log = fleet.client.wait_for_end(healthy, LIMIT).await.expect("an end");
                assert_eq!((&log["success_count"], &log["warnings"]), (&json!(6), &json!([])), "{log}");
            }
            let doubts = bed.count("SELECT COUNT(*) FROM es_sync_doubt").await.expect("a count");
            assert_eq!(doubts, 0, "nobody doubts the credentials");
            set(&bed, index, &over).await;
            let log = fleet.client.wait_for_end(waits, LIMIT).await.expect("an end");
            assert_eq!((&log["success_count"], &log["waiting_for"]), (&json!(6), &json!("")), "{log}");
        }
        nothing_was_lost(&bed).await;
        fleet.stop().await;
        reqwest::Client::new().delete(homeless_url).send().await.expect("deleted");
        troubled.delete().await.expect("deleted");
    })
    .await;
}

#[tokio::test]
async fn a_breaker_that_others_tripped_costs_a_few_searches_and_no_attempt() {
    on_bed("breaker", async |bed| {
        bed.add_to_pool((0..40).map(SampleHost)).await.expect("a pool");
        let tripped = json!({"error": {
            "type": "circuit_breaking_exception", "durability": "TRANSIENT", "bytes_wanted": 1, "bytes_limit": 1,
            "reason": "[parent] Data too large, data for [<http_request>] would be [99/99b], which is larger than the limit \
                       of [9/9b], real usage: [99/99b], new bytes reserved: [0/0b]",
        }, "status": 429});
        let server = MockServer::start().await;
        let field = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": true}});
        let fields = json!({"indices": ["data"], "fields": {
            "@timestamp": field("date"), "hostIp": field("keyword"), "cpu": field("double"),
            "available_memory": field("double"), "total_disk_space_all": field("double"),
        }});
        let answer = |status: u16, body: &Value| ResponseTemplate::new(status).set_body_json(body);
        Mock::given(path_regex("/_field_caps$")).respond_with(answer(200, &fields)).mount(&server).await;
        Mock::given(method("GET")).respond_with(answer(200, &json!({}))).mount(&server).await;
        let searches = Mock::given(method("POST")).and(path_regex("/_search$")).respond_with(answer(429, &tripped));
        let searches = searches.mount_as_scoped(&server).await;
        let url = server.uri();
        let more = [(DEFAULT_URL, url.as_str())];
        let fleet = Fleet::with_workers(&bed, &more, &[&more]).await;
        let id = execute(&fleet.client, &json!({}), &ips(0..40)).await;
        until_it_waits_for(&fleet.client, id, "Data too large").await;
        // A probe has found it so as well.
        wait_for("a probe", LIMIT, async || Ok((searches.received_requests().await.len() >= 2).then_some(())))
            .await
            .expect("probed");
        let made = searches.received_requests().await.len();
        assert!(made <= 10, "{made} searches for 40 hosts");
        drop(searches);
        let nothing = json!({
            "took": 3, "timed_out": false, "_shards": {"total": 2, "successful": 2, "skipped": 0, "failed": 0},
            "aggregations": {"hosts": {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}},
        });
        Mock::given(method("POST")).respond_with(answer(200, &nothing)).mount(&server).await;
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["no_data_count"], 40, "{log}");
        nothing_was_lost(&bed).await;
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_index_that_is_closed_between_two_runs_is_told() {
    on_bed("skipped", async |bed| {
        bed.add_to_pool((0..4).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..2).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let other = format!("{}-other", bed.index.name);
        let second = SampleIndex::create(&bed.servers.elasticsearch_url, &other).await.expect("an index");
        let (from, to) = (chrono::Utc::now() - TimeDelta::days(1), chrono::Utc::now() + TimeDelta::hours(1));
        second.fill((2..4).map(SampleHost), from, to, TimeDelta::hours(1), |_| {}).await.expect("documents");
        let fleet = Fleet::with_workers(&bed, &[], &[&[]]).await;
        let pattern = json!({"es_index_pattern": format!("{}*", bed.index.name)});
        let run = async || {
            let id = execute(&fleet.client, &pattern, &ips(0..4)).await;
            fleet.client.wait_for_end(id, LIMIT).await.expect("an end")
        };
        let log = run().await;
        assert_eq!((&log["success_count"], &log["warnings"]), (&json!(4), &json!([])), "{log}");
        let command = async |command: &str| {
            let url = format!("{}/{other}/{command}", bed.servers.elasticsearch_url);
            let answer = reqwest::Client::new().post(url).send().await.expect("an answer");
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        };
        command("_close").await;
        for _ in 0..2 {
            let log = run().await;
            assert_eq!((&log["success_count"], &log["no_data_count"]), (&json!(2), &json!(2)), "{log}");
            let warnings = log["warnings"].as_array().expect("warnings");
            let told = warnings[0].as_str().expect("a text");
            assert!(warnings.len() == 1 && told.contains(&other) && told.contains("closed"), "{log}");
        }
        command("_open").await;
        let log = run().await;
        assert_eq!((&log["success_count"], &log["warnings"]), (&json!(4), &json!([])), "{log}");
        second.delete().await.expect("deleted");
        // What is deleted is not told, it is gone for good.
        let log = run().await;
        assert_eq!((&log["success_count"], &log["warnings"]), (&json!(2), &json!([])), "{log}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_no_worker_knows_is_told_and_ends_its_runs_unless_one_learns_it() {
    on_bed("unknown", async |bed| {
        bed.add_to_pool((0..20).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..20).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let more = [("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__LATER__URL", bed.servers.elasticsearch_url.as_str())];
        let mut fleet = Fleet::with_workers(&bed, &more, &[&[]]).await;
        let later = json!({"es_endpoint": "later"});
        let ends = execute(&fleet.client, &later, &ips(0..20)).await;
        until_it_waits_for(&fleet.client, ends, "the endpoint \"later\" is not configured in the workers").await;
        // Five minutes, without the wait.
        let passed =
            "UPDATE es_sync_doubt SET since = since - INTERVAL 301 SECOND, seen_at = seen_at - INTERVAL 11 SECOND";
        sqlx::query(passed).execute(&bed.pool).await.expect("five minutes");
        let log = fleet.client.wait_for_end(ends, LIMIT).await.expect("an end");
        assert_eq!((&log["execution_status"], &log["failed_count"]), (&json!("failed"), &json!(20)), "{log}");
        let reason = log["error_message"].as_str().expect("a reason");
        assert!(reason.contains("add elasticsearch.endpoints.later"), "{reason}");

        let goes_on = execute(&fleet.client, &later, &ips(0..20)).await;
        until_it_waits_for(&fleet.client, goes_on, "the endpoint \"later\"").await;
        fleet.services.pop().expect("the worker").stop().await.expect("a quiet end");
        fleet.services.push(service::worker(bed.config(&more).expect("a configuration")).await.expect("a worker"));
        let log = fleet.client.wait_for_end(goes_on, LIMIT).await.expect("an end");
        assert_eq!((&log["success_count"], &log["waiting_for"]), (&json!(20), &json!("")), "{log}");
        assert_eq!(
            bed.count("SELECT COUNT(*) FROM es_sync_execution_detail WHERE attempts > 1").await.expect("a count"),
            0
        );
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn refused_credentials_end_a_run_only_if_no_process_has_better_ones() {
    on_bed("rotation", async |bed| {
        bed.add_to_pool((0..20).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..20).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let (gate, old) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.refuse(Some(401));
        // Two workers that still have what was revoked, and one that was restarted already.
        let revoked = [(DEFAULT_URL, old.as_str())];
        let mut fleet = Fleet::with_workers(&bed, &[], &[&revoked, &revoked, &[]]).await;
        for _ in 0..2 {
            let id = execute(&fleet.client, &json!({}), &ips(0..6)).await;
            let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
            assert_eq!(log["success_count"], 6, "{log}");
        }
        fleet.services.pop().expect("the good one").stop().await.expect("a quiet end");
        let id = execute(&fleet.client, &json!({}), &ips(0..20)).await;
        until_it_waits_for(&fleet.client, id, "did not accept the credentials").await;
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!((&log["execution_status"], &log["failed_count"]), (&json!("failed"), &json!(20)), "{log}");
        assert!(log["error_message"].as_str().is_some_and(|reason| reason.contains("HTTP 401")), "{log}");
        // A worker that comes now has better ones than those that are believed to be refused.
        fleet.services.push(service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker"));
        wait_for("the doubt to be refuted", LIMIT, async || {
            Ok((bed.count("SELECT COUNT(*) FROM es_sync_doubt").await? == 0).then_some(()))
        })
        .await
        .expect("refuted");
        let id = execute(&fleet.client, &json!({}), &ips(0..6)).await;
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 6, "{log}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_host_that_is_no_address_has_its_own_outcome_where_the_search_is_refused() {
    on_bed("bad_refused", async |bed| {
        bed.add_to_pool((0..3).map(SampleHost)).await.expect("a pool");
        sqlx::query(
            "INSERT INTO hosts_pool (host_name, host_ip, ram, disk_size) VALUES ('odd', 'web-1.example', 8, 100)",
        )
        .execute(&bed.pool)
        .await
        .expect("a host that is no address");
        let (gate, old) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.refuse(Some(401));
        let revoked = [(DEFAULT_URL, old.as_str())];
        let fleet = Fleet::with_workers(&bed, &[], &[&revoked]).await;
        let task = fleet.client.create_enabled_task("refused", "* * * * * *", "6h").await.expect("a task");
        let log = wait_for("a fire", LIMIT, async || Ok(fleet.client.execution_logs(task).await?.pop()))
            .await
            .expect("a fire");
        fleet.client.enable_task(task, false).await.expect("disabled");
        let id = log["id"].as_u64().expect("an id");
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!((&log["execution_status"], &log["failed_count"]), (&json!("failed"), &json!(4)), "{log}");
        for detail in fleet.client.details(id).await.expect("details") {
            let reason = detail["error_message"].as_str().unwrap_or_default();
            let words = if detail["host_ip"] == "web-1.example" { "not an IPv4 or IPv6 address" } else { "HTTP 401" };
            assert!(reason.contains(words), "{detail}");
        }
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_pattern_that_no_run_goes_by_any_more_is_taken_back_in_its_trouble() {
    on_bed("taken_back", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..2).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        set(&bed, &bed.index.name, &json!({"index.blocks.read": true})).await;
        let fleet = Fleet::with_workers(&bed, &[], &[&[]]).await;
        let id = execute(&fleet.client, &json!({}), &ips(0..2)).await;
        until_it_waits_for(&fleet.client, id, "blocked for reading").await;
        let set_aside = "SELECT COUNT(*) FROM es_sync_pattern_state WHERE set_aside_since IS NOT NULL";
        assert_eq!(bed.count(set_aside).await.expect("a count"), 1);
        fleet.client.ok(Method::POST, &format!("/es-sync-executions/{id}/cancel"), None).await.expect("cancelled");
        fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        wait_for("the pattern to be taken back", LIMIT, async || Ok((bed.count(set_aside).await? == 0).then_some(())))
            .await
            .expect("taken back");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn workers_and_schedulers_ask_an_endpoint_with_what_the_file_of_its_secret_says_now() {
    on_bed("rotated", async |bed| {
        let engine = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_json(json!({"version": {"number": "8.19.0"}}));
        Mock::given(method("GET")).respond_with(answer).mount(&engine).await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let (url, path) = (engine.uri(), file.to_str().expect("a path").to_owned());
        let more = [(DEFAULT_URL, url.as_str()), ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__API_KEY_FILE", &path)];
        for name in ["scheduler", "worker"] {
            let key = |number: u32| format!("key-{number}-of-the-{name}");
            std::fs::write(&file, key(1)).expect("written");
            let config = bed.config(&more).expect("a configuration");
            let running = match name {
                "scheduler" => service::scheduler(config).await,
                _ => service::worker(config).await,
            };
            let running = running.expect("a service");
            for number in [1, 2] {
                std::fs::write(&file, key(number)).expect("written");
                let wanted = format!("ApiKey {}", key(number));
                wait_for(&format!("the {name} to ask with {wanted}"), LIMIT, async || {
                    // A closed endpoint is probed.
                    bed.execute(
                        "REPLACE INTO es_sync_endpoint_state (endpoint, closed_since, reason)
                         VALUES ('default', UTC_TIMESTAMP(3), 'for a test')",
                    )
                    .await;
                    let asked = engine.received_requests().await.unwrap_or_default();
                    let sent = |request: &wiremock::Request| {
                        request.headers.get("authorization").is_some_and(|value| value.as_bytes() == wanted.as_bytes())
                    };
                    Ok(asked.iter().any(sent).then_some(()))
                })
                .await
                .expect("asked");
            }
            running.stop().await.expect("stopped");
        }
    })
    .await;
}
