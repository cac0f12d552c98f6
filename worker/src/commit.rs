//! Commits the outcomes of a batch, whatever the database says to it.
//!
//! While the database is away a batch waits with its jobs in hand, and nothing is held against it. All else is bounded: a
//! transaction that meets others is run again for a while, one that is refused twice is written host by host, and a host
//! that is refused alone (also without what only explains its outcome) spends its attempt with the server's own words. What
//! cannot even be recorded is left open: its message is acked, Repair publishes it anew, later and later, and after as many
//! refused rounds as a host has attempts its run fails once.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::{Duration, Instant};

use hostsync_metrics::spans;
use hostsync_metrics::{Metrics, ReasonClass, WriteOutcome};
use hostsync_model::causes::causes;
use hostsync_model::execution::{ClosingCause, ExecutionId, SyncStatus};
use hostsync_queue::Job;
use hostsync_store::closing::close_execution;
use hostsync_store::database;
use hostsync_store::fault::{self, Fault};
use hostsync_store::tables::executions::{self, creation::RunScope};
use tracing::Instrument;

use crate::attempt::MAX_ATTEMPTS;
use crate::job_result::{HostFinding, JobResult, Reason};
use crate::search_log::SearchLog;
use crate::workbench::Workbench;
use crate::write::{WriteContext, WriteSummary, write_batch};

/// Pause between two tries while the database is away, or after it lost a connection.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause after a transaction that met another; the real one is anything up to it, so that they do not meet again.
const CONFLICT_PAUSE_MS: u64 = 200;

/// Longest transaction; a database that does not answer at all must not hold a slot for ever.
const LONGEST_TRANSACTION: Duration = Duration::from_mins(1);

/// Longest wait for noting on a run what it waits for.
const LONGEST_NOTE: Duration = Duration::from_secs(6);

/// How long a call that waits for the database says nothing.
const SILENCE: Duration = Duration::from_secs(4);

/// Longest time for writing the hosts of a refused batch one by one. Those that were not tried by then come again without
/// an attempt, and fewer: at least the first of them has an outcome or a spent attempt, so this ends.
const LONGEST_ONE_BY_ONE: Duration = Duration::from_secs(30);

/// How often a call to the database is made before its answer counts. While the database is away nothing counts.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Refusals until it is refused.
    refusals: u32,
    /// Connections lost in the middle until the call itself is to blame.
    losses: u32,
    /// Time in which it may meet other transactions, locks, a full disk.
    conflicts: Duration,
}

/// Of a batch, and of a look-up: two waits for a lock.
const PATIENCE: Patience = Patience { refusals: 2, losses: 5, conflicts: Duration::from_secs(10) };

/// Of a host whose batch was refused before: one wait for a lock.
const PATIENCE_ALONE: Patience = Patience { refusals: 1, losses: 2, conflicts: Duration::from_secs(2) };

/// Why a batch ends without an outcome for each of its jobs.
#[derive(Debug)]
pub(crate) enum BatchError {
    /// The process stops: the deliveries go back to the queue.
    Stopped,
    /// The database refused what the batch cannot do without: the jobs are left open.
    Refused(sqlx::Error),
}

/// Writes results. Afterwards every job of them has an outcome or a clock, or is left open.
pub(crate) async fn commit(
    bench: &Workbench,
    scope: &RunScope,
    search_log: &SearchLog,
    results: &[JobResult],
) -> Result<(), BatchError> {
    let Err(error) = write_explained_or_bare(bench, scope, search_log, results, PATIENCE).await? else { return Ok(()) };
    let left = write_one_by_one(bench, scope, search_log, results, &error).await?;
    record(bench, scope, search_log, &left).await
}

