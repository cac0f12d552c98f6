//! Stopping in order: first take nothing new, then finish what has begun, then give up.
//!
//! Owns the two moments (the beginning, and its end a grace period later) and the list of tasks that must
//! end. Dropping a task's work when its time is over is the task's own duty: it watches [`Shutdown::ending`].
//! Nothing here waits without a bound.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, info, warn};

/// How long [`Shutdown::wait`] waits beyond the grace period for tasks to notice that it is over.
pub const LAST_WAIT: Duration = Duration::from_secs(2);

/// The way a process, or one service of it, comes to its end. Clones are the same shutdown.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    grace: Duration,
    stopping: CancellationToken,
    hurried: CancellationToken,
    began: OnceLock<Instant>,
    tracker: TaskTracker,
    running: Mutex<Running>,
    panicked: OnceLock<&'static str>,
}

/// The tasks that have not ended, by the order of their start.
#[derive(Debug, Default)]
struct Running {
    next: u64,
    names: BTreeMap<u64, &'static str>,
}

/// Tasks that had not ended when the last wait was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillRunning {
    /// Their names, sorted.
    pub tasks: Vec<&'static str>,
}

impl Shutdown {
    /// One that begins when [`Self::begin`] is called: for tests, and for a service that runs with others.
    pub fn manual(grace: Duration) -> Self {
        Self(Arc::new(Inner {
            grace,
            stopping: CancellationToken::new(),
            hurried: CancellationToken::new(),
            began: OnceLock::new(),
            tracker: TaskTracker::new(),
            running: Mutex::default(),
            panicked: OnceLock::new(),
        }))
    }

    /// One that begins at the first SIGTERM or SIGINT; a second signal ends the grace period at once.
    /// Must be called in a runtime.
    ///
    /// # Errors
    ///
    /// The handlers cannot be installed.
    pub fn on_signals(grace: Duration) -> io::Result<Self> {
        let shutdown = Self::manual(grace);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let begun = shutdown.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            };
            let name = next().await;
            let grace_s = begun.0.grace.as_secs();
            info!(signal = name, grace_s, "{name}: stopping; what has begun has {grace_s} s to finish");
            begun.begin();
            let name = next().await;
            warn!(signal = name, "{name} again: the grace period is over");
            begun.hurry();
        });
        Ok(shutdown)
    }

    /// Begins: nothing new is taken from now on. Calling it again changes nothing.
    pub fn begin(&self) {
        self.0.began.get_or_init(Instant::now);
        self.0.stopping.cancel();
    }

    /// Ends the grace period now.
    pub fn hurry(&self) {
        self.begin();
        self.0.hurried.cancel();
    }

    /// Whether it has begun.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    /// Resolves when it has begun. May be dropped and called again freely.
    pub async fn stopping(&self) {
        self.0.stopping.cancelled().await;
    }

    /// The token behind [`Self::stopping`], for what wants one. Cancelling a child of it is harmless.
    pub fn token(&self) -> CancellationToken {
        self.0.stopping.child_token()
    }

    /// Resolves `margin` before the grace period ends, at once when that has passed: with a margin of ten
    /// seconds the moment to give up searches, with none the moment to give up everything.
    pub async fn ending(&self, margin: Duration) {
        self.stopping().await;
        let began = *self.0.began.get_or_init(Instant::now);
        tokio::select! {
            () = tokio::time::sleep_until(began + self.0.grace.saturating_sub(margin)) => {}
            () = self.0.hurried.cancelled() => {}
        }
    }

    /// Runs a task that [`Self::wait`] waits for, in the current span. `name` is what it is called if it
    /// does not end. A task that panics has ended.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let entry = self.enter(name);
        self.0.tracker.spawn(
            async move {
                let _entry = entry;
                task.await
            }
            .in_current_span(),
        )
    }

    /// As [`Self::spawn`], for a loop that the process is nothing without: if it panics, the shutdown begins and
    /// [`Self::wait`] says so, so that whoever watches over the process starts a new one.
    pub fn spawn_essential<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let owner = self.clone();
        self.spawn(name, async move {
            if tokio::spawn(task.in_current_span()).await.is_err() {
                tracing::error!(task = name, "{name} panicked: the process ends");
                owner.0.panicked.get_or_init(|| name);
                owner.begin();
            }
        });
    }

    /// Waits until it has begun and every task has ended, at most until [`LAST_WAIT`] after the end of the
    /// grace period.
    ///
    /// # Errors
    ///
    /// The tasks that have not ended by then.
    pub async fn wait(&self) -> Result<(), StillRunning> {
        self.stopping().await;
        self.0.tracker.close();
        tokio::select! {
            biased;
            () = self.0.tracker.wait() => Ok(()),
            () = async { self.ending(Duration::ZERO).await; tokio::time::sleep(LAST_WAIT).await } => {
                let mut tasks: Vec<_> = self.running().names.values().copied().collect();
                tasks.sort_unstable();
                Err(StillRunning { tasks })
            }
        }
    }

    /// As [`Self::wait`], for the end of a service: what still runs when the grace period is over is logged and left, since
    /// everything that it holds comes back by itself.
    ///
    /// # Errors
    ///
    /// An essential loop panicked.
    pub async fn wait_for_service(&self, service: &str) -> Result<(), LoopPanic> {
        if let Err(left) = self.wait().await {
            warn!("{left}");
        }
        info!("{service} has stopped");
        self.0.panicked.get().map_or(Ok(()), |task| Err(LoopPanic { task }))
    }

    fn enter(&self, name: &'static str) -> Entry {
        let mut running = self.running();
        let id = running.next;
        running.next += 1;
        running.names.insert(id, name);
        Entry { inner: Arc::clone(&self.0), id }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loop that the process is nothing without has panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{task} panicked")]
pub struct LoopPanic {
    /// Its name.
    pub task: &'static str,
}

/// A line in the list of running tasks, taken out when the task ends in whatever way.
struct Entry {
    inner: Arc<Inner>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner).names.remove(&self.id);
    }
}

