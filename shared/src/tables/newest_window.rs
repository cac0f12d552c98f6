//! `es_sync_newest_window`: the latest window end written for each row of `server_resources` (newer wins).

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{MySqlConnection, QueryBuilder};

use super::ROWS_PER_STATEMENT;

/// Raises the newest window of each (`ip`, `mon_date`) to `window_to` and returns the addresses where a later one stands
/// already: those must not be written. The rows stay locked until the caller commits. `ips` is sorted and holds each
/// address once.
///
/// # Errors
///
/// The database's.
pub async fn raise(
    connection: &mut MySqlConnection,
    ips: &[&str],
    mon_date: NaiveDate,
    window_to: DateTime<Utc>,
) -> Result<HashSet<String>, sqlx::Error> {
    let mut later = HashSet::new();
    for chunk in ips.chunks(ROWS_PER_STATEMENT) {
        let mut query = QueryBuilder::new("INSERT INTO es_sync_newest_window (ip, mon_date, window_to) ");
        query.push_values(chunk, |mut row, ip| {
            row.push_bind(*ip).push_bind(mon_date).push_bind(window_to);
        });
        query.push(" ON DUPLICATE KEY UPDATE window_to = GREATEST(window_to, VALUES(window_to))");
        query.build().persistent(false).execute(&mut *connection).await?;

        // Left to itself the server reads all rows of the day by the key that pruning uses.
        let mut query =
            QueryBuilder::new("SELECT ip FROM es_sync_newest_window FORCE INDEX (PRIMARY) WHERE mon_date = ");
        query.push_bind(mon_date).push(" AND window_to > ").push_bind(window_to).push(" AND ip IN (");
        let mut list = query.separated(", ");
        for ip in chunk {
            list.push_bind(*ip);
        }
        query.push(")");
        later.extend(query.build_query_scalar::<String>().persistent(false).fetch_all(&mut *connection).await?);
    }
    Ok(later)
}

/// Deletes up to `limit` entries of days before `day`; returns how many went. A window that old is never written again.
///
/// # Errors
///
/// The database's.
pub async fn prune(connection: &mut MySqlConnection, day: NaiveDate, limit: u32) -> Result<u64, sqlx::Error> {
    let result = sqlx::query!("DELETE FROM es_sync_newest_window WHERE mon_date < ? LIMIT ?", day, limit)
        .execute(connection)
        .await?;
    Ok(result.rows_affected())
}
