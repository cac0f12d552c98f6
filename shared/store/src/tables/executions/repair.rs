//! Runs that make no progress, and what the database refuses of them.

use chrono::TimeDelta;
use sqlx::MySqlConnection;

use super::lease::LeaseToken;
use crate::word::Word;
use hostsync_model::execution::{ExecutionId, JobQueue};

/// A fully published run that has made no progress for a while.
#[derive(Debug, Clone)]
pub struct StalledRun {
    /// The run.
    pub id: ExecutionId,
    /// Where its jobs went.
    pub queue: Word<JobQueue>,
    /// Seconds since its last sign of life.
    pub silent_s: i64,
    /// Repairs since its last progress.
    pub repair_count: u32,
}

/// Runs after `after` that were published to the end, have a pending row that only its job can bring on, and have shown no
/// sign of life for `silent`, doubled with each repair up to `longest`. In order of id, at most `limit`.
pub async fn stalled(
    connection: &mut MySqlConnection,
    silent: TimeDelta,
    longest: TimeDelta,
    after: ExecutionId,
    limit: u32,
) -> Result<Vec<StalledRun>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id, queue, repair_count,
                  TIMESTAMPDIFF(SECOND,
                      GREATEST(execution_time, COALESCE(progress_at, execution_time),
                               COALESCE(published_at, execution_time), COALESCE(repaired_at, execution_time)),
                      UTC_TIMESTAMP(3)) AS "silent_s!: i64"
           FROM es_sync_execution_log AS log
           WHERE execution_status = 'running' AND closing_status IS NULL AND prepared_at IS NOT NULL AND id > ?
             AND published_watermark >= last_detail_id
             AND GREATEST(execution_time, COALESCE(progress_at, execution_time),
                          COALESCE(published_at, execution_time), COALESCE(repaired_at, execution_time))
                 < UTC_TIMESTAMP(3) - INTERVAL LEAST(?, ? * POW(2, LEAST(repair_count, 12))) SECOND
             AND EXISTS (SELECT 1 FROM es_sync_execution_detail AS detail
                         WHERE detail.execution_id = log.id AND detail.retry_at IS NULL
                           AND detail.sync_status = 'pending')
           ORDER BY id LIMIT ?"#,
        after.0,
        longest.num_seconds(),
        silent.num_seconds(),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| StalledRun {
            id: ExecutionId(row.id),
            queue: row.queue.into(),
            silent_s: row.silent_s,
            repair_count: row.repair_count,
        })
        .collect())
}

/// Sets the watermark of a stalled run back to 0, so that what is pending is published again; no attempt is spent.
/// Guarded by the lease that the caller holds and by the repairs it has seen: of two schedulers one repairs.
pub async fn publish_anew(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    repair_count: u32,
    token: LeaseToken,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_execution_log
         SET published_watermark = 0, repaired_at = UTC_TIMESTAMP(3), repair_count = repair_count + 1
         WHERE id = ? AND lease_token = ? AND repair_count = ? AND execution_status = 'running'
           AND closing_status IS NULL",
        id.0,
        token.0,
        repair_count,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Notes that the database refused what became of hosts of a run. Returns in how many rounds it has done so since the last
/// progress of the run; a round begins when the run is repaired, and repairs of mere silence count none.
pub async fn note_refusal(connection: &mut MySqlConnection, id: ExecutionId) -> Result<u32, sqlx::Error> {
    sqlx::query(
        "UPDATE es_sync_execution_log
         SET refusal_rounds = CASE WHEN refused_at IS NULL OR progress_at > refused_at THEN 1
                                   WHEN repaired_at > refused_at THEN refusal_rounds + 1
                                   ELSE refusal_rounds END,
             refused_at = UTC_TIMESTAMP(3)
         WHERE id = ? AND execution_status = 'running' AND closing_status IS NULL",
    )
    .bind(id.0)
    .execute(&mut *connection)
    .await?;
    let rounds = sqlx::query_scalar("SELECT refusal_rounds FROM es_sync_execution_log WHERE id = ?");
    Ok(rounds.bind(id.0).fetch_optional(connection).await?.unwrap_or_default())
}
