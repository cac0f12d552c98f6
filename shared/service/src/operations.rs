//! What an operator's tools ask of every service: does it live, can it work, what does it count.
//!
//! Owns `/healthz`, `/readyz` and `/metrics` and the state behind `/readyz`, which the services' own loops
//! report as they use their dependencies; nothing is tried on request. Alive is a process whose loops go round
//! ([`hostsync_metrics::loops`]), whatever its dependencies do: nobody is restarted for a database that is down. None of it
//! needs a token, so a message here must name no secret, no statement and no path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tracing::{debug, info, warn};

use crate::connections::{ConnectionLimits, Server};
use crate::shutdown::Shutdown;
use hostsync_metrics::loops::Loops;
use hostsync_metrics::{CONTENT_TYPE, Metrics};

/// What `Retry-After` says while the service is not ready, in seconds.
pub const RETRY_AFTER_S: u64 = 5;

/// Connections to a service that serves nothing more: a kubelet's, a Prometheus's, a person's. As many beyond those get one
/// answer each.
const PLACES: ConnectionLimits = ConnectionLimits { usual: 50, spare: 14 };

/// How long requests that have begun may take after the shutdown has begun.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Longest message of a check, in characters; a longer one is cut.
const MAX_MESSAGE_CHARS: usize = 300;

/// The message of a check that nobody has reported on.
const NOT_TRIED: &str = "not tried yet";

/// What counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The service cannot work without: it is not ready while this is not.
    Required,
    /// The state is shown, and that is all.
    Informational,
}

/// The state of a service's dependencies. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, DependencyReadiness>>>);

/// The state of one dependency, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DependencyReadiness {
    /// Whether it answered when it was last used.
    pub ready: bool,
    /// What is wrong, or that nothing is.
    pub message: String,
    /// Whether the service cannot work without it.
    pub required: bool,
}

/// The body of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadyBody {
    /// Whether every required dependency is ready.
    pub success: bool,
    /// A sentence that names those that are not.
    pub message: String,
    /// `not_ready`, or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Every dependency by name.
    pub checks: BTreeMap<&'static str, DependencyReadiness>,
}

/// A body of nothing but the fields that every body begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlainBody {
    /// Whether it went well.
    pub success: bool,
    /// A sentence a person can act on.
    pub message: String,
    /// A stable word for what went wrong, absent where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
}

impl Readiness {
    /// The dependencies of a service, none of them ready until it is said to be.
    pub fn new(dependencies: impl IntoIterator<Item = (&'static str, Need)>) -> Self {
        let checks = dependencies.into_iter().map(|(name, need)| {
            let message = NOT_TRIED.to_owned();
            (name, DependencyReadiness { ready: false, message, required: need == Need::Required })
        });
        Self(Arc::new(Mutex::new(checks.collect())))
    }

    /// Says how a dependency is. The change is logged, the same state again is not. A name that
    /// [`Self::new`] was not given is shown as informational.
    pub fn set(&self, name: &'static str, state: Result<(), &str>) {
        let (ready, message) = match state {
            Ok(()) => (true, "ready".to_owned()),
            Err(message) => (false, message.chars().take(MAX_MESSAGE_CHARS).collect()),
        };
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = checks.get(name);
        let required = before.is_some_and(|check| check.required);
        let (was_ready, had_message) = before.map_or((false, String::new()), |b| (b.ready, b.message.clone()));
        checks.insert(name, DependencyReadiness { ready, message: message.clone(), required });
        drop(checks);
        Metrics::global().dependency_ready(name, ready);
        match (was_ready, ready) {
            (false, true) => info!(dependency = name, "{name} is ready"),
            (true, false) => warn!(dependency = name, "{name} is not ready: {message}"),
            (false, false) if had_message == NOT_TRIED => {
                warn!(dependency = name, "{name} is not ready: {message}");
            }
            (false, false) if had_message != message => {
                debug!(dependency = name, "{name} is still not ready: {message}");
            }
            _ => {}
        }
    }

    /// Whether every required dependency is ready.
    pub fn is_ready(&self) -> bool {
        self.body().success
    }

    /// What `/readyz` shows.
    pub fn body(&self) -> ReadyBody {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let missing: Vec<&str> =
            checks.iter().filter(|(_, check)| check.required && !check.ready).map(|(name, _)| *name).collect();
        if missing.is_empty() {
            return ReadyBody { success: true, message: "ready".to_owned(), code: None, checks };
        }
        let message = format!("not ready: waiting for {}", missing.join(" and "));
        ReadyBody { success: false, message, code: Some("not_ready"), checks }
    }
}

/// The routes `/healthz`, `/readyz` and `/metrics`, to be served alone or merged into others.
pub fn router(readiness: Readiness, loops: Loops, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(health).with_state(loops))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(render).with_state(metrics))
}

