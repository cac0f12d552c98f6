//! Writes the results of a batch in one short transaction.
//!
//! What is written is decided before (`decision`, `run_change`); here are the statements, in the order in which their rows are
//! locked: details → newest windows → `server_resources` → states of hosts → executions, rows sorted by key.
//! Unsorted batches deadlock, sorted ones do not. Only a row that is still pending at the job's attempt is written and counted, so a job that is delivered twice
//! changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hostsync_mapping::{FieldCoverage, Mapping};
use hostsync_metrics::ReasonClass;
use hostsync_model::execution::{DetailId, ExecutionId, ExecutionStatus, SyncStatus};
use hostsync_model::host::address_key;
use hostsync_queue::Job;
use hostsync_store::tables::attempts::{self, FailedAttempt};
use hostsync_store::tables::details::{
    self,
    ledger::{DetailOutcome, OpenDetail},
};
use hostsync_store::tables::evidence::{self, HostEvidence};
use hostsync_store::tables::executions::{
    self,
    counters::CounterChange,
    creation::{RunScope, Scope},
};
use hostsync_store::tables::host_states;
use hostsync_store::tables::hosts_pool::{self, PoolHost};
use hostsync_store::tables::newest_window;
use hostsync_store::tables::searches::{self, SearchId};
use hostsync_store::tables::server_resources::{self, ServerResource};
use sqlx::{MySqlConnection, MySqlPool};

use crate::decision::{Decision, PlannedOutcome, decide};
use crate::job_result::JobResult;
use crate::run_change::{HostStates, RunChange, clocks, detail_ids, host_states_of, run_changes};
use crate::search_log::SearchLog;

/// What a batch is written with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteContext<'a> {
    pub(crate) scope: &'a RunScope,
    /// `None`: it is not configured here, so no reading can be written.
    pub(crate) mapping: Option<&'a Mapping>,
    /// Name of this process, for those who read an explanation.
    pub(crate) worker: &'a str,
    /// `None`: nothing is stored that only explains, since the database refused it.
    pub(crate) search_log: Option<&'a SearchLog>,
}

/// What a committed transaction did.
#[derive(Debug, Default)]
pub(crate) struct WriteSummary {
    /// Hosts that got an outcome, by outcome and reason.
    pub(crate) outcomes: HashMap<(SyncStatus, ReasonClass), u64>,
    /// Failed attempts that will be made again, by reason.
    pub(crate) retries: HashMap<ReasonClass, u64>,
    /// Jobs that come again without a spent attempt.
    pub(crate) deferred: u64,
    /// Jobs without an open row: dropped.
    pub(crate) dropped: u64,
    /// Runs that this transaction ended.
    pub(crate) ended: Vec<(ExecutionId, ExecutionStatus)>,
}

/// Writes a batch; its jobs share the scope but may be of several runs. Results for a run that is closing are dropped.
///
/// # Errors
///
/// The database's; nothing has been written then.
pub(crate) async fn write_batch(
    pool: &MySqlPool,
    context: WriteContext<'_>,
    results: &[JobResult],
) -> Result<WriteSummary, sqlx::Error> {
    let mut closed = HashSet::new();
    loop {
        let mut transaction = pool.begin().await?;
        match write(&mut transaction, context, results, &closed).await? {
            Ok(summary) => {
                transaction.commit().await?;
                return Ok(summary);
            }
            // Each round leaves out one run more, so this ends.
            Err(ClosedRun(execution)) => {
                transaction.rollback().await?;
                closed.insert(execution);
            }
        }
    }
}

/// A run takes no more results: the transaction is rolled back and the batch written without it.
struct ClosedRun(ExecutionId);

