//! `es_sync_execution_log`: one row a run, its counters and the state of its life.
//!
//! A run is written by whoever holds its lease (prepare, publish), by workers (counters) and by sweepers (closing,
//! repair). Every guarded statement says so in its result; the caller that finds itself replaced stops.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Serialize;
use sqlx::{MySqlConnection, QueryBuilder};

use super::IfLocked;
use super::doubts::STALE;
use super::text_statement::TextStatement;
use crate::word::Word;
use hostsync_model::execution::{
    ClosingCause, Counts, ExecutionId, ExecutionStatus, JobQueue, SyncStatus, TaskId, Trigger,
};
use hostsync_model::window::{TimeRange, Window};

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
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
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

/// Makes a run that was just inserted a retry of another: it is prepared from that one's details. Its cursor over the pool
/// stands behind every row, so that a scheduler of the release before, which knows no such runs, adds none of the pool's hosts.
///
/// # Errors
///
/// The database's.
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

/// Moves the cursor of preparing, guarded by lease and old value; `false`: roll back, another goes on.
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
pub async fn prepare_notes(connection: &mut MySqlConnection, id: ExecutionId) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT prepare_notes FROM es_sync_execution_log WHERE id = ?", id.0)
        .fetch_one(connection)
        .await
}

/// Writes these notes, in the transaction that moves the cursor.
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
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

/// Runs of one queue that somebody must go on preparing or publishing: nobody holds them and something is left to do that may
/// be done. At most `limit`, those first that have waited longest for their turn, so that a run of which nothing comes is
/// behind the others the next time.
///
/// # Errors
///
/// The database's.
pub async fn unpublished(
    connection: &mut MySqlConnection,
    queue: JobQueue,
    limit: u32,
) -> Result<Vec<ExecutionId>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT id FROM es_sync_execution_log WHERE ");
    push_unpublished(&mut query, queue);
    // The release before this one sets no turn.
    query.push(" ORDER BY COALESCE(turn_at, published_at, execution_time), id LIMIT ").push_bind(limit);
    let ids: Vec<u64> = query.build_query_scalar().fetch_all(connection).await?;
    Ok(ids.into_iter().map(ExecutionId).collect())
}

