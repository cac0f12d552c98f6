//! How a run that a person makes is accepted: stored once, carried on in the background, waited for.
//!
//! Owns the one transaction that stores the run with its idempotency key, publishing right after its commit, and waiting
//! for the end on the caller's behalf. Needs the database alone: when the broker is down the run is accepted all the same
//! and the schedulers publish it later.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostsync_metrics::spans;
use hostsync_model::audit::{Actor, AuditAction, AuditObject};
use hostsync_model::causes::causes;
use hostsync_model::execution::{ExecutionId, ExecutionStatus};
use hostsync_service::shutdown::Shutdown;
use hostsync_store::outbox::{Outbox, TurnEnd};
use hostsync_store::tables::audit::AuditEntry;
use hostsync_store::tables::executions::{self, lease::LeaseToken};
use hostsync_store::word::Word;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::idempotency::{FirstAnswer, IdempotencyKey};
use super::outcome::{Accepted, Outcome, message};
use super::watch::{RunState, Watchers};
use crate::access::Limits;
use crate::database::{Database, WriteTransaction, transact, within_bound};
use crate::error::ApiError;
use crate::request::{Said, Whole, request};
use crate::sources::Sources;

/// Longest wait for the end of a run, in seconds.
pub(crate) const MAX_WAIT_S: u64 = 60;

/// How long to wait for the end of the run before answering, in seconds.
pub(crate) type WaitSeconds = Whole<0, MAX_WAIT_S>;

request! {
    /// How long to wait for the run. The body may be left out.
    pub(crate) struct WaitFields as "WaitForRun" {
        /// How long to wait for the end of the run before answering, in seconds.
        wait_seconds: Option<WaitSeconds>, default 0;
    }
}

/// How often a request tries to be the first with its idempotency key before the caller is told to come back.
const KEY_ATTEMPTS: u32 = 3;

/// What runs are made, carried on and watched with.
#[derive(Clone)]
pub(crate) struct Runs {
    pub(crate) database: Database,
    pub(crate) outbox: Outbox,
    pub(crate) sources: Arc<Sources>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) watchers: Watchers,
    pub(crate) shutdown: Shutdown,
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

/// The wait that a request asks for.
pub(super) fn wait_of(seconds: Option<WaitSeconds>) -> Duration {
    Duration::from_secs(seconds.unwrap_or_default().0)
}

/// A transaction that is still open, and what it accepts.
pub(crate) type Stored = (WriteTransaction, Accepted);

/// A run that somebody makes, for the audit.
#[derive(Debug)]
pub(crate) struct RunWrite {
    entry: AuditEntry,
    /// What it is made of; `None`: the run itself stands for it.
    object: Option<AuditObject>,
}

impl RunWrite {
    /// Made by `actor`, who said so much.
    pub(super) fn new(actor: &Actor, action: AuditAction, said: &Said) -> Self {
        Self { entry: AuditEntry { actor: actor.clone(), action, what: said.json() }, object: None }
    }

    /// Made of a task or of another run.
    pub(super) fn of(self, object: impl Into<AuditObject>) -> Self {
        Self { object: Some(object.into()), ..self }
    }

    /// The same as another action on something else.
    pub(super) fn entry_for(&self, action: AuditAction) -> AuditEntry {
        AuditEntry { action, ..self.entry.clone() }
    }
}

/// The answer to a request whose idempotency key was sent before with the same body; `None`: it is new, or has no key.
///
/// # Errors
///
/// The key came with another body; the database.
pub(crate) async fn repeated(
    runs: &Runs,
    key: Option<&IdempotencyKey>,
    wait: Duration,
) -> Result<Option<Enqueued>, ApiError> {
    let Some(key) = key else { return Ok(None) };
    let Some(FirstAnswer { answer, outcome }) = key.first_answer::<Accepted, Outcome>(&runs.database).await? else {
        return Ok(None);
    };
    tracing::info!(execution_id = %answer.execution_id, "execution {} was asked for again", answer.execution_id);
    Ok(Some(Enqueued { accepted: answer, wait, key: Some(key.clone()), first_outcome: outcome }))
}

/// [`accept`] for a request that says no more than how long to wait, unless it is [`repeated`].
///
/// # Errors
///
/// Those of both.
pub(super) async fn accept_or_repeat<F>(
    runs: &Runs,
    write: &RunWrite,
    wait: WaitFields,
    key: Option<IdempotencyKey>,
    store: impl Fn(WriteTransaction, LeaseToken, Option<String>) -> F,
) -> Result<Enqueued, ApiError>
where
    F: Future<Output = Result<Stored, ApiError>>,
{
    let wait = wait_of(wait.wait_seconds);
    if let Some(run) = repeated(runs, key.as_ref(), wait).await? {
        return Ok(run);
    }
    accept(runs, write, key, wait, store).await
}

