//! What only an operator's commands ask: how the server is set up, what we may do there, what stands still.
//!
//! The one file here that is about no table of its own. Its statements write nothing, whatever they are called: a right is
//! tried by a statement that meets no row.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, MySqlConnection};

use super::schema::OurTables;
use super::server_resources::VALUE_COLUMNS;
use crate::denied::Denied;
use crate::fault;
use crate::word::Word;
use hostsync_model::execution::{ExecutionId, JobQueue};

/// The server as this connection sees it.
#[derive(Debug, Clone)]
pub struct DatabaseServer {
    /// As the server says it, such as `10.11.6-MariaDB`.
    pub version: String,
    /// Whom the server takes us for, such as `hostsync@%`.
    pub user: String,
    /// The name of the database.
    pub database: String,
    /// Connections open, of everybody.
    pub connected: i64,
    /// The most there may be.
    pub max_connections: i64,
}

/// Asks the server about itself.
pub async fn server(connection: &mut MySqlConnection) -> Result<DatabaseServer, sqlx::Error> {
    let (version, user, database, max_connections): (String, String, String, i64) = sqlx::query_as(
        "SELECT VERSION(), CURRENT_USER(), COALESCE(DATABASE(), ''), CAST(@@GLOBAL.max_connections AS SIGNED)",
    )
    .fetch_one(&mut *connection)
    .await?;
    let (_, connected): (String, String) =
        sqlx::query_as("SHOW GLOBAL STATUS LIKE 'Threads_connected'").fetch_one(connection).await?;
    Ok(DatabaseServer { version, user, database, connected: connected.parse().unwrap_or_default(), max_connections })
}

/// A right on a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To read.
    Select,
    /// To add rows.
    Insert,
    /// To change rows.
    Update,
    /// To remove rows.
    Delete,
}

impl Right {
    /// As `GRANT` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// What hostsync does with a table.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// Its name.
    pub table: &'static str,
    /// What it must be allowed.
    pub rights: &'static [Right],
}

const READ_ADD: &[Right] = &[Right::Select, Right::Insert];
const READ_WRITE: &[Right] = &[Right::Select, Right::Insert, Right::Update];
const READ_ADD_PRUNE: &[Right] = &[Right::Select, Right::Insert, Right::Delete];
const ALL: &[Right] = &[Right::Select, Right::Insert, Right::Update, Right::Delete];

/// Every table and what the three services do with it.
pub const USES: &[Use] = &[
    Use { table: "_sqlx_migrations", rights: &[Right::Select] },
    Use { table: "hosts_pool", rights: READ_ADD },
    Use { table: "server_resources", rights: READ_WRITE },
    Use { table: "es_sync_task_config", rights: READ_WRITE },
    Use { table: "es_sync_execution_log", rights: ALL },
    Use { table: "es_sync_execution_detail", rights: ALL },
    Use { table: "es_sync_attempt", rights: READ_ADD_PRUNE },
    Use { table: "es_sync_search", rights: READ_ADD_PRUNE },
    Use { table: "es_sync_evidence", rights: READ_ADD_PRUNE },
    Use { table: "es_sync_newest_window", rights: ALL },
    Use { table: "es_sync_endpoint_state", rights: READ_WRITE },
    Use { table: "es_sync_pattern_state", rights: ALL },
    Use { table: "es_sync_doubt", rights: ALL },
    Use { table: "es_sync_search_limit", rights: ALL },
    Use { table: "es_sync_search_share", rights: ALL },
    Use { table: "es_sync_scheduler_shift", rights: ALL },
    Use { table: "es_sync_idempotency_key", rights: ALL },
    Use { table: "es_sync_audit", rights: ALL },
    Use { table: "es_sync_dead_letter", rights: ALL },
    Use { table: "es_sync_pause", rights: READ_WRITE },
    Use { table: "es_sync_paused_task", rights: ALL },
    Use { table: "es_sync_stats_hour", rights: ALL },
    Use { table: "es_sync_stats_duration", rights: ALL },
    Use { table: "es_sync_stats_failed_host", rights: ALL },
    Use { table: "es_sync_stats_error", rights: ALL },
    Use { table: "es_sync_host_state", rights: ALL },
    Use { table: "es_sync_host_mute", rights: ALL },
    Use { table: "es_sync_freshness", rights: ALL },
    Use { table: "es_sync_freshness_day", rights: ALL },
];

