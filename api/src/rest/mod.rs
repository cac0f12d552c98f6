//! REST, a file a resource: answer, documentation, a short handler. The rules stand in `tasks`, `runs` and `hosts`.

mod answers;
mod asset;
mod audit;
mod browser;
mod console;
mod csv;
mod dead_letters;
mod docs;
mod error;
mod events;
mod execute;
mod executions;
mod explain;
mod extract;
mod freshness;
mod full_sync;
mod hosts;
mod observe;
mod openapi;
mod operator;
mod pause;
mod preview;
mod probe;
mod reruns;
mod stats;
mod tasks;

use axum::body::Bytes;
use axum::extract::OriginalUri;
use axum::http::{Method, header};
use axum::routing::get;
use axum::{Router, middleware};
use hostsync_service::operations;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::Api;
use crate::error::ApiError;

/// Below which all but the operator's routes stand.
const BASE_PATH: &str = "/api/cmdb/v1";

/// Every route below [`BASE_PATH`], with its documentation.
fn resources() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .merge(tasks::router())
        .merge(preview::router())
        .merge(probe::router())
        .merge(execute::router())
        .merge(full_sync::router())
        .merge(reruns::router())
        .merge(executions::router())
        .merge(explain::router())
        .merge(events::router())
        .merge(hosts::router())
        .merge(freshness::router())
        .merge(stats::router())
        .merge(audit::router())
        .merge(dead_letters::router())
        .merge(pause::router())
}

/// The OpenAPI document as it is served.
pub(crate) fn openapi() -> OpenApi {
    openapi::complete(documented().split_for_parts().1)
}

fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base()).nest(BASE_PATH, resources())
}

/// All of REST, the console and the operator's routes.
///
/// # Errors
///
/// The document cannot be written.
pub(crate) fn router(api: Api) -> anyhow::Result<Router> {
    let (routes, document) = documented().split_for_parts();
    // Written once: every request gets the same bytes.
    let document = Bytes::from(openapi::complete(document).to_json()?);
    let router = routes
        .route("/openapi.json", get(async move || ([(header::CONTENT_TYPE, "application/json")], document.clone())))
        .merge(docs::router())
        .merge(console::router())
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api.clone())
        .merge(operator_router(&api));
    Ok(layered(router, api))
}

/// What answers when all connections are taken.
pub(crate) fn router_when_full(api: Api) -> Router {
    let router = operator_router(&api).fallback(async || ApiError::TooManyConnections);
    layered(router, api)
}

fn operator_router(api: &Api) -> Router {
    operations::router(api.readiness.clone(), api.loops.clone(), api.metrics.clone())
        .method_not_allowed_fallback(method_not_allowed)
}

fn layered(router: Router, api: Api) -> Router {
    router
        .layer(middleware::from_fn_with_state(api.clone(), browser::guard))
        .layer(middleware::from_fn_with_state(api, observe::observe))
}

async fn no_route(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::NoRoute { method: method.to_string(), path: shown_path(uri.path()) }
}

async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::MethodNotAllowed { method: method.to_string(), path: shown_path(uri.path()) }
}

/// A path as a message repeats it, cut.
fn shown_path(path: &str) -> String {
    path.chars().take(200).collect()
}
