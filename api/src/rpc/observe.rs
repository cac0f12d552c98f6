//! What is seen of every call: its id, its span, its metrics, one line of log.
//!
//! Owns the outermost layer. A method is named as it is served, never as a caller's path has it. Also the place where a
//! handler that panics becomes a status.

use std::error::Error as _;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt as _;
use hostsync_metrics::Metrics;
use hostsync_metrics::spans;
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::admit::call_at;
use super::answer::{Refused, turned_away};
use crate::access::{REQUEST_ID, request_id, trace_headers};
use crate::app::Api;
use crate::error::ApiError;

/// What stands for the service where nothing matched.
const NO_SERVICE: &str = "none";

/// What stands for the code of an answer that says itself that the request was refused.
const REFUSED: &str = "REFUSED";

/// What stands for the code of a call whose caller is gone, or whose deadline has passed.
const GIVEN_UP: &str = "CANCELLED";

/// A call whose metric is not recorded yet: when its caller goes away it is dropped at any point.
struct Counting {
    metrics: Metrics,
    method: String,
    began: Instant,
    code: &'static str,
}

impl Counting {
    /// Ends with this code; returns how long it took.
    fn end(mut self, code: &'static str) -> Duration {
        self.code = code;
        self.began.elapsed()
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.metrics.rpc_request(&self.method, self.code, self.began.elapsed());
    }
}

/// Runs the rest within a span and tells what came of it.
pub(super) async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_call = call_at(request.uri().path()).is_some();
    let method = method(&request);
    let request_id = request_id(request.headers());
    let span = tracing::info_span!(
        "rpc_request",
        otel.name = method,
        otel.kind = "server",
        request_id,
        method,
        code = tracing::field::Empty,
    );
    spans::set_parent(&span, &trace_headers(request.headers()));
    let counting =
        Counting { metrics: api.metrics.clone(), method: method.clone(), began: Instant::now(), code: GIVEN_UP };

    async move {
        let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let mut response = answered.unwrap_or_else(|panic| turned_away(ApiError::panicked(&*panic)));
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let status = response.extensions().get::<Status>();
        let code = match status {
            Some(status) => name(status.code()),
            None if response.extensions().get::<Refused>().is_some() => REFUSED,
            None => name(Code::Ok),
        };
        tracing::Span::current().record("code", code);
        let duration_ms = u64::try_from(counting.end(code).as_millis()).unwrap_or(u64::MAX);
        let fault = status.and_then(|status| status.source()).map(ToString::to_string);
        match fault {
            Some(error) if code == name(Code::Unavailable) => {
                spans::set_failed(&tracing::Span::current(), error.as_str());
                tracing::warn!(code, duration_ms, error, "{method}: the database failed");
            }
            Some(error) => tracing::error!(code, duration_ms, error, "{method} failed"),
            None if is_call => tracing::info!(code, duration_ms, "{method} -> {code}"),
            None => tracing::debug!(code, duration_ms, "{method} -> {code}"),
        }
        response
    }
    .instrument(span)
    .await
}

/// `cmpool.cmpool/<method>` for a call, the service alone for health and reflection.
fn method(request: &Request) -> String {
    if let Some(call) = call_at(request.uri().path()) {
        return format!("{}/{}", super::SERVICE, call.name);
    }
    let service = request.extensions().get::<MatchedPath>().and_then(|path| path.as_str().strip_prefix('/'));
    service.and_then(|path| path.split('/').next()).unwrap_or(NO_SERVICE).to_owned()
}

/// gRPC's name of a code.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => GIVEN_UP,
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
