//! The search endpoints of a process, and which of them, and which of their index patterns, are left alone by the fleet.
//!
//! A closed endpoint (`es_sync_endpoint_state`) does not answer at all. Where it does, and the searches of a pattern fail
//! nevertheless, that pattern alone is set aside (`es_sync_pattern_state`), so that its neighbours go on. Every worker and
//! every scheduler reads both each second. One of them all at a time probes: an endpoint by whether it answers, a pattern by
//! the very search that failed. Schedulers probe too, since where no worker runs nothing is published meanwhile, and so
//! nothing would start one. The rows decide, what is remembered here only saves searches.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::{TryStreamExt, stream};
use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;

use crate::config::ElasticsearchConfig;
use hostsync_metrics::Metrics;
use hostsync_metrics::loops::Turns;
use hostsync_model::causes::causes;
use hostsync_source::{Endpoint, EndpointError, EndpointSettings};
use hostsync_store::database;
use hostsync_store::tables::endpoint_state;
use hostsync_store::tables::executions::{self, going::SourceName};
use hostsync_store::tables::left_alone;
use hostsync_store::tables::pattern_state::{self, SetAsidePattern};
use hostsync_store::tables::search_limit;

/// How often a process that searches reads the fleet's knowledge.
pub const OFTEN: Duration = Duration::from_secs(1);

/// How often a process reads it that only probes where no worker does.
pub const SELDOM: Duration = Duration::from_secs(3);

/// Longest wait for the database, which may hang.
const LONGEST_STATEMENT: Duration = Duration::from_secs(10);

/// Probes at once of one process. Each may take as long as its endpoint's time-out, and what is left alone is read anew
/// after all of them.
const PROBES_AT_ONCE: usize = 8;

/// Runs that are told at once what they wait for, the oldest; the others after the next probe.
const RUNS_TOLD: u32 = 1_000;

/// Where this process can search, and where nobody shall for now.
pub struct EndpointWatch {
    pool: MySqlPool,
    endpoints: HashMap<String, Arc<Endpoint>>,
    left_alone: RwLock<LeftAlone>,
}

