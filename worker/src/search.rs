//! Asks the source for a batch of hosts, in smaller parts where one search is too much.
//!
//! Owns the splitting (P5: too many buckets or too heavy halves the batch) and what each host's share of the answer is.
//! Writes nothing.

use std::collections::HashMap;
use std::time::Instant;

use hostsync_shared::elasticsearch::{Endpoint, SearchError};
use hostsync_shared::mapping::{HostReading, Mapping, max_hosts};
use hostsync_shared::metrics::{Metrics, ReasonClass, SearchOutcome};
use hostsync_shared::tables::searches::SearchId;
use hostsync_shared::window::Window;

use crate::evidence::{Made, Said};

/// What the source said of one host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// It has documents.
    Reading(HostReading),
    /// The search was complete and found nothing.
    NoData,
    /// The attempt failed; it is spent.
    AttemptFailed(Reason),
    /// The source is away; no attempt is spent.
    Unavailable(String),
}

/// Why an attempt failed: for people, and for the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) text: String,
    pub(crate) class: ReasonClass,
}

impl Reason {
    pub(crate) fn new(class: ReasonClass, text: impl Into<String>) -> Self {
        Self { text: text.into(), class }
    }
}

/// How the search of a batch went.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    /// One entry a host that was asked for, unless `refused`.
    pub(crate) found: HashMap<String, Found>,
    /// The last search that asked for a host.
    pub(crate) asked_by: HashMap<String, SearchId>,
    /// Every search, in order.
    pub(crate) made: Vec<Made>,
    /// The source is away: close the endpoint.
    pub(crate) outage: Option<String>,
    /// Nothing that could be asked again would be answered: the execution fails once.
    pub(crate) refused: Option<String>,
}

/// Searches `hosts`, each once. An outage ends the search; what was answered before stands.
pub(crate) async fn search(
    endpoint: &Endpoint,
    index_pattern: &str,
    mapping: &Mapping,
    window: Window,
    hosts: Vec<String>,
) -> Searched {
    let mut searched = Searched::default();
    // A metric that is read slice by slice leaves room for fewer hosts than a batch has.
    let mut parts: Vec<Vec<String>> = hosts.chunks(max_hosts(mapping, window)).map(<[String]>::to_vec).collect();
    while let Some(part) = parts.pop() {
        let Err(error) = answer(endpoint, index_pattern, mapping, window, &part, &mut searched).await else {
            continue;
        };
        match error {
            SearchError::Refused { reason, .. } => {
                searched.refused = Some(reason);
                return searched;
            }
            SearchError::Incomplete { reason } => {
                fail_attempt(&mut searched, part, &Reason::new(ReasonClass::Source, reason));
            }
            SearchError::TooLarge { reason } => split(&mut searched, &mut parts, part, &reason),
            SearchError::TimedOut { reason } => match endpoint.ping().await {
                // It lives: the search was too heavy for it.
                Ok(()) => split(&mut searched, &mut parts, part, &reason),
                Err(_) => {
                    parts.push(part);
                    return give_way(searched, parts, reason);
                }
            },
            SearchError::Outage { reason, .. } => {
                parts.push(part);
                return give_way(searched, parts, reason);
            }
        }
    }
    searched
}

async fn answer(
    endpoint: &Endpoint,
    index_pattern: &str,
    mapping: &Mapping,
    window: Window,
    hosts: &[String],
    searched: &mut Searched,
) -> Result<(), SearchError> {
    let began = Instant::now();
    let result = endpoint.search(index_pattern, mapping, window, hosts).await;
    let elapsed = began.elapsed();
    Metrics::global().search(endpoint.name(), outcome(result.as_ref().err()), elapsed);
    if let Err(SearchError::Refused { kind, .. }) = &result {
        Metrics::global().source_refusal(endpoint.name(), *kind);
    }
    let id = SearchId::new();
    let answer = result.as_ref().map_err(|error| error.reason().to_owned()).map(|answer| Said {
        took_ms: answer.took_ms,
        hosts_found: answer.readings.len(),
        documents: answer.readings.values().map(|reading| reading.data_point_count).sum(),
        shards: None,
    });
    searched.made.push(Made { id, began, elapsed, hosts_asked: hosts.len(), answer });
    searched.asked_by.extend(hosts.iter().map(|host| (host.clone(), id)));
    let mut answer = result?;
    for host in hosts {
        let found = answer.readings.remove(host).map_or(Found::NoData, Found::Reading);
        searched.found.insert(host.clone(), found);
    }
    Ok(())
}

fn outcome(error: Option<&SearchError>) -> SearchOutcome {
    match error {
        None => SearchOutcome::Complete,
        Some(SearchError::Outage { busy: true, .. }) => SearchOutcome::Throttled,
        Some(SearchError::Outage { busy: false, .. }) => SearchOutcome::Outage,
        Some(SearchError::TimedOut { .. }) => SearchOutcome::Timeout,
        Some(SearchError::TooLarge { .. }) => SearchOutcome::TooHeavy,
        Some(SearchError::Incomplete { .. }) => SearchOutcome::Partial,
        Some(SearchError::Refused { .. }) => SearchOutcome::Refused,
    }
}

fn fail_attempt(searched: &mut Searched, hosts: Vec<String>, reason: &Reason) {
    for host in hosts {
        searched.found.insert(host, Found::AttemptFailed(reason.clone()));
    }
}

/// Halves a part; a single host that is too much by itself costs its attempt.
fn split(searched: &mut Searched, parts: &mut Vec<Vec<String>>, mut part: Vec<String>, reason: &str) {
    if part.len() <= 1 {
        fail_attempt(searched, part, &Reason::new(ReasonClass::TooHeavy, reason));
        return;
    }
    tracing::info!(hosts = part.len(), reason, "a search for {} hosts is split: {reason}", part.len());
    let second = part.split_off(part.len() / 2);
    parts.push(second);
    parts.push(part);
}

fn give_way(mut searched: Searched, unanswered: Vec<Vec<String>>, reason: String) -> Searched {
    for host in unanswered.into_iter().flatten() {
        searched.found.insert(host, Found::Unavailable(reason.clone()));
    }
    searched.outage = Some(reason);
    searched
}
