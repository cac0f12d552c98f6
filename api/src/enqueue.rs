//! Runs that a person makes over hosts that the request names, and what every run made by a person has in common.
//!
//! Owns the check of such a request, the one transaction that stores the run with all its hosts (and with its idempotency
//! key), publishing right after its commit, and waiting for the end on the caller's behalf. Needs the database alone: when
//! the broker is down the run is accepted all the same and the schedulers publish it later. Knows no transport.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use hostsync_metrics::spans;
use hostsync_model::causes::causes;
use hostsync_model::execution::{ExecutionId, ExecutionStatus, JobQueue, TaskId, Trigger};
use hostsync_model::host::HostIp;
use hostsync_model::window::{TimeRange, Window};
use hostsync_schedule::date_in;
use hostsync_service::defaults::Source;
use hostsync_store::database;
use hostsync_store::outbox::TurnEnd;
use hostsync_store::tables::details;
use hostsync_store::tables::executions::{
    self,
    creation::{NewExecution, Scope},
    lease::LeaseToken,
    views::ExecutionLog,
};
use hostsync_store::word::Word;
use serde::{Deserialize, Serialize};
use sqlx::{MySql, MySqlConnection, Transaction};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::events::{self, Seen};
use crate::fields::{Problems, Submitted};
use crate::host_file::{HostFile, HostFileError, InvalidLine, MAX_FILE_BYTES, MAX_HOSTS, parse_host_file};
use crate::idempotency::{FirstAnswer, IdempotencyKey};
use crate::sources::{Sources, time_range};
use crate::state::{Api, transact, within_bound};
use crate::tasks::task_name;

/// Longest wait for the end of a run, in seconds.
pub(crate) const MAX_WAIT_S: u64 = 60;

/// Who asked for a run, in its `created_by`.
pub(crate) const CREATED_BY: &str = "api";

/// How often a request tries to be the first with its idempotency key before the caller is told to come back.
const KEY_ATTEMPTS: u32 = 3;

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

/// A run that was accepted, now or when its idempotency key was sent first.
#[derive(Debug, Clone)]
pub(crate) struct Enqueued {
    pub(crate) accepted: Accepted,
    /// How long the caller wants to wait for its end: see [`wait_for_end`].
    pub(crate) wait: Duration,
    key: Option<IdempotencyKey>,
    /// What the first caller with the key heard after its wait.
    first_outcome: Option<Outcome>,
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

/// What is stored of a run over hosts that are known.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) task_name: String,
    pub(crate) trigger: Trigger,
    pub(crate) time_range: TimeRange,
    /// End of the window; `None`: when the run is stored.
    pub(crate) window_to: Option<DateTime<Utc>>,
    pub(crate) source: Source,
    pub(crate) hosts: Vec<HostIp>,
    pub(crate) invalid_lines: Option<(Vec<InvalidLine>, usize)>,
    pub(crate) new_host_count: Option<usize>,
    /// What a person should know of the run before it has begun.
    pub(crate) warnings: Vec<String>,
    pub(crate) wait: Duration,
}

/// Runs over a list of addresses: a program's, so a single bad address refuses it all.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn execute_host_list(
    api: &Api,
    submitted: Submitted<HostListRun>,
    key: Option<IdempotencyKey>,
) -> Result<Enqueued, ApiError> {
    let Submitted { value, mut problems } = submitted;
    if let Some(run) = repeated(api, key.as_ref(), wait_of(value.run.wait_seconds)).await? {
        return Ok(run);
    }
    let hosts = host_list(value.host_ip_list, &mut problems);
    let order = check_run(api, value.run, Trigger::Manual, hosts, &mut problems);
    problems.check()?;
    enqueue(api, order, key).await
}

/// Runs over a host file: a person's, so bad lines are told and the rest runs. They stand in what was accepted.
///
/// # Errors
///
/// Bad fields, a file without a host or too large, the database.
pub(crate) async fn execute_host_file(
    api: &Api,
    submitted: Submitted<HostFileRun>,
    key: Option<IdempotencyKey>,
) -> Result<Enqueued, ApiError> {
    let Submitted { value, mut problems } = submitted;
    if let Some(run) = repeated(api, key.as_ref(), wait_of(value.run.wait_seconds)).await? {
        return Ok(run);
    }
    let file = host_file(value.content.as_deref(), value.content_field, &mut problems)?;
    let mut order = check_run(api, value.run, Trigger::File, file.hosts, &mut problems);
    if order.hosts.is_empty() && !file.invalid_lines.is_empty() {
        return Err(ApiError::NoHostInFile { problems, invalid_lines: file.invalid_lines });
    }
    problems.check()?;
    order.invalid_lines = Some((file.invalid_lines, file.invalid_line_count));
    enqueue(api, order, key).await
}

