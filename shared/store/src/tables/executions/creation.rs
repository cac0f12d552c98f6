//! How a run begins: its row, what it reads, and whose failed hosts it retries.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::MySqlConnection;

use super::lease::{LEASE, LeaseToken};
use crate::tables::text_statement::TextStatement;
use crate::word::Word;
use hostsync_model::execution::{ExecutionId, ExecutionStatus, JobQueue, TaskId, Trigger};
use hostsync_model::window::{TimeRange, Window};

/// What an execution reads from and writes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Time read.
    pub window: Window,
    /// The range it was made from (`24h`).
    pub query_time_range: Word<TimeRange>,
    /// Day of the window's end in the zone of the run.
    pub mon_date: NaiveDate,
    /// Name of a configured endpoint.
    pub es_endpoint: String,
    /// Index pattern.
    pub es_index_pattern: String,
    /// Name of a configured mapping.
    pub mapping: String,
}

/// An execution to be inserted.
#[derive(Debug, Clone)]
pub struct NewExecution<'a> {
    /// [`TaskId::NONE`] without a task.
    pub task_id: TaskId,
    /// Copied, so that history survives a rename.
    pub task_name: &'a str,
    /// What made it.
    pub trigger: Trigger,
    /// The fire it stands for; unique with `task_id`.
    pub scheduled_for: Option<DateTime<Utc>>,
    /// `running`, `waiting` or `skipped`.
    pub status: ExecutionStatus,
    /// Source, window, day.
    pub scope: &'a Scope,
    /// Where its jobs go.
    pub queue: JobQueue,
    /// Who asked for it.
    pub created_by: &'a str,
    /// Why it was skipped.
    pub error_message: Option<&'a str>,
    /// The creator holds the first lease of a run.
    pub lease: Option<LeaseToken>,
    /// W3C `traceparent` of what made it.
    pub trace_context: Option<&'a str>,
}

/// Inserts an execution; a run starts unprepared with all counters 0.
///
/// # Errors
///
/// A duplicate (`task_id`, `scheduled_for`): another scheduler was first.
pub async fn insert(connection: &mut MySqlConnection, new: &NewExecution<'_>) -> Result<ExecutionId, sqlx::Error> {
    let finished = new.status == ExecutionStatus::Skipped;
    let result = sqlx::query!(
        "INSERT INTO es_sync_execution_log
             (task_id, task_name, `trigger`, scheduled_for, execution_status, query_time_range, window_from, window_to,
              mon_date, es_endpoint, es_index_pattern, mapping, queue, created_by, error_message, trace_context,
              lease_token, lease_until, execution_time, created_at, finished_at, duration_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
                 IF(? IS NULL, NULL, UTC_TIMESTAMP(3) + INTERVAL ? SECOND),
                 UTC_TIMESTAMP(3), UTC_TIMESTAMP(3), IF(?, UTC_TIMESTAMP(3), NULL), IF(?, 0, NULL))",
        new.task_id.0,
        new.task_name,
        new.trigger.as_str(),
        new.scheduled_for,
        new.status.as_str(),
        new.scope.query_time_range.to_string(),
        new.scope.window.from,
        new.scope.window.to,
        new.scope.mon_date,
        new.scope.es_endpoint,
        new.scope.es_index_pattern,
        new.scope.mapping,
        new.queue.as_str(),
        new.created_by,
        new.error_message,
        new.trace_context,
        new.lease.map(|token| token.0),
        new.lease.map(|token| token.0),
        LEASE.num_seconds(),
        finished,
        finished,
    )
    .execute(connection)
    .await?;
    Ok(ExecutionId(result.last_insert_id()))
}

