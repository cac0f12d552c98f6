//! Forgets executions older than `scheduler.retention`, details first, in small batches that hurt no running sync, and dead letters as old; entries
//! of the audit older than `scheduler.audit_retention`; and idempotency keys, newest windows and what is known of sources that nothing needs any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use hostsync_metrics::loops::LIMIT_OF_SWEEPS;
use hostsync_model::causes::causes;
use hostsync_model::execution::ExecutionId;
use hostsync_model::window::OLDEST_END_MARGIN;
use hostsync_service::config::SchedulerConfig;
use hostsync_store::database;
use hostsync_store::fault::Fault;
use hostsync_store::tables::executions::history::RunAge;
use hostsync_store::tables::{
    audit, dead_letters, details, doubts, executions, explaining, freshness, host_mutes, idempotency_keys,
    newest_window, pattern_state, scheduler_shifts, search_limit, statistics,
};
use sqlx::MySqlConnection;

use crate::scheduler::Scheduler;

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

/// How much longer than executions the newest windows are kept, in days. A run may be asked for, or retried, whose window
/// ended by [`OLDEST_END_MARGIN`] longer ago than that (a fire's, late by the longest `catch_up_window` and with the longest
/// `delay`, ended less long ago), and what stands beside it must be known until its end: by
/// `scheduler.execution_deadline` (30 days at most), and two days for the zones later.
const NEWEST_WINDOW_MARGIN_DAYS: i64 = OLDEST_END_MARGIN.num_days() + 30 + 2;

/// How long it is known when schedulers were at work. A fire that is late by more counts as missed.
const SHIFTS_KEPT: TimeDelta = TimeDelta::days(30);

/// Pause between two looks for sources that nobody names any more, since every run is read for it.
const SOURCES_EVERY: Duration = Duration::from_hours(1);

/// How long it is known how fresh hosts were on a day.
const FRESHNESS_KEPT: TimeDelta = TimeDelta::days(400);

/// How long a mute is kept that has ended.
const MUTES_KEPT: TimeDelta = TimeDelta::days(1);

/// How long a doubt is kept that nobody shares any more.
const DOUBTS_KEPT: TimeDelta = TimeDelta::days(1);

/// How long it is known how much an endpoint takes that nobody searches.
const LIMITS_KEPT: TimeDelta = TimeDelta::days(30);

/// Prunes until the shutdown begins.
pub(crate) async fn run(scheduler: Arc<Scheduler>, config: SchedulerConfig) {
    let delta = |span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
    let (retention, audit_retention) = (delta(config.retention), delta(config.audit_retention));
    let turns = scheduler.loops.begin("prune", LIMIT_OF_SWEEPS);
    let mut sources_at: Option<Instant> = None;
    // Beyond those that could not be pruned, until all others have been.
    let mut after = None;
    while !scheduler.shutdown.is_stopping() {
        turns.turned();
        if sources_at.is_none_or(|at| at.elapsed() >= SOURCES_EVERY) {
            sources_at = Some(Instant::now());
            if let Err(error) = database::within(ROUND, forget_sources(&scheduler)).await {
                tracing::warn!(error = %causes(&error), "what is known of sources that nobody names is pruned later");
            }
        }
        if let Err(error) = database::within(ROUND, forget_audit(&scheduler, audit_retention)).await {
            tracing::warn!(error = %causes(&error), "the audit is pruned later");
        }
        match tokio::time::timeout(ROUND, round(&scheduler, retention, &mut after)).await {
            // There is more: a busy fleet makes executions faster than a page a minute.
            Ok(Ok(())) if after.is_some() => continue,
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %causes(&error), "pruning goes on later"),
            Err(_) => {
                tracing::info!(
                    "there is much to prune: a round took {} minutes, the next one begins",
                    ROUND.as_secs() / 60
                );
                continue;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = scheduler.shutdown.stopping() => {}
        }
    }
}

