//! `es_sync_newest_window`: the latest window end written for each row of `server_resources` (newer wins).

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::MySqlConnection;

use super::ROWS_PER_STATEMENT;
use super::text_statement::TextStatement;

/// Raises the newest window of each (`ip`, `mon_date`) to `window_to` and returns the addresses where a later one stands
/// already: those must not be written. The rows stay locked until the caller commits. `ips` is sorted and holds each
/// address once.
pub async fn raise(
    connection: &mut MySqlConnection,
    ips: &[&str],
    mon_date: NaiveDate,
    window_to: DateTime<Utc>,
) -> Result<HashSet<String>, sqlx::Error> {
    let mut later = HashSet::new();
    for chunk in ips.chunks(ROWS_PER_STATEMENT) {
        let mut raising = TextStatement::new("INSERT INTO es_sync_newest_window (ip, mon_date, window_to) ");
        raising.rows(chunk, |row, ip| {
            row.value(ip).value(mon_date).value(window_to);
        });
        raising.sql(" ON DUPLICATE KEY UPDATE window_to = ").sql(RAISED_OR_LATER);
        if raising.execute(connection).await?.last_insert_id() == 0 {
            continue;
        }
        // Left to itself the server reads all rows of the day by the key that pruning uses.
        let mut refused =
            TextStatement::new("SELECT ip FROM es_sync_newest_window FORCE INDEX (PRIMARY) WHERE mon_date = ");
        refused.value(mon_date).sql(" AND window_to > ").value(window_to).sql(" AND ip IN ").list(chunk);
        later.extend(refused.fetch_column::<String>(connection).await?);
    }
    Ok(later)
}

/// Leaves a later window as it is, and says that there was one: `LAST_INSERT_ID(1)` becomes the id that the server returns
/// for the statement, which is 0 where it was not evaluated (the table has no generated ids). So the second look is made only
/// where it finds something.
const RAISED_OR_LATER: &str =
    "IF(window_to > VALUES(window_to), IF(LAST_INSERT_ID(1) = 1, window_to, NULL), VALUES(window_to))";

/// Deletes up to `limit` entries of days before `day`; returns how many went. A window that old is never written again.
pub async fn prune(connection: &mut MySqlConnection, day: NaiveDate, limit: u32) -> Result<u64, sqlx::Error> {
    let result = sqlx::query!("DELETE FROM es_sync_newest_window WHERE mon_date < ? LIMIT ?", day, limit)
        .execute(connection)
        .await?;
    Ok(result.rows_affected())
}
