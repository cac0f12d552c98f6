//! Fires tasks, some hundred in one transaction: locks and rereads those that are due, inserts their executions and moves
//! their next fires.
//!
//! What another scheduler has locked is left to it, so that all of them share the work. The unique key (`task_id`,
//! `scheduled_for`) stands behind the locks. Nobody holds a new execution: the publish sweep is called to go on with it, that
//! of this scheduler at once, the others' within a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hostsync_metrics::loops::{LIMIT, Turns};
use hostsync_metrics::spans;
use hostsync_metrics::{FireOutcome, Metrics};
use hostsync_model::catch_up::CatchUpWindow;
use hostsync_model::causes::causes;
use hostsync_model::execution::{ExecutionId, ExecutionStatus, JobQueue, OverlapPolicy, TaskId, Trigger};
use hostsync_store::database;
use hostsync_store::fault::{self, Fault, StatementRefusal};
use hostsync_store::tables::executions::{
    self,
    creation::{NewExecution, Scope},
    overlap::UnendedRuns,
};
use hostsync_store::tables::pause::{self, PauseState, PausedFires};
use hostsync_store::tables::tasks::{self, NextFire, Task};
use hostsync_store::tables::{ROWS_PER_STATEMENT, scheduler_shifts};
use hostsync_store::word::Word;
use sqlx::MySqlConnection;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Span;

use crate::agenda;
use crate::halt::{self, HaltRecord};
use crate::plan::{FirePlan, FireRecords, UnrunFires, WorkSpans, plan};
use crate::scheduler::Scheduler;

/// Tasks fired in one transaction. The others' locks are short, and the round trips of many share one commit.
const TASKS_A_BATCH: u32 = 250;

/// Fires that are counted in one transaction, roughly: after weeks without a scheduler one task may have a hundred thousand of
/// them, and hundreds of such tasks would take longer than a transaction may.
const COUNTED_A_BATCH: usize = 100_000;

/// Sleep while the database is away.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// Longest transaction of fires; a database that does not answer at all must not stop fires for ever.
const LONGEST_BATCH: Duration = Duration::from_secs(30);

/// How long a task is left alone that cannot be fired, so that it holds up no other and is told of now and then.
const PUT_OFF: Duration = Duration::from_secs(10);

/// Who makes a scheduled execution.
const CREATED_BY: &str = "scheduler";

/// Tasks that could not be fired, until when they are left alone.
#[derive(Default)]
struct PutOff(HashMap<TaskId, Instant>);

impl PutOff {
    fn put_off(&mut self, id: TaskId) {
        self.0.insert(id, Instant::now() + PUT_OFF);
    }

    fn ids(&mut self) -> Vec<TaskId> {
        let now = Instant::now();
        self.0.retain(|_, until| *until > now);
        self.0.keys().copied().collect()
    }
}

/// Fires what is due until the shutdown begins.
pub(crate) async fn run(scheduler: Arc<Scheduler>) {
    let turns = scheduler.loops.begin("fire", LIMIT);
    let mut next_fire = scheduler.calls.next_fire.subscribe();
    let mut put_off = PutOff::default();
    while !scheduler.shutdown.is_stopping() {
        tokio::select! {
            () = turns.waiting_for(a_fire_is_due(&mut next_fire)) => {}
            () = scheduler.shutdown.stopping() => return,
        }
        if let Err(error) = round(&scheduler, &turns, &mut put_off).await {
            tracing::warn!(error = %causes(&error), "fires wait: the database failed");
            tokio::select! {
                () = tokio::time::sleep(DATABASE_PAUSE) => {}
                () = scheduler.shutdown.stopping() => {}
            }
        }
    }
}

/// Waits until the time has come that was seen last.
async fn a_fire_is_due(next_fire: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let due = *next_fire.borrow_and_update();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => return,
            // The sender lives as long as the scheduler.
            _ = next_fire.changed() => {}
        }
    }
}

/// Fires every task that is due.
async fn round(scheduler: &Scheduler, turns: &Turns, put_off: &mut PutOff) -> Result<(), sqlx::Error> {
    let mut fired = 0;
    loop {
        turns.turned();
        let batch = database::within(LONGEST_BATCH, fire_batch(scheduler, put_off)).await?;
        fired += batch.tasks;
        if !batch.there_is_more || scheduler.shutdown.is_stopping() {
            break;
        }
    }
    if fired > 0 {
        return agenda::look_for_fires(scheduler).await;
    }
    // Others have locked what is due, or it was put off: the next look tells. The fires to come are on time all the same.
    agenda::look_beyond_due_fires(scheduler).await
}

