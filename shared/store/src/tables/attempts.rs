//! `es_sync_attempt`: one row a failed attempt of a host; the one that succeeded stands on the detail itself.
//!
//! Written within the transaction that spends the attempt, with its detail locked; pruned with its execution.

use chrono::{DateTime, Utc};
use sqlx::MySqlConnection;

use super::ROWS_PER_STATEMENT;
use super::searches::SearchId;
use super::text_statement::TextStatement;
use hostsync_model::execution::{DetailId, ExecutionId};

/// An attempt that failed.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// The host's row, locked.
    pub detail_id: DetailId,
    /// Its run.
    pub execution_id: ExecutionId,
    /// From 1.
    pub attempt: u32,
    /// The search that it failed on; `None`: none was made.
    pub search: Option<SearchId>,
    /// Why.
    pub error_message: String,
}

/// Stores failed attempts; one that stands already stays as it is.
pub async fn insert(
    connection: &mut MySqlConnection,
    worker: &str,
    attempts: &[FailedAttempt],
) -> Result<(), sqlx::Error> {
    for chunk in attempts.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "INSERT INTO es_sync_attempt
                 (execution_id, detail_id, attempt, search_id, failed_at, worker, error_message) ",
        );
        statement.rows(chunk, |row, attempt| {
            row.value(attempt.execution_id.0)
                .value(attempt.detail_id.0)
                .value(attempt.attempt)
                .value(attempt.search.map(|search| search.0))
                .sql("UTC_TIMESTAMP(3)")
                .value(worker)
                .value(&attempt.error_message);
        });
        statement.sql(" ON DUPLICATE KEY UPDATE attempt = VALUES(attempt)");
        statement.execute(connection).await?;
    }
    Ok(())
}

/// A failed attempt as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns, by name")]
pub struct Attempt {
    pub attempt: u32,
    pub search_id: Option<u64>,
    pub failed_at: DateTime<Utc>,
    pub worker: String,
    pub error_message: String,
}

/// Failed attempts of one host, in order, at most `limit`.
pub async fn of_host(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    detail: DetailId,
    limit: u32,
) -> Result<Vec<Attempt>, sqlx::Error> {
    sqlx::query_as(
        "SELECT attempt, search_id, failed_at, worker, error_message FROM es_sync_attempt
         WHERE execution_id = ? AND detail_id = ? ORDER BY attempt LIMIT ?",
    )
    .bind(execution.0)
    .bind(detail.0)
    .bind(limit)
    .fetch_all(connection)
    .await
}
