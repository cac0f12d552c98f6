//! `es_sync_task_config`: saved configurations with a schedule.
//!
//! A task's row is the lock for all that decides about its fires: firing, enabling, changing and deleting lock it first.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::mysql::MySqlArguments;
use sqlx::query::Query;
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use super::text_statement::TextStatement;
use crate::word::Word;
use hostsync_model::catch_up::CatchUpWindow;
use hostsync_model::execution::{ExecutionId, ExecutionStatus, OverlapPolicy, TaskId};
use hostsync_model::window::TimeRange;
use hostsync_model::window_delay::WindowDelay;

/// A live task as it is stored. Serialized it is what REST shows of a task's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Task {
    /// Its id.
    #[sqlx(try_from = "u64")]
    pub id: TaskId,
    /// Unique among live tasks.
    pub task_name: String,
    /// Free text.
    pub description: String,
    /// Endpoint name; empty = the default.
    pub es_endpoint: String,
    /// Index pattern; empty = the default.
    pub es_index_pattern: String,
    /// Mapping name; empty = the default.
    pub mapping: String,
    /// As written.
    pub cron_expression: String,
    /// IANA name; empty = the default.
    pub time_zone: String,
    /// What a fire does while the last run is going.
    pub overlap_policy: Word<OverlapPolicy>,
    /// How late a missed fire may still run (`1m`).
    pub catch_up_window: Word<CatchUpWindow>,
    /// How far back a run looks (`24h`).
    pub query_time_range: Word<TimeRange>,
    /// How long before its fire a run's window ends (`10m`).
    pub delay: Word<WindowDelay>,
    /// How old a host's values may be (`36h`); empty = twice the longest gap of its next fires.
    pub freshness_target: String,
    /// Whether it fires.
    pub is_enabled: bool,
    /// Who made it.
    pub created_by: String,
    /// `@every` counts from here.
    #[serde(skip)]
    pub schedule_anchor: Option<DateTime<Utc>>,
    /// Its next fire; `None` while enabled: to be computed.
    #[serde(skip)]
    pub next_execution_time: Option<DateTime<Utc>>,
}

const TASK_COLUMNS: &str = "CAST(task.id AS UNSIGNED) AS id, task.task_name, \
     COALESCE(task.description, '') AS description, COALESCE(task.es_endpoint, '') AS es_endpoint, \
     COALESCE(task.es_index_pattern, '') AS es_index_pattern, COALESCE(task.mapping, '') AS mapping, \
     task.cron_expression, COALESCE(task.time_zone, '') AS time_zone, task.overlap_policy, task.catch_up_window, \
     COALESCE(task.query_time_range, '30d') AS query_time_range, task.delay, \
     COALESCE(task.freshness_target, '') AS freshness_target, COALESCE(task.is_enabled, 0) AS is_enabled, \
     COALESCE(task.created_by, '') AS created_by, task.schedule_anchor, task.next_execution_time";

/// A task with what is known of its runs.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TaskView {
    /// The task itself.
    #[sqlx(flatten)]
    pub task: Task,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// When its last run began; `None` before the first one.
    pub last_execution_time: Option<DateTime<Utc>>,
    /// How its last run stands; `None` before the first one.
    pub last_execution_status: Option<Word<ExecutionStatus>>,
}

fn select_views() -> QueryBuilder<sqlx::MySql> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(TASK_COLUMNS).push(
        ", COALESCE(task.created_at, task.updated_at, UTC_TIMESTAMP()) AS created_at,
           COALESCE(task.updated_at, task.created_at, UTC_TIMESTAMP()) AS updated_at, last.execution_time AS last_execution_time,
           last.execution_status AS last_execution_status
         FROM es_sync_task_config AS task
         LEFT JOIN es_sync_execution_log AS last ON last.id = task.last_execution_id
         WHERE task.deleted_at IS NULL",
    );
    query
}

/// Reads one live task.
pub async fn find(connection: &mut MySqlConnection, id: TaskId) -> Result<Option<TaskView>, sqlx::Error> {
    let mut query = select_views();
    query.push(" AND task.id = ").push_bind(id.0);
    query.build_query_as().fetch_optional(connection).await
}

