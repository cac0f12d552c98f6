//! Statements with lists of values, sent as text.
//!
//! A list is as long as a batch happens to be, so such a statement is hardly ever sent twice in the same words, and
//! preparing it gains nothing. It costs: the server is told to close a prepared statement by a packet that it does not
//! answer (MySQL client/server protocol, `COM_STMT_CLOSE`), upon which the next packet waits in the kernel for the
//! server's delayed acknowledgement (40 ms on Linux, since sqlx does not set `TCP_NODELAY`); kept open instead, it holds
//! megabytes of the server's memory on each connection. As text it is one round trip and leaves nothing behind.
//!
//! What stands in a statement is either written in the source (`&'static str`) or a [`Literal`], whose form is safe
//! whatever its value and whatever `sql_mode` is. The session is in UTC and `utf8mb4` (see [`crate::database`]).

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use sqlx::mysql::{MySqlQueryResult, MySqlRow};
use sqlx::{AssertSqlSafe, FromRow, MySqlConnection};

/// A value as it is written in a statement.
pub(super) trait Literal {
    fn write(&self, sql: &mut String);
}

macro_rules! integer_literals {
    ($($integer:ty),*) => {$(
        impl Literal for $integer {
            fn write(&self, sql: &mut String) {
                // Writing to a string cannot fail.
                let _ = write!(sql, "{self}");
            }
        }
    )*};
}

integer_literals!(u32, u64, i32, i64);

impl Literal for bool {
    fn write(&self, sql: &mut String) {
        sql.push(if *self { '1' } else { '0' });
    }
}

/// With an exponent, which makes it a DOUBLE and not a DECIMAL; the shortest digits that read back as the same number.
/// What is not finite is unknown: NULL.
impl Literal for f64 {
    fn write(&self, sql: &mut String) {
        if self.is_finite() {
            let _ = write!(sql, "{self:e}");
        } else {
            sql.push_str("NULL");
        }
    }
}

/// For a column of two decimals: a short text, which the server reads sooner than all digits of a DOUBLE. What is not
/// finite is unknown: NULL.
#[derive(Debug, Clone, Copy)]
pub(super) struct TwoDecimals(pub(super) f64);

impl Literal for TwoDecimals {
    fn write(&self, sql: &mut String) {
        if self.0.is_finite() {
            let _ = write!(sql, "{:.2}", self.0);
        } else {
            sql.push_str("NULL");
        }
    }
}

/// Between quotes if it is plain; else as the hexadecimal digits of its bytes, so that neither a quote nor a backslash
/// nor the connection's character set matters.
impl Literal for str {
    fn write(&self, sql: &mut String) {
        let is_plain = self.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\'' && byte != b'\\');
        if is_plain {
            sql.push('\'');
            sql.push_str(self);
            sql.push('\'');
        } else {
            sql.push_str("_utf8mb4 X'");
            for byte in self.bytes() {
                let _ = write!(sql, "{byte:02X}");
            }
            sql.push('\'');
        }
    }
}

impl Literal for String {
    fn write(&self, sql: &mut String) {
        self.as_str().write(sql);
    }
}

/// As `BINARY(16)` holds it.
impl Literal for [u8; 16] {
    fn write(&self, sql: &mut String) {
        self[..].write(sql);
    }
}

/// Bytes as they are.
impl Literal for [u8] {
    fn write(&self, sql: &mut String) {
        sql.push_str("X'");
        for byte in self {
            let _ = write!(sql, "{byte:02X}");
        }
        sql.push('\'');
    }
}

impl Literal for NaiveDate {
    fn write(&self, sql: &mut String) {
        let _ = write!(sql, "DATE'{self}'");
    }
}

impl Literal for NaiveDateTime {
    fn write(&self, sql: &mut String) {
        let _ = write!(sql, "TIMESTAMP'{self}'");
    }
}

impl Literal for DateTime<Utc> {
    fn write(&self, sql: &mut String) {
        self.naive_utc().write(sql);
    }
}

impl<T: Literal> Literal for Option<T> {
    fn write(&self, sql: &mut String) {
        match self {
            Some(value) => value.write(sql),
            None => sql.push_str("NULL"),
        }
    }
}

impl<T: Literal + ?Sized> Literal for &T {
    fn write(&self, sql: &mut String) {
        (*self).write(sql);
    }
}

/// A statement in the making.
#[derive(Debug)]
pub(super) struct TextStatement {
    sql: String,
}

