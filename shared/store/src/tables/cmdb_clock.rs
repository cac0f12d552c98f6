//! What the clock of the CMDB shows: its columns hold what its own `NOW()` writes, ours are in UTC.
//!
//! A `DATETIME` keeps what it is given, so it gets the time of the server's own zone; a `TIMESTAMP` is kept in UTC and
//! read in the zone of whoever reads, so it gets the time of our session's.

use chrono::NaiveDateTime;
use sqlx::MySqlConnection;

use super::text_statement::TextStatement;

/// Now, as it is to be written into one table of the CMDB.
#[derive(Debug, Clone)]
pub(super) struct CmdbNow {
    in_zone: NaiveDateTime,
    utc: NaiveDateTime,
    /// Names of the columns of the type `TIMESTAMP`, with commas between them.
    timestamps: Option<String>,
}

impl CmdbNow {
    /// Asks the server for its time and zone, and for the types of the table's columns.
    pub(super) async fn of(connection: &mut MySqlConnection, table: &'static str) -> Result<Self, sqlx::Error> {
        // A named zone that its tables no longer know gives NULL.
        let mut statement = TextStatement::new(
            "SELECT COALESCE(CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@GLOBAL.time_zone), UTC_TIMESTAMP()),
                    UTC_TIMESTAMP(),
                    (SELECT CONVERT(GROUP_CONCAT(column_name) USING utf8mb4) FROM information_schema.columns
                     WHERE table_schema = DATABASE() AND data_type = 'timestamp' AND table_name = ",
        );
        statement.value(table).sql(")");
        let row = statement.fetch_all::<(NaiveDateTime, NaiveDateTime, Option<String>)>(connection).await?;
        let (in_zone, utc, timestamps) = row.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
        Ok(Self { in_zone, utc, timestamps })
    }

    /// For one column.
    pub(super) fn for_column(&self, column: &str) -> NaiveDateTime {
        let is_timestamp = |timestamps: &String| timestamps.split(',').any(|name| name.eq_ignore_ascii_case(column));
        if self.timestamps.as_ref().is_some_and(is_timestamp) { self.utc } else { self.in_zone }
    }
}