/// The wait that a request asks for.
pub(crate) fn wait_of(wait_seconds: Option<u64>) -> Duration {
    Duration::from_secs(wait_seconds.unwrap_or(0).min(MAX_WAIT_S))
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

pub(crate) fn check_run(
    api: &Api,
    run: RunFields,
    trigger: Trigger,
    hosts: Vec<HostIp>,
    problems: &mut Problems,
) -> Order {
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
        window_to: None,
        source: api.defaults.source(&endpoint, &index_pattern, &mapping),
        hosts,
        invalid_lines: None,
        new_host_count: None,
        warnings: Vec::new(),
        wait: wait_of(run.wait_seconds),
    }
}

/// Stores the run and publishes it in the background.
///
/// # Errors
///
/// An idempotency key that came with another body, the database.
pub(crate) async fn enqueue(api: &Api, order: Order, key: Option<IdempotencyKey>) -> Result<Enqueued, ApiError> {
    let token = LeaseToken::new();
    let trace_context = spans::current_trace_headers().remove("traceparent");
    let store = |transaction| store_hosts(transaction, api, &order, token, trace_context.as_deref());
    accept(api, key, order.wait, token, store).await
}

/// A transaction that is still open, and what it accepts.
pub(crate) type Stored = (Transaction<'static, MySql>, Accepted);

/// The answer to a request whose idempotency key was sent before with the same body; `None`: it is new, or has no key.
///
/// # Errors
///
/// The key came with another body; the database.
pub(crate) async fn repeated(
    api: &Api,
    key: Option<&IdempotencyKey>,
    wait: Duration,
) -> Result<Option<Enqueued>, ApiError> {
    let Some(key) = key else { return Ok(None) };
    let Some(FirstAnswer { answer, outcome }) = key.first_answer::<Accepted, Outcome>(api).await? else {
        return Ok(None);
    };
    tracing::info!(execution_id = %answer.execution_id, "execution {} was asked for again", answer.execution_id);
    Ok(Some(Enqueued { accepted: answer, wait, key: Some(key.clone()), first_outcome: outcome }))
}

/// Stores a run by `store`, together with its idempotency key, and has it carried on in the background under the lease
/// that it was stored with; where this process has taken on as many as it may, the run is stored without a lease and the
/// schedulers carry it on within a second. Of simultaneous requests with the same key one stores; the others get its answer.
///
/// # Errors
///
/// Those of `store`, an idempotency key that came with another body, the database.
pub(crate) async fn accept<F>(
    api: &Api,
    key: Option<IdempotencyKey>,
    wait: Duration,
    token: LeaseToken,
    store: impl Fn(Transaction<'static, MySql>) -> F,
) -> Result<Enqueued, ApiError>
where
    F: Future<Output = Result<Stored, ApiError>>,
{
    for _ in 0..KEY_ATTEMPTS {
        let (stored, taken_on) = within_bound(async {
            let _store = api.stores.acquire().await.context("the semaphore is never closed")?;
            let taken_on = Arc::clone(&api.taken_on).try_acquire_owned().ok();
            let lease = if taken_on.is_some() { Lease::Kept } else { Lease::GivenBack(token) };
            Ok((transact(|| store_once(api, key.as_ref(), lease, &store)).await?, taken_on))
        })
        .await?;
        if let Some(accepted) = stored {
            let id = accepted.execution_id;
            // No await between the commit and this line: a caller that goes away cannot come between them.
            if let Some(taken_on) = taken_on.filter(|_| !accepted.is_waiting) {
                publish(api, id, token, taken_on);
            }
            tracing::info!(execution_id = %id, total_hosts = accepted.total_hosts, "execution {id} was enqueued");
            return Ok(Enqueued { accepted, wait, key, first_outcome: None });
        }
        if let Some(run) = repeated(api, key.as_ref(), wait).await? {
            return Ok(run);
        }
        // It stands beyond its life.
        if let Some(key) = &key {
            key.forget_expired(api).await?;
        }
    }
    Err(ApiError::DatabaseNotReady)
}

/// What becomes of the lease that a run is stored with.
#[derive(Debug, Clone, Copy)]
enum Lease {
    /// This process carries the run on.
    Kept,
    /// The schedulers do.
    GivenBack(LeaseToken),
}

/// One transaction; `None`: the key stands already.
async fn store_once<F>(
    api: &Api,
    key: Option<&IdempotencyKey>,
    lease: Lease,
    store: impl Fn(Transaction<'static, MySql>) -> F,
) -> Result<Option<Accepted>, ApiError>
where
    F: Future<Output = Result<Stored, ApiError>>,
{
    let mut transaction = api.begin().await?;
    if let Some(key) = key
        && !key.reserve(&mut transaction).await?
    {
        return Ok(None);
    }
    let (mut transaction, accepted) = store(transaction).await?;
    if let Lease::GivenBack(token) = lease {
        executions::lease::release(&mut transaction, accepted.execution_id, token).await?;
    }
    if let Some(key) = key {
        key.remember(&mut transaction, &accepted).await?;
    }
    transaction.commit().await?;
    Ok(Some(accepted))
}

async fn store_hosts(
    mut transaction: Transaction<'static, MySql>,
    api: &Api,
    order: &Order,
    token: LeaseToken,
    trace_context: Option<&str>,
) -> Result<Stored, ApiError> {
    let window_to = match order.window_to {
        Some(to) => to,
        None => database::now(&mut transaction).await?,
    };
    let scope = Scope {
        window: Window::ending_at(window_to, &order.time_range),
        query_time_range: Word::Known(order.time_range.clone()),
        mon_date: date_in(api.defaults.time_zone(), window_to),
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
    let id = executions::creation::insert(&mut transaction, &new).await?;
    details::outbox::insert_hosts(&mut transaction, id, &order.hosts).await?;
    finish_preparing(&mut transaction, id, token).await?;
    if !order.warnings.is_empty() {
        executions::remarks::add_warnings(&mut transaction, id, order.warnings.iter().cloned()).await?;
    }
    let accepted = Accepted {
        execution_id: id,
        total_hosts: Some(order.hosts.len()),
        is_waiting: false,
        invalid_lines: order.invalid_lines.clone(),
        new_host_count: order.new_host_count,
    };
    Ok((transaction, accepted))
}

/// Sets the totals of a run whose rows all stand, in the transaction that inserted it.
///
/// # Errors
///
/// The database's.
async fn finish_preparing(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    token: LeaseToken,
) -> Result<(), ApiError> {
    let (total, last_detail_id) = details::outbox::totals(connection, id).await?;
    if !executions::lease::finish_preparing(connection, id, token, total, last_detail_id).await? {
        return Err(anyhow::anyhow!("execution {id} could not be prepared in its own transaction").into());
    }
    Ok(())
}

/// Prepares and publishes a run in a task that the shutdown waits for. Whatever becomes of it, the run is stored and the schedulers'
/// sweep goes on with it.
fn publish(api: &Api, id: ExecutionId, token: LeaseToken, taken_on: OwnedSemaphorePermit) {
    let owner = api.clone();
    let task = async move {
        let _taken_on = taken_on;
        let work = async {
            // If the lease runs out meanwhile, a scheduler may take the run, and it is left alone here.
            let _turn = owner.carrying.acquire().await;
            owner.outbox.carry_on(id, token).await
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = owner.shutdown.ending(Duration::ZERO) => {
                tracing::warn!(execution_id = %id, "execution {id} is not published to its end; the scheduler goes on");
                return;
            }
        };
        match outcome {
            Ok(TurnEnd::Done) => tracing::debug!(execution_id = %id, "execution {id} is published"),
            Ok(TurnEnd::Replaced | TurnEnd::EndpointClosed | TurnEnd::TurnOver | TurnEnd::Stopped) => {
                tracing::info!(execution_id = %id, "execution {id} is left to the scheduler");
            }
            Err(error) => tracing::warn!(
                execution_id = %id,
                error = %causes(&error),
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
    if let Some(outcome) = &run.first_outcome {
        return Some(outcome.clone());
    }
    let outcome = wait(api, run).await;
    if let Some(key) = &run.key {
        key.remember_outcome(api, &outcome).await;
    }
    Some(outcome)
}

async fn wait(api: &Api, run: &Enqueued) -> Outcome {
    let id = run.accepted.execution_id;
    let status = if run.accepted.is_waiting { ExecutionStatus::Waiting } else { ExecutionStatus::Running };
    let total_hosts = run.accepted.total_hosts.map(|hosts| hosts as u64);
    let mut seen = Outcome {
        execution_status: Word::Known(status),
        total_hosts,
        success_count: 0,
        failed_count: 0,
        no_data_count: 0,
        not_in_pool_count: 0,
        cancelled_count: 0,
        pending_count: total_hosts.unwrap_or(0),
        error_message: None,
        waiting_for: String::new(),
        warnings: Vec::new(),
    };
    let Ok(_waiting) = api.waiting.try_acquire() else {
        return seen;
    };
    let deadline = Instant::now() + run.wait;
    let first = Seen { outcome: seen.clone(), duration_ms: None };
    let mut states = events::subscribe(api, id, first);
    let until_its_end = async {
        // The look ends with the run, or when the run was pruned.
        while !seen.has_ended() && states.changed().await.is_ok() {
            if let Some(state) = states.borrow_and_update().clone() {
                seen = state.outcome;
            }
        }
    };
    tokio::select! {
        () = until_its_end => {}
        () = tokio::time::sleep_until(deadline) => {}
        () = api.shutdown.stopping() => {}
    }
    seen
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
        let (hosts, problems) = told(&[
            "10.0.0.2",
            "2001:DB8::1",
            " 10.0.0.1\t",
            "10.0.0.2\u{feff}",
            "2001:db8:0::1",
            "::ffff:10.0.0.1",
            "\u{a0}2001:0db8::0001",
        ]);
        assert_eq!(hosts, ["10.0.0.2", "2001:db8::1", "10.0.0.1"]);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn every_bad_address_is_named_by_its_position() {
        let (_, problems) = told(&["10.0.0.1", "10.0\u{200b}.0.2", "", "web-1"]);
        assert_eq!(
            problems,
            [
                "host_ip_list[1]: \"10.0\u{200b}.0.2\" is not an IPv4 or IPv6 address: it holds a zero-width space (U+200B)",
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
