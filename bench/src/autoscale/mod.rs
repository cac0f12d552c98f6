//! The autoscaler's loop on one machine: the workers of a run over the whole pool follow the queue, 0 → N → 0.
//!
//! The queue is read as KEDA's RabbitMQ scaler reads it, the number is what KEDA and the horizontal pod autoscaler would
//! ask for, both by what the chart renders; in the place of pods there are real worker processes with the configuration
//! file that the chart renders. Before it one worker does a part of the same hosts, for comparison.

mod activation;
mod autoscaler;
mod findings;
mod hpa;
mod play;
mod plot;
mod rendered;
mod scaler;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use hostsync_service::config::{Config, Service, WorkerConfig};
use hostsync_testing::bed::Bed;
use hostsync_testing::client::Client;
use hostsync_testing::documents::SampleHost;
use hostsync_testing::gate::Gate;
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};

use self::autoscaler::Autoscaler;
use self::findings::{Rows, judge};
use self::play::{Decider, PlayRecord, Stage, play};
use self::rendered::Rendered;
use self::scaler::Scaler;
use self::workers::Workers;
use crate::fleet::{ServiceFleet, Size};
use crate::sample::{fill_pool, now};
use crate::screen::{ProgressLine, Step, count, line, note, rate, table};

/// Database, queue prefix and index. The chart is rendered with the same prefix and index: bench/autoscale.yaml.
const NAME: &str = "hostsync_autoscale";

/// Between two documents of a host: two of them stand in the day that is read.
const DOCUMENTS_EVERY: chrono::TimeDelta = chrono::TimeDelta::hours(12);

/// Documents reach so far ahead of the clock, so that the day is full for as long as this takes.
const AHEAD: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// Longest time of one play.
const LIMIT: Duration = Duration::from_mins(15);

/// `hostsync-autoscale`; `make autoscale` runs it.
#[derive(Debug, Parser)]
#[command(
    name = "hostsync-autoscale",
    about = "Plays the autoscaler's loop on this machine; run it by `make autoscale`"
)]
pub struct AutoscaleArgs {
    /// Hosts in the pool and in the run that is scaled; fewer than 80,000 end before workers go in mid-run
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(80_000..=1_000_000))]
    hosts: u32,
    /// Hosts that one worker does for comparison; 0 leaves it out
    #[arg(long, default_value_t = 20_000)]
    one_worker_hosts: u32,
    /// What is added to each search, in milliseconds
    #[arg(long, default_value_t = 200)]
    search_delay_ms: u64,
    /// Between two looks of the horizontal pod autoscaler, in seconds; clusters have 15
    #[arg(long, default_value_t = 15)]
    hpa_sync_s: u64,
    /// The objects that `helm template` renders, as JSON
    #[arg(long, default_value = ".dev/autoscale/rendered.json")]
    rendered: PathBuf,
    /// Where logs and the curve go
    #[arg(long, default_value = ".dev/autoscale")]
    pub folder: PathBuf,
}

/// Plays it.
///
/// # Errors
///
/// A sentence that says what went wrong; also when something that must hold does not.
pub async fn run(args: &AutoscaleArgs) -> anyhow::Result<()> {
    anyhow::ensure!(args.one_worker_hosts <= args.hosts, "--one-worker-hosts is more than --hosts");
    let rendered = Rendered::read(&args.rendered)?;
    let step = Step::begin(format_args!("Preparing: documents of {} hosts", count(args.hosts as usize)));
    let mut theatre = Theatre::prepare(args, rendered).await?;
    step.done("ready");
    theatre.show_settings(args);

    let alone = match args.one_worker_hosts {
        0 => None,
        hosts => {
            line(format_args!("One worker, {} hosts", count(hosts as usize)));
            Some((hosts, theatre.play(hosts, false, args).await?.1))
        }
    };
    line(format_args!("Scaled by the queue, {} hosts", count(args.hosts as usize)));
    let (played, rows) = theatre.play(args.hosts, true, args).await?;

    let curve = args.folder.join("autoscale.svg");
    let title = format!("{} hosts, {} ms added to each search", count(args.hosts as usize), args.search_delay_ms);
    fs::write(&curve, plot::svg(&title, &played.points)).with_context(|| format!("{}", curve.display()))?;
    show_result(args.hosts, &played, &rows, alone.as_ref());
    note(format_args!("curve: {}", curve.display()));
    theatre.close().await
}

