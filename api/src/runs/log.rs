//! Looking at executions, and cancelling one.
//!
//! Owns the filters and pages of both lists and what a cancel does to a run in each state. Never sums details: the
//! counters stand on the execution's row. Knows no transport.

use chrono::{DateTime, Utc};
use hostsync_model::audit::{Actor, AuditAction};
use hostsync_model::execution::{ClosingCause, ExecutionId, ExecutionStatus, SyncStatus, TaskId, Trigger};
use hostsync_store::closing;
use hostsync_store::tables::IfLocked;
use hostsync_store::tables::audit::AuditEntry;
use hostsync_store::tables::details::{
    self,
    views::{DetailFilter, ExecutionDetail, HostOutcome},
};
use hostsync_store::tables::executions::{
    self,
    views::{ExecutionLog, LogFilter},
};
use sqlx::MySqlConnection;

use crate::database::{Database, transact, within_bound};
use crate::error::ApiError;
use crate::hosts::spellings;
use crate::request::{DetailList, ExecutionList, MAX_ID, Page, Said, Submitted, Whole, request};

/// Why the hosts of a cancelled run have no result.
const CANCELLED: &str = "the execution was cancelled";

request! {
    /// Which executions to list.
    pub(crate) struct LogQuery as "LogQuery" {
        /// Only runs of this task; 0 means all runs.
        task_id: Option<Whole<0, MAX_ID>>, default 0, example 7;
        /// Only runs with this status.
        status: Option<ExecutionStatus>;
        /// Only runs made by this.
        trigger: Option<Trigger>;
        /// Only runs that began at this time or later, RFC 3339.
        from: Option<DateTime<Utc>>, example "2026-01-01T00:00:00Z";
        /// Only runs that began before this time, RFC 3339.
        to: Option<DateTime<Utc>>, example "2026-01-08T00:00:00Z";
        ..page: Page<ExecutionList>;
    }
}

/// A page of executions, newest first, and the cursor of the next one.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn list(
    database: &Database,
    submitted: Submitted<LogQuery>,
) -> Result<(Vec<ExecutionLog>, Option<String>), ApiError> {
    let Submitted { value: query, mut problems, said: _ } = submitted;
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from >= to
    {
        problems.add("to", "must be later than from");
    }
    problems.check()?;
    let filter = LogFilter {
        task_id: query.task_id.map(|Whole(id)| TaskId(id)).filter(|id| *id != TaskId::NONE),
        status: query.status,
        trigger: query.trigger,
        from: query.from,
        to: query.to,
        before: query.page.last_seen().map(ExecutionId),
    };
    let mut rows = within_bound(async {
        let mut connection = database.connection().await?;
        Ok(executions::views::list(&mut connection, &filter, query.page.rows_to_read()).await?)
    })
    .await?;
    let next_cursor = query.page.cut(&mut rows, |log| log.id.0);
    Ok((rows, next_cursor))
}

request! {
    /// Which hosts of an execution to list.
    pub(crate) struct DetailQuery as "DetailQuery" {
        /// Only hosts with this status.
        status: Option<SyncStatus>;
        /// Only this host, in whatever spelling.
        host_ip: Option<String>, example "10.0.0.1";
        ..page: Page<DetailList>;
    }
}

/// An execution with a page of its details and the cursor of the next one.
///
/// # Errors
///
/// Bad fields, no such execution, the database.
pub(crate) async fn detail(
    database: &Database,
    id: ExecutionId,
    submitted: Submitted<DetailQuery>,
) -> Result<(ExecutionLog, Vec<ExecutionDetail>, Option<String>), ApiError> {
    let query = submitted.checked()?;
    // What fits no column is no host of any run, and no row has an empty address.
    let named = |host_ip: &str| spellings(host_ip).unwrap_or_else(|_| vec![String::new()]);
    let host_ips = query.host_ip.as_deref().map(named).unwrap_or_default();
    let filter = DetailFilter { status: query.status, host_ips, after: query.page.last_seen().unwrap_or(0) };
    let (log, mut rows) = within_bound(async {
        let mut connection = database.connection().await?;
        let log = executions::views::find(&mut connection, id).await?.ok_or(ApiError::ExecutionNotFound(id))?;
        let rows = details::views::list(&mut connection, id, &filter, query.page.rows_to_read()).await?;
        Ok((log, rows))
    })
    .await?;
    let next_cursor = query.page.cut(&mut rows, |detail| detail.id);
    Ok((log, rows, next_cursor))
}

