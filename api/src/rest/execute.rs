//! `/es-sync-execute` and `/es-sync-execute-file`: runs over hosts that the request names.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use hostsync_model::execution::ExecutionStatus;
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::extract::{
    EnqueueBody, FILE_PART, FileBody, FileEnqueue, MAX_FILE_FORM_BYTES, MAX_HOST_LIST_BYTES, NoQuery, Operator,
};
use crate::access::EnqueuePermit;
use crate::app::Api;
use crate::error::ApiError;
use crate::request::{Described, Fields, InvalidLine, Request as _, Submitted, form_schema, schema_of};
use crate::runs::hosts::{self, HostFileContent, HostFileRun, HostListRun, RunFields};
use crate::runs::idempotency::SentKey;
use crate::runs::{Accepted, Enqueued, Outcome, message, wait_for_end};

/// The field of a JSON body that holds the file.
const FILE_FIELD: &str = "file_content";

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(execute))
        .routes(routes!(execute_file).layer(DefaultBodyLimit::max(MAX_FILE_FORM_BYTES)))
}

/// The same as a form: the file is the part `file`, every other field a part of its own.
struct ExecuteFileForm;

impl PartialSchema for ExecuteFileForm {
    fn schema() -> RefOr<Schema> {
        let file = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("host-file".to_owned())))
            .content_media_type("application/octet-stream")
            .description(Some("The file."));
        let file = Described { name: FILE_PART, schema: file.build().into(), is_required: true };
        form_schema(
            "The same as a form: the file is the part `file`, every other field a part of its own.",
            RunFields::fields().into_iter().chain([file]).collect(),
        )
    }
}

impl ToSchema for ExecuteFileForm {}

impl FileBody {
    fn submitted(self) -> Submitted<HostFileRun> {
        match self {
            Self::Json(object) => Fields::from_json(object).read::<HostFileContent>().map(|sent| HostFileRun {
                content: Some(String::from(sent.file_content).into_bytes()),
                content_field: FILE_FIELD,
                run: sent.run,
            }),
            Self::Form { file, fields } => Fields::from_text(fields).read::<RunFields>().map(|run| HostFileRun {
                content: file,
                content_field: FILE_PART,
                run,
            }),
        }
    }
}

/// A run that was accepted. The counters and what comes with them are there after `wait_seconds` alone.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunAccepted {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// What became of the run, in a sentence.
    #[schema(examples("execution 12 was enqueued over 2 hosts"))]
    message: String,
    /// Its id.
    #[schema(examples(12))]
    execution_id: u64,
    /// Hosts in it, each once; null for a task's run over the whole pool that has not been prepared.
    #[schema(required = true, examples(2))]
    total_hosts: Option<u64>,
    /// Hosts added to `hosts_pool`; with a full sync alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    new_host_count: Option<u64>,
    /// How it stood when the wait was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema_of::<ExecutionStatus>)]
    execution_status: Option<Word<ExecutionStatus>>,
    /// Hosts whose values were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    success_count: Option<u64>,
    /// Hosts given up, with a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failed_count: Option<u64>,
    /// Hosts without a document in the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    no_data_count: Option<u64>,
    /// Hosts that are not in the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    not_in_pool_count: Option<u64>,
    /// Hosts whose turn had not come when the run was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cancelled_count: Option<u64>,
    /// Hosts without an outcome yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pending_count: Option<u64>,
    /// Why it failed or was skipped, or the reason of one of its failed hosts; null when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[expect(clippy::option_option, reason = "absent without a wait, null without an error")]
    error_message: Option<Option<String>>,
    /// Why it does not go on; empty when it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting_for: Option<String>,
    /// What a person should know of it, at most 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
    /// The lines of the file that are no addresses, at most 1,000; with a file alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    invalid_lines: Option<Vec<InvalidLine>>,
    /// How many such lines there are in all; with a file alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    invalid_line_count: Option<u64>,
}

impl RunAccepted {
    /// Waits as long as the caller wants to, and tells what is known then.
    pub(super) async fn answer(api: &Api, run: Enqueued) -> Json<Self> {
        let outcome = wait_for_end(&api.runs, &run).await;
        Json(Self::new(run.accepted, outcome.as_ref()))
    }

