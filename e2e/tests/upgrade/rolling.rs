//! A rolling upgrade in mid-run, and the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_testing::bed::{Bed, on_bed_without_schema};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use hostsync_testing::gate::Gate;
use hostsync_testing::once::{assert_each_host_once, assert_no_attempt_spent};
use hostsync_testing::process;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fleet::{Fleet, LIMIT, Release};

/// In the pool: the hosts of each scheduled run.
const POOL: u32 = 40;

/// Hosts of a run by hand: at 20 a search and one search at once for each worker (the manual queue's), each as long as
/// [`SLOW`], it takes two to four minutes.
const BY_HAND: u32 = 4_800;

/// What the door adds to each search while releases change places.
const SLOW: Duration = Duration::from_secs(1);

/// Backlog of all the slow searches, on a busy machine.
const LONG: Duration = Duration::from_mins(5);

/// Seconds between two fires.
const PERIOD: i64 = 2;

#[tokio::test]
async fn an_upgrade_and_the_way_back_in_mid_run_lose_and_double_nothing() {
    on_bed_without_schema("upgrade", async |bed| {
        let (last, this) = (Release::last(), Release::this());
        let (gate, slow_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        last.migrate(&bed).await;
        let hosts = prepare(&bed).await;

        // The last release at work: a fire every other second, and a run by hand that takes long.
        let old = Fleet::start(&last, &bed, &slow_url).await;
        let task = create_task(&old.client).await;
        gate.delay(SLOW);
        let first = old.client.execute("upgrade", &hosts, "2h").await.expect("accepted");
        wait_for_outcomes(&old.client, first, 40).await;

        // The schema first, under the old programs; then the new ones beside them.
        this.migrate(&bed).await;
        let new = Fleet::start(&this, &bed, &slow_url).await;
        wait_for_outcomes_by(&bed, first, &new).await;
        assert_both_show_the_same(&old.client, &new.client, task).await;
        let client = new.client.clone();
        old.stop_one_by_one(async || goes_on(&bed, &client, first, task).await).await;

        // Only new ones.
        gate.delay(Duration::ZERO);
        end_of(&client, first, &hosts).await;

        // And back, on the new schema.
        gate.delay(SLOW);
        let second = client.execute("rollback", &hosts, "2h").await.expect("accepted");
        wait_for_outcomes(&client, second, 40).await;
        let old = Fleet::start(&last, &bed, &slow_url).await;
        wait_for_outcomes_by(&bed, second, &old).await;
        let client = old.client.clone();
        new.stop_one_by_one(async || goes_on(&bed, &client, second, task).await).await;
        gate.delay(Duration::ZERO);
        end_of(&client, second, &hosts).await;

        client.enable_task(task, false).await.expect("disabled");
        wait_for("the end of every run", LONG, async || {
            let going = bed
                .count("SELECT COUNT(*) FROM es_sync_execution_log WHERE execution_status IN ('running', 'waiting')");
            Ok((going.await? == 0).then_some(()))
        })
        .await
        .expect("an end");
        let new = Fleet::start(&this, &bed, &slow_url).await;
        assert_both_show_the_same(&old.client, &new.client, task).await;
        assert_runs(&new.client, task).await;
        assert_no_dead_letter(&this, &bed).await;
        for fleet in [old, new] {
            fleet.stop_one_by_one(async || ()).await;
        }
    })
    .await;
}

/// A pool, documents of all hosts of the run by hand, and the addresses of these.
async fn prepare(bed: &Bed) -> Vec<String> {
    bed.add_to_pool((0..POOL).map(SampleHost)).await.expect("a pool");
    let (step, now) = (TimeDelta::hours(1), Utc::now());
    let hosts = (0..BY_HAND).map(SampleHost);
    bed.index.fill(hosts, now - step * 3, now + step, step, |_| {}).await.expect("documents");
    (0..BY_HAND).map(|n| SampleHost(n).ip()).collect()
}

async fn create_task(client: &Client) -> u64 {
    let body = json!({
        "task_name": "every other second", "cron_expression": "*/2 * * * * *", "query_time_range": "2h",
        "overlap_policy": "allow", "is_enabled": true,
    });
    let answer = client.ok(Method::POST, "/es-sync-tasks", Some(&body)).await.expect("a task");
    answer["task_id"].as_u64().expect("an id")
}

/// Waits until so many hosts of the run have their outcome.
async fn wait_for_outcomes(client: &Client, id: u64, count: u64) {
    wait_for("the run to be under way", LIMIT, async || {
        let log = client.execution(id).await?;
        Ok((log["total_hosts"].as_u64() >= log["pending_count"].as_u64().map(|n| n + count)).then_some(()))
    })
    .await
    .expect("under way");
}

/// Waits until the worker of these has written outcomes of the run beside the other.
async fn wait_for_outcomes_by(bed: &Bed, id: u64, fleet: &Fleet) {
    let count = format!(
        "SELECT COUNT(*) FROM es_sync_execution_detail
         WHERE execution_id = {id} AND sync_status <> 'pending' AND {}",
        fleet.wrote
    );
    wait_for(
        "outcomes by the release that came in",
        LIMIT,
        async || Ok((bed.count(&count).await? >= 40).then_some(())),
    )
    .await
    .expect("outcomes");
}

/// The run goes on by those that are left, and so do the fires.
async fn goes_on(bed: &Bed, client: &Client, id: u64, task: u64) {
    let log = client.execution(id).await.expect("a log");
    assert_eq!(log["execution_status"], "running", "the run ended before its workers changed: {log}");
    let fires = format!("SELECT COUNT(*) FROM es_sync_execution_log WHERE task_id = {task}");
    let before = bed.count(&fires).await.expect("a number");
    wait_for("the next fires", LIMIT, async || Ok((bed.count(&fires).await? >= before + 2).then_some(())))
        .await
        .expect("fires");
}

async fn end_of(client: &Client, id: u64, hosts: &[String]) {
    let log = client.wait_for_end(id, LONG).await.expect("an end");
    assert_each_host_once(client, &log, hosts.len()).await;
    assert_no_attempt_spent(client, id).await;
    assert_eq!((&log["success_count"], &log["not_in_pool_count"]), (&json!(POOL), &json!(BY_HAND - POOL)), "{log}");
}

/// The logs of a task that have ended, by id.
async fn ended(client: &Client, task: u64) -> BTreeMap<u64, Value> {
    let logs = client.execution_logs(task).await.expect("logs");
    logs.into_iter()
        .filter(|log| !log["finished_at"].is_null())
        .map(|log| (log["id"].as_u64().expect("an id"), log))
        .collect()
}

/// Both APIs say the same of every run that had ended at the first look, whoever made it and worked at it.
async fn assert_both_show_the_same(old: &Client, new: &Client, task: u64) {
    let by_old = ended(old, task).await;
    let by_new = ended(new, task).await;
    for (id, log) in &by_old {
        let other = by_new.get(id).unwrap_or_else(|| panic!("the new API does not show execution {id}"));
        for (field, value) in log.as_object().expect("a log") {
            assert_eq!(value, &other[field], "{field} of execution {id}");
        }
    }
}

/// Each time of the schedule has exactly one row, from the first fire to the last, and what ran did each host once.
async fn assert_runs(client: &Client, task: u64) {
    let logs = client.execution_logs(task).await.expect("logs");
    let mut fires: Vec<DateTime<Utc>> =
        logs.iter().map(|log| log["scheduled_for"].as_str().expect("a time").parse().expect("a time")).collect();
    fires.sort();
    for pair in fires.windows(2) {
        assert_eq!(pair[1] - pair[0], TimeDelta::seconds(PERIOD), "between {} and {}", pair[0], pair[1]);
    }
    let (mut ran, mut skipped) = (0, 0);
    for log in &logs {
        if log["execution_status"] == "skipped" {
            let reason = log["error_message"].as_str().unwrap_or_default();
            assert!(reason.starts_with("missed: "), "{log}");
            skipped += 1;
            continue;
        }
        ran += 1;
        assert_eq!(log["execution_status"], "success", "{log}");
        assert_each_host_once(client, log, POOL as usize).await;
        assert_no_attempt_spent(client, log["id"].as_u64().expect("an id")).await;
    }
    println!("{} fires: {ran} ran, {skipped} skipped with their reason", fires.len());
    assert!(ran > skipped, "most fires ran: {ran} of {}", fires.len());
}

async fn assert_no_dead_letter(release: &Release, bed: &Bed) {
    let program = release.program("hostsync-api");
    let (code, said) =
        process::run_command(&program, &["dead-letters", "list"], &bed.environment(&[])).await.expect("an end");
    assert_eq!((code, said.as_str()), (0, "there are no dead letters\n"));
}
