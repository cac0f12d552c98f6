//! Why one host of one execution got its result.
//!
//! Puts together what the workers kept: the detail, its failed attempts, the searches behind them. Knows no transport.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use hostsync_model::execution::{DetailId, ExecutionId, SyncStatus};
use hostsync_model::window::Window;
use hostsync_service::defaults::Source;
use hostsync_store::explanation::Explanation;
use hostsync_store::tables::attempts::{self, Attempt};
use hostsync_store::tables::details::{self, views::ExplainedDetail};
use hostsync_store::tables::evidence;
use hostsync_store::tables::executions::{self, views::ExecutionLog};
use hostsync_store::tables::searches::{self, Search, SearchId};
use sqlx::MySqlConnection;

use super::probe::Probes;
use super::spellings;
use crate::database::within_bound;
use crate::error::ApiError;
use crate::request::Timestamp;

/// Failed attempts in an answer; a host has five.
const MAX_ATTEMPTS: u32 = 50;

/// Longest time for the question when a host's last document was; without an answer the rest is told nevertheless.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// All that is known of a host's part in an execution.
#[derive(Debug, Clone)]
pub(crate) struct Explained {
    pub(crate) log: ExecutionLog,
    pub(crate) host: ExplainedDetail,
    /// `None`: there were no values, or it ran before hostsync kept them.
    pub(crate) explanation: Option<Explanation>,
    /// In order.
    pub(crate) failed_attempts: Vec<Attempt>,
    pub(crate) searches: HashMap<u64, Search>,
    /// Of a host without data: when its last document was, in a sentence.
    pub(crate) last_document: Option<String>,
}

/// Explains one host.
///
/// # Errors
///
/// No such execution, no such host in it, the database.
pub(crate) async fn explain(probes: &Probes, id: ExecutionId, host_ip: &str) -> Result<Explained, ApiError> {
    let ips = spellings(host_ip)?;
    let mut explained = within_bound(async {
        let mut connection = probes.database.connection().await?;
        let log = executions::views::find(&mut connection, id).await?.ok_or(ApiError::ExecutionNotFound(id))?;
        let host = details::views::explained(&mut connection, id, &ips)
            .await?
            .ok_or_else(|| ApiError::HostNotInExecution { execution: id, host_ip: host_ip.to_owned() })?;
        let failed_attempts = attempts::of_host(&mut connection, id, DetailId(host.detail.id), MAX_ATTEMPTS).await?;
        let wanted: BTreeSet<u64> =
            failed_attempts.iter().filter_map(|attempt| attempt.search_id).chain(host.search_id).collect();
        let wanted: Vec<SearchId> = wanted.into_iter().map(SearchId).collect();
        let searches = searches::find(&mut connection, id, &wanted).await?;
        let explanation = explanation(&mut connection, id, &host).await?;
        Ok(Explained {
            log,
            explanation,
            host,
            failed_attempts,
            searches: searches.into_iter().map(|search| (search.search_id, search)).collect(),
            last_document: None,
        })
    })
    .await?;
    // No connection is held while a source takes its time.
    if explained.host.detail.sync_status == SyncStatus::NoData {
        explained.last_document = Some(last_document(probes, &explained).await);
    }
    Ok(explained)
}

/// What was kept of a host's values: on the detail itself by an older release.
async fn explanation(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    host: &ExplainedDetail,
) -> Result<Option<Explanation>, ApiError> {
    Ok(match (&host.explanation, host.search_id) {
        (Some(text), _) => Explanation::from_json(text),
        (None, Some(search)) => {
            evidence::of_host(connection, execution, SearchId(search), DetailId(host.detail.id)).await?
        }
        (None, None) => None,
    })
}

/// When the last document of a host without data was: asked of the source now.
async fn last_document(probes: &Probes, explained: &Explained) -> String {
    let log = &explained.log;
    let source = probes.sources.defaults.source(&log.es_endpoint, &log.es_index_pattern, &log.mapping);
    let (Some((endpoint, mapping)), Some(from), Some(to)) =
        (probes.sources.client(&source), log.window_from, log.window_to)
    else {
        return "when its last document was cannot be asked: this API has no such endpoint or mapping".to_owned();
    };
    let Ok(_permit) = probes.limits.probes.try_acquire() else {
        return "when its last document was has not been asked: too many ask their sources just now".to_owned();
    };
    let Source { es_index_pattern, .. } = &source;
    let asking = endpoint.last_document(es_index_pattern, mapping, Window { from, to }, &explained.host.detail.host_ip);
    match tokio::time::timeout(LONGEST_LOOK, asking).await {
        Ok(Ok(Some(last))) => {
            format!("its last document before the end of the window is of {}", Timestamp(last))
        }
        Ok(Ok(None)) => "the source has no document of it, of any time before the end of the window".to_owned(),
        Ok(Err(error)) => format!("when its last document was could not be asked: {}", error.reason()),
        Err(_) => format!("when its last document was is not known: no answer within {} s", LONGEST_LOOK.as_secs()),
    }
}
