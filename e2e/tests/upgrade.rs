//! An upgrade while everything is at work: the programs of the last release and the present ones side by side.
//!
//! `make test-upgrade` builds the last release and runs this.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_e2e::bed::{Bed, on_bed_without_schema};
use hostsync_e2e::client::{Client, wait_for};
use hostsync_e2e::documents::SampleHost;
use hostsync_e2e::gate::Gate;
use hostsync_e2e::process::{Process, binary, run_command};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{FromRow, MySqlPool};

const LIMIT: Duration = Duration::from_mins(3);

/// Hosts of the pool, which the task runs over, and of each run by hand.
const POOL: u32 = 100;
const BY_HAND: u32 = 5_000;

/// Seconds between two fires.
const PERIOD: i64 = 2;

/// The folder with the programs of the last release.
fn last_release() -> PathBuf {
    let folder = std::env::var_os("HOSTSYNC_PREVIOUS_RELEASE").expect("run this by `make test-upgrade`");
    PathBuf::from(folder)
}

/// The folder with the present programs.
fn present() -> PathBuf {
    binary("hostsync-api").expect("built").parent().expect("a folder").to_owned()
}

/// One release at work: an API, a scheduler and two workers.
struct Release {
    client: Client,
    api: Process,
    scheduler: Process,
    workers: Vec<Process>,
}

impl Release {
    /// Starts it and waits until all of it is ready.
    async fn start(folder: &Path, bed: &Bed, search_url: &str) -> Self {
        let start = async |name: &str, variable: &str| {
            let address = free_address().await;
            let more = [
                (variable, address.as_str()),
                ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", search_url),
                ("HOSTSYNC_WORKER__BATCH_HOSTS", "50"),
                ("HOSTSYNC_TELEMETRY__LOG_LEVEL", "warn"),
            ];
            let process = Process::start_program(&folder.join(name), &bed.environment(&more)).expect(name);
            let url = format!("http://{address}");
            wait_for(&format!("{name} to be ready"), LIMIT, async || {
                let answer = reqwest::get(format!("{url}/readyz")).await;
                Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
            })
            .await
            .expect("ready");
            (process, url)
        };
        let (api, url) = start("hostsync-api", "HOSTSYNC_API__LISTEN").await;
        let (scheduler, _) = start("hostsync-scheduler", "HOSTSYNC_SCHEDULER__LISTEN").await;
        let mut workers = Vec::new();
        for _ in 0..2 {
            workers.push(start("hostsync-worker", "HOSTSYNC_WORKER__LISTEN").await.0);
        }
        Self { client: Client::new(&url), api, scheduler, workers }
    }

    /// Stops it piece by piece, as a rolling upgrade does; each piece ends by itself.
    async fn stop(self) {
        for process in self.workers.into_iter().chain([self.scheduler, self.api]) {
            assert_eq!(process.terminate(Duration::from_mins(1)).await.expect("an end within its grace period"), 0);
        }
    }
}

async fn free_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").to_string()
}

async fn migrate(folder: &Path, bed: &Bed) {
    let (code, said) =
        run_command(&folder.join("hostsync-api"), &["migrate"], &bed.environment(&[])).await.expect("an end");
    assert_eq!(code, 0, "{said}");
}

/// A run by hand over [`BY_HAND`] hosts, most of which the pool does not know.
async fn run_by_hand(release: &Release, name: &str) -> u64 {
    let hosts: Vec<String> = (0..BY_HAND).map(|n| SampleHost(n).ip()).collect();
    release.client.execute(name, &hosts, "6h").await.expect("accepted")
}

/// Hosts of a run that have no outcome yet.
async fn pending(release: &Release, id: u64) -> u64 {
    release.client.execution(id).await.expect("a log")["pending_count"].as_u64().expect("a number")
}

async fn wait_for_outcomes(release: &Release, id: u64) {
    wait_for("the first outcomes", LIMIT, async || {
        let log = release.client.execution(id).await?;
        Ok((log["pending_count"].as_u64() < log["total_hosts"].as_u64()).then_some(()))
    })
    .await
    .expect("outcomes");
}