impl std::error::Error for StillRunning {}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "still running when the grace period was over: {}", self.tasks.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_task_that_stops_in_time_is_waited_for() {
        let shutdown = Shutdown::manual(LONG);
        let task = shutdown.clone();
        let handle = shutdown.spawn("loop", async move {
            task.stopping().await;
            tokio::time::sleep(SHORT).await;
            "done"
        });
        assert!(!shutdown.is_stopping());
        shutdown.begin();
        assert_eq!(shutdown.wait().await, Ok(()));
        assert_eq!(handle.await.expect("ended"), "done");
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_named_after_a_bounded_wait() {
        let shutdown = Shutdown::manual(SHORT);
        drop(shutdown.spawn("stuck", std::future::pending::<()>()));
        drop(shutdown.spawn("quick", async {}));
        shutdown.begin();
        let started = Instant::now();
        let left = shutdown.wait().await.expect_err("stuck");
        assert_eq!(left.to_string(), "still running when the grace period was over: stuck");
        assert!(started.elapsed() < LAST_WAIT + Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_task_that_panics_has_ended() {
        let shutdown = Shutdown::manual(LONG);
        let handle = shutdown.spawn("bad", async { panic!("on purpose") });
        assert!(handle.await.is_err());
        shutdown.begin();
        assert_eq!(shutdown.wait().await, Ok(()));
    }

    #[tokio::test]
    async fn an_essential_loop_that_panics_ends_the_service() {
        let shutdown = Shutdown::manual(LONG);
        shutdown.spawn_essential("fire", async { panic!("on purpose") });
        assert_eq!(shutdown.wait_for_service("test").await, Err(LoopPanic { task: "fire" }));
    }

    #[tokio::test]
    async fn work_is_given_up_a_margin_before_the_end() {
        let shutdown = Shutdown::manual(LONG);
        shutdown.begin();
        shutdown.ending(LONG).await;
        assert!(tokio::time::timeout(SHORT, shutdown.ending(Duration::ZERO)).await.is_err());
        shutdown.hurry();
        shutdown.ending(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn waiting_before_the_beginning_waits_for_it() {
        let shutdown = Shutdown::manual(SHORT);
        assert!(tokio::time::timeout(SHORT, shutdown.wait()).await.is_err());
        shutdown.token().cancel();
        assert!(!shutdown.is_stopping());
    }

    #[tokio::test]
    async fn a_signal_begins_it_and_a_second_one_hurries_it() {
        const DEADLINE: Duration = Duration::from_secs(20);
        let shutdown = Shutdown::on_signals(LONG).expect("handlers");
        let ending = shutdown.ending(Duration::ZERO);
        let signal = || {
            let own_id = std::process::id();
            let status =
                std::process::Command::new("sh").args(["-c", &format!("kill -TERM {own_id}")]).status().expect("kill");
            assert!(status.success());
        };
        signal();
        tokio::time::timeout(DEADLINE, shutdown.stopping()).await.expect("begun");
        signal();
        tokio::time::timeout(DEADLINE, ending).await.expect("hurried");
    }
}
