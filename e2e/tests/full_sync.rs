//! A full sync: the hosts of a group from the source into the pool and on to their values.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use hostsync_e2e::service::{self, RunningService};
use hostsync_testing::bed::{Bed, OPERATOR_TOKEN, on_bed};
use hostsync_testing::client::Client;
use hostsync_testing::documents::SampleHost;
use hostsync_testing::gate::Gate;
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

async fn ready(bed: &Bed, hosts: u32) -> (RunningService, Client) {
    bed.index_last_day((0..hosts).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
    let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
    let client = Client::new(&api.url());
    client.wait_until_ready(LIMIT).await.expect("ready");
    (api, client)
}

async fn full_sync(client: &Client, body: Value) -> (u16, Value) {
    client.send(Method::POST, "/es-sync-full-sync", Some(&body)).await.expect("an answer")
}

#[tokio::test]
async fn the_hosts_of_a_group_are_added_to_the_pool_and_synced() {
    on_bed("full_sync", async |bed| {
        let (api, client) = ready(&bed, 30).await;
        bed.add_to_pool((0..12).map(SampleHost)).await.expect("a pool");
        bed.execute("UPDATE hosts_pool SET is_deleted = 1 ORDER BY id LIMIT 2").await;
        // One with a name that is longer than the column.
        let now = Utc::now() - TimeDelta::minutes(10);
        let document = json!({
            "@timestamp": now.to_rfc3339_opts(SecondsFormat::Secs, true), "hostIp": "10.200.0.1", "group": "demo",
            "hostName": "長".repeat(60), "cpu": 1.0, "available_memory": 2.0, "total_disk_space_all": 3.0,
        });
        let url = format!("{}/{}/_doc?refresh=true", bed.servers.elasticsearch_url, bed.index.name);
        let stored = reqwest::Client::new().post(url).json(&document).send().await.expect("an answer");
        assert!(stored.status().is_success());

        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        let body = json!({"group_name": "demo", "query_time_range": "24h", "wait_seconds": 60});
        let (status, answer) = full_sync(&client, body).await;
        assert_eq!(status, 200, "{answer}");
        for (field, value) in [
            ("total_hosts", json!(31)),
            ("new_host_count", json!(19)),
            ("execution_status", json!("success")),
            ("success_count", json!(29)),
            // Deleted hosts stay deleted.
            ("not_in_pool_count", json!(2)),
        ] {
            assert_eq!(answer[field], value, "{field} in {answer}");
        }
        let log = client.execution(answer["execution_id"].as_u64().expect("an id")).await.expect("a log");
        assert_eq!((&log["trigger"], &log["task_name"]), (&json!("full"), &json!("demo")));
        assert_eq!(bed.count("SELECT COUNT(*) FROM hosts_pool WHERE is_deleted = 1").await.expect("a number"), 2);
        assert_eq!(bed.count("SELECT COUNT(*) FROM hosts_pool").await.expect("a number"), 31);
        let name: String = sqlx::query_scalar("SELECT host_name FROM hosts_pool WHERE host_ip = '10.200.0.1'")
            .fetch_one(&bed.pool)
            .await
            .expect("a row");
        assert_eq!(name, "長".repeat(50));
        let named: String = sqlx::query_scalar("SELECT host_name FROM hosts_pool WHERE host_ip = ?")
            .bind(SampleHost(20).ip())
            .fetch_one(&bed.pool)
            .await
            .expect("a row");
        assert_eq!(named, SampleHost(20).name());

        // Again there is nothing to add.
        let (_, answer) = full_sync(&client, json!({"group_name": "demo", "task_name": "again"})).await;
        assert_eq!((&answer["total_hosts"], &answer["new_host_count"]), (&json!(31), &json!(0)));
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_add_each_host_once() {
    on_bed("full_twice", async |bed| {
        let (api, client) = ready(&bed, 1_500).await;
        let other = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let second = Client::new(&other.url());
        second.wait_until_ready(LIMIT).await.expect("ready");
        let body = json!({"group_name": "demo", "query_time_range": "24h"});
        let ((_, a), (_, b), (_, c)) = tokio::join!(
            full_sync(&client, body.clone()),
            full_sync(&second, body.clone()),
            full_sync(&second, body.clone())
        );
        let new: u64 = [&a, &b, &c].iter().map(|answer| answer["new_host_count"].as_u64().expect("a count")).sum();
        assert_eq!(new, 1_500, "{a} {b} {c}");
        assert_eq!(bed.count("SELECT COUNT(*) FROM hosts_pool").await.expect("a number"), 1_500);
        assert_eq!(
            bed.count("SELECT COUNT(*) FROM es_sync_execution_log WHERE total_hosts = 1500").await.expect("a number"),
            3
        );
        other.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn what_a_full_sync_cannot_do_is_told() {
    on_bed("full_refused", async |bed| {
        let (api, client) = ready(&bed, 3).await;
        let (status, answer) = full_sync(&client, json!({"group_name": "nobody"})).await;
        assert_eq!((status, &answer["errors"][0]["field"]), (400, &json!("group_name")), "{answer}");
        let (status, answer) = full_sync(&client, json!({"group": "demo", "mapping": "none"})).await;
        let fields: Vec<&str> =
            answer["errors"].as_array().expect("errors").iter().filter_map(|error| error["field"].as_str()).collect();
        assert_eq!((status, fields), (400, vec!["group", "group_name", "mapping"]), "{answer}");
        let (status, answer) = full_sync(&client, json!({"group_name": "demo", "es_index_pattern": "no-such"})).await;
        assert_eq!((status, &answer["code"]), (400, &json!("source_refused")), "{answer}");

        // The CMDB has a column of its own that must be given.
        bed.execute("ALTER TABLE hosts_pool ADD COLUMN owner VARCHAR(10) NOT NULL").await;
        let (status, answer) = full_sync(&client, json!({"group_name": "demo"})).await;
        assert_eq!((status, &answer["code"]), (409, &json!("host_pool_refused")), "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains("owner")), "{answer}");
        assert_eq!(bed.count("SELECT COUNT(*) FROM es_sync_execution_log").await.expect("a number"), 0);
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn one_host_that_the_pool_refuses_holds_up_no_other_of_its_group() {
    on_bed("full_one", async |bed| {
        bed.execute("ALTER TABLE hosts_pool CONVERT TO CHARACTER SET utf8mb3").await;
        let (api, client) = ready(&bed, 7).await;
        bed.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON hosts_pool FOR EACH ROW
             IF NEW.host_ip = '10.0.0.3' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF",
        )
        .await;
        let at = (Utc::now() - TimeDelta::minutes(10)).to_rfc3339_opts(SecondsFormat::Secs, true);
        for (host_ip, name) in [("10.200.0.1", "数据库-5 😊"), ("10.200.0.2", "🦀"), ("10.200.0.3", "ünïcode")]
        {
            let document = json!({"@timestamp": at, "hostIp": host_ip, "group": "demo", "hostName": name, "cpu": 1.0,
                                  "available_memory": 2.0, "total_disk_space_all": 3.0});
            bed.index.put(&document).await.expect("a document");
        }
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        let (status, answer) =
            full_sync(&client, json!({"group_name": "demo", "query_time_range": "24h", "wait_seconds": 60})).await;
        assert_eq!(status, 200, "{answer}");
        for (field, value) in [
            ("total_hosts", json!(10)),
            ("new_host_count", json!(9)),
            ("success_count", json!(9)),
            ("not_in_pool_count", json!(1)),
        ] {
            assert_eq!(answer[field], value, "{field} in {answer}");
        }
        let log = client.execution(answer["execution_id"].as_u64().expect("an id")).await.expect("a log");
        let renamed = "new hosts whose names hosts_pool cannot hold were added under what it can hold (2): \
                       10.200.0.1 as \"数据库-5 ?\", 10.200.0.2 as \"?\"";
        let refused = "new hosts that hosts_pool refuses were not added (1): 10.0.0.3: not this one (error 1644)";
        assert_eq!(log["warnings"], json!([renamed, refused]));
        let names: Vec<String> =
            sqlx::query_scalar("SELECT host_name FROM hosts_pool WHERE host_ip LIKE '10.200.%' ORDER BY host_ip")
                .fetch_all(&bed.pool)
                .await
                .expect("names");
        assert_eq!(names, ["数据库-5 ?", "?", "ünïcode"]);
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn the_same_key_gets_the_first_answer_again_and_another_body_a_conflict() {
    on_bed("full_key", async |bed| {
        let (api, client) = ready(&bed, 3).await;
        let http = reqwest::Client::new();
        let send = async |body: Value| -> (u16, Value) {
            let request = http
                .post(format!("{}/api/cmdb/v1/es-sync-full-sync", api.url()))
                .bearer_auth(OPERATOR_TOKEN)
                .header("Idempotency-Key", "nightly-1")
                .json(&body);
            let response = request.send().await.expect("an answer");
            (response.status().as_u16(), response.json().await.expect("JSON"))
        };
        let body = json!({"group_name": "demo", "query_time_range": "24h"});
        let first = send(body.clone()).await;
        assert_eq!((first.0, &first.1["total_hosts"], &first.1["new_host_count"]), (200, &json!(3), &json!(3)));
        // Hosts that came meanwhile change nothing.
        bed.index_last_day((3..5).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        assert_eq!(send(body).await, first);
        assert_eq!(bed.count("SELECT COUNT(*) FROM es_sync_execution_log").await.expect("a number"), 1);
        let other = send(json!({"group_name": "demo", "query_time_range": "12h"})).await;
        assert_eq!((other.0, &other.1["code"]), (409, &json!("idempotency_key_reused")));
        drop(client);
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_source_that_is_away_is_told_with_the_time_to_come_back() {
    on_bed("full_away", async |bed| {
        let (gate, url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.shut();
        let more = [("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", url.as_str())];
        let api = service::api(bed.config(&more).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let request = reqwest::Client::new()
            .post(format!("{}/api/cmdb/v1/es-sync-full-sync", api.url()))
            .bearer_auth(OPERATOR_TOKEN)
            .json(&json!({"group_name": "demo"}));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "15");
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!((&body["success"], &body["code"]), (&json!(false), &json!("source_unavailable")));
        assert_eq!(bed.count("SELECT COUNT(*) FROM es_sync_execution_log").await.expect("a number"), 0);
        api.stop().await.expect("a quiet end");
    })
    .await;
}