/// Which rows of `es_sync_execution_log` are [`unpublished`].
pub(super) fn push_unpublished(query: &mut QueryBuilder<sqlx::MySql>, queue: JobQueue) {
    query.push("execution_status = 'running' AND closing_status IS NULL AND queue = ").push_bind(queue.as_str()).push(
        " AND (lease_until IS NULL OR lease_until < UTC_TIMESTAMP(3))
              AND (prepared_at IS NULL OR (published_watermark < last_detail_id",
    );
    push_unless_held_back(query);
    query.push("))");
}

/// Runs whose endpoint is closed or whose pattern is set aside, or that name what no worker knows, wait: none of their jobs
/// is published.
fn push_unless_held_back(query: &mut QueryBuilder<sqlx::MySql>) {
    query
        .push(
            " AND NOT EXISTS (SELECT 1 FROM es_sync_endpoint_state AS state
                    WHERE state.closed_since IS NOT NULL
                      AND state.endpoint = CONVERT(es_sync_execution_log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin)
              AND NOT EXISTS (SELECT 1 FROM es_sync_pattern_state AS state
                    WHERE state.set_aside_since IS NOT NULL
                      AND state.endpoint = CONVERT(es_sync_execution_log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin
                      AND state.index_pattern
                          = CONVERT(es_sync_execution_log.es_index_pattern USING utf8mb4) COLLATE utf8mb4_bin)
              AND NOT EXISTS (SELECT 1 FROM es_sync_doubt AS doubt
                    WHERE doubt.seen_at > UTC_TIMESTAMP(3) - INTERVAL ",
        )
        .push_bind(STALE.num_seconds())
        .push(
            " SECOND
                      AND ((doubt.kind = 'endpoint'
                           AND doubt.name = CONVERT(es_sync_execution_log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin)
                       OR (doubt.kind = 'mapping'
                           AND doubt.name = CONVERT(es_sync_execution_log.mapping USING utf8mb4) COLLATE utf8mb4_bin)))",
        );
}

/// Whether nothing of a run may be published for now: its endpoint is closed, its pattern set aside, or no worker knows
/// what it names.
///
/// # Errors
///
/// The database's.
pub async fn is_held_back(connection: &mut MySqlConnection, id: ExecutionId) -> Result<bool, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT COUNT(*) = 0 FROM es_sync_execution_log WHERE id = ");
    query.push_bind(id.0);
    push_unless_held_back(&mut query);
    query.build_query_scalar().fetch_one(connection).await
}

/// A prepared run with jobs whose clock has run out.
#[derive(Debug, Clone)]
pub struct Due {
    /// The run.
    pub id: ExecutionId,
    /// Where its jobs go.
    pub queue: Word<JobQueue>,
    /// W3C `traceparent` of what made it.
    pub trace_context: Option<String>,
}

/// Prepared running executions with jobs whose clock has run out and may be published, after `after` in order of id; at most
/// `limit`. One step in the key of the clocks a run.
///
/// # Errors
///
/// The database's.
pub async fn with_due_clocks(
    connection: &mut MySqlConnection,
    after: ExecutionId,
    limit: u32,
) -> Result<Vec<Due>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT id, queue, trace_context FROM es_sync_execution_log WHERE ");
    push_with_due_clocks(&mut query);
    query.push(" AND id > ").push_bind(after.0).push(" ORDER BY id LIMIT ").push_bind(limit);
    let rows: Vec<(u64, Word<JobQueue>, Option<String>)> = query.build_query_as().fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(id, queue, trace_context)| Due { id: ExecutionId(id), queue, trace_context }).collect())
}

/// Which rows of `es_sync_execution_log` are those of [`with_due_clocks`].
pub(super) fn push_with_due_clocks(query: &mut QueryBuilder<sqlx::MySql>) {
    query.push("execution_status = 'running' AND closing_status IS NULL AND prepared_at IS NOT NULL");
    push_unless_held_back(query);
    query.push(
        " AND EXISTS (SELECT 1 FROM es_sync_execution_detail AS detail
                      WHERE detail.execution_id = es_sync_execution_log.id
                        AND detail.retry_at <= UTC_TIMESTAMP(3) AND detail.sync_status = 'pending')",
    );
}

/// Jobs of prepared runs above their watermark, by queue: those that were not published yet, not those that wait for
/// their clock. From the rows of the runs alone; where the rows of several runs were inserted at the same time it is a
/// bit too many, never more than are pending.
///
/// # Errors
///
/// The database's.
pub async fn unpublished_jobs(connection: &mut MySqlConnection) -> Result<Vec<(Word<JobQueue>, u64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT queue, CAST(SUM(LEAST(pending_count, last_detail_id - published_watermark)) AS UNSIGNED)
         FROM es_sync_execution_log
         WHERE execution_status = 'running' AND closing_status IS NULL AND prepared_at IS NOT NULL
           AND published_watermark < last_detail_id
         GROUP BY queue",
    )
    .fetch_all(connection)
    .await
}

