//! `/es-sync-execution-logs`, `/es-sync-execution-detail`, `/es-sync-executions`: looking at runs and cancelling one.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hostsync_model::execution::{ExecutionId, ExecutionStatus, SyncStatus, Trigger};
use hostsync_store::tables::details::views::ExecutionDetail;
use hostsync_store::tables::executions::views::ExecutionLog;
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Done;
use super::csv::{self, CsvRow, ListFormat};
use super::error::ErrorBody;
use super::extract::{NoQuery, Operator, PathId, QueryFields, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::request::{Timestamp, counted, schema_of};
use crate::runs::log::{self, DetailQuery, LogQuery};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list_execution_logs))
        .routes(routes!(get_execution_detail))
        .routes(routes!(cancel_execution))
}

/// An execution. At every moment the counters add up to `total_hosts`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExecutionLogBody {
    /// Its id.
    #[schema(examples(12))]
    id: u64,
    /// 0 without a task.
    #[schema(examples(7))]
    task_id: u64,
    /// Name of the task, or what the run was called when it was made.
    #[schema(examples("nightly"))]
    task_name: String,
    #[schema(schema_with = schema_of::<Trigger>)]
    trigger: Word<Trigger>,
    /// The fire it stands for; null for a run made by hand.
    #[schema(required = true)]
    scheduled_for: Option<Timestamp>,
    /// When it began.
    execution_time: Timestamp,
    /// Null while it is going.
    #[schema(required = true)]
    finished_at: Option<Timestamp>,
    #[schema(schema_with = schema_of::<ExecutionStatus>)]
    execution_status: Word<ExecutionStatus>,
    /// 0 until the hosts of a scheduled run are known.
    #[schema(examples(2))]
    total_hosts: u64,
    /// Hosts whose values were written.
    #[schema(examples(2))]
    success_count: u64,
    /// Hosts given up, with a reason.
    failed_count: u64,
    /// Hosts without a document in the window.
    no_data_count: u64,
    /// Hosts that are not in the pool.
    not_in_pool_count: u64,
    /// Hosts whose turn had not come when the run was cancelled.
    cancelled_count: u64,
    /// Hosts without an outcome yet.
    pending_count: u64,
    /// Why it failed or was skipped, or the reason of one of its failed hosts.
    #[schema(required = true)]
    error_message: Option<String>,
    /// Why a running one does not go on; empty when it does.
    #[schema(examples(""))]
    waiting_for: String,
    /// What a person should know about it although it went on, at most 20 sentences.
    #[schema(max_items = 20)]
    warnings: Vec<String>,
    /// Null while it is going.
    #[schema(required = true, examples(5_200))]
    duration_ms: Option<i64>,
    /// How far back it looks: a whole number and one of `m h d w`. Of a run whose window was named by its ends the length
    /// of that, rounded up to whole minutes; what is read stands in `window_from` and `window_to`.
    #[schema(examples("24h"))]
    query_time_range: String,
    /// First instant read.
    #[schema(required = true)]
    window_from: Option<Timestamp>,
    /// First instant no longer read.
    #[schema(required = true)]
    window_to: Option<Timestamp>,
    /// Name of the endpoint.
    #[schema(examples("default"))]
    es_endpoint: String,
    /// Index pattern that is searched.
    #[schema(examples("cluster*:data-zabbix-host-monitor-*"))]
    es_index_pattern: String,
    /// Name of the mapping.
    #[schema(examples("zabbix"))]
    mapping: String,
    /// Who made it; empty if that was not said.
    #[schema(examples("alice"))]
    created_by: String,
    /// When it was stored.
    created_at: Timestamp,
}

impl CsvRow for ExecutionLogBody {
    const COLUMNS: &[&str] = &[
        "id",
        "task_id",
        "task_name",
        "trigger",
        "scheduled_for",
        "execution_time",
        "finished_at",
        "execution_status",
        "total_hosts",
        "success_count",
        "failed_count",
        "no_data_count",
        "not_in_pool_count",
        "cancelled_count",
        "pending_count",
        "error_message",
        "waiting_for",
        "warnings",
        "duration_ms",
        "query_time_range",
        "window_from",
        "window_to",
        "es_endpoint",
        "es_index_pattern",
        "mapping",
        "created_by",
        "created_at",
    ];
}

