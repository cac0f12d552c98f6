//! Forgets executions older than `scheduler.retention`, details first, in small batches that hurt no running sync; and
//! idempotency keys and newest windows that nothing needs any more.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use hostsync_shared::database;
use hostsync_shared::loops::LIMIT_OF_SWEEPS;
use hostsync_shared::tables::{attempts, details, executions, idempotency_keys, newest_window, searches, statistics};

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

/// Prunes one page; `true`: there may be more.
async fn round(scheduler: &Scheduler, retention: TimeDelta) -> Result<bool, sqlx::Error> {
    let mut connection = scheduler.pool.acquire().await?;
    // First, so that an execution which cannot be pruned does not hold it up.
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
    let old = executions::prunable(&mut connection, retention, RUNS).await?;
    let pruned = old.len();
    for id in old {
        while details::prune(&mut connection, id, BATCH_ROWS).await? == u64::from(BATCH_ROWS) {
            if scheduler.shutdown.is_stopping() {
                return Ok(false);
            }
            tokio::time::sleep(BREATH).await;
        }
        while attempts::prune(&mut connection, id, BATCH_ROWS).await? == u64::from(BATCH_ROWS)
            || searches::prune(&mut connection, id, BATCH_ROWS).await? == u64::from(BATCH_ROWS)
        {
            if scheduler.shutdown.is_stopping() {
                return Ok(false);
            }
            tokio::time::sleep(BREATH).await;
        }
        executions::delete(&mut connection, id).await?;
    }
    if pruned > 0 {
        tracing::info!(executions = pruned, "{pruned} old executions pruned");
    }
    Ok(pruned == RUNS as usize)
}