/// Which tasks a list wants.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only tasks that fire.
    pub enabled_only: bool,
    /// Names that contain this text.
    pub name: Option<String>,
    /// After this one (the cursor).
    pub after: u64,
}

/// Live tasks in order of id, at most `limit`.
pub async fn list(
    connection: &mut MySqlConnection,
    filter: &TaskFilter,
    limit: u32,
) -> Result<Vec<TaskView>, sqlx::Error> {
    let mut query = select_views();
    query.push(" AND task.id > ").push_bind(filter.after);
    if filter.enabled_only {
        query.push(" AND task.is_enabled = 1");
    }
    if let Some(name) = &filter.name {
        // LOCATE has no wildcards to escape.
        query.push(" AND LOCATE(").push_bind(name.clone()).push(", task.task_name) > 0");
    }
    query.push(" ORDER BY task.id LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// Inserts a task. Its `id` is ignored; an enabled task's `next_execution_time` has been computed by the caller.
///
/// # Errors
///
/// A duplicate: a live task has this name.
pub async fn insert(connection: &mut MySqlConnection, task: &Task) -> Result<TaskId, sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO es_sync_task_config
             (task_name, description, es_endpoint, es_index_pattern, mapping, cron_expression, time_zone, overlap_policy,
              catch_up_window, query_time_range, delay, freshness_target, is_enabled, created_by, schedule_anchor,
              next_execution_time, created_at, updated_at)
         VALUES (?, ?, ?, ?, NULLIF(?, ''), ?, NULLIF(?, ''), ?, ?, ?, ?, NULLIF(?, ''), ?, ?, ?, ?, UTC_TIMESTAMP(3),
                 UTC_TIMESTAMP(3))",
    );
    let result = bind_settings(insert, task)
        .bind(&task.created_by)
        .bind(task.schedule_anchor)
        .bind(task.next_execution_time)
        .execute(connection)
        .await?;
    Ok(TaskId(result.last_insert_id()))
}

/// Locks a live task and reads it anew.
pub async fn lock(connection: &mut MySqlConnection, id: TaskId) -> Result<Option<Task>, sqlx::Error> {
    locked(connection, id, " FOR UPDATE").await
}

/// As [`lock`], but leaves a task alone that another scheduler or the API has locked.
pub async fn lock_unless_busy(connection: &mut MySqlConnection, id: TaskId) -> Result<Option<Task>, sqlx::Error> {
    locked(connection, id, " FOR UPDATE SKIP LOCKED").await
}

/// As [`lock_unless_busy`], those of `ids` that are enabled.
pub async fn lock_enabled(connection: &mut MySqlConnection, ids: &[TaskId]) -> Result<Vec<Task>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(TASK_COLUMNS).push(
        " FROM es_sync_task_config AS task FORCE INDEX (PRIMARY)
          WHERE task.is_enabled = 1 AND task.deleted_at IS NULL AND task.id IN (",
    );
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.0);
    }
    query.push(") FOR UPDATE SKIP LOCKED");
    query.build_query_as().fetch_all(connection).await
}

async fn locked(connection: &mut MySqlConnection, id: TaskId, how: &'static str) -> Result<Option<Task>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT ");
    query
        .push(TASK_COLUMNS)
        .push(" FROM es_sync_task_config AS task WHERE task.deleted_at IS NULL AND task.id = ")
        .push_bind(id.0)
        .push(how);
    query.build_query_as().fetch_optional(connection).await
}

