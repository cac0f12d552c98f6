//! Looks after the database, which nothing works without.
//!
//! Owns when requests may reach it: once its schema has been checked. How the database and the broker are watched is
//! `hostsync_service::startup`'s matter, as for the other services.

use hostsync_service::startup;

use crate::app::Api;

/// Looks at the database until the shutdown begins.
///
/// # Errors
///
/// It can be reached but not be used: its schema is older than this binary needs, or the server is.
pub(crate) async fn watch_database(api: Api) -> anyhow::Result<()> {
    if startup::wait_for_database(api.database.pool(), &api.readiness, &api.loops, &api.shutdown).await? {
        api.database.set_schema_checked();
        let (readiness, loops, shutdown) = (api.readiness.clone(), api.loops.clone(), api.shutdown.clone());
        startup::watch_database(api.database.pool().clone(), None, readiness, loops, shutdown, |_| {}).await;
    }
    Ok(())
}
