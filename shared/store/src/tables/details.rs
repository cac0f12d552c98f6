//! `es_sync_execution_detail`: one row a host of a run. The rows are the outbox (what is to be published), the retry
//! clock (`retry_at`) and the ledger (who got which outcome).
//!
//! A row is `pending` until it gets exactly one outcome; `attempts` counts the attempts spent, so a job's attempt number
//! is `attempts + 1`.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{MySqlConnection, QueryBuilder};

use super::ROWS_PER_STATEMENT;
use super::searches::SearchId;
use super::text_statement::TextStatement;
use crate::explanation::Explanation;
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
///
/// # Errors
///
/// The database's.
pub async fn insert_hosts(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    hosts: &[HostIp],
) -> Result<(), sqlx::Error> {
    for chunk in hosts.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "INSERT INTO es_sync_execution_detail (execution_id, host_ip, sync_status, created_at) ",
        );
        statement.rows(chunk, |row, host| {
            row.value(execution.0).value(host.to_string()).sql("'pending'").sql("UTC_TIMESTAMP(3)");
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
        "INSERT INTO es_sync_execution_detail (execution_id, host_ip, host_name, sync_status, created_at) ",
    );
    statement.rows(rows, |row, detail| {
        row.value(execution.0).value(&detail.host_ip).value(&detail.host_name).sql("'pending'").sql("UTC_TIMESTAMP(3)");
    });
    statement.execute(connection).await?;
    Ok(())
}

/// Those of `rows` whose host has a row already, by [`address_key`].
///
/// # Errors
///
/// The database's.
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
pub struct Unsuccessful {
    pub id: u64,
    pub host_ip: String,
    pub host_name: Option<String>,
}

/// The next failed and cancelled rows of a run after the row `after`, in order of id, at most `limit`. Reads at most twice as
/// many entries of the key on the status, however many hosts the run has.
///
/// # Errors
///
/// The database's.
pub async fn unsuccessful(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    after: u64,
    limit: u32,
) -> Result<Vec<Unsuccessful>, sqlx::Error> {
    let mut all: Vec<Unsuccessful> = Vec::new();
    for status in [SyncStatus::Failed, SyncStatus::Cancelled] {
        let rows: Vec<Unsuccessful> = sqlx::query_as(
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
///
/// # Errors
///
/// The database's.
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
pub struct Publishable {
    /// The row.
    pub id: DetailId,
    /// As it stands in the pool or the request.
    pub host_ip: String,
    /// Attempts spent.
    pub attempts: u32,
}

/// Rows of a run with ids in `(after, up_to]` that are pending and have no clock, in order of id, at most `limit`.
///
/// # Errors
///
/// The database's.
pub async fn publishable(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    after: u64,
    up_to: u64,
    limit: u32,
) -> Result<Vec<Publishable>, sqlx::Error> {
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
        .map(|row| Publishable { id: DetailId(row.id), host_ip: row.host_ip, attempts: row.attempts })
        .collect())
}

/// Locks rows of a run whose clock has run out, at most `limit`, leaving out what another scheduler has locked.
///
/// # Errors
///
/// The database's.
pub async fn lock_due(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    limit: u32,
) -> Result<Vec<Publishable>, sqlx::Error> {
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
        .map(|row| Publishable { id: DetailId(row.id), host_ip: row.host_ip, attempts: row.attempts })
        .collect())
}

/// Clears the clock of rows, before they are published.
///
/// # Errors
///
/// The database's.
pub async fn clear_clock(connection: &mut MySqlConnection, ids: &[DetailId]) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("UPDATE es_sync_execution_detail SET retry_at = NULL WHERE id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}

/// What a worker finds in a row it has locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The row.
    pub id: DetailId,
    /// Its run.
    pub execution_id: ExecutionId,
    /// As it stands in the pool or the request.
    pub host_ip: String,
    /// Attempts spent.
    pub attempts: u32,
}

/// Locks those of `ids` that are still pending, in order of id. The caller compares `attempts`.
///
/// # Errors
///
/// The database's.
pub async fn lock_open(connection: &mut MySqlConnection, ids: &[DetailId]) -> Result<Vec<Open>, sqlx::Error> {
    let mut open = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "SELECT id, execution_id, host_ip, attempts FROM es_sync_execution_detail
             WHERE sync_status = 'pending' AND id IN ",
        );
        statement.list(chunk.iter().map(|id| id.0)).sql(" ORDER BY id FOR UPDATE");
        let rows: Vec<(u64, u64, String, u32)> = statement.fetch_all(connection).await?;
        open.extend(rows.into_iter().map(|(id, execution_id, host_ip, attempts)| Open {
            id: DetailId(id),
            execution_id: ExecutionId(execution_id),
            host_ip,
            attempts,
        }));
    }
    Ok(open)
}

