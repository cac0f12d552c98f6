//! The runs of one task beside each other: which are going, which wait, when one starts.

use std::collections::HashMap;

use sqlx::MySqlConnection;

use crate::tables::text_statement::TextStatement;
use hostsync_model::execution::{ExecutionId, TaskId};

/// What there is of a task's runs that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnendedRuns {
    /// One is going.
    pub going: bool,
    /// One waits.
    pub waiting: bool,
}

/// What each of the tasks has of runs that have not ended; those without any are left out. A retry is none: it repairs what
/// an older run left, for that run's window. Call with the tasks' rows locked.
pub async fn unended(
    connection: &mut MySqlConnection,
    tasks: impl IntoIterator<Item = TaskId>,
) -> Result<HashMap<TaskId, UnendedRuns>, sqlx::Error> {
    let mut statement = TextStatement::new(
        "SELECT CAST(task_id AS UNSIGNED), MAX(execution_status = 'running') = 1, MAX(execution_status = 'waiting') = 1
         FROM es_sync_execution_log
         WHERE execution_status IN ('running', 'waiting') AND `trigger` <> 'retry' AND task_id IN ",
    );
    statement.list(tasks.into_iter().map(|task| task.0)).sql(" GROUP BY task_id");
    let rows: Vec<(u64, bool, bool)> = statement.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(task, going, waiting)| (TaskId(task), UnendedRuns { going, waiting })).collect())
}

/// Runs after `after` that wait while no run of their task is going, with their tasks, at most `limit`.
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

/// Locks the row of a waiting run. `false`: it has started or ended, or somebody else holds it.
pub async fn lock_waiting(connection: &mut MySqlConnection, id: ExecutionId) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query_scalar!(
        "SELECT id FROM es_sync_execution_log WHERE id = ? AND execution_status = 'waiting' FOR UPDATE SKIP LOCKED",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(locked.is_some())
}

/// Starts a waiting run that [`lock_waiting`] has locked, under its task's lock; its time counts from now. Nobody holds it.
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
