//! Rows as they are shown, and as sums are made of them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{MySqlConnection, QueryBuilder};

use crate::word::Word;
use hostsync_model::execution::{ExecutionId, ExecutionStatus, SyncStatus, TaskId, Trigger};

/// A detail as the REST contract shows it.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are those of the REST contract, by name")]
pub struct ExecutionDetail {
    #[serde(skip)]
    pub id: u64,
    pub host_ip: String,
    pub host_name: Option<String>,
    pub sync_status: Word<SyncStatus>,
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
    #[sqlx(try_from = "u64")]
    pub execution_id: ExecutionId,
    #[sqlx(try_from = "u64")]
    pub task_id: TaskId,
    pub task_name: String,
    pub trigger: Word<Trigger>,
    pub execution_time: DateTime<Utc>,
    pub execution_status: Word<ExecutionStatus>,
    pub window_from: Option<DateTime<Utc>>,
    pub window_to: Option<DateTime<Utc>>,
    #[sqlx(flatten)]
    pub detail: ExecutionDetail,
}

/// The last results of a host over all executions, newest first, at most `limit`. `ips` are the ways to write its
/// address. Bounded by the key on `host_ip` before anything is joined.
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
    /// NULL where the search says it.
    pub worker: Option<String>,
    /// Of a release before evidence stood apart.
    pub explanation: Option<String>,
}

/// One host of a run with what explains its result. `ips` are the ways to write its address.
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
    /// How it stands.
    pub sync_status: Word<SyncStatus>,
    /// See [`DetailOutcome::inserted`](super::ledger::DetailOutcome::inserted).
    pub inserted: Option<bool>,
}

/// What became of the hosts of a run, in order of id, after the row `after`; at most `limit`.
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
