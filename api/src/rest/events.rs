//! `/es-sync-executions/{id}/events`: server-sent events of one execution.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::Stream;
use futures_util::stream;
use hostsync_model::execution::{ExecutionId, ExecutionStatus};
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::extract::{NoQuery, PathId, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::request::schema_of;
use crate::runs::watch::{RunState, Watch, Watcher};

/// Pause after which a comment shows that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The id of the event that a client saw last (HTML standard, section 9.2).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Keeps nginx from holding events back.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(watch_execution))
}

/// The data of an event: how the execution stands. At every moment the counters add up to `total_hosts`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExecutionState {
    /// Id of the execution.
    #[schema(examples(12))]
    execution_id: u64,
    #[schema(schema_with = schema_of::<ExecutionStatus>)]
    execution_status: Word<ExecutionStatus>,
    /// Null until the hosts of the run are known.
    #[schema(required = true, examples(2))]
    total_hosts: Option<u64>,
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
    /// Why it does not go on; empty when it does.
    #[schema(examples(""))]
    waiting_for: String,
    /// Null while it is going.
    #[schema(required = true, examples(5_200))]
    duration_ms: Option<i64>,
}

/// One event of the stream.
#[derive(ToSchema)]
struct ExecutionEvent {
    /// `progress`, or `end` for the last one.
    #[schema(examples("progress"))]
    event: &'static str,
    /// What to send as `Last-Event-ID`.
    #[schema(examples("running.2.1.0.0.0.0.1"))]
    id: String,
    /// An `ExecutionState` in JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

impl From<ExecutionEvent> for Event {
    fn from(ExecutionEvent { event, id, data }: ExecutionEvent) -> Self {
        Self::default().event(event).id(id).data(data)
    }
}

impl ExecutionState {
    fn new(id: ExecutionId, state: RunState) -> Self {
        let RunState { outcome, duration_ms } = state;
        Self {
            execution_id: id.0,
            execution_status: outcome.execution_status,
            total_hosts: outcome.total_hosts,
            success_count: outcome.success_count,
            failed_count: outcome.failed_count,
            no_data_count: outcome.no_data_count,
            not_in_pool_count: outcome.not_in_pool_count,
            cancelled_count: outcome.cancelled_count,
            pending_count: outcome.pending_count,
            error_message: outcome.error_message,
            waiting_for: outcome.waiting_for,
            duration_ms,
        }
    }
}

/// Watch an execution
///
/// Server-sent events. `progress` tells the state that is there and then each change, at most two a second; `end` tells
/// the last state, and the stream ends. The data of both is an `ExecutionState` in JSON. A comment every 15 seconds shows
/// that the stream lives. It also ends when the server stops: come back with `Last-Event-ID`, and the state is told again
/// only if it has changed. Who has heard `end` already gets 204, upon which a browser does not come back.
#[utoipa::path(
    get, path = "/es-sync-executions/{execution_id}/events", operation_id = "watch_es_sync_execution", tag = "looking",
    params(
        ("execution_id" = u64, Path, example = 12, description = "Id of the execution"),
        ("Last-Event-ID" = inline(Option<String>), Header, example = "running.2.1.0.0.0.0.1", nullable = false,
         description = "Id of the event that was heard last. Browsers send it when they come back."),
    ),
    responses(
        (status = 200, description = "Events until the execution has ended; the schema is that of one event", content_type = "text/event-stream",
         body = ExecutionEvent, example = "event: progress\nid: running.2.1.0.0.0.0.1\ndata: {\"execution_id\":12,…}\n\n"),
        (status = 204, description = "It has ended, and `Last-Event-ID` is that of its end"),
        (status = 404, description = "There is no such execution: `execution_not_found`", body = ErrorBody),
        (status = 429, description = "Too many event streams, in all or by this caller, who may have as many as are left free: `too_many_requests`", body = ErrorBody,
         headers(("Retry-After" = u64, description = "Seconds to wait before the next try"))),
    ),
)]
async fn watch_execution(
    Viewer(caller): Viewer,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = ExecutionId(id);
    let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let watcher = match api.runs.watchers.watch(caller, id, last_id).await? {
        Watch::Begun(watcher) => watcher,
        Watch::Over => return Ok(StatusCode::NO_CONTENT.into_response()),
    };
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("alive");
    let mut response = Sse::new(events_of(api, id, watcher)).keep_alive(heartbeat).into_response();
    response.headers_mut().insert(UNBUFFERED, HeaderValue::from_static("no"));
    Ok(response)
}

/// The events of a watcher, until there are no more or the process stops.
fn events_of(api: Api, id: ExecutionId, watcher: Watcher) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((api, watcher), move |(api, mut watcher)| async move {
        let (event_id, state) = tokio::select! {
            next = watcher.next() => next?,
            () = api.shutdown.stopping() => return None,
        };
        let event = if state.outcome.has_ended() { "end" } else { "progress" };
        let data = serde_json::to_string(&ExecutionState::new(id, state)).unwrap_or_default();
        Some((Ok(ExecutionEvent { event, id: event_id, data }.into()), (api, watcher)))
    })
}
