//! `es_sync_freshness` and `es_sync_freshness_day`: up to when the runs of each task have read, and its hosts by state as they
//! were counted last and day by day.
//!
//! The row of [`BEST`] counts each host by its best task, and says which scheduler counts.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{MySqlConnection, QueryBuilder};

use crate::freshness::FreshnessCounts;
use hostsync_model::execution::{ExecutionId, TaskId};

/// Stands for the best task of each host.
pub const BEST: TaskId = TaskId(0);

/// What is known of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreshnessRow {
    /// Latest window end of its ended runs; `None`: none has brought anything.
    pub window_to: Option<DateTime<Utc>>,
    /// `hosts_pool.id` of the last host in that run.
    pub pool_cursor: u64,
    /// When its hosts were counted; `None`: not yet.
    pub as_of: Option<DateTime<Utc>>,
    /// As they were then.
    pub counts: FreshnessCounts,
}

#[derive(sqlx::FromRow)]
struct StoredRow {
    task_id: u64,
    window_to: Option<DateTime<Utc>>,
    pool_cursor: u64,
    as_of: Option<DateTime<Utc>>,
    fresh_hosts: u32,
    late_hosts: u32,
    stale_hosts: u32,
    never_hosts: u32,
}

/// Remembers up to when an ended run has read, if it was one of a task over the pool that brought something. A run that was
/// cancelled says nothing of the hosts that it did not reach. The run's row is locked by the caller.
pub async fn run_ended(connection: &mut MySqlConnection, id: ExecutionId) -> Result<(), sqlx::Error> {
    // The window last: what stands before it is decided by the old one.
    sqlx::query(
        "INSERT INTO es_sync_freshness (task_id, window_to, pool_cursor)
         SELECT task_id, window_to, prepare_cursor FROM es_sync_execution_log AS log
         WHERE log.id = ? AND log.task_id > 0 AND log.retry_of IS NULL AND log.window_to IS NOT NULL
           AND log.success_count > 0 AND log.cancelled_count = 0
         ON DUPLICATE KEY UPDATE
             pool_cursor = IF(es_sync_freshness.window_to > VALUES(window_to), es_sync_freshness.pool_cursor,
                              VALUES(pool_cursor)),
             window_to = GREATEST(COALESCE(es_sync_freshness.window_to, VALUES(window_to)), VALUES(window_to))",
    )
    .bind(id.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// What is known of one task or of all.
pub async fn rows(
    connection: &mut MySqlConnection,
    task: Option<TaskId>,
) -> Result<HashMap<TaskId, FreshnessRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT task_id, window_to, pool_cursor, as_of, fresh_hosts, late_hosts, stale_hosts, never_hosts
         FROM es_sync_freshness",
    );
    if let Some(task) = task {
        query.push(" WHERE task_id = ").push_bind(task.0);
    }
    let rows: Vec<StoredRow> = query.build_query_as().fetch_all(connection).await?;
    let counts = |row: &StoredRow| FreshnessCounts {
        fresh: row.fresh_hosts.into(),
        late: row.late_hosts.into(),
        stale: row.stale_hosts.into(),
        never: row.never_hosts.into(),
    };
    let row = |row: StoredRow| {
        let counts = counts(&row);
        let StoredRow { window_to, pool_cursor, as_of, .. } = row;
        (TaskId(row.task_id), FreshnessRow { window_to, pool_cursor, as_of, counts })
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Takes the next count for the caller, for `at_most`. `false`: another is at it, or the last one is not `pause` ago.
pub async fn take_turn(
    connection: &mut MySqlConnection,
    pause: Duration,
    at_most: Duration,
) -> Result<bool, sqlx::Error> {
    sqlx::query("INSERT IGNORE INTO es_sync_freshness (task_id) VALUES (?)")
        .bind(BEST.0)
        .execute(&mut *connection)
        .await?;
    let taken = sqlx::query(
        "UPDATE es_sync_freshness SET sweep_until = UTC_TIMESTAMP(3) + INTERVAL ? SECOND
         WHERE task_id = ? AND (sweep_until IS NULL OR sweep_until < UTC_TIMESTAMP(3))
           AND (as_of IS NULL OR as_of <= UTC_TIMESTAMP(3) - INTERVAL ? SECOND)",
    )
    .bind(at_most.as_secs())
    .bind(BEST.0)
    .bind(pause.as_secs())
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Stores what was counted of a task, also as that of its day. That of [`BEST`] comes last and gives the turn back.
pub async fn set_counts(
    connection: &mut MySqlConnection,
    task: TaskId,
    as_of: DateTime<Utc>,
    counts: FreshnessCounts,
) -> Result<(), sqlx::Error> {
    let hosts = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let FreshnessCounts { fresh, late, stale, never } = counts;
    sqlx::query(
        "INSERT INTO es_sync_freshness (task_id, as_of, fresh_hosts, late_hosts, stale_hosts, never_hosts)
         VALUES (?, ?, ?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE as_of = VALUES(as_of), fresh_hosts = VALUES(fresh_hosts),
             late_hosts = VALUES(late_hosts), stale_hosts = VALUES(stale_hosts), never_hosts = VALUES(never_hosts),
             sweep_until = NULL",
    )
    .bind(task.0)
    .bind(as_of.naive_utc())
    .bind(hosts(fresh))
    .bind(hosts(late))
    .bind(hosts(stale))
    .bind(hosts(never))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO es_sync_freshness_day (task_id, day, fresh_hosts, late_hosts, stale_hosts, never_hosts)
         VALUES (?, ?, ?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE fresh_hosts = VALUES(fresh_hosts), late_hosts = VALUES(late_hosts),
             stale_hosts = VALUES(stale_hosts), never_hosts = VALUES(never_hosts)",
    )
    .bind(task.0)
    .bind(as_of.date_naive())
    .bind(hosts(fresh))
    .bind(hosts(late))
    .bind(hosts(stale))
    .bind(hosts(never))
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what was counted of a task that is gone; its days stay.
pub async fn forget_task(connection: &mut MySqlConnection, task: TaskId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM es_sync_freshness WHERE task_id = ?").bind(task.0).execute(connection).await?;
    Ok(())
}

/// The hosts of a task by state at the end of each day in `[from, to]`, in order.
pub async fn days(
    connection: &mut MySqlConnection,
    task: TaskId,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Vec<(NaiveDate, FreshnessCounts)>, sqlx::Error> {
    let rows: Vec<(NaiveDate, u32, u32, u32, u32)> = sqlx::query_as(
        "SELECT day, fresh_hosts, late_hosts, stale_hosts, never_hosts FROM es_sync_freshness_day
         WHERE task_id = ? AND day >= ? AND day <= ? ORDER BY day",
    )
    .bind(task.0)
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await?;
    let counts = |(day, fresh, late, stale, never): (NaiveDate, u32, u32, u32, u32)| {
        (day, FreshnessCounts { fresh: fresh.into(), late: late.into(), stale: stale.into(), never: never.into() })
    };
    Ok(rows.into_iter().map(counts).collect())
}

/// Deletes up to `limit` days before `day`; returns how many went.
pub async fn prune_days(connection: &mut MySqlConnection, day: NaiveDate, limit: u32) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query("DELETE FROM es_sync_freshness_day WHERE day < ? LIMIT ?");
    Ok(deleted.bind(day).bind(limit).execute(connection).await?.rows_affected())
}