/// The measured values of a detail row; NULL where there is no measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// Percent.
    pub max_cpu: Option<f64>,
    /// Percent.
    pub avg_cpu: Option<f64>,
    /// GB.
    pub max_memory: Option<f64>,
    /// GB.
    pub avg_memory: Option<f64>,
    /// GB.
    pub max_disk: Option<f64>,
    /// GB.
    pub avg_disk: Option<f64>,
}

/// The outcome of a row.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The row, locked by [`lock_open`].
    pub id: DetailId,
    /// Its run.
    pub execution_id: ExecutionId,
    /// As it stands in the row.
    pub host_ip: String,
    /// From the pool, where the host is in it.
    pub host_name: Option<String>,
    /// The outcome; not `pending`.
    pub status: SyncStatus,
    /// Why, for a failure or a refused write.
    pub error_message: Option<String>,
    /// What was measured.
    pub measured: Measured,
    /// Whether the row of `server_resources` was inserted (else overwritten); NULL where none was written.
    pub inserted: Option<bool>,
    /// Documents in the window; NULL if the search was not made.
    pub data_point_count: Option<u64>,
    /// Attempts spent, this one included.
    pub attempts: u32,
    /// The search of this outcome; `None`: none was made.
    pub search: Option<SearchId>,
    /// Why the values are what they are.
    pub explanation: Option<Explanation>,
}

/// Writes outcomes into locked rows: one statement for up to [`ROWS_PER_STATEMENT`] of them. `worker` is who found them.
///
/// # Errors
///
/// The database's.
pub async fn finish(
    connection: &mut MySqlConnection,
    worker: &str,
    rows: &[impl Borrow<Finished>],
) -> Result<(), sqlx::Error> {
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "INSERT INTO es_sync_execution_detail
                 (id, execution_id, host_ip, host_name, sync_status, error_message, max_cpu, avg_cpu, max_memory,
                  avg_memory, max_disk, avg_disk, inserted, data_point_count, attempts, search_id, worker, explanation,
                  finished_at) ",
        );
        statement.rows(chunk.iter().map(Borrow::borrow), |row, detail: &Finished| {
            row.value(detail.id.0)
                .value(detail.execution_id.0)
                .value(&detail.host_ip)
                .value(&detail.host_name)
                .value(detail.status.as_str())
                .value(&detail.error_message)
                .value(detail.measured.max_cpu)
                .value(detail.measured.avg_cpu)
                .value(detail.measured.max_memory)
                .value(detail.measured.avg_memory)
                .value(detail.measured.max_disk)
                .value(detail.measured.avg_disk)
                .value(detail.inserted)
                .value(detail.data_point_count.map(|count| i32::try_from(count).unwrap_or(i32::MAX)))
                .value(detail.attempts)
                .value(detail.search.map(|search| search.0))
                .value(worker)
                .value(detail.explanation.as_ref().and_then(Explanation::to_json))
                .sql("UTC_TIMESTAMP(3)");
        });
        statement.sql(
            " ON DUPLICATE KEY UPDATE host_name = COALESCE(VALUES(host_name), host_name),
                 sync_status = VALUES(sync_status), error_message = VALUES(error_message),
                 max_cpu = VALUES(max_cpu), avg_cpu = VALUES(avg_cpu), max_memory = VALUES(max_memory),
                 avg_memory = VALUES(avg_memory), max_disk = VALUES(max_disk), avg_disk = VALUES(avg_disk),
                 inserted = VALUES(inserted), data_point_count = VALUES(data_point_count), attempts = VALUES(attempts),
                 search_id = VALUES(search_id), worker = VALUES(worker), explanation = VALUES(explanation),
                 finished_at = VALUES(finished_at), retry_at = NULL, begun = 0, begun_by = NULL, solo_since = NULL",
        );
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Sets the clock of pending rows to a time within `delay_ms` from now (full jitter) and clears what was counted of their
/// crashes (and the mark `solo_since` of the release before, which runs beside this one). `spend`
/// spends an attempt; `reason` is kept as the row's last error.
///
/// # Errors
///
/// The database's.
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
///
/// # Errors
///
/// The database's.
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