/// What a batch came to.
#[derive(Default)]
struct Batch {
    /// Tasks that were due.
    tasks: usize,
    there_is_more: bool,
}

/// Fires as many tasks as a transaction takes.
async fn fire_batch(scheduler: &Scheduler, put_off: &mut PutOff) -> Result<Batch, sqlx::Error> {
    let mut transaction = scheduler.fires.begin().await?;
    let tasks = tasks::lock_due(&mut transaction, put_off.ids(), TASKS_A_BATCH).await?;
    let mut batch = Batch { tasks: tasks.len(), there_is_more: tasks.len() == TASKS_A_BATCH as usize };
    if tasks.is_empty() {
        return Ok(batch);
    }
    match fire(scheduler, &mut transaction, &tasks).await {
        Ok(fires) => {
            transaction.commit().await?;
            batch.there_is_more |= fires.are_cut_short;
            fires.report(scheduler, put_off);
        }
        Err(error) if concerns_all(&error) => return Err(error),
        Err(error) => {
            tracing::debug!(error = %causes(&error), "a batch of fires failed, it is made in parts");
            // The parts need its locks.
            transaction.rollback().await?;
            batch.there_is_more |=
                fire_in_parts(scheduler, tasks.iter().map(|task| task.id).collect(), put_off).await?;
        }
    }
    Ok(batch)
}

/// Whether any other task would fail as well: the database is away, or refuses us a right.
fn concerns_all(error: &sqlx::Error) -> bool {
    let fault = Fault::of(error);
    fault.is_outage() || fault == Fault::Refused(StatementRefusal::Right)
}

/// Fires tasks in ever smaller parts, until those that cannot be fired are alone: they are left alone for a while. `true`:
/// some did not have their turn.
async fn fire_in_parts(scheduler: &Scheduler, ids: Vec<TaskId>, put_off: &mut PutOff) -> Result<bool, sqlx::Error> {
    let mut are_cut_short = false;
    let mut parts = vec![ids];
    while let Some(mut part) = parts.pop() {
        match fire_part(scheduler, &part).await {
            Ok(fires) => {
                are_cut_short |= fires.are_cut_short;
                fires.report(scheduler, put_off);
            }
            Err(error) if concerns_all(&error) => return Err(error),
            Err(_) if part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
            }
            Err(error) => {
                for id in part {
                    leave_alone(id, &causes(&error).to_string(), put_off);
                }
            }
        }
    }
    Ok(are_cut_short)
}

/// Says why a task cannot be fired, and leaves it alone for a while.
fn leave_alone(id: TaskId, reason: &str, put_off: &mut PutOff) {
    let span = tracing::info_span!("fire", task_id = %id);
    spans::set_failed(&span, reason.to_owned());
    span.in_scope(|| {
        tracing::error!(
            task_id = %id, error = %reason,
            "task {id} cannot be fired; it is tried again in {} s", PUT_OFF.as_secs()
        );
    });
    put_off.put_off(id);
}

/// Fires those tasks that nobody has locked meanwhile.
async fn fire_part(scheduler: &Scheduler, ids: &[TaskId]) -> Result<Fires, sqlx::Error> {
    let mut transaction = scheduler.fires.begin().await?;
    let tasks = tasks::lock_enabled(&mut transaction, ids).await?;
    if tasks.is_empty() {
        return Ok(Fires::default());
    }
    let fired = fire(scheduler, &mut transaction, &tasks).await;
    match &fired {
        Ok(_) => transaction.commit().await?,
        // Smaller parts need its locks.
        Err(_) => transaction.rollback().await?,
    }
    fired
}

/// What a transaction of fires has made.
#[derive(Default)]
struct Fires {
    made: Vec<NewFire>,
    missed: Vec<(TaskId, usize)>,
    passed_over: Vec<(TaskId, usize)>,
    paused: Vec<(TaskId, usize)>,
    /// Tasks whose rows cannot be read, and why. They stay as they are: a scheduler of another release may read them.
    unreadable: Vec<(TaskId, String)>,
    /// The last of the tasks did not have their turn and are still due.
    are_cut_short: bool,
}

/// A fire that was not left out.
struct NewFire {
    task: TaskId,
    /// `None`: the execution stood already.
    execution: Option<ExecutionId>,
    status: ExecutionStatus,
    scheduled_for: DateTime<Utc>,
    lateness: Duration,
    span: Span,
}

