//! What is kept for looking at runs afterwards: why a host got its result, and the sums over many runs.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::service;
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

async fn explain(client: &Client, id: u64, host: &str) -> Value {
    client.ok(Method::GET, &format!("/es-sync-executions/{id}/hosts/{host}"), None).await.expect("explained")
}

/// What the engine says to a body that an explanation shows.
async fn resend(bed: &Bed, body: &Value) -> Value {
    let url = format!("{}/{}/_search", bed.servers.elasticsearch_url, bed.index.name);
    let answer = reqwest::Client::new().post(url).json(body).send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

#[tokio::test]
async fn a_host_is_explained_by_its_search_its_values_and_the_row_it_replaced() {
    on_bed("explain", async |bed| {
        let hosts: Vec<SampleHost> = (0..5).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        bed.index_last_day(hosts[..4].iter().copied(), TimeDelta::minutes(5)).await.expect("documents");
        // A capacity that makes nonsense of what the source says.
        sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE hosts_pool SET ram = 1 WHERE host_ip = '{}'", hosts[3].ip())))
            .execute(&bed.pool)
            .await
            .expect("updated");
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");

        let asked: Vec<String> = (0..6).map(|n| SampleHost(n).ip()).collect();
        let first = client.execute("first", &asked, "12h").await.expect("accepted");
        client.wait_for_end(first, LIMIT).await.expect("an end");
        let second = client.execute("second", &asked, "6h").await.expect("accepted");
        client.wait_for_end(second, LIMIT).await.expect("an end");

        let ip = hosts[0].ip();
        let before = explain(&client, first, &ip).await;
        assert_eq!(before["message"], format!("host {ip} of execution {first}: success after 1 attempt"));
        let attempt = &before["attempts"][0];
        assert_eq!((&attempt["attempt"], &attempt["outcome"]), (&json!(1), &json!("success")));
        let search = &attempt["search"];
        // A run by hand does not linger, so how many hosts a search has is a matter of chance.
        let asked_at_once = search["hosts_asked"].as_u64().expect("a number");
        assert!((1..=6).contains(&asked_at_once) && search["hosts_found"].as_u64() >= Some(1), "{search}");
        assert_eq!(search["es_index_pattern"], bed.index.name);
        assert!(search["took_ms"].is_u64() && search["worker"] == attempt["worker"], "{search}");
        let documents = before["raw"]["documents"].as_u64().expect("documents");
        assert!(search["documents"].as_u64() >= Some(documents) && documents > 0);
        assert!(search["body"].to_string().contains(&ip) && !search["body"].to_string().contains("{host_ip}"));
        // The index has one shard, and the host as a text with a keyword beside it: the body is the one that was sent.
        assert_eq!(search["shards"], 1);
        assert_eq!(search["second_body"], Value::Null);
        let asked = resend(&bed, &search["body"]).await;
        assert_eq!(asked.pointer("/aggregations/hosts/buckets/0/key"), Some(&json!(ip)), "{asked}");
        assert_eq!(asked.pointer("/aggregations/hosts/buckets/0/doc_count"), Some(&json!(documents)), "{asked}");
        assert_eq!(before["execution_detail"]["max_cpu"].is_number(), before["raw"]["cpu"]["max"].is_number());
        assert_eq!((&before["row_before"], &before["row_after"]), (&Value::Null, &before["converted"]));

        // The second run overwrote what the first had written.
        let after = explain(&client, second, &ip).await;
        assert_eq!(after["row_before"], before["row_after"]);
        assert_eq!(after["row_after"], after["converted"]);

        let bad = explain(&client, first, &hosts[3].ip()).await;
        assert_eq!((&bad["attempts"][0]["outcome"], &bad["converted"]), (&json!("failed"), &Value::Null), "{bad}");
        assert_eq!(bad["attempts"][0]["error_message"], bad["execution_detail"]["error_message"]);
        assert!(bad["raw"]["memory"]["max"].is_number() && bad["row_after"].is_null(), "{bad}");
        assert!(bad["attempts"][0]["search"].is_object());
        for (host, outcome) in [(SampleHost(4), "no_data"), (SampleHost(5), "not_in_pool")] {
            let seen = explain(&client, first, &host.ip()).await;
            assert_eq!(seen["attempts"][0]["outcome"], outcome);
            assert!(seen["attempts"][0]["search"].is_object() && seen["raw"].is_null(), "{seen}");
        }
        for (path, code) in [
            (format!("/es-sync-executions/{first}/hosts/10.255.0.1"), "host_not_found"),
            (format!("/es-sync-executions/999/hosts/{ip}"), "execution_not_found"),
        ] {
            let (status, body) = client.send(Method::GET, &path, None).await.expect("an answer");
            assert_eq!((status, body["code"].as_str()), (404, Some(code)));
        }
        // One row a search and one a failed attempt, no more.
        let searches = bed.count("SELECT COUNT(*) FROM es_sync_search").await.expect("a number");
        assert!((2..=12).contains(&searches), "{searches}");
        let asked = bed.count("SELECT CAST(SUM(hosts_asked) AS SIGNED) FROM es_sync_search").await.expect("a number");
        assert_eq!(asked, 12);
        assert_eq!(bed.count("SELECT COUNT(*) FROM es_sync_attempt").await.expect("a number"), 2);
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn what_explains_a_run_is_pruned_with_it() {
    on_bed("prune_explained", async |bed| {
        for statement in [
            "INSERT INTO es_sync_execution_log (id, execution_status, execution_time, finished_at)
             VALUES (1, 'partial', '2020-01-01', '2020-01-01'), (2, 'partial', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))",
            "INSERT INTO es_sync_attempt (detail_id, attempt, execution_id, failed_at, worker, error_message)
             VALUES (1, 1, 1, '2020-01-01', 'w', 'x'), (2, 1, 2, UTC_TIMESTAMP(3), 'w', 'x')",
            "INSERT INTO es_sync_search (execution_id, search_id, searched_at, worker, es_endpoint, index_pattern,
                                         hosts_asked, elapsed_ms)
             VALUES (1, 1, '2020-01-01', 'w', 'e', 'i', 1, 1), (2, 2, UTC_TIMESTAMP(3), 'w', 'e', 'i', 1, 1)",
            "INSERT INTO es_sync_evidence (execution_id, search_id, first_detail, hosts)
             SELECT 1, 1, seq, 'x' FROM (SELECT @n := @n + 1 AS seq
                 FROM information_schema.columns, (SELECT @n := 0) AS zero LIMIT 120) AS numbers
             UNION ALL SELECT 2, 2, 2, 'x'",
            "INSERT INTO es_sync_stats_hour (task_id, hour) VALUES (0, '2020-01-01'), (0, UTC_TIMESTAMP())",
        ] {
            sqlx::query(statement).execute(&bed.pool).await.expect("inserted");
        }
        let scheduler = service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler");
        wait_for("the old run to be gone", LIMIT, async || {
            let left = bed.count("SELECT COUNT(*) FROM es_sync_execution_log WHERE id = 1").await.expect("a number")
                + bed
                    .count("SELECT COUNT(*) FROM es_sync_stats_hour WHERE hour < '2021-01-01'")
                    .await
                    .expect("a number");
            Ok((left == 0).then_some(()))
        })
        .await
        .expect("pruned");
        for left in [
            "SELECT CAST(SUM(execution_id) AS SIGNED) FROM es_sync_attempt",
            "SELECT CAST(SUM(execution_id) AS SIGNED) FROM es_sync_search",
            "SELECT CAST(SUM(execution_id) AS SIGNED) FROM es_sync_evidence",
        ] {
            assert_eq!(bed.count(left).await.expect("a number"), 2, "{left}");
        }
        scheduler.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn several_schedulers_sum_up_every_ended_run_once() {
    const RUNS: u32 = 300;
    on_bed("rollup", async |bed| {
        sqlx::query(
            "INSERT INTO es_sync_execution_log
                 (task_id, execution_status, execution_time, finished_at, duration_ms, total_hosts, success_count, failed_count)
             WITH RECURSIVE n AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 299)
             SELECT n MOD 3, IF(n MOD 10 = 9, 'running', 'partial'), UTC_TIMESTAMP(3), UTC_TIMESTAMP(3), n, 3, 1, 2 FROM n",
        )
        .execute(&bed.pool)
        .await
        .expect("runs");
        sqlx::query(
            "INSERT INTO es_sync_execution_detail (execution_id, host_ip, sync_status, error_message)
             SELECT run.id, host.ip, IF(host.ip = '10.0.0.3', 'success', 'failed'),
                    IF(host.ip = '10.0.0.3', NULL, CONCAT('the value ', run.id, ' makes no sense'))
             FROM es_sync_execution_log AS run
             CROSS JOIN (SELECT '10.0.0.1' AS ip UNION ALL SELECT '10.0.0.2' UNION ALL SELECT '10.0.0.3') AS host",
        )
        .execute(&bed.pool)
        .await
        .expect("details");
        let mut schedulers = Vec::new();
        for _ in 0..3 {
            schedulers.push(service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler"));
        }
        wait_for("all ended runs to be in the sums", LIMIT, async || {
            let sql = "SELECT COUNT(*) FROM es_sync_execution_log WHERE rolled_up_at IS NULL";
            Ok((bed.count(sql).await.expect("a number") == i64::from(RUNS / 10)).then_some(()))
        })
        .await
        .expect("rolled up");
        for scheduler in schedulers {
            scheduler.stop().await.expect("a quiet end");
        }
        let ended = i64::from(RUNS - RUNS / 10);
        for (sql, expected) in [
            ("SELECT CAST(SUM(runs_partial) AS SIGNED) FROM es_sync_stats_hour WHERE task_id = 0", ended),
            ("SELECT CAST(SUM(runs_partial) AS SIGNED) FROM es_sync_stats_hour WHERE task_id = 1", 90),
            ("SELECT CAST(SUM(hosts_failed) AS SIGNED) FROM es_sync_stats_hour WHERE task_id = 0", ended * 2),
            ("SELECT CAST(SUM(runs) AS SIGNED) FROM es_sync_stats_duration WHERE task_id = 0", ended),
            ("SELECT CAST(MAX(max_duration_ms) AS SIGNED) FROM es_sync_stats_hour", 298),
            ("SELECT CAST(SUM(failures) AS SIGNED) FROM es_sync_stats_failed_host WHERE task_id = 0", ended * 2),
            ("SELECT COUNT(DISTINCT digest) FROM es_sync_stats_error", 1),
            ("SELECT CAST(SUM(hosts) AS SIGNED) FROM es_sync_stats_error WHERE task_id = 0", ended * 2),
        ] {
            assert_eq!(bed.count(sql).await.expect("a number"), expected, "{sql}");
        }
    })
    .await;
}
