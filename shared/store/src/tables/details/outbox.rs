//! The rows as an outbox: how they come in, and whose jobs are to be published.
//!
//! A pending row fills `room` (a `BINARY` of 64 bytes, whatever is put in), which its outcome empties: about what the outcome
//! needs, so that the row stays where it was laid.

use std::collections::HashSet;

use sqlx::MySqlConnection;

use crate::tables::ROWS_PER_STATEMENT;
use crate::tables::text_statement::TextStatement;
use hostsync_model::execution::{DetailId, ExecutionId, SyncStatus};
use hostsync_model::host::{HostIp, address_key};

/// A row to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDetail {
    /// In its canonical form where it is an address.
    pub host_ip: String,
    /// At most 255 characters.
    pub host_name: Option<String>,
}

/// Inserts the pending rows of a host list. The caller passes each address once.
pub async fn insert_hosts(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    hosts: &[HostIp],
) -> Result<(), sqlx::Error> {
    for chunk in hosts.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "INSERT INTO es_sync_execution_detail (execution_id, host_ip, sync_status, created_at, room) ",
        );
        statement.rows(chunk, |row, host| {
            row.value(execution.0).value(host.to_string()).sql("'pending'").sql("UTC_TIMESTAMP(3)").sql("''");
        });
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Inserts pending rows, at most [`ROWS_PER_STATEMENT`] and at least one.
///
/// # Errors
///
/// A duplicate: one of the hosts has a row already. In any case none of the rows is inserted then.
pub async fn insert_pending(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    rows: &[NewDetail],
) -> Result<(), sqlx::Error> {
    let mut statement = TextStatement::new(
        "INSERT INTO es_sync_execution_detail (execution_id, host_ip, host_name, sync_status, created_at, room) ",
    );
    statement.rows(rows, |row, detail| {
        row.value(execution.0).value(&detail.host_ip).value(&detail.host_name).sql("'pending'").sql("UTC_TIMESTAMP(3)");
        row.sql("''");
    });
    statement.execute(connection).await?;
    Ok(())
}

/// Those of `rows` whose host has a row already, by [`address_key`].
pub async fn standing(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    rows: &[NewDetail],
) -> Result<HashSet<String>, sqlx::Error> {
    let mut statement = TextStatement::new("SELECT host_ip FROM es_sync_execution_detail WHERE execution_id = ");
    statement.value(execution.0).sql(" AND host_ip IN ").list(rows.iter().map(|row| &row.host_ip));
    let standing: Vec<String> = statement.fetch_column(connection).await?;
    Ok(standing.iter().map(|host_ip| address_key(host_ip)).collect())
}

/// A row of a run that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns, by name")]
pub struct UnsuccessfulDetail {
    pub id: u64,
    pub host_ip: String,
    pub host_name: Option<String>,
}

/// The next failed and cancelled rows of a run after the row `after`, in order of id, at most `limit`. Reads at most twice as
/// many entries of the key on the status, however many hosts the run has.
pub async fn unsuccessful(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    after: u64,
    limit: u32,
) -> Result<Vec<UnsuccessfulDetail>, sqlx::Error> {
    let mut all: Vec<UnsuccessfulDetail> = Vec::new();
    for status in [SyncStatus::Failed, SyncStatus::Cancelled] {
        let rows: Vec<UnsuccessfulDetail> = sqlx::query_as(
            "SELECT CAST(id AS UNSIGNED) AS id, host_ip, host_name
             FROM es_sync_execution_detail FORCE INDEX (idx_execution_status)
             WHERE execution_id = ? AND sync_status = ? AND id > ? ORDER BY es_sync_execution_detail.id LIMIT ?",
        )
        .bind(execution.0)
        .bind(status.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
        all.extend(rows);
    }
    all.sort_by_key(|row| row.id);
    all.truncate(limit as usize);
    Ok(all)
}

/// How many rows a run has, and the highest id among them (0 without rows).
pub async fn totals(connection: &mut MySqlConnection, execution: ExecutionId) -> Result<(u32, u64), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT COUNT(*) AS "total!: i64", CAST(COALESCE(MAX(id), 0) AS UNSIGNED) AS "last!: u64"
           FROM es_sync_execution_detail WHERE execution_id = ?"#,
        execution.0
    )
    .fetch_one(connection)
    .await?;
    Ok((u32::try_from(row.total).unwrap_or(u32::MAX), row.last))
}

/// A row whose job is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishableDetail {
    /// The row.
    pub id: DetailId,
    /// As it stands in the pool or the request.
    pub host_ip: String,
    /// Attempts spent.
    pub attempts: u32,
}

/// Rows of a run with ids in `(after, up_to]` that are pending and have no clock, in order of id, at most `limit`.
pub async fn publishable(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    after: u64,
    up_to: u64,
    limit: u32,
) -> Result<Vec<PublishableDetail>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, host_ip, attempts FROM es_sync_execution_detail
         WHERE execution_id = ? AND retry_at IS NULL AND id > ? AND id <= ? AND sync_status = 'pending'
         ORDER BY id LIMIT ?",
        execution.0,
        after,
        up_to,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| PublishableDetail { id: DetailId(row.id), host_ip: row.host_ip, attempts: row.attempts })
        .collect())
}
