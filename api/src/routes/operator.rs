//! What an operator's tools ask: documented here, served by `shared::operations`, but for the document itself.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::answers::Done;

/// The documentation of these routes.
#[derive(OpenApi)]
#[openapi(paths(health, ready, metrics, document, docs))]
pub(crate) struct OperatorRoutes;

/// The state of a dependency.
#[derive(Serialize, ToSchema)]
pub(crate) struct DependencyState {
    /// Whether it answered when it was last used.
    ready: bool,
    #[schema(examples("ready"))]
    message: String,
    /// Whether nothing works without it.
    required: bool,
}

/// Whether requests can be served.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadyState {
    success: bool,
    #[schema(examples("ready"))]
    message: String,
    /// `not_ready`; absent when it is ready.
    #[schema(required = false, examples("not_ready"))]
    code: Option<String>,
    /// Every dependency by name: `database`, `rabbitmq`.
    checks: BTreeMap<String, DependencyState>,
}

/// What is wrong with a process that should be started anew.
#[derive(Serialize, ToSchema)]
pub(crate) struct StuckState {
    /// Always false.
    #[schema(examples(false))]
    success: bool,
    /// Names the loop that stands still.
    message: String,
    #[schema(examples("stuck"))]
    code: String,
}

/// Does the process live?
///
/// It does while its loops go round, whatever its dependencies do.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "operating",
    responses(
        (status = 200, description = "It lives", body = Done),
        (status = 503, description = "A loop of it has stood still for longer than it may", body = StuckState),
    ),
)]
#[allow(dead_code, reason = "documentation alone")]
fn health() {}

/// Can requests be served?
///
/// Only the database is needed; the state of the broker is shown.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operating",
    responses(
        (status = 200, description = "They can", body = ReadyState),
        (status = 503, description = "The database is away", body = ReadyState,
         headers(("Retry-After" = u64, description = "Seconds to wait before the next try"))),
    ),
)]
#[allow(dead_code, reason = "documentation alone")]
fn ready() {}

/// Metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operating",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")),
)]
#[allow(dead_code, reason = "documentation alone")]
fn metrics() {}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "operating",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json")),
)]
#[allow(dead_code, reason = "documentation alone")]
fn document() {}

/// This document as a page
///
/// To read it and to try its calls. Works without the internet.
#[utoipa::path(
    get, path = "/docs", operation_id = "docs", tag = "operating",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
#[allow(dead_code, reason = "documentation alone")]
fn docs() {}
