//! `/es-sync-tasks`: create, change, delete, enable, list, show.

use axum::Json;
use axum::extract::State;
use hostsync_model::execution::{ExecutionStatus, OverlapPolicy, TaskId};
use hostsync_store::tables::tasks::TaskView;
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::{Done, counted, last_execution_status, overlap_policy, overlap_policy_or_null};
use crate::auth::{Operator, Viewer};
use crate::error::{ApiError, ErrorBody};
use crate::fields::{Fields, FromFields};
use crate::pagination::{List, PageRequest};
use crate::request::{JsonBody, MAX_ID, NoQuery, PathId, QueryFields};
use crate::state::Api;
use crate::tasks::{self, TaskFields, TaskQuery};
use crate::timestamp::Timestamp;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list_tasks, create_task))
        .routes(routes!(get_task, update_task, delete_task))
        .routes(routes!(enable_task))
}

/// A new task.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documentation alone: the fields are read by `FromFields`")]
pub(crate) struct CreateTask {
    /// Unique among live tasks; blanks around it are cut off.
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 255,
        examples("nightly")
    )]
    task_name: String,
    /// Six fields `second minute hour day-of-month month day-of-week`, five without the second, `@daily` and its like,
    /// `@every 1h30m`; an optional `TZ=Zone ` in front.
    #[schema(format = "cron", max_length = 100, examples("0 30 2 * * *"))]
    cron_expression: String,
    /// Free text.
    #[schema(max_length = 10_000, default = "")]
    description: Option<String>,
    /// Name or exact URL of a configured endpoint; empty means the default one.
    #[schema(format = "endpoint", default = "", examples("default"))]
    es_endpoint: Option<String>,
    /// Index pattern; empty means the default one.
    #[schema(format = "index-pattern", max_length = 255, default = "")]
    es_index_pattern: Option<String>,
    /// Name of a configured mapping; empty means the default one.
    #[schema(format = "mapping", default = "", examples("zabbix"))]
    mapping: Option<String>,
    /// IANA name; empty means `scheduler.time_zone`. A `TZ=` in the expression beats it.
    #[schema(format = "time-zone", default = "", examples("Europe/Berlin"))]
    time_zone: Option<String>,
    /// What a fire does while the task's last run is going; absent means `skip`.
    #[schema(schema_with = overlap_policy_or_null)]
    overlap_policy: Option<String>,
    /// How late a missed fire may still run: a whole number and one of `s m h d`, from `0s` to `7d`.
    #[schema(format = "catch-up-window", default = "1m")]
    catch_up_window: Option<String>,
    /// How far back a run looks: a whole number and one of `m h d w`, from 1 minute to 366 days.
    #[schema(format = "time-range", default = "30d", examples("24h"))]
    query_time_range: Option<String>,
    /// Whether it fires.
    #[schema(default = false)]
    is_enabled: Option<bool>,
    /// Who makes it.
    #[schema(max_length = 100, default = "")]
    created_by: Option<String>,
}

/// A change of a task. An absent or null field keeps its value.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documentation alone: the fields are read by `FromFields`")]
pub(crate) struct UpdateTask {
    /// Unique among live tasks; blanks around it are cut off.
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 255,
        examples("nightly")
    )]
    task_name: Option<String>,
    /// As of a new task. A new expression restarts the schedule from now.
    #[schema(format = "cron", max_length = 100, examples("0 0 3 * * *"))]
    cron_expression: Option<String>,
    /// Free text.
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// Name or exact URL of a configured endpoint; empty means the default one.
    #[schema(format = "endpoint")]
    es_endpoint: Option<String>,
    /// Index pattern; empty means the default one.
    #[schema(format = "index-pattern", max_length = 255)]
    es_index_pattern: Option<String>,
    /// Name of a configured mapping; empty means the default one.
    #[schema(format = "mapping")]
    mapping: Option<String>,
    /// IANA name; empty means `scheduler.time_zone`. A new zone restarts the schedule from now.
    #[schema(format = "time-zone")]
    time_zone: Option<String>,
    /// What a fire does while the task's last run is going.
    #[schema(schema_with = overlap_policy_or_null)]
    overlap_policy: Option<String>,
    /// How late a missed fire may still run: a whole number and one of `s m h d`, from `0s` to `7d`.
    #[schema(format = "catch-up-window")]
    catch_up_window: Option<String>,
    /// How far back a run looks: a whole number and one of `m h d w`, from 1 minute to 366 days.
    #[schema(format = "time-range")]
    query_time_range: Option<String>,
    /// Whether it fires. Enabling restarts the schedule from now.
    is_enabled: Option<bool>,
}

/// The fields of a change; those of a new task have `created_by` beside them.
pub(crate) struct Changes(pub(crate) TaskFields);

