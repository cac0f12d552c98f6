//! The search endpoints of this process, and which of them are closed for the fleet.
//!
//! A closed endpoint is a row of its own (`es_sync_endpoint_state`) that every worker reads each second. One worker at a
//! time probes it; the others defer its jobs. The row decides, what is remembered here only saves searches.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use hostsync_shared::config::Config;
use hostsync_shared::elasticsearch::{Endpoint, EndpointSettings};
use hostsync_shared::mapping::Mapping;
use hostsync_shared::metrics::Metrics;
use hostsync_shared::tables::endpoint_state;
use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;

/// How often the fleet's knowledge is read.
const REFRESH: Duration = Duration::from_secs(1);

/// Where and how this process can search.
pub(crate) struct Sources {
    pool: MySqlPool,
    endpoints: HashMap<String, Arc<Endpoint>>,
    mappings: BTreeMap<String, Mapping>,
    closed: RwLock<HashMap<String, String>>,
}

impl Sources {
    /// Makes a client for each configured endpoint; connects to nothing.
    pub(crate) fn new(pool: MySqlPool, config: &Config) -> anyhow::Result<Self> {
        let mut endpoints = HashMap::new();
        for (name, endpoint) in &config.elasticsearch.endpoints {
            let client =
                Endpoint::new(EndpointSettings::configured(name, endpoint)).context("an endpoint cannot be used")?;
            endpoints.insert(name.clone(), Arc::new(client));
        }
        Ok(Self { pool, endpoints, mappings: config.mappings.clone(), closed: RwLock::default() })
    }

    /// The endpoint and mapping of a run, or why this process has none.
    pub(crate) fn find(&self, endpoint: &str, mapping: &str) -> Result<(Arc<Endpoint>, &Mapping), String> {
        let client = self.endpoints.get(endpoint).ok_or_else(|| {
            format!(
                "the endpoint \"{endpoint}\" is not configured in this worker: add elasticsearch.endpoints.{endpoint}"
            )
        })?;
        let mapping = self.mappings.get(mapping).ok_or_else(|| {
            format!("the mapping \"{mapping}\" is not configured in this worker: add mappings.{mapping}")
        })?;
        Ok((Arc::clone(client), mapping))
    }

    /// A configured mapping.
    pub(crate) fn mapping(&self, name: &str) -> Option<&Mapping> {
        self.mappings.get(name)
    }

    /// Why an endpoint is closed; `None`: it is open.
    pub(crate) fn closed(&self, endpoint: &str) -> Option<String> {
        self.closed.read().unwrap_or_else(PoisonError::into_inner).get(endpoint).cloned()
    }

    /// Closes an endpoint for the fleet. This process defers its jobs from now on, even if the database is slow to hear.
    pub(crate) async fn close(&self, endpoint: &str, reason: &str) -> Result<(), sqlx::Error> {
        let was_open = self
            .closed
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(endpoint.to_owned(), reason.to_owned())
            .is_none();
        if was_open {
            tracing::warn!(endpoint, reason, "endpoint {endpoint} is closed: {reason}");
        }
        let mut connection = self.pool.acquire().await?;
        endpoint_state::close(&mut connection, endpoint, reason).await
    }

    /// Reads which endpoints are closed, and probes those that are due, until told to stop.
    pub(crate) async fn watch(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_some() {
            if let Err(error) = self.refresh().await {
                tracing::debug!(error = %error, "the state of the endpoints could not be read");
            }
        }
    }

    async fn refresh(&self) -> Result<(), sqlx::Error> {
        let rows = {
            let mut connection = self.pool.acquire().await?;
            endpoint_state::closed(&mut connection).await?
        };
        {
            let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
            *closed = rows.iter().map(|row| (row.endpoint.clone(), row.reason.clone())).collect();
        }
        for name in self.endpoints.keys() {
            Metrics::global().endpoint_closed(name, rows.iter().any(|row| row.endpoint == *name));
        }
        for row in rows.iter().filter(|row| row.probe_due) {
            if let Some(endpoint) = self.endpoints.get(&row.endpoint) {
                self.probe(endpoint).await?;
            }
        }
        Ok(())
    }

    async fn probe(&self, endpoint: &Endpoint) -> Result<(), sqlx::Error> {
        let name = endpoint.name();
        let mut connection = self.pool.acquire().await?;
        if !endpoint_state::claim_probe(&mut connection, name).await? {
            return Ok(());
        }
        drop(connection);
        match endpoint.ping().await {
            Ok(()) => {
                let mut connection = self.pool.acquire().await?;
                if endpoint_state::open(&mut connection, name).await? {
                    self.closed.write().unwrap_or_else(PoisonError::into_inner).remove(name);
                    tracing::info!(endpoint = name, "endpoint {name} is open again");
                }
            }
            Err(error) => {
                let reason = error.reason();
                tracing::warn!(endpoint = name, reason, "endpoint {name} is still closed: {reason}");
            }
        }
        Ok(())
    }
}