/// Writes results; if the database refuses them, once more without what only explains them.
async fn write_explained_or_bare(
    bench: &Workbench,
    scope: &RunScope,
    search_log: &SearchLog,
    results: &[JobResult],
    patience: Patience,
) -> Result<Result<(), sqlx::Error>, BatchError> {
    let Err(error) = write(bench, scope, Some(search_log), results, patience).await? else { return Ok(Ok(())) };
    if Fault::of(&error) == Fault::Conflict {
        return Ok(Err(error));
    }
    let bare = write(bench, scope, None, results, PATIENCE_ALONE).await?;
    if bare.is_ok() {
        let said = fault::sentence(&error);
        tracing::warn!(
            hosts = results.len(),
            "cannot store what explains the outcomes of {} hosts: {said}",
            results.len()
        );
    }
    Ok(bare)
}

/// Writes a host whose batch was refused.
async fn write_alone(
    bench: &Workbench,
    scope: &RunScope,
    search_log: &SearchLog,
    one: &JobResult,
) -> Result<Result<(), sqlx::Error>, BatchError> {
    write_explained_or_bare(bench, scope, search_log, std::slice::from_ref(one), PATIENCE_ALONE).await
}

/// Writes the hosts of a refused batch one by one; returns what is to be recorded of those that were not written.
async fn write_one_by_one(
    bench: &Workbench,
    scope: &RunScope,
    search_log: &SearchLog,
    results: &[JobResult],
    error: &sqlx::Error,
) -> Result<Vec<JobResult>, BatchError> {
    let said = fault::sentence(error);
    tracing::warn!(
        hosts = results.len(),
        "cannot write the outcomes of {}: {said}; writing {} hosts one by one",
        in_words(&executions_of_results(results)),
        results.len()
    );
    let began = Instant::now();
    let mut left = Vec::new();
    for one in results {
        if began.elapsed() >= LONGEST_ONE_BY_ONE {
            let reason =
                format!("the database did not store its batch, and there was no time to write it alone: {said}");
            left.push(JobResult { finding: HostFinding::Unavailable(reason), ..one.clone() });
        } else if let Err(error) = write_alone(bench, scope, search_log, one).await? {
            left.push(refused(one, &error));
        }
    }
    Ok(left)
}

/// A host that the database refuses alone: its attempt is spent.
fn refused(one: &JobResult, error: &sqlx::Error) -> JobResult {
    let said = fault::sentence(error);
    tracing::error!(
        execution_id = %one.job.execution_id, host_ip = %one.job.host_ip,
        "cannot write the outcome of host {} of execution {}: {said}", one.job.host_ip, one.job.execution_id
    );
    let reason = Reason::new(ReasonClass::Database, format!("the database refused to store this host: {said}"));
    JobResult { finding: HostFinding::AttemptFailed(reason), ..one.clone() }
}

/// Records spent attempts, together if they can be; those that cannot be recorded are left open.
async fn record(
    bench: &Workbench,
    scope: &RunScope,
    search_log: &SearchLog,
    left: &[JobResult],
) -> Result<(), BatchError> {
    if left.is_empty() {
        return Ok(());
    }
    let Err(error) = write_explained_or_bare(bench, scope, search_log, left, PATIENCE).await? else { return Ok(()) };
    let (open, error) = record_one_by_one(bench, scope, search_log, left, error).await?;
    leave_open(bench, &open, &error).await;
    Ok(())
}

/// Returns the jobs that could not be recorded, with the last reason.
async fn record_one_by_one(
    bench: &Workbench,
    scope: &RunScope,
    search_log: &SearchLog,
    left: &[JobResult],
    mut error: sqlx::Error,
) -> Result<(Vec<Job>, sqlx::Error), BatchError> {
    let began = Instant::now();
    let mut open = Vec::new();
    let mut rest = left.iter();
    while began.elapsed() < LONGEST_ONE_BY_ONE
        && let Some(one) = rest.next()
    {
        let Err(refused) = write_alone(bench, scope, search_log, one).await? else { continue };
        open.push(one.job.clone());
        error = refused;
        // What somebody locks for so long is most likely what they all need, as the row of their run: each of them would
        // wait for it again, and hold this slot.
        if Fault::of(&error) == Fault::Conflict {
            break;
        }
    }
    open.extend(rest.map(|one| one.job.clone()));
    Ok((open, error))
}

