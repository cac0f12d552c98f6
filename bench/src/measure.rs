//! The benchmark: hostsync and the program in use today, in turns, on the same servers and the same data.
//!
//! Each has a database of its own. Before a run its rows of `server_resources` are put back to the same state, after it
//! every one of them is compared with what the documents say; a run that did not write all of them fails the benchmark.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use clap::{Parser, ValueEnum};
use hostsync_store::database::MIGRATOR;
use hostsync_testing::bed::Bed;
use hostsync_testing::client::Client;
use hostsync_testing::documents::{Family, SampleHost};
use hostsync_testing::gate::Gate;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{AssertSqlSafe, Executor as _, MySqlPool};

use crate::database_work::{self, DatabaseWork};
use crate::expected;
use crate::fleet::{ServiceFleet, Size};
use crate::processes::{ProcessGroups, used};
use crate::prometheus::Histogram;
use crate::runs::{Run, follow};
use crate::sample::{self, Wanted};
use crate::screen::{ProgressLine, Step, count, line, note, rate, table};
use crate::statements::{self, StatementBytes};
use crate::today::{Chunked, ComparedProgram, Floor, KeptSides, Setting};

/// hostsync's database, queue prefix and index, and the database of the other side.
const NAME: &str = "hostsync_bench";
const TODAY_NAME: &str = "hostsync_bench_today";

/// Migrations of the tables as the program in use today has them: those of the CMDB and its own, without what hostsync adds.
const TODAY_MIGRATIONS: usize = 2;

/// Documents reach so far ahead of the clock, for the time that a benchmark takes.
const AHEAD: TimeDelta = TimeDelta::hours(2);

/// Hosts of the warm-up of today's shape; hostsync warms up with all of them.
const TODAY_WARM_UP_HOSTS: usize = 1_000;

/// Pause before each run, in which the servers finish what the one before has left to do.
const SETTLE: Duration = Duration::from_secs(2);

/// Pause between two looks at a run of hostsync. Its time does not depend on it: the database says when it ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Processes that use less in every run are not shown.
const SHOWN_CPU_SECONDS: f64 = 0.05;

/// Longest time of one run.
const END_WITHIN: Duration = Duration::from_mins(10);

/// `hostsync-bench`; `make bench` runs it.
#[derive(Debug, Parser)]
#[command(
    name = "hostsync-bench",
    about = "Measures hostsync against the program in use today; run it by `make bench`"
)]
pub struct BenchArgs {
    /// Hosts in the pool and in each run
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    hosts: u32,
    /// Documents of each host in the 24 hours that are read
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_640))]
    documents: u32,
    /// Worker processes of hostsync
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Milliseconds that a door adds to each of hostsync's searches
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    search_delay: u64,
    /// Searches and transactions at once in a worker (worker.concurrency)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Measured rounds, after a warm-up
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// State of `server_resources` before a run
    #[arg(long, value_enum, default_value_t = Rows::New)]
    rows: Rows,
    /// What to compare with
    #[arg(long, value_enum, value_delimiter = ',',
          default_values_t = [ComparedProgram::Program, ComparedProgram::Best, ComparedProgram::Chunked,
                             ComparedProgram::Floor])]
    today: Vec<ComparedProgram>,
    /// Measure hostsync alone
    #[arg(long)]
    alone: bool,
    /// Fail if hostsync takes more than a quarter more than so many times the floor's processor time a host
    #[arg(long, value_name = "TIMES")]
    guard: Option<f64>,
    /// The Go program, as bench/today/build makes it
    #[arg(long, default_value = ".dev/bench/today")]
    program: PathBuf,
    /// The folder of an interpreter that has Celery (bench/chunked/requirements.txt)
    #[arg(long, default_value = ".dev/chunked/bin")]
    python: PathBuf,
    /// Also write everything to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where logs and pids go
    #[arg(long, default_value = ".dev/bench")]
    pub folder: PathBuf,
}

