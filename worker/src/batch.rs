//! The life of a batch: crashes counted → searched → one transaction → ack.
//!
//! A batch leaves by one of these ways, and each of its deliveries is ended once:
//!
//! | way out | its jobs | its deliveries |
//! |---|---|---|
//! | [`BatchExit::Empty`] | have their outcome, or their run takes no more results | acked |
//! | [`BatchExit::Searched`] | get what was found | acked |
//! | [`BatchExit::PutOff`], [`BatchExit::UnknownSource`] | come again later, without a spent attempt | acked |
//! | [`BatchExit::Refused`] | end with their run, which fails once | acked |
//! | [`BatchError::Refused`] | stay open until Repair publishes them again | acked |
//! | [`BatchError::Stopped`] | are untouched | given back to the queue |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hostsync_mapping::Mapping;
use hostsync_metrics::spans;
use hostsync_metrics::{Metrics, ReasonClass};
use hostsync_model::execution::{DetailId, ExecutionId, JobQueue};
use hostsync_model::host::{HostIp, address_key};
use hostsync_queue::{Job, ack_all, give_back};
use hostsync_source::Endpoint;
use hostsync_store::tables::details::crashes::BatchToken;
use hostsync_store::tables::executions::{self, creation::RunScope};
use tracing::Instrument;

use crate::commit::{BatchError, commit, executions_of, leave_open, note_waiting, until_the_database_answers};
use crate::crashes;
use crate::job_delivery::JobDelivery;
use crate::job_result::{HostFinding, JobResult, Reason};
use crate::search::{BatchSearch, SEARCHING_BUDGET, SourceRefusal, search};
use crate::search_limit::{SearchTurns, TurnSource};
use crate::search_log::SearchLog;
use crate::sources::UnknownSource;
use crate::trouble;
use crate::workbench::Workbench;

/// A batch that waits for a turn to search for longer says so on its runs, and again each time that this has passed.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// Jobs that one search can answer.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) scope: Arc<RunScope>,
    /// Where its jobs came from.
    pub(crate) queue: JobQueue,
    pub(crate) deliveries: Vec<JobDelivery>,
    /// Whether it holds one job that runs alone, since workers died on it.
    pub(crate) solo: bool,
}

/// How a batch leaves its search.
enum BatchExit {
    /// No job is left to search for.
    Empty,
    /// Each job has a result.
    Searched { results: Vec<JobResult>, search_log: SearchLog },
    /// The index pattern or its endpoint is set aside for the fleet.
    PutOff { jobs: Vec<Job>, reason: String },
    /// This process does not know the endpoint or the mapping; another may, since a new configuration reaches the fleet process
    /// by process.
    UnknownSource { jobs: Vec<Job>, unknown: UnknownSource },
    /// The source will never answer. Of refused credentials the fleet decides; until it does the jobs come again.
    Refused { jobs: Vec<Job>, refusal: SourceRefusal },
}

/// Works on a batch until each of its deliveries is acked or given back. Returns those that must run alone: each in a batch
/// of its own, so that whatever happens to it happens to nobody else.
pub(crate) async fn process(bench: &Workbench, batch: Batch) -> Vec<JobDelivery> {
    let span = span_of(&batch);
    async {
        let Batch { scope, queue, deliveries, solo } = batch;
        let token = BatchToken::random();
        let crashes = match crashes::begin(bench, &deliveries, solo, token).await {
            Ok(crashes) => crashes,
            Err(error) => {
                // The database may have counted them and not answered.
                crashes::end(bench, &redelivered(&deliveries), token).await;
                settle(bench, deliveries, Err(error)).await;
                return Vec::new();
            }
        };
        let triage = crashes::triage(deliveries, solo, &crashes);
        let blamed = blame(bench, &scope, jobs_of(&triage.to_blame)).await;
        settle(bench, triage.to_blame, blamed).await;
        let worked = work(bench, &scope, queue, jobs_of(&triage.together)).await;
        crashes::end(bench, &redelivered(&triage.together), token).await;
        settle(bench, triage.together, worked).await;
        triage.alone
    }
    .instrument(span)
    .await
}

