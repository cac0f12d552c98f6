//! The routes, a file a resource: parameters, answer, documentation, a short handler. The rules stand in the services.

pub(crate) mod answers;
pub(crate) mod events;
pub(crate) mod execute;
pub(crate) mod executions;
pub(crate) mod explain;
pub(crate) mod full_sync;
pub(crate) mod hosts;
pub(crate) mod operator;
pub(crate) mod preview;
pub(crate) mod probe;
pub(crate) mod reruns;
pub(crate) mod stats;
pub(crate) mod tasks;

use utoipa_axum::router::OpenApiRouter;

use crate::state::Api;

/// Below which all but the operator's routes stand.
pub(crate) const BASE_PATH: &str = "/api/cmdb/v1";

/// Every route below [`BASE_PATH`], with its documentation.
pub(crate) fn router() -> OpenApiRouter<Api> {
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
        .merge(stats::router())
}
