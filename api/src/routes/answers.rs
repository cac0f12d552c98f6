//! What the answers of several routes share: the plain body, and the schemas of closed sets.

use axum::Json;
use hostsync_model::execution::{ExecutionStatus, OverlapPolicy, SyncStatus, Trigger};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

/// The body of an answer that has nothing to say but that it is done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// What was done.
    #[schema(examples("task 7 was changed"))]
    message: String,
}

impl Done {
    pub(crate) fn new(message: impl Into<String>) -> Json<Self> {
        Json(Self { success: true, message: message.into() })
    }
}

/// A count with its noun: `1 host`, `2 hosts`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn words<'a>(words: impl Iterator<Item = &'a str>, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.map(str::to_owned).collect::<Vec<_>>()))
        .description(Some(description))
}

/// The schema of `execution_status`.
pub(crate) fn execution_status() -> RefOr<Schema> {
    words(
        ExecutionStatus::ALL.iter().map(|word| word.as_str()),
        "`waiting` for the task's last run, `running`, then `success` (no host failed), `partial` (some failed, some \
         succeeded), `failed` (some failed, none succeeded), `cancelled` or `skipped` (a fire that did not run).",
    )
    .into()
}

/// The schema of `last_execution_status`.
pub(crate) fn last_execution_status() -> RefOr<Schema> {
    let mut statuses: Vec<Option<&str>> = ExecutionStatus::ALL.iter().map(|word| Some(word.as_str())).collect();
    statuses.push(None);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(statuses))
        .description(Some("How its last run stands; null before the first one."))
        .into()
}

/// The schema of `sync_status`.
pub(crate) fn sync_status() -> RefOr<Schema> {
    words(
        SyncStatus::ALL.iter().map(|word| word.as_str()),
        "`pending`, then `success`, `failed`, `no_data` (the search was complete and found nothing), `not_in_pool` or \
         `cancelled`.",
    )
    .into()
}

/// The schema of `trigger`.
pub(crate) fn trigger() -> RefOr<Schema> {
    words(Trigger::ALL.iter().map(|word| word.as_str()), "What made the execution.").into()
}

/// What an overlap policy does.
const OVERLAP_POLICY: &str = "What a fire does while the task's last run is going: `skip` is recorded as skipped, `allow` \
    runs beside it, `queue` waits (one at most).";

/// The schema of `overlap_policy` in an answer.
pub(crate) fn overlap_policy() -> RefOr<Schema> {
    words(OverlapPolicy::ALL.iter().map(|word| word.as_str()), OVERLAP_POLICY).into()
}

/// The schema of `overlap_policy` in a request, where null is as good as absent.
pub(crate) fn overlap_policy_or_null() -> RefOr<Schema> {
    let mut policies: Vec<Option<&str>> = OverlapPolicy::ALL.iter().map(|word| Some(word.as_str())).collect();
    policies.push(None);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(policies))
        .description(Some(OVERLAP_POLICY))
        .into()
}
