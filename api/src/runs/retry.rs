//! The failed and cancelled hosts of an ended run, run once more.
//!
//! Owns when that is possible. However many they are, the request stores one chunk of them; what is left is prepared as a run
//! over the pool is. The new run reads what the first one was to read (window, day, source) and has counters of
//! its own. It belongs to the first one's task, but is no run of it as far as overlap goes. Knows no transport.

use chrono::TimeDelta;
use hostsync_model::audit::{Actor, AuditAction};
use hostsync_model::execution::{ExecutionId, ExecutionStatus, JobQueue, Trigger};
use hostsync_store::database;
use hostsync_store::outbox::{ChunkEnd, PrepareError, prepare_chunk};
use hostsync_store::tables::executions::{self, creation::NewExecution, lease::LeaseToken};
use hostsync_store::word::Word;

use super::accept::{Enqueued, RunWrite, Runs, Stored, WaitFields, accept_or_repeat};
use super::idempotency::IdempotencyKey;
use super::outcome::Accepted;
use crate::database::WriteTransaction;
use crate::error::ApiError;
use crate::request::Submitted;

/// How old the day of a retry may be that is retried again. A run is retried while it is kept, and newest windows are kept
/// 40 days longer than runs: beyond that a retry of a retry might write over a newer result.
const RETRIED_AGAIN_WITHIN: TimeDelta = TimeDelta::days(40);

/// Runs the failed and cancelled hosts of an ended execution again.
///
/// # Errors
///
/// Bad fields, no such execution, one that is going or has nothing to retry, the database.
pub(crate) async fn retry_execution(
    runs: &Runs,
    actor: &Actor,
    id: ExecutionId,
    submitted: Submitted<WaitFields>,
    key: Option<IdempotencyKey>,
) -> Result<Enqueued, ApiError> {
    let store = |transaction, token, trace_context| store(transaction, runs, id, token, trace_context);
    let Submitted { value: wait, problems, said } = submitted;
    problems.check()?;
    let write = RunWrite::new(actor, AuditAction::Retry, &said).of(id);
    accept_or_repeat(runs, &write, wait, key, store).await
}

async fn store(
    mut transaction: WriteTransaction,
    runs: &Runs,
    of: ExecutionId,
    token: LeaseToken,
    trace_context: Option<String>,
) -> Result<Stored, ApiError> {
    let first = executions::views::find(&mut transaction, of).await?.ok_or(ApiError::ExecutionNotFound(of))?;
    if let Word::Known(status @ (ExecutionStatus::Running | ExecutionStatus::Waiting)) = first.execution_status {
        return Err(ApiError::ExecutionNotFinished(of, status));
    }
    let hosts = first.failed_count + first.cancelled_count;
    if hosts == 0 {
        return Err(ApiError::NothingToRetry(of, "has no failed or cancelled host"));
    }
    let Some(run) = executions::creation::run_scope(&mut transaction, of).await? else {
        return Err(ApiError::NothingToRetry(
            of,
            "is of the program before hostsync: what it was to read is not known",
        ));
    };
    let now = database::now(&mut transaction).await?;
    if run.scope.window.to < runs.sources.defaults.oldest_window_end(now) {
        return Err(ApiError::NothingToRetry(
            of,
            "reads a window that ended longer than scheduler.retention and 40 days ago: whether a newer result stands \
             there is not known any more",
        ));
    }
    if first.trigger == Trigger::Retry && run.scope.mon_date < now.date_naive() - RETRIED_AGAIN_WITHIN {
        return Err(ApiError::NothingToRetry(
            of,
            "is a retry of a day too long ago: whether a newer result stands there is not known any more",
        ));
    }
    let new = NewExecution {
        task_id: first.task_id,
        task_name: &first.task_name,
        trigger: Trigger::Retry,
        scheduled_for: None,
        status: ExecutionStatus::Running,
        scope: &run.scope,
        queue: JobQueue::for_manual_work(usize::try_from(hosts).unwrap_or(usize::MAX)),
        created_by: &transaction.who(),
        error_message: None,
        lease: Some(token),
        trace_context: trace_context.as_deref(),
    };
    let id = executions::creation::insert(&mut transaction, &new).await?;
    executions::creation::set_retry_of(&mut transaction, id, of).await?;
    // One chunk here; what does not fit is prepared after the commit, by this process or a scheduler.
    let prepared = prepare_chunk(&mut transaction, id, Some(of), token, 0).await.map_err(|error| match error {
        PrepareError::Database(error) => ApiError::from(error),
        error @ PrepareError::Refused(_) => anyhow::Error::from(error).into(),
    })?;
    let total_hosts = match prepared {
        ChunkEnd::Whole(0) => return Err(ApiError::NothingToRetry(of, "has been pruned of its hosts")),
        ChunkEnd::Whole(total) => u64::from(total),
        ChunkEnd::UpTo(_) => hosts,
        ChunkEnd::Replaced => {
            return Err(anyhow::anyhow!("execution {id} could not be prepared in its own transaction").into());
        }
    };
    let accepted = Accepted {
        execution_id: id,
        total_hosts: Some(usize::try_from(total_hosts).unwrap_or(usize::MAX)),
        is_waiting: false,
        invalid_lines: None,
        new_host_count: None,
    };
    Ok((transaction, accepted))
}
