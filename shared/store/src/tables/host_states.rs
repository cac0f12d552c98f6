//! `es_sync_host_state`: hosts that did not succeed, by task: since when, how often and why.
//!
//! A healthy host has no row and is never written here. Whether any host has one is read with the batch's rows of the pool
//! ([`super::hosts_pool::PoolHost::any_state`]); while none has, a batch needs no statement here, else one that looks its hosts up.
//! Rows are locked after `server_resources` and before the execution, in order of the primary key.

use chrono::{DateTime, Utc};
use sqlx::MySqlConnection;

use super::ROWS_PER_STATEMENT;
use super::text_statement::TextStatement;
use crate::word::Word;
use hostsync_model::execution::{ExecutionId, SyncStatus, TaskId};

/// Most characters of an error that are kept; the rest is cut.
const MAX_ERROR_CHARS: usize = 500;

/// A host that did not succeed in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuccessful {
    /// By [`hostsync_model::host::address_key`].
    pub host_ip: String,
    /// `hosts_pool.id`.
    pub pool_id: u64,
    /// Its outcome; not `success`.
    pub status: SyncStatus,
    /// Why.
    pub error: Option<String>,
}

/// What a run means for rows of state.
#[derive(sqlx::FromRow)]
struct RunOfTask {
    task_id: u64,
    window_to: Option<DateTime<Utc>>,
    /// Of the task's runs that ended before.
    fresh_to: Option<DateTime<Utc>>,
    pool_cursor: Option<u64>,
}

/// Writes that these hosts did not succeed in a run. A run without a task leaves no row, and one that reads up to an earlier
/// time than the task's last ended run says nothing new. The same run counts once a host.
pub async fn note(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    mut hosts: Vec<Unsuccessful>,
) -> Result<(), sqlx::Error> {
    if hosts.is_empty() {
        return Ok(());
    }
    let run: Option<RunOfTask> = sqlx::query_as(
        "SELECT CAST(log.task_id AS UNSIGNED) AS task_id, log.window_to, last.window_to AS fresh_to, last.pool_cursor
         FROM es_sync_execution_log AS log LEFT JOIN es_sync_freshness AS last ON last.task_id = log.task_id
         WHERE log.id = ?",
    )
    .bind(execution.0)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(RunOfTask { task_id, window_to: Some(window_to), fresh_to, pool_cursor }) = run else { return Ok(()) };
    if TaskId(task_id) == TaskId::NONE || fresh_to.is_some_and(|fresh_to| fresh_to > window_to) {
        return Ok(());
    }
    hosts.sort_by(|one, other| one.host_ip.cmp(&other.host_ip));
    hosts.dedup_by(|one, other| one.host_ip == other.host_ip);
    for chunk in hosts.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "INSERT INTO es_sync_host_state
                 (host_ip, task_id, pool_id, last_status, last_error, failing_since, failures_in_a_row, last_execution_id,
                  window_to, fresh_since) ",
        );
        statement.rows(chunk, |row, host| {
            let error: Option<String> = host.error.as_ref().map(|text| text.chars().take(MAX_ERROR_CHARS).collect());
            let was_in_it = pool_cursor.is_some_and(|cursor| host.pool_id <= cursor);
            row.value(&host.host_ip)
                .value(task_id)
                .value(host.pool_id)
                .value(host.status.as_str())
                .value(error)
                .sql("UTC_TIMESTAMP(3)")
                .sql("1")
                .value(execution.0)
                .value(window_to)
                .value(fresh_to.filter(|_| was_in_it));
        });
        // The window last: what stands before it is decided by the old one.
        statement.sql(
            " ON DUPLICATE KEY UPDATE
                 pool_id = VALUES(pool_id),
                 last_status = IF(window_to > VALUES(window_to), last_status, VALUES(last_status)),
                 last_error = IF(window_to > VALUES(window_to), last_error, VALUES(last_error)),
                 failures_in_a_row = failures_in_a_row
                     + IF(window_to > VALUES(window_to) OR last_execution_id = VALUES(last_execution_id), 0, 1),
                 last_execution_id = IF(window_to > VALUES(window_to), last_execution_id, VALUES(last_execution_id)),
                 window_to = GREATEST(window_to, VALUES(window_to))",
        );
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Clears the rows of hosts that succeeded in a window, whatever their task. A row of a run that read up to a later time stays
/// and tells how fresh the host is now. `pool_ids` are sorted.
pub async fn clear(
    connection: &mut MySqlConnection,
    pool_ids: &[u64],
    window_to: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    for chunk in pool_ids.chunks(ROWS_PER_STATEMENT) {
        // Locks nothing, and mostly finds nothing. Numbers, which the server reads sooner than addresses.
        let mut statement = TextStatement::new("SELECT DISTINCT pool_id FROM es_sync_host_state WHERE pool_id IN ");
        statement.list(chunk).sql(" ORDER BY pool_id");
        let found: Vec<u64> = statement.fetch_column(connection).await?;
        if found.is_empty() {
            continue;
        }
        // By the key alone: a scan, which a small table invites, would wait for the rows of others.
        let mut statement = TextStatement::new(
            "DELETE state FROM es_sync_host_state AS state FORCE INDEX (idx_host_state_pool) WHERE state.pool_id IN ",
        );
        statement.list(&found).sql(" AND state.window_to <= ").value(window_to);
        statement.execute(&mut *connection).await?;
        let mut statement = TextStatement::new(
            "UPDATE es_sync_host_state FORCE INDEX (idx_host_state_pool) SET fresh_since = GREATEST(COALESCE(fresh_since, ",
        );
        statement.value(window_to).sql("), ").value(window_to).sql(") WHERE pool_id IN ");
        statement.list(&found).sql(" AND window_to > ").value(window_to);
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct HostState {
    /// `hosts_pool.id`.
    pub pool_id: u64,
    /// The task.
    #[sqlx(try_from = "u64")]
    pub task_id: TaskId,
    /// Its outcome in the last run.
    pub last_status: Word<SyncStatus>,
    /// Why.
    pub last_error: Option<String>,
    /// When the first of the runs in a row gave it up.
    pub failing_since: DateTime<Utc>,
    /// Runs in a row in which it did not succeed.
    pub failures_in_a_row: u32,
    /// The last of them.
    pub last_execution_id: u64,
    /// The window end that it is fresh by; `None`: never.
    pub fresh_since: Option<DateTime<Utc>>,
}

/// The rows of hosts by their ids in the pool, of one task or of all.
pub async fn of_hosts(
    connection: &mut MySqlConnection,
    task: Option<TaskId>,
    pool_ids: &[u64],
) -> Result<Vec<HostState>, sqlx::Error> {
    let mut rows = Vec::new();
    for chunk in pool_ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "SELECT pool_id, task_id, last_status, last_error, failing_since, failures_in_a_row, last_execution_id, fresh_since
             FROM es_sync_host_state FORCE INDEX (idx_host_state_pool) WHERE pool_id IN ",
        );
        statement.list(chunk);
        if let Some(task) = task {
            statement.sql(" AND task_id = ").value(task.0);
        }
        statement.sql(" ORDER BY pool_id, task_id");
        rows.extend(statement.fetch_all::<HostState>(connection).await?);
    }
    Ok(rows)
}

