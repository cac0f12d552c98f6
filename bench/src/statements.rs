//! How much text the statements of a run are, by the server's general log; needs the rights of an administrator.
//!
//! The log costs time, so a run that is looked at this way is not one that is measured.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;
use sqlx::MySqlPool;

/// So much of a statement tells what it does.
const HEAD_CHARS: u32 = 2_000;

/// Statements of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StatementBytes {
    /// How many there were.
    pub(crate) count: u64,
    /// Their text, all together.
    pub(crate) bytes: u64,
}

/// Writes every statement of the server down, in a table.
///
/// # Errors
///
/// The user may not.
pub(crate) async fn begin(pool: &MySqlPool) -> anyhow::Result<()> {
    sqlx::raw_sql("SET GLOBAL log_output = 'TABLE'; TRUNCATE TABLE mysql.general_log; SET GLOBAL general_log = 1")
        .execute(pool)
        .await
        .context("the general log")?;
    Ok(())
}

/// Ends that, and says what there was by kind, such as `UPDATE es_sync_execution_log`.
///
/// # Errors
///
/// The user may not.
pub(crate) async fn end(pool: &MySqlPool) -> anyhow::Result<BTreeMap<String, StatementBytes>> {
    sqlx::raw_sql("SET GLOBAL general_log = 0").execute(pool).await.context("the general log")?;
    // As bytes: what a prepared statement is executed with stands in it as it is.
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT CAST(LENGTH(argument) AS SIGNED), CAST(LEFT(argument, ?) AS BINARY)
         FROM mysql.general_log WHERE command_type IN ('Query', 'Execute')",
    )
    .bind(HEAD_CHARS)
    .fetch_all(pool)
    .await?;
    sqlx::raw_sql("TRUNCATE TABLE mysql.general_log").execute(pool).await?;
    let mut kinds: BTreeMap<String, StatementBytes> = BTreeMap::new();
    for (bytes, text) in rows {
        let kind = kinds.entry(kind_of(&String::from_utf8_lossy(&text))).or_default();
        kind.count += 1;
        kind.bytes += u64::try_from(bytes)?;
    }
    Ok(kinds)
}

/// The verb and the table that it is about.
fn kind_of(statement: &str) -> String {
    let words: Vec<&str> =
        statement.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty()).collect();
    let Some(verb) = words.first() else { return String::new() };
    let verb = verb.to_uppercase();
    let before_table = match verb.as_str() {
        "INSERT" | "REPLACE" => "INTO",
        "UPDATE" => "UPDATE",
        "SELECT" | "DELETE" => "FROM",
        _ => return verb,
    };
    let table = words.iter().skip_while(|word| !word.eq_ignore_ascii_case(before_table)).nth(1);
    table.map_or(verb.clone(), |table| format!("{verb} {table}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_told_by_its_verb_and_its_table() {
        for (statement, kind) in [
            ("INSERT INTO server_resources (id, ip) VALUES (1,'x')", "INSERT server_resources"),
            ("\n  update es_sync_execution_log SET a = 1", "UPDATE es_sync_execution_log"),
            ("SELECT a, (SELECT 1) FROM hosts_pool WHERE id = 1", "SELECT hosts_pool"),
            ("SELECT 1", "SELECT"),
            ("COMMIT", "COMMIT"),
            ("", ""),
        ] {
            assert_eq!(kind_of(statement), kind);
        }
    }
}
