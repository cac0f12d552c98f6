//! Fires tasks: one transaction a task that locks and rereads it, inserts the executions and moves its next fire.
//!
//! The unique key (`task_id`, `scheduled_for`) stands behind the lock. The execution's creator holds its first lease and
//! goes on to prepare and publish it; if it dies, a sweep takes over.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_shared::catch_up::CatchUpWindow;
use hostsync_shared::causes::causes;
use hostsync_shared::database::{self, Fault, Refused};
use hostsync_shared::execution::{ExecutionId, ExecutionStatus, JobQueue, OverlapPolicy, TaskId, Trigger};
use hostsync_shared::loops::{LIMIT, Turns};
use hostsync_shared::metrics::{FireOutcome, Metrics};
use hostsync_shared::outbox::{CarriedOn, OutboxError};
use hostsync_shared::schedule::CronSchedule;
use hostsync_shared::tables::executions::{self, LeaseToken, NewExecution, Scope};
use hostsync_shared::tables::tasks::{self, Task};
use hostsync_shared::telemetry;
use hostsync_shared::window::{TimeRange, Window};
use sqlx::MySqlConnection;
use tracing::Instrument;

use crate::Scheduler;
use crate::plan::{FirePlan, Missed, plan};

/// Longest sleep between two looks at what is due: a task changed through the API takes effect within a second.
const LONGEST_SLEEP: Duration = Duration::from_millis(400);

/// Shortest sleep, so that a task which cannot be fired does not keep the database busy.
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);

/// Sleep while the database is away.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// Longest transaction of a fire, and longest look at what is due; a database that does not answer at all must not stop
/// fires for ever.
const LONGEST_FIRE: Duration = Duration::from_secs(30);

/// Tasks fired before looking again.
const TASKS_PER_ROUND: u32 = 100;

/// Who makes a scheduled execution.
const CREATED_BY: &str = "scheduler";

/// A run that this process has made and now carries on.
struct Started {
    id: ExecutionId,
    token: LeaseToken,
}

/// Fires what is due until the shutdown begins.
pub(crate) async fn run(scheduler: Arc<Scheduler>) {
    let turns = scheduler.loops.begin("fire", LIMIT);
    while !scheduler.shutdown.is_stopping() {
        turns.turned();
        let sleep = match round(&scheduler, &turns).await {
            Ok(sleep) => sleep,
            Err(error) => {
                tracing::warn!(error = %causes(&error), "fires wait: the database failed");
                DATABASE_PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = scheduler.shutdown.stopping() => {}
        }
    }
}

/// Fires every task that is due; returns how long to sleep then.
async fn round(scheduler: &Arc<Scheduler>, turns: &Turns) -> Result<Duration, sqlx::Error> {
    let due = database::within(LONGEST_FIRE, async {
        let mut connection = scheduler.pool.acquire().await?;
        tasks::due(&mut connection, TASKS_PER_ROUND).await
    })
    .await?;
    for task in &due {
        turns.turned();
        let span = tracing::info_span!("fire", task_id = %task);
        let fired = database::within(LONGEST_FIRE, fire(scheduler, *task).instrument(span.clone())).await;
        if let Err(error) = &fired {
            telemetry::set_failed(&span, causes(error).to_string());
        }
        match fired {
            // One bad row holds up no other task.
            Err(error) if !database::fault(&error).is_outage() => {
                span.in_scope(
                    || tracing::error!(task_id = %task, error = %causes(&error), "task {task} cannot be fired"),
                );
            }
            other => other?,
        }
    }
    if due.len() == TASKS_PER_ROUND as usize {
        return Ok(Duration::ZERO);
    }
    let next = database::within(LONGEST_FIRE, async {
        let mut connection = scheduler.pool.acquire().await?;
        tasks::next_due_in_ms(&mut connection).await
    });
    let next = next.await?;
    Ok(next.map_or(LONGEST_SLEEP, |ms| {
        Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1).clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }))
}