/// The batch that counts a job as begun: a new random number each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchToken(pub u64);

impl BatchToken {
    /// A fresh token.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// How often each of these pending jobs was begun by another batch than `by` and not ended; those that never were are left
/// out. A row that is not at this attempt (from 1) is none of them.
///
/// # Errors
///
/// The database's.
pub async fn begun(
    connection: &mut MySqlConnection,
    ids: &[DetailId],
    attempt: u32,
    by: BatchToken,
) -> Result<HashMap<DetailId, u32>, sqlx::Error> {
    let mut begun = HashMap::new();
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("SELECT id, CAST(begun - (begun_by <=> ");
        statement
            .value(by.0)
            .sql(") AS UNSIGNED) FROM es_sync_execution_detail WHERE begun > 0 AND sync_status = 'pending' AND attempts = ")
            .value(attempt.saturating_sub(1))
            .sql(" AND id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        let rows: Vec<(u64, u64)> = statement.fetch_all(connection).await?;
        begun.extend(rows.into_iter().map(|(id, times)| (DetailId(id), u32::try_from(times).unwrap_or(u32::MAX))));
    }
    Ok(begun)
}

/// Counts pending jobs at this attempt (from 1) as begun by a batch: each once, however often this is called.
///
/// # Errors
///
/// The database's.
pub async fn begin(
    connection: &mut MySqlConnection,
    ids: &[DetailId],
    attempt: u32,
    by: BatchToken,
) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("UPDATE es_sync_execution_detail SET begun = begun + 1, begun_by = ");
        statement
            .value(by.0)
            .sql(" WHERE NOT begun_by <=> ")
            .value(by.0)
            .sql(" AND sync_status = 'pending' AND attempts = ")
            .value(attempt.saturating_sub(1))
            .sql(" AND id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Takes back what [`begin`] counted for this batch, where it still stands.
///
/// # Errors
///
/// The database's.
pub async fn end(connection: &mut MySqlConnection, ids: &[DetailId], by: BatchToken) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "UPDATE es_sync_execution_detail SET begun = IF(begun > 0, begun - 1, 0), begun_by = NULL WHERE begun_by = ",
        );
        statement.value(by.0).sql(" AND id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Locks up to `limit` pending rows of a closing run with ids above `after`, in order of id, leaving out what a worker holds. Not by the key on the status, which
/// workers change: they lock rows first and entries of that key later.
///
/// # Errors
///
/// The database's.
pub async fn lock_pending(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    after: DetailId,
    limit: u32,
) -> Result<Vec<DetailId>, sqlx::Error> {
    let ids: Vec<u64> = sqlx::query_scalar(
        "SELECT CAST(id AS UNSIGNED) FROM es_sync_execution_detail IGNORE INDEX (idx_execution_status)
         WHERE execution_id = ? AND id > ? AND sync_status = 'pending' ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED",
    )
    .bind(execution.0)
    .bind(after.0)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(DetailId).collect())
}

/// Whether a host of the run has no outcome yet.
///
/// # Errors
///
/// The database's.
pub async fn has_pending(connection: &mut MySqlConnection, execution: ExecutionId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM es_sync_execution_detail WHERE execution_id = ? AND sync_status = 'pending')",
    )
    .bind(execution.0)
    .fetch_one(connection)
    .await
}