/// The columns of `hosts_pool` that are read.
pub const POOL_READ: [&str; 5] = ["id", "host_ip", "host_name", "ram", "disk_size"];

/// The columns of `hosts_pool` that a full sync writes.
pub const POOL_WRITTEN: [&str; 5] = ["host_name", "host_ip", "is_deleted", "create_time", "update_time"];

/// The columns of `server_resources` that are written beside the values; its `id` is read, and written where it stands.
pub const RESOURCE_WRITTEN: [&str; 7] =
    ["pool_id", "ip", "mon_date", "is_deleted", "delete_time", "create_time", "update_time"];

impl Use {
    /// The columns that a right is needed on.
    fn columns(self, right: Right, ours: &OurTables) -> Vec<&str> {
        match (self.table, right) {
            ("_sqlx_migrations", _) => vec!["version", "success"],
            ("hosts_pool", Right::Select) => [POOL_READ, POOL_WRITTEN].concat(),
            ("hosts_pool", _) => POOL_WRITTEN.to_vec(),
            ("server_resources", _) => [&["id"], &RESOURCE_WRITTEN[..], &VALUE_COLUMNS].concat(),
            (table, _) => {
                let columns = ours.get(table).map(Vec::as_slice).unwrap_or_default();
                columns.iter().filter(|column| !column.is_generated()).map(|column| column.name.as_str()).collect()
            }
        }
    }
}

/// What came of trying a right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RightCheck {
    /// We may; or the statement failed for want of a column or a value, which is looked at after the rights.
    Allowed,
    /// We may not.
    Denied,
    /// The server refuses it for another reason, in its own words: a view that takes no rows, a read-only server.
    Refused(String),
}

/// Whether we may, tried by a statement that meets no row. Call in a transaction that is rolled back.
///
/// # Errors
///
/// The connection's.
pub async fn may(
    connection: &mut MySqlConnection,
    used: Use,
    right: Right,
    ours: &OurTables,
) -> Result<RightCheck, sqlx::Error> {
    let (table, columns) = (used.table, used.columns(right, ours));
    let columns: Vec<String> = columns.into_iter().map(|column| format!("`{column}`")).collect();
    let listed = columns.join(", ");
    let statement = match right {
        Right::Select => format!("SELECT {listed} FROM {table} WHERE FALSE"),
        Right::Insert => {
            let nothing = vec!["NULL"; columns.len()].join(", ");
            format!("INSERT INTO {table} ({listed}) SELECT {nothing} FROM DUAL WHERE FALSE")
        }
        Right::Update => format!("UPDATE {table} SET {} = NULL WHERE FALSE", columns.join(" = NULL, ")),
        Right::Delete => format!("DELETE FROM {table} WHERE FALSE"),
    };
    let Err(error) = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await else {
        return Ok(RightCheck::Allowed);
    };
    if Denied::of(&error).is_some() {
        return Ok(RightCheck::Denied);
    }
    match (fault::error_number(&error), error.as_database_error()) {
        // no such column or table, a generated column, no default, NULL
        (Some(1054 | 1146 | 1364 | 1048 | 1906 | 3105), _) => Ok(RightCheck::Allowed),
        (Some(_), Some(told)) => Ok(RightCheck::Refused(told.message().to_owned())),
        _ => Err(error),
    }
}

/// A column as it stands.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Column {
    /// Its name in lower case.
    pub name: String,
    /// Its type without width, such as `varchar`.
    pub kind: String,
    /// Its type as the server shows it, such as `varchar(50)`.
    pub shown: String,
    /// Characters that it holds, of a text.
    pub chars: Option<u64>,
    /// Digits before and after the point, of an exact number; 0 without one.
    pub digits: Option<u64>,
    /// Those of them after the point.
    pub decimals: Option<u64>,
    /// Whether it takes NULL.
    pub takes_null: bool,
    /// Whether a row may be inserted that leaves it out: it has a default, counts up, or is generated.
    pub may_be_left_out: bool,
    /// Whether the server computes it.
    pub is_generated: bool,
}