/// Writes results in one transaction, with patience. `Ok(Err)`: the database refused them and nothing was written.
async fn write(
    bench: &Workbench,
    scope: &RunScope,
    search_log: Option<&SearchLog>,
    results: &[JobResult],
    patience: Patience,
) -> Result<Result<(), sqlx::Error>, BatchError> {
    let mapping = bench.sources.mapping(&scope.scope.mapping);
    let context = WriteContext { scope, mapping, worker: &bench.name, search_log };
    let executions = executions_of_results(results);
    let transaction = || async {
        let started = Instant::now();
        let span = tracing::info_span!("write_batch", hosts = results.len());
        let result = write_batch(&bench.pool, context, results).instrument(span.clone()).await;
        let outcome = if result.is_ok() { WriteOutcome::Committed } else { WriteOutcome::RolledBack };
        Metrics::global().write(outcome, started.elapsed());
        if let Err(error) = &result
            && Fault::of(error) != Fault::Conflict
        {
            spans::set_failed(&span, causes(error).to_string());
        }
        result
    };
    match call(bench, &executions, patience, transaction).await {
        Ok(summary) => {
            report(&summary);
            Ok(Ok(()))
        }
        Err(BatchError::Refused(error)) => Ok(Err(error)),
        Err(stopped) => Err(stopped),
    }
}

/// Calls the database for these runs until it answers, with the patience of a batch.
pub(crate) async fn until_the_database_answers<T, F: Future<Output = Result<T, sqlx::Error>>>(
    bench: &Workbench,
    executions: &BTreeSet<ExecutionId>,
    work: impl Fn() -> F,
) -> Result<T, BatchError> {
    call(bench, executions, PATIENCE, work).await
}

/// On the heap: a batch makes many calls, and its own future would be as large as all of them together.
fn call<'a, T: 'a, F: Future<Output = Result<T, sqlx::Error>> + 'a>(
    bench: &'a Workbench,
    executions: &'a BTreeSet<ExecutionId>,
    patience: Patience,
    work: impl Fn() -> F + 'a,
) -> Pin<Box<impl Future<Output = Result<T, BatchError>> + 'a>> {
    Box::pin(persevere(bench, executions, patience, work))
}