/// Everything that a play needs.
struct Theatre {
    // First, so that the services are stopped before what they use goes.
    fleet: ServiceFleet,
    client: Client,
    bed: Bed,
    rendered: Rendered,
    /// What the rendered file says of the workers.
    settings: WorkerConfig,
    environment: Vec<(String, String)>,
    /// The management API, as the trigger's Secret would have it.
    management: String,
    task_id: u64,
    _door: Gate,
}

impl Theatre {
    async fn prepare(args: &AutoscaleArgs, rendered: Rendered) -> anyhow::Result<Self> {
        let bed = Bed::open(NAME, true)
            .await
            .context("the development servers cannot be used; their logs are in .dev/log")?;
        bed.remove_queues().await?;
        let (from, to) = (now() - chrono::TimeDelta::days(1), now() + AHEAD);
        let total = args.hosts as usize * hostsync_testing::documents::times(from, to, DOCUMENTS_EVERY).count();
        let mut progress = ProgressLine::start("documents", total);
        let hosts = (0..args.hosts).map(SampleHost);
        bed.index.fill(hosts, from, to, DOCUMENTS_EVERY, |written| progress.set(written, total, "")).await?;
        progress.finish();

        fs::create_dir_all(&args.folder).with_context(|| format!("{} cannot be made", args.folder.display()))?;
        let config = args.folder.join("hostsync.toml");
        fs::write(&config, &rendered.config).with_context(|| format!("{} cannot be written", config.display()))?;
        let (door, search_url) = Gate::before(&bed.servers.elasticsearch_url).await?;
        door.delay(Duration::from_millis(args.search_delay_ms));
        let environment = environment(&bed, &config, &search_url);
        let settings = settings(&bed, &config, &environment)?;

        let config = config.display().to_string();
        let mut fleet =
            ServiceFleet::start(Size { workers: 0 }, &bed.environment(&[("HOSTSYNC_CONFIG", &config)]), &args.folder)?;
        fleet.wait_until_ready().await?;
        let client = Client::new(fleet.api_url());
        let body = json!({
            "task_name": "autoscale", "cron_expression": "0 0 0 1 1 *", "query_time_range": "24h", "is_enabled": false,
        });
        let answer = client.ok(Method::POST, "/es-sync-tasks", Some(&body)).await?;
        let task_id = answer["task_id"].as_u64().context("the API made a task and did not say its id")?;
        let management = format!("{}/%2f", bed.servers.management_url);
        Ok(Self { fleet, client, bed, rendered, settings, environment, management, task_id, _door: door })
    }

    fn show_settings(&self, args: &AutoscaleArgs) {
        let (scaling, WorkerConfig { batch_hosts, concurrency, .. }) = (&self.rendered.scaling, &self.settings);
        let (min, max) = (scaling.min_replica_count, scaling.max_replica_count);
        note(format_args!(
            "a worker: {batch_hosts} hosts in a search, {concurrency} at once; {} ms added",
            args.search_delay_ms
        ));
        for trigger in &scaling.triggers {
            note(format_args!("trigger {}: a worker for each {} jobs", trigger.name, trigger.metadata.value));
        }
        note(format_args!(
            "{min} to {max} workers; looks each {} s (KEDA) and {} s (HPA); down after {} s, to 0 after {} s",
            scaling.polling_interval,
            args.hpa_sync_s,
            scaling.behavior().scale_down.stabilization_window_seconds,
            scaling.cooldown_period
        ));
    }

    fn scalers(&self) -> anyhow::Result<Vec<Scaler>> {
        self.rendered.scaling.triggers.iter().map(|trigger| Scaler::new(trigger, &self.management)).collect()
    }

