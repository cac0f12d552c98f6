//! Goes on with what others left: unpublished runs, due retries, closing, overdue, stalled and waiting runs.
//!
//! Each sweep is a loop of its own, so that a slow one does not hold up the others, and within one no run holds up those
//! behind it: a run is done in turns, several at once, and one whose row somebody holds is left for a later round. Most are
//! called when the agenda has something for them. Every scheduler runs all of them; leases, row locks and `SKIP LOCKED` keep
//! them out of each other's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::stream::{self, TryStreamExt as _};
use hostsync_metrics::loops::LIMIT_OF_SWEEPS;
use hostsync_model::causes::causes;
use hostsync_model::execution::{ClosingCause, DetailId, ExecutionId, JobQueue, TaskId};
use hostsync_store::closing::{close_pending, close_unless_busy};
use hostsync_store::outbox::{OutboxError, TurnEnd};
use hostsync_store::tables::executions::{
    self, backlog::DueRun, closing::ClosingRun, lease::LeaseToken, repair::StalledRun,
};
use hostsync_store::tables::{pause, tasks};
use tokio::sync::Notify;

use crate::calls::Calls;
use crate::freshness;
use crate::one_run::only_this_run;
use crate::rollup::roll_up_ended;
use crate::scheduler::Scheduler;
use crate::waits;

/// Pause between two rounds of a sweep that looks for trouble.
const SLOW: Duration = Duration::from_secs(10);

/// What the first rounds of such sweeps are apart, so that they do not all want a connection at the same moment: the pool keeps
/// as many as were wanted at once, and each costs looks.
const APART: Duration = Duration::from_secs(2);

/// Longest round of a sweep; what it hangs in is given up, all of it can be done again.
const LONGEST_ROUND: Duration = Duration::from_mins(10);

/// Runs looked at in one statement.
const RUNS: u32 = 200;

/// Runs of one queue in a round of publishing: what has come meanwhile waits for so many turns at most, shared by those that
/// are published at once.
const RUNS_A_ROUND: u32 = 32;

/// Runs that a sweep works on at once. All sweeps together may use up their connections; the fires have their own.
const RUNS_AT_ONCE: usize = 3;

/// Transactions in which one closing run is closed before it is the others' turn.
const CLOSINGS_A_TURN: u32 = 20;

/// Silence after which a run is published anew, if nothing waits in its queue.
const STALLED_AFTER: TimeDelta = TimeDelta::seconds(60);

/// The same while its queue has ready messages: it may just be waiting its turn.
const STALLED_BEHIND_OTHERS_AFTER: TimeDelta = TimeDelta::minutes(10);

/// Longest silence between two repairs of a run.
const LONGEST_REPAIR_PAUSE: TimeDelta = TimeDelta::hours(1);

/// Starts every sweep.
pub(crate) fn spawn_all(scheduler: &Arc<Scheduler>, deadline: Duration) {
    let deadline = TimeDelta::from_std(deadline).unwrap_or(TimeDelta::MAX);
    sweep(scheduler, "publish sweep", Begin::Called(|calls| &calls.publish_bulk), |it| publish(it, JobQueue::Bulk));
    sweep(scheduler, "manual sweep", Begin::Called(|calls| &calls.publish_manual), |it| publish(it, JobQueue::Manual));
    sweep(scheduler, "retry sweep", Begin::Called(|calls| &calls.retry), publish_due);
    sweep(scheduler, "closing sweep", Begin::Called(|calls| &calls.close), close_closing);
    sweep(scheduler, "waiting sweep", Begin::Called(|calls| &calls.start), start_waiting);
    sweep(scheduler, "statistics sweep", Begin::Called(|calls| &calls.roll_up), roll_up_ended);
    sweep(scheduler, "repair sweep", Begin::Every { pause: SLOW, first: APART }, repair_stalled);
    let overdue = move |scheduler| close_overdue(scheduler, deadline);
    sweep(scheduler, "deadline sweep", Begin::Every { pause: SLOW, first: 2 * APART }, overdue);
    sweep(scheduler, "freshness sweep", Begin::Every { pause: SLOW, first: 4 * APART }, freshness::count);
    sweep(scheduler, "waits sweep", Begin::Every { pause: waits::EVERY, first: 3 * APART }, waits::tell);
}

