//! `es_sync_pause`: whether the fleet is paused, one row; and `es_sync_paused_task`: what the fires of each task left in the
//! last pause.
//!
//! The row is the lock between a pause and the fires: who pauses locks it, fires share it until they are committed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::MySqlConnection;

use super::executions::creation::Scope;
use super::text_statement::TextStatement;
use hostsync_model::execution::{ExecutionId, TaskId};

/// The last pause, and whether it goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct PauseState {
    /// Whether it goes on.
    pub is_paused: bool,
    /// Of the last change.
    pub note: String,
    /// Who made the last change; empty before the first one.
    pub changed_by: String,
    /// When; `None` before the first one.
    pub changed_at: Option<DateTime<Utc>>,
    /// Who paused last.
    pub paused_by: String,
    /// Why.
    pub pause_note: String,
    /// When; `None`: never.
    pub paused_at: Option<DateTime<Utc>>,
    /// When that ended; `None` while it goes on.
    pub resumed_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "SELECT is_paused, COALESCE(note, '') AS note, COALESCE(changed_by, '') AS changed_by, changed_at, \
     COALESCE(paused_by, '') AS paused_by, COALESCE(pause_note, '') AS pause_note, paused_at, resumed_at \
     FROM es_sync_pause WHERE id = 1";

async fn state(connection: &mut MySqlConnection, lock: &'static str) -> Result<PauseState, sqlx::Error> {
    let query = sqlx::AssertSqlSafe(format!("{COLUMNS}{lock}"));
    Ok(sqlx::query_as(query).fetch_optional(connection).await?.unwrap_or_default())
}

/// Reads it.
pub async fn read(connection: &mut MySqlConnection) -> Result<PauseState, sqlx::Error> {
    state(connection, "").await
}

/// Reads it and keeps it as it is until the transaction ends; others may do the same.
pub async fn share(connection: &mut MySqlConnection) -> Result<PauseState, sqlx::Error> {
    state(connection, " LOCK IN SHARE MODE").await
}

/// Locks it, once the fires that are being made have been committed.
pub async fn lock(connection: &mut MySqlConnection) -> Result<PauseState, sqlx::Error> {
    state(connection, " FOR UPDATE").await
}

/// Pauses what [`lock`] has locked and found not paused.
pub async fn begin(connection: &mut MySqlConnection, who: &str, note: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM es_sync_paused_task").execute(&mut *connection).await?;
    sqlx::query(
        "INSERT INTO es_sync_pause (id, is_paused, note, changed_by, changed_at, paused_by, pause_note, paused_at, resumed_at)
         VALUES (1, 1, ?, ?, UTC_TIMESTAMP(3), ?, ?, UTC_TIMESTAMP(3), NULL)
         ON DUPLICATE KEY UPDATE is_paused = 1, note = VALUES(note), changed_by = VALUES(changed_by),
             changed_at = VALUES(changed_at), paused_by = VALUES(paused_by), pause_note = VALUES(pause_note),
             paused_at = VALUES(paused_at), resumed_at = NULL",
    )
    .bind(note)
    .bind(who)
    .bind(who)
    .bind(note)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says another note of a pause that goes on and is locked.
pub async fn note(connection: &mut MySqlConnection, who: &str, note: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE es_sync_pause SET note = ?, changed_by = ?, changed_at = UTC_TIMESTAMP(3), paused_by = ?, pause_note = ?
         WHERE id = 1",
    )
    .bind(note)
    .bind(who)
    .bind(who)
    .bind(note)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a pause that goes on and is locked.
pub async fn end(connection: &mut MySqlConnection, who: &str, note: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE es_sync_pause
         SET is_paused = 0, note = ?, changed_by = ?, changed_at = UTC_TIMESTAMP(3), resumed_at = UTC_TIMESTAMP(3)
         WHERE id = 1",
    )
    .bind(note)
    .bind(who)
    .execute(connection)
    .await?;
    Ok(())
}

/// What the fires of a task have left in a pause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PausedFires {
    /// Fires with a row of their own.
    pub own_rows: u32,
    /// Fires that share one row.
    pub shared_fires: u32,
    /// The oldest of these.
    pub shared_first: Option<DateTime<Utc>>,
    /// The row that they share.
    pub shared_row: Option<ExecutionId>,
}

/// What the fires of these tasks have left in the pause that began at `paused_at`; those without any are left out.
pub async fn paused_fires(
    connection: &mut MySqlConnection,
    paused_at: DateTime<Utc>,
    tasks: impl IntoIterator<Item = TaskId>,
) -> Result<HashMap<TaskId, PausedFires>, sqlx::Error> {
    let mut statement = TextStatement::new(
        "SELECT CAST(task_id AS UNSIGNED), own_rows, shared_fires, shared_first, CAST(execution_id AS UNSIGNED)
         FROM es_sync_paused_task FORCE INDEX (PRIMARY) WHERE paused_at = ",
    );
    statement.value(paused_at).sql(" AND task_id IN ").list(tasks.into_iter().map(|task| task.0));
    let mut fires = HashMap::new();
    for (task, own_rows, shared_fires, shared_first, row) in statement.fetch_all(connection).await? {
        let shared_row = Option::<u64>::map(row, ExecutionId);
        fires.insert(TaskId(task), PausedFires { own_rows, shared_fires, shared_first, shared_row });
    }
    Ok(fires)
}

/// Remembers what the fires of tasks have left in the pause that began at `paused_at`. The caller has at least one.
pub async fn set_paused_fires(
    connection: &mut MySqlConnection,
    paused_at: DateTime<Utc>,
    tasks: &[(TaskId, PausedFires)],
) -> Result<(), sqlx::Error> {
    let mut statement = TextStatement::new(
        "INSERT INTO es_sync_paused_task (task_id, paused_at, own_rows, shared_fires, shared_first, execution_id) ",
    );
    statement.rows(tasks, |row, (task, fires)| {
        row.value(task.0)
            .value(paused_at)
            .value(fires.own_rows)
            .value(fires.shared_fires)
            .value(fires.shared_first)
            .value(fires.shared_row.map(|id| id.0));
    });
    statement.sql(
        " ON DUPLICATE KEY UPDATE paused_at = VALUES(paused_at), own_rows = VALUES(own_rows),
         shared_fires = VALUES(shared_fires), shared_first = VALUES(shared_first), execution_id = VALUES(execution_id)",
    );
    statement.execute(connection).await?;
    Ok(())
}

/// Moves the row that paused fires share to the newest of them. `false`: it is gone.
pub async fn move_shared_row(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    newest: DateTime<Utc>,
    scope: &Scope,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "UPDATE es_sync_execution_log
         SET scheduled_for = ?, window_from = ?, window_to = ?, mon_date = ?, error_message = ? WHERE id = ?",
    )
    .bind(newest)
    .bind(scope.window.from)
    .bind(scope.window.to)
    .bind(scope.mon_date)
    .bind(reason)
    .bind(id.0)
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() > 0)
}
