//! The search endpoints of a process, and which of them are closed for the fleet.
//!
//! A closed endpoint is a row of its own (`es_sync_endpoint_state`) that every worker and every scheduler reads each
//! second. One of them all at a time probes it; the others leave its jobs alone. Schedulers probe too, since where no
//! worker runs nothing is published while an endpoint is closed, and so nothing would start one. The row decides, what is
//! remembered here only saves searches.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;

use crate::causes::causes;
use crate::config::ElasticsearchConfig;
use crate::database;
use crate::elasticsearch::{Endpoint, EndpointError, EndpointSettings};
use crate::loops::Turns;
use crate::metrics::Metrics;
use crate::tables::endpoint_state::{self, Closed};

/// How often the fleet's knowledge is read.
const REFRESH: Duration = Duration::from_secs(1);

/// Longest wait for the database, which may hang.
const LONGEST_STATEMENT: Duration = Duration::from_secs(10);

/// Where this process can search, and where nobody shall for now.
pub struct EndpointWatch {
    pool: MySqlPool,
    endpoints: HashMap<String, Arc<Endpoint>>,
    closed: RwLock<HashMap<String, String>>,
}

impl EndpointWatch {
    /// Makes a client for each configured endpoint; connects to nothing.
    ///
    /// # Errors
    ///
    /// An endpoint cannot be used as it is configured.
    pub fn new(pool: MySqlPool, config: &ElasticsearchConfig) -> Result<Self, EndpointError> {
        let mut endpoints = HashMap::new();
        for (name, endpoint) in &config.endpoints {
            let client = Endpoint::new(EndpointSettings::configured(name, endpoint))?;
            // A process that never searches must also see that the engine behind a query proxy is away.
            client.ping_by(&config.default_index_pattern);
            endpoints.insert(name.clone(), Arc::new(client));
        }
        Ok(Self { pool, endpoints, closed: RwLock::default() })
    }

    /// A configured endpoint.
    pub fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.get(name).map(Arc::clone)
    }

    /// Why an endpoint is closed; `None`: it is open.
    pub fn closed(&self, endpoint: &str) -> Option<String> {
        self.closed.read().unwrap_or_else(PoisonError::into_inner).get(endpoint).cloned()
    }

    /// Closes an endpoint for the fleet. This process leaves it alone from now on, even if the database is slow to hear.
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn close(&self, endpoint: &str, reason: &str) -> Result<(), sqlx::Error> {
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
    pub async fn run(&self, turns: Turns, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_some() {
            turns.turned();
            let Some(refreshed) = stop.run_until_cancelled(self.refresh(&turns)).await else { return };
            if let Err(error) = refreshed {
                tracing::debug!(error = %causes(&error), "the state of the endpoints could not be read");
            }
        }
    }

    async fn refresh(&self, turns: &Turns) -> Result<(), sqlx::Error> {
        let rows: Vec<Closed> = database::within(LONGEST_STATEMENT, async {
            let mut connection = self.pool.acquire().await?;
            endpoint_state::closed(&mut connection).await
        })
        .await?;
        {
            let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
            *closed = rows.iter().map(|row| (row.endpoint.clone(), row.reason.clone())).collect();
        }
        for name in self.endpoints.keys() {
            Metrics::global().endpoint_closed(name, rows.iter().any(|row| row.endpoint == *name));
        }
        for row in rows.iter().filter(|row| row.probe_due) {
            if let Some(endpoint) = self.endpoints.get(&row.endpoint) {
                self.probe(endpoint, turns).await?;
            }
        }
        Ok(())
    }

    async fn probe(&self, endpoint: &Endpoint, turns: &Turns) -> Result<(), sqlx::Error> {
        let name = endpoint.name();
        let claimed = database::within(LONGEST_STATEMENT, async {
            let mut connection = self.pool.acquire().await?;
            endpoint_state::claim_probe(&mut connection, name).await
        });
        if !claimed.await? {
            return Ok(());
        }
        // Bounded by the endpoint's own time-out.
        match turns.waiting_for(endpoint.ping()).await {
            Ok(()) => {
                let opened = database::within(LONGEST_STATEMENT, async {
                    let mut connection = self.pool.acquire().await?;
                    endpoint_state::open(&mut connection, name).await
                });
                if opened.await? {
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
