//! Who got which outcome.

use std::borrow::Borrow;

use sqlx::MySqlConnection;

use crate::tables::ROWS_PER_STATEMENT;
use crate::tables::searches::SearchId;
use crate::tables::text_statement::{TextStatement, TwoDecimals};
use hostsync_model::execution::{DetailId, ExecutionId, SyncStatus};

/// What a worker finds in a row it has locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDetail {
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
pub async fn lock_open(connection: &mut MySqlConnection, ids: &[DetailId]) -> Result<Vec<OpenDetail>, sqlx::Error> {
    let mut open = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "SELECT id, execution_id, host_ip, attempts FROM es_sync_execution_detail
             WHERE sync_status = 'pending' AND id IN ",
        );
        statement.list(chunk.iter().map(|id| id.0)).sql(" ORDER BY id FOR UPDATE");
        let rows: Vec<(u64, u64, String, u32)> = statement.fetch_all(connection).await?;
        open.extend(rows.into_iter().map(|(id, execution_id, host_ip, attempts)| OpenDetail {
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
pub struct Measurements {
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
pub struct DetailOutcome {
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
    pub measured: Measurements,
    /// Whether the row of `server_resources` was inserted (else overwritten); NULL where none was written.
    pub inserted: Option<bool>,
    /// Documents in the window; NULL if the search was not made.
    pub data_point_count: Option<u64>,
    /// Attempts spent, this one included.
    pub attempts: u32,
    /// The search of this outcome; `None`: none was made.
    pub search: Option<SearchId>,
}

/// What only a pending row has, as it is emptied.
const NO_LONGER_PENDING: &str = "retry_at = NULL, begun = 0, begun_by = NULL, solo_since = NULL, room = NULL";

/// Writes outcomes into locked rows: one statement for up to [`ROWS_PER_STATEMENT`] of them. `worker` is who found them; it is
/// written only where there was no search, whose row names it.
pub async fn finish(
    connection: &mut MySqlConnection,
    worker: &str,
    rows: &[impl Borrow<DetailOutcome>],
) -> Result<(), sqlx::Error> {
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "INSERT INTO es_sync_execution_detail
                 (id, execution_id, host_ip, host_name, sync_status, error_message, max_cpu, avg_cpu, max_memory,
                  avg_memory, max_disk, avg_disk, inserted, data_point_count, attempts, search_id, worker) ",
        );
        statement.rows(chunk.iter().map(Borrow::borrow), |row, detail: &DetailOutcome| {
            row.value(detail.id.0)
                .value(detail.execution_id.0)
                .value(&detail.host_ip)
                .value(&detail.host_name)
                .value(detail.status.as_str())
                .value(&detail.error_message)
                .value(detail.measured.max_cpu.map(TwoDecimals))
                .value(detail.measured.avg_cpu.map(TwoDecimals))
                .value(detail.measured.max_memory.map(TwoDecimals))
                .value(detail.measured.avg_memory.map(TwoDecimals))
                .value(detail.measured.max_disk.map(TwoDecimals))
                .value(detail.measured.avg_disk.map(TwoDecimals))
                .value(detail.inserted)
                .value(detail.data_point_count.map(|count| i32::try_from(count).unwrap_or(i32::MAX)))
                .value(detail.attempts)
                .value(detail.search.map(|search| search.0))
                .value(detail.search.is_none().then_some(worker));
        });
        statement.sql(
            " ON DUPLICATE KEY UPDATE host_name = COALESCE(VALUES(host_name), host_name),
                 sync_status = VALUES(sync_status), error_message = VALUES(error_message),
                 max_cpu = VALUES(max_cpu), avg_cpu = VALUES(avg_cpu), max_memory = VALUES(max_memory),
                 avg_memory = VALUES(avg_memory), max_disk = VALUES(max_disk), avg_disk = VALUES(avg_disk),
                 inserted = VALUES(inserted), data_point_count = VALUES(data_point_count), attempts = VALUES(attempts),
                 search_id = VALUES(search_id), worker = VALUES(worker), finished_at = UTC_TIMESTAMP(3), ",
        );
        statement.sql(NO_LONGER_PENDING);
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Locks up to `limit` pending rows of a closing run with ids above `after`, in order of id, each with its address, leaving out what a worker holds. Not by the key on the status, which
/// workers change: they lock rows first and entries of that key later.
pub async fn lock_pending(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    after: DetailId,
    limit: u32,
) -> Result<Vec<(DetailId, String)>, sqlx::Error> {
    let rows: Vec<(u64, String)> = sqlx::query_as(
        "SELECT CAST(id AS UNSIGNED), host_ip FROM es_sync_execution_detail IGNORE INDEX (idx_execution_status)
         WHERE execution_id = ? AND id > ? AND sync_status = 'pending' ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED",
    )
    .bind(execution.0)
    .bind(after.0)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(id, host_ip)| (DetailId(id), host_ip)).collect())
}

/// Whether a host of the run has no outcome yet.
pub async fn has_pending(connection: &mut MySqlConnection, execution: ExecutionId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM es_sync_execution_detail WHERE execution_id = ? AND sync_status = 'pending')",
    )
    .bind(execution.0)
    .fetch_one(connection)
    .await
}

/// Gives locked pending rows the outcome of their closing run.
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
            .sql(", finished_at = UTC_TIMESTAMP(3), ")
            .sql(NO_LONGER_PENDING)
            .sql(" WHERE id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Deletes up to `limit` rows of an ended run; returns how many went.
pub async fn prune(connection: &mut MySqlConnection, execution: ExecutionId, limit: u32) -> Result<u64, sqlx::Error> {
    let result =
        sqlx::query!("DELETE FROM es_sync_execution_detail WHERE execution_id = ? LIMIT ?", execution.0, limit)
            .execute(connection)
            .await?;
    Ok(result.rows_affected())
}