impl Fires {
    /// Fires that were counted one by one.
    fn counted(&self) -> usize {
        self.missed.iter().chain(&self.passed_over).chain(&self.paused).map(|(_, count)| count).sum()
    }

    /// Counts and tells them, once they are committed, and has somebody go on with the runs.
    fn report(self, scheduler: &Scheduler, put_off: &mut PutOff) {
        let metrics = Metrics::global();
        for (task, reason) in self.unreadable {
            leave_alone(task, &reason, put_off);
        }
        for (task, count) in self.missed {
            metrics.fires(FireOutcome::Missed, count as u64);
            tracing::warn!(task_id = %task, missed = count, "task {task} missed {count} fires");
        }
        for (task, count) in self.passed_over {
            metrics.fires(FireOutcome::Skipped, count as u64);
            tracing::warn!(task_id = %task, skipped = count, "{count} fires of task {task} gave way to a newer one");
        }
        for (task, count) in self.paused {
            metrics.fires(FireOutcome::Skipped, count as u64);
            tracing::info!(task_id = %task, skipped = count, "{count} fires of task {task} are skipped: paused");
        }
        for made in &self.made {
            made.report(&metrics);
        }
        if self.made.iter().any(|made| made.status == ExecutionStatus::Running) {
            scheduler.calls.publish_bulk.notify_one();
        }
    }
}

impl NewFire {
    fn report(&self, metrics: &Metrics) {
        let Self { task, execution: Some(id), status, scheduled_for, .. } = self else { return };
        let outcome = match status {
            ExecutionStatus::Skipped => FireOutcome::Skipped,
            ExecutionStatus::Waiting => FireOutcome::Waiting,
            _ => FireOutcome::Started,
        };
        metrics.fires(outcome, 1);
        self.span.in_scope(|| {
            if *status == ExecutionStatus::Skipped {
                tracing::info!(task_id = %task, execution_id = %id, "a fire of task {task} is skipped: the last run is going");
                return;
            }
            metrics.fire_lateness(self.lateness);
            tracing::info!(
                task_id = %task, execution_id = %id, scheduled_for = %scheduled_for, status = %status,
                "task {task} fires: execution {id} is {status}"
            );
        });
    }
}

/// The last pause, and what it has left so far of the tasks that are fired.
struct Halt {
    pause: PauseState,
    paused_at: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    recorded: HashMap<TaskId, PausedFires>,
}

/// What decides about the fires of a task beside its schedule.
struct Beside<'a> {
    at_work: &'a WorkSpans,
    unended: UnendedRuns,
    halt: Option<&'a Halt>,
}

/// What a pause leaves of a task once this transaction is committed.
struct HaltedTask<'a> {
    id: TaskId,
    fires: PausedFires,
    /// The row that its fires share, where they do.
    shared: Option<Row<'a>>,
}

/// Moves the rows that paused fires share to the newest of them; a row that does not stand yet, or not any more, is added to
/// `rows`.
async fn record_halted<'a>(
    connection: &mut MySqlConnection,
    halted: &mut [HaltedTask<'a>],
    rows: &mut Vec<Row<'a>>,
) -> Result<(), sqlx::Error> {
    for task in halted {
        let Some(row) = task.shared.take() else { continue };
        let reason = row.reason.as_deref().unwrap_or_default();
        let stands = match task.fires.shared_row {
            Some(id) => pause::move_shared_row(connection, id, row.scheduled_for, &row.scope, reason).await?,
            None => false,
        };
        if !stands {
            rows.push(row);
        }
    }
    Ok(())
}

/// A row of the execution log in the making.
struct Row<'a> {
    task: &'a Task,
    scheduled_for: DateTime<Utc>,
    status: ExecutionStatus,
    reason: Option<String>,
    scope: Scope,
    trace_context: Option<String>,
    /// Of a fire that was not left out.
    span: Option<Span>,
    /// Paused fires share it.
    is_shared: bool,
}