impl BenchArgs {
    fn compared(&self) -> &[ComparedProgram] {
        if self.alone { &[] } else { &self.today }
    }
}

/// What a run meets in `server_resources`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Rows {
    /// No row: the first run of a day
    New,
    /// A row for each host: any later run
    Existing,
}

/// One run of one side.
#[derive(Debug, Clone, Default, Serialize)]
struct Measured {
    /// From before the first request to the end.
    seconds: f64,
    hosts_per_second: f64,
    /// Processor time by process.
    cpu_seconds: BTreeMap<String, f64>,
    /// Of the database.
    database: DatabaseWork,
    /// Of hostsync.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

impl Measured {
    /// Seconds of processor time of all processes.
    fn all_cpu(&self) -> f64 {
        self.cpu_seconds.values().sum()
    }
}

/// What hostsync says of a run.
#[derive(Debug, Clone, Serialize)]
struct Details {
    /// The execution's own.
    duration_ms: u64,
    /// Milliseconds from the request to each point.
    answered_ms: f64,
    published_ms: f64,
    first_host_ms: f64,
    ended_ms: f64,
    searches: Spread,
    transactions: Spread,
    /// Mean hosts in a search.
    batch_hosts: f64,
}

/// A histogram, in short.
#[derive(Debug, Clone, Serialize)]
struct Spread {
    count: f64,
    p50_ms: f64,
    mean_ms: f64,
}

impl Spread {
    fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count,
            p50_ms: histogram.quantile(0.5).unwrap_or_default() * 1e3,
            mean_ms: histogram.mean().unwrap_or_default() * 1e3,
        }
    }
}

/// Everything that a run needs.
struct Bench {
    bed: Bed,
    today_pool: MySqlPool,
    today: Setting,
    kept: KeptSides,
    fleet: ServiceFleet,
    client: Client,
    hosts: Arc<Vec<String>>,
    step: TimeDelta,
    rows: Rows,
    watched: ProcessGroups,
    /// Before the search engine, for hostsync's searches.
    _door: Gate,
}

/// Runs the benchmark.
///
/// # Errors
///
/// A sentence that says what went wrong; also when a side did not write what the documents say.
pub async fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        line("This is a debug build: its figures mean nothing. Use `make bench`.");
    }
    let step = Step::begin(format_args!(
        "Preparing: {} hosts in the pool, {} documents each",
        count(args.hosts as usize),
        args.documents
    ));
    let mut bench = Bench::prepare(args).await?;
    step.done("ready");

    let step = Step::begin("Warm-up");
    bench.hostsync().await?;
    let shapes = args.compared();
    for shape in shapes {
        bench.today(*shape, TODAY_WARM_UP_HOSTS.min(bench.hosts.len())).await?;
    }
    for pid in bench.kept.chunked.iter().flat_map(Chunked::pids) {
        bench.watched.add("Celery", pid);
    }
    step.done("all sides wrote what the documents say");

    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        let step = Step::begin(format_args!("Round {round} of {}", args.rounds));
        let mut measured = Round::default();
        // In turns, so that what changes slowly on the machine meets all sides alike.
        let mut sides: Vec<Option<ComparedProgram>> = shapes.iter().copied().map(Some).chain([None]).collect();
        let turn = usize::from(round - 1) % sides.len();
        sides.rotate_left(turn);
        for side in sides {
            match side {
                Some(shape) => {
                    measured.today.insert(shape, bench.today(shape, bench.hosts.len()).await?);
                }
                None => measured.hostsync = bench.hostsync().await?,
            }
        }
        step.done(measured.in_short());
        rounds.push(measured);
    }
    let step = Step::begin("One more run, to see its statements");
    statements::begin(&bench.bed.pool).await?;
    let ran = bench.hostsync().await;
    let statements = statements::end(&bench.bed.pool).await?;
    ran?;
    step.done("counted");
    let result = Report { machine: machine(), servers: servers(&bench.bed).await?, args, rounds, statements };
    result.show();
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&result.json())? + "\n";
        fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    args.guard.map_or(Ok(()), |times| result.guard(times))
}

