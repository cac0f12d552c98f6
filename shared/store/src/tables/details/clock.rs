//! The clock of a row (`retry_at`): when its job is published again.

use sqlx::MySqlConnection;

use super::outbox::PublishableDetail;
use crate::tables::ROWS_PER_STATEMENT;
use crate::tables::text_statement::TextStatement;
use hostsync_model::execution::{DetailId, ExecutionId};

/// Locks rows of a run whose clock has run out, at most `limit`, leaving out what another scheduler has locked.
pub async fn lock_due(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    limit: u32,
) -> Result<Vec<PublishableDetail>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, host_ip, attempts FROM es_sync_execution_detail IGNORE INDEX (idx_execution_status)
         WHERE execution_id = ? AND retry_at <= UTC_TIMESTAMP(3) AND sync_status = 'pending'
         ORDER BY retry_at LIMIT ? FOR UPDATE SKIP LOCKED",
        execution.0,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| PublishableDetail { id: DetailId(row.id), host_ip: row.host_ip, attempts: row.attempts })
        .collect())
}

/// Clears the clock of rows, before they are published.
pub async fn clear_clock(connection: &mut MySqlConnection, ids: &[DetailId]) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("UPDATE es_sync_execution_detail SET retry_at = NULL WHERE id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Sets the clock of pending rows to a time within `delay_ms` from now (full jitter) and clears what was counted of their
/// crashes (and the mark `solo_since` of the release before, which runs beside this one). `spend`
/// spends an attempt; `reason` is kept as the row's last error.
pub async fn set_clock(
    connection: &mut MySqlConnection,
    ids: &[DetailId],
    delay_ms: u64,
    spend: bool,
    reason: &str,
) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("UPDATE es_sync_execution_detail SET attempts = attempts + ");
        statement
            .value(u32::from(spend))
            .sql(", error_message = ")
            .value(reason)
            .sql(", begun = 0, begun_by = NULL, solo_since = NULL, retry_at = UTC_TIMESTAMP(3) + INTERVAL FLOOR(RAND() * ")
            .value(delay_ms * 1_000)
            .sql(") MICROSECOND WHERE sync_status = 'pending' AND id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Gives rows their clock back whose job could not be published. A row that has a new clock or an outcome meanwhile is
/// left as it is.
pub async fn set_clock_again(
    connection: &mut MySqlConnection,
    ids: &[DetailId],
    delay_ms: u64,
) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "UPDATE es_sync_execution_detail SET retry_at = UTC_TIMESTAMP(3) + INTERVAL FLOOR(RAND() * ",
        );
        statement
            .value(delay_ms * 1_000)
            .sql(") MICROSECOND WHERE sync_status = 'pending' AND retry_at IS NULL AND id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}