fn span_of(Batch { scope, deliveries, solo, .. }: &Batch) -> tracing::Span {
    let executions = executions_of(deliveries.iter().map(|delivery| &delivery.job));
    let executions: Vec<String> = executions.iter().map(ToString::to_string).collect();
    let span = tracing::info_span!(
        parent: None,
        "sync_batch",
        execution_ids = executions.join(","),
        hosts = deliveries.len(),
        endpoint = %scope.scope.es_endpoint,
        solo,
    );
    let causes: BTreeSet<&BTreeMap<String, String>> =
        deliveries.iter().map(|delivery| &delivery.headers).filter(|headers| !headers.is_empty()).collect();
    spans::follow(&span, causes);
    span
}

fn redelivered(deliveries: &[JobDelivery]) -> Vec<DetailId> {
    deliveries.iter().filter(|delivery| delivery.redelivered).map(|delivery| delivery.job.detail_id).collect()
}

fn jobs_of(deliveries: &[JobDelivery]) -> Vec<Job> {
    deliveries.iter().map(|delivery| delivery.job.clone()).collect()
}

/// Ends deliveries by what became of their jobs.
async fn settle(bench: &Workbench, deliveries: Vec<JobDelivery>, result: Result<(), BatchError>) {
    if let Err(BatchError::Refused(error)) = &result {
        leave_open(bench, &jobs_of(&deliveries), error).await;
    }
    let ackers = deliveries.into_iter().map(|delivery| delivery.acker).collect();
    match result {
        Ok(()) | Err(BatchError::Refused(_)) => ack_all(ackers).await,
        Err(BatchError::Stopped) => give_back(ackers).await,
    }
}

/// Spends an attempt of jobs whose workers died when they ran alone.
async fn blame(bench: &Workbench, scope: &RunScope, jobs: Vec<Job>) -> Result<(), BatchError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let reason = Reason::new(ReasonClass::Crash, "a worker that had this host alone died while it worked on it");
    trouble::commit_for_all(bench, scope, jobs, &HostFinding::AttemptFailed(reason)).await
}

async fn work(bench: &Workbench, scope: &RunScope, queue: JobQueue, jobs: Vec<Job>) -> Result<(), BatchError> {
    match exit_of(bench, scope, queue, jobs).await? {
        BatchExit::Empty => Ok(()),
        BatchExit::Searched { results, search_log } => commit(bench, scope, &search_log, &results).await,
        BatchExit::PutOff { jobs, reason } => {
            trouble::commit_for_all(bench, scope, jobs, &HostFinding::Unavailable(reason)).await
        }
        BatchExit::UnknownSource { jobs, unknown } => trouble::leave_unknown(bench, scope, jobs, &unknown).await,
        BatchExit::Refused { jobs, refusal } => trouble::give_up(bench, scope, jobs, &refusal).await,
    }
}

/// Searches what can be searched, and says how the batch leaves.
async fn exit_of(
    bench: &Workbench,
    scope: &RunScope,
    queue: JobQueue,
    jobs: Vec<Job>,
) -> Result<BatchExit, BatchError> {
    if jobs.is_empty() {
        return Ok(BatchExit::Empty);
    }
    let (endpoint, index_pattern) = (&scope.scope.es_endpoint, &scope.scope.es_index_pattern);
    if let Some(reason) = bench.sources.closed(endpoint, index_pattern) {
        return Ok(BatchExit::PutOff { jobs, reason });
    }
    let jobs = drop_closed(bench, scope, jobs).await?;
    if jobs.is_empty() {
        return Ok(BatchExit::Empty);
    }
    let (endpoint, mapping) = match bench.sources.find(endpoint, &scope.scope.mapping) {
        Ok(source) => source,
        Err(unknown) => return Ok(BatchExit::UnknownSource { jobs, unknown }),
    };
    let (jobs, without_address) = split_by_address(jobs);
    if !without_address.is_empty() {
        // At once: they have their outcome, whatever becomes of the search.
        commit(bench, scope, &SearchLog::default(), &without_address).await?;
    }
    if jobs.is_empty() {
        return Ok(BatchExit::Empty);
    }
    if let Some(refusal) = trouble::refused_lately(bench, scope) {
        return Ok(BatchExit::Refused { jobs, refusal });
    }
    search_source(bench, scope, queue, (&endpoint, mapping), jobs).await
}