/// Stores a run by `store`, which gets its lease and the trace it belongs to, together with its idempotency key, and has
/// it carried on in the background under that lease; where this process has taken on as many as it may, the run is stored without a lease and the
/// schedulers carry it on within a second. Of simultaneous requests with the same key one stores; the others get its answer.
///
/// # Errors
///
/// Those of `store`, an idempotency key that came with another body, the database.
pub(crate) async fn accept<F>(
    runs: &Runs,
    write: &RunWrite,
    key: Option<IdempotencyKey>,
    wait: Duration,
    store: impl Fn(WriteTransaction, LeaseToken, Option<String>) -> F,
) -> Result<Enqueued, ApiError>
where
    F: Future<Output = Result<Stored, ApiError>>,
{
    let token = LeaseToken::new();
    let trace_context = spans::current_trace_headers().remove("traceparent");
    let store = |transaction| store(transaction, token, trace_context.clone());
    for _ in 0..KEY_ATTEMPTS {
        let (stored, taken_on) = within_bound(async {
            let _store = runs.limits.stores.acquire().await.context("the semaphore is never closed")?;
            let taken_on = Arc::clone(&runs.limits.taken_on).try_acquire_owned().ok();
            let lease = if taken_on.is_some() { Lease::Kept } else { Lease::GivenBack(token) };
            Ok((transact(|| store_once(runs, write, key.as_ref(), lease, &store)).await?, taken_on))
        })
        .await?;
        if let Some(accepted) = stored {
            let id = accepted.execution_id;
            // No await between the commit and this line: a caller that goes away cannot come between them.
            if let Some(taken_on) = taken_on.filter(|_| !accepted.is_waiting) {
                publish(runs, id, token, taken_on);
            }
            tracing::info!(execution_id = %id, total_hosts = accepted.total_hosts, "execution {id} was enqueued");
            return Ok(Enqueued { accepted, wait, key, first_outcome: None });
        }
        if let Some(run) = repeated(runs, key.as_ref(), wait).await? {
            return Ok(run);
        }
        // It stands beyond its life.
        if let Some(key) = &key {
            key.forget_expired(&runs.database).await?;
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
    runs: &Runs,
    write: &RunWrite,
    key: Option<&IdempotencyKey>,
    lease: Lease,
    store: impl Fn(WriteTransaction) -> F,
) -> Result<Option<Accepted>, ApiError>
where
    F: Future<Output = Result<Stored, ApiError>>,
{
    let mut transaction = runs.database.begin(&write.entry).await?;
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
    let object = write.object.clone().unwrap_or_else(|| accepted.execution_id.into());
    transaction.commit(object, &message(&accepted, None)).await?;
    Ok(Some(accepted))
}

/// Prepares and publishes a run in a task that the shutdown waits for. Whatever becomes of it, the run is stored and the schedulers'
/// sweep goes on with it.
fn publish(runs: &Runs, id: ExecutionId, token: LeaseToken, taken_on: OwnedSemaphorePermit) {
    let owner = runs.clone();
    let task = async move {
        let _taken_on = taken_on;
        let work = async {
            // If the lease runs out meanwhile, a scheduler may take the run, and it is left alone here.
            let _turn = owner.limits.carrying.acquire().await;
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
    drop(runs.shutdown.spawn("publish", task));
}

/// Waits for the end of a run, as long as the caller wants and the process lives. The run is accepted whatever happens
/// here, so a database that fails meanwhile is no error: the answer tells what was seen last. `None`: without a wait.
pub(crate) async fn wait_for_end(runs: &Runs, run: &Enqueued) -> Option<Outcome> {
    if run.wait.is_zero() {
        return None;
    }
    if let Some(outcome) = &run.first_outcome {
        return Some(outcome.clone());
    }
    let outcome = wait(runs, run).await;
    if let Some(key) = &run.key {
        key.remember_outcome(&runs.database, &outcome).await;
    }
    Some(outcome)
}

async fn wait(runs: &Runs, run: &Enqueued) -> Outcome {
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
    let Ok(_waiting) = runs.limits.waiting.try_acquire() else {
        return seen;
    };
    let deadline = Instant::now() + run.wait;
    let first = RunState { outcome: seen.clone(), duration_ms: None };
    let mut states = runs.watchers.subscribe(id, first);
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
        () = runs.shutdown.stopping() => {}
    }
    seen
}
