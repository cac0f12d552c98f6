//! What the services make of it: closed endpoints, runs that stand still, fires that nobody starts, tasks that name what
//! is not configured.

use std::collections::BTreeMap;

use hostsync_model::causes::causes;
use hostsync_model::execution::JobQueue;
use hostsync_queue::Depth;
use hostsync_service::config::Config;
use hostsync_service::defaults::Defaults;
use hostsync_store::tables::dead_letters::{self, LetterFilter};
use hostsync_store::tables::tasks::{self, TaskFilter, TaskView};
use hostsync_store::tables::{diagnosis, doubts, endpoint_state, pattern_state};
use sqlx::MySqlConnection;

use super::database::failed;
use super::{Check, within};
use crate::operate::stuck::{self, SILENT_S};

/// Runs and tasks told of one by one; beyond it there is a number.
const SHOWN: usize = 5;

/// Tasks looked at.
const MAX_TASKS: u32 = 1_000;

pub(super) async fn examine(
    connection: &mut MySqlConnection,
    config: &Config,
    depths: &BTreeMap<JobQueue, Depth>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    match within(ask(connection, config, depths, &mut checks)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => checks.push(failed("runs", &error)),
        Err(reason) => checks.push(Check::fail("runs", reason, "SHOW PROCESSLIST on the server")),
    }
    checks
}

async fn ask(
    connection: &mut MySqlConnection,
    config: &Config,
    depths: &BTreeMap<JobQueue, Depth>,
    checks: &mut Vec<Check>,
) -> Result<(), sqlx::Error> {
    let closed = endpoint_state::closed(connection).await?;
    for endpoint in &closed {
        let name = &endpoint.endpoint;
        let since = endpoint.since.format("%Y-%m-%d %H:%M:%SZ");
        let found = format!("{name} is closed for the fleet since {since}: {}", endpoint.reason);
        let next = format!(
            "mend what `source {name}` says; it opens by itself within 15 s while a worker or a scheduler runs"
        );
        checks.push(Check::fail("endpoints", found, next));
    }
    if closed.is_empty() {
        checks.push(Check::ok("endpoints", "none is closed"));
    }

    checks.extend(left_alone(connection).await?);

    let limit = u32::try_from(SHOWN).unwrap_or(u32::MAX);
    let silent = diagnosis::silent_runs(connection, SILENT_S, limit).await?;
    for run in &silent {
        let cause = stuck::cause(run, &closed, stuck::depth_of(run, depths));
        let found = format!("execution {} makes no progress for {} min: {}", run.id, run.silent_s / 60, cause.reason);
        checks.push(if cause.is_expected {
            Check::warn("runs", found, cause.next)
        } else {
            Check::fail("runs", found, cause.next)
        });
    }
    if silent.is_empty() {
        checks.push(Check::ok("runs", format!("{} are going, none stands still", diagnosis::going(connection).await?)));
    }

    for (id, waiting_for) in diagnosis::waiting(connection, limit).await? {
        let next = "it goes on by itself when that is over; hostsync-api executions stuck shows how far it is";
        checks.push(Check::warn("waiting", format!("execution {id} waits: {waiting_for}"), next));
    }

    let fires = diagnosis::fires(connection).await?;
    checks.push(if fires.overdue > 0 {
        let found = format!(
            "{} of {} enabled tasks are overdue, the latest by {} s: no scheduler starts them",
            fires.overdue, fires.enabled, fires.longest_s
        );
        Check::fail(
            "schedule",
            found,
            "systemctl status hostsync-scheduler and its journal, or kubectl get pods -l \
             app.kubernetes.io/component=scheduler and their logs",
        )
    } else {
        Check::ok("schedule", format!("{} enabled tasks, none is overdue", fires.enabled))
    });

    checks.extend(unusable_tasks(connection, config).await?);
    Ok(())
}

