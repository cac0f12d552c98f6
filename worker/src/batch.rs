//! The life of a batch: solo mark → search → one transaction → ack.
//!
//! Every way out of here ends each delivery exactly once: acked after a commit, or given back at an orderly stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostsync_shared::closing::close_execution;
use hostsync_shared::database::{self, Fault, fault};
use hostsync_shared::execution::{DetailId, ExecutionId, SyncStatus};
use hostsync_shared::host::HostIp;
use hostsync_shared::metrics::{Metrics, ReasonClass, WriteOutcome};
use hostsync_shared::queue::{Acker, Job, ack_all, give_back};
use hostsync_shared::tables::details;
use hostsync_shared::tables::executions::{self, RunScope};
use hostsync_shared::telemetry;
use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::evidence::Evidence;
use crate::search::{Found, Reason, SEARCHING_BUDGET, Searched, search};
use crate::sources::Sources;
use crate::write::{Outcome, Resolved, Told, Written, write_batch};

/// Pause between two tries of a transaction while the database is down.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// Longest transaction; a database that does not answer at all must not hold a slot for ever.
const LONGEST_TRANSACTION: Duration = Duration::from_mins(1);

/// Longest wait for clearing marks at an orderly stop.
const LONGEST_CLEARING: Duration = Duration::from_secs(1);

/// A delivery whose job could be read.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) job: Job,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) acker: Acker,
}

/// Jobs that one search can answer.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) scope: Arc<RunScope>,
    pub(crate) deliveries: Vec<Delivered>,
    /// A job at its third delivery or later runs alone, under a mark.
    pub(crate) solo: bool,
}

/// What a batch is worked on with.
pub(crate) struct Workbench {
    /// Who works here, for those who read an explanation.
    pub(crate) name: String,
    pub(crate) pool: MySqlPool,
    pub(crate) sources: Sources,
    /// Searches are given up when this fires.
    pub(crate) stop_searches: CancellationToken,
    /// Everything is given up when this fires.
    pub(crate) stop_hard: CancellationToken,
}

/// Why a batch was not finished: its deliveries go back to the queue.
pub(crate) struct Stopped;

/// Works on a batch until each of its deliveries is acked or given back.
pub(crate) async fn process(bench: &Workbench, batch: Batch) {
    let scope = &batch.scope.scope;
    let executions: BTreeSet<ExecutionId> =
        batch.deliveries.iter().map(|delivered| delivered.job.execution_id).collect();
    let executions: Vec<String> = executions.iter().map(ToString::to_string).collect();
    let span = tracing::info_span!(
        "sync_batch",
        execution_ids = executions.join(","),
        hosts = batch.deliveries.len(),
        endpoint = %scope.es_endpoint,
        solo = batch.solo,
    );
    let causes: BTreeSet<&BTreeMap<String, String>> =
        batch.deliveries.iter().map(|delivered| &delivered.headers).filter(|headers| !headers.is_empty()).collect();
    telemetry::follow(&span, causes);
    let jobs: Vec<Job> = batch.deliveries.iter().map(|delivered| delivered.job.clone()).collect();
    let ackers: Vec<Acker> = batch.deliveries.into_iter().map(|delivered| delivered.acker).collect();
    async {
        match work(bench, &batch.scope, jobs.clone(), batch.solo).await {
            Ok(()) => ack_all(ackers).await,
            Err(Stopped) => {
                if batch.solo {
                    clear_marks(bench, &jobs).await;
                }
                give_back(ackers).await;
            }
        }
    }
    .instrument(span)
    .await;
}

async fn work(bench: &Workbench, scope: &Arc<RunScope>, jobs: Vec<Job>, solo: bool) -> Result<(), Stopped> {
    let endpoint = &scope.scope.es_endpoint;
    if let Some(reason) = bench.sources.closed(endpoint) {
        let resolved = resolve_all(jobs, &Found::Unavailable(reason));
        return commit(bench, scope, &Evidence::default(), &resolved).await;
    }
    let jobs = drop_closed(bench, jobs).await?;
    if jobs.is_empty() {
        return Ok(());
    }
    if solo && mark(bench, &jobs).await? == Mark::Standing {
        let text = "a worker that had this host alone did not finish it: it died, or lost the broker";
        let reason = Reason::new(ReasonClass::Crash, text);
        let resolved = resolve_all(jobs, &Found::AttemptFailed(reason));
        return commit(bench, scope, &Evidence::default(), &resolved).await;
    }
    let (endpoint, mapping) = match bench.sources.find(endpoint, &scope.scope.mapping) {
        Ok(source) => source,
        // Another worker may know it: a new endpoint reaches the fleet process by process.
        Err(reason) => {
            tracing::error!(reason, "{reason}");
            let resolved = resolve_all(jobs, &Found::Unavailable(reason));
            return commit(bench, scope, &Evidence::default(), &resolved).await;
        }
    };

    let (jobs, mut resolved) = set_aside_bad_hosts(jobs);
    let hosts: BTreeSet<&str> = jobs.iter().map(|job| job.host_ip.as_str()).collect();
    let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
    Metrics::global().batch(hosts.len());
    let searching =
        search(&endpoint, &scope.scope.es_index_pattern, mapping, scope.scope.window, hosts, SEARCHING_BUDGET);
    let Searched { found, asked_by, made, outage, refused, .. } =
        bench.stop_searches.run_until_cancelled(searching).await.ok_or(Stopped)?;
    if let Some(reason) = refused {
        return fail_executions(bench, &jobs, &reason).await;
    }
    if let Some(reason) = outage {
        let close = || bench.sources.close(endpoint.name(), &reason);
        until_the_database_answers(bench, close).await?;
    }
    // A host that stands in two runs of the same window is searched once and written for both.
    resolved.extend(jobs.into_iter().map(|job| {
        let outcome = found
            .get(&job.host_ip)
            .cloned()
            .unwrap_or_else(|| Found::AttemptFailed(Reason::new(ReasonClass::Other, "the search left this host out")));
        let search = asked_by.get(&job.host_ip).copied();
        Resolved { job, outcome: Outcome::Found(outcome), search }
    }));
    commit(bench, scope, &Evidence { searches: made }, &resolved).await
}