/// By queue, the longest time for which a run whose jobs have been published has had no outcome: since it was prepared, or
/// since its last outcome, or since its endpoint was opened, whichever was last. Runs of closed endpoints do not count.
/// From the rows of the runs alone.
///
/// # Errors
///
/// The database's.
pub async fn longest_waits(connection: &mut MySqlConnection) -> Result<Vec<(Word<JobQueue>, Duration)>, sqlx::Error> {
    let rows: Vec<(Word<JobQueue>, i64)> = sqlx::query_as(
        "SELECT log.queue,
                MAX(TIMESTAMPDIFF(MICROSECOND,
                    GREATEST(log.prepared_at, COALESCE(log.progress_at, log.prepared_at),
                             COALESCE(endpoint.opened_at, log.prepared_at),
                             COALESCE(pattern.opened_at, log.prepared_at)),
                    UTC_TIMESTAMP(3)))
         FROM es_sync_execution_log AS log
         LEFT JOIN es_sync_endpoint_state AS endpoint
             ON endpoint.endpoint = CONVERT(log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin
         LEFT JOIN es_sync_pattern_state AS pattern
             ON pattern.endpoint = CONVERT(log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin
                AND pattern.index_pattern = CONVERT(log.es_index_pattern USING utf8mb4) COLLATE utf8mb4_bin
         WHERE log.execution_status = 'running' AND log.closing_status IS NULL AND log.prepared_at IS NOT NULL
           AND log.published_at IS NOT NULL AND log.pending_count > 0 AND endpoint.closed_since IS NULL
           AND pattern.set_aside_since IS NULL
         GROUP BY log.queue",
    )
    .fetch_all(connection)
    .await?;
    let duration = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
    Ok(rows.into_iter().map(|(queue, us)| (queue, duration(us))).collect())
}

/// What a run names of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names<'a> {
    /// An endpoint.
    Endpoint(&'a str),
    /// A pattern of an endpoint.
    Pattern {
        /// Its endpoint.
        endpoint: &'a str,
        /// The pattern.
        index_pattern: &'a str,
    },
    /// A mapping.
    Mapping(&'a str),
}

/// Running executions that name this and are not closing, up to `limit`, the oldest first.
///
/// # Errors
///
/// The database's.
pub async fn going_by(
    connection: &mut MySqlConnection,
    names: Names<'_>,
    limit: u32,
) -> Result<Vec<ExecutionId>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT id FROM es_sync_execution_log WHERE execution_status = 'running' AND closing_status IS NULL",
    );
    match names {
        Names::Endpoint(endpoint) => query.push(" AND es_endpoint = ").push_bind(endpoint),
        Names::Pattern { endpoint, index_pattern } => query
            .push(" AND es_endpoint = ")
            .push_bind(endpoint)
            .push(" AND es_index_pattern = ")
            .push_bind(index_pattern),
        Names::Mapping(mapping) => query.push(" AND mapping = ").push_bind(mapping),
    };
    query.push(" ORDER BY id LIMIT ").push_bind(limit);
    let ids: Vec<u64> = query.build_query_scalar().fetch_all(connection).await?;
    Ok(ids.into_iter().map(ExecutionId).collect())
}

/// Those of `ids` that take results for a window that ends then: running and not closing.
///
/// # Errors
///
/// The database's.
pub async fn going(
    connection: &mut MySqlConnection,
    ids: impl IntoIterator<Item = ExecutionId>,
    window_to: DateTime<Utc>,
) -> Result<HashSet<ExecutionId>, sqlx::Error> {
    let mut statement = TextStatement::new(
        "SELECT id FROM es_sync_execution_log
         WHERE execution_status = 'running' AND closing_status IS NULL AND window_to = ",
    );
    statement.value(window_to).sql(" AND id IN ");
    statement.list(ids.into_iter().map(|id| id.0));
    Ok(statement.fetch_column(connection).await?.into_iter().map(ExecutionId).collect())
}

/// Where the window of a run ends.
///
/// # Errors
///
/// The database's.
pub async fn window_end(
    connection: &mut MySqlConnection,
    id: ExecutionId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let ends = sqlx::query_scalar("SELECT window_to FROM es_sync_execution_log WHERE id = ?");
    Ok(ends.bind(id.0).fetch_optional(connection).await?.flatten())
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
///
/// # Errors
///
/// The database's.
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

/// What a change of counters did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// Counters moved, hosts are still pending.
    Going,
    /// Counters moved to their end: this caller ended the run.
    Ended(ExecutionStatus),
    /// The run is closing or has ended: roll back, the results are dropped.
    Closed,
}

/// Moves the counters by what this transaction really changed and ends the run when nothing is pending. Exactly one
/// caller sees [`Counted::Ended`], since the row is locked from here to the commit. `sample_reason` becomes the run's
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
) -> Result<Counted, sqlx::Error> {
    // Assignments run left to right: what follows `pending_count` sees its new value.
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
        return Ok(Counted::Closed);
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
        return Ok(Counted::Ended(status));
    }
    if let Some(waiting) = waiting {
        set_waiting_for(connection, [id], &waiting).await?;
    }
    Ok(Counted::Going)
}