    fn new(accepted: Accepted, outcome: Option<&Outcome>) -> Self {
        let count = |count: fn(&Outcome) -> u64| outcome.map(count);
        let message = message(&accepted, outcome);
        let (invalid_lines, invalid_line_count) = accepted.invalid_lines.unzip();
        Self {
            success: true,
            message,
            execution_id: accepted.execution_id.0,
            total_hosts: outcome.map_or(accepted.total_hosts.map(|hosts| hosts as u64), |outcome| outcome.total_hosts),
            new_host_count: accepted.new_host_count.map(|hosts| hosts as u64),
            execution_status: outcome.map(|outcome| outcome.execution_status.clone()),
            success_count: count(|outcome| outcome.success_count),
            failed_count: count(|outcome| outcome.failed_count),
            no_data_count: count(|outcome| outcome.no_data_count),
            not_in_pool_count: count(|outcome| outcome.not_in_pool_count),
            cancelled_count: count(|outcome| outcome.cancelled_count),
            pending_count: count(|outcome| outcome.pending_count),
            error_message: outcome.map(|outcome| outcome.error_message.clone()),
            waiting_for: outcome.map(|outcome| outcome.waiting_for.clone()),
            warnings: outcome.map(|outcome| outcome.warnings.clone()),
            invalid_lines,
            invalid_line_count: invalid_line_count.map(|count| count as u64),
        }
    }
}

/// Run over a list of hosts
///
/// Answers at once, or when the run has ended within `wait_seconds`. Only the database is needed: the run is accepted
/// while the broker or the source is down.
#[utoipa::path(
    post, path = "/es-sync-execute", operation_id = "execute_es_sync_by_host_list", tag = "running",
    params(SentKey),
    request_body(content = HostListRun, example = json!({
        "task_name": "web servers", "host_ip_list": ["10.0.0.1", "10.0.0.2"], "query_time_range": "24h"
    })),
    responses(
        (status = 200, description = "The run was accepted", body = RunAccepted),
        (status = 409, description = "The key came with another body: `idempotency_key_reused`", body = ErrorBody),
        (status = 429, description = "Too many host lists and files at once: `too_many_requests`", body = ErrorBody,
         headers(("Retry-After" = u64, description = "Seconds to wait before the next try"))),
    ),
)]
async fn execute(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    permit: EnqueuePermit,
    EnqueueBody { submitted, key }: EnqueueBody<HostListRun, MAX_HOST_LIST_BYTES>,
) -> Result<Json<RunAccepted>, ApiError> {
    let key = key.map(|key| key.at("/es-sync-execute"));
    let run = hosts::execute_host_list(&api.runs, &actor, submitted, key).await?;
    drop(permit);
    Ok(RunAccepted::answer(&api, run).await)
}

/// Run over a host file
///
/// Bad lines are told and the rest runs; without a single good line nothing does. As JSON the file stands in
/// `file_content`, in a form it is the part `file`.
#[utoipa::path(
    post, path = "/es-sync-execute-file", operation_id = "execute_es_sync_by_file", tag = "running",
    params(SentKey),
    request_body(
        content(
            (HostFileContent = "application/json", example = json!({
                "task_name": "web servers", "file_content": "10.0.0.1\n10.0.0.2  # front\n"
            })),
            (ExecuteFileForm = "multipart/form-data", example = json!({
                "task_name": "web servers", "file": "10.0.0.1\n10.0.0.2  # front\n"
            })),
        ),
    ),
    responses(
        (status = 200, description = "The run was accepted", body = RunAccepted),
        (status = 409, description = "The key came with another body: `idempotency_key_reused`", body = ErrorBody),
        (status = 429, description = "Too many host lists and files at once: `too_many_requests`", body = ErrorBody,
         headers(("Retry-After" = u64, description = "Seconds to wait before the next try"))),
    ),
)]
async fn execute_file(
    Operator(actor): Operator,
    _: NoQuery,
    State(api): State<Api>,
    permit: EnqueuePermit,
    FileEnqueue { body, key }: FileEnqueue,
) -> Result<Json<RunAccepted>, ApiError> {
    let key = key.map(|key| key.at("/es-sync-execute-file"));
    let run = hosts::execute_host_file(&api.runs, &actor, body.submitted(), key).await?;
    drop(permit);
    Ok(RunAccepted::answer(&api, run).await)
}
