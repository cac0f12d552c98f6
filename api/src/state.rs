//! What every request works with: the database, the outbox, what may be named, who may call.
//!
//! Owns how a request gets a connection and how a transaction is run again. Decides nothing about tasks and executions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hostsync_metrics::Metrics;
use hostsync_metrics::loops::Loops;
use hostsync_queue::Publisher;
use hostsync_service::config::Config;
use hostsync_service::defaults::Defaults;
use hostsync_service::operations::{Need, Readiness};
use hostsync_service::shutdown::Shutdown;
use hostsync_service::startup::{DATABASE, RABBITMQ};
use hostsync_store::database::{self, SchemaError};
use hostsync_store::denied::Denied;
use hostsync_store::outbox::Outbox;
use rand::RngExt as _;
use sqlx::mysql::MySql;
use sqlx::pool::PoolConnection;
use sqlx::{MySqlPool, Transaction};
use tokio::sync::Semaphore;

use crate::auth::Guard;
use crate::error::ApiError;
use crate::events::Watchers;
use crate::full_sync::MAX_FULL_SYNCS;
use crate::probe::MAX_PROBES;
use crate::request::{MAX_ENQUEUE_BYTES, MAX_SMALL_BODIES};
use crate::sources::Sources;

/// How often a transaction is run that the database breaks off in favour of another.
const ATTEMPTS: u32 = 4;

/// Longest time for what one request does in the database, waits of `wait_seconds` aside. A database that has gone
/// silent is then told like one that is down.
const DATABASE_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest wait for a server that refuses us, before its schema has been checked. One that says nothing for so long is
/// away.
const LONGEST_REFUSAL: Duration = Duration::from_millis(500);

/// Requests whose host list or file is being read and stored at once. Beyond it they get 429. Their bytes have a bound of
/// their own ([`MAX_ENQUEUE_BYTES`]).
const MAX_ENQUEUES: usize = 16;

/// Runs that this process has taken on to prepare and publish. Those beyond it are stored for the schedulers.
const MAX_TAKEN_ON: usize = 32;

/// Requests that wait for the end of their run at once. Beyond it they are answered at once.
const MAX_WAITING: usize = 200;

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

pub(crate) struct Inner {
    pool: MySqlPool,
    schema_checked: AtomicBool,
    pub(crate) publisher: Publisher,
    pub(crate) outbox: Outbox,
    pub(crate) sources: Sources,
    pub(crate) defaults: Defaults,
    pub(crate) guard: Guard,
    pub(crate) readiness: Readiness,
    pub(crate) loops: Loops,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    /// The right to send in a host list or a file.
    pub(crate) enqueues: Arc<Semaphore>,
    /// The bytes that those may have.
    pub(crate) enqueue_bytes: Arc<Semaphore>,
    /// The right to send in a body without hosts.
    pub(crate) small_bodies: Semaphore,
    /// The right to store one.
    pub(crate) stores: Semaphore,
    /// The right to take on a run that was just stored. Without it the run is the schedulers'.
    pub(crate) taken_on: Arc<Semaphore>,
    /// The right to prepare and publish one that was taken on.
    pub(crate) carrying: Semaphore,
    /// The right to look how a run goes, on behalf of those who watch it or wait for its end.
    pub(crate) looks: Semaphore,
    /// The right to wait for the end of a run.
    pub(crate) waiting: Semaphore,
    /// The right to look for the hosts of a group.
    pub(crate) full_syncs: Semaphore,
    /// The right to probe a source.
    pub(crate) probes: Semaphore,
    /// Those who watch executions.
    pub(crate) watchers: Watchers,
}