/// Writes all that a request can change of a locked task.
///
/// # Errors
///
/// A duplicate: another live task has the new name.
pub async fn update(connection: &mut MySqlConnection, task: &Task) -> Result<(), sqlx::Error> {
    let update = sqlx::query(
        "UPDATE es_sync_task_config
         SET task_name = ?, description = ?, es_endpoint = ?, es_index_pattern = ?, mapping = NULLIF(?, ''),
             cron_expression = ?, time_zone = NULLIF(?, ''), overlap_policy = ?, catch_up_window = ?,
             query_time_range = ?, delay = ?, freshness_target = NULLIF(?, ''), is_enabled = ?, schedule_anchor = ?,
             next_execution_time = ?, updated_at = UTC_TIMESTAMP(3)
         WHERE id = ?",
    );
    bind_settings(update, task)
        .bind(task.schedule_anchor)
        .bind(task.next_execution_time)
        .bind(task.id.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// The settings of a task, in the order in which both statements that write them name them first.
fn bind_settings<'q>(statement: Query<'q, MySql, MySqlArguments>, task: &'q Task) -> Query<'q, MySql, MySqlArguments> {
    statement
        .bind(&task.task_name)
        .bind(&task.description)
        .bind(&task.es_endpoint)
        .bind(&task.es_index_pattern)
        .bind(&task.mapping)
        .bind(&task.cron_expression)
        .bind(&task.time_zone)
        .bind(task.overlap_policy.to_string())
        .bind(task.catch_up_window.to_string())
        .bind(task.query_time_range.to_string())
        .bind(task.delay.to_string())
        .bind(&task.freshness_target)
        .bind(task.is_enabled)
}

/// Marks a locked task deleted; its name is free from the commit on.
pub async fn delete(connection: &mut MySqlConnection, id: TaskId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_task_config
         SET deleted_at = UTC_TIMESTAMP(3), is_enabled = 0, next_execution_time = NULL, updated_at = UTC_TIMESTAMP(3)
         WHERE id = ?",
        id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What decides how fresh a live task's hosts should be.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TaskPace {
    /// The task.
    #[sqlx(try_from = "u64")]
    pub id: TaskId,
    /// As written.
    pub cron_expression: String,
    /// IANA name; empty = the default.
    pub time_zone: String,
    /// `@every` counts from here.
    pub schedule_anchor: Option<DateTime<Utc>>,
    /// How old a host's values may be; empty = twice the longest gap of its next fires.
    pub freshness_target: String,
    /// Whether it fires.
    pub is_enabled: bool,
}

/// The pace of one live task or of all, in order of id, at most `limit`.
pub async fn paces(
    connection: &mut MySqlConnection,
    task: Option<TaskId>,
    limit: u32,
) -> Result<Vec<TaskPace>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT CAST(id AS UNSIGNED) AS id, cron_expression, COALESCE(time_zone, '') AS time_zone, schedule_anchor,
                COALESCE(freshness_target, '') AS freshness_target, COALESCE(is_enabled, 0) AS is_enabled
         FROM es_sync_task_config WHERE deleted_at IS NULL",
    );
    if let Some(task) = task {
        query.push(" AND id = ").push_bind(task.0);
    }
    query.push(" ORDER BY id LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// What the last ended run of an enabled task brought.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LastResult {
    /// The task.
    #[sqlx(try_from = "u64")]
    pub task_id: TaskId,
    /// As written.
    pub cron_expression: String,
    /// IANA name; empty = the default.
    pub time_zone: String,
    /// `@every` counts from here.
    pub schedule_anchor: Option<DateTime<Utc>>,
    /// How long before its fire a run's window ends.
    pub delay: Word<WindowDelay>,
    /// Up to when the run read.
    pub window_to: DateTime<Utc>,
    /// Hosts of the run that are in the pool.
    pub hosts: u32,
    /// Those that got their values.
    pub synced: u32,
}

/// The last ended run of each enabled task that has one, in order of the tasks' ids, at most `limit`. Four steps in an
/// index a task.
pub async fn last_results(connection: &mut MySqlConnection, limit: u32) -> Result<Vec<LastResult>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT task.id AS task_id, task.cron_expression, COALESCE(task.time_zone, '') AS time_zone, task.schedule_anchor,
                task.delay, log.window_to, CAST(log.total_hosts - log.not_in_pool_count AS UNSIGNED) AS hosts,
                log.success_count AS synced
         FROM es_sync_task_config AS task
         JOIN es_sync_execution_log AS log ON log.id = GREATEST(0",
    );
    for status in
        [ExecutionStatus::Success, ExecutionStatus::Partial, ExecutionStatus::Failed, ExecutionStatus::Cancelled]
    {
        query
            .push(
                ", COALESCE((SELECT id FROM es_sync_execution_log AS ended
                             WHERE ended.task_id = task.id AND ended.execution_status = ",
            )
            .push_bind(status.as_str())
            .push(" ORDER BY id DESC LIMIT 1), 0)");
    }
    query
        .push(") WHERE task.is_enabled = 1 AND task.deleted_at IS NULL AND log.window_to IS NOT NULL ORDER BY task.id LIMIT ")
        .push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// Locks enabled tasks whose fire is due, or whose next fire is to be computed; longest due first, at most `limit`, leaving
/// out those in `except` and those that another scheduler or the API has locked.
pub async fn lock_due(
    connection: &mut MySqlConnection,
    except: impl IntoIterator<Item = TaskId>,
    limit: u32,
) -> Result<Vec<Task>, sqlx::Error> {
    // By that key alone: in any other order all that are due would be locked, and nothing left to the other schedulers.
    let mut query = QueryBuilder::new("SELECT ");
    query.push(TASK_COLUMNS).push(
        " FROM es_sync_task_config AS task FORCE INDEX (idx_task_due)
         WHERE task.is_enabled = 1 AND task.deleted_at IS NULL
           AND (task.next_execution_time <= UTC_TIMESTAMP(3) OR task.next_execution_time IS NULL)",
    );
    for id in except {
        query.push(" AND task.id <> ").push_bind(id.0);
    }
    query.push(" ORDER BY task.next_execution_time LIMIT ").push_bind(limit).push(" FOR UPDATE SKIP LOCKED");
    query.build_query_as().fetch_all(connection).await
}

/// Whether a live task stands under this id, whoever has locked it.
pub async fn is_live(connection: &mut MySqlConnection, id: TaskId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM es_sync_task_config WHERE id = ? AND deleted_at IS NULL)")
        .bind(id.0)
        .fetch_one(connection)
        .await
}

