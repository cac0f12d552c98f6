//! The demonstration: sample data of both families, the three services, a scheduled run, a manual run, one of hosts that
//! Metricbeat watches, and what came of them.
//!
//! It may be interrupted and run again at any time: services that it started are stopped, and whatever stands on the
//! servers is completed or made anew. `bench/demo.sh` stops the services of an earlier demonstration first.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, NaiveDate, TimeDelta, Timelike as _, Utc};
use clap::Parser;
use hostsync_service::config::{Config, Service};
use hostsync_store::database::SchemaError;
use hostsync_testing::bed::Bed;
use hostsync_testing::client::Client;
use hostsync_testing::documents::{Family, SampleHost, SampleIndex};
use hostsync_testing::process::binary;
use reqwest::Method;
use serde_json::{Value, json};

use crate::expected::{self, Resource};
use crate::fleet::{FleetPorts, ServiceFleet, Size, listen};
use crate::runs::{Run, follow, newest};
use crate::sample::{self, SampleFill, Wanted};
use crate::screen::{Step, count, line, note, rate, seconds, table};

/// Its database, queue prefix and index, always the same, so that a second demonstration finds the data of the first.
const NAME: &str = "hostsync_demo";

/// The task that fires.
const TASK: &str = "demo: every 20 seconds";

/// Hosts in the pool; the last of them have no documents.
const HOSTS: u32 = 1_000;
const HOSTS_WITH_DOCUMENTS: u32 = 980;

/// So many of those with documents, the first, are watched by Metricbeat as well.
const METRICBEAT_HOSTS: u32 = 20;

/// One document a host each so often.
const DOCUMENT_EVERY: TimeDelta = TimeDelta::minutes(5);

/// Documents reach so far ahead of the clock.
const AHEAD: TimeDelta = TimeDelta::minutes(10);

/// The host list of the manual run: hosts of the pool, from here on, and some that are outside.
const LIST_FROM: u32 = 790;
const LIST_OUTSIDE: u32 = 5;

/// The task fires at this many seconds from now, and then every 20.
const FIRE_IN_S: u32 = 4;

/// Longest wait for the task to fire and for a run to end.
const FIRE_WITHIN: Duration = Duration::from_mins(1);
const END_WITHIN: Duration = Duration::from_mins(3);

/// Pause between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// Tells the demonstration's processes from others: `bench/demo.sh` finds them by it.
const MARK: &str = "HOSTSYNC_DEMO";

/// `hostsync-demo`; `make demo` runs it.
#[derive(Debug, Parser)]
#[command(name = "hostsync-demo", about = "Shows hostsync at work on the development servers; run it by `make demo`")]
pub struct DemoArgs {
    /// Where logs, pids and the token go
    #[arg(long, default_value = ".dev/demo")]
    pub folder: PathBuf,
    /// Number of its first step: what runs it has done others before
    #[arg(long, default_value_t = 1)]
    pub first_step: u32,
}