/// What begins the next round of a sweep.
#[derive(Clone, Copy)]
enum Begin {
    /// It is called.
    Called(fn(&Calls) -> &Notify),
    /// Time passes: so much before the first round, and between two.
    Every { pause: Duration, first: Duration },
}

/// Runs a sweep round by round until the shutdown begins.
fn sweep<F>(
    scheduler: &Arc<Scheduler>,
    name: &'static str,
    begin: Begin,
    sweep: impl Fn(Arc<Scheduler>) -> F + Send + 'static,
) where
    F: Future<Output = Result<(), OutboxError>> + Send + 'static,
{
    let owner = Arc::clone(scheduler);
    let turns = scheduler.loops.begin(name, LIMIT_OF_SWEEPS);
    scheduler.shutdown.spawn_essential(name, async move {
        let mut is_first = true;
        loop {
            let begun = async {
                match begin {
                    Begin::Called(call) => turns.waiting_for(call(&owner.calls).notified()).await,
                    Begin::Every { first, .. } if is_first => tokio::time::sleep(first).await,
                    Begin::Every { pause, .. } => tokio::time::sleep(pause).await,
                }
            };
            tokio::select! {
                biased;
                () = owner.shutdown.stopping() => return,
                () = begun => {}
            }
            turns.turned();
            is_first = false;
            round(&owner, name, sweep(Arc::clone(&owner))).await;
        }
    });
}

/// One bounded round of a sweep.
async fn round(scheduler: &Scheduler, name: &'static str, sweep: impl Future<Output = Result<(), OutboxError>>) {
    tokio::select! {
        swept = sweep => if let Err(error) = swept {
            tracing::warn!(sweep = name, error = %causes(&error), "the {name} goes on later");
        },
        () = tokio::time::sleep(LONGEST_ROUND) => {
            tracing::warn!(sweep = name, "the {name} took too long and starts anew");
        }
        () = scheduler.shutdown.ending(Duration::ZERO) => {}
    }
}

/// Prepares and publishes runs of a queue that nobody holds, a turn each.
async fn publish(scheduler: Arc<Scheduler>, queue: JobQueue) -> Result<(), OutboxError> {
    let ids = {
        let mut connection = scheduler.pool.acquire().await?;
        executions::backlog::unpublished(&mut connection, queue, RUNS_A_ROUND).await?
    };
    let is_full = ids.len() == RUNS_A_ROUND as usize;
    let (came_forward, has_more) = (AtomicBool::new(false), AtomicBool::new(false));
    stream::iter(ids.into_iter().map(Ok::<_, OutboxError>))
        .try_for_each_concurrent(RUNS_AT_ONCE, async |id| {
            if scheduler.shutdown.is_stopping() {
                return Ok(());
            }
            match scheduler.outbox.claim_and_carry_on(id).await {
                Ok(TurnEnd::Done) => came_forward.store(true, Ordering::Relaxed),
                Ok(TurnEnd::TurnOver) => has_more.store(true, Ordering::Relaxed),
                Ok(TurnEnd::Replaced | TurnEnd::EndpointClosed | TurnEnd::Stopped) => {}
                Err(error) => waits::tell_why_unpublished(&scheduler, id, error).await?,
            }
            Ok(())
        })
        .await?;
    // A round of which nothing came is followed by the next look: else runs that cannot be prepared would be tried without
    // a pause.
    if has_more.into_inner() || (is_full && came_forward.into_inner()) {
        scheduler.calls.of_queue(queue).notify_one();
    }
    Ok(())
}

