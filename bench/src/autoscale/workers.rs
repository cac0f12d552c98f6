//! Real worker processes in the place of pods.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use anyhow::Context;
use hostsync_testing::process::start_detached;

use crate::fleet::{Ports, end, last_lines, listen, tell_to_end};

/// Longest wait for an answer of `/readyz`.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// The workers of one play. They are ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Workers {
    environment: Vec<(String, String)>,
    folder: PathBuf,
    /// From SIGTERM to SIGKILL.
    pod_grace: Duration,
    ports: Ports,
    started: u32,
    /// Oldest first.
    kept: Vec<Worker>,
    leaving: Vec<Leaving>,
    pub(crate) gone: Vec<StoppedWorker>,
    client: reqwest::Client,
}

#[derive(Debug)]
struct Worker {
    number: u32,
    url: String,
    log: PathBuf,
    child: Child,
    ready_at: Option<Duration>,
}

#[derive(Debug)]
struct Leaving {
    worker: Worker,
    told_at: Duration,
    jobs_left: u64,
}

/// A worker that was told to stop and has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoppedWorker {
    pub(crate) number: u32,
    pub(crate) told_at: Duration,
    /// From SIGTERM to its end.
    pub(crate) took: Duration,
    /// `None`: ended by a signal.
    pub(crate) exit_code: Option<i32>,
    /// Hosts of the run without an outcome when it was told.
    pub(crate) jobs_left: u64,
}

impl Workers {
    pub(crate) fn new(
        environment: Vec<(String, String)>,
        folder: PathBuf,
        pod_grace: Duration,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            environment,
            folder,
            pod_grace,
            ports: Ports::default(),
            started: 0,
            kept: Vec::new(),
            leaving: Vec::new(),
            gone: Vec::new(),
            client: reqwest::Client::builder().timeout(READY_TIMEOUT).build()?,
        })
    }

    /// How many shall run.
    pub(crate) fn wanted(&self) -> u32 {
        u32::try_from(self.kept.len()).unwrap_or(u32::MAX)
    }

    /// How many are ready.
    pub(crate) fn ready(&self) -> u32 {
        u32::try_from(self.kept.iter().filter(|worker| worker.ready_at.is_some()).count()).unwrap_or(u32::MAX)
    }

    /// Whether no process is left.
    pub(crate) fn are_all_gone(&self) -> bool {
        self.kept.is_empty() && self.leaving.is_empty()
    }

    /// Starts or stops workers until so many are wanted, at `at`, with `jobs_left` hosts without an outcome. The newest go
    /// first, as a `ReplicaSet` does it among pods that are equal else:
    /// <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset>.
    ///
    /// # Errors
    ///
    /// A process cannot be started or told.
    pub(crate) fn scale_to(&mut self, wanted: u32, at: Duration, jobs_left: u64) -> anyhow::Result<()> {
        while self.wanted() < wanted {
            self.start()?;
        }
        while self.wanted() > wanted
            && let Some(worker) = self.kept.pop()
        {
            tell_to_end(&worker.child).context("a worker could not be told to end")?;
            self.leaving.push(Leaving { worker, told_at: at, jobs_left });
        }
        Ok(())
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.started += 1;
        let listen = listen(self.ports.take(0)?);
        let log = self.folder.join(format!("worker-{}.log", self.started));
        let mut environment = self.environment.clone();
        environment.push(("HOSTSYNC_WORKER__LISTEN".to_owned(), listen.clone()));
        let child = start_detached("hostsync-worker", &environment, &log)?;
        self.kept.push(Worker {
            number: self.started,
            url: format!("http://{listen}/readyz"),
            log,
            child,
            ready_at: None,
        });
        Ok(())
    }

    /// Sees who has become ready and who has ended.
    ///
    /// # Errors
    ///
    /// A worker ended that was not told to, or did not end within the grace period of its pod.
    pub(crate) async fn look(&mut self, at: Duration) -> anyhow::Result<()> {
        for worker in &mut self.kept {
            if let Some(status) = worker.child.try_wait()? {
                anyhow::bail!(
                    "worker {} has ended ({status}); its log ends:\n{}",
                    worker.number,
                    last_lines(&worker.log)
                );
            }
            if worker.ready_at.is_none() {
                let answer = self.client.get(&worker.url).send().await;
                worker.ready_at = answer.is_ok_and(|answer| answer.status().is_success()).then_some(at);
            }
        }
        let mut still = Vec::new();
        for mut leaving in self.leaving.drain(..) {
            let Leaving { told_at, jobs_left, .. } = leaving;
            let Worker { number, child, log, .. } = &mut leaving.worker;
            let took = at.saturating_sub(told_at);
            if let Some(status) = child.try_wait()? {
                self.gone.push(StoppedWorker { number: *number, told_at, took, exit_code: status.code(), jobs_left });
                continue;
            }
            anyhow::ensure!(
                took < self.pod_grace,
                "worker {number} has not ended {} s after SIGTERM; its log ends:\n{}",
                took.as_secs(),
                last_lines(log)
            );
            still.push(leaving);
        }
        self.leaving = still;
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        end(self
            .kept
            .iter_mut()
            .chain(self.leaving.iter_mut().map(|leaving| &mut leaving.worker))
            .map(|worker| &mut worker.child));
    }
}