impl Bench {
    async fn prepare(args: &BenchArgs) -> anyhow::Result<Self> {
        let hosts: Arc<Vec<String>> = Arc::new((0..args.hosts).map(|n| SampleHost(n).ip()).collect());
        let step = TimeDelta::days(1) / i32::try_from(args.documents)?;
        let bed = Bed::open(NAME, false)
            .await
            .context("the development servers cannot be used; their logs are in .dev/log")?;
        for table in ["es_sync_execution_detail", "es_sync_execution_log"] {
            bed.pool.execute(AssertSqlSafe(format!("TRUNCATE TABLE {table}"))).await?;
        }
        let today_pool = today_database(&bed).await?;
        for pool in [&bed.pool, &today_pool] {
            sample::fill_pool(pool, args.hosts).await.context("the hosts could not be put into hosts_pool")?;
        }
        let wanted = Wanted { hosts: args.hosts, step, ahead: AHEAD };
        sample::fill(&bed.index, wanted).await.context("the documents could not be written")?;

        fs::create_dir_all(&args.folder).with_context(|| format!("{} cannot be made", args.folder.display()))?;
        let size = Size { workers: usize::from(args.workers) };
        let (door, search_url) = Gate::before(&bed.servers.elasticsearch_url).await?;
        door.delay(Duration::from_millis(args.search_delay));
        let source_url = if args.search_delay == 0 { &bed.servers.elasticsearch_url } else { &search_url };
        let environment = bed.environment(&[
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", source_url),
            ("HOSTSYNC_WORKER__CONCURRENCY", &args.concurrency.to_string()),
        ]);
        let mut fleet = ServiceFleet::start(size, &environment, &args.folder)?;
        fleet.wait_until_ready().await?;

        database_work::watch(&bed.pool).await?;
        let mut watched = ProcessGroups::servers(Path::new(".dev"));
        watched.add("benchmark", std::process::id());
        for service in &fleet.services {
            let name = if service.name.starts_with("worker") { "worker" } else { &service.name };
            watched.add(format!("hostsync {name}"), service.pid());
        }
        let today = Setting {
            database_url: format!("{}/{TODAY_NAME}", bed.servers.database_url),
            elasticsearch_url: bed.servers.elasticsearch_url.clone(),
            rabbitmq_url: bed.servers.rabbitmq_url.clone(),
            index: bed.index.name.clone(),
            program: args.program.clone(),
            python: args.python.clone(),
        };
        let mut kept = KeptSides::default();
        for side in args.compared() {
            match side {
                ComparedProgram::Chunked => kept.chunked = Some(Chunked::start(&today, &args.folder)?),
                ComparedProgram::Floor => kept.floor = Some(Floor::start(&today).await?),
                ComparedProgram::Program | ComparedProgram::Best => {}
            }
        }
        Ok(Self {
            today,
            kept,
            client: Client::new(fleet.api_url()),
            bed,
            today_pool,
            fleet,
            hosts,
            step,
            rows: args.rows,
            watched,
            _door: door,
        })
    }

