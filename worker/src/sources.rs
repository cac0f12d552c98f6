//! Where and how this process can search: what a run names, as clients and mappings.
//!
//! Which endpoints are closed for the fleet, and who probes them, is `shared::endpoint_watch`'s matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use hostsync_shared::config::Config;
use hostsync_shared::elasticsearch::Endpoint;
use hostsync_shared::endpoint_watch::EndpointWatch;
use hostsync_shared::loops::Turns;
use hostsync_shared::mapping::Mapping;
use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;

/// Where and how this process can search.
pub(crate) struct Sources {
    endpoints: EndpointWatch,
    mappings: BTreeMap<String, Mapping>,
}

impl Sources {
    /// Makes a client for each configured endpoint; connects to nothing.
    pub(crate) fn new(pool: MySqlPool, config: &Config) -> anyhow::Result<Self> {
        let endpoints = EndpointWatch::new(pool, &config.elasticsearch).context("an endpoint cannot be used")?;
        Ok(Self { endpoints, mappings: config.mappings.clone() })
    }

    /// The endpoint and mapping of a run, or why this process has none.
    pub(crate) fn find(&self, endpoint: &str, mapping: &str) -> Result<(Arc<Endpoint>, &Mapping), String> {
        let client = self.endpoints.endpoint(endpoint).ok_or_else(|| {
            format!(
                "the endpoint \"{endpoint}\" is not configured in this worker: add elasticsearch.endpoints.{endpoint}"
            )
        })?;
        let mapping = self.mappings.get(mapping).ok_or_else(|| {
            format!("the mapping \"{mapping}\" is not configured in this worker: add mappings.{mapping}")
        })?;
        Ok((client, mapping))
    }

    /// A configured mapping.
    pub(crate) fn mapping(&self, name: &str) -> Option<&Mapping> {
        self.mappings.get(name)
    }

    /// Why an endpoint is closed; `None`: it is open.
    pub(crate) fn closed(&self, endpoint: &str) -> Option<String> {
        self.endpoints.closed(endpoint)
    }

    /// Closes an endpoint for the fleet.
    pub(crate) async fn close(&self, endpoint: &str, reason: &str) -> Result<(), sqlx::Error> {
        self.endpoints.close(endpoint, reason).await
    }

    /// Keeps up with which endpoints are closed, and probes those that are due, until told to stop.
    pub(crate) async fn watch(&self, turns: Turns, stop: CancellationToken) {
        self.endpoints.run(turns, stop).await;
    }
}
