//! `/es-sync-audit`: who changed what.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hostsync_model::audit::{AuditAction, AuditObjectKind, Role};
use hostsync_store::tables::audit::AuditRow;
use hostsync_store::word::Word;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::csv::{self, CsvRow, ListFormat};
use super::extract::{QueryFields, Viewer};
use crate::app::Api;
use crate::audit::{self, AuditQuery};
use crate::error::ApiError;
use crate::request::{Timestamp, schema_of};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list_audit))
}

/// A write that was accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditEntryBody {
    /// Its id; a later one is higher.
    #[schema(examples(31))]
    id: u64,
    /// When it was written.
    at: Timestamp,
    /// Name of the token, or `command:` and the user of an operator's command.
    #[schema(examples("operator"))]
    who: String,
    #[schema(schema_with = schema_of::<Role>)]
    role: Word<Role>,
    /// Address of the caller, or of the proxy before it; of a command its machine.
    #[schema(examples("10.0.0.7"))]
    from_where: String,
    #[schema(schema_with = schema_of::<AuditAction>)]
    action: Word<AuditAction>,
    #[schema(schema_with = schema_of::<AuditObjectKind>)]
    object_kind: Word<AuditObjectKind>,
    /// Which of its kind; empty where there is one alone.
    #[schema(examples("7"))]
    object_id: String,
    /// The fields of the request as they were sent, long texts and lists cut. Never a token.
    #[schema(value_type = Object, examples(json!({"task_name": "nightly", "cron_expression": "0 30 2 * * *"})))]
    what: Value,
    /// What came of it, in a sentence.
    #[schema(examples("task 7 was created"))]
    result: String,
}

impl CsvRow for AuditEntryBody {
    const COLUMNS: &[&str] =
        &["id", "at", "who", "role", "from_where", "action", "object_kind", "object_id", "what", "result"];
}

impl From<AuditRow> for AuditEntryBody {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: Timestamp(row.at),
            who: row.who,
            role: row.role,
            from_where: row.from_where,
            action: row.action,
            object_kind: row.object_kind,
            object_id: row.object_id,
            what: serde_json::from_str(&row.what).unwrap_or(Value::Null),
            result: row.result,
        }
    }
}

/// A page of the audit.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditPage {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// How many entries the page has.
    #[schema(examples("1 audit entry"))]
    message: String,
    /// Newest first.
    entries: Vec<AuditEntryBody>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// List the audit
///
/// Every write that was accepted, newest first: by REST, by gRPC and by an operator's commands. What was refused, and what
/// was only asked again with its `Idempotency-Key`, is not in it. Kept for `scheduler.audit_retention`.
#[utoipa::path(
    get, path = "/es-sync-audit", operation_id = "get_es_sync_audit", tag = "looking",
    params(AuditQuery),
    responses((status = 200, description = "A page of the audit", body = AuditPage)),
)]
async fn list_audit(
    _: Viewer,
    State(api): State<Api>,
    format: ListFormat,
    QueryFields(submitted): QueryFields<AuditQuery>,
) -> Result<Response, ApiError> {
    if format == ListFormat::Csv {
        let database = api.database.clone();
        let read = move |submitted| {
            let database = database.clone();
            async move { audit::list(&database, submitted).await }
        };
        return csv::answer::<AuditEntryBody, _, _, _, _, _>(submitted, |query| &mut query.page, read).await;
    }
    let (rows, next_cursor) = audit::list(&api.database, submitted).await?;
    let entries: Vec<AuditEntryBody> = rows.into_iter().map(AuditEntryBody::from).collect();
    let message = match entries.len() {
        1 => "1 audit entry".to_owned(),
        count => format!("{count} audit entries"),
    };
    Ok(Json(AuditPage { success: true, message, entries, next_cursor }).into_response())
}