    async fn hostsync(&mut self) -> anyhow::Result<Measured> {
        if self.rows == Rows::New {
            self.bed.pool.execute("TRUNCATE TABLE es_sync_newest_window").await?;
        }
        put_back(&self.bed.pool, self.rows).await?;
        let metrics_before = self.metrics().await?;
        let database_before = DatabaseWork::read(&self.bed.pool).await?;
        let cpu_before = self.watched.cpu_seconds();

        let began: NaiveDateTime = sqlx::query_scalar("SELECT UTC_TIMESTAMP(6)").fetch_one(&self.bed.pool).await?;
        let started = Instant::now();
        let id = self.client.execute("benchmark", &self.hosts, "24h").await?;
        let answered = started.elapsed();
        let run = follow(&self.client, &mut self.fleet, id, "hostsync", LOOK_EVERY, END_WITHIN).await?;
        let took_us: i64 = sqlx::query_scalar(
            "SELECT TIMESTAMPDIFF(MICROSECOND, ?, finished_at) FROM es_sync_execution_log WHERE id = ?",
        )
        .bind(began)
        .bind(run.id)
        .fetch_one(&self.bed.pool)
        .await?;
        let wall = Duration::from_micros(u64::try_from(took_us).context("the end of a run before its beginning")?);

        let cpu_seconds = used(&cpu_before, &self.watched.cpu_seconds());
        let database = DatabaseWork::read(&self.bed.pool).await?.since(database_before);
        let metrics: Vec<Histogram> =
            self.metrics().await?.iter().zip(&metrics_before).map(|(after, before)| after.since(before)).collect();
        anyhow::ensure!(
            run.execution_status == "success" && run.success_count == self.hosts.len() as u64,
            "execution {id} is {} with {}, not a success of {} hosts",
            run.execution_status,
            run.outcomes(),
            self.hosts.len()
        );
        self.check(&self.bed.pool, self.hosts.len(), run.window()).await.context("hostsync")?;
        let mut details = self.details(&run, answered).await?;
        let [searches, transactions, batches] = metrics.as_slice() else { anyhow::bail!("three histograms") };
        details.searches = Spread::of(searches);
        details.transactions = Spread::of(transactions);
        details.batch_hosts = batches.mean().unwrap_or_default();
        Ok(Measured { details: Some(details), ..measured(self.hosts.len(), wall, cpu_seconds, database) })
    }

    /// When what happened, by the database's clock, which is this machine's.
    async fn details(&self, run: &Run, answered: Duration) -> anyhow::Result<Details> {
        let (published_ms, first_host_ms, ended_ms): (Option<f64>, Option<f64>, Option<f64>) = sqlx::query_as(
            "SELECT TIMESTAMPDIFF(MICROSECOND, run.execution_time, run.published_at) / 1e3,
                    TIMESTAMPDIFF(MICROSECOND, run.execution_time,
                        (SELECT MIN(finished_at) FROM es_sync_execution_detail WHERE execution_id = run.id)) / 1e3,
                    TIMESTAMPDIFF(MICROSECOND, run.execution_time, run.finished_at) / 1e3
             FROM es_sync_execution_log AS run WHERE run.id = ?",
        )
        .bind(run.id)
        .fetch_one(&self.bed.pool)
        .await?;
        let nothing = Spread { count: 0.0, p50_ms: 0.0, mean_ms: 0.0 };
        Ok(Details {
            duration_ms: run.duration_ms.unwrap_or_default(),
            answered_ms: answered.as_secs_f64() * 1e3,
            published_ms: published_ms.unwrap_or_default(),
            first_host_ms: first_host_ms.unwrap_or_default(),
            ended_ms: ended_ms.unwrap_or_default(),
            searches: nothing.clone(),
            transactions: nothing,
            batch_hosts: 0.0,
        })
    }

    /// Searches, transactions and batches of all workers.
    async fn metrics(&self) -> anyhow::Result<Vec<Histogram>> {
        let names = ["hostsync_search_duration_seconds", "hostsync_write_duration_seconds", "hostsync_batch_hosts"];
        let mut histograms = vec![Histogram::default(); names.len()];
        for url in self.fleet.worker_urls() {
            let text = reqwest::get(format!("{url}/metrics")).await?.text().await?;
            for (histogram, name) in histograms.iter_mut().zip(names) {
                *histogram = std::mem::take(histogram).plus(&Histogram::read(&text, name));
            }
        }
        Ok(histograms)
    }