/// Longest `waiting_for`, in characters; what is longer is cut.
pub(super) const LONGEST_WAITING_FOR: usize = 500;

/// Says why running executions do not go on; progress clears it. Those that are not running, or closing, keep theirs.
///
/// # Errors
///
/// The database's.
pub async fn set_waiting_for(
    connection: &mut MySqlConnection,
    ids: impl IntoIterator<Item = ExecutionId>,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let reason: String = reason.chars().take(LONGEST_WAITING_FOR).collect();
    let mut ids: Vec<ExecutionId> = ids.into_iter().collect();
    ids.sort_unstable();
    for id in ids {
        sqlx::query!(
            "UPDATE es_sync_execution_log SET waiting_for = ?, waiting_kind = NULL
             WHERE id = ? AND execution_status = 'running' AND closing_status IS NULL",
            reason,
            id.0,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Most warnings of a run; further ones are dropped.
pub const MOST_WARNINGS: usize = 20;

/// Adds warnings to a run, each once. Locks its row: the last lock of a batch's transaction.
///
/// # Errors
///
/// The database's.
pub async fn add_warnings(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    warnings: impl IntoIterator<Item = String>,
) -> Result<(), sqlx::Error> {
    let stored: Option<Option<String>> =
        sqlx::query_scalar!("SELECT warnings FROM es_sync_execution_log WHERE id = ? FOR UPDATE", id.0)
            .fetch_optional(&mut *connection)
            .await?;
    let Some(stored) = stored else { return Ok(()) };
    let mut all = warnings_of(stored.as_deref());
    let before = all.len();
    for warning in warnings {
        if all.len() < MOST_WARNINGS && !all.contains(&warning) {
            all.push(warning);
        }
    }
    if all.len() > before {
        let text = serde_json::Value::from(all).to_string();
        sqlx::query!("UPDATE es_sync_execution_log SET warnings = ? WHERE id = ?", text, id.0)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// The stored list of warnings; one that is no list of texts is shown as it stands.
pub fn warnings_of(stored: Option<&str>) -> Vec<String> {
    let Some(stored) = stored else { return Vec::new() };
    serde_json::from_str(stored).unwrap_or_else(|_| vec![stored.to_owned()])
}

/// Adds to the fields of the mapping that some document of a run had, as bits. Locks its row: the last lock of a batch's
/// transaction.
///
/// # Errors
///
/// The database's.
pub async fn add_fields_seen(connection: &mut MySqlConnection, id: ExecutionId, bits: u32) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_execution_log SET fields_seen = COALESCE(fields_seen, 0) | ?
         WHERE id = ? AND (fields_seen IS NULL OR (fields_seen | ?) <> fields_seen)",
        bits,
        id.0,
        bits,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The fields that some document of a run had, as bits; 0: there was no document.
///
/// # Errors
///
/// The database's.
pub async fn fields_seen(connection: &mut MySqlConnection, id: ExecutionId) -> Result<u32, sqlx::Error> {
    let bits = sqlx::query_scalar!("SELECT fields_seen FROM es_sync_execution_log WHERE id = ?", id.0);
    Ok(bits.fetch_optional(connection).await?.flatten().unwrap_or_default())
}

/// Sets the one closing status of a run, if it has none. An unprepared run gets the totals inserted so far and a lease
/// that nobody holds, so that its preparer finds itself replaced. Must run with the run's row locked by
/// [`lock_running`].
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
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

/// Locks the row of a waiting run. `false`: it has started or ended, or somebody else holds it.
///
/// # Errors
///
/// The database's.
pub async fn lock_waiting(connection: &mut MySqlConnection, id: ExecutionId) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query_scalar!(
        "SELECT id FROM es_sync_execution_log WHERE id = ? AND execution_status = 'waiting' FOR UPDATE SKIP LOCKED",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(locked.is_some())
}

/// A run whose pending hosts wait to be closed.
#[derive(Debug, Clone)]
pub struct Closing {
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
///
/// # Errors
///
/// The database's.
pub async fn closing(connection: &mut MySqlConnection, limit: u32) -> Result<Vec<Closing>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id, closing_status AS "closing_status!", closing_cause, closing_reason FROM es_sync_execution_log
           WHERE execution_status = 'running' AND closing_status IS NOT NULL ORDER BY id LIMIT ?"#,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Closing {
            id: ExecutionId(row.id),
            status: row.closing_status.into(),
            cause: row.closing_cause.map(Word::from),
            reason: row.closing_reason.unwrap_or_default(),
        })
        .collect())
}

/// Runs older than `deadline` that are still going, at most `limit`.
///
/// # Errors
///
/// The database's.
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

/// A fully published run that has made no progress for a while.
#[derive(Debug, Clone)]
pub struct Stalled {
    /// The run.
    pub id: ExecutionId,
    /// Where its jobs went.
    pub queue: Word<JobQueue>,
    /// Seconds since its last sign of life.
    pub silent_s: i64,
    /// Repairs since its last progress.
    pub repair_count: u32,
}

/// Runs after `after` that were published to the end, have a pending row that only its job can bring on, and have shown no
/// sign of life for `silent`, doubled with each repair up to `longest`. In order of id, at most `limit`.
///
/// # Errors
///
/// The database's.
pub async fn stalled(
    connection: &mut MySqlConnection,
    silent: TimeDelta,
    longest: TimeDelta,
    after: ExecutionId,
    limit: u32,
) -> Result<Vec<Stalled>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id, queue, repair_count,
                  TIMESTAMPDIFF(SECOND,
                      GREATEST(execution_time, COALESCE(progress_at, execution_time),
                               COALESCE(published_at, execution_time), COALESCE(repaired_at, execution_time)),
                      UTC_TIMESTAMP(3)) AS "silent_s!: i64"
           FROM es_sync_execution_log AS log
           WHERE execution_status = 'running' AND closing_status IS NULL AND prepared_at IS NOT NULL AND id > ?
             AND published_watermark >= last_detail_id
             AND GREATEST(execution_time, COALESCE(progress_at, execution_time),
                          COALESCE(published_at, execution_time), COALESCE(repaired_at, execution_time))
                 < UTC_TIMESTAMP(3) - INTERVAL LEAST(?, ? * POW(2, LEAST(repair_count, 12))) SECOND
             AND EXISTS (SELECT 1 FROM es_sync_execution_detail AS detail
                         WHERE detail.execution_id = log.id AND detail.retry_at IS NULL
                           AND detail.sync_status = 'pending')
           ORDER BY id LIMIT ?"#,
        after.0,
        longest.num_seconds(),
        silent.num_seconds(),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Stalled {
            id: ExecutionId(row.id),
            queue: row.queue.into(),
            silent_s: row.silent_s,
            repair_count: row.repair_count,
        })
        .collect())
}

