//! The worker: takes jobs, asks the search engine once for hundreds of hosts, writes the CMDB.
//!
//! Any number of workers run; none knows of another. What they promise each other stands in the rows that they lock
//! (`write`) and in the acks that follow a commit (`batch`).

mod attempt;
mod batch;
mod commit;
mod crashes;
mod database_watch;
mod decision;
mod doubts;
mod gather;
mod job_delivery;
mod job_result;
mod lane;
mod missing_indices;
mod run_change;
mod scopes;
mod search;
mod search_limit;
mod search_log;
mod sources;
mod trouble;
mod workbench;
mod write;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hostsync_metrics::Metrics;
use hostsync_metrics::loops::LIMIT;
use hostsync_model::execution::JobQueue;
use hostsync_queue::Publisher;
use hostsync_service::config::Config;
use hostsync_service::operations::{self, Need, Readiness};
use hostsync_service::shutdown::Shutdown;
use hostsync_service::startup;
use hostsync_store::database;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::database_watch::DatabaseWatch;
use crate::lane::{Lane, LaneSettings};
use crate::missing_indices::MissingIndices;
use crate::scopes::Scopes;
use crate::search_limit::{SearchGates, Stopping, keep_up};
use crate::sources::SourceRegistry;
use crate::workbench::Workbench;

/// Searches are given up this long before the grace period ends, so that what they found can still be written.
const SEARCH_MARGIN: Duration = Duration::from_secs(10);

/// Batches of the manual queue at once: one slot beyond `worker.concurrency`, so that nobody waits behind a schedule.
const MANUAL_SLOTS: usize = 1;

/// Runs a worker until `shutdown` has begun and its batches have ended.
///
/// # Errors
///
/// The configuration lacks something, an address cannot be bound, or the schema is older than this binary.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.worker.listen)
        .await
        .with_context(|| format!("cannot listen on worker.listen = {}", config.worker.listen))?;
    serve(config, listener, shutdown).await
}

/// As [`run`], on a listener that is bound already.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(config: Config, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    let readiness = Readiness::new([
        ("database", Need::Required),
        (lane::readiness_of(JobQueue::Bulk), Need::Required),
        (lane::readiness_of(JobQueue::Manual), Need::Required),
    ]);
    let loops = Metrics::global().new_loops();
    let router = operations::standalone_router(readiness.clone(), loops.clone(), Metrics::global());
    shutdown.spawn("operations server", operations::serve(listener, router, shutdown.clone()));

    let pool = database::connect_lazy(config.database.url()?.expose_secret(), config.database.max_connections)
        .context("database.url cannot be used")?;
    startup::follow_secrets(&config, [&pool], &loops, &shutdown);
    let sources = SourceRegistry::new(pool.clone(), &config)?;
    let queue = config.rabbitmq.settings("hostsync-worker")?;
    if !startup::wait_for_database(&pool, &readiness, &loops, &shutdown).await? {
        return Ok(());
    }

    let bench = Arc::new(Workbench {
        name: search_log::worker_name(),
        pool: pool.clone(),
        sources,
        missing_indices: MissingIndices::new(pool.clone()),
        gates: SearchGates::new(config.worker.batch_hosts),
        stopping: shutdown.token(),
        stop_searches: CancellationToken::new(),
        stop_hard: CancellationToken::new(),
    });
    give_up_in_time(&bench, &shutdown);
    let watched = Arc::clone(&bench);
    let stopping = shutdown.token();
    let turns = loops.begin("endpoint watch", LIMIT);
    shutdown.spawn_essential("endpoint watch", async move { watched.sources.watch(turns, stopping).await });
    let sharing = Arc::clone(&bench);
    let turns = loops.begin("search limit", LIMIT);
    let end = Stopping { begins: shutdown.token(), searches_end: bench.stop_searches.clone() };
    shutdown.spawn_essential("search limit", async move { keep_up(&sharing.gates, &sharing.pool, turns, end).await });
    let database = DatabaseWatch::start(pool.clone(), readiness.clone(), loops.clone(), &shutdown);

    let scopes = Arc::new(Scopes::new(pool));
    let publisher = Publisher::new(queue.clone());
    let bulk = LaneSettings {
        queue: JobQueue::Bulk,
        batch_hosts: config.worker.batch_hosts,
        linger: config.worker.batch_linger,
        slots: config.worker.concurrency,
    };
    let manual = LaneSettings { queue: JobQueue::Manual, linger: Duration::ZERO, slots: MANUAL_SLOTS, ..bulk };
    for settings in [bulk, manual] {
        let lane = Lane::new(
            settings,
            queue.clone(),
            Arc::clone(&bench),
            Arc::clone(&scopes),
            publisher.clone(),
            readiness.clone(),
            database.clone(),
            loops.begin(lane::name_of(settings.queue), LIMIT),
            shutdown.clone(),
        );
        shutdown.spawn_essential("lane", lane.run());
    }
    tracing::info!("hostsync-worker is running");
    Ok(shutdown.wait_for_service("hostsync-worker").await?)
}

/// Ends searches, and then everything, as the grace period runs out. Untracked: these wait for the end themselves.
fn give_up_in_time(bench: &Arc<Workbench>, shutdown: &Shutdown) {
    for (margin, token) in [(SEARCH_MARGIN, &bench.stop_searches), (Duration::ZERO, &bench.stop_hard)] {
        let (shutdown, token) = (shutdown.clone(), token.clone());
        tokio::spawn(async move {
            shutdown.ending(margin).await;
            token.cancel();
        });
    }
}
