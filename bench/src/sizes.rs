//! What a run needs of memory, network, disk and connections: the figures that docs/capacity.md calculates with.
//!
//! A task over the whole pool runs twice through doors that count bytes: once as the first run of a day, which inserts the
//! rows of `server_resources`, and once as any later one. Sizes do not depend on how busy the machine is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use clap::Parser;
use hostsync_testing::bed::Bed;
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::gate::Gate;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::fleet::{ServiceFleet, Size};
use crate::processes::peak_memory;
use crate::runs::follow;
use crate::sample::{self, Wanted};
use crate::screen::{Step, count, line, note, rate, table};

/// Database, queue prefix and index.
const NAME: &str = "hostsync_sizes";

/// Documents reach so far ahead of the clock, for the time that this takes.
const AHEAD: TimeDelta = TimeDelta::hours(2);

/// Pause between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Longest time of one run.
const END_WITHIN: Duration = Duration::from_mins(15);

/// Longest wait until what comes after a run is done too.
const QUIET_WITHIN: Duration = Duration::from_mins(2);

/// Tables that grow with runs.
const TABLES: [&str; 5] =
    ["es_sync_execution_detail", "es_sync_search", "es_sync_evidence", "es_sync_newest_window", "server_resources"];

/// `hostsync-sizes`; `make sizes` runs it.
#[derive(Debug, Parser)]
#[command(
    name = "hostsync-sizes",
    about = "Measures what a run needs of memory, network and disk; run it by `make sizes`"
)]
pub struct SizesArgs {
    /// Hosts in the pool
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    hosts: u32,
    /// Documents of each host in the 24 hours that are read
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=8_640))]
    documents: u32,
    /// Where logs and pids go
    #[arg(long, default_value = ".dev/sizes")]
    pub folder: PathBuf,
}

/// Doors in front of the three servers.
struct Doors {
    database: Gate,
    broker: Gate,
    search: Gate,
}

/// Bytes that the services have sent and received, and what the database has written.
struct Reading {
    traffic: BTreeMap<&'static str, (u64, u64)>,
    written: BTreeMap<String, u64>,
    tables: BTreeMap<&'static str, u64>,
}

/// The most that was seen at once during a run.
#[derive(Debug, Default)]
struct Peaks {
    database_connections: i64,
    broker_connections: u64,
    broker_channels: u64,
    queued_jobs: u64,
    queued_bytes: u64,
}

/// Measures.
///
/// # Errors
///
/// A sentence that says what went wrong; also a run that is no success of all hosts.
pub async fn run(args: &SizesArgs) -> anyhow::Result<()> {
    let hosts = count(args.hosts as usize);
    let step = Step::begin(format_args!("Preparing: {hosts} hosts in the pool, {} documents each", args.documents));
    let bed = prepare(args).await?;
    step.done("ready");

    let (database, database_url) = Gate::before(&bed.database_url()).await?;
    let (broker, broker_url) = Gate::before(&bed.servers.rabbitmq_url).await?;
    let (search, search_url) = Gate::before(&bed.servers.elasticsearch_url).await?;
    let doors = Doors { database, broker, search };
    let environment = bed.environment(&[
        ("HOSTSYNC_DATABASE__URL", &database_url),
        ("HOSTSYNC_RABBITMQ__URL", &broker_url),
        ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", &search_url),
    ]);
    let mut fleet = ServiceFleet::start(Size { workers: 1 }, &environment, &args.folder)?;
    fleet.wait_until_ready().await?;
    let client = Client::new(fleet.api_url());
    let task = task(&client).await?;

    let mut runs = Vec::new();
    let mut peaks = Peaks::default();
    for title in ["first run of a day", "later run"] {
        let step = Step::begin(format_args!("Running: the {title}"));
        let before = Reading::take(&bed, &doors).await?;
        let id = client.ok(Method::POST, &format!("/es-sync-tasks/{task}/execute"), None).await?["execution_id"]
            .as_u64()
            .context("no execution_id")?;
        let ended = tokio::select! {
            ended = follow(&client, &mut fleet, id, title, LOOK_EVERY, END_WITHIN) => ended?,
            error = peaks.watch(&bed) => return Err(error.context("the peaks")),
        };
        anyhow::ensure!(
            ended.execution_status == "success" && ended.success_count == u64::from(args.hosts),
            "execution {id} is {} with {}, not a success of {hosts} hosts",
            ended.execution_status,
            ended.outcomes()
        );
        wait_until_rolled_up(&bed, id).await?;
        runs.push((title, Reading::take(&bed, &doors).await?.since(&before)));
        step.done(format_args!(
            "{} hosts/s, of which this machine's other work may have taken some",
            rate(ended.hosts_per_second())
        ));
    }
    let memory: Vec<(String, u64)> =
        fleet.services.iter().filter_map(|service| Some((service.name.clone(), peak_memory(service.pid())?))).collect();
    show(args.hosts, &runs, &peaks, &memory);
    Ok(())
}

