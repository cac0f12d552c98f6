//! `es_sync_stats_*`: sums over ended executions by task and hour (failed hosts and errors: by task and day).
//!
//! An execution goes in once, in the transaction that sets its `rolled_up_at`, so no query has to read the details of
//! many. Task [`ALL`] holds the sums over all. Whoever adds locks in the order hours → durations → hosts → errors, each
//! sorted by key, [`ALL`] first.

use chrono::{DateTime, NaiveDate, Utc};
use md5::{Digest as _, Md5};
use sqlx::{MySqlConnection, QueryBuilder};

use super::ROWS_PER_STATEMENT;
use super::text_statement::TextStatement;
use crate::word::Word;
use hostsync_model::execution::{Counts, ExecutionId, ExecutionStatus, TaskId};

/// Stands for all tasks and for runs without one.
pub const ALL: TaskId = TaskId::NONE;

/// Longest error text kept, in characters: the width of its column.
pub const MAX_ERROR_CHARS: usize = 500;

/// What goes into the sums of one execution.
#[derive(Debug, Clone)]
pub struct EndedRun {
    /// The run.
    pub id: ExecutionId,
    /// 0 without a task.
    pub task_id: TaskId,
    /// When it began: decides its hour and day.
    pub began: DateTime<Utc>,
    /// How it ended. A run of the program before hostsync may have ended in its own words: its hosts are counted, and it is
    /// none of the runs by status.
    pub status: Word<ExecutionStatus>,
    /// Its hosts by outcome.
    pub hosts: Counts,
    /// `None` for a run that never was.
    pub duration_ms: Option<u64>,
}

#[derive(sqlx::FromRow)]
struct EndedRow {
    id: u64,
    task_id: u64,
    execution_time: DateTime<Utc>,
    execution_status: Word<ExecutionStatus>,
    success_count: u32,
    failed_count: u32,
    no_data_count: u32,
    not_in_pool_count: u32,
    cancelled_count: u32,
    duration_ms: Option<u64>,
}

/// Ended executions after `after` that are not in the sums yet, oldest first, at most `limit`.
pub async fn not_rolled_up(
    connection: &mut MySqlConnection,
    after: ExecutionId,
    limit: u32,
) -> Result<Vec<ExecutionId>, sqlx::Error> {
    let ids: Vec<u64> = sqlx::query_scalar(
        "SELECT CAST(id AS UNSIGNED) FROM es_sync_execution_log
         WHERE rolled_up_at IS NULL AND id > ? AND execution_status NOT IN ('running', 'waiting') ORDER BY id LIMIT ?",
    )
    .bind(after.0)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(ExecutionId).collect())
}

/// Locks an ended execution that is not in the sums yet. `None`: it is, or another scheduler is at it.
pub async fn lock_ended(connection: &mut MySqlConnection, id: ExecutionId) -> Result<Option<EndedRun>, sqlx::Error> {
    // The old program's integers may be signed, its texts any.
    let row: Option<EndedRow> = sqlx::query_as(
        "SELECT CAST(id AS UNSIGNED) AS id, CAST(COALESCE(task_id, 0) AS UNSIGNED) AS task_id, execution_time,
                execution_status, CAST(COALESCE(success_count, 0) AS UNSIGNED) AS success_count,
                CAST(COALESCE(failed_count, 0) AS UNSIGNED) AS failed_count,
                CAST(no_data_count AS UNSIGNED) AS no_data_count,
                CAST(COALESCE(not_in_pool_count, 0) AS UNSIGNED) AS not_in_pool_count,
                CAST(cancelled_count AS UNSIGNED) AS cancelled_count,
                CAST(GREATEST(duration_ms, 0) AS UNSIGNED) AS duration_ms
         FROM es_sync_execution_log
         WHERE id = ? AND rolled_up_at IS NULL AND execution_status NOT IN ('running', 'waiting')
         FOR UPDATE SKIP LOCKED",
    )
    .bind(id.0)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| EndedRun {
        id: ExecutionId(row.id),
        task_id: TaskId(row.task_id),
        began: row.execution_time,
        duration_ms: row.duration_ms.filter(|_| row.execution_status != ExecutionStatus::Skipped),
        status: row.execution_status,
        hosts: Counts {
            success: row.success_count,
            failed: row.failed_count,
            no_data: row.no_data_count,
            not_in_pool: row.not_in_pool_count,
            cancelled: row.cancelled_count,
        },
    }))
}

