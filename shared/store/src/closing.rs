//! How a run is closed before its end: cancelled by a person, failed once for all hosts, or overdue.
//!
//! Closing has two steps: one closing status on the run (after which no worker's result is taken), then its pending
//! rows get that outcome in batches. Any process may do the first, the schedulers' sweep does the second.

use sqlx::{MySqlConnection, MySqlPool};

use crate::tables::IfLocked;
use crate::tables::details;
use crate::tables::executions::{self, closing::ClosingRun, counters::CounterChange};
use crate::tables::host_states::{self, Unsuccessful};
use crate::tables::hosts_pool;
use crate::word::Word;
use hostsync_metrics::{Metrics, ReasonClass};
use hostsync_model::execution::{ClosingCause, Counts, DetailId, ExecutionId, SyncStatus};

/// Rows closed in one transaction.
const CLOSE_CHUNK: u32 = 1_000;

/// Sets the closing status of a running execution. A run that is still being prepared keeps the hosts inserted so far.
/// `false`: it is not running, or closing already.
pub async fn close_execution(
    pool: &MySqlPool,
    id: ExecutionId,
    cause: ClosingCause,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    close(pool, id, cause, reason, IfLocked::Wait).await
}

/// As [`close_execution`]; `false` also if somebody holds the run's row.
pub async fn close_unless_busy(
    pool: &MySqlPool,
    id: ExecutionId,
    cause: ClosingCause,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    close(pool, id, cause, reason, IfLocked::Skip).await
}

async fn close(
    pool: &MySqlPool,
    id: ExecutionId,
    cause: ClosingCause,
    reason: &str,
    if_locked: IfLocked,
) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let closed = close_within(&mut transaction, id, cause, reason, if_locked).await?;
    transaction.commit().await?;
    Ok(closed)
}

/// As [`close_execution`], in the caller's transaction.
pub async fn close_within(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    cause: ClosingCause,
    reason: &str,
    if_locked: IfLocked,
) -> Result<bool, sqlx::Error> {
    let Some(prepared) = executions::closing::lock_running(connection, id, if_locked).await? else {
        return Ok(false);
    };
    let (inserted, last_detail_id) = if prepared { (0, 0) } else { details::outbox::totals(connection, id).await? };
    executions::closing::close(connection, id, cause, reason, inserted, last_detail_id).await
}

/// Gives the next batch of a closing run's pending rows, those with ids above `after`, their outcome. `Some`: go on after
/// that row; `None`: the run has ended, or the rest of it is held by others and is for a later round.
///
/// The run's row is locked first, against the order of locks; nothing is waited for behind it but rows of state
/// (`es_sync_host_state`) that a batch of the same run may hold: of the two the database breaks one off, which comes again.
pub async fn close_pending(
    pool: &MySqlPool,
    run: &ClosingRun,
    after: DetailId,
) -> Result<Option<DetailId>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    if !executions::closing::lock_closing(&mut transaction, run.id).await? {
        return Ok(None);
    }
    let outcome = *run.status.known("closing_status")?;
    let hosts = details::ledger::lock_pending(&mut transaction, run.id, after, CLOSE_CHUNK).await?;
    let ids: Vec<DetailId> = hosts.iter().map(|(id, _)| *id).collect();
    let mut counts = Counts::default();
    for _ in &ids {
        counts.add(outcome);
    }
    if !ids.is_empty() {
        details::ledger::close(&mut transaction, &ids, outcome, &run.reason).await?;
    }
    // A host that a cancelled run did not reach is as it was.
    if outcome == SyncStatus::Failed {
        note_failed(&mut transaction, run, &hosts).await?;
    }
    let counted = executions::counters::count(&mut transaction, run.id, &counts, None, true).await?;
    transaction.commit().await?;
    if !ids.is_empty() {
        let reason = match run.cause {
            Some(Word::Known(cause)) => cause.into(),
            Some(Word::Unknown(_)) | None => ReasonClass::Other,
        };
        Metrics::global().jobs_finished(outcome, reason, ids.len() as u64);
    }
    if let CounterChange::Ended(status) = counted {
        Metrics::global().execution_ended(status);
        tracing::info!(execution_id = %run.id, status = %status, "execution {} ended: {status}", run.id);
        return Ok(None);
    }
    if ids.is_empty()
        && after == DetailId(0)
        && !details::ledger::has_pending(&mut *pool.acquire().await?, run.id).await?
    {
        tracing::error!(execution_id = %run.id, "execution {} counts pending hosts but has no pending row", run.id);
    }
    Ok(ids.last().copied())
}

/// Writes that these hosts failed with their run.
async fn note_failed(
    connection: &mut MySqlConnection,
    run: &ClosingRun,
    hosts: &[(DetailId, String)],
) -> Result<(), sqlx::Error> {
    let addresses: Vec<&str> = hosts.iter().map(|(_, host_ip)| host_ip.as_str()).collect();
    let pool = hosts_pool::live(connection, &addresses).await?;
    let failed = pool.into_iter().map(|(host_ip, host)| Unsuccessful {
        host_ip,
        pool_id: host.id.into(),
        status: SyncStatus::Failed,
        error: Some(run.reason.clone()),
    });
    host_states::note(connection, run.id, failed.collect()).await
}
