//! `/es-sync-tasks/preview`: when a schedule would fire.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{JsonBody, NoQuery, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::request::{Timestamp, counted};
use crate::tasks::preview::{self, PreviewQuery};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(preview_task))
}

/// What a schedule comes to.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewBody {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// The schedule in words, and how many fire times follow.
    #[schema(examples("every Monday at 09:30:00, Asia/Shanghai: 3 fire times"))]
    message: String,
    /// In order; fewer than were asked for when it never fires again.
    fire_times: Vec<Timestamp>,
    /// The schedule in words; the wording may change.
    #[schema(examples("every Monday at 09:30:00, Asia/Shanghai"))]
    description: String,
    /// What may surprise people: both day fields restricted, fires that a change of the clock moves, leaves out or
    /// repeats within the next year, a schedule that ends. At most 21.
    warnings: Vec<String>,
    /// The zone whose clock the expression means.
    #[schema(examples("Asia/Shanghai"))]
    time_zone: String,
}

/// Preview a schedule
///
/// The times at which it fires, what it says in words, and what may surprise people about it. Writes nothing.
#[utoipa::path(
    post, path = "/es-sync-tasks/preview", operation_id = "preview_es_sync_task", tag = "tasks",
    request_body(content = PreviewQuery, example = json!({
        "cron_expression": "0 30 9 * * MON", "time_zone": "Asia/Shanghai", "count": 3
    })),
    responses((status = 200, description = "What the schedule comes to", body = PreviewBody)),
)]
async fn preview_task(
    _: Viewer,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<PreviewQuery>,
) -> Result<Json<PreviewBody>, ApiError> {
    let preview = preview::preview(&api.tasks, submitted).await?;
    Ok(Json(PreviewBody {
        success: true,
        message: format!("{}: {}", preview.description, counted(preview.fire_times.len(), "fire time")),
        fire_times: preview.fire_times.into_iter().map(Timestamp).collect(),
        description: preview.description,
        warnings: preview.warnings,
        time_zone: preview.time_zone.to_string(),
    }))
}
