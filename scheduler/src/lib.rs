//! The scheduler: turns cron schedules into executions, publishes their jobs, and keeps every run moving to its end.
//!
//! Several schedulers run; none leads. What is due is decided by the database's clock, who acts by row locks and leases,
//! so a second scheduler shares the work and is no danger. `agenda` looks what there is to do, `fire` makes executions,
//! `sweep` goes on with them and with what others left, `waits` tells what runs wait for, `rollup` adds ended runs to the
//! statistics, `prune` forgets what is old, `dead_letters` moves them into their table, `freshness` counts how fresh hosts are, `gauges`
//! says how the fleet is, `shift` that this scheduler is at work. By `calls`
//! they call one another.

mod agenda;
mod calls;
mod dead_letters;
mod fire;
mod freshness;
mod gauges;
mod halt;
mod one_run;
mod plan;
mod prune;
mod rollup;
mod scheduler;
mod shift;
mod sweep;
mod waits;

use std::sync::Arc;

use anyhow::Context;
use hostsync_metrics::Metrics;
use hostsync_metrics::loops::LIMIT;
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
use secrecy::ExposeSecret as _;
use sqlx::MySqlPool;
use tokio::net::TcpListener;

use crate::calls::Calls;
use crate::scheduler::Scheduler;
use crate::shift::Shift;

/// Chunks of hosts prepared or jobs published of one run before it is the others' turn: a second or two of work.
const CHUNKS_A_TURN: u32 = 10;

/// Connections that are the fires' alone: for a transaction of fires, a look when the next is due, and a sign of life.
const CONNECTIONS_OF_FIRES: u32 = 3;

/// Connections that everything else has at least.
const LEAST_CONNECTIONS_OF_SWEEPS: u32 = 2;

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
    let loops = Metrics::global().new_loops();
    let router = operations::standalone_router(readiness.clone(), loops.clone(), Metrics::global());
    shutdown.spawn("operations server", operations::serve(listener, router, shutdown.clone()));

    let [pool, fires] = pools(&config)?;
    startup::follow_secrets(&config, [&pool, &fires], &loops, &shutdown);
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
        startup::watch_database(pool.clone(), Some(fires.clone()), readiness, loops.clone(), shutdown.clone(), |_| {}),
    );
    let (turns, stopping) = (loops.begin("endpoint watch", LIMIT), shutdown.token());
    shutdown.spawn_essential("endpoint watch", async move { endpoints.run(SELDOM, turns, stopping).await });

    let scheduler = Arc::new(Scheduler {
        outbox: Outbox::new(pool.clone(), publisher.clone(), shutdown.token()).with_turns_of(CHUNKS_A_TURN),
        pool,
        fires,
        publisher,
        defaults: Defaults::from(&config),
        loops,
        shutdown: shutdown.clone(),
        calls: Calls::default(),
        shift: Arc::new(Shift::default()),
    });
    let turns = scheduler.loops.begin("shift", LIMIT);
    shutdown.spawn_essential(
        "shift",
        shift::run(Arc::clone(&scheduler.shift), scheduler.fires.clone(), turns, shutdown.clone()),
    );
    shutdown.spawn_essential("agenda", agenda::run(Arc::clone(&scheduler)));
    shutdown.spawn_essential("fire", fire::run(Arc::clone(&scheduler)));
    sweep::spawn_all(&scheduler, config.scheduler.execution_deadline);
    shutdown.spawn_essential("prune", prune::run(Arc::clone(&scheduler), config.scheduler.clone()));
    let settings = config.rabbitmq.settings("hostsync-scheduler dead letters")?;
    shutdown.spawn_essential("dead letters", dead_letters::run(Arc::clone(&scheduler), settings));
    gauges::spawn_all(&scheduler);
    tracing::info!("hostsync-scheduler is running");
    Ok(shutdown.wait_for_service("hostsync-scheduler").await?)
}

/// Two pools that share `database.max_connections`: one for the fires, one for all else.
fn pools(config: &Config) -> anyhow::Result<[MySqlPool; 2]> {
    let [of_sweeps, of_fires] = shares(config.database.max_connections);
    let url = config.database.url()?;
    let pool =
        |connections| database::connect_lazy(url.expose_secret(), connections).context("database.url cannot be used");
    Ok([pool(of_sweeps)?, pool(of_fires)?])
}

/// How many connections are for all else and for the fires. All else has two at least, which makes three where two are
/// configured: with one alone a lock that one sweep waits for would stop the others.
fn shares(all: u32) -> [u32; 2] {
    let of_fires = all.saturating_sub(LEAST_CONNECTIONS_OF_SWEEPS).clamp(1, CONNECTIONS_OF_FIRES);
    [all.saturating_sub(of_fires).max(LEAST_CONNECTIONS_OF_SWEEPS), of_fires]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_leave_the_fires_some_connections_of_those_that_are_configured() {
        assert_eq!([2, 3, 4, 5, 10, 1_000].map(shares), [[2, 1], [2, 1], [2, 2], [2, 3], [7, 3], [997, 3]]);
    }
}