/// Inserts executions as [`insert`] does, in one statement. Returns their ids in the order of `new`; the caller has at least
/// one, and no two of the same (`task_id`, `scheduled_for`).
///
/// # Errors
///
/// A duplicate (`task_id`, `scheduled_for`), and then none is inserted; the database's.
pub async fn insert_all(
    connection: &mut MySqlConnection,
    new: &[NewExecution<'_>],
) -> Result<Vec<ExecutionId>, sqlx::Error> {
    let mut statement = TextStatement::new(
        "INSERT INTO es_sync_execution_log
             (task_id, task_name, `trigger`, scheduled_for, execution_status, query_time_range, window_from, window_to,
              mon_date, es_endpoint, es_index_pattern, mapping, queue, created_by, error_message, trace_context,
              lease_token, lease_until, execution_time, created_at, finished_at, duration_ms) ",
    );
    statement.rows(new, |row, new| {
        let finished = new.status == ExecutionStatus::Skipped;
        row.value(new.task_id.0)
            .value(new.task_name)
            .value(new.trigger.as_str())
            .value(new.scheduled_for)
            .value(new.status.as_str())
            .value(new.scope.query_time_range.to_string())
            .value(new.scope.window.from)
            .value(new.scope.window.to)
            .value(new.scope.mon_date)
            .value(&new.scope.es_endpoint)
            .value(&new.scope.es_index_pattern)
            .value(&new.scope.mapping)
            .value(new.queue.as_str())
            .value(new.created_by)
            .value(new.error_message)
            .value(new.trace_context)
            .value(new.lease.map(|token| token.0));
        match new.lease {
            Some(_) => row.expression(|until| {
                until.sql("UTC_TIMESTAMP(3) + INTERVAL ").value(LEASE.num_seconds()).sql(" SECOND");
            }),
            None => row.sql("NULL"),
        };
        row.sql("UTC_TIMESTAMP(3)")
            .sql("UTC_TIMESTAMP(3)")
            .sql(if finished { "UTC_TIMESTAMP(3)" } else { "NULL" })
            .sql(if finished { "0" } else { "NULL" });
    });
    let first = statement.execute(&mut *connection).await?.last_insert_id();
    // Looked up, since how far apart the ids of one statement are is the server's to configure.
    let mut statement = TextStatement::new(
        "SELECT CAST(id AS UNSIGNED), CAST(task_id AS UNSIGNED), scheduled_for
         FROM es_sync_execution_log FORCE INDEX (PRIMARY) WHERE id >= ",
    );
    statement.value(first).sql(" AND task_id IN ").list(new.iter().map(|new| new.task_id.0));
    let rows: Vec<(u64, u64, Option<DateTime<Utc>>)> = statement.fetch_all(connection).await?;
    let ids: HashMap<_, _> =
        rows.into_iter().map(|(id, task, scheduled_for)| ((TaskId(task), scheduled_for), ExecutionId(id))).collect();
    new.iter().map(|new| ids.get(&(new.task_id, new.scheduled_for)).copied().ok_or(sqlx::Error::RowNotFound)).collect()
}

/// Makes a run that was just inserted a retry of another: it is prepared from that one's details. Its cursor over the pool
/// stands behind every row, so that a scheduler of the release before, which knows no such runs, adds none of the pool's hosts.
pub async fn set_retry_of(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    of: ExecutionId,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE es_sync_execution_log SET retry_of = ?, prepare_cursor = 4294967295 WHERE id = ?", of.0, id.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// What a worker must know of an execution; none of it changes while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunScope {
    /// Source, window, day.
    pub scope: Scope,
    /// Where its jobs go.
    pub queue: JobQueue,
}

/// Reads the source, window and day of a run. `None`: there is no such execution, or it lacks a window (a row of the
/// program before hostsync).
pub async fn run_scope(connection: &mut MySqlConnection, id: ExecutionId) -> Result<Option<RunScope>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT window_from AS "window_from: DateTime<Utc>", window_to AS "window_to: DateTime<Utc>", mon_date,
                  query_time_range, es_endpoint, es_index_pattern, mapping, queue
           FROM es_sync_execution_log WHERE id = ?"#,
        id.0
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let queue = *Word::from(row.queue).known("queue")?;
    let scope = || {
        Some(Scope {
            window: Window { from: row.window_from?, to: row.window_to? },
            query_time_range: row.query_time_range.unwrap_or_default().into(),
            mon_date: row.mon_date?,
            es_endpoint: row.es_endpoint?,
            es_index_pattern: row.es_index_pattern?,
            mapping: row.mapping?,
        })
    };
    Ok(scope().map(|scope| RunScope { scope, queue }))
}

/// Where the window of a run ends.
pub async fn window_end(
    connection: &mut MySqlConnection,
    id: ExecutionId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let ends = sqlx::query_scalar("SELECT window_to FROM es_sync_execution_log WHERE id = ?");
    Ok(ends.bind(id.0).fetch_optional(connection).await?.flatten())
}
