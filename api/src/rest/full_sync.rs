//! `/es-sync-full-sync`: a run over a group whose hosts the source knows.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::execute::RunAccepted;
use super::extract::{EnqueueBody, NoQuery, Operator};
use crate::app::Api;
use crate::error::ApiError;
use crate::runs::full_sync::{self, FullSyncRun};
use crate::runs::idempotency::SentKey;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(full_sync))
}

/// Run over a group
///
/// Finds the hosts of the group that have documents in the window (at most 100,000), adds those that `hosts_pool` lacks,
/// and syncs all. A host that is deleted in the pool stays so and ends as `not_in_pool`.
#[utoipa::path(
    post, path = "/es-sync-full-sync", operation_id = "execute_es_sync_full_sync", tag = "running",
    params(SentKey),
    request_body(content = FullSyncRun, example = json!({"group_name": "web", "query_time_range": "24h"})),
    responses(
        (status = 200, description = "The run was accepted", body = RunAccepted),
        (status = 400, description = "The source refuses the search: `source_refused`", body = ErrorBody),
        (status = 409, description = "`hosts_pool` refuses the new hosts: `host_pool_refused`. Or the key came with \
         another body: `idempotency_key_reused`", body = ErrorBody),
        (status = 429, description = "Too many full syncs at once: `too_many_requests`", body = ErrorBody,
         headers(("Retry-After" = u64, description = "Seconds to wait before the next try"))),
        (status = 503, description = "The source gives no answer: `source_unavailable`", body = ErrorBody,
         headers(("Retry-After" = u64, description = "Seconds to wait before the next try"))),
    ),
)]
async fn full_sync(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    EnqueueBody { submitted, key }: EnqueueBody<FullSyncRun>,
) -> Result<Json<RunAccepted>, ApiError> {
    let key = key.map(|key| key.at("/es-sync-full-sync"));
    let sync = full_sync::full_sync(&api.runs, &actor, submitted, key).await?;
    Ok(RunAccepted::answer(&api, sync.run).await)
}