/// Why nobody searches there.
#[derive(Debug, Default)]
struct LeftAlone {
    endpoints: HashMap<String, String>,
    /// By endpoint and pattern.
    patterns: HashMap<(String, String), String>,
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
        Ok(Self { pool, endpoints, left_alone: RwLock::default() })
    }

    /// A configured endpoint.
    pub fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.get(name).map(Arc::clone)
    }

    /// Why nobody searches a pattern for now, or its whole endpoint; `None`: it is searched.
    pub fn closed(&self, endpoint: &str, index_pattern: &str) -> Option<String> {
        let left_alone = self.left_alone.read().unwrap_or_else(PoisonError::into_inner);
        let of_pattern = || left_alone.patterns.get(&(endpoint.to_owned(), index_pattern.to_owned()));
        left_alone.endpoints.get(endpoint).or_else(of_pattern).cloned()
    }

    /// A search failed and is no fault of its hosts: sets its pattern aside for the fleet, and closes the endpoint too if
    /// that does not answer at all. `probe` is the search that failed. This process leaves them alone from now on, even if
    /// the database is slow to hear.
    ///
    /// # Errors
    ///
    /// The database's; calling again is fine.
    pub async fn leave_alone(
        &self,
        endpoint: &Endpoint,
        index_pattern: &str,
        reason: &str,
        probe: &str,
    ) -> Result<(), sqlx::Error> {
        let name = endpoint.name();
        let answers = endpoint.ping().await;
        let mut connection = self.pool.acquire().await?;
        {
            let mut left_alone = self.left_alone.write().unwrap_or_else(PoisonError::into_inner);
            if answers.is_err() && left_alone.endpoints.insert(name.to_owned(), reason.to_owned()).is_none() {
                tracing::warn!(endpoint = name, reason, "endpoint {name} is closed: {reason}");
            }
            let pattern = (name.to_owned(), index_pattern.to_owned());
            if left_alone.patterns.insert(pattern, reason.to_owned()).is_none() && answers.is_ok() {
                tracing::warn!(
                    endpoint = name,
                    index_pattern,
                    reason,
                    "the index pattern {index_pattern} is set aside: {reason}"
                );
            }
        }
        pattern_state::put_aside(&mut connection, name, index_pattern, reason, probe).await?;
        if answers.is_err() {
            endpoint_state::close(&mut connection, name, reason).await?;
        }
        Ok(())
    }

    /// Reads what is left alone, and probes what is due, every so often until told to stop.
    pub async fn run(&self, every: Duration, turns: Turns, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            turns.turned();
            let Some(refreshed) = stop.run_until_cancelled(self.refresh(&turns)).await else { return };
            if let Err(error) = refreshed {
                tracing::debug!(error = %causes(&error), "the state of the endpoints could not be read");
            }
        }
    }

    async fn refresh(&self, turns: &Turns) -> Result<(), sqlx::Error> {
        let (closed, aside) = database::within(LONGEST_STATEMENT, async {
            left_alone::left_alone(&mut *self.pool.acquire().await?).await
        })
        .await?;
        {
            let mut left_alone = self.left_alone.write().unwrap_or_else(PoisonError::into_inner);
            left_alone.endpoints = closed.iter().map(|row| (row.endpoint.clone(), row.reason.clone())).collect();
            let of_pattern =
                |row: &SetAsidePattern| ((row.endpoint.clone(), row.index_pattern.clone()), row.reason.clone());
            left_alone.patterns = aside.iter().map(of_pattern).collect();
        }
        let is_closed = |name: &str| closed.iter().any(|row| row.endpoint == name);
        for name in self.endpoints.keys() {
            Metrics::global().endpoint_closed(name, is_closed(name));
        }
        let mut patterns: BTreeMap<String, u64> = self.endpoints.keys().map(|name| (name.clone(), 0)).collect();
        for row in &aside {
            *patterns.entry(row.endpoint.clone()).or_default() += 1;
        }
        Metrics::global().patterns_set_aside(patterns);
        let due = closed.iter().filter(|row| row.probe_due).filter_map(|row| self.endpoints.get(&row.endpoint));
        stream::iter(due.map(Ok))
            .try_for_each_concurrent(PROBES_AT_ONCE, |endpoint| self.probe(endpoint, turns))
            .await?;
        let due = aside.iter().filter(|row| row.probe_due && !is_closed(&row.endpoint));
        stream::iter(due.map(Ok))
            .try_for_each_concurrent(PROBES_AT_ONCE, |row| self.probe_or_take_back(row, turns))
            .await
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
                    pattern_state::probe_at_once(&mut connection, name).await?;
                    search_limit::begin_again(&mut connection, name).await?;
                    endpoint_state::open(&mut connection, name).await
                });
                if opened.await? {
                    self.left_alone.write().unwrap_or_else(PoisonError::into_inner).endpoints.remove(name);
                    tracing::info!(endpoint = name, "endpoint {name} is open again");
                }
            }
            Err(error) => {
                let reason = error.reason();
                tracing::warn!(endpoint = name, reason, "endpoint {name} is still closed: {reason}");
                self.tell_runs(SourceName::Endpoint(name), &format!("endpoint \"{name}\" to answer: {reason}")).await?;
            }
        }
        Ok(())
    }

    /// A pattern by which no run goes any more is searched again when one does: nobody needs a probe, and an alert about it
    /// must end, also where its endpoint is gone from the configuration.
    async fn probe_or_take_back(&self, row: &SetAsidePattern, turns: &Turns) -> Result<(), sqlx::Error> {
        let SetAsidePattern { endpoint, index_pattern, .. } = row;
        let is_needed = database::within(LONGEST_STATEMENT, async {
            let mut connection = self.pool.acquire().await?;
            let names = SourceName::Pattern { endpoint, index_pattern };
            Ok(!executions::going::by(&mut connection, names, 1).await?.is_empty())
        });
        if !is_needed.await? {
            return self.take_back(endpoint, index_pattern, "no run goes by it").await;
        }
        match self.endpoints.get(endpoint) {
            Some(endpoint) => self.probe_pattern(endpoint, index_pattern, turns).await,
            None => Ok(()),
        }
    }

    async fn probe_pattern(&self, endpoint: &Endpoint, index_pattern: &str, turns: &Turns) -> Result<(), sqlx::Error> {
        let name = endpoint.name();
        let claimed = database::within(LONGEST_STATEMENT, async {
            let mut connection = self.pool.acquire().await?;
            pattern_state::claim_probe(&mut connection, name, index_pattern).await
        });
        let Some(probe) = claimed.await? else { return Ok(()) };
        // Bounded, as a ping is.
        match turns.waiting_for(endpoint.probe_pattern(index_pattern, &probe)).await {
            Ok(()) => self.take_back(name, index_pattern, "its search is answered").await?,
            Err(error) => {
                let reason = error.reason();
                tracing::warn!(endpoint = name, index_pattern, reason, "{index_pattern} is still set aside: {reason}");
                let names = SourceName::Pattern { endpoint: name, index_pattern };
                self.tell_runs(names, &format!("index pattern \"{index_pattern}\" to be searchable: {reason}")).await?;
            }
        }
        Ok(())
    }

    async fn take_back(&self, endpoint: &str, index_pattern: &str, why: &str) -> Result<(), sqlx::Error> {
        let taken_back = database::within(LONGEST_STATEMENT, async {
            let mut connection = self.pool.acquire().await?;
            pattern_state::take_back(&mut connection, endpoint, index_pattern).await
        });
        if taken_back.await? {
            let pattern = (endpoint.to_owned(), index_pattern.to_owned());
            self.left_alone.write().unwrap_or_else(PoisonError::into_inner).patterns.remove(&pattern);
            tracing::info!(endpoint, index_pattern, "the index pattern {index_pattern} is searched again: {why}");
        }
        Ok(())
    }

    /// Says on the runs that name it what they wait for; each probe says it anew.
    async fn tell_runs(&self, names: SourceName<'_>, reason: &str) -> Result<(), sqlx::Error> {
        database::within(LONGEST_STATEMENT, async {
            let mut connection = self.pool.acquire().await?;
            let runs = executions::going::by(&mut connection, names, RUNS_TOLD).await?;
            executions::remarks::set_waiting_for(&mut connection, runs, reason).await
        })
        .await
    }
}