/// Marks an execution as being in the sums.
pub async fn mark_rolled_up(connection: &mut MySqlConnection, id: ExecutionId) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE es_sync_execution_log SET rolled_up_at = UTC_TIMESTAMP(3) WHERE id = ?")
        .bind(id.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// The tasks under which a run counts.
fn owners(task: TaskId) -> Vec<TaskId> {
    if task == ALL { vec![ALL] } else { vec![ALL, task] }
}

/// Adds a run to the sums of its hour.
pub async fn add_run(
    connection: &mut MySqlConnection,
    run: &EndedRun,
    duration_step: Option<u16>,
) -> Result<(), sqlx::Error> {
    let hour = hour_of(run.began);
    let owners = owners(run.task_id);
    let is = |status: ExecutionStatus| u32::from(run.status == status);
    let mut query = QueryBuilder::new(
        "INSERT INTO es_sync_stats_hour
             (task_id, hour, runs_success, runs_partial, runs_failed, runs_cancelled, runs_skipped, hosts_success,
              hosts_failed, hosts_no_data, hosts_not_in_pool, hosts_cancelled, max_duration_ms) ",
    );
    query.push_values(&owners, |mut row, owner| {
        row.push_bind(owner.0)
            .push_bind(hour)
            .push_bind(is(ExecutionStatus::Success))
            .push_bind(is(ExecutionStatus::Partial))
            .push_bind(is(ExecutionStatus::Failed))
            .push_bind(is(ExecutionStatus::Cancelled))
            .push_bind(is(ExecutionStatus::Skipped))
            .push_bind(run.hosts.success)
            .push_bind(run.hosts.failed)
            .push_bind(run.hosts.no_data)
            .push_bind(run.hosts.not_in_pool)
            .push_bind(run.hosts.cancelled)
            .push_bind(run.duration_ms);
    });
    query.push(
        " ON DUPLICATE KEY UPDATE runs_success = runs_success + VALUES(runs_success),
             runs_partial = runs_partial + VALUES(runs_partial), runs_failed = runs_failed + VALUES(runs_failed),
             runs_cancelled = runs_cancelled + VALUES(runs_cancelled),
             runs_skipped = runs_skipped + VALUES(runs_skipped),
             hosts_success = hosts_success + VALUES(hosts_success), hosts_failed = hosts_failed + VALUES(hosts_failed),
             hosts_no_data = hosts_no_data + VALUES(hosts_no_data),
             hosts_not_in_pool = hosts_not_in_pool + VALUES(hosts_not_in_pool),
             hosts_cancelled = hosts_cancelled + VALUES(hosts_cancelled),
             max_duration_ms = COALESCE(GREATEST(max_duration_ms, VALUES(max_duration_ms)), max_duration_ms,
                                        VALUES(max_duration_ms))",
    );
    query.build().execute(&mut *connection).await?;

    if let Some(step) = duration_step {
        let mut query = QueryBuilder::new("INSERT INTO es_sync_stats_duration (task_id, hour, step, runs) ");
        query.push_values(&owners, |mut row, owner| {
            row.push_bind(owner.0).push_bind(hour).push_bind(step).push("1");
        });
        query.push(" ON DUPLICATE KEY UPDATE runs = runs + 1");
        query.build().execute(connection).await?;
    }
    Ok(())
}

/// Adds failed hosts of a run to the sums of its day. `hosts` is sorted and has each once.
pub async fn add_failed_hosts(
    connection: &mut MySqlConnection,
    run: &EndedRun,
    hosts: &[String],
) -> Result<(), sqlx::Error> {
    let day = run.began.date_naive();
    for owner in owners(run.task_id) {
        for chunk in hosts.chunks(ROWS_PER_STATEMENT) {
            let mut statement =
                TextStatement::new("INSERT INTO es_sync_stats_failed_host (task_id, day, host_ip, failures) ");
            statement.rows(chunk, |row, host| {
                row.value(owner.0).value(day).value(host).sql("1");
            });
            statement.sql(" ON DUPLICATE KEY UPDATE failures = failures + 1");
            statement.execute(connection).await?;
        }
    }
    Ok(())
}

/// A kind of error within one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCount {
    /// The text without its numbers: what makes it the same kind as another.
    pub kind: String,
    /// One such text, at most [`MAX_ERROR_CHARS`].
    pub example: String,
    /// Hosts that have it.
    pub hosts: u64,
}

/// Adds the kinds of error of a run to the sums of its day. `errors` is sorted by kind and has each once.
pub async fn add_errors(
    connection: &mut MySqlConnection,
    run: &EndedRun,
    errors: &[ErrorCount],
) -> Result<(), sqlx::Error> {
    let day = run.began.date_naive();
    for owner in owners(run.task_id) {
        for chunk in errors.chunks(ROWS_PER_STATEMENT) {
            let mut statement = TextStatement::new(
                "INSERT INTO es_sync_stats_error (task_id, day, digest, error_message, hosts, last_seen) ",
            );
            statement.rows(chunk, |row, error| {
                row.value(owner.0)
                    .value(day)
                    // MD5 for what it has always been here, a short key; not in SQL: MySQL 9 has no MD5().
                    .value(<[u8; 16]>::from(Md5::digest(&error.kind)))
                    .value(&error.example)
                    .value(error.hosts)
                    .value(run.began);
            });
            statement.sql(
                " ON DUPLICATE KEY UPDATE hosts = hosts + VALUES(hosts),
                     last_seen = GREATEST(last_seen, VALUES(last_seen))",
            );
            statement.execute(connection).await?;
        }
    }
    Ok(())
}