impl TextStatement {
    pub(super) fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned() }
    }

    pub(super) fn sql(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    pub(super) fn value(&mut self, value: impl Literal) -> &mut Self {
        value.write(&mut self.sql);
        self
    }

    /// `(1, 2, 3)`; of nothing `(NULL)`, which nothing is in.
    pub(super) fn list<T: Literal>(&mut self, values: impl IntoIterator<Item = T>) -> &mut Self {
        let mut separator = '(';
        for value in values {
            self.sql.push(separator);
            value.write(&mut self.sql);
            separator = ',';
        }
        self.sql.push_str(if separator == '(' { "(NULL)" } else { ")" });
        self
    }

    /// `VALUES (…), (…)`: `write` writes one row. The caller has at least one.
    pub(super) fn rows<T>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Row<'_>, T),
    ) -> &mut Self {
        let mut separator = "VALUES (";
        for row in rows {
            self.sql.push_str(separator);
            write(&mut Row { statement: self, is_first: true }, row);
            separator = "),(";
        }
        self.sql.push(')');
        self
    }

    pub(super) async fn execute(self, connection: &mut MySqlConnection) -> Result<MySqlQueryResult, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.sql)).execute(connection).await
    }

    pub(super) async fn fetch_rows(self, connection: &mut MySqlConnection) -> Result<Vec<MySqlRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.sql)).fetch_all(connection).await
    }

    /// The one column of a query that has one.
    pub(super) async fn fetch_column<T>(self, connection: &mut MySqlConnection) -> Result<Vec<T>, sqlx::Error>
    where
        (T,): for<'r> FromRow<'r, MySqlRow>,
    {
        Ok(self.fetch_all::<(T,)>(connection).await?.into_iter().map(|(value,)| value).collect())
    }

    pub(super) async fn fetch_all<T>(self, connection: &mut MySqlConnection) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, MySqlRow>,
    {
        self.fetch_rows(connection).await?.iter().map(T::from_row).collect()
    }
}

/// One row of a value list.
#[derive(Debug)]
pub(super) struct Row<'a> {
    statement: &'a mut TextStatement,
    is_first: bool,
}

impl Row<'_> {
    /// The next column has a value.
    pub(super) fn value(&mut self, value: impl Literal) -> &mut Self {
        self.expression(|statement| {
            statement.value(value);
        })
    }

    /// The next column has what the source says.
    pub(super) fn sql(&mut self, sql: &'static str) -> &mut Self {
        self.expression(|statement| {
            statement.sql(sql);
        })
    }

    /// The next column has what `write` writes.
    pub(super) fn expression(&mut self, write: impl FnOnce(&mut TextStatement)) -> &mut Self {
        if !std::mem::take(&mut self.is_first) {
            self.statement.sql.push(',');
        }
        write(self.statement);
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn literal(value: impl Literal) -> String {
        let mut sql = String::new();
        value.write(&mut sql);
        sql
    }

    #[test]
    fn a_value_list_is_written_as_mysql_reads_it() {
        let mut statement = TextStatement::new("INSERT INTO t (a, b, c) ");
        statement.rows([(1_u64, Some("x")), (2, None)], |row, (a, b)| {
            row.value(a).value(b).sql("UTC_TIMESTAMP()");
        });
        assert_eq!(statement.sql, "INSERT INTO t (a, b, c) VALUES (1,'x',UTC_TIMESTAMP()),(2,NULL,UTC_TIMESTAMP())");
        let mut statement = TextStatement::new("SELECT a FROM t WHERE b = ");
        statement.value("y").sql(" AND a IN ").list([1_u32, 2]);
        assert_eq!(statement.sql, "SELECT a FROM t WHERE b = 'y' AND a IN (1,2)");
        let mut statement = TextStatement::new("SELECT a FROM t WHERE a IN ");
        statement.list(std::iter::empty::<u32>());
        assert_eq!(statement.sql, "SELECT a FROM t WHERE a IN (NULL)");
    }

    #[test]
    fn a_text_that_could_be_read_otherwise_is_written_as_digits() {
        assert_eq!(literal("10.0.0.1"), "'10.0.0.1'");
        assert_eq!(literal("it's"), "_utf8mb4 X'69742773'");
        assert_eq!(literal(r"a\"), "_utf8mb4 X'615C'");
        assert_eq!(literal("每"), "_utf8mb4 X'E6AF8F'");
        assert_eq!(literal(""), "''");
        assert_eq!(literal(0xAB_u128.to_be_bytes()), "X'000000000000000000000000000000AB'");
    }

    #[test]
    fn times_have_a_type() {
        let time = DateTime::from_timestamp_millis(1_700_000_000_123).expect("a time");
        assert_eq!(literal(time), "TIMESTAMP'2023-11-14 22:13:20.123'");
        assert_eq!(literal(time.date_naive()), "DATE'2023-11-14'");
    }

    #[test]
    fn what_is_no_number_is_unknown() {
        assert_eq!(literal(f64::NAN), "NULL");
        assert_eq!(literal(Some(f64::INFINITY)), "NULL");
        assert_eq!(literal(0.1), "1e-1");
        assert_eq!(literal(TwoDecimals(f64::NEG_INFINITY)), "NULL");
        assert_eq!(["12.35", "0.00", "999.99"], [12.349_9, 0.004, 999.99].map(|number| literal(TwoDecimals(number))));
    }

    proptest! {
        #[test]
        fn no_text_ends_its_literal(text: String) {
            let sql = literal(text.as_str());
            let inner = sql.strip_prefix("_utf8mb4 X'").or_else(|| sql.strip_prefix('\'')).and_then(|sql| sql.strip_suffix('\''));
            let inner = inner.expect("between quotes");
            prop_assert!(!inner.contains(['\'', '\\']), "{sql}");
        }

        #[test]
        fn a_number_is_written_without_loss(number: f64) {
            prop_assume!(number.is_finite());
            prop_assert_eq!(literal(number).parse::<f64>().expect("a number").to_bits(), number.to_bits());
        }
    }
}
