//! `/es-sync-full-sync`: a run over a group whose hosts the source knows.

use axum::Json;
use axum::extract::State;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::execute::{IdempotencyHeader, RunAccepted};
use crate::auth::Operator;
use crate::enqueue::RunFields;
use crate::error::{ApiError, ErrorBody};
use crate::fields::{Fields, FromFields};
use crate::full_sync::{self, FullSyncFields};
use crate::request::{EnqueueBody, NoQuery};
use crate::state::Api;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(full_sync))
}

/// A run over all hosts of a group.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documentation alone: the fields are read by `FromFields`")]
pub(crate) struct FullSyncGroup {
    /// The group, as its documents name it.
    #[schema(
        format = "group",
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 255,
        examples("web")
    )]
    group_name: String,
    /// What the run is called in the execution logs; the group's name if absent.
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 255
    )]
    task_name: Option<String>,
    /// How far back the run looks, for hosts and for values: a whole number and one of `m h d w`, from 1 minute to 366
    /// days.
    #[schema(format = "time-range", default = "30d", examples("24h"))]
    query_time_range: Option<String>,
    /// Name or exact URL of a configured endpoint; empty means the default one.
    #[schema(format = "endpoint", default = "")]
    es_endpoint: Option<String>,
    /// Index pattern; empty means the default one.
    #[schema(format = "index-pattern", max_length = 255, default = "")]
    es_index_pattern: Option<String>,
    /// Name of a configured mapping that has a `group_field`; empty means the default one.
    #[schema(format = "mapping", default = "")]
    mapping: Option<String>,
    /// How long to wait for the end of the run before answering, in seconds.
    #[schema(minimum = 0, maximum = 60, default = 0)]
    wait_seconds: Option<u32>,
}

impl FromFields for FullSyncFields {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { group_name: fields.text("group_name"), run: RunFields::from_fields(fields) }
    }
}

/// Run over a group
///
/// Finds the hosts of the group that have documents in the window (at most 100,000), adds those that `hosts_pool` lacks,
/// and syncs all. A host that is deleted in the pool stays so and ends as `not_in_pool`.
#[utoipa::path(
    post, path = "/es-sync-full-sync", operation_id = "execute_es_sync_full_sync", tag = "running",
    params(IdempotencyHeader),
    request_body(content = FullSyncGroup, example = json!({"group_name": "web", "query_time_range": "24h"})),
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
    _: Operator,
    _: NoQuery,
    State(api): State<Api>,
    EnqueueBody { submitted, key }: EnqueueBody<FullSyncFields>,
) -> Result<Json<RunAccepted>, ApiError> {
    let sync = full_sync::full_sync(&api, submitted, key.map(|key| key.at("/es-sync-full-sync"))).await?;
    Ok(RunAccepted::answer(&api, sync.run).await)
}
