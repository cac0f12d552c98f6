//! Forgets executions older than `scheduler.retention`, details first, in small batches that hurt no running sync; and
//! idempotency keys and newest windows that nothing needs any more.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use hostsync_shared::database::{self, Fault};
use hostsync_shared::execution::ExecutionId;
use hostsync_shared::loops::LIMIT_OF_SWEEPS;
use hostsync_shared::tables::{attempts, details, executions, idempotency_keys, newest_window, searches, statistics};
use sqlx::MySqlConnection;

use crate::Scheduler;

/// Pause between two looks for something old.
const EVERY: Duration = Duration::from_mins(1);

/// Longest round.
const ROUND: Duration = Duration::from_mins(10);

/// Pause between two batches.
const BREATH: Duration = Duration::from_millis(50);

/// Rows of one batch.
const BATCH_ROWS: u32 = 1_000;

/// Executions of one round.
const RUNS: u32 = 100;

/// Days that the newest windows are kept: longer than the longest time range, so that no late run can write over a
/// newer one.
const NEWEST_WINDOW_DAYS: i64 = 400;

/// Prunes until the shutdown begins.
pub(crate) async fn run(scheduler: Arc<Scheduler>, retention: Duration) {
    let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    let turns = scheduler.loops.begin("prune", LIMIT_OF_SWEEPS);
    while !scheduler.shutdown.is_stopping() {
        turns.turned();
        match tokio::time::timeout(ROUND, round(&scheduler, retention)).await {
            // There is more: a busy fleet makes executions faster than a page a minute.
            Ok(Ok(true)) => continue,
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "pruning goes on later"),
            Err(_) => tracing::warn!("pruning goes on later: the database did not answer"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = scheduler.shutdown.stopping() => {}
        }
    }
}

/// Prunes one page; `true`: there may be more. The sums last: an execution that is about to go may just have been added.
async fn round(scheduler: &Scheduler, retention: TimeDelta) -> Result<bool, sqlx::Error> {
    let mut connection = scheduler.pool.acquire().await?;
    let mut pruned = 0;
    for id in executions::prunable(&mut connection, retention, RUNS).await? {
        match forget(scheduler, &mut connection, id).await {
            Ok(true) => pruned += 1,
            Ok(false) => return Ok(false),
            // One that cannot be pruned holds up nothing else.
            Err(error) if database::fault(&error) != Fault::Down => {
                tracing::warn!(execution_id = %id, error = %error, "execution {id} cannot be pruned: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    let now = database::now(&mut connection).await?;
    if let Some(before) = now.checked_sub_signed(retention) {
        while statistics::prune(&mut connection, before, BATCH_ROWS).await? == u64::from(BATCH_ROWS) {
            if scheduler.shutdown.is_stopping() {
                return Ok(false);
            }
            tokio::time::sleep(BREATH).await;
        }
    }
    let day = (now - TimeDelta::days(NEWEST_WINDOW_DAYS)).date_naive();
    newest_window::prune(&mut connection, day, BATCH_ROWS).await?;
    idempotency_keys::prune(&mut connection, BATCH_ROWS).await?;
    if pruned > 0 {
        tracing::info!(executions = pruned, "{pruned} old executions pruned");
    }
    Ok(pruned == RUNS)
}

/// Deletes an execution, what explains it and its details before it. `false`: the shutdown began first.
async fn forget(scheduler: &Scheduler, connection: &mut MySqlConnection, id: ExecutionId) -> Result<bool, sqlx::Error> {
    let is_full = |rows: u64| rows == u64::from(BATCH_ROWS);
    while is_full(details::prune(connection, id, BATCH_ROWS).await?)
        || is_full(attempts::prune(connection, id, BATCH_ROWS).await?)
        || is_full(searches::prune(connection, id, BATCH_ROWS).await?)
    {
        if scheduler.shutdown.is_stopping() {
            return Ok(false);
        }
        tokio::time::sleep(BREATH).await;
    }
    executions::delete(connection, id).await?;
    Ok(true)
}
