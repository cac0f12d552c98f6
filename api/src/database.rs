//! The way to the database: its connections, transactions that are run again, and how long a request may wait.
//!
//! Nothing passes before the schema has been checked, and nothing is written for a caller without its entry in the audit.
//! Knows no other table and no transport.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hostsync_model::audit::AuditObject;
use hostsync_service::operations::Readiness;
use hostsync_store::database::{self, SchemaError};
use hostsync_store::denied::Denied;
use hostsync_store::tables::audit::{self, AuditEntry};
use rand::RngExt as _;
use sqlx::mysql::MySql;
use sqlx::pool::PoolConnection;
use sqlx::{MySqlConnection, MySqlPool, Transaction};

use crate::error::ApiError;

/// How often a transaction is run that the database breaks off in favour of another.
const ATTEMPTS: u32 = 4;

/// Longest time for what one request does in the database, waits of `wait_seconds` aside. A database that has gone
/// silent is then told like one that is down.
const DATABASE_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest wait for a server that refuses us, before its schema has been checked. One that says nothing for so long is
/// away.
const LONGEST_REFUSAL: Duration = Duration::from_millis(500);

/// The database, once its schema has been checked. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: MySqlPool,
    is_checked: Arc<AtomicBool>,
    readiness: Readiness,
}

impl Database {
    /// Connects to nothing yet.
    pub(crate) fn new(pool: MySqlPool, readiness: Readiness) -> Self {
        Self { pool, is_checked: Arc::default(), readiness }
    }

    /// The connections, checked or not.
    pub(crate) const fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    /// Opens the way: the schema is the one that the statements were written for.
    pub(crate) fn set_schema_checked(&self) {
        self.is_checked.store(true, Ordering::Release);
    }

    /// # Errors
    ///
    /// The schema has not been checked: the database is away, or refuses us. A refusal is no outage, and a server that
    /// refuses answers at once.
    async fn checked(&self) -> Result<&MySqlPool, ApiError> {
        // The first time that the database is ready is when its schema has been checked.
        if self.is_checked.load(Ordering::Acquire) || self.readiness.is_ready() {
            return Ok(&self.pool);
        }
        match tokio::time::timeout(LONGEST_REFUSAL, database::check(&self.pool)).await {
            Ok(Err(SchemaError::Database(error))) if Denied::of(&error).is_some() => Err(error.into()),
            _ => Err(ApiError::DatabaseNotReady),
        }
    }

    /// A connection.
    pub(crate) async fn connection(&self) -> Result<PoolConnection<MySql>, ApiError> {
        Ok(self.checked().await?.acquire().await?)
    }

    /// A transaction that writes what `entry` tells of.
    pub(crate) async fn begin(&self, entry: &AuditEntry) -> Result<WriteTransaction, ApiError> {
        Ok(WriteTransaction { transaction: self.checked().await?.begin().await?, entry: entry.clone() })
    }

    /// The time by the database's clock, within [`within_bound`].
    pub(crate) async fn now(&self) -> Result<DateTime<Utc>, ApiError> {
        within_bound(async {
            let mut connection = self.connection().await?;
            Ok(database::now(&mut connection).await?)
        })
        .await
    }
}

/// A transaction that can be committed only with its entry in the audit.
#[derive(Debug)]
pub(crate) struct WriteTransaction {
    transaction: Transaction<'static, MySql>,
    entry: AuditEntry,
}

impl WriteTransaction {
    /// Name of who writes.
    pub(crate) fn who(&self) -> String {
        self.entry.actor.who.clone()
    }

    /// Commits the write with its entry: what was written to, and what came of it in a sentence.
    pub(crate) async fn commit(mut self, object: impl Into<AuditObject>, result: &str) -> Result<(), ApiError> {
        audit::insert(&mut self.transaction, &self.entry, &object.into(), result).await?;
        Ok(self.transaction.commit().await?)
    }

    /// The same for a write that goes on where no transaction reaches; returns the id of its entry, which is told what came
    /// of it at the end ([`audit::set_result`]).
    pub(crate) async fn commit_begun(mut self, object: impl Into<AuditObject>) -> Result<u64, ApiError> {
        let id = audit::insert(&mut self.transaction, &self.entry, &object.into(), "begun").await?;
        self.transaction.commit().await?;
        Ok(id)
    }
}

impl Deref for WriteTransaction {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.transaction
    }
}

impl DerefMut for WriteTransaction {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.transaction
    }
}

/// Runs a transaction, and runs it again when the database broke it off in favour of another (a deadlock, a lock wait).
///
/// # Errors
///
/// The transaction's; [`ApiError::DatabaseNotReady`] when it takes longer than [`DATABASE_TIMEOUT`] in all.
pub(crate) async fn transact<T, F>(transaction: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let attempts = async {
        let mut attempt = 1;
        loop {
            match Box::pin(transaction()).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                    tracing::debug!(attempt, "a transaction was broken off in favour of another, running it again");
                    let pause_ms = rand::rng().random_range(1..=20 * u64::from(attempt));
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    };
    within_bound(attempts).await
}

/// Bounds what one request does in the database.
///
/// # Errors
///
/// The work's; [`ApiError::DatabaseNotReady`] when it takes longer than [`DATABASE_TIMEOUT`].
pub(crate) async fn within_bound<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(DATABASE_TIMEOUT, work).await.unwrap_or(Err(ApiError::DatabaseNotReady))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_database_is_told_like_one_that_is_down() {
        let outcome = within_bound(std::future::pending::<Result<(), ApiError>>()).await;
        assert!(matches!(outcome, Err(ApiError::DatabaseNotReady)));
    }

    #[tokio::test]
    async fn what_is_no_conflict_is_not_run_again() {
        let runs = AtomicU32::new(0);
        let outcome: Result<(), _> = transact(async || {
            runs.fetch_add(1, Ordering::Relaxed);
            Err(ApiError::Database(sqlx::Error::PoolTimedOut))
        })
        .await;
        assert!(outcome.is_err());
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }
}