/// Sets the watermark of a stalled run back to 0, so that what is pending is published again; no attempt is spent.
/// Guarded by the lease that the caller holds and by the repairs it has seen: of two schedulers one repairs.
///
/// # Errors
///
/// The database's.
pub async fn repair(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    repair_count: u32,
    token: LeaseToken,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log
         SET published_watermark = 0, repaired_at = UTC_TIMESTAMP(3), repair_count = repair_count + 1
         WHERE id = ? AND lease_token = ? AND repair_count = ? AND execution_status = 'running'
           AND closing_status IS NULL",
        id.0,
        token.0,
        repair_count,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Notes that the database refused what became of hosts of a run. Returns in how many rounds it has done so since the last
/// progress of the run; a round begins when the run is repaired, and repairs of mere silence count none.
///
/// # Errors
///
/// The database's.
pub async fn note_refusal(connection: &mut MySqlConnection, id: ExecutionId) -> Result<u32, sqlx::Error> {
    // Left to right: the round is told by the old `refused_at`.
    sqlx::query(
        "UPDATE es_sync_execution_log
         SET refusal_rounds = CASE WHEN refused_at IS NULL OR progress_at > refused_at THEN 1
                                   WHEN repaired_at > refused_at THEN refusal_rounds + 1
                                   ELSE refusal_rounds END,
             refused_at = UTC_TIMESTAMP(3)
         WHERE id = ? AND execution_status = 'running' AND closing_status IS NULL",
    )
    .bind(id.0)
    .execute(&mut *connection)
    .await?;
    let rounds = sqlx::query_scalar("SELECT refusal_rounds FROM es_sync_execution_log WHERE id = ?");
    Ok(rounds.bind(id.0).fetch_optional(connection).await?.unwrap_or_default())
}

/// What there is of a task's runs that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unended {
    /// One is going.
    pub going: bool,
    /// One waits.
    pub waiting: bool,
}

