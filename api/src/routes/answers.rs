//! What the answers of several routes share: the plain body, the errors they document, the words of closed sets.

use axum::Json;
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoResponses, ToSchema};

use hostsync_shared::execution::{ExecutionStatus, OverlapPolicy, SyncStatus, Trigger};

use crate::error::ErrorBody;

/// The body of an answer that has nothing to say but that it is done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// What was done.
    message: String,
}

impl Done {
    pub(crate) fn new(message: impl Into<String>) -> Json<Self> {
        Json(Self { success: true, message: message.into() })
    }
}

/// What every route below the base path may answer.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "documentation alone")]
pub(crate) enum CommonErrors {
    /// Bad input: `invalid_request` (`errors` names each field).
    #[response(status = 400)]
    BadRequest(#[to_schema] ErrorBody),
    /// No token, or an unknown one: `unauthorized`.
    #[response(status = 401, headers(("WWW-Authenticate" = String, description = "How to authenticate")))]
    Unauthorized(#[to_schema] ErrorBody),
    /// A fault of hostsync: `internal_error`. Its log has more under the id in the header `x-request-id`.
    #[response(status = 500)]
    Internal(#[to_schema] ErrorBody),
    /// The database is down or busy: `database_unavailable`.
    #[response(status = 503, headers(("Retry-After" = u64, description = "Seconds to wait before the next try")))]
    Unavailable(#[to_schema] ErrorBody),
}

/// What every route that writes may answer beside [`CommonErrors`].
#[derive(IntoResponses)]
#[allow(dead_code, reason = "documentation alone")]
pub(crate) enum WriteErrors {
    /// A viewer's token: `forbidden`.
    #[response(status = 403)]
    Forbidden(#[to_schema] ErrorBody),
}

/// What every route with a body may answer beside [`CommonErrors`], whose 400 may also be `malformed_body`.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "documentation alone")]
pub(crate) enum BodyErrors {
    /// The body is too large: `body_too_large`.
    #[response(status = 413)]
    TooLarge(#[to_schema] ErrorBody),
    /// Another content type than those listed: `unsupported_media_type`.
    #[response(status = 415)]
    UnsupportedMediaType(#[to_schema] ErrorBody),
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
}

/// The schema of `execution_status`.
pub(crate) fn execution_status() -> RefOr<Schema> {
    words(ExecutionStatus::ALL.iter().map(|word| word.as_str()))
}

/// The schema of `sync_status`.
pub(crate) fn sync_status() -> RefOr<Schema> {
    words(SyncStatus::ALL.iter().map(|word| word.as_str()))
}

/// The schema of `trigger`.
pub(crate) fn trigger() -> RefOr<Schema> {
    words(Trigger::ALL.iter().map(|word| word.as_str()))
}

/// The schema of `overlap_policy`.
pub(crate) fn overlap_policy() -> RefOr<Schema> {
    words(OverlapPolicy::ALL.iter().map(|word| word.as_str()))
}
