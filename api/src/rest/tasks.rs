//! `/es-sync-tasks`: create, change, delete, enable, list, show.

use axum::Json;
use axum::extract::State;
use hostsync_model::execution::{ExecutionStatus, OverlapPolicy, TaskId};
use hostsync_store::tables::tasks::TaskView;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Done;
use super::error::ErrorBody;
use super::extract::{JsonBody, NoQuery, Operator, PathId, QueryFields, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::request::{Timestamp, Whole, counted, schema_of, schema_or_null};
use crate::tasks::{self, EnableTask, NewTask, TaskChange, TaskQuery};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list_tasks, create_task))
        .routes(routes!(get_task, update_task, delete_task))
        .routes(routes!(enable_task))
}

/// A task that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskCreated {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// Which task was created.
    #[schema(examples("task 7 was created"))]
    message: String,
    /// Its id.
    #[schema(examples(7))]
    task_id: u64,
}

/// Create a task
///
/// A new task is disabled unless `is_enabled` is true. Two live tasks never share a name.
#[utoipa::path(
    post, path = "/es-sync-tasks", operation_id = "create_es_sync_task", tag = "tasks",
    request_body(content = NewTask, example = json!({
        "task_name": "nightly", "cron_expression": "0 30 2 * * *", "time_zone": "Europe/Berlin",
        "query_time_range": "24h", "is_enabled": true
    })),
    responses(
        (status = 200, description = "The task was created", body = TaskCreated),
        (status = 409, description = "A live task has this name: `task_name_taken`", body = ErrorBody),
    ),
)]
async fn create_task(
    _: Operator,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<NewTask>,
) -> Result<Json<TaskCreated>, ApiError> {
    let id = tasks::create(&api.tasks, submitted).await?;
    Ok(Json(TaskCreated { success: true, message: format!("task {id} was created"), task_id: id.0 }))
}

/// Change a task
///
/// An absent or null field keeps its value. Another expression or zone, and enabling, restart the schedule from now;
/// disabling ends the run that waits.
#[utoipa::path(
    put, path = "/es-sync-tasks/{task_id}", operation_id = "update_es_sync_task", tag = "tasks",
    params(("task_id" = u64, Path, example = 7, description = "Id of the task")),
    request_body(content = TaskChange, example = json!({"cron_expression": "0 0 3 * * *", "query_time_range": "7d"})),
    responses(
        (status = 200, description = "The task was changed", body = Done),
        (status = 404, description = "There is no such task: `task_not_found`", body = ErrorBody),
        (status = 409, description = "Another live task has this name: `task_name_taken`", body = ErrorBody),
    ),
)]
async fn update_task(
    _: Operator,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
    JsonBody(submitted): JsonBody<TaskChange>,
) -> Result<Json<Done>, ApiError> {
    tasks::update(&api.tasks, TaskId(id), submitted).await?;
    Ok(Done::new(format!("task {id} was changed")))
}

/// Delete a task
///
/// Its name is free again, its history stays; a run that is going goes on, one that waits is skipped.
#[utoipa::path(
    delete, path = "/es-sync-tasks/{task_id}", operation_id = "delete_es_sync_task", tag = "tasks",
    params(("task_id" = u64, Path, example = 7, description = "Id of the task")),
    responses(
        (status = 200, description = "The task was deleted", body = Done),
        (status = 404, description = "There is no such task: `task_not_found`", body = ErrorBody),
    ),
)]
async fn delete_task(
    _: Operator,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
) -> Result<Json<Done>, ApiError> {
    tasks::delete(&api.tasks, TaskId(id)).await?;
    Ok(Done::new(format!("task {id} was deleted")))
}

/// Enable or disable a task
///
/// Enabling restarts the schedule from now (`@every` keeps its anchor); what is so already stays as it is. Disabling ends
/// the run that waits.
#[utoipa::path(
    put, path = "/es-sync-tasks/enable", operation_id = "enable_es_sync_task", tag = "tasks",
    request_body(content = EnableTask, example = json!({"id": 7, "is_enabled": true})),
    responses(
        (status = 200, description = "The task is enabled or disabled", body = Done),
        (status = 404, description = "There is no such task: `task_not_found`", body = ErrorBody),
    ),
)]
async fn enable_task(
    _: Operator,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<EnableTask>,
) -> Result<Json<Done>, ApiError> {
    let EnableTask { id: Whole(id), is_enabled } = submitted.checked()?;
    tasks::set_enabled(&api.tasks, TaskId(id), is_enabled).await?;
    Ok(Done::new(format!("task {id} is {}", if is_enabled { "enabled" } else { "disabled" })))
}