/// Fires one task, if it is still enabled and due when its row is locked.
async fn fire(scheduler: &Arc<Scheduler>, id: TaskId) -> Result<(), sqlx::Error> {
    let mut transaction = scheduler.pool.begin().await?;
    let started = match tasks::lock_unless_busy(&mut transaction, id).await? {
        Some(task) if task.is_enabled => fire_locked(scheduler, &mut transaction, &task).await?,
        _ => None,
    };
    transaction.commit().await?;
    if let Some(started) = started {
        carry_on(scheduler, started.id, started.token);
    }
    Ok(())
}

async fn fire_locked(
    scheduler: &Scheduler,
    connection: &mut MySqlConnection,
    task: &Task,
) -> Result<Option<Started>, sqlx::Error> {
    let now = database::now(connection).await?;
    let schedule = match scheduler.defaults.schedule(&task.cron_expression, &task.time_zone) {
        Ok(schedule) => schedule,
        Err(error) => {
            // Only rows that the API did not write: an expression of the old program that does not parse.
            tracing::error!(task_id = %task.id, error = %causes(&error), "task {} is disabled: its schedule cannot be read", task.id);
            tasks::set_next(connection, task.id, None).await?;
            return Ok(None);
        }
    };
    let anchor = task.schedule_anchor.unwrap_or(DateTime::UNIX_EPOCH);
    let Some(due) = task.next_execution_time else {
        tasks::set_next(connection, task.id, schedule.next_after(now, anchor)).await?;
        return Ok(None);
    };
    let FirePlan { missed, run, next } = plan(&schedule, anchor, due, now, catch_up(task));
    record_missed(scheduler, connection, task, &schedule, &missed).await?;
    let started = match run {
        Some(scheduled_for) => start(scheduler, connection, task, &schedule, scheduled_for, now).await?,
        None => None,
    };
    tasks::set_next(connection, task.id, next).await?;
    Ok(started)
}

/// How late a missed fire may still run. Rows that the API did not write may hold anything: the default then.
fn catch_up(task: &Task) -> TimeDelta {
    task.catch_up_window.parse::<CatchUpWindow>().unwrap_or_default().delta()
}