/// Fires locked tasks. They need not be due any more.
async fn fire(scheduler: &Scheduler, connection: &mut MySqlConnection, tasks: &[Task]) -> Result<Fires, sqlx::Error> {
    let now = database::now(connection).await?;
    let began = Instant::now();
    let oldest = tasks.iter().filter_map(|task| task.next_execution_time).min().unwrap_or(now);
    let at_work = WorkSpans::of(scheduler_shifts::since(connection, oldest, scheduler.shift.own()).await?);
    let unended = executions::overlap::unended(connection, tasks.iter().map(|task| task.id)).await?;
    // Shared until the commit: a pause that is answered has no fire after it.
    let pause = pause::share(connection).await?;
    let halt = match pause.paused_at {
        Some(paused_at) => {
            let recorded = pause::paused_fires(connection, paused_at, tasks.iter().map(|task| task.id)).await?;
            Some(Halt { until: halt::paused_until(&pause, now), paused_at, pause, recorded })
        }
        None => None,
    };
    let mut halted = Vec::new();
    let (mut rows, mut moved, mut fires) = (Vec::new(), Vec::with_capacity(tasks.len()), Fires::default());
    for task in tasks {
        if fires.counted() > COUNTED_A_BATCH {
            fires.are_cut_short = true;
            break;
        }
        let beside = unended.get(&task.id).copied().unwrap_or_default();
        let beside = Beside { at_work: &at_work, unended: beside, halt: halt.as_ref() };
        match plan_rows(scheduler, task, now, &beside, &mut rows, &mut halted, &mut fires) {
            Ok(next) => moved.push(NextFire { id: task.id, next, execution: None }),
            Err(reason) => fires.unreadable.push((task.id, reason)),
        }
    }
    if moved.is_empty() {
        return Ok(fires);
    }
    record_halted(connection, &mut halted, &mut rows).await?;
    let ids = insert(connection, &rows).await?;
    if let Some(halt) = halt.as_ref().filter(|_| !halted.is_empty()) {
        for (row, id) in rows.iter().zip(&ids).filter(|(row, _)| row.is_shared) {
            if let Some(task) = halted.iter_mut().find(|task| task.id == row.task.id) {
                task.fires.shared_row = *id;
            }
        }
        let fires: Vec<_> = halted.into_iter().map(|task| (task.id, task.fires)).collect();
        pause::set_paused_fires(connection, halt.paused_at, &fires).await?;
    }
    for (row, id) in rows.iter().zip(ids) {
        let Some(span) = &row.span else { continue };
        if row.status != ExecutionStatus::Skipped
            && let Some(task) = moved.iter_mut().find(|task| task.id == row.task.id)
        {
            task.execution = id;
        }
        fires.made.push(NewFire {
            task: row.task.id,
            execution: id,
            status: row.status,
            scheduled_for: row.scheduled_for,
            lateness: (now - row.scheduled_for).to_std().unwrap_or_default() + began.elapsed(),
            span: span.clone(),
        });
    }
    tasks::set_next_fires(connection, &moved).await?;
    Ok(fires)
}

/// Adds the rows of a task's due fires to `rows`; returns its next fire. `Err`: why its row cannot be read.
fn plan_rows<'a>(
    scheduler: &Scheduler,
    task: &'a Task,
    now: DateTime<Utc>,
    beside: &Beside<'_>,
    rows: &mut Vec<Row<'a>>,
    halted: &mut Vec<HaltedTask<'a>>,
    fires: &mut Fires,
) -> Result<Option<DateTime<Utc>>, String> {
    let schedule = (scheduler.defaults.schedule(&task.cron_expression, &task.time_zone))
        .map_err(|error| format!("its schedule cannot be read: {}", causes(&error)))?;
    let policy = *task.overlap_policy.known("overlap_policy").map_err(|error| fault::sentence(&error))?;
    let catch_up = catch_up(task);
    let anchor = task.schedule_anchor.unwrap_or(DateTime::UNIX_EPOCH);
    let Some(due) = task.next_execution_time else {
        return Ok(schedule.next_after(now, anchor));
    };
    let until = beside.halt.and_then(|halt| halt.until);
    let FirePlan { paused, missed, passed_over, run, next } =
        plan(&schedule, anchor, due, now, catch_up.delta(), beside.at_work, until);
    let row = |scheduled_for, status, reason, span: Option<Span>| Row {
        task,
        scheduled_for,
        status,
        reason,
        scope: scheduler.defaults.scope(task, schedule.time_zone(), scheduled_for),
        trace_context: span.as_ref().and_then(|span| span.in_scope(spans::current_trace_headers).remove("traceparent")),
        span,
        is_shared: false,
    };
    let skipped = |(scheduled_for, reason)| row(scheduled_for, ExecutionStatus::Skipped, Some(reason), None);
    if let Some(halt) = beside.halt {
        let before = halt.recorded.get(&task.id).cloned().unwrap_or_default();
        if let Some((record, left)) = halt::record(&halt.pause, &before, &paused) {
            let shared = match record {
                HaltRecord::Own(own) => {
                    let reason = halt::reason(&halt.pause);
                    rows.extend(own.into_iter().map(|fire| skipped((fire, reason.clone()))));
                    None
                }
                HaltRecord::Shared { newest, reason } => Some(Row { is_shared: true, ..skipped((newest, reason)) }),
            };
            halted.push(HaltedTask { id: task.id, fires: left, shared });
            fires.paused.push((task.id, paused.len()));
        }
    }
    let too_late = format!("missed: no scheduler ran it within {catch_up}");
    let reasons = reasons_of(&missed, &too_late, |fires| format!("missed: {fires}, when no scheduler ran"));
    rows.extend(reasons.into_iter().map(skipped));
    let newer = "a newer fire of this task had come due before the schedulers came to";
    let reasons = reasons_of(&passed_over, &format!("{newer} this one"), |fires| format!("{fires}: {newer} them"));
    rows.extend(reasons.into_iter().map(skipped));
    if missed.len() > 0 {
        fires.missed.push((task.id, missed.len()));
    }
    if passed_over.len() > 0 {
        fires.passed_over.push((task.id, passed_over.len()));
    }
    if let Some(scheduled_for) = run {
        let (status, reason) = status_beside(policy, beside.unended);
        let span = tracing::info_span!("fire", task_id = %task.id);
        rows.push(row(scheduled_for, status, reason.map(str::to_owned), Some(span)));
    }
    Ok(next)
}