/// Searches for the hosts of these jobs, each once: a host that stands in two runs of the same window is written for both.
async fn search_source(
    bench: &Workbench,
    scope: &RunScope,
    queue: JobQueue,
    (endpoint, mapping): (&Endpoint, &Mapping),
    jobs: Vec<Job>,
) -> Result<BatchExit, BatchError> {
    let index_pattern = &scope.scope.es_index_pattern;
    let hosts: BTreeSet<String> = jobs.iter().map(|job| address_key(&job.host_ip)).collect();
    let hosts: Vec<String> = hosts.into_iter().collect();
    Metrics::global().batch(hosts.len());
    let executions = executions_of(&jobs);
    let closed = Box::new(|| bench.sources.closed(endpoint.name(), index_pattern));
    let source = TurnSource { queue, closed, stopping: bench.stopping.clone() };
    let turns = SearchTurns::new(bench.gates.of(endpoint.name()), source);
    // On the heap: a batch lives in a task whose own future stays small.
    let searching =
        Box::pin(search(endpoint, index_pattern, mapping, scope.scope.window, hosts, SEARCHING_BUDGET, &turns));
    let searched = tokio::select! {
        searched = bench.stop_searches.run_until_cancelled(searching) => searched,
        () = tell_of_long_waits(bench, &executions, &turns) => None,
    };
    let BatchSearch { findings, asked_by, searches, outage, refusal, is_stopped, .. } =
        searched.ok_or(BatchError::Stopped)?;
    if is_stopped && searches.is_empty() {
        return Err(BatchError::Stopped);
    }
    if let Some(refusal) = refusal {
        trouble::remember(bench, scope, &refusal);
        return Ok(BatchExit::Refused { jobs, refusal });
    }
    if let Some(outage) = &outage {
        let set_aside = || bench.sources.leave_alone(endpoint, index_pattern, outage);
        until_the_database_answers(bench, &executions, set_aside).await?;
    } else {
        trouble::warn_of_missing_indices(bench, endpoint, scope, mapping, &executions).await?;
    }
    let result_of = |job: Job| {
        let host = address_key(&job.host_ip);
        let finding = findings.get(&host).cloned().unwrap_or_else(|| {
            HostFinding::AttemptFailed(Reason::new(ReasonClass::Other, "the search left this host out"))
        });
        JobResult { job, finding, search: asked_by.get(&host).copied() }
    };
    Ok(BatchExit::Searched { results: jobs.into_iter().map(result_of).collect(), search_log: SearchLog { searches } })
}

/// Says on the runs what a batch waits for that has had no turn to search for long. Does not end.
async fn tell_of_long_waits(bench: &Workbench, executions: &BTreeSet<ExecutionId>, turns: &SearchTurns<'_>) {
    loop {
        tokio::time::sleep(LONG_WAIT).await;
        if turns.waiting().is_some_and(|waiting| waiting >= LONG_WAIT) {
            note_waiting(bench, executions, &turns.in_words()).await;
        }
    }
}

/// Drops jobs whose run takes no more results, or is not the one that they were published for.
async fn drop_closed(bench: &Workbench, scope: &RunScope, jobs: Vec<Job>) -> Result<Vec<Job>, BatchError> {
    let executions = executions_of(&jobs);
    let look = || async {
        let mut connection = bench.pool.acquire().await?;
        executions::going::of(&mut connection, executions.iter().copied(), scope.scope.window.to).await
    };
    let going = until_the_database_answers(bench, &executions, look).await?;
    let before = jobs.len();
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| going.contains(&job.execution_id)).collect();
    Metrics::global().deliveries_dropped((before - jobs.len()) as u64);
    Ok(jobs)
}

/// Jobs with a host that can be searched, and the results of those without one.
fn split_by_address(jobs: Vec<Job>) -> (Vec<Job>, Vec<JobResult>) {
    let mut searchable = Vec::with_capacity(jobs.len());
    let mut without_address = Vec::new();
    for job in jobs {
        match job.host_ip.parse::<HostIp>() {
            Ok(_) => searchable.push(job),
            Err(error) => without_address.push(JobResult::unsearched(job, HostFinding::NoAddress(error.to_string()))),
        }
    }
    (searchable, without_address)
}