async fn persevere<T, F: Future<Output = Result<T, sqlx::Error>>>(
    bench: &Workbench,
    executions: &BTreeSet<ExecutionId>,
    patience: Patience,
    work: impl Fn() -> F,
) -> Result<T, BatchError> {
    let began = Instant::now();
    let (mut refusals, mut losses, mut is_noted) = (0, 0, false);
    loop {
        let error = match stoppable(bench, database::within(LONGEST_TRANSACTION, work())).await? {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let class = Fault::of(&error);
        if class == Fault::Conflict {
            if began.elapsed() >= patience.conflicts {
                return Err(BatchError::Refused(error));
            }
            tracing::debug!(error = %causes(&error), "running a transaction again that met another: {}", causes(&error));
            if began.elapsed() >= SILENCE && !is_noted {
                is_noted = true;
                note_waiting(bench, executions, &format!("the database: {}", fault::sentence(&error))).await;
            }
            let pause = Duration::from_millis(rand::random_range(0..CONFLICT_PAUSE_MS));
            stoppable(bench, tokio::time::sleep(pause)).await?;
            continue;
        }
        // Nothing is held against a call while the database lets nobody work.
        let probe = database::within(LONGEST_TRANSACTION, database::takes_writes(&bench.pool));
        match stoppable(bench, probe).await? {
            Err(away) if Fault::of(&away).is_outage() => {
                tracing::warn!(error = %causes(&error), "the database is away: waiting to write {}: {}", in_words(executions), causes(&away));
            }
            _ if matches!(class, Fault::Refused(_)) => {
                refusals += 1;
                if refusals >= patience.refusals {
                    return Err(BatchError::Refused(error));
                }
                continue;
            }
            _ => {
                losses += 1;
                tracing::warn!(error = %causes(&error), "lost the connection to the database while writing {}: {}", in_words(executions), causes(&error));
                if losses >= patience.losses {
                    return Err(BatchError::Refused(error));
                }
            }
        }
        stoppable(bench, tokio::time::sleep(DATABASE_PAUSE)).await?;
    }
}

async fn stoppable<T>(bench: &Workbench, work: impl Future<Output = T>) -> Result<T, BatchError> {
    bench.stop_hard.run_until_cancelled(work).await.ok_or(BatchError::Stopped)
}

/// Notes on running executions what they wait for; if that fails too, the log says it.
pub(crate) async fn note_waiting(bench: &Workbench, executions: &BTreeSet<ExecutionId>, waiting_for: &str) {
    let noting = async {
        let mut connection = bench.pool.acquire().await?;
        executions::remarks::set_waiting_for(&mut connection, executions.iter().copied(), waiting_for).await
    };
    if let Err(error) = database::within(LONGEST_NOTE, noting).await {
        tracing::warn!(error = %causes(&error), waiting_for, "cannot note what {} waits for ({waiting_for}): {}", in_words(executions), causes(&error));
    }
}

/// The database does not even take the record of an attempt. The jobs are acked by the caller and come again by Repair; a
/// run that has come so often that a host would have no attempt left fails once.
pub(crate) async fn leave_open(bench: &Workbench, jobs: &[Job], error: &sqlx::Error) {
    let said = fault::sentence(error);
    for execution in executions_of(jobs) {
        let of_run: Vec<&Job> = jobs.iter().filter(|job| job.execution_id == execution).collect();
        let Some(first) = of_run.first() else { continue };
        let reason = match of_run.len() {
            1 => format!("cannot write the outcome of host {}: {said}", first.host_ip),
            hosts => format!("cannot write the outcomes of {hosts} hosts, such as {}: {said}", first.host_ip),
        };
        tracing::error!(execution_id = %execution, "execution {execution}: {reason}");
        let ending = async {
            let rounds = executions::repair::note_refusal(&mut *bench.pool.acquire().await?, execution).await?;
            Ok(rounds >= MAX_ATTEMPTS
                && close_execution(&bench.pool, execution, ClosingCause::Refused, &reason).await?)
        };
        match database::within(LONGEST_NOTE, ending).await {
            Ok(true) => {}
            Ok(false) => note_waiting(bench, &BTreeSet::from([execution]), &reason).await,
            Err(error) => {
                tracing::warn!(execution_id = %execution, error = %causes(&error), "cannot fail execution {execution}: {}", causes(&error));
            }
        }
    }
}

pub(crate) fn executions_of<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> BTreeSet<ExecutionId> {
    jobs.into_iter().map(|job| job.execution_id).collect()
}

fn executions_of_results(results: &[JobResult]) -> BTreeSet<ExecutionId> {
    executions_of(results.iter().map(|result| &result.job))
}

/// "execution 7", or "executions 7, 8".
fn in_words(executions: &BTreeSet<ExecutionId>) -> String {
    let ids: Vec<String> = executions.iter().map(ToString::to_string).collect();
    let noun = if ids.len() == 1 { "execution" } else { "executions" };
    format!("{noun} {}", ids.join(", "))
}

fn report(summary: &WriteSummary) {
    let metrics = Metrics::global();
    let mut failed = 0;
    for ((status, reason), count) in &summary.outcomes {
        metrics.jobs_finished(*status, *reason, *count);
        if *status == SyncStatus::Failed {
            failed += count;
        }
    }
    for (reason, count) in &summary.retries {
        failed += count;
        metrics.attempts_failed(*reason, *count);
        metrics.retries_scheduled(*reason, *count);
    }
    if failed > 0 {
        spans::set_failed(&tracing::Span::current(), format!("{failed} hosts failed or spent an attempt"));
    }
    metrics.retries_scheduled(ReasonClass::Source, summary.deferred);
    metrics.deliveries_dropped(summary.dropped);
    for (execution, status) in &summary.ended {
        metrics.execution_ended(*status);
        // Outside of the batch's span, whose count of hosts is not the run's.
        tracing::info!(parent: None, execution_id = %execution, status = %status, "execution {execution} ended: {status}");
    }
}
