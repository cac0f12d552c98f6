//! How fresh hosts are: what runs leave behind for it, what clears it, and what the schedulers count.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_e2e::service::{self, RunningService};
use hostsync_model::execution::{ExecutionId, SyncStatus};
use hostsync_store::tables::freshness;
use hostsync_store::tables::host_states::{self, Unsuccessful};
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(2);

/// Fires so rarely that a test sees none.
const NEVER: &str = "0 0 0 1 1 *";

async fn api(bed: &Bed) -> (RunningService, Client) {
    let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
    let client = Client::new(&api.url());
    client.wait_until_ready(LIMIT).await.expect("ready");
    (api, client)
}

async fn task(client: &Client, name: &str) -> u64 {
    let body = json!({"task_name": name, "cron_expression": NEVER, "query_time_range": "1h", "freshness_target": "1h",
                      "is_enabled": true});
    client.ok(Method::POST, "/es-sync-tasks", Some(&body)).await.expect("a task")["task_id"].as_u64().expect("an id")
}

/// Runs a task to its end.
async fn run(client: &Client, task: u64) -> Value {
    let path = format!("/es-sync-tasks/{task}/execute");
    let id = client.ok(Method::POST, &path, None).await.expect("accepted")["execution_id"].as_u64().expect("an id");
    client.wait_for_end(id, LIMIT).await.expect("an end")
}

async fn get(client: &Client, path: &str) -> Value {
    client.ok(Method::GET, path, None).await.expect("an answer")
}

async fn states(bed: &Bed) -> i64 {
    bed.count("SELECT COUNT(*) FROM es_sync_host_state").await.expect("a number")
}

/// What the schedulers count next for a task (0: the best one), once they have.
async fn counted(bed: &Bed, client: &Client, query: &str) -> Value {
    let changed: DateTime<Utc> =
        sqlx::query_scalar("SELECT UTC_TIMESTAMP(3)").fetch_one(&bed.pool).await.expect("the time");
    // Due at once.
    bed.execute("UPDATE es_sync_freshness SET as_of = NULL, sweep_until = NULL").await;
    wait_for("hosts to be counted", LIMIT, async || {
        let answer = client.ok(Method::GET, &format!("/es-sync-freshness?limit=1{query}"), None).await?;
        let as_of: Option<DateTime<Utc>> = answer["as_of"].as_str().map(str::parse).transpose()?;
        Ok(as_of.is_some_and(|as_of| as_of >= changed).then(|| answer["counts"].clone()))
    })
    .await
    .expect("counted")
}

fn counts(fresh: u64, late: u64, stale: u64, never: u64) -> Value {
    json!({"fresh": fresh, "late": late, "stale": stale, "never": never})
}

