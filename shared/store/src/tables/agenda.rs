//! What there is to do for the schedulers, over all tables, in one statement.
//!
//! A scheduler at rest asks this and nothing else: each sweep has its own statements for what is to be done, and is called
//! only when there is something.

use std::time::Duration;

use sqlx::MySqlConnection;

/// What there is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one answer for each sweep")]
pub struct Agenda {
    /// Time until the next fire, zero when one is due; `None`: no task is enabled.
    pub next_fire: Option<Duration>,
    /// Runs of the bulk queue are to be prepared or published.
    pub publish_bulk: bool,
    /// Runs of the manual queue are to be prepared or published.
    pub publish_manual: bool,
    /// Jobs' clocks have run out.
    pub retry: bool,
    /// Runs are closing.
    pub close: bool,
    /// Runs wait and no run of their task is going.
    pub start: bool,
    /// Ended runs are not in the statistics.
    pub roll_up: bool,
}

#[derive(sqlx::FromRow)]
#[allow(clippy::struct_excessive_bools, reason = "one answer for each sweep")]
struct AgendaRow {
    next_fire_ms: Option<i64>,
    publish_bulk: bool,
    publish_manual: bool,
    retry: bool,
    close: bool,
    start: bool,
    roll_up: bool,
}

/// A run that somebody must go on preparing or publishing.
macro_rules! unpublished {
    ($queue:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM es_sync_execution_log
                     WHERE execution_status = 'running' AND closing_status IS NULL AND queue = '",
            $queue,
            "' AND (lease_until IS NULL OR lease_until < UTC_TIMESTAMP(3))
                     AND (prepared_at IS NULL OR published_watermark < last_detail_id))"
        )
    };
}

const AGENDA: &str = concat!(
    "SELECT (SELECT TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(3), COALESCE(next_execution_time, UTC_TIMESTAMP(3))) DIV 1000
             FROM es_sync_task_config FORCE INDEX (idx_task_due)
             WHERE is_enabled = 1 AND deleted_at IS NULL ORDER BY next_execution_time LIMIT 1) AS next_fire_ms, ",
    unpublished!("bulk"),
    " AS publish_bulk, ",
    unpublished!("manual"),
    " AS publish_manual,
     EXISTS (SELECT 1 FROM es_sync_execution_log AS log
             JOIN es_sync_execution_detail AS detail ON detail.execution_id = log.id
             WHERE log.execution_status = 'running' AND log.closing_status IS NULL AND log.prepared_at IS NOT NULL
               AND detail.retry_at <= UTC_TIMESTAMP(3) AND detail.sync_status = 'pending') AS retry,
     EXISTS (SELECT 1 FROM es_sync_execution_log
             WHERE execution_status = 'running' AND closing_status IS NOT NULL) AS close,
     EXISTS (SELECT 1 FROM es_sync_execution_log AS log
             WHERE log.execution_status = 'waiting'
               AND NOT EXISTS (SELECT 1 FROM es_sync_execution_log AS other
                               WHERE other.task_id = log.task_id AND other.execution_status = 'running'
                                 AND other.`trigger` <> 'retry')) AS start,
     EXISTS (SELECT 1 FROM es_sync_execution_log
             WHERE rolled_up_at IS NULL AND execution_status NOT IN ('running', 'waiting')) AS roll_up"
);

/// Asks what there is to do.
///
/// # Errors
///
/// The database's.
pub async fn agenda(connection: &mut MySqlConnection) -> Result<Agenda, sqlx::Error> {
    let row: AgendaRow = sqlx::query_as(AGENDA).fetch_one(connection).await?;
    Ok(Agenda {
        next_fire: row.next_fire_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        publish_bulk: row.publish_bulk,
        publish_manual: row.publish_manual,
        retry: row.retry,
        close: row.close,
        start: row.start,
        roll_up: row.roll_up,
    })
}
