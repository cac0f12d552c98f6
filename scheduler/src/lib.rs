//! The scheduler: turns cron schedules into executions, publishes their jobs, and keeps every run moving to its end.
//!
//! Several schedulers run; none leads. What is due is decided by the database's clock, who acts by row locks and leases,
//! so a second scheduler shares the work and is no danger. `agenda` looks what there is to do, `fire` makes executions,
//! `sweep` goes on with them and with what others left, `waits` tells what runs wait for, `rollup` adds ended runs to the
//! statistics, `prune` forgets what is old, `gauges` says how the fleet is, `shift` that this scheduler is at work.

mod agenda;
mod fire;
mod gauges;
mod plan;
mod prune;
mod rollup;
mod shift;
mod sweep;
mod waits;

use std::sync::Arc;

use anyhow::Context;
use hostsync_metrics::Metrics;
use hostsync_metrics::loops::{LIMIT, Loops};
use hostsync_queue::Publisher;
use hostsync_service::config::Config;
use hostsync_service::defaults::Defaults;
use hostsync_service::endpoint_watch::{EndpointWatch, SELDOM};
use hostsync_service::operations::{self, Need, Readiness};
use hostsync_service::shutdown::Shutdown;
use hostsync_service::startup;
use hostsync_service::startup::{DATABASE, RABBITMQ};
use hostsync_store::database;
use hostsync_store::outbox::Outbox;
use sqlx::MySqlPool;
use tokio::net::TcpListener;

use crate::agenda::Calls;

/// What every loop of the scheduler works with.
pub(crate) struct Scheduler {
    pub(crate) pool: MySqlPool,
    pub(crate) outbox: Outbox,
    pub(crate) publisher: Publisher,
    pub(crate) defaults: Defaults,
    pub(crate) loops: Loops,
    pub(crate) shutdown: Shutdown,
    pub(crate) calls: Calls,
}

/// Chunks of hosts prepared or jobs published of one run before it is the others' turn: a second or two of work.
const CHUNKS_A_TURN: u32 = 10;

/// Runs a scheduler until `shutdown` has begun and its loops have ended.
///
/// # Errors
///
/// The configuration lacks something, an address cannot be bound, or the schema is older than this binary.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.scheduler.listen)
        .await
        .with_context(|| format!("cannot listen on scheduler.listen = {}", config.scheduler.listen))?;
    serve(config, listener, shutdown).await
}

/// As [`run`], on a listener that is bound already.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(config: Config, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    let readiness = Readiness::new([(DATABASE, Need::Required), (RABBITMQ, Need::Informational)]);
    let loops = Loops::new();
    let router = operations::standalone_router(readiness.clone(), loops.clone(), Metrics::global());
    shutdown.spawn("operations server", operations::serve(listener, router, shutdown.clone()));

    let pool = database::connect_lazy(config.database.url()?.expose(), config.database.max_connections)
        .context("database.url cannot be used")?;
    let publisher = Publisher::new(config.rabbitmq.settings("hostsync-scheduler")?);
    let endpoints = EndpointWatch::new(pool.clone(), &config.elasticsearch).context("an endpoint cannot be used")?;
    shutdown.spawn_essential(
        "broker watch",
        startup::watch_broker(publisher.clone(), readiness.clone(), loops.clone(), shutdown.clone()),
    );
    if !startup::wait_for_database(&pool, &readiness, &loops, &shutdown).await? {
        return Ok(());
    }
    shutdown.spawn_essential(
        "database watch",
        startup::watch_database(pool.clone(), readiness, loops.clone(), shutdown.clone(), |_| {}),
    );
    let (turns, stopping) = (loops.begin("endpoint watch", LIMIT), shutdown.token());
    shutdown.spawn_essential("endpoint watch", async move { endpoints.run(SELDOM, turns, stopping).await });

    let scheduler = Arc::new(Scheduler {
        outbox: Outbox::new(pool.clone(), publisher.clone(), shutdown.token()).with_turns_of(CHUNKS_A_TURN),
        pool,
        publisher,
        defaults: Defaults::from(&config),
        loops,
        shutdown: shutdown.clone(),
        calls: Calls::default(),
    });
    shutdown.spawn_essential("shift", shift::run(Arc::clone(&scheduler)));
    shutdown.spawn_essential("agenda", agenda::run(Arc::clone(&scheduler)));
    shutdown.spawn_essential("fire", fire::run(Arc::clone(&scheduler)));
    sweep::spawn_all(&scheduler, config.scheduler.execution_deadline);
    shutdown.spawn_essential("prune", prune::run(Arc::clone(&scheduler), config.scheduler.retention));
    gauges::spawn_all(&scheduler);
    tracing::info!("hostsync-scheduler is running");
    Ok(shutdown.wait_for_service("hostsync-scheduler").await?)
}
