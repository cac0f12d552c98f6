//! What there is to do for the schedulers, over all tables: one statement for the fires, which reads tasks alone, and one for
//! everything else.
//!
//! A scheduler at rest asks these and nothing else: each sweep has its own statements for what is to be done, and is called
//! only when there is something.

use std::time::Duration;

use sqlx::{MySqlConnection, QueryBuilder};

use super::executions;
use hostsync_model::execution::JobQueue;

/// Which fires are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FireRange {
    /// All.
    All,
    /// Those that are not due yet.
    ToCome,
}

/// Time until the next of the fires, zero when it is due; `None`: there is none.
pub async fn next_fire(connection: &mut MySqlConnection, fires: FireRange) -> Result<Option<Duration>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(3), COALESCE(next_execution_time, UTC_TIMESTAMP(3))) DIV 1000
         FROM es_sync_task_config FORCE INDEX (idx_task_due)
         WHERE is_enabled = 1 AND deleted_at IS NULL",
    );
    if fires == FireRange::ToCome {
        query.push(" AND next_execution_time > UTC_TIMESTAMP(3)");
    }
    query.push(" ORDER BY next_execution_time LIMIT 1");
    let ms: Option<i64> = query.build_query_scalar().fetch_optional(connection).await?;
    Ok(ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
}

/// What there is to do beside fires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
#[allow(clippy::struct_excessive_bools, reason = "one answer for each sweep")]
pub struct Agenda {
    /// Runs of the bulk queue are to be prepared or published.
    pub publish_bulk: bool,
    /// Runs of the manual queue are to be prepared or published.
    pub publish_manual: bool,
    /// Jobs' clocks have run out.
    pub retry: bool,
    /// Runs are closing.
    pub close: bool,
    /// Runs wait and no run of their task is going.
    pub start: bool,
    /// Ended runs are not in the statistics.
    pub roll_up: bool,
}

/// Asks what there is to do beside fires.
pub async fn agenda(connection: &mut MySqlConnection) -> Result<Agenda, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT EXISTS (SELECT 1 FROM es_sync_execution_log WHERE ");
    executions::backlog::push_unpublished(&mut query, JobQueue::Bulk);
    query.push(") AS publish_bulk, EXISTS (SELECT 1 FROM es_sync_execution_log WHERE ");
    executions::backlog::push_unpublished(&mut query, JobQueue::Manual);
    query.push(") AS publish_manual, EXISTS (SELECT 1 FROM es_sync_execution_log WHERE ");
    executions::backlog::push_with_due_clocks(&mut query);
    query.push(
        ") AS retry,
         EXISTS (SELECT 1 FROM es_sync_execution_log
                 WHERE execution_status = 'running' AND closing_status IS NOT NULL) AS close,
         EXISTS (SELECT 1 FROM es_sync_execution_log AS log
                 WHERE log.execution_status = 'waiting'
                   AND NOT EXISTS (SELECT 1 FROM es_sync_execution_log AS other
                                   WHERE other.task_id = log.task_id AND other.execution_status = 'running'
                                     AND other.`trigger` <> 'retry')) AS start,
         EXISTS (SELECT 1 FROM es_sync_execution_log
                 WHERE rolled_up_at IS NULL AND execution_status NOT IN ('running', 'waiting')) AS roll_up",
    );
    query.build_query_as().fetch_one(connection).await
}
