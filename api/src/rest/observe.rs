//! What is seen of every request: its id, its span, its metrics, one line of log.
//!
//! Owns the outermost layer. The matched route stands in spans and metrics, never the path as it was sent, which a caller
//! can make up. Also the place where a handler that panics becomes an answer.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use hostsync_metrics::spans;
use hostsync_model::causes::causes;
use tracing::Instrument as _;

use super::error::LoggedError;
use crate::access::{REQUEST_ID, request_id, trace_headers};
use crate::app::Api;
use crate::error::ApiError;

/// What stands for the route where nothing matched.
pub(crate) const NO_ROUTE: &str = "(none)";

/// Routes that a machine asks every few seconds: their lines are for debugging alone.
const QUIET_ROUTES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Runs the rest within a span and tells what came of it.
pub(crate) async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| NO_ROUTE.to_owned(), |path| path.as_str().to_owned());
    let request_id = request_id(request.headers());
    let span = tracing::info_span!(
        "http_request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        request_id,
        method = %method,
        route,
        status = tracing::field::Empty,
    );
    spans::set_parent(&span, &trace_headers(request.headers()));

    async {
        let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let mut response = answered.unwrap_or_else(|panic| ApiError::panicked(&*panic).into_response());
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let status = response.status();
        let elapsed = began.elapsed();
        tracing::Span::current().record("status", status.as_u16());
        api.metrics.http_request(method.as_str(), &route, status.as_u16(), elapsed);
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let fault =
            response.extensions().get::<LoggedError>().map(|fault| causes(fault.0.as_ref().as_ref()).to_string());
        match fault {
            Some(error) if status == StatusCode::SERVICE_UNAVAILABLE => {
                spans::set_failed(&tracing::Span::current(), error.as_str());
                tracing::warn!(status = status.as_u16(), duration_ms, error, "{method} {route}: the database failed");
            }
            Some(error) => {
                tracing::error!(status = status.as_u16(), duration_ms, error, "{method} {route} failed");
            }
            None if QUIET_ROUTES.contains(&route.as_str()) => {
                tracing::debug!(status = status.as_u16(), duration_ms, "{method} {route} -> {status}");
            }
            None => tracing::info!(status = status.as_u16(), duration_ms, "{method} {route} -> {status}"),
        }
        response
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Router, middleware};
    use hostsync_service::config::Config;
    use hostsync_service::shutdown::Shutdown;
    use std::future::IntoFuture as _;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_an_internal_error_for_its_caller_alone() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let environment = [
            ("HOSTSYNC_DATABASE__URL", "mysql://root@127.0.0.1:1/none"),
            ("HOSTSYNC_RABBITMQ__URL", "amqp://127.0.0.1:1/"),
        ];
        let config = Config::load(None, environment).expect("a configuration");
        let api = Api::new(&config, Shutdown::manual(std::time::Duration::ZERO)).expect("URLs");
        let router: Router = Router::new()
            .route("/boom", get(async || -> &'static str { panic!("a secret") }))
            .layer(middleware::from_fn_with_state(api, observe));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(axum::serve(listener, router).into_future());
        for _ in 0..2 {
            let response = reqwest::get(format!("http://{address}/boom")).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = response.text().await.expect("a body");
            assert!(body.contains("\"internal_error\"") && !body.contains("secret"), "{body}");
        }
    }
}