/// Gives locked pending rows the outcome of their closing run.
///
/// # Errors
///
/// The database's.
pub async fn close(
    connection: &mut MySqlConnection,
    ids: &[DetailId],
    status: SyncStatus,
    reason: &str,
) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement =
            TextStatement::new("UPDATE es_sync_execution_detail FORCE INDEX (PRIMARY) SET sync_status = ");
        statement
            .value(status.as_str())
            .sql(", error_message = ")
            .value(reason)
            .sql(", finished_at = UTC_TIMESTAMP(3), retry_at = NULL, begun = 0, begun_by = NULL, solo_since = NULL WHERE id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Deletes up to `limit` rows of an ended run; returns how many went.
///
/// # Errors
///
/// The database's.
pub async fn prune(connection: &mut MySqlConnection, execution: ExecutionId, limit: u32) -> Result<u64, sqlx::Error> {
    let result =
        sqlx::query!("DELETE FROM es_sync_execution_detail WHERE execution_id = ? LIMIT ?", execution.0, limit)
            .execute(connection)
            .await?;
    Ok(result.rows_affected())
}

/// A detail as the REST contract shows it.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are those of the REST contract, by name")]
pub struct ExecutionDetail {
    #[serde(skip)]
    pub id: u64,
    pub host_ip: String,
    pub host_name: Option<String>,
    pub sync_status: String,
    pub error_message: Option<String>,
    pub max_cpu: Option<f64>,
    pub avg_cpu: Option<f64>,
    pub max_memory: Option<f64>,
    pub avg_memory: Option<f64>,
    pub max_disk: Option<f64>,
    pub avg_disk: Option<f64>,
    pub data_point_count: Option<i64>,
    pub attempts: u32,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// Which details a list wants.
#[derive(Debug, Clone, Default)]
pub struct DetailFilter {
    /// One status.
    pub status: Option<SyncStatus>,
    /// One host: the ways to write its address; empty: all hosts.
    pub host_ips: Vec<String>,
    /// After this row (the cursor).
    pub after: u64,
}

/// Details of a run in order of id, at most `limit`.
///
/// # Errors
///
/// The database's.
pub async fn list(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    filter: &DetailFilter,
    limit: u32,
) -> Result<Vec<ExecutionDetail>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT CAST(id AS UNSIGNED) AS id, host_ip, host_name, sync_status, error_message,
                max_cpu + 0E0 AS max_cpu, avg_cpu + 0E0 AS avg_cpu,
                max_memory + 0E0 AS max_memory, avg_memory + 0E0 AS avg_memory,
                max_disk + 0E0 AS max_disk, avg_disk + 0E0 AS avg_disk,
                CAST(data_point_count AS SIGNED) AS data_point_count, attempts, created_at, finished_at
         FROM es_sync_execution_detail",
    );
    // The key in whose order the rows come, so that a page reads what it shows: of one status that on it, else that on the run
    // (whose name is another's to choose in an adopted table). Left to itself the server may sort the run, or walk others; and
    // an optimizer hint beside it makes MySQL 9.7 walk a whole key.
    query.push(match (filter.status, filter.host_ips.is_empty()) {
        (Some(_), true) => " FORCE INDEX (idx_execution_status)",
        (None, true) => " IGNORE INDEX (PRIMARY, uk_execution_host, idx_execution_retry, idx_execution_status)",
        (_, false) => " IGNORE INDEX (PRIMARY)",
    });
    query.push(" WHERE execution_id = ").push_bind(execution.0);
    if filter.after > 0 {
        query.push(" AND id > ").push_bind(filter.after);
    }
    if let Some(status) = filter.status {
        query.push(" AND sync_status = ").push_bind(status.as_str());
    }
    if !filter.host_ips.is_empty() {
        query.push(" AND host_ip IN (");
        let mut list = query.separated(", ");
        for ip in &filter.host_ips {
            list.push_bind(ip);
        }
        query.push(")");
    }
    // Of the table: sorted by the cast of the same name, every row of the run would be read.
    query.push(" ORDER BY es_sync_execution_detail.id LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// One result of a host, with the run it is from.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are those of the REST contract, by name")]
pub struct HostResult {
    pub execution_id: u64,
    pub task_id: u64,
    pub task_name: String,
    pub trigger: String,
    pub execution_time: DateTime<Utc>,
    pub execution_status: String,
    pub window_from: Option<DateTime<Utc>>,
    pub window_to: Option<DateTime<Utc>>,
    #[sqlx(flatten)]
    pub detail: ExecutionDetail,
}