fn changes(fields: &mut Fields) -> TaskFields {
    TaskFields {
        task_name: fields.text("task_name"),
        description: fields.text("description"),
        es_endpoint: fields.text("es_endpoint"),
        es_index_pattern: fields.text("es_index_pattern"),
        mapping: fields.text("mapping"),
        cron_expression: fields.text("cron_expression"),
        time_zone: fields.text("time_zone"),
        overlap_policy: fields.word::<OverlapPolicy>("overlap_policy"),
        catch_up_window: fields.text("catch_up_window"),
        query_time_range: fields.text("query_time_range"),
        is_enabled: fields.flag("is_enabled"),
        created_by: None,
    }
}

impl FromFields for TaskFields {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { created_by: fields.text("created_by"), ..changes(fields) }
    }
}

impl FromFields for Changes {
    fn from_fields(fields: &mut Fields) -> Self {
        Self(changes(fields))
    }
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
    request_body(content = CreateTask, example = json!({
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
    JsonBody(submitted): JsonBody<TaskFields>,
) -> Result<Json<TaskCreated>, ApiError> {
    let id = tasks::create(&api, submitted).await?;
    Ok(Json(TaskCreated { success: true, message: format!("task {id} was created"), task_id: id.0 }))
}

/// Change a task
///
/// An absent or null field keeps its value. Another expression or zone, and enabling, restart the schedule from now;
/// disabling ends the run that waits.
#[utoipa::path(
    put, path = "/es-sync-tasks/{task_id}", operation_id = "update_es_sync_task", tag = "tasks",
    params(("task_id" = u64, Path, example = 7, description = "Id of the task")),
    request_body(content = UpdateTask, example = json!({"cron_expression": "0 0 3 * * *", "query_time_range": "7d"})),
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
    JsonBody(submitted): JsonBody<Changes>,
) -> Result<Json<Done>, ApiError> {
    tasks::update(&api, TaskId(id), submitted.map(|changes| changes.0)).await?;
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
    tasks::delete(&api, TaskId(id)).await?;
    Ok(Done::new(format!("task {id} was deleted")))
}

/// Which task, and whether it fires.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documentation alone: the fields are read by `FromFields`")]
pub(crate) struct EnableTask {
    /// Id of the task.
    #[schema(minimum = 1, examples(7))]
    id: u64,
    /// Whether it fires from now on.
    #[schema(examples(true))]
    is_enabled: bool,
}

/// [`EnableTask`] as it is read.
pub(crate) struct Enabling {
    pub(crate) id: Option<u64>,
    pub(crate) is_enabled: Option<bool>,
}

impl FromFields for Enabling {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            id: fields.required("id", |fields| fields.number("id", 1..=MAX_ID)),
            is_enabled: fields.required("is_enabled", |fields| fields.flag("is_enabled")),
        }
    }
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
    JsonBody(submitted): JsonBody<Enabling>,
) -> Result<Json<Done>, ApiError> {
    let Enabling { id, is_enabled } = submitted.checked()?;
    let (id, is_enabled) = (id.unwrap_or_default(), is_enabled.unwrap_or_default());
    tasks::set_enabled(&api, TaskId(id), is_enabled).await?;
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
    #[schema(schema_with = overlap_policy)]
    overlap_policy: Word<OverlapPolicy>,
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
    #[schema(required = true, schema_with = last_execution_status)]
    last_execution_status: Option<Word<ExecutionStatus>>,
    /// When it fires next; null while it is disabled.
    #[schema(required = true)]
    next_execution_time: Option<Timestamp>,
}

impl From<TaskView> for TaskBody {
    fn from(task: TaskView) -> Self {
        Self {
            id: task.id.0,
            task_name: task.task_name,
            description: task.description,
            es_endpoint: task.es_endpoint,
            es_index_pattern: task.es_index_pattern,
            mapping: task.mapping,
            cron_expression: task.cron_expression,
            time_zone: task.time_zone,
            overlap_policy: task.overlap_policy,
            catch_up_window: task.catch_up_window.to_string(),
            query_time_range: task.query_time_range.to_string(),
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

/// Which tasks to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documentation alone: the fields are read by `FromFields`")]
pub(crate) struct ListTasks {
    /// Only tasks that fire.
    #[param(default = false)]
    enabled_only: Option<bool>,
    /// Only names that contain this text.
    #[param(example = "night")]
    name: Option<String>,
    /// Most tasks in the answer.
    #[param(minimum = 1, maximum = 500, default = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(format = "task-cursor", example = "t1f")]
    cursor: Option<String>,
}

impl FromFields for TaskQuery {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            enabled_only: fields.flag("enabled_only").unwrap_or(false),
            name: fields.text("name"),
            page: PageRequest::from_fields(fields, List::Tasks),
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
    params(ListTasks),
    responses((status = 200, description = "A page of tasks", body = TaskPage)),
)]
async fn list_tasks(
    _: Viewer,
    State(api): State<Api>,
    QueryFields(submitted): QueryFields<TaskQuery>,
) -> Result<Json<TaskPage>, ApiError> {
    let (tasks, next_cursor) = tasks::list(&api, submitted).await?;
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
    let task = tasks::get(&api, TaskId(id)).await?.into();
    Ok(Json(TaskShown { success: true, message: format!("task {id}"), task }))
}