async fn write(
    connection: &mut MySqlConnection,
    context: WriteContext<'_>,
    results: &[JobResult],
    closed: &HashSet<ExecutionId>,
) -> Result<Result<WriteSummary, ClosedRun>, sqlx::Error> {
    let open = lock_open(connection, results, closed).await?;
    let mut summary = WriteSummary { dropped: (results.len() - open.len()) as u64, ..WriteSummary::default() };
    if open.is_empty() {
        return Ok(Ok(summary));
    }
    let addresses: Vec<&str> = open.iter().map(|(detail, _)| detail.host_ip.as_str()).collect();
    let pool = hosts_pool::live(connection, &addresses).await?;

    let mut decisions: Vec<Decision> = Vec::with_capacity(open.len());
    for (detail, result) in open {
        let host = pool.get(&address_key(&detail.host_ip));
        decisions.push(decide(detail, result, host, context.mapping));
    }
    if context.search_log.is_none() {
        decisions.iter_mut().for_each(Decision::forget_explanation);
    }
    write_resources(connection, &context.scope.scope, &mut decisions).await?;
    write_details(connection, context.worker, &decisions).await?;
    if let Some(search_log) = context.search_log {
        write_evidence(connection, context, search_log, &decisions).await?;
    }
    write_states(connection, &context.scope.scope, &decisions, &pool).await?;
    summary.count(&decisions);

    // In order of id: the first statement about a run locks its row.
    for (execution, change) in run_changes(&decisions, &pool, context.scope.queue) {
        match write_run(connection, execution, change, context.mapping).await? {
            CounterChange::Going => {}
            CounterChange::Ended(status) => summary.ended.push((execution, status)),
            CounterChange::Closed => return Ok(Err(ClosedRun(execution))),
        }
    }
    Ok(Ok(summary))
}

/// Locks the rows of the batch that are open at their job's attempt, in order of id.
async fn lock_open<'a>(
    connection: &mut MySqlConnection,
    results: &'a [JobResult],
    closed: &HashSet<ExecutionId>,
) -> Result<Vec<(OpenDetail, &'a JobResult)>, sqlx::Error> {
    // Of two deliveries for the same row the later attempt is the one that may be open.
    let mut by_id: BTreeMap<DetailId, &JobResult> = BTreeMap::new();
    for result in results.iter().filter(|result| !closed.contains(&result.job.execution_id)) {
        let latest = by_id.entry(result.job.detail_id).or_insert(result);
        if latest.job.attempt < result.job.attempt {
            *latest = result;
        }
    }
    let ids: Vec<DetailId> = by_id.keys().copied().collect();
    let details = details::ledger::lock_open(connection, &ids).await?;
    let with_result = |detail: OpenDetail| {
        let result = by_id.get(&detail.id)?;
        is_row_of(&detail, &result.job).then_some((detail, *result))
    };
    Ok(details.into_iter().filter_map(with_result).collect())
}

/// A job proves whose it is: a database that was restored may give ids out again. The window of the run was compared when the
/// delivery was taken.
fn is_row_of(detail: &OpenDetail, job: &Job) -> bool {
    detail.attempts + 1 == job.attempt
        && detail.execution_id == job.execution_id
        && address_key(&detail.host_ip) == address_key(&job.host_ip)
}

/// Writes the rows of `server_resources`, each once. Where a later window stands, the row is left as it is and the details of
/// its host say so. Hosts of several runs share a row: the first inserts it, the others write over it.
async fn write_resources(
    connection: &mut MySqlConnection,
    scope: &Scope,
    decisions: &mut [Decision],
) -> Result<(), sqlx::Error> {
    let mut by_address: BTreeMap<String, (ServerResource, Vec<&mut PlannedOutcome>)> = BTreeMap::new();
    for outcome in decisions.iter_mut().filter_map(Decision::outcome_mut) {
        if let Some(resource) = &outcome.resource {
            let address = address_key(&outcome.row.host_ip);
            by_address.entry(address).or_insert_with(|| (resource.clone(), Vec::new())).1.push(outcome);
        }
    }
    if by_address.is_empty() {
        return Ok(());
    }
    let addresses: Vec<&str> = by_address.keys().map(String::as_str).collect();
    let later = newest_window::raise(connection, &addresses, scope.mon_date, scope.window.to).await?;
    let later: HashSet<String> = later.iter().map(|address| address_key(address)).collect();
    for (_, (_, outcomes)) in by_address.extract_if(.., |address, _| later.contains(&address_key(address))) {
        for outcome in outcomes {
            outcome.yield_to_later_window(scope.mon_date, scope.window.to);
        }
    }
    let rows: Vec<ServerResource> = by_address.values().map(|(resource, _)| resource.clone()).collect();
    let previous = server_resources::upsert(connection, scope.mon_date, &rows).await?;
    for (address, (_, outcomes)) in by_address {
        let previous = previous.get(&address).copied();
        for (nth, outcome) in outcomes.into_iter().enumerate() {
            outcome.was_written(nth == 0 && previous.is_none(), previous);
        }
    }
    Ok(())
}

