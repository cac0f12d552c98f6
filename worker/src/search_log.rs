//! What a worker keeps of its searches, so that each host's result can be explained.
//!
//! Owns which searches are stored: those that gave a host its outcome or cost it an attempt, once an execution.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostsync_model::execution::ExecutionId;
use hostsync_store::tables::executions::creation::Scope;
use hostsync_store::tables::searches::{NewSearch, SearchId};

/// A search that was made.
#[derive(Debug, Clone)]
pub(crate) struct SearchRecord {
    pub(crate) id: SearchId,
    pub(crate) began: Instant,
    pub(crate) elapsed: Duration,
    pub(crate) hosts_asked: usize,
    /// As it is kept; searches by the same fields share it. `None`: too long, or nothing was sent.
    pub(crate) body: Option<Arc<str>>,
    pub(crate) answer: Result<SearchSummary, String>,
}

/// What a whole answer says in short.
#[derive(Debug, Clone)]
pub(crate) struct SearchSummary {
    pub(crate) took_ms: u64,
    pub(crate) hosts_found: usize,
    pub(crate) documents: u64,
    pub(crate) shards: u64,
}

/// The searches of a batch.
#[derive(Debug, Default)]
pub(crate) struct SearchLog {
    pub(crate) searches: Vec<SearchRecord>,
}

impl SearchLog {
    /// The rows of the searches that `used` names, each once an execution, in order of their key.
    pub(crate) fn rows<'a>(
        &'a self,
        worker: &'a str,
        scope: &'a Scope,
        used: &BTreeSet<(ExecutionId, SearchId)>,
    ) -> Vec<NewSearch<'a>> {
        used.iter()
            .filter_map(|(execution_id, id)| {
                let record = self.searches.iter().find(|record| record.id == *id)?;
                let summary = record.answer.as_ref().ok();
                Some(NewSearch {
                    execution_id: *execution_id,
                    id: *id,
                    began_ago: record.began.elapsed(),
                    worker,
                    es_endpoint: &scope.es_endpoint,
                    index_pattern: &scope.es_index_pattern,
                    body: record.body.as_deref(),
                    hosts_asked: record.hosts_asked,
                    hosts_found: summary.map(|summary| summary.hosts_found),
                    documents: summary.map(|summary| summary.documents),
                    took_ms: summary.map(|summary| summary.took_ms),
                    elapsed: record.elapsed,
                    shards: summary.and_then(|summary| u32::try_from(summary.shards).ok()),
                    error_message: record.answer.as_ref().err().map(String::as_str),
                })
            })
            .collect()
    }
}

/// The name of this process for those who read an explanation: its machine and its process id.
pub(crate) fn worker_name() -> String {
    // Linux says it here; elsewhere the process id has to do.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().take(64).collect();
    let id = std::process::id();
    if host.is_empty() { format!("worker/{id}") } else { format!("{host}/{id}") }
}
