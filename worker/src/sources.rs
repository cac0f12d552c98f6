//! Where and how this process can search: what a run names, as clients and mappings.
//!
//! Which endpoints are closed for the fleet, and who probes them, is `hostsync_service::endpoint_watch`'s matter.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use hostsync_mapping::Mapping;
use hostsync_metrics::loops::Turns;
use hostsync_service::config::Config;
use hostsync_service::endpoint_watch::{EndpointWatch, OFTEN};
use hostsync_source::Endpoint;
use hostsync_store::tables::doubts::{DoubtKind, Subject};
use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;

use crate::search::Outage;
use crate::search_log::worker_name;

/// A name of a run that this process does not know.
pub(crate) struct UnknownSource {
    pub(crate) subject: Subject,
    pub(crate) reason: String,
}

/// Where and how this process can search.
pub(crate) struct SourceRegistry {
    pub(crate) pool: MySqlPool,
    /// Tells this process from others that say something of a source.
    pub(crate) process: String,
    endpoints: EndpointWatch,
    mappings: BTreeMap<String, Mapping>,
    /// The reasons for which credentials of this process were refused last, by whom, and when.
    refused: Mutex<HashMap<Subject, (Instant, String)>>,
}

/// How long credentials that were refused are not tried again by this process.
const REFUSED_FOR: Duration = Duration::from_secs(5);

impl SourceRegistry {
    /// Makes a client for each configured endpoint; connects to nothing.
    pub(crate) fn new(pool: MySqlPool, config: &Config) -> anyhow::Result<Self> {
        let endpoints =
            EndpointWatch::new(pool.clone(), &config.elasticsearch).context("an endpoint cannot be used")?;
        let process = format!("{}/{:08x}", worker_name(), rand::random::<u32>());
        Ok(Self { pool, process, endpoints, mappings: config.mappings.clone(), refused: Mutex::default() })
    }

    /// Remembers that credentials of this process were refused.
    pub(crate) fn remember_refusal(&self, subject: &Subject, reason: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, (at, _)| at.elapsed() < REFUSED_FOR);
        refused.insert(subject.clone(), (Instant::now(), reason.to_owned()));
    }

    /// Why this process need not ask there: it was refused a moment ago.
    pub(crate) fn refused_lately(&self, subject: &Subject) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(subject).filter(|(at, _)| at.elapsed() < REFUSED_FOR).map(|(_, reason)| reason.clone())
    }

    /// The endpoint and mapping of a run, or which of them this process does not know.
    pub(crate) fn find(&self, endpoint: &str, mapping: &str) -> Result<(Arc<Endpoint>, &Mapping), UnknownSource> {
        let unknown = |kind: DoubtKind, name: &str, key: &str| UnknownSource {
            reason: format!(
                "the {} \"{name}\" is not configured in the workers: add {key}.{name} to their configuration",
                kind.as_str()
            ),
            subject: Subject { kind, name: name.to_owned(), index_pattern: String::new() },
        };
        let client = self.endpoints.endpoint(endpoint);
        let client = client.ok_or_else(|| unknown(DoubtKind::Endpoint, endpoint, "elasticsearch.endpoints"))?;
        let found = self.mappings.get(mapping);
        Ok((client, found.ok_or_else(|| unknown(DoubtKind::Mapping, mapping, "mappings"))?))
    }

    /// A configured endpoint.
    pub(crate) fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.endpoint(name)
    }

    /// A configured mapping.
    pub(crate) fn mapping(&self, name: &str) -> Option<&Mapping> {
        self.mappings.get(name)
    }

    /// Why nobody searches a pattern for now; `None`: it is searched.
    pub(crate) fn closed(&self, endpoint: &str, index_pattern: &str) -> Option<String> {
        self.endpoints.closed(endpoint, index_pattern)
    }

    /// Leaves a pattern alone for the fleet, and its endpoint too if that does not answer.
    pub(crate) async fn leave_alone(
        &self,
        endpoint: &Endpoint,
        index_pattern: &str,
        outage: &Outage,
    ) -> Result<(), sqlx::Error> {
        self.endpoints.leave_alone(endpoint, index_pattern, &outage.reason, &outage.probe).await
    }

    /// Keeps up with what is left alone, probes what is due, and answers doubts, until told to stop.
    pub(crate) async fn watch(&self, turns: Turns, stop: CancellationToken) {
        tokio::join!(self.endpoints.run(OFTEN, turns, stop.clone()), self.answer_doubts(stop));
    }
}
