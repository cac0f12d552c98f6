//! `/es-sync-execute` and `/es-sync-execute-file`: runs over hosts that the request names.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use hostsync_model::execution::ExecutionStatus;
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use super::answers::{counted, execution_status};
use crate::auth::Operator;
use crate::enqueue::{self, Accepted, Enqueued, HostFileRun, HostListRun, MAX_WAIT_S, Outcome, RunFields};
use crate::error::{ApiError, ErrorBody};
use crate::fields::{Fields, FromFields, Submitted};
use crate::host_file::InvalidLine;
use crate::request::{
    EnqueueBody, EnqueuePermit, FILE_PART, FileBody, FileEnqueue, MAX_FILE_FORM_BYTES, MAX_HOST_LIST_BYTES, NoQuery,
};
use crate::state::Api;

/// The field of a JSON body that holds the file.
const FILE_FIELD: &str = "file_content";

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(execute))
        .routes(routes!(execute_file).layer(DefaultBodyLimit::max(MAX_FILE_FORM_BYTES)))
}

/// A run over a list of addresses.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documentation alone: the fields are read by `FromFields`")]
pub(crate) struct ExecuteHostList {
    /// What the run is called in the execution logs.
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 255,
        examples("web servers")
    )]
    task_name: String,
    /// IPv4 and IPv6 addresses; repeats are taken once, at most 100,000 hosts are left then. A bad one refuses the list.
    #[schema(schema_with = host_ip_list)]
    host_ip_list: Vec<String>,
    /// How far back the run looks: a whole number and one of `m h d w`, from 1 minute to 366 days.
    #[schema(format = "time-range", default = "30d", examples("24h"))]
    query_time_range: Option<String>,
    /// Name or exact URL of a configured endpoint; empty means the default one.
    #[schema(format = "endpoint", default = "")]
    es_endpoint: Option<String>,
    /// Index pattern; empty means the default one.
    #[schema(format = "index-pattern", max_length = 255, default = "")]
    es_index_pattern: Option<String>,
    /// Name of a configured mapping; empty means the default one.
    #[schema(format = "mapping", default = "")]
    mapping: Option<String>,
    /// How long to wait for the end of the run before answering, in seconds.
    #[schema(minimum = 0, maximum = 60, default = 0)]
    wait_seconds: Option<u32>,
}

/// A run over a host file: one IPv4 or IPv6 address a line, at most 100,000 hosts in 8 MiB.
///
/// Blank lines and comments from `#` on are skipped; a byte order mark, CRLF, blanks around an address and a comma behind
/// it are forgiven; repeats are taken once.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documentation alone: the fields are read by `FromFields`")]
pub(crate) struct ExecuteFileContent {
    /// What the run is called in the execution logs.
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 255,
        examples("web servers")
    )]
    task_name: String,
    /// The file as plain text.
    #[schema(format = "host-file", examples("10.0.0.1\n10.0.0.2  # front\n"))]
    file_content: String,
    /// How far back the run looks: a whole number and one of `m h d w`, from 1 minute to 366 days.
    #[schema(format = "time-range", default = "30d", examples("24h"))]
    query_time_range: Option<String>,
    /// Name or exact URL of a configured endpoint; empty means the default one.
    #[schema(format = "endpoint", default = "")]
    es_endpoint: Option<String>,
    /// Index pattern; empty means the default one.
    #[schema(format = "index-pattern", max_length = 255, default = "")]
    es_index_pattern: Option<String>,
    /// Name of a configured mapping; empty means the default one.
    #[schema(format = "mapping", default = "")]
    mapping: Option<String>,
    /// How long to wait for the end of the run before answering, in seconds.
    #[schema(minimum = 0, maximum = 60, default = 0)]
    wait_seconds: Option<u32>,
}

/// The same as a form: the file is the part `file`, every other field a part of its own.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documentation alone: the fields are read by `FromFields`")]
pub(crate) struct ExecuteFileForm {
    /// What the run is called in the execution logs.
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 255
    )]
    task_name: String,
    /// The file.
    #[schema(format = "host-file", content_media_type = "application/octet-stream")]
    file: String,
    /// How far back the run looks.
    #[schema(format = "time-range", default = "30d", nullable = false)]
    query_time_range: Option<String>,
    /// Name or exact URL of a configured endpoint; empty means the default one.
    #[schema(format = "endpoint", default = "", nullable = false)]
    es_endpoint: Option<String>,
    /// Index pattern; empty means the default one.
    #[schema(format = "index-pattern", max_length = 255, default = "", nullable = false)]
    es_index_pattern: Option<String>,
    /// Name of a configured mapping; empty means the default one.
    #[schema(format = "mapping", default = "", nullable = false)]
    mapping: Option<String>,
    /// How long to wait for the end of the run before answering, in seconds.
    #[schema(minimum = 0, maximum = 60, default = 0, nullable = false)]
    wait_seconds: Option<u32>,
}

/// The schema of `host_ip_list`.
fn host_ip_list() -> RefOr<Schema> {
    let address = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("ip".to_owned())))
        .description(Some("An IPv4 or IPv6 address."));
    ArrayBuilder::new()
        .items(address)
        .min_items(Some(1))
        .description(Some(
            "IPv4 and IPv6 addresses; repeats are taken once, at most 100,000 hosts are left then. A bad one refuses the list.",
        ))
        .examples([serde_json::json!(["10.0.0.1", "2001:db8::1"])])
        .into()
}

