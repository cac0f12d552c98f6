//! `es_sync_search`: one row a search and execution that it served, so that a host's result can be explained.
//!
//! Written within the transaction of its results, read for one host, pruned with its execution.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{MySqlConnection, QueryBuilder};

use super::text_statement::TextStatement;
use hostsync_model::execution::ExecutionId;

/// Rows in one statement: each may hold a body of 32 KiB, and MySQL's default `max_allowed_packet` was 4 MiB once.
const SEARCHES_PER_STATEMENT: usize = 100;

/// Tells the searches of an execution apart: a random number, made before the search is stored, so that storing it again
/// changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SearchId(pub u64);

impl SearchId {
    /// A fresh id.
    pub fn new() -> Self {
        Self(rand::random())
    }
}

impl Default for SearchId {
    fn default() -> Self {
        Self::new()
    }
}

/// A search to be stored.
#[derive(Debug, Clone)]
pub struct NewSearch<'a> {
    /// An execution that it served.
    pub execution_id: ExecutionId,
    /// Which one.
    pub id: SearchId,
    /// How long ago it began: only the database's clock says what time that was.
    pub began_ago: Duration,
    /// Who made it.
    pub worker: &'a str,
    /// Name of the endpoint.
    pub es_endpoint: &'a str,
    /// Index pattern.
    pub index_pattern: &'a str,
    /// As [`crate::explanation::kept_body`] makes it.
    pub body: Option<&'a str>,
    /// Hosts that it asked for.
    pub hosts_asked: usize,
    /// Hosts that have data; `None`: no whole answer.
    pub hosts_found: Option<usize>,
    /// Documents of those hosts.
    pub documents: Option<u64>,
    /// By the engine's own account.
    pub took_ms: Option<u64>,
    /// As the worker saw it.
    pub elapsed: Duration,
    /// Shards that answered.
    pub shards: Option<u32>,
    /// Why it is no answer.
    pub error_message: Option<&'a str>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Stores searches; one that stands already stays as it is.
pub async fn insert(connection: &mut MySqlConnection, searches: &[NewSearch<'_>]) -> Result<(), sqlx::Error> {
    for chunk in searches.chunks(SEARCHES_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "INSERT INTO es_sync_search
                 (execution_id, search_id, searched_at, worker, es_endpoint, index_pattern, body, hosts_asked,
                  hosts_found, documents, took_ms, elapsed_ms, shards, error_message) ",
        );
        statement.rows(chunk, |row, search| {
            row.value(search.execution_id.0)
                .value(search.id.0)
                .expression(|began| {
                    began
                        .sql("UTC_TIMESTAMP(3) - INTERVAL ")
                        .value(millis(search.began_ago) * 1_000)
                        .sql(" MICROSECOND");
                })
                .value(search.worker)
                .value(search.es_endpoint)
                .value(search.index_pattern)
                .value(search.body)
                .value(u32::try_from(search.hosts_asked).unwrap_or(u32::MAX))
                .value(search.hosts_found.map(|hosts| u32::try_from(hosts).unwrap_or(u32::MAX)))
                .value(search.documents)
                .value(search.took_ms)
                .value(millis(search.elapsed))
                .value(search.shards)
                .value(search.error_message);
        });
        statement.sql(" ON DUPLICATE KEY UPDATE search_id = VALUES(search_id)");
        statement.execute(connection).await?;
    }
    Ok(())
}

/// A search as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns, by name")]
pub struct Search {
    pub search_id: u64,
    pub searched_at: DateTime<Utc>,
    pub worker: String,
    pub es_endpoint: String,
    pub index_pattern: String,
    pub body: Option<String>,
    pub hosts_asked: u32,
    pub hosts_found: Option<u32>,
    pub documents: Option<u64>,
    pub took_ms: Option<u64>,
    pub elapsed_ms: u64,
    pub shards: Option<u32>,
    pub error_message: Option<String>,
}

/// Those of an execution's searches that `ids` name; few.
pub async fn find(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    ids: &[SearchId],
) -> Result<Vec<Search>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::new(
        "SELECT search_id, searched_at, worker, es_endpoint, index_pattern, body, hosts_asked, hosts_found, documents,
                took_ms, elapsed_ms, shards, error_message
         FROM es_sync_search WHERE execution_id = ",
    );
    query.push_bind(execution.0).push(" AND search_id IN (");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.0);
    }
    query.push(")");
    query.build_query_as().fetch_all(connection).await
}
