//! What is done to a run under its lease: its hosts are prepared, its jobs published.
//!
//! Every write is guarded by the lease's token and by the old cursor or watermark; who finds itself replaced stops.

use chrono::TimeDelta;
use sqlx::MySqlConnection;

use crate::word::Word;
use hostsync_model::execution::{ExecutionId, JobQueue};

/// How long a claim on an execution holds without renewal.
pub const LEASE: TimeDelta = TimeDelta::seconds(30);

/// Proof of a claim: a new random number each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseToken(pub u64);

impl LeaseToken {
    /// A fresh token.
    pub fn new() -> Self {
        Self(rand::random())
    }
}

impl Default for LeaseToken {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a run stands in preparing and publishing, as its lease holder sees it.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The run.
    pub id: ExecutionId,
    /// The run whose failed and cancelled hosts are retried; `None`: it runs over the pool.
    pub retry_of: Option<ExecutionId>,
    /// Id prepared up to: of `hosts_pool`, or of the details of the run that is retried.
    pub prepare_cursor: u64,
    /// Whether all detail rows stand.
    pub prepared: bool,
    /// Highest detail id of the run.
    pub last_detail_id: u64,
    /// Detail id up to which all publishes are confirmed.
    pub published_watermark: u64,
    /// Where its jobs go.
    pub queue: JobQueue,
    /// Endpoint that its jobs will ask.
    pub es_endpoint: String,
    /// W3C `traceparent` of what made it.
    pub trace_context: Option<String>,
}

/// Claims a running execution whose lease is free or over, and reads where it stands. `None`: another holds it or its row,
/// or it is closing or has ended. Whatever comes of it, the run has had its turn. Call in a transaction: the row is locked
/// before it is written, so as not to wait for it.
pub async fn claim(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    token: LeaseToken,
) -> Result<Option<Progress>, sqlx::Error> {
    let free = sqlx::query_scalar!(
        "SELECT id FROM es_sync_execution_log
         WHERE id = ? AND execution_status = 'running' AND closing_status IS NULL
           AND (lease_until IS NULL OR lease_until < UTC_TIMESTAMP(3)) FOR UPDATE SKIP LOCKED",
        id.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if free.is_none() {
        return Ok(None);
    }
    sqlx::query(
        "UPDATE es_sync_execution_log
         SET lease_token = ?, lease_until = UTC_TIMESTAMP(3) + INTERVAL ? SECOND, turn_at = UTC_TIMESTAMP(3) WHERE id = ?",
    )
    .bind(token.0)
    .bind(LEASE.num_seconds())
    .bind(id.0)
    .execute(&mut *connection)
    .await?;
    progress(connection, id, token).await
}

/// Where a run stands, if `token` still holds it.
pub async fn progress(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    token: LeaseToken,
) -> Result<Option<Progress>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT retry_of, CAST(IF(retry_of IS NULL, prepare_cursor, retry_cursor) AS UNSIGNED) AS "prepare_cursor!: u64",
                  prepared_at IS NOT NULL AS "prepared!: bool", last_detail_id, published_watermark,
                  queue, es_endpoint, trace_context
           FROM es_sync_execution_log
           WHERE id = ? AND lease_token = ? AND execution_status = 'running' AND closing_status IS NULL"#,
        id.0,
        token.0,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Progress {
        id,
        retry_of: row.retry_of.map(ExecutionId),
        prepare_cursor: row.prepare_cursor,
        prepared: row.prepared,
        last_detail_id: row.last_detail_id,
        published_watermark: row.published_watermark,
        queue: *Word::from(row.queue).known("queue")?,
        es_endpoint: row.es_endpoint.unwrap_or_default(),
        trace_context: row.trace_context,
    }))
}

/// Renews a lease; `false`: the holder has been replaced.
pub async fn renew(connection: &mut MySqlConnection, id: ExecutionId, token: LeaseToken) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log SET lease_until = UTC_TIMESTAMP(3) + INTERVAL ? SECOND
         WHERE id = ? AND lease_token = ?",
        LEASE.num_seconds(),
        id.0,
        token.0,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Gives a lease back before its end.
pub async fn release(connection: &mut MySqlConnection, id: ExecutionId, token: LeaseToken) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_execution_log SET lease_token = NULL, lease_until = NULL WHERE id = ? AND lease_token = ?",
        id.0,
        token.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves the cursor of preparing, guarded by lease and old value; `false`: roll back, another goes on.
pub async fn move_prepare_cursor(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    token: LeaseToken,
    from: u64,
    to: u64,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log
         SET prepare_cursor = IF(retry_of IS NULL, ?, prepare_cursor),
             retry_cursor = IF(retry_of IS NULL, retry_cursor, ?), waiting_for = NULL
         WHERE id = ? AND lease_token = ? AND IF(retry_of IS NULL, prepare_cursor, retry_cursor) = ?
           AND prepared_at IS NULL AND execution_status = 'running' AND closing_status IS NULL",
        to,
        to,
        id.0,
        token.0,
        from,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// What preparing has noted of rows that make no host of their own, as it was written last.
pub async fn prepare_notes(connection: &mut MySqlConnection, id: ExecutionId) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT prepare_notes FROM es_sync_execution_log WHERE id = ?", id.0)
        .fetch_one(connection)
        .await
}

/// Writes these notes, in the transaction that moves the cursor.
pub async fn set_prepare_notes(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    notes: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE es_sync_execution_log SET prepare_notes = ? WHERE id = ?", notes, id.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Sets `total_hosts`, `pending_count` and `prepared_at` together from the rows that stand; a run of no host ends at
/// once. `false`: another holds the lease, or the run is closing.
pub async fn finish_preparing(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    token: LeaseToken,
    total: u32,
    last_detail_id: u64,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log
         SET total_hosts = ?, pending_count = ?, last_detail_id = ?, prepared_at = UTC_TIMESTAMP(3),
             progress_at = UTC_TIMESTAMP(3), waiting_for = NULL,
             execution_status = IF(? = 0, 'success', execution_status),
             finished_at = IF(? = 0, UTC_TIMESTAMP(3), NULL),
             duration_ms = IF(? = 0, GREATEST(0, TIMESTAMPDIFF(MICROSECOND, execution_time, UTC_TIMESTAMP(3)) DIV 1000), duration_ms)
         WHERE id = ? AND lease_token = ? AND prepared_at IS NULL AND execution_status = 'running'
           AND closing_status IS NULL",
        total,
        total,
        last_detail_id,
        total,
        total,
        total,
        id.0,
        token.0,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Moves the watermark over a contiguous confirmed prefix, guarded by lease and old value.
pub async fn move_watermark(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    token: LeaseToken,
    from: u64,
    to: u64,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log SET published_watermark = ?, published_at = UTC_TIMESTAMP(3)
         WHERE id = ? AND lease_token = ? AND published_watermark = ?
           AND execution_status = 'running' AND closing_status IS NULL",
        to,
        id.0,
        token.0,
        from,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}