impl FromFields for RunFields {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            task_name: fields.text("task_name"),
            query_time_range: fields.text("query_time_range"),
            es_endpoint: fields.text("es_endpoint"),
            es_index_pattern: fields.text("es_index_pattern"),
            mapping: fields.text("mapping"),
            wait_seconds: fields.number("wait_seconds", 0..=MAX_WAIT_S),
        }
    }
}

impl FromFields for HostListRun {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { host_ip_list: fields.texts("host_ip_list"), run: RunFields::from_fields(fields) }
    }
}

/// The JSON form of a run over a file.
struct FileContentRun(HostFileRun);

impl FromFields for FileContentRun {
    fn from_fields(fields: &mut Fields) -> Self {
        Self(HostFileRun {
            content: fields.text(FILE_FIELD).map(String::into_bytes),
            content_field: FILE_FIELD,
            run: RunFields::from_fields(fields),
        })
    }
}

impl FileBody {
    fn submitted(self) -> Submitted<HostFileRun> {
        match self {
            Self::Json(object) => Fields::from_json(object).read::<FileContentRun>().map(|run| run.0),
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
    #[schema(schema_with = execution_status)]
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
        let outcome = enqueue::wait_for_end(api, &run).await;
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

/// What became of a run, in a sentence.
pub(crate) fn message(run: &Accepted, outcome: Option<&Outcome>) -> String {
    let id = run.execution_id;
    let hosts = match outcome.map_or(run.total_hosts.map(|hosts| hosts as u64), |outcome| outcome.total_hosts) {
        Some(hosts) => counted(usize::try_from(hosts).unwrap_or(usize::MAX), "host"),
        None => "the whole pool".to_owned(),
    };
    let is_waiting = outcome.map_or(run.is_waiting, |outcome| outcome.execution_status == ExecutionStatus::Waiting);
    let mut message = match outcome {
        _ if is_waiting => format!("execution {id} waits until the task's last run has ended"),
        None => format!("execution {id} was enqueued over {hosts}"),
        Some(outcome) if outcome.has_ended() => {
            format!("execution {id} over {hosts} has ended: {}", outcome.execution_status)
        }
        Some(outcome) => format!("execution {id} over {hosts} is going on, {} of them are done", outcome.done()),
    };
    for (count, noun, what) in [
        (run.new_host_count.unwrap_or(0), "host", "added to the pool"),
        (run.invalid_lines.as_ref().map_or(0, |(_, count)| *count), "bad line", "left out"),
    ] {
        if count > 0 {
            message.push_str("; ");
            message.push_str(&counted(count, noun));
            message.push(' ');
            message.push_str(what);
        }
    }
    message
}

/// The header that makes an enqueue happen once, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "documentation alone: the header is read by the extractors of bodies")]
pub(super) struct IdempotencyHeader {
    /// Of your own making, such as a UUID: the same key and body at the same path within 24 hours get the first answer
    /// again and enqueue nothing. 1 to 255 visible characters of ASCII.
    #[param(
        rename = "Idempotency-Key",
        nullable = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]{1,255}$",
        example = "8e03978e-40d5-43e8-bc93-6894a57f9324"
    )]
    idempotency_key: Option<String>,
}

/// Run over a list of hosts
///
/// Answers at once, or when the run has ended within `wait_seconds`. Only the database is needed: the run is accepted
/// while the broker or the source is down.
#[utoipa::path(
    post, path = "/es-sync-execute", operation_id = "execute_es_sync_by_host_list", tag = "running",
    params(IdempotencyHeader),
    request_body(content = ExecuteHostList, example = json!({
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
    _: Operator,
    _: NoQuery,
    State(api): State<Api>,
    permit: EnqueuePermit,
    EnqueueBody { submitted, key }: EnqueueBody<HostListRun, MAX_HOST_LIST_BYTES>,
) -> Result<Json<RunAccepted>, ApiError> {
    let run = enqueue::execute_host_list(&api, submitted, key.map(|key| key.at("/es-sync-execute"))).await?;
    drop(permit);
    Ok(RunAccepted::answer(&api, run).await)
}

/// Run over a host file
///
/// Bad lines are told and the rest runs; without a single good line nothing does. As JSON the file stands in
/// `file_content`, in a form it is the part `file`.
#[utoipa::path(
    post, path = "/es-sync-execute-file", operation_id = "execute_es_sync_by_file", tag = "running",
    params(IdempotencyHeader),
    request_body(
        content(
            (ExecuteFileContent = "application/json", example = json!({
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
    _: Operator,
    _: NoQuery,
    State(api): State<Api>,
    permit: EnqueuePermit,
    FileEnqueue { body, key }: FileEnqueue,
) -> Result<Json<RunAccepted>, ApiError> {
    let key = key.map(|key| key.at("/es-sync-execute-file"));
    let run = enqueue::execute_host_file(&api, body.submitted(), key).await?;
    drop(permit);
    Ok(RunAccepted::answer(&api, run).await)
}