async fn prepare(args: &SizesArgs) -> anyhow::Result<Bed> {
    let bed =
        Bed::open(NAME, false).await.context("the development servers cannot be used; their logs are in .dev/log")?;
    bed.remove_queues().await?;
    for name in TABLES.iter().chain(&["es_sync_attempt", "es_sync_execution_log", "es_sync_task_config"]) {
        bed.pool.execute(AssertSqlSafe(format!("TRUNCATE TABLE {name}"))).await?;
    }
    bed.pool.execute("DELETE FROM hosts_pool").await?;
    sample::fill_pool(&bed.pool, args.hosts).await.context("the hosts could not be put into hosts_pool")?;
    let step = TimeDelta::days(1) / i32::try_from(args.documents)?;
    let wanted = Wanted { hosts: args.hosts, step, ahead: AHEAD };
    sample::fill(&bed.index, wanted).await.context("the documents could not be written")?;
    std::fs::create_dir_all(&args.folder).with_context(|| format!("{} cannot be made", args.folder.display()))?;
    Ok(bed)
}

/// A task that never fires by itself.
async fn task(client: &Client) -> anyhow::Result<u64> {
    let body = json!({"task_name": "sizes", "cron_expression": "0 0 0 1 1 *", "query_time_range": "24h"});
    client.ok(Method::POST, "/es-sync-tasks", Some(&body)).await?["task_id"].as_u64().context("no task_id")
}

/// The sums over executions are made soon after the end of each.
async fn wait_until_rolled_up(bed: &Bed, id: u64) -> anyhow::Result<()> {
    wait_for("the sums of the run", QUIET_WITHIN, async || {
        let row: Option<(u64,)> =
            sqlx::query_as("SELECT id FROM es_sync_execution_log WHERE id = ? AND rolled_up_at IS NOT NULL")
                .bind(id)
                .fetch_optional(&bed.pool)
                .await?;
        Ok(row.map(|_| ()))
    })
    .await
}

impl Reading {
    async fn take(bed: &Bed, doors: &Doors) -> anyhow::Result<Self> {
        let traffic = BTreeMap::from([
            ("database", doors.database.bytes()),
            ("broker", doors.broker.bytes()),
            ("search engine", doors.search.bytes()),
        ]);
        let mut written = BTreeMap::new();
        for name in ["Innodb_os_log_written", "Innodb_data_written"] {
            let row = bed.pool.fetch_one(AssertSqlSafe(format!("SHOW GLOBAL STATUS LIKE '{name}'"))).await?;
            written.insert(name.to_owned(), row.try_get::<String, _>(1)?.parse()?);
        }
        let mut tables = BTreeMap::new();
        for name in TABLES {
            bed.pool.execute(AssertSqlSafe(format!("ANALYZE TABLE {name}"))).await?;
            let bytes: u64 = sqlx::query_scalar(
                "SELECT CAST(data_length + index_length AS UNSIGNED) FROM information_schema.tables
                 WHERE table_schema = DATABASE() AND table_name = ?",
            )
            .bind(name)
            .fetch_one(&bed.pool)
            .await?;
            tables.insert(name, bytes);
        }
        Ok(Self { traffic, written, tables })
    }

