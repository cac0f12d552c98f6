//! `es_sync_scheduler_shift`: when schedulers were at work.
//!
//! A shift is the time for which one scheduler process was there without a break. It decides whether a late fire was missed
//! or only waited for its turn.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::MySqlConnection;

/// Longest silence within a shift: a few signs of life may fail. After a longer one a new shift begins.
pub const LONGEST_SILENCE: TimeDelta = TimeDelta::seconds(15);

/// Most shifts that are read, the newest; of a fire that is older than all of them nobody was there.
const MOST_SHIFTS: u32 = 10_000;

/// A shift of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShiftId(u64);

/// Begins a shift.
///
/// # Errors
///
/// The database's.
pub async fn begin(connection: &mut MySqlConnection) -> Result<ShiftId, sqlx::Error> {
    let result = sqlx::query!(
        "INSERT INTO es_sync_scheduler_shift (began_at, seen_at) VALUES (UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))"
    )
    .execute(connection)
    .await?;
    Ok(ShiftId(result.last_insert_id()))
}

/// Gives a sign of life. `false`: the last one is too long ago, the shift is over.
///
/// # Errors
///
/// The database's.
pub async fn go_on(connection: &mut MySqlConnection, id: ShiftId) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_scheduler_shift SET seen_at = UTC_TIMESTAMP(3)
         WHERE id = ? AND seen_at >= UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
        id.0,
        LONGEST_SILENCE.num_seconds(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends a shift in order.
///
/// # Errors
///
/// The database's.
pub async fn end(connection: &mut MySqlConnection, id: ShiftId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_scheduler_shift SET seen_at = UTC_TIMESTAMP(3), is_over = 1
         WHERE id = ? AND seen_at >= UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
        id.0,
        LONGEST_SILENCE.num_seconds(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The shifts that reach to `from` or beyond, oldest first, each from its begin to its last sign of life. One that has
/// given a sign of life just now reaches to the present.
///
/// # Errors
///
/// The database's.
pub async fn since(
    connection: &mut MySqlConnection,
    from: DateTime<Utc>,
) -> Result<Vec<(DateTime<Utc>, DateTime<Utc>)>, sqlx::Error> {
    let mut shifts: Vec<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "SELECT began_at,
                IF(is_over = 0 AND seen_at >= UTC_TIMESTAMP(3) - INTERVAL ? SECOND, UTC_TIMESTAMP(3), seen_at)
         FROM es_sync_scheduler_shift WHERE seen_at >= ? - INTERVAL ? SECOND ORDER BY seen_at DESC LIMIT ?",
    )
    .bind(LONGEST_SILENCE.num_seconds())
    .bind(from)
    .bind(LONGEST_SILENCE.num_seconds())
    .bind(MOST_SHIFTS)
    .fetch_all(connection)
    .await?;
    shifts.sort_unstable();
    Ok(shifts)
}

/// Deletes shifts that ended before `before`, at most `limit`; returns how many went.
///
/// # Errors
///
/// The database's.
pub async fn prune(connection: &mut MySqlConnection, before: DateTime<Utc>, limit: u32) -> Result<u64, sqlx::Error> {
    let result = sqlx::query!("DELETE FROM es_sync_scheduler_shift WHERE seen_at < ? LIMIT ?", before, limit)
        .execute(connection)
        .await?;
    Ok(result.rows_affected())
}
