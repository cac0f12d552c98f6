//! What is to be prepared or published, and what of it must wait.

use std::time::Duration;

use sqlx::{MySqlConnection, QueryBuilder};

use crate::tables::doubts::STALE;
use crate::word::Word;
use hostsync_model::execution::{ExecutionId, JobQueue};

/// Runs of one queue that somebody must go on preparing or publishing: nobody holds them and something is left to do that may
/// be done. At most `limit`, those first that have waited longest for their turn, so that a run of which nothing comes is
/// behind the others the next time.
pub async fn unpublished(
    connection: &mut MySqlConnection,
    queue: JobQueue,
    limit: u32,
) -> Result<Vec<ExecutionId>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT id FROM es_sync_execution_log WHERE ");
    push_unpublished(&mut query, queue);
    // The release before this one sets no turn.
    query.push(" ORDER BY COALESCE(turn_at, published_at, execution_time), id LIMIT ").push_bind(limit);
    let ids: Vec<u64> = query.build_query_scalar().fetch_all(connection).await?;
    Ok(ids.into_iter().map(ExecutionId).collect())
}

/// Which rows of `es_sync_execution_log` are [`unpublished`].
pub(in crate::tables) fn push_unpublished(query: &mut QueryBuilder<sqlx::MySql>, queue: JobQueue) {
    query.push("execution_status = 'running' AND closing_status IS NULL AND queue = ").push_bind(queue.as_str()).push(
        " AND (lease_until IS NULL OR lease_until < UTC_TIMESTAMP(3))
              AND (prepared_at IS NULL OR (published_watermark < last_detail_id",
    );
    push_unless_held_back(query);
    query.push("))");
}

/// Runs whose endpoint is closed or whose pattern is set aside, or that name what no worker knows, wait: none of their jobs
/// is published.
fn push_unless_held_back(query: &mut QueryBuilder<sqlx::MySql>) {
    query
        .push(
            " AND NOT EXISTS (SELECT 1 FROM es_sync_endpoint_state AS state
                    WHERE state.closed_since IS NOT NULL
                      AND state.endpoint = CONVERT(es_sync_execution_log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin)
              AND NOT EXISTS (SELECT 1 FROM es_sync_pattern_state AS state
                    WHERE state.set_aside_since IS NOT NULL
                      AND state.endpoint = CONVERT(es_sync_execution_log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin
                      AND state.index_pattern
                          = CONVERT(es_sync_execution_log.es_index_pattern USING utf8mb4) COLLATE utf8mb4_bin)
              AND NOT EXISTS (SELECT 1 FROM es_sync_doubt AS doubt
                    WHERE doubt.seen_at > UTC_TIMESTAMP(3) - INTERVAL ",
        )
        .push_bind(STALE.num_seconds())
        .push(
            " SECOND
                      AND ((doubt.kind = 'endpoint'
                           AND doubt.name = CONVERT(es_sync_execution_log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin)
                       OR (doubt.kind = 'mapping'
                           AND doubt.name = CONVERT(es_sync_execution_log.mapping USING utf8mb4) COLLATE utf8mb4_bin)))",
        );
}

/// Whether nothing of a run may be published for now: its endpoint is closed, its pattern set aside, or no worker knows
/// what it names.
pub async fn is_held_back(connection: &mut MySqlConnection, id: ExecutionId) -> Result<bool, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT COUNT(*) = 0 FROM es_sync_execution_log WHERE id = ");
    query.push_bind(id.0);
    push_unless_held_back(&mut query);
    query.build_query_scalar().fetch_one(connection).await
}

/// A prepared run with jobs whose clock has run out.
#[derive(Debug, Clone)]
pub struct DueRun {
    /// The run.
    pub id: ExecutionId,
    /// Where its jobs go.
    pub queue: Word<JobQueue>,
    /// W3C `traceparent` of what made it.
    pub trace_context: Option<String>,
}

/// Prepared running executions with jobs whose clock has run out and may be published, after `after` in order of id; at most
/// `limit`. One step in the key of the clocks a run.
pub async fn with_due_clocks(
    connection: &mut MySqlConnection,
    after: ExecutionId,
    limit: u32,
) -> Result<Vec<DueRun>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT id, queue, trace_context FROM es_sync_execution_log WHERE ");
    push_with_due_clocks(&mut query);
    query.push(" AND id > ").push_bind(after.0).push(" ORDER BY id LIMIT ").push_bind(limit);
    let rows: Vec<(u64, Word<JobQueue>, Option<String>)> = query.build_query_as().fetch_all(connection).await?;
    Ok(rows
        .into_iter()
        .map(|(id, queue, trace_context)| DueRun { id: ExecutionId(id), queue, trace_context })
        .collect())
}

/// Which rows of `es_sync_execution_log` are those of [`with_due_clocks`].
pub(in crate::tables) fn push_with_due_clocks(query: &mut QueryBuilder<sqlx::MySql>) {
    query.push("execution_status = 'running' AND closing_status IS NULL AND prepared_at IS NOT NULL");
    push_unless_held_back(query);
    // Left to itself the server may walk all rows of a run by another key.
    query.push(
        " AND EXISTS (SELECT 1 FROM es_sync_execution_detail AS detail FORCE INDEX (idx_execution_retry)
                      WHERE detail.execution_id = es_sync_execution_log.id
                        AND detail.retry_at <= UTC_TIMESTAMP(3) AND detail.sync_status = 'pending')",
    );
}

/// Jobs of prepared runs above their watermark, by queue: those that were not published yet, not those that wait for
/// their clock. From the rows of the runs alone; where the rows of several runs were inserted at the same time it is a
/// bit too many, never more than are pending.
pub async fn unpublished_jobs(connection: &mut MySqlConnection) -> Result<Vec<(Word<JobQueue>, u64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT queue, CAST(SUM(LEAST(pending_count, last_detail_id - published_watermark)) AS UNSIGNED)
         FROM es_sync_execution_log
         WHERE execution_status = 'running' AND closing_status IS NULL AND prepared_at IS NOT NULL
           AND published_watermark < last_detail_id
         GROUP BY queue",
    )
    .fetch_all(connection)
    .await
}

