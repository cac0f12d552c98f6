//! Looks after the dependencies: the database that nothing works without, and the broker that enqueues can wait for.
//!
//! Owns what `/readyz` says. The first time the database answers its schema is checked, and only then do requests reach
//! it.

use std::time::Duration;

use anyhow::Context as _;
use hostsync_shared::database::{self, Fault, SchemaError};
use hostsync_shared::execution::JobQueue;

use crate::state::{Api, DATABASE, RABBITMQ};

/// Pause between two looks at a dependency that is not ready.
const WHILE_AWAY: Duration = Duration::from_secs(1);

/// Pause between two looks at a dependency that is ready.
const WHILE_READY: Duration = Duration::from_secs(5);

/// Longest time for one look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks at the database until the shutdown begins.
///
/// # Errors
///
/// It can be reached but not be used: its schema is older than this binary needs, or the server is.
pub(crate) async fn watch_database(api: Api) -> anyhow::Result<()> {
    loop {
        let look = async {
            if api.is_schema_checked() {
                let mut connection = api.pool().acquire().await?;
                database::now(&mut connection).await?;
                return Ok(());
            }
            database::check(api.pool()).await
        };
        let state = match tokio::time::timeout(LOOK_TIMEOUT, look).await {
            Ok(Ok(())) => {
                api.set_schema_checked();
                Ok(())
            }
            Ok(Err(error)) if is_for_good(&error) => {
                api.readiness.set(DATABASE, Err(&error.to_string()));
                return Err(error).context("the database cannot be used");
            }
            Ok(Err(error)) => Err(reason(&error)),
            Err(_) => Err(format!("no answer within {} s", LOOK_TIMEOUT.as_secs())),
        };
        let is_ready = state.is_ok();
        api.readiness.set(DATABASE, state.as_ref().copied().map_err(String::as_str));
        if pause(&api, is_ready).await {
            return Ok(());
        }
    }
}

/// Looks at the broker until the shutdown begins.
pub(crate) async fn watch_broker(api: Api) {
    loop {
        let state = match tokio::time::timeout(LOOK_TIMEOUT, api.publisher.ready_messages(JobQueue::Manual)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{error}; runs are accepted and published when it comes back")),
            Err(_) => Err(format!("no answer within {} s", LOOK_TIMEOUT.as_secs())),
        };
        let is_ready = state.is_ok();
        api.readiness.set(RABBITMQ, state.as_ref().copied().map_err(String::as_str));
        if pause(&api, is_ready).await {
            return;
        }
    }
}

/// Whether waiting does not help.
fn is_for_good(error: &SchemaError) -> bool {
    match error {
        SchemaError::Older { .. } | SchemaError::Unsupported { .. } => true,
        SchemaError::Database(_) | SchemaError::Migrate(_) | SchemaError::Busy => false,
    }
}

/// What is wrong with the database, without what its error says: that may hold addresses and names.
fn reason(error: &SchemaError) -> String {
    match error {
        SchemaError::Database(source) => match (database::fault(source), source) {
            (_, sqlx::Error::PoolTimedOut) => "no connection within 5 s".to_owned(),
            (Fault::Down, _) => "cannot connect".to_owned(),
            (_, sqlx::Error::Database(error)) => match error.code() {
                Some(code) => format!("the database refuses (SQLSTATE {code}); check database.url"),
                None => "the database refuses; check database.url".to_owned(),
            },
            _ => "the database failed".to_owned(),
        },
        other => other.to_string(),
    }
}

/// Waits for the next look; true: the shutdown has begun.
async fn pause(api: &Api, is_ready: bool) -> bool {
    tokio::select! {
        () = api.shutdown.stopping() => true,
        () = tokio::time::sleep(if is_ready { WHILE_READY } else { WHILE_AWAY }) => false,
    }
}
