//! `/es-sync-pause`: whether the fleet is paused.

use axum::Json;
use axum::extract::State;
use hostsync_store::tables::pause::PauseState;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{JsonBody, NoQuery, Operator, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::pause::{self, PauseChange};
use crate::request::Timestamp;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(get_pause, set_pause))
}

/// Whether the fleet is paused, and by whom.
#[derive(Serialize, ToSchema)]
pub(crate) struct PauseShown {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// How it stands, in a sentence.
    #[schema(examples("the fleet is paused by operator: the CMDB moves"))]
    message: String,
    /// Whether it is paused.
    #[schema(examples(true))]
    paused: bool,
    /// Why, as it was said with the last change.
    #[schema(examples("the CMDB moves"))]
    note: String,
    /// Who made the last change; empty before the first one.
    #[schema(examples("operator"))]
    changed_by: String,
    /// When; null before the first change.
    #[schema(required = true)]
    changed_at: Option<Timestamp>,
    /// Since when it is paused; null while it is not.
    #[schema(required = true)]
    paused_since: Option<Timestamp>,
}

impl From<PauseState> for PauseShown {
    fn from(state: PauseState) -> Self {
        Self {
            success: true,
            message: pause::sentence(&state),
            paused: state.is_paused,
            paused_since: state.paused_at.filter(|_| state.is_paused).map(Timestamp),
            note: state.note,
            changed_by: state.changed_by,
            changed_at: state.changed_at.map(Timestamp),
        }
    }
}

/// Show the pause
///
/// Whether the fleet is paused, since when, by whom and why.
#[utoipa::path(
    get, path = "/es-sync-pause", operation_id = "get_es_sync_pause", tag = "tasks",
    responses((status = 200, description = "How it stands", body = PauseShown)),
)]
async fn get_pause(_: Viewer, _: NoQuery, State(api): State<Api>) -> Result<Json<PauseShown>, ApiError> {
    Ok(Json(pause::get(&api.database).await?.into()))
}

/// Pause the fleet, or go on
///
/// While it is paused each fire is recorded as `skipped` and runs that wait do not start; what is going goes on, and runs can
/// be made by hand. Nothing is caught up afterwards. To pause what is paused changes its note alone, to resume what is not
/// paused nothing.
#[utoipa::path(
    post, path = "/es-sync-pause", operation_id = "set_es_sync_pause", tag = "tasks",
    request_body(content = PauseChange, example = json!({"paused": true, "note": "the CMDB moves"})),
    responses((status = 200, description = "How it stands now", body = PauseShown)),
)]
async fn set_pause(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<PauseChange>,
) -> Result<Json<PauseShown>, ApiError> {
    Ok(Json(pause::set(&api.database, &actor, submitted).await?.into()))
}