/// Leaves out jobs of runs that take no more results: they are acked without a search.
async fn drop_closed(bench: &Workbench, jobs: Vec<Job>) -> Result<Vec<Job>, Stopped> {
    let executions: BTreeSet<ExecutionId> = jobs.iter().map(|job| job.execution_id).collect();
    let look = || async {
        let mut connection = bench.pool.acquire().await?;
        executions::going(&mut connection, executions.iter().copied()).await
    };
    let going = until_the_database_answers(bench, look).await?;
    let before = jobs.len();
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| going.contains(&job.execution_id)).collect();
    Metrics::global().deliveries_dropped((before - jobs.len()) as u64);
    Ok(jobs)
}

fn resolve_all(jobs: Vec<Job>, found: &Found) -> Vec<Resolved> {
    jobs.into_iter().map(|job| Resolved { job, outcome: Outcome::Found(found.clone()), search: None }).collect()
}

/// A host that is no address fails alone, unsearched.
fn set_aside_bad_hosts(jobs: Vec<Job>) -> (Vec<Job>, Vec<Resolved>) {
    let mut good = Vec::with_capacity(jobs.len());
    let mut bad = Vec::new();
    for job in jobs {
        match job.host_ip.parse::<HostIp>() {
            Ok(_) => good.push(job),
            Err(error) => bad.push(Resolved { outcome: Outcome::BadHost(error.to_string()), job, search: None }),
        }
    }
    (good, bad)
}

/// Writes outcomes, whatever the database needs: again after a conflict, later while it is down, one by one if it
/// refuses the values, so that one bad value fails its own host only.
async fn commit(
    bench: &Workbench,
    scope: &RunScope,
    evidence: &Evidence,
    resolved: &[Resolved],
) -> Result<(), Stopped> {
    match try_commit(bench, scope, evidence, resolved).await? {
        Ok(written) => report(&written),
        Err(error) if resolved.len() > 1 => {
            tracing::warn!(error = %error, hosts = resolved.len(), "the database refused a batch; writing its hosts one by one");
            for one in resolved {
                let one = std::slice::from_ref(one);
                match try_commit(bench, scope, evidence, one).await? {
                    Ok(written) => report(&written),
                    Err(error) => fail_alone(bench, scope, evidence, one, &error).await?,
                }
            }
        }
        Err(error) => fail_alone(bench, scope, evidence, resolved, &error).await?,
    }
    Ok(())
}

/// The database refuses this one host's values: its attempt is spent.
async fn fail_alone(
    bench: &Workbench,
    scope: &RunScope,
    evidence: &Evidence,
    one: &[Resolved],
    error: &sqlx::Error,
) -> Result<(), Stopped> {
    let reason = Reason::new(
        ReasonClass::Database,
        "the database refused to store this host's values; the worker's log says why",
    );
    for resolved in one {
        tracing::error!(
            execution_id = %resolved.job.execution_id, host_ip = %resolved.job.host_ip, error = %error,
            "the database refused to store host {}", resolved.job.host_ip
        );
    }
    let outcome = Outcome::Found(Found::AttemptFailed(reason));
    let failed: Vec<Resolved> =
        one.iter().map(|resolved| Resolved { outcome: outcome.clone(), ..resolved.clone() }).collect();
    match try_commit(bench, scope, evidence, &failed).await? {
        Ok(written) => report(&written),
        // Not even that: the job stays open and comes back by Repair.
        Err(error) => tracing::error!(error = %error, "an attempt could not be recorded"),
    }
    Ok(())
}