/// Runs the demonstration and leaves the services up.
///
/// # Errors
///
/// A sentence that says what went wrong and where the log is. The services are stopped then.
pub async fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let steps = args.first_step + 4;
    let heading = |n: u32, text: &str| format!("[{}/{steps}] {text}", args.first_step + n);
    let folder = prepare_folder(&args.folder)?;
    let token = Token::new(&args.folder)?;

    let step = Step::begin(heading(
        0,
        "Sample data: 1,000 hosts in the pool, 980 of them with 24 h of documents every 5 minutes, 20 by Metricbeat too",
    ));
    let bed = open_bed().await?;
    sample::fill_pool(&bed.pool, HOSTS).await.context("the hosts could not be put into hosts_pool")?;
    let wanted = Wanted { hosts: HOSTS_WITH_DOCUMENTS, step: DOCUMENT_EVERY, ahead: AHEAD };
    let filled = sample::fill(&bed.index, wanted).await.context("the documents could not be written")?;
    let beats = SampleIndex::existing_of(
        Family::Metricbeat,
        &bed.servers.elasticsearch_url,
        &format!("{}-metricbeat", bed.index.name),
    );
    let wanted = Wanted { hosts: METRICBEAT_HOSTS, ..wanted };
    sample::fill(&beats, wanted).await.context("the documents of Metricbeat could not be written")?;
    step.done(match filled {
        SampleFill::Reused => "the documents of an earlier demonstration are still good".to_owned(),
        SampleFill::ToppedUp(documents) => {
            format!("{} documents added to those of an earlier demonstration", count(documents))
        }
        SampleFill::Written(documents) => {
            format!("{} documents written to the index {}", count(documents), bed.index.name)
        }
    });

    let step = Step::begin(heading(1, "Services: a scheduler, a worker and an API, as processes of their own"));
    let places = FleetPorts::free(Size { workers: 1 })?;
    let configuration = write_configuration(&bed, &token, &places, &folder)?;
    let environment = [("HOSTSYNC_CONFIG", &configuration), (MARK, &folder)];
    let environment = environment.map(|(name, path)| (name.to_owned(), path.display().to_string()));
    let mut fleet = ServiceFleet::start_at(&places, &environment, &args.folder)?;
    fleet.wait_until_ready().await?;
    let client = Client::with_token(fleet.api_url(), &token.secret);
    step.done(format!(
        "all three are ready, configured by {}; the API is at {}",
        configuration_file(&args.folder).display(),
        fleet.api_url()
    ));

    let step = Step::begin(heading(2, "Scheduled run: a task that fires every 20 seconds over the whole pool"));
    let (task_id, scheduled) = scheduled_run(&client, &mut fleet).await?;
    let rows = rows_of(&bed, &scheduled).await?;
    let hosts = (0..HOSTS_WITH_DOCUMENTS).map(SampleHost);
    let checked = expected::check(&rows, Family::Zabbix, hosts, scheduled.window(), DOCUMENT_EVERY)
        .context("the scheduled run wrote something else than its documents say")?;
    step.done(format!(
        "execution {} is {}; {} rows of server_resources equal what their documents say",
        scheduled.id,
        scheduled.execution_status,
        count(checked)
    ));

    let step = Step::begin(heading(3, "Manual run: a host list by REST, 5 of its hosts are not in the pool"));
    let manual = manual_run(&client, &mut fleet).await?;
    let rows = rows_of(&bed, &manual).await?;
    let hosts = (LIST_FROM..HOSTS_WITH_DOCUMENTS).map(SampleHost);
    expected::check(&rows, Family::Zabbix, hosts, manual.window(), DOCUMENT_EVERY)
        .context("the manual run wrote something else than its documents say")?;
    step.done(format!("execution {} is {}", manual.id, manual.execution_status));

    let step = Step::begin(heading(4, "Metricbeat run: the same columns from documents of another family"));
    let beat = metricbeat_run(&client, &mut fleet, &beats).await?;
    let rows = rows_of(&bed, &beat).await?;
    let hosts = (0..METRICBEAT_HOSTS).map(SampleHost);
    let checked = expected::check(&rows, Family::Metricbeat, hosts, beat.window(), DOCUMENT_EVERY)
        .context("the run over Metricbeat's documents wrote something else than they say")?;
    step.done(format!(
        "execution {} is {}; {checked} rows equal what their documents say",
        beat.id, beat.execution_status
    ));

    show_outcomes(&[("scheduled", &scheduled), ("manual", &manual), ("Metricbeat", &beat)]);
    show_rows(&rows);
    show_urls(&bed, &fleet, args);
    show_next_steps(&fleet, args, task_id, &manual);
    line(format_args!(
        "\nThe demonstration took {} s. The services go on; stop everything with: make down",
        seconds(started.elapsed())
    ));
    fleet.leave_up();
    Ok(())
}

/// The folder exists; returns its full path.
fn prepare_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder.canonicalize()?)
}

/// The operator's token, new for each demonstration. It stands in two files that only their owner can read: as it is, for
/// the API, and as a header, for curl.
struct Token {
    secret: String,
    file: PathBuf,
}

impl Token {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let secret = format!("{:032x}", rand::random::<u128>());
        let file = token_file(folder);
        write_secret(&file, &secret)?;
        write_secret(&header_file(folder), &format!("Authorization: Bearer {secret}\n"))?;
        Ok(Self { secret, file: file.canonicalize()? })
    }
}

fn token_file(folder: &Path) -> PathBuf {
    folder.join("operator-token")
}

fn header_file(folder: &Path) -> PathBuf {
    folder.join("authorization")
}

fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // A file that was there keeps its mode.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

async fn open_bed() -> anyhow::Result<Bed> {
    match Bed::open(NAME, false).await {
        Err(error) if matches!(error.downcast_ref(), Some(SchemaError::Migrate(_))) => {
            note(format_args!("the database {NAME} has the schema of another version: it is made anew"));
            Bed::open(NAME, true).await
        }
        outcome => outcome,
    }
    .context("the development servers cannot be used; their logs are in .dev/log")
}

