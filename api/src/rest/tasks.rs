//! `/es-sync-tasks`: create, change, delete, enable, list, show.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hostsync_model::execution::{ExecutionStatus, TaskId};
use hostsync_store::tables::tasks::{Task, TaskView};
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::openapi::schema::AllOfBuilder;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Done;
use super::csv::{self, CsvRow, ListFormat};
use super::error::ErrorBody;
use super::extract::{JsonBody, NoQuery, Operator, PathId, QueryFields, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::request::{Described, MAX_ID, Request as _, Timestamp, Whole, answer_schema, counted, schema_or_null};
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
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<NewTask>,
) -> Result<Json<TaskCreated>, ApiError> {
    let id = tasks::create(&api.tasks, &actor, submitted).await?;
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
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
    JsonBody(submitted): JsonBody<TaskChange>,
) -> Result<Json<Done>, ApiError> {
    tasks::update(&api.tasks, &actor, TaskId(id), submitted).await?;
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
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
) -> Result<Json<Done>, ApiError> {
    tasks::delete(&api.tasks, &actor, TaskId(id)).await?;
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
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<EnableTask>,
) -> Result<Json<Done>, ApiError> {
    Ok(Done::new(tasks::set_enabled(&api.tasks, &actor, submitted).await?))
}

/// A task.
#[derive(Serialize)]
pub(crate) struct TaskBody {
    #[serde(flatten)]
    task: Task,
    #[serde(flatten)]
    times: TaskTimes,
}

/// When a task was made, changed, and ran.
#[derive(Serialize, ToSchema)]
struct TaskTimes {
    /// When it was made.
    created_at: Timestamp,
    /// When it was changed last.
    updated_at: Timestamp,
    /// When its last run began; null before the first one.
    #[schema(required = true)]
    last_execution_time: Option<Timestamp>,
    /// How its last run stands; null before the first one.
    #[schema(required = true, schema_with = schema_or_null::<ExecutionStatus>)]
    last_execution_status: Option<Word<ExecutionStatus>>,
    /// When it fires next; null while it is disabled.
    #[schema(required = true)]
    next_execution_time: Option<Timestamp>,
}

/// What a new task says, and when it was made, changed, and ran.
impl PartialSchema for TaskBody {
    fn schema() -> RefOr<Schema> {
        let id = Described::new::<Whole<1, MAX_ID>>("id", &["Its id."]).with_example(7.into());
        let settings = answer_schema("What is said of a task.", [id].into_iter().chain(NewTask::fields()).collect());
        AllOfBuilder::new().description(Some("A task.")).item(settings).item(TaskTimes::schema()).into()
    }
}

impl ToSchema for TaskBody {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        TaskTimes::schemas(schemas);
    }
}

impl CsvRow for TaskBody {
    const COLUMNS: &[&str] = &[
        "id",
        "task_name",
        "description",
        "es_endpoint",
        "es_index_pattern",
        "mapping",
        "cron_expression",
        "time_zone",
        "overlap_policy",
        "catch_up_window",
        "query_time_range",
        "delay",
        "freshness_target",
        "is_enabled",
        "created_by",
        "created_at",
        "updated_at",
        "last_execution_time",
        "last_execution_status",
        "next_execution_time",
    ];
}

impl From<TaskView> for TaskBody {
    fn from(view: TaskView) -> Self {
        Self {
            times: TaskTimes {
                created_at: Timestamp(view.created_at),
                updated_at: Timestamp(view.updated_at),
                last_execution_time: view.last_execution_time.map(Timestamp),
                last_execution_status: view.last_execution_status,
                next_execution_time: view.task.next_execution_time.map(Timestamp),
            },
            task: view.task,
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
    format: ListFormat,
    QueryFields(submitted): QueryFields<TaskQuery>,
) -> Result<Response, ApiError> {
    if format == ListFormat::Csv {
        let read = move |submitted| {
            let api = api.clone();
            async move { tasks::list(&api.tasks, submitted).await }
        };
        return csv::answer::<TaskBody, _, _, _, _, _>(submitted, |query| &mut query.page, read).await;
    }
    let (tasks, next_cursor) = tasks::list(&api.tasks, submitted).await?;
    let tasks: Vec<TaskBody> = tasks.into_iter().map(TaskBody::from).collect();
    Ok(Json(TaskPage { success: true, message: counted(tasks.len(), "task"), tasks, next_cursor }).into_response())
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