    async fn today(&self, shape: ComparedProgram, hosts: usize) -> anyhow::Result<Measured> {
        put_back(&self.today_pool, self.rows).await?;
        let database_before = DatabaseWork::read(&self.today_pool).await?;
        let cpu_before = self.watched.cpu_seconds();
        let list = Arc::new(self.hosts[..hosts].to_vec());
        let done = Arc::new(AtomicUsize::new(0));
        let mut progress = ProgressLine::start(shape.title(), hosts);

        let started = Instant::now();
        let window_to = sample::now();
        let window = (window_to - sample::WINDOW, window_to);
        let running = self.today.run(shape, &self.kept, window, list, Arc::clone(&done));
        tokio::pin!(running);
        let ran = loop {
            tokio::select! {
                ran = &mut running => break ran.context(shape.title())?,
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    progress.set(done.load(Ordering::Relaxed), hosts, "");
                }
            }
        };
        let wall = started.elapsed();

        let mut cpu_seconds = used(&cpu_before, &self.watched.cpu_seconds());
        let database = DatabaseWork::read(&self.today_pool).await?.since(database_before);
        if let Some(seconds) = ran.cpu_seconds {
            cpu_seconds.insert("the Go program".to_owned(), seconds);
        }
        let outcome = ran.outcome;
        progress.set(hosts, hosts, format!("{} success", outcome.success));
        progress.finish();
        anyhow::ensure!(outcome.success == hosts, "{}: {outcome:?}, not a success of {hosts} hosts", shape.title());
        self.check(&self.today_pool, hosts, window).await.context(shape.title())?;
        Ok(measured(hosts, wall, cpu_seconds, database))
    }

    /// Every host has the row that its documents make, and there is no other row with values.
    async fn check(
        &self,
        pool: &MySqlPool,
        hosts: usize,
        window: (DateTime<Utc>, DateTime<Utc>),
    ) -> anyhow::Result<()> {
        let rows = expected::rows(pool, window.1.date_naive()).await?;
        let written = rows.values().filter(|row| row.cpu_load.is_some()).count();
        anyhow::ensure!(written == hosts, "{written} rows of server_resources have values, not {hosts}");
        let hosts = (0..u32::try_from(hosts)?).map(SampleHost);
        expected::check(&rows, Family::Zabbix, hosts, window, self.step)?;
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn measured(hosts: usize, wall: Duration, cpu_seconds: BTreeMap<String, f64>, database: DatabaseWork) -> Measured {
    let seconds = wall.as_secs_f64();
    Measured { seconds, hosts_per_second: hosts as f64 / seconds, cpu_seconds, database, details: None }
}

/// The database of the other side, made anew with its tables as they are today.
async fn today_database(bed: &Bed) -> anyhow::Result<MySqlPool> {
    for statement in [
        format!("DROP DATABASE IF EXISTS `{TODAY_NAME}`"),
        format!("CREATE DATABASE `{TODAY_NAME}` CHARACTER SET utf8mb4"),
    ] {
        bed.pool.execute(AssertSqlSafe(statement)).await?;
    }
    let pool = MySqlPoolOptions::new()
        .max_connections(2)
        .connect(&format!("{}/{TODAY_NAME}", bed.servers.database_url))
        .await?;
    for migration in MIGRATOR.iter().take(TODAY_MIGRATIONS) {
        pool.execute(sqlx::raw_sql(migration.sql.clone())).await?;
    }
    Ok(pool)
}

/// Puts `server_resources` into the state that a run shall meet, without values in it.
async fn put_back(pool: &MySqlPool, rows: Rows) -> anyhow::Result<()> {
    match rows {
        Rows::New => {
            pool.execute("TRUNCATE TABLE server_resources").await?;
        }
        Rows::Existing => {
            sqlx::query(
                "INSERT INTO server_resources (pool_id, ip, mon_date)
                 SELECT id, host_ip, ? FROM hosts_pool
                 ON DUPLICATE KEY UPDATE used_memory = NULL, used_disk = NULL, cpu_load = NULL,
                     cpu_percent_max = NULL, cpu_percent_avg = NULL, cpu_percent_min = NULL,
                     mem_percent_max = NULL, mem_percent_avg = NULL, mem_percent_min = NULL,
                     disk_percent_max = NULL, disk_percent_avg = NULL, disk_percent_min = NULL",
            )
            .bind(sample::now().date_naive())
            .execute(pool)
            .await?;
        }
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

/// The measured runs of one round.
#[derive(Debug, Default, Serialize)]
struct Round {
    today: BTreeMap<ComparedProgram, Measured>,
    hostsync: Measured,
}

impl Round {
    fn ratio(&self, shape: ComparedProgram) -> Option<f64> {
        Some(self.hostsync.hosts_per_second / self.today.get(&shape)?.hosts_per_second)
    }

    fn in_short(&self) -> String {
        let mut text = format!("hostsync {} hosts/s", rate(self.hostsync.hosts_per_second));
        for (shape, run) in &self.today {
            let ratio = self.ratio(*shape).unwrap_or_default();
            let _ = write!(text, "; {ratio:.1} times {} ({})", shape.title(), rate(run.hosts_per_second));
        }
        text
    }
}

struct Report<'a> {
    machine: String,
    servers: BTreeMap<&'static str, String>,
    args: &'a BenchArgs,
    rounds: Vec<Round>,
    /// Of one run of hostsync.
    statements: BTreeMap<String, StatementBytes>,
}

/// How much worse the guarded ratio may become.
const GUARD_ROOM: f64 = 1.25;

/// Kinds of statements that are shown.
const SHOWN_STATEMENTS: usize = 12;

impl Report<'_> {
    fn show(&self) {
        let args = self.args;
        line("\nResult");
        note(&self.machine);
        let servers: Vec<&str> = self.servers.values().map(String::as_str).collect();
        note(servers.join(", "));
        note(format_args!(
            "{} hosts, {} documents each; {} rows in server_resources; {} worker(s); {} round(s)",
            count(args.hosts as usize),
            args.documents,
            if args.rows == Rows::New { "no" } else { "existing" },
            args.workers,
            args.rounds
        ));
        self.show_speed();
        self.show_stages();
        self.show_cpu();
        self.show_database();
        self.show_statements();
    }

    /// How many times the floor's processor time a host hostsync takes.
    fn cpu_ratios(&self) -> Vec<f64> {
        let floor =
            |round: &Round| Some(round.hostsync.all_cpu() / round.today.get(&ComparedProgram::Floor)?.all_cpu());
        self.rounds.iter().filter_map(floor).collect()
    }

    /// # Errors
    ///
    /// hostsync takes more than [`GUARD_ROOM`] of `times` the floor's processor time, or the floor was not measured.
    fn guard(&self, times: f64) -> anyhow::Result<()> {
        let measured = median(&self.cpu_ratios()).context("the guard needs the floor: --today floor")?;
        let most = times * GUARD_ROOM;
        line(format_args!("\nhostsync takes {measured:.2} times the floor's processor time a host; at most {most:.2}"));
        anyhow::ensure!(
            measured <= most,
            "a host costs {measured:.2} times the floor's processor time, more than {most:.2}: see what each process and statement takes, above; \
             if the cost is wanted, raise the guard's figure"
        );
        Ok(())
    }

    fn show_statements(&self) {
        let mut kinds: Vec<(&String, &StatementBytes)> = self.statements.iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.bytes));
        let mut rows =
            vec![["statements of one run of hostsync", "number", "bytes a host"].map(str::to_owned).to_vec()];
        for (name, kind) in kinds.into_iter().take(SHOWN_STATEMENTS) {
            rows.push(vec![
                name.clone(),
                count(usize::try_from(kind.count).unwrap_or(usize::MAX)),
                (kind.bytes / u64::from(self.args.hosts)).to_string(),
            ]);
        }
        line("");
        table(&rows);
    }

    fn shapes(&self) -> Vec<ComparedProgram> {
        self.rounds.first().map(|round| round.today.keys().copied().collect()).unwrap_or_default()
    }

    fn today(&self, shape: ComparedProgram, value: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| round.today.get(&shape)).map(value).collect()
    }

    fn ratios(&self, shape: ComparedProgram) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| round.ratio(shape)).collect()
    }

    fn hostsync(&self, value: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.rounds.iter().map(|round| value(&round.hostsync)).collect()
    }

    fn details(&self, value: impl Fn(&Details) -> f64) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| round.hostsync.details.as_ref()).map(value).collect()
    }

    fn show_speed(&self) {
        let args = self.args;
        let seconds = |values: &[f64]| range(values, |value| format!("{value:.2}"));
        let rates = |values: &[f64]| range(values, rate);
        let mut rows = vec![["median (min–max)", "seconds", "hosts/s", "hostsync is"].map(str::to_owned).to_vec()];
        for shape in self.shapes() {
            rows.push(vec![
                shape.title().to_owned(),
                seconds(&self.today(shape, |run| run.seconds)),
                rates(&self.today(shape, |run| run.hosts_per_second)),
                format!("{} times as fast", range(&self.ratios(shape), |ratio| format!("{ratio:.1}"))),
            ]);
        }
        rows.push(vec![
            "hostsync".to_owned(),
            seconds(&self.hostsync(|run| run.seconds)),
            rates(&self.hostsync(|run| run.hosts_per_second)),
            String::new(),
        ]);
        rows.push(vec![
            "hostsync, by its own duration_ms".to_owned(),
            seconds(&self.details(|details| details.ended_ms / 1e3)),
            rates(&self.details(|details| f64::from(args.hosts) * 1e3 / details.ended_ms)),
            String::new(),
        ]);
        line("");
        table(&rows);
    }

    fn show_stages(&self) {
        let ms = |values: &[f64]| range(values, |value| format!("{value:.0}"));
        let rows: Vec<Vec<String>> = [
            ("hostsync, ms from the request", String::new()),
            ("the request is answered", ms(&self.details(|details| details.answered_ms))),
            ("the first batch is written", ms(&self.details(|details| details.first_host_ms))),
            ("all jobs are published", ms(&self.details(|details| details.published_ms))),
            ("the execution has ended", ms(&self.details(|details| details.ended_ms))),
            ("one search, p50", ms(&self.details(|details| details.searches.p50_ms))),
            ("one transaction, p50", ms(&self.details(|details| details.transactions.p50_ms))),
            ("searches of a run", ms(&self.details(|details| details.searches.count))),
            ("hosts in a search, mean", ms(&self.details(|details| details.batch_hosts))),
        ]
        .into_iter()
        .map(|(what, value)| vec![what.to_owned(), value])
        .collect();
        line("");
        table(&rows);
    }

    /// Processes that had next to nothing to do are left out.
    fn show_cpu(&self) {
        let runs = || self.rounds.iter().flat_map(|round| round.today.values().chain([&round.hostsync]));
        let names: BTreeSet<&String> = runs()
            .flat_map(|run| &run.cpu_seconds)
            .filter(|(_, seconds)| **seconds >= SHOWN_CPU_SECONDS)
            .map(|(name, _)| name)
            .collect();
        let cell = |values: &[f64]| range(values, |value| format!("{value:.2}"));
        let mut rows = vec![self.head("processor time, s")];
        for name in names {
            rows.push(self.row(name, cell, |run| run.cpu_seconds.get(name).copied().unwrap_or_default()));
        }
        rows.push(self.row("all", cell, Measured::all_cpu));
        line("");
        table(&rows);
    }

    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn show_database(&self) {
        let whole = |values: &[f64]| range(values, |value| format!("{value:.0}"));
        let megabytes = |values: &[f64]| range(values, |value| format!("{:.1}", value / 1e6));
        let rows = [
            self.head("the database"),
            self.row("redo, MB", megabytes, |run| run.database.redo_bytes as f64),
            self.row("received, MB", megabytes, |run| run.database.received_bytes as f64),
            self.row("page splits", whole, |run| run.database.page_splits as f64),
            self.row("page reorganisations tried", whole, |run| run.database.page_reorganisations as f64),
            self.row("page merges tried", whole, |run| run.database.page_merges as f64),
        ];
        line("");
        table(&rows);
    }

    /// The first line of a table with a column a side.
    fn head(&self, what: &str) -> Vec<String> {
        let mut head = vec![what.to_owned()];
        head.extend(self.shapes().into_iter().map(|shape| shape.title().to_owned()));
        head.push("hostsync".to_owned());
        head
    }

    /// Its further ones.
    fn row(&self, what: &str, cell: impl Fn(&[f64]) -> String, of: impl Fn(&Measured) -> f64) -> Vec<String> {
        let mut row = vec![what.to_owned()];
        row.extend(self.shapes().into_iter().map(|shape| cell(&self.today(shape, &of))));
        row.push(cell(&self.hostsync(of)));
        row
    }

    fn json(&self) -> Value {
        let args = self.args;
        let medians = |of: &dyn Fn(ComparedProgram) -> Vec<f64>| -> BTreeMap<ComparedProgram, Option<f64>> {
            self.shapes().into_iter().map(|shape| (shape, median(&of(shape)))).collect()
        };
        json!({
            "measured_at": sample::now(),
            "machine": self.machine,
            "servers": self.servers,
            "hosts": args.hosts,
            "documents_a_host": args.documents,
            "rows_in_server_resources": args.rows,
            "workers": args.workers,
            "concurrency": args.concurrency,
            "search_delay_ms": args.search_delay,
            "statements": self.statements,
            "cpu_ratio_to_floor": median(&self.cpu_ratios()),
            "rounds": self.rounds,
            "today_hosts_per_second": medians(&|shape| self.today(shape, |run| run.hosts_per_second)),
            "hostsync_hosts_per_second": median(&self.hostsync(|run| run.hosts_per_second)),
            "ratio": medians(&|shape| self.ratios(shape)),
        })
    }
}

