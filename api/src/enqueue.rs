//! Runs that a person makes over hosts that the request names.
//!
//! Owns the check of such a request, the one transaction that stores the run with all its hosts, publishing right after
//! its commit, and waiting for the end on the caller's behalf. Needs the database alone: when the broker is down the run
//! is accepted all the same and the schedulers publish it later. Knows no transport.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use hostsync_shared::database;
use hostsync_shared::execution::{ExecutionId, ExecutionStatus, JobQueue, TaskId, Trigger};
use hostsync_shared::host::HostIp;
use hostsync_shared::outbox::CarriedOn;
use hostsync_shared::tables::details;
use hostsync_shared::tables::executions::{self, ExecutionLog, LeaseToken, NewExecution, Scope};
use hostsync_shared::telemetry;
use hostsync_shared::window::{TimeRange, Window};
use tokio::time::Instant;

use crate::error::ApiError;
use crate::fields::{Problems, Submitted};
use crate::host_file::{HostFile, HostFileError, InvalidLine, MAX_FILE_BYTES, MAX_HOSTS, parse_host_file};
use crate::sources::{Source, Sources, time_range};
use crate::state::{Api, transact, within_bound};
use crate::tasks::task_name;

/// Longest wait for the end of a run, in seconds.
pub(crate) const MAX_WAIT_S: u64 = 60;

/// How often a waiting request looks whether its run has ended.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// Who asked for a run, in its `created_by`.
const CREATED_BY: &str = "api";

/// What both kinds of request say beside their hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunFields {
    pub(crate) task_name: Option<String>,
    pub(crate) query_time_range: Option<String>,
    pub(crate) es_endpoint: Option<String>,
    pub(crate) es_index_pattern: Option<String>,
    pub(crate) mapping: Option<String>,
    /// Seconds, at most [`MAX_WAIT_S`].
    pub(crate) wait_seconds: Option<u64>,
}

/// A run over a list of addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostListRun {
    pub(crate) host_ip_list: Option<Vec<String>>,
    pub(crate) run: RunFields,
}

/// A run over a host file.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostFileRun {
    /// The file as it was sent.
    pub(crate) content: Option<Vec<u8>>,
    /// What the caller calls it: `file_content`, or `file` in a form.
    pub(crate) content_field: &'static str,
    pub(crate) run: RunFields,
}

/// A run that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Enqueued {
    pub(crate) execution_id: ExecutionId,
    pub(crate) total_hosts: usize,
    /// How long the caller wants to wait for its end: see [`wait_for_end`].
    pub(crate) wait: Duration,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) execution_status: String,
    pub(crate) success_count: u64,
    pub(crate) failed_count: u64,
    pub(crate) no_data_count: u64,
    pub(crate) not_in_pool_count: u64,
    pub(crate) cancelled_count: u64,
    pub(crate) pending_count: u64,
}

/// What is stored of a run.
#[derive(Debug)]
struct Order {
    task_name: String,
    trigger: Trigger,
    time_range: TimeRange,
    source: Source,
    hosts: Vec<HostIp>,
    wait: Duration,
}

/// Runs over a list of addresses: a program's, so a single bad address refuses it all.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn execute_host_list(api: &Api, submitted: Submitted<HostListRun>) -> Result<Enqueued, ApiError> {
    let Submitted { value, mut problems } = submitted;
    let hosts = host_list(value.host_ip_list, &mut problems);
    let order = check_run(api, value.run, Trigger::Manual, hosts, &mut problems);
    problems.check()?;
    enqueue(api, order).await
}

/// Runs over a host file: a person's, so bad lines are told and the rest runs.
///
/// # Errors
///
/// Bad fields, a file without a host or too large, the database.
pub(crate) async fn execute_host_file(
    api: &Api,
    submitted: Submitted<HostFileRun>,
) -> Result<(Enqueued, Vec<InvalidLine>, usize), ApiError> {
    let Submitted { value, mut problems } = submitted;
    let file = host_file(value.content.as_deref(), value.content_field, &mut problems)?;
    let order = check_run(api, value.run, Trigger::File, file.hosts, &mut problems);
    if order.hosts.is_empty() && !file.invalid_lines.is_empty() {
        return Err(ApiError::NoHostInFile { problems, invalid_lines: file.invalid_lines });
    }
    problems.check()?;
    let enqueued = enqueue(api, order).await?;
    Ok((enqueued, file.invalid_lines, file.invalid_line_count))
}

