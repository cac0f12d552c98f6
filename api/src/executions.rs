//! Looking at executions, and cancelling one.
//!
//! Owns the filters and pages of both lists and what a cancel does to a run in each state. Never sums details: the
//! counters stand on the execution's row. Knows no transport.

use chrono::{DateTime, Utc};
use hostsync_model::execution::{ClosingCause, ExecutionId, ExecutionStatus, SyncStatus, TaskId, Trigger};
use hostsync_store::closing;
use hostsync_store::tables::details::{
    self,
    views::{DetailFilter, ExecutionDetail, HostOutcome},
};
use hostsync_store::tables::executions::{
    self,
    views::{ExecutionLog, LogFilter},
};

use crate::error::ApiError;
use crate::fields::Submitted;
use crate::hosts::spellings;
use crate::pagination::{List, PageRequest};
use crate::state::{Api, transact, within_bound};

/// Why the hosts of a cancelled run have no result.
const CANCELLED: &str = "the execution was cancelled";

/// Which executions a list wants.
#[derive(Debug, Clone)]
pub(crate) struct LogQuery {
    /// One task's; 0 and `None` mean all.
    pub(crate) task_id: Option<TaskId>,
    pub(crate) status: Option<ExecutionStatus>,
    pub(crate) trigger: Option<Trigger>,
    /// Started at or after.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Started before.
    pub(crate) to: Option<DateTime<Utc>>,
    pub(crate) page: PageRequest,
}

/// A page of executions, newest first, and the cursor of the next one.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn list(
    api: &Api,
    submitted: Submitted<LogQuery>,
) -> Result<(Vec<ExecutionLog>, Option<String>), ApiError> {
    let Submitted { value: query, mut problems } = submitted;
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from >= to
    {
        problems.add("to", "must be later than from");
    }
    problems.check()?;
    let filter = LogFilter {
        task_id: query.task_id.filter(|id| *id != TaskId::NONE),
        status: query.status,
        trigger: query.trigger,
        from: query.from,
        to: query.to,
        before: query.page.after.map(ExecutionId),
    };
    let mut rows = within_bound(async {
        let mut connection = api.connection().await?;
        Ok(executions::views::list(&mut connection, &filter, query.page.rows_to_read()).await?)
    })
    .await?;
    let next_cursor = query.page.cut(List::ExecutionLogs, &mut rows, |log| log.id.0);
    Ok((rows, next_cursor))
}

/// Which details of an execution a list wants.
#[derive(Debug, Clone)]
pub(crate) struct DetailQuery {
    pub(crate) status: Option<SyncStatus>,
    /// Whatever its spelling.
    pub(crate) host_ip: Option<String>,
    pub(crate) page: PageRequest,
}

/// An execution with a page of its details and the cursor of the next one.
///
/// # Errors
///
/// Bad fields, no such execution, the database.
pub(crate) async fn detail(
    api: &Api,
    id: ExecutionId,
    submitted: Submitted<DetailQuery>,
) -> Result<(ExecutionLog, Vec<ExecutionDetail>, Option<String>), ApiError> {
    let query = submitted.checked()?;
    // What fits no column is no host of any run, and no row has an empty address.
    let named = |host_ip: &str| spellings(host_ip).unwrap_or_else(|_| vec![String::new()]);
    let host_ips = query.host_ip.as_deref().map(named).unwrap_or_default();
    let filter = DetailFilter { status: query.status, host_ips, after: query.page.after.unwrap_or(0) };
    let (log, mut rows) = within_bound(async {
        let mut connection = api.connection().await?;
        let log = executions::views::find(&mut connection, id).await?.ok_or(ApiError::ExecutionNotFound(id))?;
        let rows = details::views::list(&mut connection, id, &filter, query.page.rows_to_read()).await?;
        Ok((log, rows))
    })
    .await?;
    let next_cursor = query.page.cut(List::ExecutionDetails, &mut rows, |detail| detail.id);
    Ok((log, rows, next_cursor))
}

/// One execution.
///
/// # Errors
///
/// No such execution, the database.
pub(crate) async fn get(api: &Api, id: ExecutionId) -> Result<ExecutionLog, ApiError> {
    within_bound(async {
        let mut connection = api.connection().await?;
        executions::views::find(&mut connection, id).await?.ok_or(ApiError::ExecutionNotFound(id))
    })
    .await
}

/// What became of the hosts of a run behind the row `after`, at most `limit` of them.
///
/// # Errors
///
/// The database.
pub(crate) async fn outcomes(api: &Api, id: ExecutionId, after: u64, limit: u32) -> Result<Vec<HostOutcome>, ApiError> {
    within_bound(async {
        let mut connection = api.connection().await?;
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

/// Stops what has not started.
///
/// # Errors
///
/// No such execution, one that has ended, the database.
pub(crate) async fn cancel(api: &Api, id: ExecutionId) -> Result<Cancelled, ApiError> {
    let done = transact(|| cancel_once(api, id)).await?;
    if done != Cancelled::AlreadyClosing {
        tracing::info!(execution_id = %id, "execution {id} was cancelled");
    }
    Ok(done)
}

async fn cancel_once(api: &Api, id: ExecutionId) -> Result<Cancelled, ApiError> {
    let status = get(api, id).await?.execution_status;
    if closing::close_execution(api.pool(), id, ClosingCause::Cancel, CANCELLED).await? {
        return Ok(Cancelled::Closing);
    }
    if status == ExecutionStatus::Waiting {
        let mut connection = api.connection().await?;
        if executions::overlap::skip_waiting_execution(&mut connection, id, "cancelled while it waited").await? {
            return Ok(Cancelled::Skipped);
        }
        drop(connection);
        // It has started meanwhile.
        if closing::close_execution(api.pool(), id, ClosingCause::Cancel, CANCELLED).await? {
            return Ok(Cancelled::Closing);
        }
    }
    let status = get(api, id).await?.execution_status;
    if status == ExecutionStatus::Running {
        return Ok(Cancelled::AlreadyClosing);
    }
    Err(ApiError::ExecutionFinished(id, status))
}