impl From<ExecutionLog> for ExecutionLogBody {
    fn from(log: ExecutionLog) -> Self {
        let warnings = log.warnings();
        Self {
            id: log.id.0,
            task_id: log.task_id.0,
            task_name: log.task_name,
            trigger: log.trigger,
            scheduled_for: log.scheduled_for.map(Timestamp),
            execution_time: Timestamp(log.execution_time),
            finished_at: log.finished_at.map(Timestamp),
            execution_status: log.execution_status,
            total_hosts: log.total_hosts,
            success_count: log.success_count,
            failed_count: log.failed_count,
            no_data_count: log.no_data_count,
            not_in_pool_count: log.not_in_pool_count,
            cancelled_count: log.cancelled_count,
            pending_count: log.pending_count,
            error_message: log.error_message,
            waiting_for: log.waiting_for.unwrap_or_default(),
            warnings,
            duration_ms: log.duration_ms,
            query_time_range: log.query_time_range.to_string(),
            window_from: log.window_from.map(Timestamp),
            window_to: log.window_to.map(Timestamp),
            es_endpoint: log.es_endpoint,
            es_index_pattern: log.es_index_pattern,
            mapping: log.mapping,
            created_by: log.created_by,
            created_at: Timestamp(log.created_at),
        }
    }
}

/// A page of executions.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExecutionLogPage {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// How many executions the page has.
    #[schema(examples("1 execution"))]
    message: String,
    /// Newest first.
    execution_logs: Vec<ExecutionLogBody>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// List executions
///
/// Newest first.
#[utoipa::path(
    get, path = "/es-sync-execution-logs", operation_id = "get_es_sync_execution_logs", tag = "looking",
    params(LogQuery),
    responses((status = 200, description = "A page of executions", body = ExecutionLogPage)),
)]
async fn list_execution_logs(
    _: Viewer,
    State(api): State<Api>,
    format: ListFormat,
    QueryFields(submitted): QueryFields<LogQuery>,
) -> Result<Response, ApiError> {
    if format == ListFormat::Csv {
        let database = api.database.clone();
        let read = move |submitted| {
            let database = database.clone();
            async move { log::list(&database, submitted).await }
        };
        return csv::answer::<ExecutionLogBody, _, _, _, _, _>(submitted, |query| &mut query.page, read).await;
    }
    let (logs, next_cursor) = log::list(&api.database, submitted).await?;
    let execution_logs: Vec<ExecutionLogBody> = logs.into_iter().map(ExecutionLogBody::from).collect();
    let message = counted(execution_logs.len(), "execution");
    Ok(Json(ExecutionLogPage { success: true, message, execution_logs, next_cursor }).into_response())
}

/// One host of an execution. Metrics are null, not 0, where there is no measurement.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExecutionDetailBody {
    /// Address of the host.
    #[schema(examples("10.0.0.1"))]
    host_ip: String,
    /// Null for a host that is not in the pool.
    #[schema(required = true, examples("web-1"))]
    host_name: Option<String>,
    #[schema(schema_with = schema_of::<SyncStatus>)]
    sync_status: Word<SyncStatus>,
    /// Why it failed, or why it has this status; null where there is nothing to say.
    #[schema(required = true)]
    error_message: Option<String>,
    /// Percent.
    #[schema(required = true, examples(87.5))]
    max_cpu: Option<f64>,
    /// Percent.
    #[schema(required = true, examples(42.25))]
    avg_cpu: Option<f64>,
    /// GB.
    #[schema(required = true, examples(24.5))]
    max_memory: Option<f64>,
    /// GB.
    #[schema(required = true, examples(20.75))]
    avg_memory: Option<f64>,
    /// GB.
    #[schema(required = true, examples(310.0))]
    max_disk: Option<f64>,
    /// GB.
    #[schema(required = true, examples(305.5))]
    avg_disk: Option<f64>,
    /// Documents in the window.
    #[schema(required = true, examples(288))]
    data_point_count: Option<i64>,
    /// Attempts spent.
    #[schema(examples(1))]
    attempts: u32,
    /// When it was stored.
    created_at: Timestamp,
    /// Null while it is pending.
    #[schema(required = true)]
    finished_at: Option<Timestamp>,
}

impl CsvRow for ExecutionDetailBody {
    const COLUMNS: &[&str] = &[
        "host_ip",
        "host_name",
        "sync_status",
        "error_message",
        "max_cpu",
        "avg_cpu",
        "max_memory",
        "avg_memory",
        "max_disk",
        "avg_disk",
        "data_point_count",
        "attempts",
        "created_at",
        "finished_at",
    ];
}

