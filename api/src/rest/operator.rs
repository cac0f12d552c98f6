//! What an operator's tools ask: documented here, served by `hostsync_service::operations`, but for the document itself.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::answers::Done;

/// The documentation of these routes.
#[derive(OpenApi)]
#[openapi(paths(health, ready, metrics, document, docs, console))]
pub(crate) struct OperatorRoutes;

/// The state of a dependency.
#[derive(Serialize, ToSchema)]
pub(crate) struct DependencyState {
    /// Whether it answered when it was last used.
    #[schema(examples(true))]
    ready: bool,
    /// What is wrong, or that nothing is.
    #[schema(examples("ready"))]
    message: String,
    /// Whether nothing works without it.
    #[schema(examples(true))]
    required: bool,
}

/// Whether requests can be served.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadyState {
    /// Whether everything required is ready.
    #[schema(examples(true))]
    success: bool,
    /// A sentence that names what is not ready.
    #[schema(examples("ready"))]
    message: String,
    /// `not_ready`; absent when it is ready.
    #[schema(required = false, examples("not_ready"))]
    code: Option<String>,
    /// Every dependency by name: `database`, `rabbitmq`.
    #[schema(examples(json!({"database": {"ready": true, "message": "ready", "required": true}})))]
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
    /// `stuck`.
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
         headers(("Retry-After" = u64, description = "Seconds to wait before the next try")),
         example = json!({
             "success": false, "message": "not ready: waiting for database", "code": "not_ready",
             "checks": {"database": {"ready": false, "message": "not tried yet", "required": true}}
         })),
    ),
)]
#[allow(dead_code, reason = "documentation alone")]
fn ready() {}

/// Metrics for Prometheus
///
/// Requests, runs and the state of the dependencies in numbers.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operating",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain",
         example = "hostsync_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 3\n")),
)]
#[allow(dead_code, reason = "documentation alone")]
fn metrics() {}

/// This document
///
/// What the API says of itself; clients are made from it.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "operating",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json",
         example = json!({"openapi": "3.1.0"}))),
)]
#[allow(dead_code, reason = "documentation alone")]
fn document() {}

/// This document as a page
///
/// To read it and to try its calls. Works without the internet.
#[utoipa::path(
    get, path = "/docs", operation_id = "docs", tag = "operating",
    responses((status = 200, description = "The page", body = String, content_type = "text/html",
         example = "<!doctype html>")),
)]
#[allow(dead_code, reason = "documentation alone")]
fn docs() {}

/// The console
///
/// Tasks, executions and hosts for people with a browser. The page shows no data: it asks for a token, and calls the routes
/// of this document with it. Works without the internet.
#[utoipa::path(
    get, path = "/", operation_id = "console", tag = "operating",
    responses((status = 200, description = "The page", body = String, content_type = "text/html",
         example = "<!doctype html>")),
)]
#[allow(dead_code, reason = "documentation alone")]
fn console() {}
