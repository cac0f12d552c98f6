//! `es_sync_scheduler_shift`: when schedulers were at work.
//!
//! A shift is the time for which one scheduler process was there without a break. It decides whether a late fire was missed
//! or only waited for its turn.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::MySqlConnection;

/// Longest silence within a shift: a few signs of life may fail. After a longer one a new shift begins.
pub const LONGEST_SILENCE: TimeDelta = TimeDelta::seconds(15);

/// Most shifts that are read, the newest; of a fire that is older than all of them nobody was there.
const MOST_SHIFTS: u32 = 10_000;

/// A shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShiftId(pub u64);

/// A shift of this process, which knows that it goes on whether or not the database has heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnShift {
    /// Which.
    pub id: ShiftId,
    /// Time since the last sign of life that the database took. Where it has seen none for much longer, this process
    /// stood still, and its own clock with it.
    pub unheard: Duration,
}

impl OwnShift {
    /// Longest silence, in seconds, in the eyes of the database.
    fn longest_silence_s(self) -> i64 {
        LONGEST_SILENCE.num_seconds().saturating_add_unsigned(self.unheard.as_secs())
    }
}

/// Begins a shift.
pub async fn begin(connection: &mut MySqlConnection) -> Result<ShiftId, sqlx::Error> {
    let result = sqlx::query!(
        "INSERT INTO es_sync_scheduler_shift (began_at, seen_at) VALUES (UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))"
    )
    .execute(connection)
    .await?;
    Ok(ShiftId(result.last_insert_id()))
}

/// Gives a sign of life. `false`: the last one is longer ago than this process knows, the shift is over.
pub async fn go_on(connection: &mut MySqlConnection, shift: OwnShift) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_scheduler_shift SET seen_at = UTC_TIMESTAMP(3)
         WHERE id = ? AND seen_at >= UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
        shift.id.0,
        shift.longest_silence_s(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends a shift in order.
pub async fn end(connection: &mut MySqlConnection, shift: OwnShift) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_scheduler_shift SET seen_at = UTC_TIMESTAMP(3), is_over = 1
         WHERE id = ? AND seen_at >= UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
        shift.id.0,
        shift.longest_silence_s(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The shifts that reach to `from` or beyond, oldest first, each from its begin to its last sign of life. One that has
/// given a sign of life just now reaches to the present, and so does the caller's `own`, of which the database may not have
/// heard for a while.
pub async fn since(
    connection: &mut MySqlConnection,
    from: DateTime<Utc>,
    own: Option<OwnShift>,
) -> Result<Vec<(DateTime<Utc>, DateTime<Utc>)>, sqlx::Error> {
    let mut shifts: Vec<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "SELECT began_at,
                IF(is_over = 0 AND seen_at >= UTC_TIMESTAMP(3) - INTERVAL IF(id = ?, ?, ?) SECOND,
                   UTC_TIMESTAMP(3), seen_at)
         FROM es_sync_scheduler_shift WHERE seen_at >= ? - INTERVAL ? SECOND OR id = ? ORDER BY seen_at DESC LIMIT ?",
    )
    .bind(own.map(|own| own.id.0))
    .bind(own.map(OwnShift::longest_silence_s))
    .bind(LONGEST_SILENCE.num_seconds())
    .bind(from)
    .bind(LONGEST_SILENCE.num_seconds())
    .bind(own.map(|own| own.id.0))
    .bind(MOST_SHIFTS)
    .fetch_all(connection)
    .await?;
    shifts.sort_unstable();
    Ok(shifts)
}

/// Deletes shifts that ended before `before`, at most `limit`; returns how many went.
pub async fn prune(connection: &mut MySqlConnection, before: DateTime<Utc>, limit: u32) -> Result<u64, sqlx::Error> {
    let result = sqlx::query!("DELETE FROM es_sync_scheduler_shift WHERE seen_at < ? LIMIT ?", before, limit)
        .execute(connection)
        .await?;
    Ok(result.rows_affected())
}
