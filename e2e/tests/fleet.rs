//! Several of each service at once.

#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation, reason = "tests make their documents now")]

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::service;
use hostsync_testing::bed::on_bed;
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;

const LIMIT: Duration = Duration::from_mins(1);

/// How long the task is enabled; it fires every two seconds.
const FIRES: usize = 30;

/// How often a task is changed to see whether that takes effect at once.
const CHANGES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_makes_each_fire_once_and_each_host_once_in_it() {
    on_bed("fleet", async |bed| {
        let hosts: Vec<SampleHost> = (0..25).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        bed.index_last_day(hosts.iter().copied(), TimeDelta::minutes(15)).await.expect("documents");
        let config = || bed.config(&[]).expect("a configuration");
        let mut services = Vec::new();
        for _ in 0..2 {
            services.push(service::api(config()).await.expect("an API"));
            services.push(service::scheduler(config()).await.expect("a scheduler"));
        }
        for _ in 0..3 {
            services.push(service::worker(config()).await.expect("a worker"));
        }
        let first = Client::new(&services[0].url());
        let second = Client::new(&services[2].url());
        first.wait_until_ready(LIMIT).await.expect("ready");
        second.wait_until_ready(LIMIT).await.expect("ready");

        // A run that takes long on a busy machine keeps no fire from running.
        let body = serde_json::json!({"task_name": "fleet", "cron_expression": "*/2 * * * * *",
            "query_time_range": "1h", "overlap_policy": "allow", "is_enabled": true});
        let created = first.ok(reqwest::Method::POST, "/es-sync-tasks", Some(&body)).await.expect("created");
        let task = created["task_id"].as_u64().expect("an id");
        wait_for("30 fires", Duration::from_secs(90), async || {
            Ok((second.execution_logs(task).await?.len() >= FIRES).then_some(()))
        })
        .await
        .expect("30 fires");
        second.enable_task(task, false).await.expect("disabled");

        let logs = first.execution_logs(task).await.expect("logs");
        let fires: Vec<i64> = {
            let mut fires: Vec<i64> = logs
                .iter()
                .map(|log| {
                    let at: chrono::DateTime<chrono::Utc> =
                        log["scheduled_for"].as_str().expect("a time").parse().expect("a time");
                    at.timestamp()
                })
                .collect();
            fires.sort_unstable();
            fires
        };
        // Each even second once: none lost, none twice.
        assert!(fires.windows(2).all(|pair| pair[1] - pair[0] == 2), "{fires:?}");
        assert!(fires.iter().all(|at| at % 2 == 0));
        let skipped = logs.iter().filter(|log| log["execution_status"] == "skipped").count();
        assert_eq!(skipped, 0, "{logs:?}");

        for log in &logs {
            let id = log["id"].as_u64().expect("an id");
            let ended = first.wait_for_end(id, LIMIT).await.expect("an end");
            assert_eq!(ended["execution_status"], "success", "{ended}");
            assert_eq!((&ended["total_hosts"], &ended["success_count"]), (&25.into(), &25.into()));
            let seen: Vec<String> = first
                .details(id)
                .await
                .expect("details")
                .iter()
                .map(|detail| detail["host_ip"].as_str().expect("an address").to_owned())
                .collect();
            assert_eq!(seen.len(), 25);
            assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 25);
        }
        for service in services {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_changed_task_takes_effect_within_a_second() {
    on_bed("change", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        wait_for("the scheduler to be ready", LIMIT, async || {
            Ok(reqwest::get(format!("{}/readyz", scheduler.url())).await?.status().is_success().then_some(()))
        })
        .await
        .expect("ready");
        let task = client.create_enabled_task("change", "0 0 0 1 1 *", "1h").await.expect("a task");
        // The scheduler found the change in time if the very first fire of the new expression is not late. A busy
        // machine may make one late; what is wrong makes all of them late.
        let mut late_ms = Vec::new();
        while late_ms.len() < CHANGES && !late_ms.iter().any(|late| (0..1_000).contains(late)) {
            let before = client.execution_logs(task).await.expect("logs").len();
            let body = serde_json::json!({"cron_expression": "@every 1s"});
            client.ok(reqwest::Method::PUT, &format!("/es-sync-tasks/{task}"), Some(&body)).await.expect("changed");
            client.enable_task(task, true).await.expect("enabled");
            let mut logs = wait_for("a fire", LIMIT, async || {
                let logs = client.execution_logs(task).await?;
                Ok((logs.len() > before).then_some(logs))
            })
            .await
            .expect("a fire");
            client.enable_task(task, false).await.expect("disabled");
            let first = logs.swap_remove(logs.len() - before - 1);
            let (late,): (i64,) = sqlx::query_as(
                "SELECT TIMESTAMPDIFF(MICROSECOND, scheduled_for, created_at) DIV 1000
                 FROM es_sync_execution_log WHERE id = ?",
            )
            .bind(first["id"].as_u64())
            .fetch_one(&bed.pool)
            .await
            .expect("a row");
            late_ms.push(late);
        }
        assert!(late_ms.iter().any(|late| (0..1_000).contains(late)), "{late_ms:?} ms late");
        let fires = client.execution_logs(task).await.expect("logs").len();
        // Whatever was under way when it was disabled has been made; nothing more comes.
        wait_for("two seconds to pass by the database's clock", LIMIT, async || {
            let (passed,): (bool,) = sqlx::query_as(
                "SELECT UTC_TIMESTAMP(3) > (SELECT updated_at FROM es_sync_task_config WHERE id = ?) + INTERVAL 2 SECOND",
            )
            .bind(task)
            .fetch_one(&bed.pool)
            .await?;
            Ok(passed.then_some(()))
        })
        .await
        .expect("time passes");
        assert!(client.execution_logs(task).await.expect("logs").len() <= fires + 1);
        scheduler.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}
