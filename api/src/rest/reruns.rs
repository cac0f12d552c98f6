//! Runs that the path alone describes: a task executed now, the failed hosts of an execution once more.

use axum::Json;
use axum::extract::State;
use hostsync_model::execution::{ExecutionId, TaskId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::execute::RunAccepted;
use super::extract::{NoQuery, Operator, OptionalEnqueueBody, PathId};
use crate::app::Api;
use crate::error::ApiError;
use crate::runs::idempotency::SentKey;
use crate::runs::task_run::{self, TaskRunFields};
use crate::runs::{WaitFields, retry};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(execute_task)).routes(routes!(retry_execution))
}

/// Execute a task now
///
/// Over the whole pool, whether the task is enabled or not. The window ends now, by the `delay` of the task before, or is that from `window_from` to
/// `window_to`. It counts as a run of the task: while
/// one is going, the overlap policy `skip` refuses another, `queue` lets one wait, `allow` runs it beside. `total_hosts` is
/// null until the pool has been copied.
#[utoipa::path(
    post, path = "/es-sync-tasks/{task_id}/execute", operation_id = "execute_es_sync_task", tag = "running",
    params(("task_id" = u64, Path, example = 7, description = "Id of the task"), SentKey),
    request_body(content = TaskRunFields, description = "May be left out", example = json!({
        "window_from": "2026-01-01T00:00:00Z", "window_to": "2026-01-02T00:00:00Z"
    })),
    responses(
        (status = 200, description = "The run was accepted", body = RunAccepted),
        (status = 404, description = "There is no such task: `task_not_found`", body = ErrorBody),
        (status = 409, description = "A run of it is going: `task_running`. Or the key came with another body: \
         `idempotency_key_reused`", body = ErrorBody),
    ),
)]
async fn execute_task(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
    OptionalEnqueueBody { submitted, key }: OptionalEnqueueBody<TaskRunFields>,
) -> Result<Json<RunAccepted>, ApiError> {
    let key = key.map(|key| key.at(format!("/es-sync-tasks/{id}/execute")));
    let run = task_run::execute_task(&api.runs, &actor, TaskId(id), submitted, key).await?;
    Ok(RunAccepted::answer(&api, run).await)
}

/// Retry an execution
///
/// A new execution over the failed and cancelled hosts of one that has ended. It reads the same window from the same
/// source and has its own counters.
#[utoipa::path(
    post, path = "/es-sync-executions/{execution_id}/retry", operation_id = "retry_es_sync_execution", tag = "running",
    params(("execution_id" = u64, Path, example = 12, description = "Id of the execution"), SentKey),
    request_body(content = WaitFields, description = "May be left out", example = json!({"wait_seconds": 0})),
    responses(
        (status = 200, description = "The run was accepted", body = RunAccepted),
        (status = 404, description = "There is no such execution: `execution_not_found`", body = ErrorBody),
        (status = 409, description = "It has not ended: `execution_not_finished`. Or no host failed or was cancelled: \
         `nothing_to_retry`. Or the key came with another body: `idempotency_key_reused`", body = ErrorBody),
    ),
)]
async fn retry_execution(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
    OptionalEnqueueBody { submitted, key }: OptionalEnqueueBody<WaitFields>,
) -> Result<Json<RunAccepted>, ApiError> {
    let key = key.map(|key| key.at(format!("/es-sync-executions/{id}/retry")));
    let run = retry::retry_execution(&api.runs, &actor, ExecutionId(id), submitted, key).await?;
    Ok(RunAccepted::answer(&api, run).await)
}