/// By queue, the longest time for which a run whose jobs have been published has had no outcome: since it was prepared, or
/// since its last outcome, or since its endpoint was opened, whichever was last. Runs of closed endpoints do not count.
/// From the rows of the runs alone.
pub async fn longest_waits(connection: &mut MySqlConnection) -> Result<Vec<(Word<JobQueue>, Duration)>, sqlx::Error> {
    let rows: Vec<(Word<JobQueue>, i64)> = sqlx::query_as(
        "SELECT log.queue,
                MAX(TIMESTAMPDIFF(MICROSECOND,
                    GREATEST(log.prepared_at, COALESCE(log.progress_at, log.prepared_at),
                             COALESCE(endpoint.opened_at, log.prepared_at),
                             COALESCE(pattern.opened_at, log.prepared_at)),
                    UTC_TIMESTAMP(3)))
         FROM es_sync_execution_log AS log
         LEFT JOIN es_sync_endpoint_state AS endpoint
             ON endpoint.endpoint = CONVERT(log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin
         LEFT JOIN es_sync_pattern_state AS pattern
             ON pattern.endpoint = CONVERT(log.es_endpoint USING utf8mb4) COLLATE utf8mb4_bin
                AND pattern.index_pattern = CONVERT(log.es_index_pattern USING utf8mb4) COLLATE utf8mb4_bin
         WHERE log.execution_status = 'running' AND log.closing_status IS NULL AND log.prepared_at IS NOT NULL
           AND log.published_at IS NOT NULL AND log.pending_count > 0 AND endpoint.closed_since IS NULL
           AND pattern.set_aside_since IS NULL
         GROUP BY log.queue",
    )
    .fetch_all(connection)
    .await?;
    let duration = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
    Ok(rows.into_iter().map(|(queue, us)| (queue, duration(us))).collect())
}
