//! `/es-sync-freshness`: how fresh hosts are; `/es-sync-hosts/{host_ip}/mute`: which are left out of that.

use axum::Json;
use axum::extract::State;
use hostsync_model::execution::SyncStatus;
use hostsync_model::freshness::FreshnessState;
use hostsync_store::freshness::FreshnessCounts;
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::extract::{JsonBody, NoQuery, Operator, PathHost, QueryFields, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::hosts::freshness::{self, FreshHost, FreshnessQuery};
use crate::hosts::mute::{self, MuteHost};
use crate::request::{Timestamp, counted, schema_of, schema_or_null};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(get_freshness)).routes(routes!(mute_host))
}

/// Hosts of the pool by how fresh they are; soft-deleted and muted ones are not counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshnessCountsBody {
    /// Within the target.
    #[schema(examples(998))]
    fresh: u64,
    /// Past the target.
    #[schema(examples(1))]
    late: u64,
    /// Past twice the target.
    #[schema(examples(1))]
    stale: u64,
    /// Without values.
    #[schema(examples(0))]
    never: u64,
}

impl From<FreshnessCounts> for FreshnessCountsBody {
    fn from(FreshnessCounts { fresh, late, stale, never }: FreshnessCounts) -> Self {
        Self { fresh, late, stale, never }
    }
}

/// A host and how fresh it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshHostBody {
    /// Its address as it stands in the pool.
    #[schema(examples("10.0.0.1"))]
    host_ip: String,
    /// Its name.
    #[schema(examples("web-1"))]
    host_name: String,
    #[schema(schema_with = schema_of::<FreshnessState>)]
    state: FreshnessState,
    /// End of the window that it is fresh by; null if it has never been synced.
    #[schema(required = true)]
    fresh_since: Option<Timestamp>,
    /// How long ago that is, in seconds; null if it has never been synced.
    #[schema(required = true, examples(7_200))]
    age_seconds: Option<u64>,
    /// Its outcome in the last run; null if it has never been synced.
    #[schema(schema_with = schema_or_null::<SyncStatus>, required = true)]
    last_status: Option<Word<SyncStatus>>,
    /// Why, if it failed.
    #[schema(required = true, examples("no answer in time"))]
    last_error: Option<String>,
    /// When the first of the runs in a row gave it up; null if it succeeded in the last one.
    #[schema(required = true)]
    failing_since: Option<Timestamp>,
    /// Runs in a row in which it did not succeed.
    #[schema(examples(3))]
    failures_in_a_row: u32,
    /// The last of them; null if it succeeded in the last one.
    #[schema(required = true, examples(12))]
    last_execution_id: Option<u64>,
    /// Until when it is muted; null if it is not.
    #[schema(required = true)]
    muted_until: Option<Timestamp>,
}

impl From<FreshHost> for FreshHostBody {
    fn from(host: FreshHost) -> Self {
        let FreshHost { entry, freshness, age_seconds, row, muted_until } = host;
        let row = row.as_ref();
        let succeeded = freshness.since.map(|_| Word::Known(SyncStatus::Success));
        Self {
            host_ip: entry.host_ip,
            host_name: entry.host_name,
            state: freshness.state,
            fresh_since: freshness.since.map(Timestamp),
            age_seconds,
            last_status: row.map_or(succeeded, |row| Some(row.last_status.clone())),
            last_error: row.and_then(|row| row.last_error.clone()),
            failing_since: row.map(|row| Timestamp(row.failing_since)),
            failures_in_a_row: row.map_or(0, |row| row.failures_in_a_row),
            last_execution_id: row.map(|row| row.last_execution_id),
            muted_until: muted_until.map(Timestamp),
        }
    }
}

/// How fresh hosts are.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshnessPage {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// How many hosts the page has.
    #[schema(examples("1 host"))]
    message: String,
    /// When all hosts were counted, which is once a minute; null before the first time.
    #[schema(required = true)]
    as_of: Option<Timestamp>,
    /// All hosts of the pool, whatever the filters; null before the first time.
    #[schema(required = true)]
    counts: Option<FreshnessCountsBody>,
    /// In order of their ids in the pool, as they are now.
    hosts: Vec<FreshHostBody>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// Show how fresh hosts are
///
/// The live hosts of the pool: `fresh` within the target of the task, `late` past it, `stale` past twice of it, `never`
/// without values. Without `task_id` the best task of each host counts. A muted host is listed only where no state is asked for.
#[utoipa::path(
    get, path = "/es-sync-freshness", operation_id = "get_es_sync_freshness", tag = "looking",
    params(FreshnessQuery),
    responses(
        (status = 200, description = "A page of hosts", body = FreshnessPage),
        (status = 404, description = "There is no such task: `task_not_found`", body = ErrorBody),
    ),
)]
async fn get_freshness(
    _: Viewer,
    State(api): State<Api>,
    QueryFields(submitted): QueryFields<FreshnessQuery>,
) -> Result<Json<FreshnessPage>, ApiError> {
    let shown = freshness::list(&api.database, &api.probes.sources.defaults, submitted).await?;
    Ok(Json(FreshnessPage {
        success: true,
        message: counted(shown.hosts.len(), "host"),
        as_of: shown.as_of.map(Timestamp),
        counts: shown.counts.map(FreshnessCountsBody::from),
        hosts: shown.hosts.into_iter().map(FreshHostBody::from).collect(),
        next_cursor: shown.next_cursor,
    }))
}

/// What came of muting a host.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostMuted {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// What the host is now.
    #[schema(examples("host 10.0.0.1 is muted until 2026-01-08T00:00:00.000Z"))]
    message: String,
    /// Until when it is muted; null if it is not.
    #[schema(required = true)]
    muted_until: Option<Timestamp>,
}

/// Mute a host
///
/// Takes a host of the pool out of freshness until a time. It is still synced. A later call changes the time; one with a time
/// that has passed ends it.
#[utoipa::path(
    post, path = "/es-sync-hosts/{host_ip}/mute", operation_id = "mute_es_sync_host", tag = "looking",
    params(
        ("host_ip" = String, Path, example = "10.0.0.1", min_length = 1, max_length = 50, pattern = "^[ -~]+$",
         description = "Address of the host, as it stands in the pool or in its canonical form"),
    ),
    request_body(content = MuteHost, example = json!({"until": "2026-01-08T00:00:00Z", "note": "is being rebuilt"})),
    responses(
        (status = 200, description = "The host is muted, or is not any more", body = HostMuted),
        (status = 404, description = "The pool has no such host: `host_not_found`", body = ErrorBody),
    ),
)]
async fn mute_host(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    PathHost(host_ip): PathHost,
    JsonBody(submitted): JsonBody<MuteHost>,
) -> Result<Json<HostMuted>, ApiError> {
    let muted = mute::mute(&api.database, &actor, &host_ip, submitted).await?;
    Ok(Json(HostMuted { success: true, message: muted.message, muted_until: muted.until.map(Timestamp) }))
}