/// The middle one; of an even number the mean of the middle two. `None` of nothing.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// `median (min–max)`, or a dash.
fn range(values: &[f64], show: impl Fn(f64) -> String) -> String {
    let Some(middle) = median(values) else { return "–".to_owned() };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({}–{})", show(middle), show(low), show(high))
}

/// Processor, cores and memory.
fn machine() -> String {
    let value = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory_kb: Option<u64> =
        value("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
    format!("{cores} cores ({model}), {} GB, for everything", memory_kb.unwrap_or(0).div_ceil(1 << 20))
}

async fn servers(bed: &Bed) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&bed.pool).await?;
    let database = if version.to_lowercase().contains("mariadb") { version } else { format!("MySQL {version}") };
    let client = reqwest::Client::new();
    let get = async |url: &str| -> anyhow::Result<HashMap<String, Value>> {
        Ok(serde_json::from_str(&client.get(url).send().await?.text().await?)?)
    };
    let engine = get(&bed.servers.elasticsearch_url).await?;
    let engine = engine.get("version").cloned().unwrap_or_default();
    let broker = get(&format!("{}/api/overview", bed.servers.management_url)).await?;
    Ok(BTreeMap::from([
        ("database", database),
        ("broker", format!("RabbitMQ {}", broker.get("rabbitmq_version").and_then(Value::as_str).unwrap_or("?"))),
        (
            "search engine",
            format!(
                "{} {}",
                engine["distribution"].as_str().unwrap_or("elasticsearch"),
                engine["number"].as_str().unwrap_or("?")
            ),
        ),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(range(&[3.0, 1.0, 2.0], |value| format!("{value:.1}")), "2.0 (1.0–3.0)");
    }
}