/// What a fire changes of its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextFire {
    /// The task, locked.
    pub id: TaskId,
    /// Its next fire. A task that never fires again is disabled as well.
    pub next: Option<DateTime<Utc>>,
    /// The run that it made; `None`: none.
    pub execution: Option<ExecutionId>,
}

/// Moves the next fires of locked tasks, in one statement. The caller has at least one.
pub async fn set_next_fires(connection: &mut MySqlConnection, fired: &[NextFire]) -> Result<(), sqlx::Error> {
    // By the key alone: a scan, which a small table invites, would wait for the rows of others.
    let mut statement =
        TextStatement::new("UPDATE es_sync_task_config FORCE INDEX (PRIMARY) SET next_execution_time = CASE id");
    for task in fired {
        statement.sql(" WHEN ").value(task.id.0).sql(" THEN ").value(task.next);
    }
    statement.sql(" END");
    let never = fired.iter().filter(|task| task.next.is_none()).map(|task| task.id.0);
    statement.sql(", is_enabled = IF(id IN ").list(never).sql(", 0, is_enabled)");
    statement.sql(", last_execution_id = CASE id WHEN 0 THEN NULL");
    for (id, execution) in fired.iter().filter_map(|task| Some((task.id, task.execution?))) {
        statement.sql(" WHEN ").value(id.0).sql(" THEN ").value(execution.0);
    }
    statement.sql(" ELSE last_execution_id END, updated_at = updated_at WHERE id IN ");
    statement.list(fired.iter().map(|task| task.id.0));
    statement.execute(connection).await?;
    Ok(())
}

/// Remembers the run that a task made last.
pub async fn set_last_execution(
    connection: &mut MySqlConnection,
    id: TaskId,
    execution: ExecutionId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_task_config SET last_execution_id = ?, updated_at = updated_at WHERE id = ?",
        execution.0,
        id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