/// The addresses of a list, each once, in order.
fn host_list(list: Option<Vec<String>>, problems: &mut Problems) -> Vec<HostIp> {
    const FIELD: &str = "host_ip_list";
    let Some(list) = list else {
        if !problems.has(FIELD) {
            problems.add(FIELD, "must be given");
        }
        return Vec::new();
    };
    if list.is_empty() {
        problems.add(FIELD, "must not be empty");
    }
    let mut seen = HashSet::with_capacity(list.len());
    let mut hosts = Vec::with_capacity(list.len());
    for (position, text) in list.iter().enumerate() {
        match text.parse::<HostIp>() {
            Ok(host) => {
                if seen.insert(host) {
                    hosts.push(host);
                }
            }
            Err(error) => {
                let field = format!("{FIELD}[{position}]");
                // An item that is no text has been told of.
                if !text.is_empty() || !problems.has(&field) {
                    problems.add(field, error.to_string());
                }
            }
        }
    }
    if hosts.len() > MAX_HOSTS {
        problems.add(FIELD, format!("must name at most {MAX_HOSTS} hosts, not {}", hosts.len()));
    }
    hosts
}

fn host_file(content: Option<&[u8]>, field: &'static str, problems: &mut Problems) -> Result<HostFile, ApiError> {
    let Some(content) = content else {
        if !problems.has(field) {
            problems.add(field, "must be given");
        }
        return Ok(HostFile::default());
    };
    match parse_host_file(content) {
        Ok(file) => {
            if file.hosts.is_empty() {
                problems.add(field, "holds no host address");
            }
            Ok(file)
        }
        Err(HostFileError::TooLarge) => Err(ApiError::TooLarge { what: "the host file", limit_bytes: MAX_FILE_BYTES }),
        Err(error @ HostFileError::TooManyHosts) => {
            problems.add(field, error.to_string());
            Ok(HostFile::default())
        }
    }
}

fn check_run(api: &Api, run: RunFields, trigger: Trigger, hosts: Vec<HostIp>, problems: &mut Problems) -> Order {
    let task_name = match run.task_name {
        Some(name) => task_name(&name, problems),
        None => {
            if !problems.has("task_name") {
                problems.add("task_name", "must be given");
            }
            String::new()
        }
    };
    let endpoint = api.sources.endpoint(&run.es_endpoint.unwrap_or_default(), problems);
    let index_pattern = Sources::index_pattern(&run.es_index_pattern.unwrap_or_default(), problems);
    let mapping = api.sources.mapping(&run.mapping.unwrap_or_default(), problems);
    Order {
        task_name,
        trigger,
        time_range: time_range(run.query_time_range.as_deref(), problems),
        source: api.sources.resolve(endpoint, index_pattern, mapping),
        hosts,
        wait: Duration::from_secs(run.wait_seconds.unwrap_or(0).min(MAX_WAIT_S)),
    }
}

/// Stores the run and publishes it in the background.
async fn enqueue(api: &Api, order: Order) -> Result<Enqueued, ApiError> {
    let token = LeaseToken::new();
    let trace_context = telemetry::current_trace_headers().remove("traceparent");
    let id = within_bound(async {
        let _store = api.stores.acquire().await.context("the semaphore is never closed")?;
        transact(|| store_once(api, &order, token, trace_context.as_deref())).await
    })
    .await?;
    // No await between the commit and this line: a caller that goes away cannot come between them.
    publish(api, id, token);
    let total_hosts = order.hosts.len();
    tracing::info!(
        execution_id = %id,
        trigger = %order.trigger,
        total_hosts,
        "execution {id} was enqueued over {total_hosts} hosts"
    );
    Ok(Enqueued { execution_id: id, total_hosts, wait: order.wait })
}

async fn store_once(
    api: &Api,
    order: &Order,
    token: LeaseToken,
    trace_context: Option<&str>,
) -> Result<ExecutionId, ApiError> {
    let mut transaction = api.begin().await?;
    let now = database::now(&mut transaction).await?;
    let scope = Scope {
        window: Window::ending_at(now, &order.time_range),
        query_time_range: order.time_range.to_string(),
        mon_date: now.with_timezone(&api.time_zone).date_naive(),
        es_endpoint: order.source.es_endpoint.clone(),
        es_index_pattern: order.source.es_index_pattern.clone(),
        mapping: order.source.mapping.clone(),
    };
    let new = NewExecution {
        task_id: TaskId::NONE,
        task_name: &order.task_name,
        trigger: order.trigger,
        scheduled_for: None,
        status: ExecutionStatus::Running,
        scope: &scope,
        queue: JobQueue::for_manual_work(order.hosts.len()),
        created_by: CREATED_BY,
        error_message: None,
        lease: Some(token),
        trace_context,
    };
    let id = executions::insert(&mut transaction, &new).await?;
    details::insert_hosts(&mut transaction, id, &order.hosts).await?;
    let (total, last_detail_id) = details::totals(&mut transaction, id).await?;
    if !executions::finish_preparing(&mut transaction, id, token, total, last_detail_id).await? {
        return Err(anyhow::anyhow!("execution {id} could not be prepared in its own transaction").into());
    }
    transaction.commit().await?;
    Ok(id)
}

