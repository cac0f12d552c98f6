//! Whether the database answers: a worker does not hold on to jobs that it cannot finish.
//!
//! A short absence is waited out with the jobs in hand. After a longer one the lanes give their jobs back, before the
//! broker takes them away, and take none until the database answers.

use std::time::Duration;

use hostsync_metrics::loops::Loops;
use hostsync_service::operations::Readiness;
use hostsync_service::shutdown::Shutdown;
use hostsync_service::startup;
use sqlx::MySqlPool;
use tokio::sync::watch;
use tokio::time::Instant;

/// An absence that is waited out with the jobs in hand; far below the broker's 30 min ack time-out.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was last seen of the database. Clones see the same.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseWatch(watch::Receiver<Option<Instant>>);

impl DatabaseWatch {
    /// Watches until the shutdown begins; keeps `/readyz` true about the database.
    pub(crate) fn start(pool: MySqlPool, readiness: Readiness, loops: Loops, shutdown: &Shutdown) -> Self {
        let (away_since, receiver) = watch::channel(None);
        shutdown.spawn_essential(
            "database watch",
            startup::watch_database(pool, None, readiness, loops, shutdown.clone(), move |answers| {
                away_since.send_modify(|since| {
                    *since = if answers { None } else { since.or(Some(Instant::now())) };
                });
            }),
        );
        Self(receiver)
    }

    /// Resolves when the database has been away for longer than is waited out. May be dropped and called again.
    pub(crate) async fn lost(&self) {
        let mut receiver = self.0.clone();
        loop {
            let Some(since) = *receiver.borrow_and_update() else {
                if receiver.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(since + PATIENCE) => return,
                _ = receiver.changed() => {}
            }
        }
    }

    /// Resolves when the database answers, as far as is known.
    pub(crate) async fn answers(&self) {
        // The sender lives as long as the watch; when that is gone, the process stops.
        let _ = self.0.clone().wait_for(Option::is_none).await;
    }
}