/// What each of the tasks has of runs that have not ended; those without any are left out. A retry is none: it repairs what
/// an older run left, for that run's window. Call with the tasks' rows locked.
///
/// # Errors
///
/// The database's.
pub async fn unended(
    connection: &mut MySqlConnection,
    tasks: impl IntoIterator<Item = TaskId>,
) -> Result<HashMap<TaskId, Unended>, sqlx::Error> {
    let mut statement = TextStatement::new(
        "SELECT CAST(task_id AS UNSIGNED), MAX(execution_status = 'running') = 1, MAX(execution_status = 'waiting') = 1
         FROM es_sync_execution_log
         WHERE execution_status IN ('running', 'waiting') AND `trigger` <> 'retry' AND task_id IN ",
    );
    statement.list(tasks.into_iter().map(|task| task.0)).sql(" GROUP BY task_id");
    let rows: Vec<(u64, bool, bool)> = statement.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(task, going, waiting)| (TaskId(task), Unended { going, waiting })).collect())
}

/// Runs after `after` that wait while no run of their task is going, with their tasks, at most `limit`.
///
/// # Errors
///
/// The database's.
pub async fn ready_to_start(
    connection: &mut MySqlConnection,
    after: ExecutionId,
    limit: u32,
) -> Result<Vec<(ExecutionId, TaskId)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, task_id FROM es_sync_execution_log AS log
         WHERE execution_status = 'waiting' AND id > ?
           AND NOT EXISTS (SELECT 1 FROM es_sync_execution_log AS other
                           WHERE other.task_id = log.task_id AND other.execution_status = 'running'
                             AND other.`trigger` <> 'retry')
         ORDER BY id LIMIT ?",
        after.0,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (ExecutionId(row.id), TaskId(row.task_id))).collect())
}