/// Waits for so many fires more.
async fn wait_for_fires(pool: &MySqlPool, more: i64) {
    let count = async || -> anyhow::Result<i64> {
        let sql = "SELECT COUNT(*) FROM es_sync_execution_log WHERE scheduled_for IS NOT NULL";
        Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
    };
    let before = count().await.expect("a number");
    wait_for("fires", LIMIT, async || Ok((count().await? >= before + more).then_some(()))).await.expect("fires");
}

/// What an execution says of itself and what its details say.
#[derive(Debug, FromRow)]
struct Counted {
    id: u64,
    execution_status: String,
    scheduled_for: Option<DateTime<Utc>>,
    total_hosts: u32,
    outcomes: u32,
    details: i64,
    open: i64,
    attempts: Option<i64>,
    differ: i64,
}

async fn executions(pool: &MySqlPool) -> Vec<Counted> {
    sqlx::query_as(
        "SELECT CAST(run.id AS UNSIGNED) AS id, execution_status, scheduled_for, total_hosts,
                CAST(success_count + failed_count + no_data_count + not_in_pool_count + cancelled_count AS UNSIGNED)
                    AS outcomes,
                COUNT(detail.id) AS details,
                COUNT(CASE WHEN detail.sync_status = 'pending' THEN 1 END) AS open,
                MAX(CAST(detail.attempts AS SIGNED)) AS attempts,
                CAST(ABS(CAST(success_count AS SIGNED) - COUNT(CASE WHEN detail.sync_status = 'success' THEN 1 END))
                    + ABS(CAST(not_in_pool_count AS SIGNED)
                          - COUNT(CASE WHEN detail.sync_status = 'not_in_pool' THEN 1 END)) AS SIGNED) AS differ
         FROM es_sync_execution_log AS run
         LEFT JOIN es_sync_execution_detail AS detail ON detail.execution_id = run.id
         GROUP BY run.id ORDER BY run.id",
    )
    .fetch_all(pool)
    .await
    .expect("executions")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_and_the_way_back_lose_nothing_and_do_nothing_twice() {
    on_bed_without_schema("upgrade", async |bed| {
        let (last, present) = (last_release(), present());
        let (gate, search_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.delay(Duration::from_millis(200));
        migrate(&last, &bed).await;
        bed.add_to_pool((0..POOL).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..POOL).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");

        let old = Release::start(&last, &bed, &search_url).await;
        let body = json!({"task_name": "upgrade", "cron_expression": "*/2 * * * * *", "query_time_range": "6h",
                          "overlap_policy": "allow", "is_enabled": true});
        let task = old.client.ok(Method::POST, "/es-sync-tasks", Some(&body)).await.expect("a task");
        let task = task["task_id"].as_u64().expect("an id");
        wait_for_fires(&bed.pool, 2).await;
        let begun_by_old = run_by_hand(&old, "begun by the last release").await;
        wait_for_outcomes(&old, begun_by_old).await;

        // The schema first, under the old programs.
        migrate(&present, &bed).await;
        let new = Release::start(&present, &bed, &search_url).await;
        let made_by_new = run_by_hand(&new, "made by the new API").await;
        let made_by_old = run_by_hand(&old, "made by the old API").await;
        wait_for_fires(&bed.pool, 2).await;
        // Each API shows what the other one made.
        assert_eq!(new.client.execution(made_by_old).await.expect("a log")["task_name"], "made by the old API");
        assert_eq!(old.client.execution(made_by_new).await.expect("a log")["task_name"], "made by the new API");
        assert!(pending(&new, made_by_old).await > 0, "the old programs are stopped in the middle of runs");
        old.stop().await;
        wait_for_fires(&bed.pool, 2).await;

        // And back: the programs of the last release on the new schema.
        let begun_by_new = run_by_hand(&new, "begun by the new release").await;
        wait_for_outcomes(&new, begun_by_new).await;
        let old = Release::start(&last, &bed, &search_url).await;
        assert!(pending(&old, begun_by_new).await > 0, "the new programs are stopped in the middle of a run");
        new.stop().await;
        let after = run_by_hand(&old, "after the way back").await;
        wait_for_fires(&bed.pool, 2).await;
        gate.delay(Duration::ZERO);
        old.client.enable_task(task, false).await.expect("disabled");
        let runs = [begun_by_old, made_by_new, made_by_old, begun_by_new, after];
        for id in runs {
            let log = old.client.wait_for_end(id, LIMIT).await.expect("an end");
            assert_eq!((&log["success_count"], &log["failed_count"]), (&json!(POOL), &json!(0)), "{log}");
        }
        wait_for("every run to end", LIMIT, async || {
            Ok(executions(&bed.pool).await.iter().all(|run| run.execution_status != "running").then_some(()))
        })
        .await
        .expect("ended");

        let all = executions(&bed.pool).await;
        for run in &all {
            let hosts = if runs.contains(&run.id) { BY_HAND } else { POOL };
            assert_eq!(run.execution_status, "success", "{run:?}");
            assert_eq!((run.total_hosts, run.outcomes, run.details), (hosts, hosts, i64::from(hosts)), "{run:?}");
            assert_eq!((run.open, run.differ), (0, 0), "{run:?}");
            assert_eq!(run.attempts, Some(1), "no attempt was spent: {run:?}");
        }
        // Each second of the schedule once, over the whole time.
        let mut fires: Vec<i64> = all.iter().filter_map(|run| run.scheduled_for).map(|at| at.timestamp()).collect();
        fires.sort_unstable();
        assert!(fires.len() >= 8, "{fires:?}");
        assert!(fires.windows(2).all(|pair| pair[1] - pair[0] == PERIOD), "{fires:?}");
        // Neither release met a message of the other that it could not read.
        let url = format!("{}/api/queues/%2F/{}.dead.v1", bed.servers.management_url, bed.name);
        let dead: Value = reqwest::get(url).await.expect("an answer").json().await.expect("JSON");
        assert_eq!(dead["messages"], 0, "{dead}");
        old.stop().await;
    })
    .await;
}

/// A column: its type, whether it may be NULL, and whether it has a default or fills itself.
type Column = (String, bool, bool);

async fn columns(pool: &MySqlPool) -> BTreeMap<(String, String), Column> {
    let rows: Vec<(String, String, String, String, Option<String>, String)> = sqlx::query_as(
        "SELECT CONVERT(table_name USING utf8mb4), CONVERT(column_name USING utf8mb4),
                CONVERT(column_type USING utf8mb4), CONVERT(is_nullable USING utf8mb4),
                CONVERT(column_default USING utf8mb4), CONVERT(extra USING utf8mb4)
         FROM information_schema.columns WHERE table_schema = DATABASE()",
    )
    .fetch_all(pool)
    .await
    .expect("columns");
    rows.into_iter()
        .map(|(table, column, kind, nullable, default, extra)| {
            let fills_itself = default.is_some() || extra.contains("auto_increment");
            ((table, column), (kind, nullable == "YES", fills_itself))
        })
        .collect()
}

#[tokio::test]
async fn the_schema_only_grows_since_the_last_release() {
    on_bed_without_schema("growing", async |bed| {
        migrate(&last_release(), &bed).await;
        let before = columns(&bed.pool).await;
        migrate(&present(), &bed).await;
        let after = columns(&bed.pool).await;
        assert!(before.len() > 50, "{before:?}");
        for (column, was) in &before {
            assert_eq!(Some(was), after.get(column), "{column:?}: the last release knows it otherwise");
        }
        let tables: BTreeSet<&String> = before.keys().map(|(table, _)| table).collect();
        for (column, (kind, nullable, fills_itself)) in &after {
            // What the last release writes has no value for a column that it does not know.
            let is_new = !before.contains_key(column) && tables.contains(&column.0);
            assert!(!is_new || *nullable || *fills_itself, "{column:?} {kind} must be given");
        }
    })
    .await;
}