    /// A run over a pool of so many hosts, from the same state each time, and what must hold of it.
    async fn play(&mut self, hosts: u32, is_scaled: bool, args: &AutoscaleArgs) -> anyhow::Result<(PlayRecord, Rows)> {
        for table in ["server_resources", "es_sync_newest_window"] {
            self.bed.pool.execute(AssertSqlSafe(format!("TRUNCATE TABLE {table}"))).await?;
        }
        fill_pool(&self.bed.pool, hosts).await.context("the hosts could not be put into hosts_pool")?;
        let mut autoscaler =
            Autoscaler::new(&self.rendered.scaling, self.scalers()?, Duration::from_secs(args.hpa_sync_s));
        let workers = Workers::new(self.environment.clone(), args.folder.clone(), self.rendered.pod_grace)?;
        let queues = self.scalers()?;
        let stage = Stage { client: &self.client, fleet: &mut self.fleet, queues: &queues, limit: LIMIT };
        let decider = if is_scaled { Decider::Autoscaler(&mut autoscaler) } else { Decider::Nobody };
        let played = play(stage, self.task_id, workers, decider).await?;
        let rows = Rows::of(&self.bed, &played.run).await?;
        judge(hosts, &played, &rows, self.settings.shutdown_grace, is_scaled)?;
        Ok((played, rows))
    }

    /// Stops the services and removes everything from the servers.
    async fn close(self) -> anyhow::Result<()> {
        let Self { fleet, bed, .. } = self;
        drop(fleet);
        bed.remove().await
    }
}

/// What a worker's pod has beside the file: its secrets, and here the addresses of this machine.
fn environment(bed: &Bed, config: &Path, search_url: &str) -> Vec<(String, String)> {
    vec![
        ("HOSTSYNC_CONFIG".to_owned(), config.display().to_string()),
        ("HOSTSYNC_DATABASE__URL".to_owned(), bed.database_url()),
        ("HOSTSYNC_RABBITMQ__URL".to_owned(), bed.servers.rabbitmq_url.clone()),
        ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL".to_owned(), search_url.to_owned()),
    ]
}

/// What a worker makes of the rendered file; it must name the queues and the index that are used here.
fn settings(bed: &Bed, file: &Path, environment: &[(String, String)]) -> anyhow::Result<WorkerConfig> {
    let config = Config::load_for(Service::Worker, Some(file), environment.to_vec())?;
    let (prefix, pattern) = (&config.rabbitmq.prefix, &config.elasticsearch.default_index_pattern);
    anyhow::ensure!(
        *prefix == bed.name && *pattern == bed.index.name,
        "the chart was rendered for the prefix {prefix} and the index {pattern}, not for {} and {}",
        bed.name,
        bed.index.name
    );
    Ok(config.worker)
}

fn show_result(hosts: u32, played: &PlayRecord, rows: &Rows, alone: Option<&(u32, Rows)>) {
    let speed = |hosts: u32, rows: &Rows| f64::from(hosts) / rows.working_time().as_secs_f64().max(0.001);
    let row = |what: &str, hosts: u32, rows: &Rows| {
        let time = format!("{:.1}", rows.working_time().as_secs_f64());
        vec![what.to_owned(), count(hosts as usize), time, rate(speed(hosts, rows))]
    };
    line("Result");
    let mut lines = vec![["", "hosts", "s from the first job", "hosts/s"].map(str::to_owned).to_vec()];
    if let Some((hosts, rows)) = alone {
        lines.push(row("one worker", *hosts, rows));
    }
    lines.push(row(&format!("0 → {} → 0 workers", played.peak()), hosts, rows));
    table(&lines);
    if let Some((alone_hosts, alone)) = alone {
        let times = speed(hosts, rows) / speed(*alone_hosts, alone);
        note(format_args!("{times:.1} times as fast as one worker, with the time to scale in it"));
        if *alone_hosts < hosts {
            let whole = f64::from(hosts) / speed(*alone_hosts, alone);
            note(format_args!("one worker would take {whole:.0} s for all of them, at the speed of its part"));
        }
    }
    let since = |later: Duration, earlier: Duration| later.saturating_sub(earlier).as_secs_f64();
    note(format_args!("first job to first worker: {:.1} s", since(played.first_worker, rows.first_job)));
    note(format_args!("last outcome to no worker: {:.1} s", since(played.all_gone, rows.ended)));
    for worker in &played.gone {
        note(format_args!(
            "worker {} was told to stop at {:.1} s with {} hosts to do, and ended in {:.1} s",
            worker.number,
            worker.told_at.as_secs_f64(),
            worker.jobs_left,
            worker.took.as_secs_f64()
        ));
    }
}