/// The last results of a host over all executions, newest first, at most `limit`. `ips` are the ways to write its
/// address. Bounded by the key on `host_ip` before anything is joined.
///
/// # Errors
///
/// The database's.
pub async fn last_of_host(
    connection: &mut MySqlConnection,
    ips: &[String],
    limit: u32,
) -> Result<Vec<HostResult>, sqlx::Error> {
    let mut results = Vec::new();
    // A statement an address: the key gives each its rows in order, so that none is sorted.
    for ip in ips {
        let mut query = QueryBuilder::new(
            "SELECT CAST(run.id AS UNSIGNED) AS execution_id, CAST(COALESCE(run.task_id, 0) AS UNSIGNED) AS task_id,
                    COALESCE(run.task_name, '') AS task_name, run.`trigger`, run.execution_time, run.execution_status,
                    run.window_from, run.window_to,
                    CAST(detail.id AS UNSIGNED) AS id, detail.host_ip, detail.host_name, detail.sync_status,
                    detail.error_message, detail.max_cpu + 0E0 AS max_cpu, detail.avg_cpu + 0E0 AS avg_cpu,
                    detail.max_memory + 0E0 AS max_memory, detail.avg_memory + 0E0 AS avg_memory,
                    detail.max_disk + 0E0 AS max_disk, detail.avg_disk + 0E0 AS avg_disk,
                    CAST(detail.data_point_count AS SIGNED) AS data_point_count, detail.attempts, detail.created_at,
                    detail.finished_at
             FROM (SELECT id FROM es_sync_execution_detail WHERE host_ip = ",
        );
        query.push_bind(ip).push(" ORDER BY id DESC LIMIT ").push_bind(limit).push(
            ") AS last
                 JOIN es_sync_execution_detail AS detail ON detail.id = last.id
                 JOIN es_sync_execution_log AS run ON run.id = detail.execution_id
                 ORDER BY last.id DESC",
        );
        results.extend(query.build_query_as::<HostResult>().fetch_all(&mut *connection).await?);
    }
    results.sort_by_key(|result| std::cmp::Reverse(result.detail.id));
    // The column may not tell two of the ways apart.
    results.dedup_by_key(|result| result.detail.id);
    results.truncate(limit as usize);
    Ok(results)
}

/// A host that failed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns, by name")]
pub struct FailedHost {
    pub id: u64,
    pub host_ip: String,
    pub error_message: String,
}

/// Failed hosts of a run in order of id after the row `after`, at most `limit`.
///
/// # Errors
///
/// The database's.
pub async fn failed_hosts(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    after: u64,
    limit: u32,
) -> Result<Vec<FailedHost>, sqlx::Error> {
    sqlx::query_as(
        "SELECT CAST(id AS UNSIGNED) AS id, host_ip, COALESCE(error_message, '') AS error_message
         FROM es_sync_execution_detail FORCE INDEX (idx_execution_status)
         WHERE execution_id = ? AND sync_status = 'failed' AND id > ? ORDER BY es_sync_execution_detail.id LIMIT ?",
    )
    .bind(execution.0)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// One host of a run with what explains its result.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns, by name")]
pub struct ExplainedDetail {
    #[sqlx(flatten)]
    pub detail: ExecutionDetail,
    pub retry_at: Option<DateTime<Utc>>,
    pub search_id: Option<u64>,
    pub worker: Option<String>,
    pub explanation: Option<String>,
}

/// One host of a run with what explains its result. `ips` are the ways to write its address.
///
/// # Errors
///
/// The database's.
pub async fn explained(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    ips: &[String],
) -> Result<Option<ExplainedDetail>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT CAST(id AS UNSIGNED) AS id, host_ip, host_name, sync_status, error_message,
                max_cpu + 0E0 AS max_cpu, avg_cpu + 0E0 AS avg_cpu,
                max_memory + 0E0 AS max_memory, avg_memory + 0E0 AS avg_memory,
                max_disk + 0E0 AS max_disk, avg_disk + 0E0 AS avg_disk,
                CAST(data_point_count AS SIGNED) AS data_point_count, attempts, created_at, finished_at,
                retry_at, search_id, worker, explanation
         FROM es_sync_execution_detail WHERE execution_id = ",
    );
    query.push_bind(execution.0).push(" AND host_ip IN (");
    let mut list = query.separated(", ");
    for ip in ips {
        list.push_bind(ip);
    }
    query.push(") ORDER BY id LIMIT 1");
    query.build_query_as().fetch_optional(connection).await
}

/// What became of one host of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOutcome {
    /// The row.
    pub id: u64,
    /// As it stands in the pool or the request.
    pub host_ip: String,
    /// A [`SyncStatus`].
    pub sync_status: String,
    /// See [`Finished::inserted`].
    pub inserted: Option<bool>,
}

/// What became of the hosts of a run, in order of id, after the row `after`; at most `limit`.
///
/// # Errors
///
/// The database's.
pub async fn outcomes(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    after: u64,
    limit: u32,
) -> Result<Vec<HostOutcome>, sqlx::Error> {
    sqlx::query_as!(
        HostOutcome,
        r#"SELECT CAST(id AS UNSIGNED) AS "id!: u64", host_ip, sync_status, inserted AS "inserted: bool"
           FROM es_sync_execution_detail WHERE execution_id = ? AND id > ? ORDER BY id LIMIT ?"#,
        execution.0,
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}
