//! The tables that only explain the hosts of a run: failed attempts, searches, evidence. They go together.

use sqlx::{AssertSqlSafe, MySqlConnection};

use hostsync_model::execution::ExecutionId;

/// The tables, and how many rows of each are deleted at once: a row of evidence is of hundreds of hosts.
pub const TABLES: [(&str, u32); 3] = [("es_sync_attempt", 1_000), ("es_sync_search", 1_000), ("es_sync_evidence", 50)];

/// Deletes up to `limit` rows of an ended run from one of [`TABLES`]; returns how many went.
pub async fn prune(
    connection: &mut MySqlConnection,
    (table, limit): (&'static str, u32),
    execution: ExecutionId,
) -> Result<u64, sqlx::Error> {
    let sql = format!("DELETE FROM {table} WHERE execution_id = ? LIMIT ?");
    let result = sqlx::query(AssertSqlSafe(sql)).bind(execution.0).bind(limit).execute(connection).await?;
    Ok(result.rows_affected())
}

/// The same of runs that are gone: a scheduler of a release that did not know the table has pruned them.
pub async fn prune_orphans(
    connection: &mut MySqlConnection,
    (table, limit): (&'static str, u32),
) -> Result<u64, sqlx::Error> {
    let sql = format!(
        "DELETE FROM {table} WHERE execution_id < (SELECT COALESCE(MIN(id), 0) FROM es_sync_execution_log) LIMIT ?"
    );
    let result = sqlx::query(AssertSqlSafe(sql)).bind(limit).execute(connection).await?;
    Ok(result.rows_affected())
}