/// Writes what the services are configured with, readable for its owner alone, as everybody would write it.
fn write_configuration(bed: &Bed, token: &Token, places: &FleetPorts, folder: &Path) -> anyhow::Result<PathBuf> {
    let file = configuration_file(folder);
    write_secret(&file, &configuration(bed, token, places))?;
    Config::load_for(Service::Api, Some(&file), std::iter::empty::<(String, String)>())?;
    Ok(file)
}

fn configuration_file(folder: &Path) -> PathBuf {
    folder.join("hostsync.toml")
}

fn configuration(bed: &Bed, token: &Token, places: &FleetPorts) -> String {
    // A JSON text is a TOML one.
    let text = |value: &str| Value::from(value).to_string();
    let at = |port: u16| text(&listen(port));
    format!(
        "# Written by `make demo`, anew each time.\n\n\
         [database]\nurl = {}\n\n\
         [rabbitmq]\nurl = {}\nprefix = {}\n\n\
         [elasticsearch]\ndefault_index_pattern = {}\n\n\
         [elasticsearch.endpoints.default]\nurl = {}\n\n\
         [api]\nlisten = {}\nrpc_listen = {}\noperator_token_file = {}\n\n\
         [scheduler]\nlisten = {}\n\n\
         [worker]\nlisten = {}\n",
        text(&bed.database_url()),
        text(&bed.servers.rabbitmq_url),
        text(&bed.name),
        text(&bed.index.name),
        text(&bed.servers.elasticsearch_url),
        at(places.api),
        at(places.rpc),
        text(&token.file.display().to_string()),
        at(places.scheduler),
        at(places.workers.first().copied().unwrap_or_default()),
    )
}

/// Creates the task, or takes the one of an earlier demonstration, waits until it fires, follows the run, and disables
/// the task again.
async fn scheduled_run(client: &Client, fleet: &mut ServiceFleet) -> anyhow::Result<(u64, Run)> {
    let expression = expression(sample::now());
    let mut fields = json!({
        "task_name": TASK,
        "description": "The whole pool, the last 24 hours. Made by make demo.",
        "cron_expression": expression,
        "query_time_range": "24h",
        "is_enabled": true,
    });
    let known = client.ok(Method::GET, "/es-sync-tasks?name=demo", None).await?;
    let known = known["tasks"].as_array().and_then(|tasks| tasks.iter().find(|task| task["task_name"] == TASK));
    let task_id = if let Some(task_id) = known.and_then(|task| task["id"].as_u64()) {
        client.ok(Method::PUT, &format!("/es-sync-tasks/{task_id}"), Some(&fields)).await?;
        task_id
    } else {
        fields["created_by"] = "make demo".into();
        let created = client.ok(Method::POST, "/es-sync-tasks", Some(&fields)).await?;
        created["task_id"].as_u64().context("the API made a task and did not say its id")?
    };
    let earlier = newest(client, task_id, 1).await?.first().map_or(0, |run| run.id);
    let answer = client.ok(Method::GET, &format!("/es-sync-tasks/{task_id}"), None).await?;
    let next = answer["task"]["next_execution_time"].as_str().unwrap_or("soon").to_owned();
    note(format_args!("task {task_id} ({expression}) fires next at {next}"));
    let id = wait_for_fire(client, fleet, task_id, earlier).await?;
    let run = follow(client, fleet, id, "scheduled run", LOOK_EVERY, END_WITHIN).await?;
    client.enable_task(task_id, false).await?;
    anyhow::ensure!(
        run.execution_status == "success",
        "execution {id} ended as {}: {}",
        run.execution_status,
        run.error_message.as_deref().unwrap_or("no reason given")
    );
    Ok((task_id, run))
}

/// Every 20 seconds, beginning in a few.
fn expression(now: DateTime<Utc>) -> String {
    let first = (now.second() + FIRE_IN_S) % 20;
    format!("{},{},{} * * * * *", first, first + 20, first + 40)
}