/// Starts a waiting run that [`lock_waiting`] has locked, under its task's lock; its time counts from now. Nobody holds it.
///
/// # Errors
///
/// The database's.
pub async fn start_waiting(connection: &mut MySqlConnection, id: ExecutionId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_execution_log SET execution_status = 'running', execution_time = UTC_TIMESTAMP(3)
         WHERE id = ? AND execution_status = 'waiting'",
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the waiting runs of a task that was disabled or deleted.
///
/// # Errors
///
/// The database's.
pub async fn skip_waiting(connection: &mut MySqlConnection, task: TaskId, reason: &str) -> Result<u64, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log
         SET execution_status = 'skipped', error_message = ?, finished_at = UTC_TIMESTAMP(3), duration_ms = 0
         WHERE task_id = ? AND execution_status = 'waiting'",
        reason,
        task.0,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// Ends one waiting run that a person cancelled. `false`: it does not wait (any more).
///
/// # Errors
///
/// The database's.
pub async fn skip_waiting_execution(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log
         SET execution_status = 'skipped', error_message = ?, finished_at = UTC_TIMESTAMP(3), duration_ms = 0
         WHERE id = ? AND execution_status = 'waiting'",
        reason,
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Where a walk over executions by age stands.
pub type Aged = (DateTime<Utc>, ExecutionId);

/// Ended executions older than `retention`, oldest first, after `after`, at most `limit`; not those whose details a retry still
/// reads, which has not been prepared yet.
///
/// # Errors
///
/// The database's.
pub async fn prunable(
    connection: &mut MySqlConnection,
    retention: TimeDelta,
    after: Option<Aged>,
    limit: u32,
) -> Result<Vec<Aged>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT execution_time, CAST(id AS UNSIGNED) FROM es_sync_execution_log
         WHERE execution_status NOT IN ('running', 'waiting') AND execution_time < UTC_TIMESTAMP(3) - INTERVAL ",
    );
    query.push_bind(retention.num_seconds()).push(
        " SECOND
          AND id NOT IN (SELECT retry_of FROM es_sync_execution_log
                         WHERE execution_status IN ('running', 'waiting') AND prepared_at IS NULL
                           AND retry_of IS NOT NULL)",
    );
    if let Some((time, id)) = after {
        // The first comparison is what the key is entered by.
        query.push(" AND execution_time >= ").push_bind(time);
        query.push(" AND (execution_time > ").push_bind(time).push(" OR id > ").push_bind(id.0).push(")");
    }
    query.push(" ORDER BY execution_time, id LIMIT ").push_bind(limit);
    let rows: Vec<(DateTime<Utc>, u64)> = query.build_query_as().fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(time, id)| (time, ExecutionId(id))).collect())
}

/// Deletes an ended execution whose detail rows are gone.
///
/// # Errors
///
/// The database's.
pub async fn delete(connection: &mut MySqlConnection, id: ExecutionId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM es_sync_execution_log WHERE id = ? AND execution_status NOT IN ('running', 'waiting')",
        id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An execution as the REST contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are those of the REST contract, by name")]
pub struct ExecutionLog {
    #[sqlx(try_from = "u64")]
    pub id: ExecutionId,
    #[sqlx(try_from = "u64")]
    pub task_id: TaskId,
    pub task_name: String,
    pub trigger: Word<Trigger>,
    pub scheduled_for: Option<DateTime<Utc>>,
    pub execution_time: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub execution_status: Word<ExecutionStatus>,
    pub prepared: bool,
    pub total_hosts: u64,
    pub success_count: u64,
    pub failed_count: u64,
    pub no_data_count: u64,
    pub not_in_pool_count: u64,
    pub cancelled_count: u64,
    pub pending_count: u64,
    pub error_message: Option<String>,
    pub waiting_for: Option<String>,
    pub warnings: Option<String>,
    pub duration_ms: Option<i64>,
    pub query_time_range: Word<TimeRange>,
    pub window_from: Option<DateTime<Utc>>,
    pub window_to: Option<DateTime<Utc>>,
    pub es_endpoint: String,
    pub es_index_pattern: String,
    pub mapping: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
}

impl ExecutionLog {
    /// What a person should know about it, at most [`MOST_WARNINGS`]: first that nothing was written although no host
    /// failed, then what was stored.
    pub fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = self.wrote_nothing().into_iter().collect();
        all.extend(warnings_of(self.warnings.as_deref()));
        all.truncate(MOST_WARNINGS);
        all
    }

    fn wrote_nothing(&self) -> Option<String> {
        if self.execution_status != ExecutionStatus::Success || self.success_count > 0 {
            return None;
        }
        Some(match (self.no_data_count, self.not_in_pool_count) {
            (0, 0) => "nothing was written: the run had no host".to_owned(),
            (no_data, 0) => format!("nothing was written: none of {no_data} hosts had a document in the window"),
            (0, not_in_pool) => format!("nothing was written: none of {not_in_pool} hosts is in hosts_pool"),
            (no_data, not_in_pool) => format!(
                "nothing was written: {no_data} hosts had no document in the window, {not_in_pool} are not in hosts_pool"
            ),
        })
    }
}

