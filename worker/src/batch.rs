//! The life of a batch: crashes counted → search → one transaction → ack.
//!
//! Every way out of here ends each delivery exactly once: acked after a commit, or given back at an orderly stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hostsync_metrics::spans;
use hostsync_metrics::{Metrics, ReasonClass};
use hostsync_model::execution::{ClosingCause, DetailId};
use hostsync_model::host::{HostIp, address_key};
use hostsync_queue::{Acker, Job, ack_all, give_back};
use hostsync_store::closing::close_execution;
use hostsync_store::tables::details::BatchToken;
use hostsync_store::tables::executions::{self, RunScope};
use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::commit::{Unfinished, commit, executions_of, leave_open, until_the_database_answers};
use crate::crashes::{self, Sorted};
use crate::evidence::Evidence;
use crate::job_result::{HostFinding, JobResult, Reason};
use crate::missing_indices::MissingIndices;
use crate::search::{SEARCHING_BUDGET, Searched, search};
use crate::sources::Sources;
use crate::trouble;

/// A delivery whose job could be read.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) job: Job,
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether it came before, to whomever.
    pub(crate) redelivered: bool,
    pub(crate) acker: Acker,
}

/// Jobs that one search can answer.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) scope: Arc<RunScope>,
    pub(crate) deliveries: Vec<Delivered>,
    /// Whether it holds one job that runs alone, since workers died on it.
    pub(crate) solo: bool,
}

/// What a batch is worked on with.
pub(crate) struct Workbench {
    /// Who works here, for those who read an explanation.
    pub(crate) name: String,
    pub(crate) pool: MySqlPool,
    pub(crate) sources: Sources,
    pub(crate) missing_indices: MissingIndices,
    /// Searches are given up when this fires.
    pub(crate) stop_searches: CancellationToken,
    /// Everything is given up when this fires.
    pub(crate) stop_hard: CancellationToken,
}

/// Works on a batch until each of its deliveries is acked or given back. Returns those that must run alone: each in a batch
/// of its own, so that whatever happens to it happens to nobody else.
pub(crate) async fn process(bench: &Workbench, batch: Batch) -> Vec<Delivered> {
    let scope = &batch.scope.scope;
    let executions = executions_of(batch.deliveries.iter().map(|delivered| &delivered.job));
    let executions: Vec<String> = executions.iter().map(ToString::to_string).collect();
    let span = tracing::info_span!(
        parent: None,
        "sync_batch",
        execution_ids = executions.join(","),
        hosts = batch.deliveries.len(),
        endpoint = %scope.es_endpoint,
        solo = batch.solo,
    );
    let causes: BTreeSet<&BTreeMap<String, String>> =
        batch.deliveries.iter().map(|delivered| &delivered.headers).filter(|headers| !headers.is_empty()).collect();
    spans::follow(&span, causes);
    async {
        let Batch { scope, deliveries, solo } = batch;
        let token = BatchToken::random();
        let crashes = match crashes::begin(bench, &deliveries, solo, token).await {
            Ok(crashes) => crashes,
            Err(unfinished) => {
                // It may have been counted without an answer.
                let begun: Vec<DetailId> = came_before(&deliveries).collect();
                crashes::end(bench, &begun, token).await;
                let (jobs, ackers) = into_jobs(deliveries);
                settle(bench, jobs, ackers, Err(unfinished)).await;
                return Vec::new();
            }
        };
        let Sorted { together, alone, to_blame } = crashes::sort(deliveries, solo, &crashes);
        let begun: Vec<DetailId> = came_before(&together).collect();
        let (jobs, ackers) = into_jobs(to_blame);
        let outcome = blame(bench, &scope, jobs.clone()).await;
        settle(bench, jobs, ackers, outcome).await;
        let (jobs, ackers) = into_jobs(together);
        let outcome = work(bench, &scope, jobs.clone()).await;
        crashes::end(bench, &begun, token).await;
        settle(bench, jobs, ackers, outcome).await;
        alone
    }
    .instrument(span)
    .await
}

fn came_before(deliveries: &[Delivered]) -> impl Iterator<Item = DetailId> + '_ {
    deliveries.iter().filter(|delivered| delivered.redelivered).map(|delivered| delivered.job.detail_id)
}

fn into_jobs(deliveries: Vec<Delivered>) -> (Vec<Job>, Vec<Acker>) {
    deliveries.into_iter().map(|delivered| (delivered.job, delivered.acker)).unzip()
}

/// Ends deliveries by what became of their jobs.
async fn settle(bench: &Workbench, jobs: Vec<Job>, ackers: Vec<Acker>, outcome: Result<(), Unfinished>) {
    match outcome {
        Ok(()) => ack_all(ackers).await,
        Err(Unfinished::Refused(error)) => {
            leave_open(bench, &jobs, &error).await;
            ack_all(ackers).await;
        }
        Err(Unfinished::Stopped) => give_back(ackers).await,
    }
}