/// Makes the execution of a fire, as the task's overlap policy says.
async fn start(
    scheduler: &Scheduler,
    connection: &mut MySqlConnection,
    task: &Task,
    schedule: &CronSchedule,
    scheduled_for: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<Started>, sqlx::Error> {
    let (going, waiting) = executions::going_and_waiting(connection, task.id).await?;
    let (status, reason, outcome) = match task.overlap_policy {
        OverlapPolicy::Skip if going || waiting => {
            (ExecutionStatus::Skipped, Some("the last run of this task was still going"), FireOutcome::Skipped)
        }
        OverlapPolicy::Queue if waiting => {
            (ExecutionStatus::Skipped, Some("a run of this task was already waiting"), FireOutcome::Skipped)
        }
        OverlapPolicy::Queue if going => (ExecutionStatus::Waiting, None, FireOutcome::Waiting),
        _ => (ExecutionStatus::Running, None, FireOutcome::Started),
    };
    let token = LeaseToken::new();
    let lease = (status == ExecutionStatus::Running).then_some(token);
    let inserted = insert(scheduler, connection, task, schedule, scheduled_for, status, reason, lease).await?;
    let Some(id) = inserted else {
        return Ok(None);
    };
    let metrics = Metrics::global();
    metrics.fires(outcome, 1);
    if status == ExecutionStatus::Skipped {
        tracing::info!(task_id = %task.id, execution_id = %id, "a fire of task {} is skipped: the last run is going", task.id);
        return Ok(None);
    }
    tasks::set_last_execution(connection, task.id, id).await?;
    metrics.fire_lateness((now - scheduled_for).to_std().unwrap_or_default());
    tracing::info!(
        task_id = %task.id, execution_id = %id, scheduled_for = %scheduled_for, status = %status,
        "task {} fires: execution {id} is {status}", task.id
    );
    Ok(lease.map(|token| Started { id, token }))
}

async fn record_missed(
    scheduler: &Scheduler,
    connection: &mut MySqlConnection,
    task: &Task,
    schedule: &CronSchedule,
    missed: &Missed,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(DateTime<Utc>, String)> = match missed {
        Missed::Each(fires) => fires
            .iter()
            .map(|fire| (*fire, format!("missed: no scheduler ran it within {}", task.catch_up_window)))
            .collect(),
        Missed::Many { first, last, count, or_more } => {
            let at_least = if *or_more { "at least " } else { "" };
            vec![(*last, format!("missed: {at_least}{count} fires from {first} to {last}, when no scheduler ran"))]
        }
    };
    for (fire, reason) in rows {
        insert(scheduler, connection, task, schedule, fire, ExecutionStatus::Skipped, Some(&reason), None).await?;
    }
    if missed.len() > 0 {
        Metrics::global().fires(FireOutcome::Missed, missed.len() as u64);
        tracing::warn!(task_id = %task.id, missed = missed.len(), "task {} missed {} fires", task.id, missed.len());
    }
    Ok(())
}

/// Inserts the execution of a fire; `None`: it stands already.
#[allow(clippy::too_many_arguments, reason = "the parts of one row")]
async fn insert(
    scheduler: &Scheduler,
    connection: &mut MySqlConnection,
    task: &Task,
    schedule: &CronSchedule,
    scheduled_for: DateTime<Utc>,
    status: ExecutionStatus,
    reason: Option<&str>,
    lease: Option<LeaseToken>,
) -> Result<Option<ExecutionId>, sqlx::Error> {
    let source = scheduler.defaults.source(&task.es_endpoint, &task.es_index_pattern, &task.mapping);
    let range: TimeRange = task.query_time_range.parse().unwrap_or_else(|_| TimeRange::default_range());
    let scope = Scope {
        window: Window::ending_at(scheduled_for, &range),
        query_time_range: range.to_string(),
        mon_date: scheduled_for.with_timezone(&schedule.time_zone()).date_naive(),
        es_endpoint: source.es_endpoint,
        es_index_pattern: source.es_index_pattern,
        mapping: source.mapping,
    };
    let headers = telemetry::current_trace_headers();
    let new = NewExecution {
        task_id: task.id,
        task_name: &task.task_name,
        trigger: Trigger::Schedule,
        scheduled_for: Some(scheduled_for),
        status,
        scope: &scope,
        queue: JobQueue::Bulk,
        created_by: CREATED_BY,
        error_message: reason,
        lease,
        trace_context: headers.get("traceparent").map(String::as_str),
    };
    match executions::insert(connection, &new).await {
        Ok(id) => Ok(Some(id)),
        Err(error) if database::fault(&error) == Fault::Refused(Refused::Duplicate) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Prepares and publishes a run in the background.
pub(crate) fn carry_on(scheduler: &Arc<Scheduler>, id: ExecutionId, token: LeaseToken) {
    let owner = Arc::clone(scheduler);
    scheduler.shutdown.spawn("carry on", async move {
        let work = async {
            let _permit = owner.publishing.acquire().await;
            let outcome = owner.outbox.carry_on(id, token).await;
            report(id, &outcome);
        };
        // Whatever it hangs in when the grace period is over, another scheduler goes on with it.
        tokio::select! {
            () = work => {}
            () = owner.shutdown.ending(Duration::ZERO) => {}
        }
    });
}

/// Says how a stretch of work on a run went.
pub(crate) fn report(id: ExecutionId, outcome: &Result<CarriedOn, OutboxError>) {
    if let Err(error) = outcome {
        tracing::warn!(execution_id = %id, error = %causes(error), "execution {id} waits to be published");
    }
}
