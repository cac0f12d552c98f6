//! Looks after the dependencies: the database that nothing works without, and the broker that enqueues can wait for.
//!
//! Owns when requests may reach the database: once its schema has been checked. How the database is watched is
//! `shared::startup`'s matter, as for the other services.

use std::time::Duration;

use hostsync_shared::execution::JobQueue;
use hostsync_shared::startup;

use crate::state::{Api, RABBITMQ};

/// Pause between two looks at a broker that is away.
const WHILE_AWAY: Duration = Duration::from_secs(1);

/// Pause between two looks at a broker that is ready.
const WHILE_READY: Duration = Duration::from_secs(5);

/// Longest time for one look at the broker.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks at the database until the shutdown begins.
///
/// # Errors
///
/// It can be reached but not be used: its schema is older than this binary needs, or the server is.
pub(crate) async fn watch_database(api: Api) -> anyhow::Result<()> {
    if startup::wait_for_database(api.pool(), &api.readiness, &api.shutdown).await? {
        api.set_schema_checked();
        startup::watch_database(api.pool().clone(), api.readiness.clone(), api.shutdown.clone(), |_| {}).await;
    }
    Ok(())
}

/// Looks at the broker until the shutdown begins.
pub(crate) async fn watch_broker(api: Api) {
    loop {
        let state = match tokio::time::timeout(LOOK_TIMEOUT, api.publisher.ready_messages(JobQueue::Manual)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LOOK_TIMEOUT.as_secs())),
        };
        let pause = if state.is_ok() { WHILE_READY } else { WHILE_AWAY };
        let state = state.map_err(|reason| format!("{reason}; runs are accepted and published when it comes back"));
        api.readiness.set(RABBITMQ, state.as_ref().copied().map_err(String::as_str));
        tokio::select! {
            () = api.shutdown.stopping() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
