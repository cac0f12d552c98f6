//! What a run costs the database, by the counters of its storage engine; needs the rights of an administrator.

use anyhow::Context;
use serde::Serialize;
use sqlx::{AssertSqlSafe, MySqlPool, Row as _};

/// Counters of `information_schema.INNODB_METRICS` that are off until somebody wants them.
const MONITORS: &str = "index_page%";

/// Since the server was started, or between two looks.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct DatabaseWork {
    /// Written to the redo log, by the log's own sequence number.
    pub(crate) redo_bytes: u64,
    /// Pages that were split since a row did not fit.
    pub(crate) page_splits: u64,
    /// Pages that were tried to be written anew, to gain room within them.
    pub(crate) page_reorganisations: u64,
    /// Pages that were tried to be merged with their neighbour.
    pub(crate) page_merges: u64,
    /// Sent to the server by all its clients.
    pub(crate) received_bytes: u64,
}

/// Turns the counters on.
///
/// # Errors
///
/// The user may not.
pub(crate) async fn watch(pool: &MySqlPool) -> anyhow::Result<()> {
    let statement = format!("SET GLOBAL innodb_monitor_enable = '{MONITORS}'");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.context("counters of InnoDB")?;
    Ok(())
}

impl DatabaseWork {
    /// As the counters stand.
    ///
    /// # Errors
    ///
    /// The user may not read them, or the server has none.
    pub(crate) async fn read(pool: &MySqlPool) -> anyhow::Result<Self> {
        let status: String = sqlx::raw_sql("SHOW ENGINE INNODB STATUS").fetch_one(pool).await?.try_get("Status")?;
        let redo = status.lines().find_map(|line| line.strip_prefix("Log sequence number")).context("the redo log")?;
        let counters: Vec<(String, i64)> = sqlx::query_as(
            "SELECT NAME, CAST(COUNT AS SIGNED) FROM information_schema.INNODB_METRICS WHERE NAME LIKE ?",
        )
        .bind(MONITORS)
        .fetch_all(pool)
        .await?;
        let counter = |wanted: &str| {
            let found = counters.iter().find(|(name, _)| name == wanted);
            found.and_then(|(_, count)| u64::try_from(*count).ok()).with_context(|| format!("no counter {wanted}"))
        };
        let received: String =
            sqlx::raw_sql("SHOW GLOBAL STATUS LIKE 'Bytes_received'").fetch_one(pool).await?.try_get("Value")?;
        Ok(Self {
            redo_bytes: redo.trim().parse().context("the redo log")?,
            page_splits: counter("index_page_splits")?,
            page_reorganisations: counter("index_page_reorg_attempts")?,
            page_merges: counter("index_page_merge_attempts")?,
            received_bytes: received.parse().context("received bytes")?,
        })
    }

    /// What was done since an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            redo_bytes: self.redo_bytes.saturating_sub(before.redo_bytes),
            page_splits: self.page_splits.saturating_sub(before.page_splits),
            page_reorganisations: self.page_reorganisations.saturating_sub(before.page_reorganisations),
            page_merges: self.page_merges.saturating_sub(before.page_merges),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
        }
    }
}