    /// What came since `before`. A table whose pages were given back counts as 0.
    fn since(mut self, before: &Self) -> Self {
        for (name, (sent, received)) in &mut self.traffic {
            let (sent_before, received_before) = before.traffic[name];
            (*sent, *received) = (*sent - sent_before, *received - received_before);
        }
        for (name, bytes) in &mut self.written {
            *bytes -= before.written[name];
        }
        for (name, bytes) in &mut self.tables {
            *bytes = bytes.saturating_sub(before.tables[name]);
        }
        self
    }
}

impl Peaks {
    /// Looks until it is dropped; returns only with an error.
    async fn watch(&mut self, bed: &Bed) -> anyhow::Error {
        loop {
            if let Err(error) = self.look(bed).await {
                return error;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&mut self, bed: &Bed) -> anyhow::Result<()> {
        // Without our own, which look and prepare.
        let connections: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()")
                .fetch_one(&bed.pool)
                .await?;
        self.database_connections = self.database_connections.max(connections - i64::from(bed.pool.size()));
        let api = format!("{}/api", bed.servers.management_url);
        let queue = bed.queue("jobs.bulk.v1").await?;
        let (jobs, bytes) = (&queue["messages"], &queue["message_bytes"]);
        if let (Some(jobs), Some(bytes)) = (jobs.as_u64(), bytes.as_u64())
            && jobs > self.queued_jobs
        {
            (self.queued_jobs, self.queued_bytes) = (jobs, bytes);
        }
        let overview: Value = reqwest::get(format!("{api}/overview")).await?.json().await?;
        let total = |what: &str| overview["object_totals"][what].as_u64().unwrap_or_default();
        self.broker_connections = self.broker_connections.max(total("connections"));
        self.broker_channels = self.broker_channels.max(total("channels"));
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn show(hosts: u32, runs: &[(&str, Reading)], peaks: &Peaks, memory: &[(String, u64)]) {
    let a_host = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(hosts));
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    line("\nBytes a host");
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(runs.iter().map(|(title, _)| (*title).to_owned()));
    let mut row = |name: String, of: &dyn Fn(&Reading) -> u64| {
        let mut cells = vec![name];
        cells.extend(runs.iter().map(|(_, reading)| a_host(of(reading))));
        rows.push(cells);
    };
    for server in ["database", "broker", "search engine"] {
        row(format!("sent to the {server}"), &|reading| reading.traffic[server].0);
        row(format!("received from the {server}"), &|reading| reading.traffic[server].1);
    }
    for name in TABLES {
        row(format!("grown: {name}"), &|reading| reading.tables[name]);
    }
    row("written by the database: redo log".to_owned(), &|reading| reading.written["Innodb_os_log_written"]);
    row("written by the database: pages".to_owned(), &|reading| reading.written["Innodb_data_written"]);
    table(&rows);

    line("\nThe most at once");
    let jobs = peaks.queued_jobs;
    let mut rows: Vec<Vec<String>> = vec![vec!["what".to_owned(), "most".to_owned()]];
    rows.extend(memory.iter().map(|(name, bytes)| vec![format!("memory of the {name}"), megabytes(*bytes)]));
    rows.push(vec!["connections to the database".to_owned(), peaks.database_connections.to_string()]);
    rows.push(vec!["connections to the broker".to_owned(), peaks.broker_connections.to_string()]);
    rows.push(vec!["channels of the broker".to_owned(), peaks.broker_channels.to_string()]);
    rows.push(vec!["jobs in the bulk queue".to_owned(), rate(jobs as f64)]);
    if let Some(bytes) = peaks.queued_bytes.checked_div(jobs) {
        rows.push(vec!["bytes of a job in it".to_owned(), bytes.to_string()]);
    }
    table(&rows);
    note("Connections and channels of the broker are those of everybody who uses it.");
}
