//! What a good engineer scripts by hand (`bench/chunked/chunked.py`): Celery, 500 hosts a message, one search and bulk statements
//! for them, four processes, no ledger.
//!
//! Its processes are started once, as hostsync's are, so that their start is no part of a run.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::{FIRST_OF_CHUNKED, Setting, SyncCounts};
use crate::processes::with_children;

/// The folder of its program, from the checkout's.
const FOLDER: &str = "bench/chunked";

/// Processes that work.
const PROCESSES: &str = "4";

/// Its processes; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Chunked {
    worker: Child,
    enqueuer: Child,
    orders: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    next_execution: AtomicU64,
}

impl Chunked {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// Its environment of Python has not been made.
    pub(crate) fn start(setting: &Setting, logs: &Path) -> anyhow::Result<Self> {
        let log = || std::fs::File::create(logs.join("chunked.log")).context("a log");
        let program = |name: &str| {
            let path = std::path::absolute(setting.python.join(name))?;
            let mut command = Command::new(&path);
            command
                .current_dir(FOLDER)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("CHUNKED_BROKER", &setting.rabbitmq_url)
                .env("CHUNKED_DATABASE", &setting.database_url)
                .env("CHUNKED_SEARCH", setting.search_url())
                .stderr(log()?)
                .kill_on_drop(true);
            anyhow::Ok(command)
        };
        let missing = || format!("{} has no Celery: `make bench` installs it", setting.python.display());
        let worker = program("celery")?
            .args(["-A", "chunked", "worker", "--concurrency", PROCESSES, "--loglevel", "WARNING"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(missing)?;
        let mut enqueuer = program("python")?
            .arg("chunked.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(missing)?;
        let orders = enqueuer.stdin.take().context("a pipe to Celery's side")?;
        let answers = enqueuer.stdout.take().context("a pipe from Celery's side")?;
        Ok(Self {
            worker,
            enqueuer,
            orders: Mutex::new((orders, BufReader::new(answers).lines())),
            next_execution: AtomicU64::new(FIRST_OF_CHUNKED),
        })
    }

    /// Its processes, once it has done something: the worker has children then.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        [&self.worker, &self.enqueuer].into_iter().filter_map(Child::id).flat_map(with_children)
    }

    /// As [`Setting::run`].
    pub(super) async fn run(
        &self,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        hosts: &Arc<Vec<String>>,
        done: &Arc<AtomicUsize>,
    ) -> anyhow::Result<SyncCounts> {
        let mut pipes = self.orders.lock().await;
        let (orders, answers) = &mut *pipes;
        let order = json!({
            "execution": self.next_execution.fetch_add(1, Ordering::Relaxed),
            "from_ms": from.timestamp_millis(),
            "to_ms": to.timestamp_millis(),
            "hosts": hosts.as_slice(),
        });
        orders.write_all(format!("{order}\n").as_bytes()).await?;
        while let Some(line) = answers.next_line().await? {
            match line.parse() {
                Ok(count) => done.store(count, Ordering::Relaxed),
                Err(_) => return serde_json::from_str(&line).with_context(|| format!("the answer {line:?}")),
            }
        }
        anyhow::bail!("Celery's side has ended; its log is chunked.log beside the services' logs")
    }
}
