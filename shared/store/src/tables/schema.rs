//! The tables and columns that the migrations make, read from the migrations themselves: what must stand is written once.
//!
//! Knows the two forms in which they make a column, `CREATE TABLE IF NOT EXISTS` and a definition that an `ALTER TABLE`
//! adds where it is missing; `shared/store/tests/migrations.rs` holds what is found against a database.

use std::collections::BTreeMap;

use crate::database::MIGRATOR;

/// A column as a migration makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurColumn {
    /// Its name in lower case.
    pub name: String,
    /// What stands behind the name, such as `VARCHAR(64) NULL`.
    pub definition: String,
    /// The migration that makes it.
    pub version: i64,
}

/// Every column by the name of its table, those of the CMDB's two tables among them.
pub type OurTables = BTreeMap<String, Vec<OurColumn>>;

impl OurColumn {
    /// Whether the server computes it.
    pub fn is_generated(&self) -> bool {
        self.definition.contains("GENERATED ALWAYS")
    }

    /// Characters that it must hold, of a `VARCHAR`.
    pub fn chars(&self) -> Option<u64> {
        self.definition.strip_prefix("VARCHAR(")?.split(')').next()?.parse().ok()
    }
}

/// The tables that the migrations make.
pub fn tables() -> OurTables {
    let mut tables = OurTables::new();
    for migration in MIGRATOR.iter() {
        for statement in without_comments(migration.sql.as_str()).split(";\n") {
            let Some((table, made)) = created(statement).or_else(|| added(statement)) else { continue };
            let columns = tables.entry(table.to_owned()).or_default();
            for (name, definition) in made {
                let name = name.to_lowercase();
                if columns.iter().all(|column| column.name != name) {
                    let definition = definition.trim().to_owned();
                    columns.push(OurColumn { name, definition, version: migration.version });
                }
            }
        }
    }
    tables
}

fn without_comments(sql: &str) -> String {
    sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n") + "\n"
}

/// The columns of `CREATE TABLE IF NOT EXISTS name (`, one a line.
fn created(statement: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (table, body) = statement.trim_start().strip_prefix("CREATE TABLE IF NOT EXISTS ")?.split_once(" (")?;
    let columns = body
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(' '))
        .filter(|(name, _)| name.starts_with('`') || name.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(|(name, definition)| (name.trim_matches('`'), definition))
        .collect();
    Some((table, columns))
}

/// The columns that an `ALTER TABLE` adds: after `ADD COLUMN`, or as texts that begin with a name in backticks.
fn added(statement: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (_, rest) = statement.split_once("table_name = '")?;
    let (table, _) = rest.split_once('\'')?;
    let definitions = statement.split("ADD COLUMN ").skip(1).chain(statement.split("'`").skip(1));
    let columns: Vec<_> = definitions
        .filter_map(|text| text.split_once(' '))
        .map(|(name, definition)| (name.trim_matches('`'), definition.lines().next().unwrap_or_default()))
        .filter(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    (!columns.is_empty()).then_some((table, columns))
}
