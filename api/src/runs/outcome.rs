//! A run that was accepted, how it stands, and both in a sentence.

use hostsync_model::execution::{ExecutionId, ExecutionStatus};
use hostsync_store::tables::executions::views::ExecutionLog;
use hostsync_store::word::Word;
use serde::{Deserialize, Serialize};

use crate::request::{InvalidLine, counted};

/// What was accepted, as it is kept with the idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) execution_id: ExecutionId,
    /// `None`: a run over the whole pool that has not been prepared.
    pub(crate) total_hosts: Option<usize>,
    /// It waits for the task's last run.
    pub(crate) is_waiting: bool,
    /// The bad lines of a file that are told of, and how many there are.
    pub(crate) invalid_lines: Option<(Vec<InvalidLine>, usize)>,
    /// Hosts that a full sync has added to the pool.
    pub(crate) new_host_count: Option<usize>,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) execution_status: Word<ExecutionStatus>,
    /// `None` until it is prepared.
    pub(crate) total_hosts: Option<u64>,
    pub(crate) success_count: u64,
    pub(crate) failed_count: u64,
    pub(crate) no_data_count: u64,
    pub(crate) not_in_pool_count: u64,
    pub(crate) cancelled_count: u64,
    pub(crate) pending_count: u64,
    /// Why it failed or was skipped, or the reason of one of its failed hosts.
    #[serde(default)]
    pub(crate) error_message: Option<String>,
    /// Why it does not go on; empty when it does.
    #[serde(default)]
    pub(crate) waiting_for: String,
    /// What a person should know of it.
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
}

impl Outcome {
    /// Whether nothing changes any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.execution_status != ExecutionStatus::Running && self.execution_status != ExecutionStatus::Waiting
    }

    /// Hosts that have an outcome.
    pub(crate) fn done(&self) -> u64 {
        self.success_count + self.failed_count + self.no_data_count + self.not_in_pool_count + self.cancelled_count
    }
}

/// Whether the hosts of a run are known.
pub(crate) fn is_prepared(log: &ExecutionLog) -> bool {
    log.prepared && log.execution_status != ExecutionStatus::Waiting
}

impl From<&ExecutionLog> for Outcome {
    fn from(log: &ExecutionLog) -> Self {
        Self {
            execution_status: log.execution_status.clone(),
            total_hosts: is_prepared(log).then_some(log.total_hosts),
            success_count: log.success_count,
            failed_count: log.failed_count,
            no_data_count: log.no_data_count,
            not_in_pool_count: log.not_in_pool_count,
            cancelled_count: log.cancelled_count,
            pending_count: log.pending_count,
            error_message: log.error_message.clone(),
            waiting_for: log.waiting_for.clone().unwrap_or_default(),
            warnings: log.warnings(),
        }
    }
}

/// What became of a run, in a sentence.
pub(crate) fn message(run: &Accepted, outcome: Option<&Outcome>) -> String {
    let id = run.execution_id;
    let hosts = match outcome.map_or(run.total_hosts.map(|hosts| hosts as u64), |outcome| outcome.total_hosts) {
        Some(hosts) => counted(usize::try_from(hosts).unwrap_or(usize::MAX), "host"),
        None => "the whole pool".to_owned(),
    };
    let is_waiting = outcome.map_or(run.is_waiting, |outcome| outcome.execution_status == ExecutionStatus::Waiting);
    let mut message = match outcome {
        _ if is_waiting => format!("execution {id} waits until the task's last run has ended"),
        None => format!("execution {id} was enqueued over {hosts}"),
        Some(outcome) if outcome.has_ended() => {
            format!("execution {id} over {hosts} has ended: {}", outcome.execution_status)
        }
        Some(outcome) => format!("execution {id} over {hosts} is going on, {} of them are done", outcome.done()),
    };
    for (count, noun, what) in [
        (run.new_host_count.unwrap_or(0), "host", "added to the pool"),
        (run.invalid_lines.as_ref().map_or(0, |(_, count)| *count), "bad line", "left out"),
    ] {
        if count > 0 {
            message.push_str("; ");
            message.push_str(&counted(count, noun));
            message.push(' ');
            message.push_str(what);
        }
    }
    message
}