/// Publishes jobs whose clock has run out.
async fn publish_due(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let mut after = ExecutionId(0);
    loop {
        let runs = {
            let mut connection = scheduler.pool.acquire().await?;
            executions::backlog::with_due_clocks(&mut connection, after, RUNS).await?
        };
        let Some(last) = runs.last() else { return Ok(()) };
        after = last.id;
        stream::iter(runs.into_iter().map(Ok))
            .try_for_each_concurrent(RUNS_AT_ONCE, async |run| publish_due_of(&scheduler, &run).await)
            .await?;
    }
}

async fn publish_due_of(scheduler: &Scheduler, run: &DueRun) -> Result<(), OutboxError> {
    if scheduler.shutdown.is_stopping() {
        return Ok(());
    }
    match scheduler.outbox.publish_due(run).await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(execution_id = %run.id, jobs, "{jobs} retries of execution {} published", run.id),
        Err(error) => waits::tell_why_unpublished(scheduler, run.id, error).await?,
    }
    Ok(())
}

/// Gives the pending hosts of closing runs their outcome.
async fn close_closing(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let runs = {
        let mut connection = scheduler.pool.acquire().await?;
        executions::closing::runs(&mut connection, RUNS).await?
    };
    stream::iter(runs.into_iter().map(Ok))
        .try_for_each_concurrent(RUNS_AT_ONCE, async |run| close_turn(&scheduler, &run).await)
        .await
}

async fn close_turn(scheduler: &Scheduler, run: &ClosingRun) -> Result<(), OutboxError> {
    let mut after = DetailId(0);
    for _ in 0..CLOSINGS_A_TURN {
        if scheduler.shutdown.is_stopping() {
            return Ok(());
        }
        match close_pending(&scheduler.pool, run, after).await {
            Ok(Some(last)) => after = last,
            Ok(None) => return Ok(()),
            Err(error) => return only_this_run(run.id, error.into()),
        }
    }
    scheduler.calls.close.notify_one();
    Ok(())
}

/// Starts a run that waits, under its task's lock, when no other run of the task is going.
async fn start_waiting(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let mut after = ExecutionId(0);
    loop {
        let waiting = {
            let mut connection = scheduler.pool.acquire().await?;
            if pause::read(&mut connection).await?.is_paused {
                return Ok(());
            }
            executions::overlap::ready_to_start(&mut connection, after, RUNS).await?
        };
        let Some((last, _)) = waiting.last() else { return Ok(()) };
        after = *last;
        for (id, task) in waiting {
            if let Err(error) = start_if_its_turn(&scheduler, id, task).await {
                only_this_run(id, error.into())?;
            }
        }
    }
}

/// Does nothing while somebody holds the task's row or the run's.
async fn start_if_its_turn(scheduler: &Scheduler, id: ExecutionId, task: TaskId) -> Result<(), sqlx::Error> {
    let mut transaction = scheduler.pool.begin().await?;
    let locked = tasks::lock_unless_busy(&mut transaction, task).await?;
    let is_busy = locked.is_none() && tasks::is_live(&mut transaction, task).await?;
    if is_busy || !executions::overlap::lock_waiting(&mut transaction, id).await? {
        return Ok(());
    }
    if locked.is_none_or(|task| !task.is_enabled) {
        let reason = "the task was disabled or deleted before this run's turn";
        executions::overlap::skip_waiting_execution(&mut transaction, id, reason).await?;
        return transaction.commit().await;
    }
    if executions::overlap::unended(&mut transaction, [task]).await?.get(&task).is_some_and(|unended| unended.going) {
        return Ok(());
    }
    if pause::share(&mut transaction).await?.is_paused {
        return Ok(());
    }
    executions::overlap::start_waiting(&mut transaction, id).await?;
    transaction.commit().await?;
    tracing::info!(execution_id = %id, task_id = %task, "execution {id} starts: the run before it has ended");
    scheduler.calls.publish_bulk.notify_one();
    Ok(())
}