/// Dead letters in their table, and in the queue that schedulers move them out of. Where one of both is not known, only the
/// other is told; what is wrong with it stands elsewhere.
pub(super) async fn dead_letters(
    connection: Option<&mut MySqlConnection>,
    in_broker: Option<&(String, u32)>,
) -> Option<Check> {
    let mut counts = Vec::new();
    if let Some(connection) = connection
        && let Ok(Ok(count)) = within(dead_letters::count(connection, &LetterFilter::default())).await
    {
        counts.push((count, "the table es_sync_dead_letter"));
    }
    counts.extend(in_broker.map(|(queue, count)| (u64::from(*count), queue.as_str())));
    let told: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, place)| format!("{count} in {place}")).collect();
    if counts.is_empty() {
        return None;
    }
    Some(if told.is_empty() {
        Check::ok("dead letters", "none")
    } else {
        let found = format!("{}: messages that could not be worked on", told.join(", "));
        Check::warn("dead letters", found, "hostsync-api dead-letters list")
    })
}

/// Patterns whose searches fail while their endpoint answers, and what workers say of sources that nobody has refuted.
async fn left_alone(connection: &mut MySqlConnection) -> Result<Vec<Check>, sqlx::Error> {
    let mut checks = Vec::new();
    for aside in pattern_state::set_aside(connection).await? {
        let since = aside.since.format("%Y-%m-%d %H:%M:%SZ");
        let found =
            format!("{} of {} is set aside since {since}: {}", aside.index_pattern, aside.endpoint, aside.reason);
        let next =
            "mend the index; its runs wait and go on by themselves within 15 s, while a worker or a scheduler runs";
        checks.push(Check::fail("index patterns", found, next));
    }
    for doubt in doubts::standing(connection).await? {
        let kind = doubt.subject.kind.as_str();
        let found = format!("workers say of {kind} {}: {}", doubt.subject.name, doubt.reason);
        let next =
            "give all workers the same configuration and restart them; without that the runs that wait for it fail";
        checks.push(Check::fail("workers", found, next));
    }
    Ok(checks)
}

/// Enabled tasks whose schedule cannot be read, or that name an endpoint or a mapping which this configuration lacks.
async fn unusable_tasks(connection: &mut MySqlConnection, config: &Config) -> Result<Vec<Check>, sqlx::Error> {
    let filter = TaskFilter { enabled_only: true, ..TaskFilter::default() };
    let tasks = tasks::list(connection, &filter, MAX_TASKS).await?;
    let defaults = Defaults::from(config);
    let mut checks = Vec::new();
    for TaskView { task, .. } in &tasks {
        let source = defaults.source(&task.es_endpoint, &task.es_index_pattern, &task.mapping);
        let mut lacking = Vec::new();
        if !config.elasticsearch.endpoints.contains_key(&source.es_endpoint) {
            lacking.push(format!("endpoint {}", source.es_endpoint));
        }
        if !config.mappings.contains_key(&source.mapping) {
            lacking.push(format!("mapping {}", source.mapping));
        }
        if let Err(error) = defaults.schedule(&task.cron_expression, &task.time_zone) {
            let found = format!("task {} ({}) does not fire: {}", task.id, task.task_name, causes(&error));
            checks.push(Check::fail("tasks", found, "change its cron_expression or its time_zone, or disable it"));
        }
        if !lacking.is_empty() {
            let found = format!("task {} ({}) names {}", task.id, task.task_name, lacking.join(" and "));
            let next = "which is not configured: add it to elasticsearch.endpoints or mappings, or change the task";
            checks.push(Check::fail("tasks", found, next));
        }
    }
    let more = checks.len().saturating_sub(SHOWN);
    if more > 0 {
        checks.truncate(SHOWN);
        checks.push(Check::fail("tasks", format!("and {more} more"), "GET /es-sync-tasks"));
    }
    if checks.is_empty() {
        checks.push(Check::ok("tasks", "their schedules can be read and what they name is configured"));
    }
    Ok(checks)
}
