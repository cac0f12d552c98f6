//! Goes on with what others left: unpublished runs, due retries, closing, overdue, stalled and waiting runs.
//!
//! Each sweep is a loop of its own, so that a slow one does not hold up the others. Every scheduler runs all of them;
//! leases, row locks and `SKIP LOCKED` keep them out of each other's way.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use hostsync_shared::causes::causes;
use hostsync_shared::closing::{close_execution, close_pending};
use hostsync_shared::execution::{DetailId, ExecutionId, SyncStatus, TaskId};
use hostsync_shared::loops::LIMIT_OF_SWEEPS;
use hostsync_shared::outbox::OutboxError;
use hostsync_shared::tables::executions::{self, LeaseToken, Stalled};
use hostsync_shared::tables::{endpoint_state, tasks};

use crate::Scheduler;
use crate::fire::{carry_on, report};
use crate::rollup::roll_up_ended;

/// Pause between two rounds of a sweep that keeps runs moving.
const QUICK: Duration = Duration::from_secs(1);

/// Pause between two rounds of a sweep that looks for trouble.
const SLOW: Duration = Duration::from_secs(5);

/// Longest round of a sweep; what it hangs in is given up, all of it can be done again.
const LONGEST_ROUND: Duration = Duration::from_mins(10);

/// Runs looked at in one statement.
const RUNS: u32 = 200;

/// Silence after which a run is published anew, if nothing waits in its queue.
const STALLED_AFTER: TimeDelta = TimeDelta::seconds(60);

/// The same while its queue has ready messages: it may just be waiting its turn.
const STALLED_BEHIND_OTHERS_AFTER: TimeDelta = TimeDelta::minutes(10);

/// Longest silence between two repairs of a run.
const LONGEST_REPAIR_PAUSE: TimeDelta = TimeDelta::hours(1);

/// Starts every sweep.
pub(crate) fn spawn_all(scheduler: &Arc<Scheduler>, deadline: Duration) {
    let deadline = TimeDelta::from_std(deadline).unwrap_or(TimeDelta::MAX);
    every(scheduler, "publish sweep", QUICK, publish_unpublished);
    every(scheduler, "retry sweep", QUICK, publish_due);
    every(scheduler, "closing sweep", QUICK, close_closing);
    every(scheduler, "waiting sweep", QUICK, start_waiting);
    every(scheduler, "statistics sweep", QUICK, roll_up_ended);
    every(scheduler, "repair sweep", SLOW, repair_stalled);
    every(scheduler, "deadline sweep", SLOW, move |scheduler| close_overdue(scheduler, deadline));
}

