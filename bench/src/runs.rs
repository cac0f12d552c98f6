//! Following an execution through the REST API.

use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use hostsync_testing::client::Client;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::fleet::ServiceFleet;
use crate::screen::ProgressLine;

/// An execution log, as far as it is shown here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: u64,
    pub(crate) execution_status: String,
    /// 0 or absent until it is prepared.
    pub(crate) total_hosts: Option<u64>,
    pub(crate) success_count: u64,
    pub(crate) failed_count: u64,
    pub(crate) no_data_count: u64,
    pub(crate) not_in_pool_count: u64,
    pub(crate) cancelled_count: u64,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) window_from: DateTime<Utc>,
    pub(crate) window_to: DateTime<Utc>,
    pub(crate) error_message: Option<String>,
}

impl Run {
    /// Whether nothing changes any more.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.execution_status.as_str(), "running" | "waiting")
    }

    /// Hosts in it.
    pub(crate) fn total(&self) -> usize {
        usize::try_from(self.total_hosts.unwrap_or(0)).unwrap_or(usize::MAX)
    }

    /// Hosts with an outcome.
    pub(crate) fn done(&self) -> usize {
        let done =
            self.success_count + self.failed_count + self.no_data_count + self.not_in_pool_count + self.cancelled_count;
        usize::try_from(done).unwrap_or(usize::MAX)
    }

    /// Counts by outcome, those that are not 0.
    pub(crate) fn outcomes(&self) -> String {
        let counts = [
            (self.success_count, "success"),
            (self.no_data_count, "no data"),
            (self.not_in_pool_count, "not in pool"),
            (self.failed_count, "failed"),
            (self.cancelled_count, "cancelled"),
        ];
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        counts.join(", ")
    }

    /// Hosts a second, by the execution's own duration.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn hosts_per_second(&self) -> f64 {
        self.done() as f64 * 1_000.0 / self.duration_ms.unwrap_or(0).max(1) as f64
    }

    /// Its window.
    pub(crate) fn window(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        (self.window_from, self.window_to)
    }
}

/// The newest executions, newest first.
///
/// # Errors
///
/// The API's.
pub(crate) async fn newest(client: &Client, task_id: u64, limit: usize) -> anyhow::Result<Vec<Run>> {
    let path = format!("/es-sync-execution-logs?task_id={task_id}&limit={limit}");
    let mut answer = client.ok(Method::GET, &path, None).await?;
    let Value::Array(logs) = answer["execution_logs"].take() else { anyhow::bail!("{path}: no execution_logs") };
    // A run that never ran has no window; it is of no interest here.
    Ok(logs.into_iter().filter_map(|log| serde_json::from_value(log).ok()).collect())
}

/// Follows an execution to its end, with progress.
///
/// # Errors
///
/// The API's, a service has ended, or it takes longer than `limit`.
pub(crate) async fn follow(
    client: &Client,
    fleet: &mut ServiceFleet,
    id: u64,
    label: &'static str,
    look_every: Duration,
    limit: Duration,
) -> anyhow::Result<Run> {
    let started = Instant::now();
    let mut progress = ProgressLine::start(label, 0);
    loop {
        let log = client.execution(id).await?;
        let run: Run = serde_json::from_value(log).context("the execution's log")?;
        progress.set(run.done(), run.total(), run.outcomes());
        if run.has_ended() {
            progress.finish();
            return Ok(run);
        }
        fleet.check()?;
        anyhow::ensure!(
            started.elapsed() < limit,
            "execution {id} has not ended after {} s: {} of {} hosts are done",
            limit.as_secs(),
            run.done(),
            run.total()
        );
        tokio::time::sleep(look_every).await;
    }
}