async fn try_commit(
    bench: &Workbench,
    scope: &RunScope,
    evidence: &Evidence,
    resolved: &[Resolved],
) -> Result<Result<Written, sqlx::Error>, Stopped> {
    let mapping = bench.sources.mapping(&scope.scope.mapping);
    loop {
        let started = Instant::now();
        let told = Told { worker: &bench.name, evidence };
        let span = tracing::info_span!("write_batch", hosts = resolved.len());
        let writing = write_batch(&bench.pool, scope, mapping, told, resolved).instrument(span.clone());
        let bounded = database::within(LONGEST_TRANSACTION, writing);
        let result = bench.stop_hard.run_until_cancelled(bounded).await.ok_or(Stopped)?;
        let outcome = if result.is_ok() { WriteOutcome::Committed } else { WriteOutcome::RolledBack };
        Metrics::global().write(outcome, started.elapsed());
        let Err(error) = result else {
            return Ok(result);
        };
        if fault(&error) != Fault::Conflict {
            telemetry::set_failed(&span, error.to_string());
        }
        drop(span);
        match fault(&error) {
            Fault::Data => return Ok(Err(error)),
            Fault::Conflict => tracing::debug!(error = %error, "a transaction met another and is run again"),
            Fault::Down | Fault::Duplicate | Fault::Other => {
                tracing::warn!(error = %error, "the database does not take a batch; it waits");
                wait(bench, DATABASE_PAUSE).await?;
            }
        }
    }
}

fn report(written: &Written) {
    let metrics = Metrics::global();
    let mut failed = 0;
    for ((status, reason), count) in &written.finished {
        metrics.jobs_finished(*status, *reason, *count);
        if *status == SyncStatus::Failed {
            failed += count;
        }
    }
    for (reason, count) in &written.retries {
        failed += count;
        metrics.attempts_failed(*reason, *count);
        metrics.retries_scheduled(*reason, *count);
    }
    if failed > 0 {
        telemetry::set_failed(&tracing::Span::current(), format!("{failed} hosts failed or spent an attempt"));
    }
    metrics.retries_scheduled(ReasonClass::Source, written.deferred);
    metrics.deliveries_dropped(written.dropped as u64);
    for (execution, status) in &written.ended {
        metrics.execution_ended(*status);
        tracing::info!(execution_id = %execution, status = %status, "execution {execution} ended: {status}");
    }
}

/// The whole run fails once, instead of every host five times.
async fn fail_executions(bench: &Workbench, jobs: &[Job], reason: &str) -> Result<(), Stopped> {
    telemetry::set_failed(&tracing::Span::current(), reason);
    let executions: BTreeSet<ExecutionId> = jobs.iter().map(|job| job.execution_id).collect();
    for execution in executions {
        let close = || close_execution(&bench.pool, execution, SyncStatus::Failed, reason);
        if until_the_database_answers(bench, close).await? {
            tracing::warn!(execution_id = %execution, reason, "execution {execution} fails: {reason}");
        }
    }
    Ok(())
}

/// Whether a job's mark stood before it was set.
#[derive(PartialEq, Eq)]
enum Mark {
    Set,
    Standing,
}

/// Sets the mark of a job that runs alone, committed before it is worked on: a mark found standing means that a worker
/// died on this job.
async fn mark(bench: &Workbench, jobs: &[Job]) -> Result<Mark, Stopped> {
    let ids: Vec<DetailId> = jobs.iter().map(|job| job.detail_id).collect();
    let set = || async {
        let mut transaction = bench.pool.begin().await?;
        let mut open = details::lock_open(&mut transaction, &ids).await?;
        open.retain(|row| jobs.iter().any(|job| job.detail_id == row.id && job.attempt == row.attempts + 1));
        if open.iter().any(|row| row.solo) {
            return Ok(Mark::Standing);
        }
        for row in &open {
            details::mark_solo(&mut transaction, row.id).await?;
        }
        transaction.commit().await?;
        Ok(Mark::Set)
    };
    until_the_database_answers(bench, set).await
}

async fn clear_marks(bench: &Workbench, jobs: &[Job]) {
    let ids: Vec<DetailId> = jobs.iter().map(|job| job.detail_id).collect();
    let cleared = async {
        let mut connection = bench.pool.acquire().await?;
        details::clear_solo(&mut connection, &ids).await
    };
    if !matches!(tokio::time::timeout(LONGEST_CLEARING, cleared).await, Ok(Ok(()))) {
        tracing::warn!("the mark of a job that runs alone could not be cleared; it costs an attempt");
    }
}

/// Calls the database until it answers; its other errors are as good as none here, so they are tried again as well.
pub(crate) async fn until_the_database_answers<T, F: Future<Output = Result<T, sqlx::Error>>>(
    bench: &Workbench,
    call: impl Fn() -> F,
) -> Result<T, Stopped> {
    loop {
        let bounded = database::within(LONGEST_TRANSACTION, call());
        match bench.stop_hard.run_until_cancelled(bounded).await.ok_or(Stopped)? {
            Ok(value) => return Ok(value),
            Err(error) => {
                tracing::warn!(error = %error, "the database did not answer as it should; trying again");
                wait(bench, DATABASE_PAUSE).await?;
            }
        }
    }
}

async fn wait(bench: &Workbench, pause: Duration) -> Result<(), Stopped> {
    bench.stop_hard.run_until_cancelled(tokio::time::sleep(pause)).await.ok_or(Stopped)
}