/// Closes runs that are still going after the deadline.
async fn close_overdue(scheduler: Arc<Scheduler>, deadline: TimeDelta) -> Result<(), OutboxError> {
    let ids = {
        let mut connection = scheduler.pool.acquire().await?;
        executions::closing::overdue(&mut connection, deadline, RUNS).await?
    };
    let reason = format!("not done within scheduler.execution_deadline ({} s)", deadline.num_seconds());
    for id in ids {
        match close_unless_busy(&scheduler.pool, id, ClosingCause::Deadline, &reason).await {
            Ok(true) => {
                tracing::warn!(execution_id = %id, "execution {id} is closed: {reason}");
                scheduler.calls.close.notify_one();
            }
            Ok(false) => {}
            Err(error) => only_this_run(id, error.into())?,
        }
    }
    Ok(())
}

/// Has what a run without progress still has pending published anew.
async fn repair_stalled(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let mut after = ExecutionId(0);
    loop {
        let stalled = {
            let mut connection = scheduler.pool.acquire().await?;
            executions::repair::stalled(&mut connection, STALLED_AFTER, LONGEST_REPAIR_PAUSE, after, RUNS).await?
        };
        let Some(last) = stalled.last() else { return Ok(()) };
        after = last.id;
        let depths = match scheduler.publisher.depths().await {
            Ok(depths) => depths,
            Err(error) => {
                tracing::debug!(error = %causes(&error), "repair waits for the broker");
                return Ok(());
            }
        };
        for run in stalled {
            let queue = match run.queue.known("queue") {
                Ok(queue) => *queue,
                Err(error) => {
                    only_this_run(run.id, error.into())?;
                    continue;
                }
            };
            let ready = match queue {
                JobQueue::Bulk => depths.bulk,
                JobQueue::Manual => depths.manual,
            };
            if run.silent_s >= repair_after(&run, ready > 0).num_seconds()
                && let Err(error) = repair(&scheduler, &run, queue).await
            {
                only_this_run(run.id, error.into())?;
            }
        }
    }
}

/// Leaves the run to the publish sweep; nothing is done while somebody holds its row.
async fn repair(scheduler: &Scheduler, run: &StalledRun, queue: JobQueue) -> Result<(), sqlx::Error> {
    let token = LeaseToken::new();
    let mut transaction = scheduler.pool.begin().await?;
    // One transaction: nobody meets a run that is claimed and not carried on.
    let repaired = executions::lease::claim(&mut transaction, run.id, token).await?.is_some()
        && executions::repair::publish_anew(&mut transaction, run.id, run.repair_count, token).await?;
    if !repaired {
        return Ok(());
    }
    executions::lease::release(&mut transaction, run.id, token).await?;
    transaction.commit().await?;
    tracing::warn!(
        execution_id = %run.id, silent_s = run.silent_s,
        "execution {} made no progress for {} s: what is pending is published again", run.id, run.silent_s
    );
    scheduler.calls.of_queue(queue).notify_one();
    Ok(())
}

/// How long a run must be silent before it is repaired: doubling with each repair without progress.
fn repair_after(run: &StalledRun, is_behind_others: bool) -> TimeDelta {
    let first = if is_behind_others { STALLED_BEHIND_OTHERS_AFTER } else { STALLED_AFTER };
    let doubled = first * 2_i32.saturating_pow(run.repair_count.min(10));
    doubled.min(LONGEST_REPAIR_PAUSE)
}

#[cfg(test)]
mod tests {
    use hostsync_store::word::Word;

    use super::*;

    #[test]
    fn repairs_come_after_a_minute_then_double_up_to_an_hour() {
        let after = |repair_count, is_behind_others| {
            let run = StalledRun { id: ExecutionId(1), queue: Word::Known(JobQueue::Bulk), silent_s: 0, repair_count };
            repair_after(&run, is_behind_others).num_seconds()
        };
        assert_eq!([0, 1, 2, 9, 99].map(|n| after(n, false)), [60, 120, 240, 3_600, 3_600]);
        assert_eq!([0, 1, 2, 3].map(|n| after(n, true)), [600, 1_200, 2_400, 3_600]);
    }
}
