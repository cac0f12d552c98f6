//! Why one host of one execution got its result.
//!
//! Puts together what the workers kept: the detail, its failed attempts, the searches behind them. Knows no transport.

use std::collections::{BTreeSet, HashMap};

use hostsync_shared::execution::{DetailId, ExecutionId};
use hostsync_shared::explanation::Explanation;
use hostsync_shared::tables::attempts::{self, Attempt};
use hostsync_shared::tables::details::{self, ExplainedDetail};
use hostsync_shared::tables::executions::{self, ExecutionLog};
use hostsync_shared::tables::searches::{self, Search, SearchId};

use crate::error::ApiError;
use crate::hosts::spellings;
use crate::state::{Api, within_bound};

/// Failed attempts in an answer; a host has five.
const MAX_ATTEMPTS: u32 = 50;

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
}

/// Explains one host.
///
/// # Errors
///
/// No such execution, no such host in it, the database.
pub(crate) async fn explain(api: &Api, id: ExecutionId, host_ip: &str) -> Result<Explained, ApiError> {
    let ips = spellings(host_ip)?;
    within_bound(async {
        let mut connection = api.connection().await?;
        let log = executions::find(&mut connection, id).await?.ok_or(ApiError::ExecutionNotFound(id))?;
        let host = details::explained(&mut connection, id, &ips)
            .await?
            .ok_or_else(|| ApiError::HostNotInExecution { execution: id, host_ip: host_ip.to_owned() })?;
        let failed_attempts = attempts::of_host(&mut connection, id, DetailId(host.detail.id), MAX_ATTEMPTS).await?;
        let wanted: BTreeSet<u64> =
            failed_attempts.iter().filter_map(|attempt| attempt.search_id).chain(host.search_id).collect();
        let wanted: Vec<SearchId> = wanted.into_iter().map(SearchId).collect();
        let searches = searches::find(&mut connection, id, &wanted).await?;
        Ok(Explained {
            log,
            explanation: host.explanation.as_deref().and_then(Explanation::from_json),
            host,
            failed_attempts,
            searches: searches.into_iter().map(|search| (search.search_id, search)).collect(),
        })
    })
    .await
}