/// The columns of [`ExecutionLog`]. The casts make rows of the old tables readable, whose integers may be signed and
/// whose texts may be NULL.
const LOG_COLUMNS: &str = "SELECT CAST(id AS UNSIGNED) AS id, CAST(COALESCE(task_id, 0) AS UNSIGNED) AS task_id, \
     COALESCE(task_name, '') AS task_name, `trigger`, scheduled_for, execution_time, finished_at, execution_status, \
     (prepared_at IS NOT NULL OR execution_status <> 'running') AS prepared, \
     CAST(COALESCE(total_hosts, 0) AS UNSIGNED) AS total_hosts, \
     CAST(COALESCE(success_count, 0) AS UNSIGNED) AS success_count, \
     CAST(COALESCE(failed_count, 0) AS UNSIGNED) AS failed_count, \
     CAST(no_data_count AS UNSIGNED) AS no_data_count, \
     CAST(COALESCE(not_in_pool_count, 0) AS UNSIGNED) AS not_in_pool_count, \
     CAST(cancelled_count AS UNSIGNED) AS cancelled_count, CAST(pending_count AS UNSIGNED) AS pending_count, \
     error_message, IF(execution_status = 'running', waiting_for, NULL) AS waiting_for, warnings, \
     CAST(duration_ms AS SIGNED) AS duration_ms, COALESCE(query_time_range, '') AS query_time_range, \
     window_from, window_to, COALESCE(es_endpoint, '') AS es_endpoint, \
     COALESCE(es_index_pattern, '') AS es_index_pattern, COALESCE(mapping, '') AS mapping, \
     COALESCE(created_by, '') AS created_by, created_at FROM es_sync_execution_log";

/// Reads one execution.
///
/// # Errors
///
/// The database's.
pub async fn find(connection: &mut MySqlConnection, id: ExecutionId) -> Result<Option<ExecutionLog>, sqlx::Error> {
    let mut query = QueryBuilder::new(LOG_COLUMNS);
    query.push(" WHERE id = ").push_bind(id.0);
    query.build_query_as().fetch_optional(connection).await
}

/// Which executions a list wants.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    /// One task's; `None` = all.
    pub task_id: Option<TaskId>,
    /// One status.
    pub status: Option<ExecutionStatus>,
    /// One trigger.
    pub trigger: Option<Trigger>,
    /// Started at or after.
    pub from: Option<DateTime<Utc>>,
    /// Started before.
    pub to: Option<DateTime<Utc>>,
    /// Older than this one (the cursor): ids below.
    pub before: Option<ExecutionId>,
}

/// Executions, newest first by id, at most `limit`.
///
/// # Errors
///
/// The database's.
pub async fn list(
    connection: &mut MySqlConnection,
    filter: &LogFilter,
    limit: u32,
) -> Result<Vec<ExecutionLog>, sqlx::Error> {
    let mut query = QueryBuilder::new(LOG_COLUMNS);
    query.push(" WHERE 1 = 1");
    if let Some(task) = filter.task_id {
        query.push(" AND task_id = ").push_bind(task.0);
    }
    if let Some(status) = filter.status {
        query.push(" AND execution_status = ").push_bind(status.as_str());
    }
    if let Some(trigger) = filter.trigger {
        query.push(" AND `trigger` = ").push_bind(trigger.as_str());
    }
    if let Some(from) = filter.from {
        query.push(" AND execution_time >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND execution_time < ").push_bind(to);
    }
    if let Some(before) = filter.before {
        query.push(" AND id < ").push_bind(before.0);
    }
    // Of the table: sorted by the cast of the same name, every row would be read.
    query.push(" ORDER BY es_sync_execution_log.id DESC LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}