#[tokio::test]
async fn a_host_that_does_not_succeed_has_a_row_until_any_run_writes_it() {
    on_bed("fresh_rows", async |bed| {
        let hosts: Vec<SampleHost> = (0..12).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        bed.index_last_day(hosts[..10].iter().copied(), TimeDelta::minutes(5)).await.expect("documents");
        let (api, client) = api(&bed).await;
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        let scheduler = service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler");
        let id = task(&client, "one").await;
        let first = run(&client, id).await;
        assert_eq!((&first["success_count"], &first["no_data_count"]), (&json!(10), &json!(2)), "{first}");
        assert_eq!(states(&bed).await, 2, "a healthy host has no row");
        run(&client, id).await;

        let failing = get(&client, &format!("/es-sync-freshness?task_id={id}&state=never")).await["hosts"].clone();
        assert_eq!(failing.as_array().map(Vec::len), Some(2), "{failing}");
        assert_eq!((&failing[0]["last_status"], &failing[0]["failures_in_a_row"]), (&json!("no_data"), &json!(2)));
        let healthy =
            get(&client, &format!("/es-sync-freshness?task_id={id}&state=fresh&host={}", hosts[0].ip())).await;
        let second = get(&client, &format!("/es-sync-freshness?task_id={id}&limit=1")).await;
        assert_eq!(healthy["hosts"][0]["fresh_since"], second["hosts"][0]["fresh_since"]);

        // A run without a task clears what it writes, and leaves no row where it fails.
        bed.index_last_day(hosts[10..11].iter().copied(), TimeDelta::minutes(5)).await.expect("documents");
        let asked: Vec<String> = hosts[10..].iter().map(|host| host.ip()).collect();
        let by_hand = client.execute("by hand", &asked, "1h").await.expect("accepted");
        client.wait_for_end(by_hand, LIMIT).await.expect("an end");
        let left: Vec<(String, u32)> = sqlx::query_as("SELECT host_ip, failures_in_a_row FROM es_sync_host_state")
            .fetch_all(&bed.pool)
            .await
            .expect("rows");
        assert_eq!(left, [(hosts[11].ip(), 2)]);

        // What a host was fresh by before it failed stays with it; a host that came later has never been synced.
        bed.add_to_pool([SampleHost(12)]).await.expect("a pool");
        bed.execute(format!(
            "INSERT INTO es_sync_host_state SELECT host_ip, {id}, id, 'failed', 'x', UTC_TIMESTAMP(3), 1, 1,
                 UTC_TIMESTAMP(3), UTC_TIMESTAMP(3) - INTERVAL 90 MINUTE FROM hosts_pool WHERE host_ip = '{}'",
            hosts[0].ip()
        ))
        .await;
        assert_eq!(counted(&bed, &client, &format!("&task_id={id}")).await, counts(10, 1, 0, 2));
        assert_eq!(counted(&bed, &client, "").await, counts(10, 1, 0, 2));
        let days = "SELECT COUNT(*) FROM es_sync_freshness_day WHERE fresh_hosts = 10 AND late_hosts = 1";
        assert_eq!(bed.count(days).await.expect("a number"), 2, "of the task and of the best one");

        // Soft-deleted and muted hosts are not counted.
        bed.execute(format!("UPDATE hosts_pool SET is_deleted = 1 WHERE host_ip = '{}'", hosts[11].ip())).await;
        let body = json!({"until": (Utc::now() + TimeDelta::hours(1)).to_rfc3339()});
        for muted in [hosts[0], hosts[5], SampleHost(12)] {
            client.ok(Method::POST, &format!("/es-sync-hosts/{}/mute", muted.ip()), Some(&body)).await.expect("muted");
        }
        assert_eq!(counted(&bed, &client, &format!("&task_id={id}")).await, counts(9, 0, 0, 0));
        assert_eq!(counted(&bed, &client, "").await, counts(9, 0, 0, 0));

        // As the last run grows old, all that have no row do; pruning the run changes nothing.
        bed.execute("UPDATE es_sync_freshness SET window_to = UTC_TIMESTAMP(3) - INTERVAL 90 MINUTE WHERE task_id > 0")
            .await;
        bed.execute("DELETE FROM es_sync_execution_log").await;
        assert_eq!(counted(&bed, &client, &format!("&task_id={id}")).await, counts(0, 9, 0, 0));
        // A task that is gone takes its rows with it, and the rows of a host that the pool has no more go too.
        let other = task(&client, "other").await;
        bed.execute(format!("UPDATE es_sync_host_state SET task_id = {other} WHERE host_ip = '{}'", hosts[0].ip()))
            .await;
        bed.execute(format!("DELETE FROM hosts_pool WHERE host_ip = '{}'", hosts[11].ip())).await;
        client.ok(Method::DELETE, &format!("/es-sync-tasks/{other}"), None).await.expect("deleted");
        counted(&bed, &client, "").await;
        assert_eq!(states(&bed).await, 0);
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_that_is_cancelled_or_fails_as_a_whole_is_told_apart() {
    on_bed("fresh_closed", async |bed| {
        let hosts: Vec<SampleHost> = (0..3).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let scheduler = service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler");
        let id = task(&client, "one").await;
        bed.execute(format!(
            "INSERT INTO es_sync_freshness (task_id, window_to, pool_cursor)
             VALUES ({id}, UTC_TIMESTAMP(3) - INTERVAL 30 MINUTE, 2)"
        ))
        .await;
        let begin = async || {
            let path = format!("/es-sync-tasks/{id}/execute");
            client.ok(Method::POST, &path, None).await.expect("accepted")["execution_id"].as_u64().expect("an id")
        };
        // Without a worker nothing is reached: the hosts are as they were.
        let cancelled = begin().await;
        let path = format!("/es-sync-executions/{cancelled}/cancel");
        client.ok(Method::POST, &path, Some(&json!({}))).await.expect("cancelled");
        client.wait_for_end(cancelled, LIMIT).await.expect("an end");
        assert_eq!(states(&bed).await, 0);
        assert_eq!(counted(&bed, &client, &format!("&task_id={id}")).await, counts(2, 0, 0, 1));
        // A run that fails as a whole has failed each of them.
        let failed = begin().await;
        wait_for("it to be prepared", LIMIT, async || {
            let log = client.execution(failed).await?;
            Ok((log["total_hosts"] == 3).then_some(()))
        })
        .await
        .expect("prepared");
        bed.execute(format!(
            "UPDATE es_sync_execution_log SET closing_status = 'failed', closing_reason = 'the source is closed'
             WHERE id = {failed}"
        ))
        .await;
        client.wait_for_end(failed, LIMIT).await.expect("an end");
        let listed = get(&client, &format!("/es-sync-freshness?task_id={id}")).await["hosts"].clone();
        for (host, state) in listed.as_array().expect("hosts").iter().zip(["fresh", "fresh", "never"]) {
            assert_eq!(
                (&host["state"], &host["last_error"]),
                (&json!(state), &json!("the source is closed")),
                "{host}"
            );
            assert_eq!((&host["last_status"], &host["last_execution_id"]), (&json!("failed"), &json!(failed)));
        }
        assert_eq!(counted(&bed, &client, &format!("&task_id={id}")).await, counts(2, 0, 0, 1));
        for service in [scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

/// A run of task 7 that reads up to so many minutes ago.
async fn insert_run(bed: &Bed, id: u64, minutes: u32, retry_of: Option<u64>) {
    let retry_of = retry_of.map_or("NULL".to_owned(), |of| of.to_string());
    bed.execute(format!(
        "INSERT INTO es_sync_execution_log (id, task_id, task_name, execution_status, window_from, window_to, prepare_cursor,
             success_count, retry_of)
         VALUES ({id}, 7, 't', 'success', '2026-01-01', DATE_SUB('2026-03-01 12:00', INTERVAL {minutes} MINUTE), {id}, 5, {retry_of})"
    ))
    .await;
}

#[tokio::test]
async fn a_retry_of_an_older_window_neither_makes_a_host_fresher_than_it_is_nor_staler() {
    on_bed("fresh_retry", async |bed| {
        for (id, minutes, of) in
            [(10, 120, None), (11, 60, None), (12, 0, None), (13, 120, Some(10)), (14, 0, Some(12))]
        {
            insert_run(&bed, id, minutes, of).await;
        }
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let note = async |connection: &mut sqlx::MySqlConnection, run: u64| {
            let host = Unsuccessful {
                host_ip: "10.0.0.1".to_owned(),
                pool_id: 1,
                status: SyncStatus::Failed,
                error: Some("x".repeat(600)),
            };
            host_states::note(connection, ExecutionId(run), vec![host]).await.expect("noted");
        };
        let row = async || -> Option<(u32, u64, Option<String>, u32)> {
            sqlx::query_as(
                "SELECT failures_in_a_row, last_execution_id, DATE_FORMAT(fresh_since, '%H:%i'),
                        CAST(CHAR_LENGTH(last_error) AS UNSIGNED) FROM es_sync_host_state",
            )
            .fetch_optional(&bed.pool)
            .await
            .expect("a row")
        };
        let window = async |run: u64| -> DateTime<Utc> {
            sqlx::query_scalar("SELECT window_to FROM es_sync_execution_log WHERE id = ?")
                .bind(run)
                .fetch_one(&bed.pool)
                .await
                .expect("a window")
        };
        // The first run brought the host's values, the second one not.
        freshness::run_ended(&mut connection, ExecutionId(10)).await.expect("ended");
        note(&mut connection, 11).await;
        freshness::run_ended(&mut connection, ExecutionId(11)).await.expect("ended");
        assert_eq!(row().await, Some((1, 11, Some("10:00".to_owned()), 500)));
        // The same run once more, as when a batch is written again, counts once.
        note(&mut connection, 11).await;
        assert_eq!(row().await.map(|row| row.0), Some(1));
        // A retry of the first run says nothing of what came after it.
        note(&mut connection, 13).await;
        assert_eq!(row().await.map(|row| (row.0, row.1)), Some((1, 11)));
        note(&mut connection, 12).await;
        note(&mut connection, 14).await;
        assert_eq!(row().await.map(|row| (row.0, row.1)), Some((3, 14)));
        // A success in an older window does not make the host as fresh as the last run; it tells how fresh it is.
        host_states::clear(&mut connection, &[1], window(11).await).await.expect("cleared");
        assert_eq!(row().await.and_then(|row| row.2), Some("11:00".to_owned()));
        host_states::clear(&mut connection, &[1], window(10).await).await.expect("cleared");
        assert_eq!(row().await.and_then(|row| row.2), Some("11:00".to_owned()), "never lowered");
        host_states::clear(&mut connection, &[1, 2], window(14).await).await.expect("cleared");
        assert_eq!(row().await, None);
        // A retry and a run that was outrun do not move what the task is fresh by.
        freshness::run_ended(&mut connection, ExecutionId(12)).await.expect("ended");
        for late in [10, 13, 14] {
            freshness::run_ended(&mut connection, ExecutionId(late)).await.expect("ended");
        }
        let task = freshness::rows(&mut connection, None).await.expect("rows");
        let known = task.values().next().expect("a row");
        assert_eq!((known.window_to, known.pool_cursor), (Some(window(12).await), 12));
    })
    .await;
}

#[tokio::test]
async fn the_counts_of_a_day_are_kept_for_400_days() {
    on_bed("fresh_days", async |bed| {
        bed.execute(
            "INSERT INTO es_sync_freshness_day
             SELECT 7, UTC_DATE() - INTERVAL n DAY, 1, 0, 0, 0
             FROM (SELECT 1 AS n UNION ALL SELECT 399 UNION ALL SELECT 402 UNION ALL SELECT 600) AS days",
        )
        .await;
        bed.execute(
            "INSERT INTO es_sync_host_mute VALUES
             ('10.0.0.1', 1, UTC_TIMESTAMP(3) - INTERVAL 3 DAY, '', 'x', UTC_TIMESTAMP(3)),
             ('10.0.0.2', 2, UTC_TIMESTAMP(3) + INTERVAL 3 DAY, '', 'x', UTC_TIMESTAMP(3))",
        )
        .await;
        let scheduler = service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler");
        wait_for("old days and mutes to be pruned", LIMIT, async || {
            let days = bed.count("SELECT COUNT(*) FROM es_sync_freshness_day WHERE task_id = 7").await?;
            Ok((days == 2 && bed.count("SELECT COUNT(*) FROM es_sync_host_mute").await? == 1).then_some(()))
        })
        .await
        .expect("pruned");
        scheduler.stop().await.expect("a quiet end");
    })
    .await;
}
