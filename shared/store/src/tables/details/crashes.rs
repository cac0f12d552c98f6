//! How often a job was begun and not ended.

use std::collections::HashMap;

use sqlx::MySqlConnection;

use crate::tables::ROWS_PER_STATEMENT;
use crate::tables::text_statement::TextStatement;
use hostsync_model::execution::DetailId;

/// The batch that counts a job as begun: a new random number each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchToken(pub u64);

impl BatchToken {
    /// A fresh token.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// How often each of these pending jobs was begun by another batch than `by` and not ended; those that never were are left
/// out. A row that is not at this attempt (from 1) is none of them.
pub async fn begun(
    connection: &mut MySqlConnection,
    ids: &[DetailId],
    attempt: u32,
    by: BatchToken,
) -> Result<HashMap<DetailId, u32>, sqlx::Error> {
    let mut begun = HashMap::new();
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("SELECT id, CAST(begun - (begun_by <=> ");
        statement
            .value(by.0)
            .sql(") AS UNSIGNED) FROM es_sync_execution_detail WHERE begun > 0 AND sync_status = 'pending' AND attempts = ")
            .value(attempt.saturating_sub(1))
            .sql(" AND id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        let rows: Vec<(u64, u64)> = statement.fetch_all(connection).await?;
        begun.extend(rows.into_iter().map(|(id, times)| (DetailId(id), u32::try_from(times).unwrap_or(u32::MAX))));
    }
    Ok(begun)
}

/// Counts pending jobs at this attempt (from 1) as begun by a batch: each once, however often this is called.
pub async fn begin(
    connection: &mut MySqlConnection,
    ids: &[DetailId],
    attempt: u32,
    by: BatchToken,
) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("UPDATE es_sync_execution_detail SET begun = begun + 1, begun_by = ");
        statement
            .value(by.0)
            .sql(" WHERE NOT begun_by <=> ")
            .value(by.0)
            .sql(" AND sync_status = 'pending' AND attempts = ")
            .value(attempt.saturating_sub(1))
            .sql(" AND id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Takes back what [`begin`] counted for this batch, where it still stands.
pub async fn end(connection: &mut MySqlConnection, ids: &[DetailId], by: BatchToken) -> Result<(), sqlx::Error> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "UPDATE es_sync_execution_detail SET begun = IF(begun > 0, begun - 1, 0), begun_by = NULL WHERE begun_by = ",
        );
        statement.value(by.0).sql(" AND id IN ");
        statement.list(chunk.iter().map(|id| id.0));
        statement.execute(connection).await?;
    }
    Ok(())
}