/// How late a missed fire may still run. A row that the API did not write may hold anything, and its task fires all the same:
/// the default then.
fn catch_up(task: &Task) -> CatchUpWindow {
    match &task.catch_up_window {
        Word::Known(window) => window.clone(),
        Word::Unknown(_) => CatchUpWindow::default(),
    }
}

/// What becomes of a fire beside the runs of its task that are there, and why.
fn status_beside(
    policy: OverlapPolicy,
    UnendedRuns { going, waiting }: UnendedRuns,
) -> (ExecutionStatus, Option<&'static str>) {
    match policy {
        OverlapPolicy::Skip if going || waiting => {
            (ExecutionStatus::Skipped, Some("the last run of this task was still going"))
        }
        OverlapPolicy::Queue if waiting => (ExecutionStatus::Skipped, Some("a run of this task was already waiting")),
        OverlapPolicy::Queue if going => (ExecutionStatus::Waiting, None),
        _ => (ExecutionStatus::Running, None),
    }
}

/// The fires that are recorded, and why they did not run: the sentence of one, or of all together, which is given which
/// they are.
fn reasons_of(unrun: &UnrunFires, of_one: &str, of_all: impl Fn(&str) -> String) -> Vec<(DateTime<Utc>, String)> {
    match unrun.recorded() {
        FireRecords::Each(fires) => fires.iter().map(|fire| (*fire, of_one.to_owned())).collect(),
        FireRecords::Together { first, last, count, or_more } => {
            let at_least = if or_more { "at least " } else { "" };
            vec![(last, of_all(&format!("{at_least}{count} fires from {first} to {last}")))]
        }
    }
}

/// Inserts the rows: together if they are of several tasks, so that one that stands already fails them all; else each by
/// itself, and `None` for one that stands already.
async fn insert(connection: &mut MySqlConnection, rows: &[Row<'_>]) -> Result<Vec<Option<ExecutionId>>, sqlx::Error> {
    let new: Vec<NewExecution<'_>> = rows
        .iter()
        .map(|row| NewExecution {
            task_id: row.task.id,
            task_name: &row.task.task_name,
            trigger: Trigger::Schedule,
            scheduled_for: Some(row.scheduled_for),
            status: row.status,
            scope: &row.scope,
            queue: JobQueue::Bulk,
            created_by: CREATED_BY,
            error_message: row.reason.as_deref(),
            lease: None,
            trace_context: row.trace_context.as_deref(),
        })
        .collect();
    let mut ids = Vec::with_capacity(rows.len());
    let are_of_one_task = rows.windows(2).all(|pair| pair[0].task.id == pair[1].task.id);
    if are_of_one_task {
        for new in &new {
            ids.push(match executions::creation::insert(connection, new).await {
                Ok(id) => Some(id),
                Err(error) if Fault::of(&error) == Fault::Refused(StatementRefusal::Duplicate) => None,
                Err(error) => return Err(error),
            });
        }
    } else {
        for chunk in new.chunks(ROWS_PER_STATEMENT) {
            ids.extend(executions::creation::insert_all(connection, chunk).await?.into_iter().map(Some));
        }
    }
    Ok(ids)
}
