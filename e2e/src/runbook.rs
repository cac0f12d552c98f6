//! The runbook, followed word for word: the commands of an alert's section in `docs/operations.md`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use sqlx::{AssertSqlSafe, Column, MySqlPool, Row};

/// The section of one alert.
pub struct Section {
    text: String,
}

impl Section {
    /// The section of this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn of(alert: &str) -> anyhow::Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let page = std::fs::read_to_string(file).context("docs/operations.md cannot be read")?;
        let (_, after) = page.split_once(&format!("\n### {alert}\n")).with_context(|| format!("no section {alert}"))?;
        let text = after.split("\n### ").next().unwrap_or(after);
        Ok(Self { text: text.to_owned() })
    }

    /// Whether it says this.
    pub fn says(&self, words: &str) -> bool {
        // Lines are broken anywhere.
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        flat(&self.text).contains(&flat(words))
    }

    /// What its statements (`SQL "…"`) say, a line `column: value` each, `endpoint` in the place of `<endpoint>`.
    pub async fn ask(&self, pool: &MySqlPool, endpoint: &str) -> anyhow::Result<String> {
        let mut answer = String::new();
        for statement in self.text.split("SQL \"").skip(1).filter_map(|text| text.split('"').next()) {
            let statement = statement.replace("<endpoint>", endpoint);
            // By the text protocol, in which every value comes as a client would print it.
            for row in sqlx::raw_sql(AssertSqlSafe(statement)).fetch_all(pool).await? {
                for column in row.columns() {
                    let value: Option<String> = row.try_get_unchecked(column.ordinal())?;
                    writeln!(answer, "{}: {}", column.name(), value.as_deref().unwrap_or("NULL"))?;
                }
            }
        }
        Ok(answer)
    }
}