/// Columns of a table; none: there is no such table, or we may not see it.
pub async fn columns(connection: &mut MySqlConnection, table: &str) -> Result<Vec<Column>, sqlx::Error> {
    sqlx::query_as(
        "SELECT CAST(LOWER(column_name) AS CHAR) AS name, CAST(LOWER(data_type) AS CHAR) AS kind,
                CAST(LOWER(column_type) AS CHAR) AS shown, CAST(character_maximum_length AS UNSIGNED) AS chars,
                CAST(numeric_precision AS UNSIGNED) AS digits, CAST(numeric_scale AS UNSIGNED) AS decimals,
                is_nullable = 'YES' AS takes_null,
                is_nullable = 'YES' OR column_default IS NOT NULL OR LOWER(extra) LIKE '%auto_increment%'
                    OR COALESCE(generation_expression, '') <> '' AS may_be_left_out,
                COALESCE(generation_expression, '') <> '' AS is_generated
         FROM information_schema.columns
         WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

/// Whether a table is a view, whose keys and engine cannot be looked at, and its engine else.
pub async fn engine(connection: &mut MySqlConnection, table: &str) -> Result<Option<String>, sqlx::Error> {
    let engine: Option<Option<String>> = sqlx::query_scalar(
        "SELECT CAST(engine AS CHAR) FROM information_schema.tables
         WHERE table_schema = DATABASE() AND table_name = ? AND table_type = 'BASE TABLE'",
    )
    .bind(table)
    .fetch_optional(connection)
    .await?;
    Ok(engine.flatten())
}

/// Unique keys of a table, each as its columns in lower case, sorted and joined by commas.
pub async fn unique_keys(connection: &mut MySqlConnection, table: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT CAST(GROUP_CONCAT(LOWER(column_name) ORDER BY LOWER(column_name)) AS CHAR)
         FROM information_schema.statistics
         WHERE table_schema = DATABASE() AND table_name = ? AND non_unique = 0 GROUP BY index_name",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

/// Live hosts of the pool.
pub async fn live_hosts(connection: &mut MySqlConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM hosts_pool WHERE is_deleted = 0").fetch_one(connection).await
}

/// Executions that are going.
pub async fn going(connection: &mut MySqlConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM es_sync_execution_log WHERE execution_status = 'running'")
        .fetch_one(connection)
        .await
}

/// A run that goes and in which no host has got its outcome for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckRun {
    /// The run.
    pub id: ExecutionId,
    /// Its task's name; empty without one.
    pub task_name: String,
    /// Seconds since its last host got its outcome, or since it began.
    pub silent_s: i64,
    /// What its jobs ask.
    pub es_endpoint: String,
    /// Where they go.
    pub queue: Word<JobQueue>,
    /// Whether its hosts have been copied.
    pub is_prepared: bool,
    /// Whether all of its jobs have been published.
    pub is_published: bool,
    /// Whether its pending hosts are being closed.
    pub is_closing: bool,
    /// Until when a process holds it; `None`: nobody does.
    pub leased_until: Option<DateTime<Utc>>,
    /// Hosts without an outcome.
    pub pending: i64,
    /// Those of them that only a job can bring on.
    pub in_queue: i64,
    /// When the first of the others is published again.
    pub next_clock: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct SilentRow {
    id: u64,
    task_name: String,
    silent_s: i64,
    es_endpoint: String,
    queue: Word<JobQueue>,
    is_prepared: bool,
    is_published: bool,
    is_closing: bool,
    leased_until: Option<DateTime<Utc>>,
}

/// Runs without progress for `silent_s` seconds, oldest first, at most `limit`.
pub async fn silent_runs(
    connection: &mut MySqlConnection,
    silent_s: i64,
    limit: u32,
) -> Result<Vec<StuckRun>, sqlx::Error> {
    let rows: Vec<SilentRow> = sqlx::query_as(
        "SELECT * FROM (
             SELECT CAST(id AS UNSIGNED) AS id, COALESCE(task_name, '') AS task_name,
                    TIMESTAMPDIFF(SECOND, GREATEST(execution_time, COALESCE(progress_at, execution_time)),
                                  UTC_TIMESTAMP(3)) AS silent_s,
                    COALESCE(es_endpoint, '') AS es_endpoint, queue, prepared_at IS NOT NULL AS is_prepared,
                    published_watermark >= last_detail_id AS is_published, closing_status IS NOT NULL AS is_closing,
                    IF(lease_until > UTC_TIMESTAMP(3), lease_until, NULL) AS leased_until
             FROM es_sync_execution_log WHERE execution_status = 'running'
         ) AS going WHERE silent_s >= ? ORDER BY id LIMIT ?",
    )
    .bind(silent_s)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let mut runs = Vec::with_capacity(rows.len());
    for row in rows {
        let (pending, in_queue, next_clock): (i64, i64, Option<DateTime<Utc>>) = sqlx::query_as(
            "SELECT COUNT(*), CAST(COALESCE(SUM(retry_at IS NULL), 0) AS SIGNED), MIN(retry_at)
             FROM es_sync_execution_detail WHERE execution_id = ? AND sync_status = 'pending'",
        )
        .bind(row.id)
        .fetch_one(&mut *connection)
        .await?;
        runs.push(StuckRun {
            id: ExecutionId(row.id),
            task_name: row.task_name,
            silent_s: row.silent_s,
            es_endpoint: row.es_endpoint,
            queue: row.queue,
            is_prepared: row.is_prepared,
            is_published: row.is_published,
            is_closing: row.is_closing,
            leased_until: row.leased_until,
            pending,
            in_queue,
            next_clock,
        });
    }
    Ok(runs)
}

/// Running executions of which it is told what they wait for, oldest first, at most `limit`.
pub async fn waiting(connection: &mut MySqlConnection, limit: u32) -> Result<Vec<(ExecutionId, String)>, sqlx::Error> {
    let rows: Vec<(u64, String)> = sqlx::query_as(
        "SELECT CAST(id AS UNSIGNED), waiting_for FROM es_sync_execution_log
         WHERE execution_status = 'running' AND waiting_for IS NOT NULL ORDER BY id LIMIT ?",
    )
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(id, waiting_for)| (ExecutionId(id), waiting_for)).collect())
}