impl From<ExecutionDetail> for ExecutionDetailBody {
    fn from(detail: ExecutionDetail) -> Self {
        Self {
            host_ip: detail.host_ip,
            host_name: detail.host_name,
            sync_status: detail.sync_status,
            error_message: detail.error_message,
            max_cpu: detail.max_cpu,
            avg_cpu: detail.avg_cpu,
            max_memory: detail.max_memory,
            avg_memory: detail.avg_memory,
            max_disk: detail.max_disk,
            avg_disk: detail.avg_disk,
            data_point_count: detail.data_point_count,
            attempts: detail.attempts,
            created_at: Timestamp(detail.created_at),
            finished_at: detail.finished_at.map(Timestamp),
        }
    }
}

/// How many hosts of an execution have each status, whatever page is shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusCounts {
    /// Without an outcome yet.
    pending: u64,
    /// Written.
    #[schema(examples(2))]
    success: u64,
    /// Given up, with a reason.
    failed: u64,
    /// Without a document in the window.
    no_data: u64,
    /// Not in the pool.
    not_in_pool: u64,
    /// Their turn had not come when the run was cancelled.
    cancelled: u64,
}

impl From<&ExecutionLog> for StatusCounts {
    fn from(log: &ExecutionLog) -> Self {
        Self {
            pending: log.pending_count,
            success: log.success_count,
            failed: log.failed_count,
            no_data: log.no_data_count,
            not_in_pool: log.not_in_pool_count,
            cancelled: log.cancelled_count,
        }
    }
}

/// An execution with a page of its hosts.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExecutionDetailPage {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// Which execution it is.
    #[schema(examples("execution 12"))]
    message: String,
    /// The execution itself.
    execution_log: ExecutionLogBody,
    /// In the order in which they were stored.
    execution_details: Vec<ExecutionDetailBody>,
    /// Over all hosts of the execution.
    status_counts: StatusCounts,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// Show an execution
///
/// The execution itself, a page of its hosts, and how many hosts have each status.
#[utoipa::path(
    get, path = "/es-sync-execution-detail/{execution_id}", operation_id = "get_es_sync_execution_detail", tag = "looking",
    params(("execution_id" = u64, Path, example = 12, description = "Id of the execution"), DetailQuery),
    responses(
        (status = 200, description = "The execution and a page of its hosts", body = ExecutionDetailPage),
        (status = 404, description = "There is no such execution: `execution_not_found`", body = ErrorBody),
    ),
)]
async fn get_execution_detail(
    _: Viewer,
    State(api): State<Api>,
    PathId(id): PathId,
    format: ListFormat,
    QueryFields(submitted): QueryFields<DetailQuery>,
) -> Result<Response, ApiError> {
    if format == ListFormat::Csv {
        let database = api.database.clone();
        let read = move |submitted| {
            let database = database.clone();
            async move {
                let (_, details, next_cursor) = log::detail(&database, ExecutionId(id), submitted).await?;
                Ok((details, next_cursor))
            }
        };
        return csv::answer::<ExecutionDetailBody, _, _, _, _, _>(submitted, |query| &mut query.page, read).await;
    }
    let (log, details, next_cursor) = log::detail(&api.database, ExecutionId(id), submitted).await?;
    Ok(Json(ExecutionDetailPage {
        success: true,
        message: format!("execution {id}"),
        status_counts: StatusCounts::from(&log),
        execution_log: log.into(),
        execution_details: details.into_iter().map(ExecutionDetailBody::from).collect(),
        next_cursor,
    })
    .into_response())
}

/// Cancel an execution
///
/// Stops what has not started: hosts without an outcome become `cancelled` within seconds, then the execution ends. A run
/// that waits is skipped.
#[utoipa::path(
    post, path = "/es-sync-executions/{execution_id}/cancel", operation_id = "cancel_es_sync_execution", tag = "running",
    params(("execution_id" = u64, Path, example = 12, description = "Id of the execution")),
    responses(
        (status = 200, description = "The execution is being cancelled", body = Done),
        (status = 404, description = "There is no such execution: `execution_not_found`", body = ErrorBody),
        (status = 409, description = "It has ended already: `execution_finished`", body = ErrorBody),
    ),
)]
async fn cancel_execution(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
) -> Result<Json<Done>, ApiError> {
    let id = ExecutionId(id);
    Ok(Done::new(log::cancel(&api.database, &actor, id).await?.message(id)))
}