/// The ids in the pool of hosts that have a row, of one task or of any, rising, at most `limit` after `after`.
pub async fn hosts_after(
    connection: &mut MySqlConnection,
    task: Option<TaskId>,
    after: u64,
    limit: u32,
) -> Result<Vec<u64>, sqlx::Error> {
    match task {
        Some(task) => {
            let ids = sqlx::query_scalar(
                "SELECT DISTINCT pool_id FROM es_sync_host_state FORCE INDEX (idx_host_state_task)
                 WHERE task_id = ? AND pool_id > ? ORDER BY pool_id LIMIT ?",
            );
            ids.bind(task.0).bind(after).bind(limit).fetch_all(connection).await
        }
        None => {
            let ids = sqlx::query_scalar(
                "SELECT DISTINCT pool_id FROM es_sync_host_state FORCE INDEX (idx_host_state_pool)
                 WHERE pool_id > ? ORDER BY pool_id LIMIT ?",
            );
            ids.bind(after).bind(limit).fetch_all(connection).await
        }
    }
}

/// Since when hosts are fresh: id in the pool, task and window end of each row with an id in `(after, up_to]`, in that order.
pub async fn fresh_since(
    connection: &mut MySqlConnection,
    after: u64,
    up_to: u64,
) -> Result<Vec<(u64, TaskId, Option<DateTime<Utc>>)>, sqlx::Error> {
    let rows: Vec<(u64, u64, Option<DateTime<Utc>>)> = sqlx::query_as(
        "SELECT pool_id, task_id, fresh_since FROM es_sync_host_state FORCE INDEX (idx_host_state_pool)
         WHERE pool_id > ? AND pool_id <= ? ORDER BY pool_id, task_id",
    )
    .bind(after)
    .bind(up_to)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(pool_id, task, since)| (pool_id, TaskId(task), since)).collect())
}

/// Deletes at most `limit` rows of a task that is gone; returns how many went.
pub async fn forget_task(connection: &mut MySqlConnection, task: TaskId, limit: u32) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query("DELETE FROM es_sync_host_state WHERE task_id = ? LIMIT ?");
    Ok(deleted.bind(task.0).bind(limit).execute(connection).await?.rows_affected())
}

/// Deletes the rows of hosts that the pool does not have any more, by their ids there.
pub async fn forget_hosts(connection: &mut MySqlConnection, pool_ids: &[u64]) -> Result<(), sqlx::Error> {
    for chunk in pool_ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("DELETE FROM es_sync_host_state WHERE pool_id IN ");
        statement.list(chunk);
        statement.execute(connection).await?;
    }
    Ok(())
}