/// Spends an attempt of jobs whose workers died when they ran alone.
async fn blame(bench: &Workbench, scope: &RunScope, jobs: Vec<Job>) -> Result<(), Unfinished> {
    if jobs.is_empty() {
        return Ok(());
    }
    let reason = Reason::new(ReasonClass::Crash, "a worker that had this host alone died while it worked on it");
    commit(bench, scope, &Evidence::default(), &JobResult::same_for_all(jobs, &HostFinding::AttemptFailed(reason)))
        .await
}

async fn work(bench: &Workbench, scope: &Arc<RunScope>, jobs: Vec<Job>) -> Result<(), Unfinished> {
    if jobs.is_empty() {
        return Ok(());
    }
    let endpoint = &scope.scope.es_endpoint;
    let index_pattern = &scope.scope.es_index_pattern;
    if let Some(reason) = bench.sources.closed(endpoint, index_pattern) {
        return trouble::put_off(bench, scope, jobs, &reason).await;
    }
    let jobs = drop_closed(bench, scope, jobs).await?;
    if jobs.is_empty() {
        return Ok(());
    }
    let (endpoint, mapping) = match bench.sources.find(endpoint, &scope.scope.mapping) {
        Ok(source) => source,
        // Another worker may know it: a new endpoint reaches the fleet process by process.
        Err(unknown) => return trouble::unknown(bench, scope, jobs, &unknown).await,
    };

    let (jobs, bad) = set_aside_bad_hosts(jobs);
    if !bad.is_empty() {
        // At once: they have their outcome, whatever becomes of the search.
        commit(bench, scope, &Evidence::default(), &bad).await?;
    }
    if jobs.is_empty() {
        return Ok(());
    }
    if let Some(refused) = trouble::refused_lately(bench, scope) {
        return trouble::refused(bench, scope, jobs, &refused).await;
    }
    let hosts: BTreeSet<String> = jobs.iter().map(|job| address_key(&job.host_ip)).collect();
    let hosts: Vec<String> = hosts.into_iter().collect();
    Metrics::global().batch(hosts.len());
    // On the heap: a batch lives in a task whose own future stays small.
    let searching = Box::pin(search(&endpoint, index_pattern, mapping, scope.scope.window, hosts, SEARCHING_BUDGET));
    let Searched { found, asked_by, made, outage, refused, .. } =
        bench.stop_searches.run_until_cancelled(searching).await.ok_or(Unfinished::Stopped)?;
    if let Some(refused) = refused {
        trouble::remember(bench, scope, &refused);
        return trouble::refused(bench, scope, jobs, &refused).await;
    }
    let executions = executions_of(&jobs);
    if let Some(outage) = &outage {
        let leave = || bench.sources.leave_alone(&endpoint, index_pattern, outage);
        until_the_database_answers(bench, &executions, leave).await?;
    } else {
        trouble::warn_of_missing_indices(bench, &endpoint, scope, mapping, &executions).await?;
    }
    // A host that stands in two runs of the same window is searched once and written for both.
    let results: Vec<JobResult> = jobs
        .into_iter()
        .map(|job| {
            let host = address_key(&job.host_ip);
            let finding = found.get(&host).cloned().unwrap_or_else(|| {
                HostFinding::AttemptFailed(Reason::new(ReasonClass::Other, "the search left this host out"))
            });
            let search = asked_by.get(&host).copied();
            JobResult { job, finding, search }
        })
        .collect();
    commit(bench, scope, &Evidence { searches: made }, &results).await
}

/// Leaves out jobs of runs that take no more results, or that are not what was remembered of them: they are acked without a
/// search.
async fn drop_closed(bench: &Workbench, scope: &RunScope, jobs: Vec<Job>) -> Result<Vec<Job>, Unfinished> {
    let executions = executions_of(&jobs);
    let look = || async {
        let mut connection = bench.pool.acquire().await?;
        executions::going(&mut connection, executions.iter().copied(), scope.scope.window.to).await
    };
    let going = until_the_database_answers(bench, &executions, look).await?;
    let before = jobs.len();
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| going.contains(&job.execution_id)).collect();
    Metrics::global().deliveries_dropped((before - jobs.len()) as u64);
    Ok(jobs)
}

/// A host that is no address fails alone, unsearched.
fn set_aside_bad_hosts(jobs: Vec<Job>) -> (Vec<Job>, Vec<JobResult>) {
    let mut good = Vec::with_capacity(jobs.len());
    let mut bad = Vec::new();
    for job in jobs {
        match job.host_ip.parse::<HostIp>() {
            Ok(_) => good.push(job),
            Err(error) => bad.push(JobResult::unsearched(job, HostFinding::NoAddress(error.to_string()))),
        }
    }
    (good, bad)
}

/// The whole run fails once, instead of every host five times.
pub(crate) async fn fail_executions(bench: &Workbench, jobs: &[Job], reason: &str) -> Result<(), Unfinished> {
    spans::set_failed(&tracing::Span::current(), reason);
    for execution in executions_of(jobs) {
        let close = || close_execution(&bench.pool, execution, ClosingCause::Refused, reason);
        if until_the_database_answers(bench, &BTreeSet::from([execution]), close).await? {
            tracing::warn!(execution_id = %execution, reason, "execution {execution} fails: {reason}");
        }
    }
    Ok(())
}
