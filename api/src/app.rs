//! The parts of the API, put together: what the transports serve.

use std::sync::Arc;

use hostsync_metrics::Metrics;
use hostsync_metrics::loops::Loops;
use hostsync_queue::Publisher;
use hostsync_service::config::Config;
use hostsync_service::operations::{Need, Readiness};
use hostsync_service::shutdown::Shutdown;
use hostsync_service::startup::{DATABASE, RABBITMQ};
use hostsync_store::database;
use hostsync_store::outbox::Outbox;
use secrecy::ExposeSecret as _;

use crate::access::{Guard, Limits};
use crate::database::Database;
use crate::hosts::probe::Probes;
use crate::runs::Runs;
use crate::runs::watch::Watchers;
use crate::sources::Sources;
use crate::tasks::Tasks;

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) guard: Guard,
    pub(crate) limits: Arc<Limits>,
    pub(crate) database: Database,
    pub(crate) tasks: Tasks,
    pub(crate) runs: Runs,
    pub(crate) probes: Probes,
    pub(crate) publisher: Publisher,
    pub(crate) readiness: Readiness,
    pub(crate) loops: Loops,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
}

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Api {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// A URL that is missing or is none.
    pub(crate) fn new(config: &Config, shutdown: Shutdown) -> anyhow::Result<Self> {
        let connections = config.database.max_connections;
        let pool = database::connect_lazy(config.database.url()?.expose_secret(), connections)?;
        let publisher = Publisher::new(config.rabbitmq.settings("hostsync-api")?);
        let readiness = Readiness::new([(DATABASE, Need::Required), (RABBITMQ, Need::Informational)]);
        let outbox = Outbox::new(pool.clone(), publisher.clone(), shutdown.token());
        let database = Database::new(pool, readiness.clone());
        let sources = Arc::new(Sources::new(config)?);
        let limits = Arc::new(Limits::new(connections));
        let watchers = Watchers::new(database.clone(), Arc::clone(&limits), shutdown.clone());
        Ok(Self(Arc::new(Parts {
            guard: Guard::new(&config.api),
            tasks: Tasks { database: database.clone(), sources: Arc::clone(&sources) },
            runs: Runs {
                database: database.clone(),
                outbox,
                sources: Arc::clone(&sources),
                limits: Arc::clone(&limits),
                watchers,
                shutdown: shutdown.clone(),
            },
            probes: Probes { database: database.clone(), sources, limits: Arc::clone(&limits) },
            limits,
            database,
            publisher,
            readiness,
            loops: Metrics::global().new_loops(),
            metrics: Metrics::global(),
            shutdown,
        })))
    }
}
