//! Runs that are going, by what they name.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{MySqlConnection, QueryBuilder};

use crate::tables::text_statement::TextStatement;
use hostsync_model::execution::ExecutionId;

/// What a run names of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceName<'a> {
    /// An endpoint.
    Endpoint(&'a str),
    /// A pattern of an endpoint.
    Pattern {
        /// Its endpoint.
        endpoint: &'a str,
        /// The pattern.
        index_pattern: &'a str,
    },
    /// A mapping.
    Mapping(&'a str),
}

/// Running executions that name this and are not closing, up to `limit`, the oldest first.
pub async fn by(
    connection: &mut MySqlConnection,
    names: SourceName<'_>,
    limit: u32,
) -> Result<Vec<ExecutionId>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT id FROM es_sync_execution_log WHERE execution_status = 'running' AND closing_status IS NULL",
    );
    match names {
        SourceName::Endpoint(endpoint) => query.push(" AND es_endpoint = ").push_bind(endpoint),
        SourceName::Pattern { endpoint, index_pattern } => query
            .push(" AND es_endpoint = ")
            .push_bind(endpoint)
            .push(" AND es_index_pattern = ")
            .push_bind(index_pattern),
        SourceName::Mapping(mapping) => query.push(" AND mapping = ").push_bind(mapping),
    };
    query.push(" ORDER BY id LIMIT ").push_bind(limit);
    let ids: Vec<u64> = query.build_query_scalar().fetch_all(connection).await?;
    Ok(ids.into_iter().map(ExecutionId).collect())
}

/// Those of `ids` that take results for a window that ends then: running and not closing.
pub async fn of(
    connection: &mut MySqlConnection,
    ids: impl IntoIterator<Item = ExecutionId>,
    window_to: DateTime<Utc>,
) -> Result<HashSet<ExecutionId>, sqlx::Error> {
    let mut statement = TextStatement::new(
        "SELECT id FROM es_sync_execution_log
         WHERE execution_status = 'running' AND closing_status IS NULL AND window_to = ",
    );
    statement.value(window_to).sql(" AND id IN ");
    statement.list(ids.into_iter().map(|id| id.0));
    Ok(statement.fetch_column(connection).await?.into_iter().map(ExecutionId).collect())
}
