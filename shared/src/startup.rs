//! How a service starts while the database is down, and how it knows later.
//!
//! Owns the wait at the start and the watch behind `/readyz`. A schema that is too old ends the process; a database that
//! is away does not.

use std::time::Duration;

use sqlx::MySqlPool;

use crate::database::{self, SchemaError};
use crate::operations::Readiness;
use crate::shutdown::Shutdown;

/// First and longest pause between two looks at a database that is away.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Longest wait for an answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// How often a database that answers is asked again.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Name of the dependency in `/readyz`.
const DATABASE: &str = "database";

/// Waits until the database answers and its schema is new enough. `false`: the shutdown began first.
///
/// # Errors
///
/// The server or the schema is too old: the process ends and says what to do.
pub async fn wait_for_database(
    pool: &MySqlPool,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Result<bool, SchemaError> {
    let mut pause = PAUSE.0;
    loop {
        match database::check(pool).await {
            Ok(()) => {
                readiness.set(DATABASE, Ok(()));
                return Ok(true);
            }
            Err(SchemaError::Database(error)) => {
                readiness.set(DATABASE, Err(&unreachable_because(&error)));
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.stopping() => return Ok(false),
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Keeps `/readyz` true about the database until the shutdown begins; `heard` is told each time whether it answered.
pub async fn watch_database(
    pool: MySqlPool,
    readiness: Readiness,
    shutdown: Shutdown,
    heard: impl Fn(bool) + Send + 'static,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            () = shutdown.stopping() => return,
        }
        let asked = tokio::time::timeout(LONGEST_ANSWER, sqlx::query("DO 0").execute(&pool)).await;
        let answered = asked.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        heard(answered.is_ok());
        match answered {
            Ok(_) => readiness.set(DATABASE, Ok(())),
            Err(error) => readiness.set(DATABASE, Err(&unreachable_because(&error))),
        }
    }
}

/// Says what is wrong without showing a statement, a path or a credential.
fn unreachable_because(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => format!("cannot connect: {}", error.kind()),
        sqlx::Error::Tls(_) => "the TLS handshake failed; see ssl-mode and ssl-ca in database.url".to_owned(),
        sqlx::Error::PoolTimedOut => "no connection became free in time".to_owned(),
        sqlx::Error::Database(error) => {
            format!(
                "refused ({}): check the user, the password and the name in database.url",
                error.code().unwrap_or_default()
            )
        }
        _ => "does not answer".to_owned(),
    }
}
