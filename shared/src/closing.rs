//! How a run is closed before its end: cancelled by a person, failed once for all hosts, or overdue.
//!
//! Closing has two steps: one closing status on the run (after which no worker's result is taken), then its pending
//! rows get that outcome in batches. Any process may do the first, the schedulers' sweep does the second.

use sqlx::MySqlPool;

use crate::execution::{Counts, DetailId, ExecutionId, SyncStatus};
use crate::metrics::Metrics;
use crate::tables::details;
use crate::tables::executions::{self, Closing, Counted};

/// Rows closed in one transaction.
const CLOSE_CHUNK: u32 = 1_000;

/// Sets the closing status of a running execution. A run that is still being prepared keeps the hosts inserted so far.
/// `false`: it is not running, or closing already. `status` is `cancelled` or `failed`.
///
/// # Errors
///
/// The database's.
pub async fn close_execution(
    pool: &MySqlPool,
    id: ExecutionId,
    status: SyncStatus,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let Some(prepared) = executions::lock_running(&mut transaction, id).await? else {
        return Ok(false);
    };
    let (inserted, last_detail_id) = if prepared { (0, 0) } else { details::totals(&mut transaction, id).await? };
    let closed = executions::close(&mut transaction, id, status, reason, inserted, last_detail_id).await?;
    transaction.commit().await?;
    Ok(closed)
}

/// Gives the next batch of a closing run's pending rows, those with ids above `after`, their outcome. `Some`: go on after
/// that row; `None`: nothing is left, the run has ended.
///
/// # Errors
///
/// The database's.
pub async fn close_pending(pool: &MySqlPool, run: &Closing, after: DetailId) -> Result<Option<DetailId>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let ids = details::lock_pending(&mut transaction, run.id, after, CLOSE_CHUNK).await?;
    let mut counts = Counts::default();
    for _ in &ids {
        counts.add(run.status);
    }
    if !ids.is_empty() {
        details::close(&mut transaction, &ids, run.status, &run.reason).await?;
    }
    let counted = executions::count(&mut transaction, run.id, &counts, None, true).await?;
    transaction.commit().await?;
    match (counted, ids.last()) {
        (Counted::Going, Some(last)) => return Ok(Some(*last)),
        (Counted::Going, None) if after == DetailId(0) => {
            tracing::error!(execution_id = %run.id, "execution {} counts pending hosts but has no pending row", run.id);
        }
        (Counted::Ended(status), _) => {
            Metrics::global().execution_ended(status);
            tracing::info!(execution_id = %run.id, status = %status, "execution {} ended: {status}", run.id);
        }
        (Counted::Going | Counted::Closed, _) => {}
    }
    Ok(None)
}
