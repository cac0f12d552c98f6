//! `/es-sync-dead-letters`: what could not be worked on.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hostsync_model::execution::JobQueue;
use hostsync_store::tables::dead_letters::LetterRow;
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::csv::{self, CsvRow, ListFormat};
use super::error::ErrorBody;
use super::extract::{JsonBody, NoQuery, Operator, QueryFields, Viewer};
use crate::app::Api;
use crate::dead_letters::{self, LetterChoice, LetterQuery, LettersDone};
use crate::error::ApiError;
use crate::request::{Timestamp, counted, schema_of};

/// Most characters that are shown of a message.
const SHOWN_CHARS: usize = 1_000;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list_dead_letters))
        .routes(routes!(requeue_dead_letters))
        .routes(routes!(drop_dead_letters))
}

/// A message that could not be worked on.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetterBody {
    /// Its id; one that was moved later has a higher one.
    #[schema(examples(31))]
    id: u64,
    /// Why it was set aside.
    #[schema(examples("given up by the broker: delivery_limit"))]
    reason: String,
    /// Whether it is a job that can be put back.
    #[schema(examples(true))]
    is_job: bool,
    /// The run of the job; null where it is none that can be read.
    #[schema(required = true, examples(12))]
    execution_id: Option<u64>,
    /// The row of the job.
    #[schema(required = true, examples(301))]
    detail_id: Option<u64>,
    /// The host of the job.
    #[schema(required = true, examples("10.0.0.1"))]
    host_ip: Option<String>,
    /// The queue that it died in; `bulk` where that is not known.
    #[schema(schema_with = schema_of::<JobQueue>)]
    queue: Word<JobQueue>,
    /// The first 1,000 characters of the message.
    #[schema(max_length = 1_000, examples("{\"v\":1,\"execution_id\":12}"))]
    body: String,
    /// Length of the message in bytes.
    #[schema(examples(24))]
    body_bytes: u64,
    /// When it died, by the clock of who set it aside; when it was moved, where nobody says.
    dead_at: Timestamp,
    /// When a scheduler moved it out of the broker.
    moved_at: Timestamp,
}

impl CsvRow for DeadLetterBody {
    const COLUMNS: &[&str] = &[
        "id",
        "reason",
        "is_job",
        "execution_id",
        "detail_id",
        "host_ip",
        "queue",
        "body",
        "body_bytes",
        "dead_at",
        "moved_at",
    ];
}

impl From<LetterRow> for DeadLetterBody {
    fn from(row: LetterRow) -> Self {
        Self {
            id: row.id,
            reason: row.reason,
            is_job: row.is_job,
            execution_id: row.execution_id,
            detail_id: row.detail_id,
            host_ip: row.host_ip,
            queue: row.queue,
            body: String::from_utf8_lossy(&row.body).chars().take(SHOWN_CHARS).collect(),
            body_bytes: row.body_bytes,
            dead_at: Timestamp(row.dead_at),
            moved_at: Timestamp(row.moved_at),
        }
    }
}

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetterPage {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// How many letters the page has.
    #[schema(examples("1 dead letter"))]
    message: String,
    /// Moved last first.
    dead_letters: Vec<DeadLetterBody>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// List dead letters
///
/// Messages that could not be worked on, moved last first. Schedulers move them out of the broker within seconds; the 10,000
/// newest are kept, for `scheduler.retention`.
#[utoipa::path(
    get, path = "/es-sync-dead-letters", operation_id = "get_es_sync_dead_letters", tag = "looking",
    params(LetterQuery),
    responses((status = 200, description = "A page of dead letters", body = DeadLetterPage)),
)]
async fn list_dead_letters(
    _: Viewer,
    State(api): State<Api>,
    format: ListFormat,
    QueryFields(submitted): QueryFields<LetterQuery>,
) -> Result<Response, ApiError> {
    if format == ListFormat::Csv {
        let database = api.database.clone();
        let read = move |submitted| {
            let database = database.clone();
            async move { dead_letters::list(&database, submitted).await }
        };
        return csv::answer::<DeadLetterBody, _, _, _, _, _>(submitted, |query| &mut query.page, read).await;
    }
    let (rows, next_cursor) = dead_letters::list(&api.database, submitted).await?;
    let dead_letters: Vec<DeadLetterBody> = rows.into_iter().map(DeadLetterBody::from).collect();
    let message = counted(dead_letters.len(), "dead letter");
    Ok(Json(DeadLetterPage { success: true, message, dead_letters, next_cursor }).into_response())
}

/// What became of the letters that were meant.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLettersDone {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// What was done.
    #[schema(examples("2 put back, 0 kept"))]
    message: String,
    /// How many letters are meant.
    #[schema(examples(2))]
    count: u64,
    /// How many were put back or dropped; 0 with `count_only`.
    #[schema(examples(2))]
    done: u64,
    /// How many stay as they were: those that are no job, and what the broker did not take.
    #[schema(examples(0))]
    kept: u64,
}

impl From<LettersDone> for Json<DeadLettersDone> {
    fn from(LettersDone { message, count, done, kept }: LettersDone) -> Self {
        Self(DeadLettersDone { success: true, message, count, done, kept })
    }
}

/// Put dead letters back
///
/// Each job is published anew onto the queue that it died in, and its letter is gone once the broker has confirmed it. What
/// is no job stays. A job whose host has its outcome by now changes nothing. Which letters: `ids`, or a filter whose number of
/// letters is asked with `count_only` first and repeated in `confirm`.
#[utoipa::path(
    post, path = "/es-sync-dead-letters/requeue", operation_id = "requeue_es_sync_dead_letters", tag = "running",
    request_body(content = LetterChoice, example = json!({"execution_id": 12, "confirm": 2})),
    responses(
        (status = 200, description = "The jobs are on their queues, or were counted", body = DeadLettersDone),
        (status = 503, description = "The broker takes none of the jobs: `broker_unavailable`", body = ErrorBody),
    ),
)]
async fn requeue_dead_letters(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<LetterChoice>,
) -> Result<Json<DeadLettersDone>, ApiError> {
    Ok(dead_letters::requeue(&api.database, &api.publisher, &actor, submitted).await?.into())
}

/// Drop dead letters
///
/// For good. Nothing among them is needed by hostsync: a host whose job is here is published again by itself. Which letters:
/// `ids`, or a filter whose number of letters is asked with `count_only` first and repeated in `confirm`.
#[utoipa::path(
    post, path = "/es-sync-dead-letters/drop", operation_id = "drop_es_sync_dead_letters", tag = "running",
    request_body(content = LetterChoice, example = json!({"ids": [31]})),
    responses((status = 200, description = "The letters are gone, or were counted", body = DeadLettersDone)),
)]
async fn drop_dead_letters(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<LetterChoice>,
) -> Result<Json<DeadLettersDone>, ApiError> {
    Ok(dead_letters::drop(&api.database, &actor, submitted).await?.into())
}