fn every<F>(
    scheduler: &Arc<Scheduler>,
    name: &'static str,
    pause: Duration,
    sweep: impl Fn(Arc<Scheduler>) -> F + Send + 'static,
) where
    F: Future<Output = Result<(), OutboxError>> + Send + 'static,
{
    let owner = Arc::clone(scheduler);
    let turns = scheduler.loops.begin(name, LIMIT_OF_SWEEPS);
    scheduler.shutdown.spawn_essential(name, async move {
        while !owner.shutdown.is_stopping() {
            turns.turned();
            let bound = async {
                tokio::select! {
                    () = tokio::time::sleep(LONGEST_ROUND) => {}
                    () = owner.shutdown.ending(Duration::ZERO) => {}
                }
            };
            tokio::select! {
                swept = sweep(Arc::clone(&owner)) => if let Err(error) = swept {
                    tracing::warn!(sweep = name, error = %causes(&error), "the {name} goes on later");
                },
                () = bound => tracing::warn!(sweep = name, "the {name} took too long and starts anew"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = owner.shutdown.stopping() => {}
            }
        }
    });
}

async fn closed_endpoints(scheduler: &Scheduler) -> Result<Vec<String>, sqlx::Error> {
    let mut connection = scheduler.pool.acquire().await?;
    Ok(endpoint_state::closed(&mut connection).await?.into_iter().map(|closed| closed.endpoint).collect())
}

/// Says what went wrong with one run. `Err`: it would go wrong with all of them, the sweep ends.
pub(crate) fn only_this_run(id: ExecutionId, error: OutboxError) -> Result<(), OutboxError> {
    if error.is_outage() {
        return Err(error);
    }
    tracing::warn!(execution_id = %id, error = %causes(&error), "execution {id} waits");
    Ok(())
}

/// Prepares and publishes runs that nobody holds.
async fn publish_unpublished(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let closed = closed_endpoints(&scheduler).await?;
    let ids = {
        let mut connection = scheduler.pool.acquire().await?;
        executions::unpublished(&mut connection, &closed, RUNS).await?
    };
    for id in ids {
        if scheduler.shutdown.is_stopping() {
            break;
        }
        if let Err(error) = scheduler.outbox.claim_and_carry_on(id).await {
            only_this_run(id, error)?;
        }
    }
    Ok(())
}

/// Publishes jobs whose clock has run out.
async fn publish_due(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let closed = closed_endpoints(&scheduler).await?;
    let mut after = ExecutionId(0);
    loop {
        let runs = {
            let mut connection = scheduler.pool.acquire().await?;
            executions::running(&mut connection, &closed, after, RUNS).await?
        };
        let Some(last) = runs.last() else { return Ok(()) };
        after = last.id;
        for run in &runs {
            if scheduler.shutdown.is_stopping() {
                return Ok(());
            }
            match scheduler.outbox.publish_due(run).await {
                Ok(0) => {}
                Ok(jobs) => {
                    tracing::info!(execution_id = %run.id, jobs, "{jobs} retries of execution {} published", run.id);
                }
                Err(error) => only_this_run(run.id, error)?,
            }
        }
    }
}

/// Gives the pending hosts of closing runs their outcome.
async fn close_closing(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let runs = {
        let mut connection = scheduler.pool.acquire().await?;
        executions::closing(&mut connection, RUNS).await?
    };
    for run in &runs {
        let mut after = DetailId(0);
        loop {
            if scheduler.shutdown.is_stopping() {
                return Ok(());
            }
            match close_pending(&scheduler.pool, run, after).await {
                Ok(Some(last)) => after = last,
                Ok(None) => break,
                Err(error) => {
                    only_this_run(run.id, error.into())?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Starts a run that waits, under its task's lock, when no other run of the task is going.
async fn start_waiting(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let mut after = ExecutionId(0);
    loop {
        let waiting = {
            let mut connection = scheduler.pool.acquire().await?;
            executions::waiting_tasks(&mut connection, after, RUNS).await?
        };
        let Some((last, _)) = waiting.last() else { return Ok(()) };
        after = *last;
        for (id, task) in waiting {
            start_if_its_turn(&scheduler, id, task).await?;
        }
    }
}

async fn start_if_its_turn(scheduler: &Arc<Scheduler>, id: ExecutionId, task: TaskId) -> Result<(), sqlx::Error> {
    let mut transaction = scheduler.pool.begin().await?;
    let locked = tasks::lock(&mut transaction, task).await?;
    if locked.is_none_or(|task| !task.is_enabled) {
        let reason = "the task was disabled or deleted before this run's turn";
        executions::skip_waiting(&mut transaction, task, reason).await?;
        return transaction.commit().await;
    }
    let (going, _) = executions::going_and_waiting(&mut transaction, task).await?;
    let token = LeaseToken::new();
    let started = !going && executions::start_waiting(&mut transaction, id, token).await?;
    transaction.commit().await?;
    if started {
        tracing::info!(execution_id = %id, task_id = %task, "execution {id} starts: the run before it has ended");
        carry_on(scheduler, id, token);
    }
    Ok(())
}

/// Closes runs that are still going after the deadline.
async fn close_overdue(scheduler: Arc<Scheduler>, deadline: TimeDelta) -> Result<(), OutboxError> {
    let ids = {
        let mut connection = scheduler.pool.acquire().await?;
        executions::overdue(&mut connection, deadline, RUNS).await?
    };
    let reason = format!("not done within scheduler.execution_deadline ({} s)", deadline.num_seconds());
    for id in ids {
        if close_execution(&scheduler.pool, id, SyncStatus::Failed, &reason).await? {
            tracing::warn!(execution_id = %id, "execution {id} is closed: {reason}");
        }
    }
    Ok(())
}

/// Publishes anew what a run without progress still has pending.
async fn repair_stalled(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let mut after = ExecutionId(0);
    loop {
        let stalled = {
            let mut connection = scheduler.pool.acquire().await?;
            executions::stalled(&mut connection, STALLED_AFTER, LONGEST_REPAIR_PAUSE, after, RUNS).await?
        };
        let Some(last) = stalled.last() else { return Ok(()) };
        after = last.id;
        for run in stalled {
            let ready = match scheduler.publisher.ready_messages(run.queue).await {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::debug!(error = %causes(&error), "repair waits for the broker");
                    return Ok(());
                }
            };
            if run.silent_s >= repair_after(&run, ready > 0).num_seconds() {
                repair(&scheduler, &run).await?;
            }
        }
    }
}

async fn repair(scheduler: &Scheduler, run: &Stalled) -> Result<(), OutboxError> {
    let token = LeaseToken::new();
    let repaired = {
        let mut connection = scheduler.pool.acquire().await?;
        executions::claim(&mut connection, run.id, token).await?.is_some()
            && executions::repair(&mut connection, run.id, run.repair_count, token).await?
    };
    if repaired {
        tracing::warn!(
            execution_id = %run.id, silent_s = run.silent_s,
            "execution {} made no progress for {} s: what is pending is published again", run.id, run.silent_s
        );
        let outcome = scheduler.outbox.carry_on(run.id, token).await;
        report(run.id, &outcome);
    }
    Ok(())
}

/// How long a run must be silent before it is repaired: doubling with each repair without progress.
fn repair_after(run: &Stalled, is_behind_others: bool) -> TimeDelta {
    let first = if is_behind_others { STALLED_BEHIND_OTHERS_AFTER } else { STALLED_AFTER };
    let doubled = first * 2_i32.saturating_pow(run.repair_count.min(10));
    doubled.min(LONGEST_REPAIR_PAUSE)
}

#[cfg(test)]
mod tests {
    use hostsync_shared::execution::JobQueue;

    use super::*;

    #[test]
    fn repairs_come_after_a_minute_then_double_up_to_an_hour() {
        let after = |repair_count, is_behind_others| {
            let run = Stalled { id: ExecutionId(1), queue: JobQueue::Bulk, silent_s: 0, repair_count };
            repair_after(&run, is_behind_others).num_seconds()
        };
        assert_eq!([0, 1, 2, 9, 99].map(|n| after(n, false)), [60, 120, 240, 3_600, 3_600]);
        assert_eq!([0, 1, 2, 3].map(|n| after(n, true)), [600, 1_200, 2_400, 3_600]);
    }
}