/// Publishes the jobs in a task that the shutdown waits for. Whatever becomes of it, the run is stored and the schedulers'
/// sweep goes on with it.
fn publish(api: &Api, id: ExecutionId, token: LeaseToken) {
    let outbox = api.outbox.clone();
    let shutdown = api.shutdown.clone();
    let task = async move {
        let outcome = tokio::select! {
            outcome = outbox.carry_on(id, token) => outcome,
            () = shutdown.ending(Duration::ZERO) => {
                tracing::warn!(execution_id = %id, "execution {id} is not published to its end; the scheduler goes on");
                return;
            }
        };
        match outcome {
            Ok(CarriedOn::Done) => tracing::debug!(execution_id = %id, "execution {id} is published"),
            Ok(CarriedOn::Replaced | CarriedOn::EndpointClosed | CarriedOn::Stopped) => {
                tracing::info!(execution_id = %id, "execution {id} is left to the scheduler");
            }
            Err(error) => tracing::warn!(
                execution_id = %id,
                error = &error as &dyn std::error::Error,
                "execution {id} could not be published yet; the scheduler goes on with it"
            ),
        }
    };
    drop(api.shutdown.spawn("publish", task));
}

/// Waits for the end of a run, as long as the caller wants and the process lives. The run is accepted whatever happens
/// here, so a database that fails meanwhile is no error: the answer tells what was seen last. `None`: without a wait.
pub(crate) async fn wait_for_end(api: &Api, run: &Enqueued) -> Option<Outcome> {
    if run.wait.is_zero() {
        return None;
    }
    let id = run.execution_id;
    let mut seen = Outcome {
        execution_status: ExecutionStatus::Running.to_string(),
        success_count: 0,
        failed_count: 0,
        no_data_count: 0,
        not_in_pool_count: 0,
        cancelled_count: 0,
        pending_count: run.total_hosts as u64,
    };
    let Ok(_waiting) = api.waiting.try_acquire() else {
        return Some(seen);
    };
    let deadline = Instant::now() + run.wait;
    let polling = async {
        while !seen.has_ended() {
            tokio::time::sleep(POLL_EVERY).await;
            let log = async {
                let mut connection = api.connection().await?;
                Ok::<_, ApiError>(executions::find(&mut connection, id).await?)
            };
            match log.await {
                Ok(Some(log)) => seen = Outcome::from(&log),
                // Pruned already, or the database is away.
                Ok(None) => return,
                Err(error) => tracing::debug!(execution_id = %id, %error, "a look at a run failed"),
            }
        }
    };
    tokio::select! {
        () = polling => {}
        () = tokio::time::sleep_until(deadline) => {}
        () = api.shutdown.stopping() => {}
    }
    Some(seen)
}

impl Outcome {
    /// Whether nothing changes any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.execution_status != ExecutionStatus::Running.as_str()
    }

    /// Hosts that have an outcome.
    pub(crate) fn done(&self) -> u64 {
        self.success_count + self.failed_count + self.no_data_count + self.not_in_pool_count + self.cancelled_count
    }
}

impl From<&ExecutionLog> for Outcome {
    fn from(log: &ExecutionLog) -> Self {
        Self {
            execution_status: log.execution_status.clone(),
            success_count: log.success_count,
            failed_count: log.failed_count,
            no_data_count: log.no_data_count,
            not_in_pool_count: log.not_in_pool_count,
            cancelled_count: log.cancelled_count,
            pending_count: log.pending_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(list: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut problems = Problems::default();
        let hosts = host_list(Some(list.iter().map(|&text| text.to_owned()).collect()), &mut problems);
        (
            hosts.iter().map(ToString::to_string).collect(),
            problems.into_reported().into_iter().map(|p| format!("{}: {}", p.field, p.message)).collect(),
        )
    }

    #[test]
    fn a_list_names_each_host_once_in_order() {
        let (hosts, problems) = told(&["10.0.0.2", "2001:DB8::1", "10.0.0.1", "10.0.0.2", "2001:db8:0::1"]);
        assert_eq!(hosts, ["10.0.0.2", "2001:db8::1", "10.0.0.1"]);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn every_bad_address_is_named_by_its_position() {
        let (_, problems) = told(&["10.0.0.1", " 10.0.0.2", "", "web-1"]);
        assert_eq!(
            problems,
            [
                "host_ip_list[1]: \" 10.0.0.2\" is not an IPv4 or IPv6 address",
                "host_ip_list[2]: \"\" is not an IPv4 or IPv6 address",
                "host_ip_list[3]: \"web-1\" is not an IPv4 or IPv6 address",
            ]
        );
        assert_eq!(told(&[]).1, ["host_ip_list: must not be empty"]);
    }

    #[test]
    fn a_list_has_at_most_a_hundred_thousand_hosts() {
        let mut list: Vec<String> =
            (0..=MAX_HOSTS).map(|n| std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap()).to_string()).collect();
        let mut problems = Problems::default();
        host_list(Some(list.clone()), &mut problems);
        assert_eq!(problems.into_reported()[0].message, "must name at most 100000 hosts, not 100001");
        list.pop();
        let mut problems = Problems::default();
        assert_eq!(host_list(Some(list), &mut problems).len(), MAX_HOSTS);
        assert_eq!(problems.count(), 0);
    }
}