/// A task.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskBody {
    /// Its id.
    #[schema(examples(7))]
    id: u64,
    /// Unique among live tasks.
    #[schema(examples("nightly"))]
    task_name: String,
    /// Free text.
    #[schema(examples("every night"))]
    description: String,
    /// Name of the endpoint; empty means the default one.
    es_endpoint: String,
    /// Empty means the default one.
    es_index_pattern: String,
    /// Empty means the default one.
    mapping: String,
    /// When it fires, as it was given.
    #[schema(examples("0 30 2 * * *"))]
    cron_expression: String,
    /// IANA name; empty means `scheduler.time_zone`.
    #[schema(examples("Europe/Berlin"))]
    time_zone: String,
    #[schema(schema_with = schema_of::<OverlapPolicy>)]
    overlap_policy: String,
    /// How late a missed fire may still run: a whole number and one of `s m h d`.
    #[schema(examples("1m"))]
    catch_up_window: String,
    /// How far back a run looks: a whole number and one of `m h d w`.
    #[schema(examples("24h"))]
    query_time_range: String,
    /// Whether it fires.
    #[schema(examples(true))]
    is_enabled: bool,
    /// Who made it; empty if that was not said.
    #[schema(examples("alice"))]
    created_by: String,
    /// When it was made.
    created_at: Timestamp,
    /// When it was changed last.
    updated_at: Timestamp,
    /// When its last run began; null before the first one.
    #[schema(required = true)]
    last_execution_time: Option<Timestamp>,
    /// How its last run stands; null before the first one.
    #[schema(required = true, schema_with = schema_or_null::<ExecutionStatus>)]
    last_execution_status: Option<String>,
    /// When it fires next; null while it is disabled.
    #[schema(required = true)]
    next_execution_time: Option<Timestamp>,
}

impl From<TaskView> for TaskBody {
    fn from(task: TaskView) -> Self {
        Self {
            id: task.id,
            task_name: task.task_name,
            description: task.description,
            es_endpoint: task.es_endpoint,
            es_index_pattern: task.es_index_pattern,
            mapping: task.mapping,
            cron_expression: task.cron_expression,
            time_zone: task.time_zone,
            overlap_policy: task.overlap_policy,
            catch_up_window: task.catch_up_window,
            query_time_range: task.query_time_range,
            is_enabled: task.is_enabled,
            created_by: task.created_by,
            created_at: Timestamp(task.created_at),
            updated_at: Timestamp(task.updated_at),
            last_execution_time: task.last_execution_time.map(Timestamp),
            last_execution_status: task.last_execution_status,
            next_execution_time: task.next_execution_time.map(Timestamp),
        }
    }
}

/// A page of tasks.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskPage {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// How many tasks the page has.
    #[schema(examples("1 task"))]
    message: String,
    /// In order of id.
    tasks: Vec<TaskBody>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// List tasks
///
/// Live tasks in order of id.
#[utoipa::path(
    get, path = "/es-sync-tasks", operation_id = "get_es_sync_tasks", tag = "tasks",
    params(TaskQuery),
    responses((status = 200, description = "A page of tasks", body = TaskPage)),
)]
async fn list_tasks(
    _: Viewer,
    State(api): State<Api>,
    QueryFields(submitted): QueryFields<TaskQuery>,
) -> Result<Json<TaskPage>, ApiError> {
    let (tasks, next_cursor) = tasks::list(&api.tasks, submitted).await?;
    let tasks: Vec<TaskBody> = tasks.into_iter().map(TaskBody::from).collect();
    Ok(Json(TaskPage { success: true, message: counted(tasks.len(), "task"), tasks, next_cursor }))
}

/// One task, shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskShown {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// Which task it is.
    #[schema(examples("task 7"))]
    message: String,
    /// The task.
    task: TaskBody,
}

/// Show a task
///
/// With its last run and its next fire. A deleted task is not shown; its executions are.
#[utoipa::path(
    get, path = "/es-sync-tasks/{task_id}", operation_id = "get_es_sync_task_detail", tag = "tasks",
    params(("task_id" = u64, Path, example = 7, description = "Id of the task")),
    responses(
        (status = 200, description = "The task", body = TaskShown),
        (status = 404, description = "There is no such task: `task_not_found`", body = ErrorBody),
    ),
)]
async fn get_task(
    _: Viewer,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
) -> Result<Json<TaskShown>, ApiError> {
    let task = tasks::get(&api.tasks, TaskId(id)).await?.into();
    Ok(Json(TaskShown { success: true, message: format!("task {id}"), task }))
}