/// The same, with an answer of our own form to everything else: for a service that serves nothing more.
pub fn standalone_router(readiness: Readiness, loops: Loops, metrics: Metrics) -> Router {
    router(readiness, loops, metrics).fallback(not_found).method_not_allowed_fallback(method_not_allowed)
}

/// Serves until the shutdown begins; requests that have begun get two more seconds.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let server = Server::http1(router.clone(), router, PLACES);
    tokio::select! {
        () = server.run(listener, shutdown.token()) => {}
        () = async { shutdown.stopping().await; tokio::time::sleep(LAST_REQUESTS).await } => {}
    }
}

async fn health(State(loops): State<Loops>) -> Response {
    let Some(stuck) = loops.stuck().into_iter().next() else {
        return Json(PlainBody { success: true, message: "the process lives".to_owned(), code: None }).into_response();
    };
    let (age_s, limit_s) = (stuck.age.as_secs(), stuck.limit.as_secs());
    let message = format!("the loop \"{}\" has not gone round for {age_s} s, at most {limit_s} s", stuck.name);
    refusal(StatusCode::SERVICE_UNAVAILABLE, "stuck", &message)
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let body = readiness.body();
    if body.success {
        Json(body).into_response()
    } else {
        let retry_after = [(header::RETRY_AFTER, RETRY_AFTER_S.to_string())];
        (StatusCode::SERVICE_UNAVAILABLE, retry_after, Json(body)).into_response()
    }
}

async fn render(State(metrics): State<Metrics>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render()).into_response()
}

async fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "not_found", "there is only /healthz, /readyz and /metrics here")
}

async fn method_not_allowed() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "use GET")
}