/// Writes the outcomes, then the clocks.
async fn write_details(
    connection: &mut MySqlConnection,
    worker: &str,
    decisions: &[Decision],
) -> Result<(), sqlx::Error> {
    let outcomes: Vec<&DetailOutcome> =
        decisions.iter().filter_map(|decision| Some(&decision.outcome()?.row)).collect();
    details::ledger::finish(connection, worker, &outcomes).await?;
    for ((within_ms, reason, spends), shared) in clocks(decisions) {
        details::clock::set_clock(connection, &detail_ids(&shared), within_ms, spends, reason).await?;
    }
    Ok(())
}

/// Stores failed attempts, the searches behind them and behind outcomes, and what explains the outcomes. Nobody else locks these rows.
async fn write_evidence(
    connection: &mut MySqlConnection,
    context: WriteContext<'_>,
    search_log: &SearchLog,
    decisions: &[Decision],
) -> Result<(), sqlx::Error> {
    let failed: Vec<FailedAttempt> = decisions.iter().filter_map(Decision::failed_attempt).collect();
    attempts::insert(connection, context.worker, &failed).await?;
    let used: BTreeSet<(ExecutionId, SearchId)> = decisions.iter().filter_map(Decision::search_used).collect();
    searches::insert(connection, &search_log.rows(context.worker, &context.scope.scope, &used)).await?;
    evidence::insert(connection, &explanations(decisions)).await
}

/// Clears the rows of state of hosts that succeeded, and writes those of hosts that did not. For healthy hosts there is no
/// statement while no host has a row, else one that finds nothing.
async fn write_states(
    connection: &mut MySqlConnection,
    scope: &Scope,
    decisions: &[Decision],
    pool: &HashMap<String, PoolHost>,
) -> Result<(), sqlx::Error> {
    let HostStates { cleared, unsuccessful } = host_states_of(decisions, pool);
    let cleared: Vec<u64> = cleared.into_iter().collect();
    host_states::clear(connection, &cleared, scope.window.to).await?;
    for (execution, hosts) in unsuccessful {
        host_states::note(connection, execution, hosts).await?;
    }
    Ok(())
}

/// What explains the hosts that have their outcome, by execution and search, in order of detail id as the decisions are.
fn explanations(decisions: &[Decision]) -> BTreeMap<(ExecutionId, SearchId), Vec<HostEvidence>> {
    let mut explanations: BTreeMap<_, Vec<HostEvidence>> = BTreeMap::new();
    for outcome in decisions.iter().filter_map(Decision::outcome) {
        if let (Some(explanation), Some(search)) = (outcome.explanation, outcome.row.search) {
            explanations.entry((outcome.row.execution_id, search)).or_default().push((outcome.row.id, explanation));
        }
    }
    explanations
}

/// Writes what changes on one run: counters first, since they say whether it still takes results.
async fn write_run(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    change: RunChange,
    mapping: Option<&Mapping>,
) -> Result<CounterChange, sqlx::Error> {
    let RunChange { counts, failure, fields, waiting_for, warning } = change;
    let mut counted = CounterChange::Going;
    if counts.total() > 0 {
        if let Some(fields) = fields {
            executions::remarks::add_fields_seen(connection, execution, fields.bits()).await?;
        }
        counted = executions::counters::count(connection, execution, &counts, failure.as_deref(), false).await?;
        match counted {
            CounterChange::Going => {}
            CounterChange::Ended(_) => warn_of_missing_fields(connection, execution, mapping).await?,
            CounterChange::Closed => return Ok(counted),
        }
    }
    if let Some(reason) = waiting_for {
        executions::remarks::set_waiting_for(connection, [execution], &reason).await?;
    }
    if let Some(warning) = warning {
        executions::remarks::add_warnings(connection, execution, [warning]).await?;
    }
    Ok(counted)
}

/// Warns of the fields that no document of a run had.
async fn warn_of_missing_fields(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    mapping: Option<&Mapping>,
) -> Result<(), sqlx::Error> {
    let Some(mapping) = mapping else { return Ok(()) };
    let fields = FieldCoverage::from_bits(executions::remarks::fields_seen(connection, execution).await?);
    let missing = fields.missing(mapping);
    if missing.is_empty() { Ok(()) } else { executions::remarks::add_warnings(connection, execution, missing).await }
}

impl WriteSummary {
    fn count(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            if let Some(outcome) = decision.outcome() {
                *self.outcomes.entry((outcome.row.status, outcome.reason)).or_default() += 1;
            }
            match decision.clock().map(|clock| clock.spent) {
                Some(Some(reason)) => *self.retries.entry(reason).or_default() += 1,
                Some(None) => self.deferred += 1,
                None => {}
            }
        }
    }
}