async fn wait_for_fire(client: &Client, fleet: &mut ServiceFleet, task_id: u64, earlier: u64) -> anyhow::Result<u64> {
    let started = Instant::now();
    loop {
        // A fire is skipped while the run of an interrupted demonstration is still going; one of the next is not.
        let fired = newest(client, task_id, 5)
            .await?
            .into_iter()
            .find(|run| run.id > earlier && !matches!(run.execution_status.as_str(), "skipped" | "waiting"));
        if let Some(run) = fired {
            return Ok(run.id);
        }
        fleet.check()?;
        anyhow::ensure!(
            started.elapsed() < FIRE_WITHIN,
            "task {task_id} has not fired within {} s; see the scheduler's log",
            FIRE_WITHIN.as_secs()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn manual_run(client: &Client, fleet: &mut ServiceFleet) -> anyhow::Result<Run> {
    let hosts: Vec<String> = (LIST_FROM..HOSTS + LIST_OUTSIDE).map(|n| SampleHost(n).ip()).collect();
    let id = client.execute("demo: a host list", &hosts, "24h").await?;
    let run = follow(client, fleet, id, "manual run", LOOK_EVERY, END_WITHIN).await?;
    let outcomes = (run.success_count, run.no_data_count, run.not_in_pool_count);
    let wanted =
        (u64::from(HOSTS_WITH_DOCUMENTS - LIST_FROM), u64::from(HOSTS - HOSTS_WITH_DOCUMENTS), u64::from(LIST_OUTSIDE));
    anyhow::ensure!(outcomes == wanted, "execution {id} ended otherwise than it must: {}", run.outcomes());
    Ok(run)
}

/// Hosts by another mapping and index than the default's.
async fn metricbeat_run(client: &Client, fleet: &mut ServiceFleet, index: &SampleIndex) -> anyhow::Result<Run> {
    let hosts: Vec<String> = (0..METRICBEAT_HOSTS).map(|n| SampleHost(n).ip()).collect();
    let body = json!({
        "task_name": "demo: hosts of Metricbeat", "host_ip_list": hosts, "query_time_range": "24h",
        "mapping": "metricbeat", "es_index_pattern": index.name,
    });
    let answer = client.ok(Method::POST, "/es-sync-execute", Some(&body)).await?;
    let id = answer["execution_id"].as_u64().context("the API made an execution and did not say its id")?;
    let run = follow(client, fleet, id, "Metricbeat run", LOOK_EVERY, END_WITHIN).await?;
    anyhow::ensure!(
        run.success_count == u64::from(METRICBEAT_HOSTS),
        "execution {id} ended otherwise than it must: {}",
        run.outcomes()
    );
    Ok(run)
}

/// The rows of the day that a run wrote; its day is that of its window's end, in UTC.
async fn rows_of(bed: &Bed, run: &Run) -> anyhow::Result<HashMap<String, Resource>> {
    let day: NaiveDate = run.window_to.date_naive();
    expected::rows(&bed.pool, day).await.context("server_resources cannot be read")
}

fn show_outcomes(runs: &[(&str, &Run)]) {
    line("\nOutcomes");
    let mut rows = vec![
        ["", "hosts", "success", "no data", "not in pool", "failed", "seconds", "hosts/s"].map(str::to_owned).to_vec(),
    ];
    for (label, run) in runs {
        rows.push(vec![
            format!("execution {} ({label})", run.id),
            count(run.total()),
            run.success_count.to_string(),
            run.no_data_count.to_string(),
            run.not_in_pool_count.to_string(),
            run.failed_count.to_string(),
            format!("{:.3}", Duration::from_millis(run.duration_ms.unwrap_or(0)).as_secs_f64()),
            rate(run.hosts_per_second()),
        ]);
    }
    table(&rows);
}

/// Hosts of both families as columns, since a row has many of them.
fn show_rows(rows: &HashMap<String, Resource>) {
    let hosts = [(LIST_FROM, "zabbix"), (LIST_FROM + 1, "zabbix"), (LIST_FROM + 2, "zabbix"), (0, "metricbeat")];
    let shown: Vec<(&Resource, &str)> =
        hosts.iter().filter_map(|(n, mapping)| Some((rows.get(&SampleHost(*n).ip())?, *mapping))).collect();
    line("\nRows of server_resources, as they stand in the database");
    let mut cells = vec![
        std::iter::once("read by the mapping")
            .chain(shown.iter().map(|(_, mapping)| *mapping))
            .map(str::to_owned)
            .collect(),
        std::iter::once("ip".to_owned()).chain(shown.iter().map(|(row, _)| row.ip.clone())).collect::<Vec<String>>(),
        std::iter::once("mon_date".to_owned()).chain(shown.iter().map(|(row, _)| row.mon_date.to_string())).collect(),
    ];
    let columns: Vec<_> = shown.iter().map(|(row, _)| row.columns()).collect();
    let Some(first) = columns.first() else { return };
    for (place, (name, _)) in first.iter().enumerate() {
        let unit = if name.starts_with("used") { "GB" } else { "%" };
        let values =
            columns.iter().map(|row| row[place].1.map_or("NULL".to_owned(), |value| format!("{value:.2} {unit}")));
        cells.push(std::iter::once((*name).to_owned()).chain(values).collect());
    }
    table(&cells);
}

fn show_urls(bed: &Bed, fleet: &ServiceFleet, args: &DemoArgs) {
    line("\nWhere things are");
    let mut rows = Vec::new();
    for service in &fleet.services {
        let url = &service.url;
        let mut paths = vec![format!("{url}/healthz"), format!("{url}/readyz"), format!("{url}/metrics")];
        if service.name == "api" {
            paths.push(format!("{url}/openapi.json"));
            rows.push((
                "console".to_owned(),
                format!("{url}/ (it asks for the token in {})", token_file(&args.folder).display()),
            ));
            rows.push(("the API, to try".to_owned(), format!("{url}/docs")));
        }
        rows.push((format!("{} (pid {})", service.name, service.pid()), paths.join("  ")));
    }
    rows.push(("configuration".to_owned(), configuration_file(&args.folder).display().to_string()));
    rows.push(("database".to_owned(), bed.database_url()));
    rows.push(("documents".to_owned(), format!("{}/{}/_search", bed.servers.elasticsearch_url, bed.index.name)));
    rows.push(("logs".to_owned(), format!("{}/*.log; of the servers: .dev/log", args.folder.display())));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, place) in rows {
        note(format_args!("{name:<width$}  {place}"));
    }
}

fn show_next_steps(fleet: &ServiceFleet, args: &DemoArgs, task_id: u64, manual: &Run) {
    let base = format!("{}/api/cmdb/v1", fleet.api_url());
    let curl = format!("curl -sS -H @{}", header_file(&args.folder).display());
    let pretty = pretty();
    let json = "-H 'content-type: application/json'";
    let (ip, other) = (SampleHost(0).ip(), SampleHost(HOSTS + LIST_OUTSIDE).ip());
    line("\nTo try next, in this folder (the operator's token is read from a file)");
    let body = |value: Value| value.to_string();
    let enable = |is_enabled: bool| {
        let body = body(json!({"id": task_id, "is_enabled": is_enabled}));
        format!("{curl} {json} -X PUT {base}/es-sync-tasks/enable -d '{body}'{pretty}")
    };
    let lines = [
        ("the tasks", format!("{curl} {base}/es-sync-tasks{pretty}")),
        ("the last runs", format!("{curl} '{base}/es-sync-execution-logs?limit=5'{pretty}")),
        (
            "who was not in the pool",
            format!("{curl} '{base}/es-sync-execution-detail/{}?status=not_in_pool'{pretty}", manual.id),
        ),
        (
            "sync two hosts now and wait for the result",
            format!(
                "{curl} {json} {base}/es-sync-execute -d '{}'{pretty}",
                body(json!({
                    "task_name": "by hand", "host_ip_list": [ip, other], "query_time_range": "24h", "wait_seconds": 10,
                }))
            ),
        ),
        ("let the task fire every 20 seconds again", enable(true)),
        ("stop it", enable(false)),
    ];
    for (what, command) in lines {
        note(format_args!("# {what}"));
        note(command);
    }
    if let Ok(program) = binary("hostsync-api") {
        let (program, configuration) = (program.display(), configuration_file(&args.folder));
        note("# whether all is well, and what to do about what is not");
        note(format_args!("{program} --config {} doctor", configuration.display()));
        note("# every key of the configuration");
        note(format_args!("{program} --help"));
    }
}

/// What makes an answer readable, of what this machine has; else nothing.
fn pretty() -> &'static str {
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let has = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    match (has("jq"), has("python3")) {
        (true, _) => " | jq .",
        (_, true) => " | python3 -m json.tool --no-ensure-ascii",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_fires_in_a_few_seconds_and_then_every_twenty() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        assert_eq!(expression(at("2026-01-01T00:00:00Z")), "4,24,44 * * * * *");
        assert_eq!(expression(at("2026-01-01T00:00:58Z")), "2,22,42 * * * * *");
        assert_eq!(expression(at("2026-01-01T00:00:16Z")), "0,20,40 * * * * *");
    }

    #[test]
    fn a_secret_is_readable_for_its_owner_alone() {
        let path = std::env::temp_dir().join(format!("hostsync-demo-test-{:x}", rand::random::<u64>()));
        fs::write(&path, "longer than what follows").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
        write_secret(&path, "secret").expect("written");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        let text = fs::read_to_string(&path).expect("text");
        fs::remove_file(&path).expect("removed");
        assert_eq!((mode & 0o777, text.as_str()), (0o600, "secret"));
    }
}
