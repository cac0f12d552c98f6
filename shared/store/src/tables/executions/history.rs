//! Ended runs that are old enough to be deleted.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{MySqlConnection, QueryBuilder};

use hostsync_model::execution::ExecutionId;

/// Where a walk over executions by age stands.
pub type RunAge = (DateTime<Utc>, ExecutionId);

/// Ended executions older than `retention`, oldest first, after `after`, at most `limit`; not those whose details a retry still
/// reads, which has not been prepared yet.
pub async fn prunable(
    connection: &mut MySqlConnection,
    retention: TimeDelta,
    after: Option<RunAge>,
    limit: u32,
) -> Result<Vec<RunAge>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT execution_time, CAST(id AS UNSIGNED) FROM es_sync_execution_log
         WHERE execution_status NOT IN ('running', 'waiting') AND execution_time < UTC_TIMESTAMP(3) - INTERVAL ",
    );
    query.push_bind(retention.num_seconds()).push(
        " SECOND
          AND id NOT IN (SELECT retry_of FROM es_sync_execution_log
                         WHERE execution_status IN ('running', 'waiting') AND prepared_at IS NULL
                           AND retry_of IS NOT NULL)",
    );
    if let Some((time, id)) = after {
        // The first comparison is what the key is entered by.
        query.push(" AND execution_time >= ").push_bind(time);
        query.push(" AND (execution_time > ").push_bind(time).push(" OR id > ").push_bind(id.0).push(")");
    }
    query.push(" ORDER BY execution_time, id LIMIT ").push_bind(limit);
    let rows: Vec<(DateTime<Utc>, u64)> = query.build_query_as().fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(time, id)| (time, ExecutionId(id))).collect())
}

/// Deletes an ended execution whose detail rows are gone.
pub async fn delete(connection: &mut MySqlConnection, id: ExecutionId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM es_sync_execution_log WHERE id = ? AND execution_status NOT IN ('running', 'waiting')",
        id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
