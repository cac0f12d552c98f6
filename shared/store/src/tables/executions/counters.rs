//! The counters of a run, and its end when nothing is pending any more.

use sqlx::MySqlConnection;

use super::remarks::set_waiting_for;
use crate::tables::freshness;
use crate::word::Word;
use hostsync_model::execution::{Counts, ExecutionId, ExecutionStatus};

/// What a change of counters did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CounterChange {
    /// Counters moved, hosts are still pending.
    Going,
    /// Counters moved to their end: this caller ended the run.
    Ended(ExecutionStatus),
    /// The run is closing or has ended: roll back, the results are dropped.
    Closed,
}

/// Moves the counters by what this transaction really changed and ends the run when nothing is pending. Exactly one
/// caller sees [`CounterChange::Ended`], since the row is locked from here to the commit. `sample_reason` becomes the run's
/// `error_message` if it has none. Progress clears why the run waits, unless a host of it waits for its clock. A sweeper that closes a run passes `closing = true`, a worker `false`.
///
/// # Errors
///
/// The database's; `pending_count` below 0 is an out-of-range error, never a wrap.
pub async fn count(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    counts: &Counts,
    sample_reason: Option<&str>,
    closing: bool,
) -> Result<CounterChange, sqlx::Error> {
    let changed = sqlx::query!(
        "UPDATE es_sync_execution_log
         SET success_count = success_count + ?,
             failed_count = failed_count + ?,
             no_data_count = no_data_count + ?,
             not_in_pool_count = not_in_pool_count + ?,
             cancelled_count = cancelled_count + ?,
             pending_count = pending_count - ?,
             error_message = COALESCE(error_message, ?),
             progress_at = UTC_TIMESTAMP(3),
             waiting_for = NULL,
             repair_count = 0,
             execution_status = CASE WHEN pending_count > 0 THEN 'running'
                                     WHEN cancelled_count > 0 THEN 'cancelled'
                                     WHEN total_hosts = 0 THEN COALESCE(closing_status, 'success')
                                     WHEN failed_count = 0 THEN 'success'
                                     WHEN success_count > 0 THEN 'partial'
                                     ELSE 'failed' END,
             finished_at = IF(pending_count > 0, NULL, UTC_TIMESTAMP(3)),
             duration_ms = IF(pending_count > 0, NULL,
                              GREATEST(0, TIMESTAMPDIFF(MICROSECOND, execution_time, UTC_TIMESTAMP(3)) DIV 1000))
         WHERE id = ? AND execution_status = 'running' AND (closing_status IS NOT NULL) = ?",
        counts.success,
        counts.failed,
        counts.no_data,
        counts.not_in_pool,
        counts.cancelled,
        counts.total(),
        sample_reason,
        id.0,
        closing,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if changed == 0 {
        return Ok(CounterChange::Closed);
    }
    let (status, waiting): (Word<ExecutionStatus>, Option<String>) = sqlx::query_as(
        "SELECT execution_status,
                (SELECT CONCAT('host ', host_ip, ' waits: ', COALESCE(error_message, '')) FROM es_sync_execution_detail
                 WHERE execution_id = ? AND retry_at IS NOT NULL LIMIT 1)
         FROM es_sync_execution_log WHERE id = ?",
    )
    .bind(id.0)
    .bind(id.0)
    .fetch_one(&mut *connection)
    .await?;
    let status = *status.known("execution_status")?;
    if status != ExecutionStatus::Running {
        freshness::run_ended(connection, id).await?;
        return Ok(CounterChange::Ended(status));
    }
    if let Some(waiting) = waiting {
        set_waiting_for(connection, [id], &waiting).await?;
    }
    Ok(CounterChange::Going)
}