impl std::ops::Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
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
        let pool = database::connect_lazy(config.database.url()?.expose(), config.database.max_connections)?;
        let publisher = Publisher::new(config.rabbitmq.settings("hostsync-api")?);
        let sources = Sources::new(config)?;
        // Half of the connections stay for reads and for changes of tasks.
        let part = |of: usize| (config.database.max_connections as usize / of).max(1);
        Ok(Self(Arc::new(Inner {
            outbox: Outbox::new(pool.clone(), publisher.clone(), shutdown.token()),
            pool,
            schema_checked: AtomicBool::new(false),
            publisher,
            sources,
            defaults: Defaults::from(config),
            guard: Guard::new(&config.api),
            readiness: Readiness::new([(DATABASE, Need::Required), (RABBITMQ, Need::Informational)]),
            loops: Loops::new(),
            metrics: Metrics::global(),
            shutdown,
            enqueues: Arc::new(Semaphore::new(MAX_ENQUEUES)),
            enqueue_bytes: Arc::new(Semaphore::new(MAX_ENQUEUE_BYTES)),
            small_bodies: Semaphore::new(MAX_SMALL_BODIES),
            stores: Semaphore::new(part(4)),
            taken_on: Arc::new(Semaphore::new(MAX_TAKEN_ON)),
            carrying: Semaphore::new(part(4)),
            looks: Semaphore::new(part(5)),
            waiting: Semaphore::new(MAX_WAITING),
            full_syncs: Semaphore::new(MAX_FULL_SYNCS),
            probes: Semaphore::new(MAX_PROBES),
            watchers: Watchers::new(),
        })))
    }

    /// The pool, for the readiness loop.
    pub(crate) fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    /// Opens the way to the database: its schema is the one that the statements were written for.
    pub(crate) fn set_schema_checked(&self) {
        self.schema_checked.store(true, Ordering::Release);
    }

    fn is_schema_checked(&self) -> bool {
        // The first time that the database is ready is when its schema has been checked.
        self.schema_checked.load(Ordering::Acquire) || self.readiness.is_ready()
    }

    /// Why the schema has not been checked. A refusal is no outage, and a server that refuses answers at once.
    async fn why_not_ready(&self) -> ApiError {
        match tokio::time::timeout(LONGEST_REFUSAL, database::check(&self.pool)).await {
            Ok(Err(SchemaError::Database(error))) if Denied::of(&error).is_some() => error.into(),
            _ => ApiError::DatabaseNotReady,
        }
    }

    /// A connection, once the schema has been checked.
    ///
    /// # Errors
    ///
    /// The database is away.
    pub(crate) async fn connection(&self) -> Result<PoolConnection<MySql>, ApiError> {
        if !self.is_schema_checked() {
            return Err(self.why_not_ready().await);
        }
        Ok(self.pool.acquire().await?)
    }

    /// A transaction, once the schema has been checked.
    ///
    /// # Errors
    ///
    /// The database is away.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, MySql>, ApiError> {
        if !self.is_schema_checked() {
            return Err(self.why_not_ready().await);
        }
        Ok(self.pool.begin().await?)
    }
}

/// Runs a transaction, and runs it again when the database broke it off in favour of another (a deadlock, a lock wait).
///
/// # Errors
///
/// The transaction's; [`ApiError::DatabaseNotReady`] when it takes longer than [`DATABASE_TIMEOUT`] in all.
pub(crate) async fn transact<T, F>(transaction: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let attempts = async {
        let mut attempt = 1;
        loop {
            match Box::pin(transaction()).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                    tracing::debug!(attempt, "a transaction was broken off in favour of another, running it again");
                    let pause_ms = rand::rng().random_range(1..=20 * u64::from(attempt));
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    };
    within_bound(attempts).await
}

/// Bounds what one request does in the database.
///
/// # Errors
///
/// The work's; [`ApiError::DatabaseNotReady`] when it takes longer than [`DATABASE_TIMEOUT`].
pub(crate) async fn within_bound<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(DATABASE_TIMEOUT, work).await.unwrap_or(Err(ApiError::DatabaseNotReady))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_database_is_told_like_one_that_is_down() {
        let outcome = within_bound(std::future::pending::<Result<(), ApiError>>()).await;
        assert!(matches!(outcome, Err(ApiError::DatabaseNotReady)));
    }

    #[tokio::test]
    async fn what_is_no_conflict_is_not_run_again() {
        let runs = AtomicU32::new(0);
        let outcome: Result<(), _> = transact(async || {
            runs.fetch_add(1, Ordering::Relaxed);
            Err(ApiError::Database(sqlx::Error::PoolTimedOut))
        })
        .await;
        assert!(outcome.is_err());
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }
}