/// Prunes the page behind `after` and moves that; `None`: it was the last page. The sums last: an execution that is about to
/// go may just have been added.
async fn round(scheduler: &Scheduler, retention: TimeDelta, after: &mut Option<RunAge>) -> Result<(), sqlx::Error> {
    let mut connection = scheduler.pool.acquire().await?;
    let mut pruned = 0;
    let page = executions::history::prunable(&mut connection, retention, *after, RUNS).await?;
    let next = page.last().copied().filter(|_| page.len() == RUNS as usize);
    for run @ (_, id) in page {
        match forget(scheduler, &mut connection, id).await {
            Ok(true) => pruned += 1,
            Ok(false) => return Ok(()),
            // One that cannot be pruned holds up nothing else.
            Err(error) if !Fault::of(&error).is_outage() => {
                tracing::warn!(execution_id = %id, error = %causes(&error), "execution {id} cannot be pruned");
            }
            Err(error) => return Err(error),
        }
        *after = Some(run);
    }
    *after = next;
    let now = database::now(&mut connection).await?;
    while goes_on(scheduler, idempotency_keys::prune(&mut connection, BATCH_ROWS).await?, BATCH_ROWS).await {}
    let before = now - SHIFTS_KEPT;
    while goes_on(scheduler, scheduler_shifts::prune(&mut connection, before, BATCH_ROWS).await?, BATCH_ROWS).await {}
    while goes_on(scheduler, host_mutes::prune(&mut connection, now - MUTES_KEPT, BATCH_ROWS).await?, BATCH_ROWS).await
    {
    }
    let day = (now - FRESHNESS_KEPT).date_naive();
    while goes_on(scheduler, freshness::prune_days(&mut connection, day, BATCH_ROWS).await?, BATCH_ROWS).await {}
    if let Some(before) = now.checked_sub_signed(retention) {
        while goes_on(scheduler, dead_letters::prune(&mut connection, before, BATCH_ROWS).await?, BATCH_ROWS).await {}
        while goes_on(scheduler, statistics::prune(&mut connection, before, BATCH_ROWS).await?, BATCH_ROWS).await {}
        let day = (before - TimeDelta::days(NEWEST_WINDOW_MARGIN_DAYS)).date_naive();
        while goes_on(scheduler, newest_window::prune(&mut connection, day, BATCH_ROWS).await?, BATCH_ROWS).await {}
    }
    for table @ (_, limit) in explaining::TABLES {
        while goes_on(scheduler, explaining::prune_orphans(&mut connection, table).await?, limit).await {}
    }
    if pruned > 0 {
        tracing::info!(executions = pruned, "{pruned} old executions pruned");
    }
    Ok(())
}

/// Deletes what is known of sources that nobody names or searches, and doubts that stand no more.
async fn forget_sources(scheduler: &Scheduler) -> Result<(), sqlx::Error> {
    let mut connection = scheduler.pool.acquire().await?;
    doubts::prune(&mut connection, DOUBTS_KEPT).await?;
    search_limit::prune(&mut connection, LIMITS_KEPT).await?;
    pattern_state::prune(&mut connection).await?;
    Ok(())
}

/// Deletes what the audit has kept for long enough.
async fn forget_audit(scheduler: &Scheduler, retention: TimeDelta) -> Result<(), sqlx::Error> {
    let mut connection = scheduler.pool.acquire().await?;
    let Some(before) = database::now(&mut connection).await?.checked_sub_signed(retention) else { return Ok(()) };
    while goes_on(scheduler, audit::prune(&mut connection, before, BATCH_ROWS).await?, BATCH_ROWS).await {}
    Ok(())
}

/// Deletes an execution, what explains it and its details before it. `false`: the shutdown began first.
async fn forget(scheduler: &Scheduler, connection: &mut MySqlConnection, id: ExecutionId) -> Result<bool, sqlx::Error> {
    while goes_on(scheduler, details::ledger::prune(connection, id, BATCH_ROWS).await?, BATCH_ROWS).await {}
    for table @ (_, limit) in explaining::TABLES {
        while goes_on(scheduler, explaining::prune(connection, table, id).await?, limit).await {}
    }
    if scheduler.shutdown.is_stopping() {
        return Ok(false);
    }
    executions::history::delete(connection, id).await?;
    Ok(true)
}

/// After a batch of at most `limit` rows: whether there may be another one to delete, and no shutdown has begun.
async fn goes_on(scheduler: &Scheduler, rows: u64, limit: u32) -> bool {
    if rows < u64::from(limit) || scheduler.shutdown.is_stopping() {
        return false;
    }
    tokio::time::sleep(BREATH).await;
    true
}
