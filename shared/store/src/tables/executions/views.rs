//! Runs as the REST contract shows them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{MySqlConnection, QueryBuilder};

use super::remarks::{MOST_WARNINGS, warnings_of};
use crate::word::Word;
use hostsync_model::execution::{ExecutionId, ExecutionStatus, TaskId, Trigger};
use hostsync_model::window::TimeRange;

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

impl LogFilter {
    fn has_time(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }

    /// The key in whose order the rows come, so that a page reads what it shows: left to itself the server may sort all runs of
    /// a task, or walk those of others. The keys on `task_id` and `execution_time` alone have names that are another's to choose
    /// in an adopted table, so there the others are named.
    fn key(&self) -> &'static str {
        match (self.task_id.is_some(), self.status.is_some(), self.trigger.is_some()) {
            (true, _, _) if self.has_time() => " FORCE INDEX (idx_task_time)",
            (false, false, false) if self.has_time() => " IGNORE INDEX (PRIMARY)",
            _ if self.has_time() => "",
            (true, false, false) => {
                " IGNORE INDEX (PRIMARY, uk_task_scheduled_for, idx_task_status, idx_task_trigger, idx_task_time)"
            }
            (true, true, false) => " FORCE INDEX (idx_task_status)",
            (true, false, true) => " FORCE INDEX (idx_task_trigger)",
            (true, true, true) => " FORCE INDEX (idx_task_status, idx_task_trigger)",
            (false, true, false) => " FORCE INDEX (idx_status)",
            (false, false, true) => " FORCE INDEX (idx_trigger)",
            (false, true, true) => " FORCE INDEX (idx_status, idx_trigger)",
            (false, false, false) => "",
        }
    }
}

/// Executions, newest first, at most `limit`: by id, and within a range of time by when they were started.
pub async fn list(
    connection: &mut MySqlConnection,
    filter: &LogFilter,
    limit: u32,
) -> Result<Vec<ExecutionLog>, sqlx::Error> {
    let mut query = QueryBuilder::new(LOG_COLUMNS);
    query.push(filter.key()).push(" WHERE 1 = 1");
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
        let started = if filter.has_time() { started_at(connection, before).await? } else { None };
        match started {
            Some(started) => {
                query.push(" AND execution_time <= ").push_bind(started);
                query
                    .push(" AND (execution_time < ")
                    .push_bind(started)
                    .push(" OR id < ")
                    .push_bind(before.0)
                    .push(")");
            }
            None => {
                query.push(" AND id < ").push_bind(before.0);
            }
        }
    }
    // Of the table: sorted by the cast of the same name, every row would be read.
    let time_first = if filter.has_time() { "execution_time DESC, " } else { "" };
    query.push(" ORDER BY ").push(time_first).push("es_sync_execution_log.id DESC LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// When a run was started; `None`: it is gone.
async fn started_at(connection: &mut MySqlConnection, id: ExecutionId) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar("SELECT execution_time FROM es_sync_execution_log WHERE id = ?")
        .bind(id.0)
        .fetch_optional(connection)
        .await
}