fn refusal(status: StatusCode, code: &'static str, message: &str) -> Response {
    (status, Json(PlainBody { success: false, message: message.to_owned(), code: Some(code) })).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// A server of its own on a free port.
    async fn served(readiness: &Readiness, shutdown: &Shutdown) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = standalone_router(readiness.clone(), Loops::default(), Metrics::detached());
        (address, tokio::spawn(serve(listener, router, shutdown.clone())))
    }

    #[tokio::test]
    async fn a_process_with_a_loop_that_stands_still_is_not_alive() {
        let loops = Loops::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        // Not one of its dependencies is ready: that is no reason to be restarted.
        let readiness = Readiness::new([("database", Need::Required)]);
        let router = standalone_router(readiness, loops.clone(), Metrics::detached());
        let _server = tokio::spawn(serve(listener, router, Shutdown::manual(Duration::from_secs(5))));
        let _moving = loops.begin("prune", Duration::from_hours(1));
        assert_eq!(get_text(address, "/healthz").await.0, 200);

        let standing = loops.begin("fire", Duration::ZERO);
        let (status, _, body) = get_text(address, "/healthz").await;
        assert_eq!(status, 503);
        insta::assert_snapshot!(body, @r#"{"success":false,"message":"the loop \"fire\" has not gone round for 0 s, at most 0 s","code":"stuck"}"#);

        drop(standing);
        assert_eq!(get_text(address, "/healthz").await.0, 200);
    }

    #[test]
    fn a_dependency_is_in_the_metrics_once_it_was_tried() {
        let readiness = Readiness::new([("untried_one", Need::Required), ("tried_one", Need::Required)]);
        let text = || Metrics::global().render();
        readiness.set("tried_one", Err("away"));
        assert!(text().contains("hostsync_dependency_ready{dependency=\"tried_one\"} 0"), "{}", text());
        readiness.set("tried_one", Ok(()));
        assert!(text().contains("hostsync_dependency_ready{dependency=\"tried_one\"} 1"), "{}", text());
        assert!(!text().contains("untried_one"), "{}", text());
    }

    async fn get_text(address: SocketAddr, path: &str) -> (u16, reqwest::header::HeaderMap, String) {
        crate::telemetry::use_ring();
        let response = reqwest::get(format!("http://{address}{path}")).await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.expect("a body"))
    }

    #[tokio::test]
    async fn the_process_says_that_it_lives_and_what_it_counts() {
        let shutdown = Shutdown::manual(Duration::from_secs(5));
        let (address, _server) = served(&Readiness::new([]), &shutdown).await;
        let (status, _, body) = get_text(address, "/healthz").await;
        assert_eq!((status, body.as_str()), (200, r#"{"success":true,"message":"the process lives"}"#));
        let (status, headers, body) = get_text(address, "/metrics").await;
        assert_eq!((status, &headers["content-type"]), (200, &CONTENT_TYPE.parse().expect("a header")));
        assert!(body.is_empty() || body.starts_with('#'), "{body}");
        let (status, _, body) = get_text(address, "/secret").await;
        assert_eq!(status, 404);
        assert!(body.starts_with(r#"{"success":false,"message":"#) && body.contains(r#""code":"not_found""#), "{body}");
    }

    #[tokio::test]
    async fn a_service_is_ready_when_all_it_requires_is() {
        let shutdown = Shutdown::manual(Duration::from_secs(5));
        let readiness = Readiness::new([("database", Need::Required), ("rabbitmq", Need::Informational)]);
        let (address, _server) = served(&readiness, &shutdown).await;

        let (status, headers, body) = get_text(address, "/readyz").await;
        assert_eq!((status, &headers["retry-after"]), (503, &"5".parse().expect("a header")));
        insta::assert_snapshot!(body, @r#"{"success":false,"message":"not ready: waiting for database","code":"not_ready","checks":{"database":{"ready":false,"message":"not tried yet","required":true},"rabbitmq":{"ready":false,"message":"not tried yet","required":false}}}"#);

        readiness.set("database", Ok(()));
        readiness.set("rabbitmq", Err("cannot connect: refused"));
        let (status, headers, body) = get_text(address, "/readyz").await;
        assert_eq!((status, headers.get("retry-after")), (200, None));
        insta::assert_snapshot!(body, @r#"{"success":true,"message":"ready","checks":{"database":{"ready":true,"message":"ready","required":true},"rabbitmq":{"ready":false,"message":"cannot connect: refused","required":false}}}"#);

        readiness.set("database", Err(&"x".repeat(1_000)));
        assert!(!readiness.is_ready());
        assert_eq!(readiness.body().checks["database"].message.len(), MAX_MESSAGE_CHARS);
        assert_eq!(get_text(address, "/readyz").await.0, 503);
    }

    #[tokio::test]
    async fn serving_ends_with_the_shutdown_even_if_a_client_stays() {
        let shutdown = Shutdown::manual(Duration::from_mins(1));
        let (address, server) = served(&Readiness::new([]), &shutdown).await;
        let idle = tokio::net::TcpStream::connect(address).await.expect("connected");
        shutdown.begin();
        let result = tokio::time::timeout(LAST_REQUESTS + Duration::from_secs(5), server).await;
        assert!(matches!(result, Ok(Ok(()))), "{result:?}");
        drop(idle);
    }
}