/// How the fires of the tasks stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Fires {
    /// Enabled tasks.
    pub enabled: i64,
    /// Those of them whose next fire is overdue by more than a minute.
    pub overdue: i64,
    /// By how much the latest of them is, in seconds.
    pub longest_s: i64,
}

/// Asks how the fires stand.
pub async fn fires(connection: &mut MySqlConnection) -> Result<Fires, sqlx::Error> {
    sqlx::query_as(
        "SELECT COUNT(*) AS enabled,
                CAST(COALESCE(SUM(next_execution_time < UTC_TIMESTAMP(3) - INTERVAL 1 MINUTE), 0) AS SIGNED) AS overdue,
                CAST(COALESCE(MAX(TIMESTAMPDIFF(SECOND, next_execution_time, UTC_TIMESTAMP(3))), 0) AS SIGNED) AS longest_s
         FROM es_sync_task_config WHERE deleted_at IS NULL AND is_enabled = 1",
    )
    .fetch_one(connection)
    .await
}

/// How many repairs a going run has had since its last progress; `None`: it does not go, or is closing.
pub async fn repair_count(connection: &mut MySqlConnection, id: ExecutionId) -> Result<Option<u32>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT repair_count FROM es_sync_execution_log
         WHERE id = ? AND execution_status = 'running' AND closing_status IS NULL",
    )
    .bind(id.0)
    .fetch_optional(connection)
    .await
}