/// One execution.
///
/// # Errors
///
/// No such execution, the database.
pub(crate) async fn get(database: &Database, id: ExecutionId) -> Result<ExecutionLog, ApiError> {
    within_bound(async {
        let mut connection = database.connection().await?;
        executions::views::find(&mut connection, id).await?.ok_or(ApiError::ExecutionNotFound(id))
    })
    .await
}

/// What became of the hosts of a run behind the row `after`, at most `limit` of them.
///
/// # Errors
///
/// The database.
pub(crate) async fn outcomes(
    database: &Database,
    id: ExecutionId,
    after: u64,
    limit: u32,
) -> Result<Vec<HostOutcome>, ApiError> {
    within_bound(async {
        let mut connection = database.connection().await?;
        Ok(details::views::outcomes(&mut connection, id, after, limit).await?)
    })
    .await
}

/// What a cancel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The run is closing: its pending hosts become `cancelled` within seconds.
    Closing,
    /// The run was closing already.
    AlreadyClosing,
    /// The run had been waiting for the one before it and was skipped.
    Skipped,
}

impl Cancelled {
    /// What became of the execution, in a sentence.
    pub(crate) fn message(self, id: ExecutionId) -> String {
        match self {
            Self::Closing => format!("execution {id} is being cancelled"),
            Self::AlreadyClosing => format!("execution {id} was being ended already"),
            Self::Skipped => format!("execution {id} had not begun and is skipped"),
        }
    }
}

/// Stops what has not started.
///
/// # Errors
///
/// No such execution, one that has ended, the database.
pub(crate) async fn cancel(database: &Database, actor: &Actor, id: ExecutionId) -> Result<Cancelled, ApiError> {
    let what = Said::default().json();
    let entry = AuditEntry { actor: actor.clone(), action: AuditAction::Cancel, what };
    let done = transact(|| cancel_once(database, &entry, id)).await?;
    if done != Cancelled::AlreadyClosing {
        tracing::info!(execution_id = %id, "execution {id} was cancelled");
    }
    Ok(done)
}

async fn cancel_once(database: &Database, entry: &AuditEntry, id: ExecutionId) -> Result<Cancelled, ApiError> {
    let mut transaction = database.begin(entry).await?;
    let done = cancel_within(&mut transaction, id).await?;
    transaction.commit(id, &done.message(id)).await?;
    Ok(done)
}

async fn cancel_within(connection: &mut MySqlConnection, id: ExecutionId) -> Result<Cancelled, ApiError> {
    let close = async |connection: &mut MySqlConnection| {
        closing::close_within(connection, id, ClosingCause::Cancel, CANCELLED, IfLocked::Wait).await
    };
    let found = executions::views::find(connection, id).await?.ok_or(ApiError::ExecutionNotFound(id))?;
    if close(connection).await? {
        return Ok(Cancelled::Closing);
    }
    if found.execution_status == ExecutionStatus::Waiting {
        if executions::overlap::skip_waiting_execution(connection, id, "cancelled while it waited").await? {
            return Ok(Cancelled::Skipped);
        }
        // It has started meanwhile.
        if close(connection).await? {
            return Ok(Cancelled::Closing);
        }
    }
    let status =
        executions::views::find(connection, id).await?.ok_or(ApiError::ExecutionNotFound(id))?.execution_status;
    if status == ExecutionStatus::Running {
        return Ok(Cancelled::AlreadyClosing);
    }
    Err(ApiError::ExecutionFinished(id, status))
}
