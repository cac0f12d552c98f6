//! What running executions wait for, as far as their rows and their details tell.
//!
//! `waiting_kind` stands beside `waiting_for` where a scheduler's sweep wrote it; without one, whoever works on the run did.

use chrono::{DateTime, Utc};
use sqlx::MySqlConnection;

use super::text_statement::TextStatement;
use crate::word::Word;
use hostsync_model::execution::{ExecutionId, JobQueue, WaitKind};

/// A running execution that shows no sign of life, or of which somebody has said that it waits.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of one another")]
pub struct SilentRun {
    /// The run.
    #[sqlx(try_from = "u64")]
    pub id: ExecutionId,
    /// Where its jobs go.
    pub queue: Word<JobQueue>,
    /// What they ask.
    pub es_endpoint: String,
    /// Whether it has shown no sign of life for long.
    pub is_silent: bool,
    /// Whether its hosts have been copied.
    pub is_prepared: bool,
    /// Whether all of its jobs have been published.
    pub is_published: bool,
    /// Whether a process holds it.
    pub is_held: bool,
    /// Whether a host has neither an outcome nor a clock: its job is in a queue or with a worker.
    pub has_jobs: bool,
    /// When the first of the other hosts is published again.
    pub next_clock: Option<DateTime<Utc>>,
    /// Whether that time has come.
    pub is_clock_due: bool,
    /// What went wrong with that host.
    pub last_error: Option<String>,
    /// What is said of it.
    pub waiting_for: Option<String>,
    /// What kind of thing that is, if a scheduler's sweep said so.
    pub waiting_kind: Option<Word<WaitKind>>,
}

/// Running executions after `after` without a sign of life for `silent_s` seconds, and those of which it is said that they
/// wait; in order of id, at most `limit`. A step or two in the key of the clocks each.
pub async fn silent_runs(
    connection: &mut MySqlConnection,
    silent_s: i64,
    after: ExecutionId,
    limit: u32,
) -> Result<Vec<SilentRun>, sqlx::Error> {
    sqlx::query_as(
        "SELECT CAST(id AS UNSIGNED) AS id, queue, COALESCE(es_endpoint, '') AS es_endpoint, is_silent,
                prepared_at IS NOT NULL AS is_prepared, published_watermark >= last_detail_id AS is_published,
                COALESCE(lease_until > UTC_TIMESTAMP(3), FALSE) AS is_held,
                EXISTS (SELECT 1 FROM es_sync_execution_detail AS detail
                        WHERE detail.execution_id = going.id AND detail.retry_at IS NULL
                          AND detail.sync_status = 'pending') AS has_jobs,
                (SELECT MIN(retry_at) FROM es_sync_execution_detail AS detail
                 WHERE detail.execution_id = going.id AND detail.retry_at IS NOT NULL) AS next_clock,
                COALESCE((SELECT MIN(retry_at) <= UTC_TIMESTAMP(3) FROM es_sync_execution_detail AS detail
                          WHERE detail.execution_id = going.id AND detail.retry_at IS NOT NULL), FALSE) AS is_clock_due,
                (SELECT error_message FROM es_sync_execution_detail AS detail
                 WHERE detail.execution_id = going.id AND detail.retry_at IS NOT NULL
                 ORDER BY retry_at LIMIT 1) AS last_error,
                waiting_for, waiting_kind
         FROM (SELECT id, queue, es_endpoint, prepared_at, published_watermark, last_detail_id, lease_until, waiting_for,
                      waiting_kind,
                      GREATEST(execution_time, COALESCE(progress_at, execution_time),
                               COALESCE(published_at, execution_time), COALESCE(prepared_at, execution_time))
                          < UTC_TIMESTAMP(3) - INTERVAL ? SECOND AS is_silent
               FROM es_sync_execution_log
               WHERE execution_status = 'running' AND closing_status IS NULL AND id > ?) AS going
         WHERE is_silent OR waiting_for IS NOT NULL ORDER BY id LIMIT ?",
    )
    .bind(silent_s)
    .bind(after.0)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Says of running executions what they wait for, `None`: of nothing any more. Returns those whose row somebody holds, and
/// of which nothing was said. Call in a transaction.
pub async fn tell(
    connection: &mut MySqlConnection,
    ids: &[ExecutionId],
    wait: Option<(WaitKind, &str)>,
) -> Result<Vec<ExecutionId>, sqlx::Error> {
    let mut statement =
        TextStatement::new("SELECT CAST(id AS UNSIGNED) FROM es_sync_execution_log FORCE INDEX (PRIMARY) WHERE id IN ");
    statement.list(ids.iter().map(|id| id.0)).sql(" ORDER BY id FOR UPDATE SKIP LOCKED");
    let free: Vec<u64> = statement.fetch_column(connection).await?;
    if !free.is_empty() {
        let text: Option<String> =
            wait.map(|(_, text)| text.chars().take(super::executions::remarks::LONGEST_WAITING_FOR).collect());
        let mut statement = TextStatement::new("UPDATE es_sync_execution_log FORCE INDEX (PRIMARY) SET waiting_for = ");
        statement.value(text).sql(", waiting_kind = ").value(wait.map(|(kind, _)| kind.as_str()));
        statement.sql(" WHERE execution_status = 'running' AND closing_status IS NULL AND id IN ");
        statement.list(free.iter().copied());
        statement.execute(connection).await?;
    }
    Ok(ids.iter().copied().filter(|id| !free.contains(&id.0)).collect())
}
