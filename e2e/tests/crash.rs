//! Processes that are killed in the middle of their work: the run still ends by itself.

#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation, reason = "tests make their documents now")]

use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::service;
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use hostsync_testing::gate::Gate;
use hostsync_testing::once::assert_each_host_once;
use hostsync_testing::process::Process;
use serde_json::Value;

/// Leases run for 30 s; a run that lost its publisher waits for that.
const LIMIT: Duration = Duration::from_mins(2);

async fn pool_with_documents(bed: &Bed, hosts: u32) -> Vec<String> {
    let hosts: Vec<SampleHost> = (0..hosts).map(SampleHost).collect();
    bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
    bed.index_last_day(hosts.iter().copied(), TimeDelta::hours(1)).await.expect("documents");
    hosts.iter().map(|host| host.ip()).collect()
}

#[tokio::test]
async fn a_worker_that_is_killed_in_mid_run_costs_nothing() {
    on_bed("killed_worker", async |bed| {
        let hosts = pool_with_documents(&bed, 300).await;
        let (gate, slow_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        let small = ("HOSTSYNC_WORKER__BATCH_HOSTS", "20");
        let through_gate = ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", slow_url.as_str());
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let id = client.execute("killed", &hosts, "6h").await.expect("accepted");

        gate.delay(Duration::from_millis(200));
        let victim = Process::start("hostsync-worker", &bed.environment(&[small, through_gate])).expect("a worker");
        wait_for("the run to be half-way", LIMIT, async || {
            Ok((client.execution(id).await?["success_count"].as_u64() >= Some(40)).then_some(()))
        })
        .await
        .expect("half-way");
        victim.kill().await.expect("killed");
        let half = client.execution(id).await.expect("a log");
        assert_eq!(half["execution_status"], "running", "it was killed too late: {half}");

        let heir = Process::start("hostsync-worker", &bed.environment(&[small])).expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "success", "{log}");
        assert_each_host_once(&client, &log, 300).await;
        let attempts: Vec<u64> = client
            .details(id)
            .await
            .expect("details")
            .iter()
            .map(|detail| detail["attempts"].as_u64().expect("a number"))
            .collect();
        assert!(attempts.iter().all(|attempts| *attempts == 1), "no attempt was spent: {attempts:?}");
        assert_eq!(heir.terminate(LIMIT).await.expect("an end"), 0);
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_scheduler_that_is_killed_between_commit_and_publish_costs_nothing() {
    on_bed("killed_scheduler", async |bed| {
        pool_with_documents(&bed, 50).await;
        // A broker that accepts connections and never answers: the scheduler commits, and then hangs in publishing.
        let (gate, mute_url) = Gate::before(&bed.servers.rabbitmq_url).await.expect("a door");
        gate.mute(true);
        let mute = bed.environment(&[("HOSTSYNC_RABBITMQ__URL", mute_url.as_str())]);
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let victim = Process::start("hostsync-scheduler", &mute).expect("a scheduler");
        let task = client.create_enabled_task("killed", "* * * * * *", "6h").await.expect("a task");
        let prepared = wait_for("a run that is prepared and not published", LIMIT, async || {
            let row: Option<(u64,)> = sqlx::query_as(
                "SELECT id FROM es_sync_execution_log
                 WHERE prepared_at IS NOT NULL AND published_watermark = 0 AND execution_status = 'running' LIMIT 1",
            )
            .fetch_optional(&bed.pool)
            .await?;
            Ok(row)
        })
        .await
        .expect("a run");
        client.enable_task(task, false).await.expect("disabled");
        victim.kill().await.expect("killed");

        let scheduler = Process::start("hostsync-scheduler", &bed.environment(&[])).expect("a scheduler");
        let worker = Process::start("hostsync-worker", &bed.environment(&[])).expect("a worker");
        let log = client.wait_for_end(prepared.0, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "success", "{log}");
        assert_each_host_once(&client, &log, 50).await;
        for process in [scheduler, worker] {
            assert_eq!(process.terminate(LIMIT).await.expect("an end"), 0);
        }
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_scheduler_that_is_killed_while_it_prepares_is_continued_by_another() {
    on_bed("killed_preparer", async |bed| {
        let hosts = 50;
        pool_with_documents(&bed, hosts).await;
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        // What a scheduler leaves that dies after its first chunk: some rows, the cursor, and a lease that has run out.
        let task = client.create_enabled_task("killed", "0 0 0 1 1 *", "6h").await.expect("a task");
        let scope = "UTC_TIMESTAMP(3) - INTERVAL 6 HOUR, UTC_TIMESTAMP(3), UTC_DATE(), 'default', ?, 'zabbix', '6h'";
        let inserted = sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO es_sync_execution_log
                 (task_id, task_name, `trigger`, execution_status, window_from, window_to, mon_date, es_endpoint,
                  es_index_pattern, mapping, query_time_range, prepare_cursor, lease_token, lease_until)
             VALUES (?, 'killed', 'schedule', 'running', {scope},
                     (SELECT id FROM hosts_pool ORDER BY id LIMIT 1 OFFSET 19), 42,
                     UTC_TIMESTAMP(3) - INTERVAL 1 SECOND)"
        )))
        .bind(task)
        .bind(&bed.index.name)
        .execute(&bed.pool)
        .await
        .expect("a run");
        let id = inserted.last_insert_id();
        sqlx::query(
            "INSERT INTO es_sync_execution_detail (execution_id, host_ip, host_name, sync_status)
             SELECT ?, host_ip, host_name, 'pending' FROM hosts_pool ORDER BY id LIMIT 20",
        )
        .bind(id)
        .execute(&bed.pool)
        .await
        .expect("rows");

        let config = || bed.config(&[]).expect("a configuration");
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        let worker = service::worker(config()).await.expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_each_host_once(&client, &log, hosts as usize).await;
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_ends_within_its_grace_and_does_nothing_twice() {
    on_bed("stopped_worker", async |bed| {
        let hosts = pool_with_documents(&bed, 300).await;
        let (gate, slow_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        let small = ("HOSTSYNC_WORKER__BATCH_HOSTS", "20");
        let slow = ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", slow_url.as_str());
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let id = client.execute("stopped", &hosts, "6h").await.expect("accepted");
        gate.delay(Duration::from_millis(200));
        let first = Process::start("hostsync-worker", &bed.environment(&[small, slow])).expect("a worker");
        wait_for("the run to be under way", LIMIT, async || {
            Ok((client.execution(id).await?["success_count"].as_u64() >= Some(40)).then_some(()))
        })
        .await
        .expect("under way");
        assert_eq!(first.terminate(Duration::from_secs(45)).await.expect("an end within the grace period"), 0);
        let half = client.execution(id).await.expect("a log");
        assert_eq!(half["execution_status"], "running", "it was stopped too late: {half}");
        let second = Process::start("hostsync-worker", &bed.environment(&[small])).expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_each_host_once(&client, &log, 300).await;
        let spent: Vec<Value> =
            client.details(id).await.expect("details").into_iter().filter(|detail| detail["attempts"] != 1).collect();
        assert!(spent.is_empty(), "attempts were spent: {spent:?}");
        assert_eq!(second.terminate(LIMIT).await.expect("an end"), 0);
        api.stop().await.expect("a quiet end");
    })
    .await;
}