/// The hour in which an instant lies.
pub fn hour_of(time: DateTime<Utc>) -> DateTime<Utc> {
    let into = time.timestamp().rem_euclid(3_600);
    DateTime::from_timestamp(time.timestamp() - into, 0).unwrap_or(time)
}

/// Deletes up to `limit` sums older than `before` in each table; returns how many went from the one that lost most.
pub async fn prune(connection: &mut MySqlConnection, before: DateTime<Utc>, limit: u32) -> Result<u64, sqlx::Error> {
    let mut most = 0;
    for statement in [
        "DELETE FROM es_sync_stats_hour WHERE hour < ? LIMIT ?",
        "DELETE FROM es_sync_stats_duration WHERE hour < ? LIMIT ?",
        "DELETE FROM es_sync_stats_failed_host WHERE day < DATE(?) LIMIT ?",
        "DELETE FROM es_sync_stats_error WHERE day < DATE(?) LIMIT ?",
    ] {
        let result = sqlx::query(statement).bind(before).bind(limit).execute(&mut *connection).await?;
        most = most.max(result.rows_affected());
    }
    Ok(most)
}

/// The sums of one hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns, by name")]
pub struct HourSums {
    pub hour: DateTime<Utc>,
    pub runs_success: u64,
    pub runs_partial: u64,
    pub runs_failed: u64,
    pub runs_cancelled: u64,
    pub runs_skipped: u64,
    pub hosts_success: u64,
    pub hosts_failed: u64,
    pub hosts_no_data: u64,
    pub hosts_not_in_pool: u64,
    pub hosts_cancelled: u64,
    pub max_duration_ms: Option<u64>,
}

/// The sums of a task ([`ALL`]: of all) for the hours in `[from, to)`, in order.
pub async fn hours(
    connection: &mut MySqlConnection,
    task: TaskId,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<HourSums>, sqlx::Error> {
    sqlx::query_as(
        "SELECT CAST(hour AS DATETIME(3)) AS hour, CAST(runs_success AS UNSIGNED) AS runs_success,
                CAST(runs_partial AS UNSIGNED) AS runs_partial, CAST(runs_failed AS UNSIGNED) AS runs_failed,
                CAST(runs_cancelled AS UNSIGNED) AS runs_cancelled, CAST(runs_skipped AS UNSIGNED) AS runs_skipped,
                hosts_success, hosts_failed, hosts_no_data, hosts_not_in_pool, hosts_cancelled, max_duration_ms
         FROM es_sync_stats_hour WHERE task_id = ? AND hour >= ? AND hour < ? ORDER BY hour",
    )
    .bind(task.0)
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await
}

/// Runs of one hour whose duration lies in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns, by name")]
pub struct DurationStep {
    pub hour: DateTime<Utc>,
    pub step: u16,
    pub runs: u64,
}

/// How long the runs of a task took in the hours in `[from, to)`.
pub async fn durations(
    connection: &mut MySqlConnection,
    task: TaskId,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<DurationStep>, sqlx::Error> {
    sqlx::query_as(
        "SELECT CAST(hour AS DATETIME(3)) AS hour, step, CAST(runs AS UNSIGNED) AS runs
         FROM es_sync_stats_duration WHERE task_id = ? AND hour >= ? AND hour < ? ORDER BY hour, step",
    )
    .bind(task.0)
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await
}

/// A host and the runs in which it failed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are those of the REST contract, by name")]
pub struct FailingHost {
    pub host_ip: String,
    pub failures: u64,
}

/// The hosts that failed most on the days in `[from, to]`.
pub async fn failing_most(
    connection: &mut MySqlConnection,
    task: TaskId,
    from: NaiveDate,
    to: NaiveDate,
    limit: u32,
) -> Result<Vec<FailingHost>, sqlx::Error> {
    sqlx::query_as(
        "SELECT host_ip, CAST(SUM(failures) AS UNSIGNED) AS failures FROM es_sync_stats_failed_host
         WHERE task_id = ? AND day >= ? AND day <= ? GROUP BY host_ip ORDER BY failures DESC, host_ip LIMIT ?",
    )
    .bind(task.0)
    .bind(from)
    .bind(to)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A kind of error and the hosts that had it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are those of the REST contract, by name")]
pub struct ErrorSum {
    pub error_message: String,
    pub hosts: u64,
    pub last_seen: DateTime<Utc>,
}

/// The errors seen most on the days in `[from, to]`.
pub async fn errors_seen_most(
    connection: &mut MySqlConnection,
    task: TaskId,
    from: NaiveDate,
    to: NaiveDate,
    limit: u32,
) -> Result<Vec<ErrorSum>, sqlx::Error> {
    sqlx::query_as(
        "SELECT MAX(error_message) AS error_message, CAST(SUM(hosts) AS UNSIGNED) AS hosts, MAX(last_seen) AS last_seen
         FROM es_sync_stats_error WHERE task_id = ? AND day >= ? AND day <= ?
         GROUP BY digest ORDER BY hosts DESC, error_message LIMIT ?",
    )
    .bind(task.0)
    .bind(from)
    .bind(to)
    .bind(limit)
    .fetch_all(connection)
    .await
}
