//! A run that ends early: its one closing status, and the runs that have one.

use chrono::TimeDelta;
use sqlx::{MySqlConnection, QueryBuilder};

use crate::tables::IfLocked;
use crate::word::Word;
use hostsync_model::execution::{ClosingCause, ExecutionId, SyncStatus};

/// Sets the one closing status of a run, if it has none. An unprepared run gets the totals inserted so far and a lease
/// that nobody holds, so that its preparer finds itself replaced. Must run with the run's row locked by
/// [`lock_running`].
pub async fn close(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    cause: ClosingCause,
    reason: &str,
    inserted: u32,
    last_detail_id: u64,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log
         SET closing_status = ?, closing_cause = ?, closing_reason = ?, error_message = COALESCE(error_message, ?),
             waiting_for = NULL,
             total_hosts = IF(prepared_at IS NULL, ?, total_hosts),
             pending_count = IF(prepared_at IS NULL, ?, pending_count),
             last_detail_id = IF(prepared_at IS NULL, ?, last_detail_id),
             prepared_at = COALESCE(prepared_at, UTC_TIMESTAMP(3)),
             lease_token = NULL, lease_until = NULL
         WHERE id = ? AND execution_status = 'running' AND closing_status IS NULL",
        cause.outcome().as_str(),
        cause.as_str(),
        reason,
        reason,
        inserted,
        inserted,
        last_detail_id,
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Locks a running execution's row. `None`: it is not running, or closing already (or locked, where that is skipped).
/// `Some(prepared)` else.
pub async fn lock_running(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    if_locked: IfLocked,
) -> Result<Option<bool>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT prepared_at IS NOT NULL FROM es_sync_execution_log WHERE id = ");
    query.push_bind(id.0).push(" AND execution_status = 'running' AND closing_status IS NULL").push(if_locked.clause());
    query.build_query_scalar().fetch_optional(connection).await
}

/// Locks the row of a closing run. `false`: it has ended, or somebody else holds it.
pub async fn lock_closing(connection: &mut MySqlConnection, id: ExecutionId) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query_scalar!(
        "SELECT id FROM es_sync_execution_log
         WHERE id = ? AND execution_status = 'running' AND closing_status IS NOT NULL FOR UPDATE SKIP LOCKED",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(locked.is_some())
}

/// A run whose pending hosts wait to be closed.
#[derive(Debug, Clone)]
pub struct ClosingRun {
    /// The run.
    pub id: ExecutionId,
    /// What its pending hosts become: `cancelled` or `failed`.
    pub status: Word<SyncStatus>,
    /// Why; `None`: the release before this one closed it.
    pub cause: Option<Word<ClosingCause>>,
    /// What they say.
    pub reason: String,
}

/// Runs that are closing, oldest first, at most `limit`.
pub async fn runs(connection: &mut MySqlConnection, limit: u32) -> Result<Vec<ClosingRun>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id, closing_status AS "closing_status!", closing_cause, closing_reason FROM es_sync_execution_log
           WHERE execution_status = 'running' AND closing_status IS NOT NULL ORDER BY id LIMIT ?"#,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ClosingRun {
            id: ExecutionId(row.id),
            status: row.closing_status.into(),
            cause: row.closing_cause.map(Word::from),
            reason: row.closing_reason.unwrap_or_default(),
        })
        .collect())
}

/// Runs older than `deadline` that are still going, at most `limit`.
pub async fn overdue(
    connection: &mut MySqlConnection,
    deadline: TimeDelta,
    limit: u32,
) -> Result<Vec<ExecutionId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM es_sync_execution_log
         WHERE execution_status = 'running' AND closing_status IS NULL
           AND execution_time < UTC_TIMESTAMP(3) - INTERVAL ? SECOND
         ORDER BY id LIMIT ?",
        deadline.num_seconds(),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(ExecutionId).collect())
}
