//! `es_sync_idempotency_key`: enqueues that were sent with a key, and what they were answered.
//!
//! The row of a key is inserted first in the enqueue's transaction: a simultaneous request with the same key waits for
//! its commit and then finds it. A key holds for [`KEY_LIFE`]; the schedulers prune what is older.

use chrono::TimeDelta;
use sqlx::MySqlConnection;

use crate::fault::{Fault, StatementRefusal};

/// How long the same key gives the first answer again.
pub const KEY_LIFE: TimeDelta = TimeDelta::hours(24);

/// Where a key was sent to, and the key.
#[derive(Debug, Clone, Copy)]
pub struct KeyRef<'a> {
    /// The path, at most 64 characters of ASCII.
    pub scope: &'a str,
    /// 1 to 255 visible characters of ASCII.
    pub key: &'a str,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Of the body that it was first sent with.
    pub fingerprint: String,
    /// What was accepted, as JSON.
    pub answer: String,
    /// How it stood when the first caller's wait was over, as JSON.
    pub outcome: Option<String>,
}

/// Inserts a key with an answer that is still empty. `false`: it stands already, perhaps beyond its life.
pub async fn reserve(
    connection: &mut MySqlConnection,
    key: KeyRef<'_>,
    fingerprint: &str,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "INSERT INTO es_sync_idempotency_key (scope, idempotency_key, fingerprint, answer, created_at)
         VALUES (?, ?, ?, '', UTC_TIMESTAMP(3))",
        key.scope,
        key.key,
        fingerprint,
    )
    .execute(connection)
    .await;
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if Fault::of(&error) == Fault::Refused(StatementRefusal::Duplicate) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes what was accepted into a key that this transaction has reserved.
pub async fn set_answer(connection: &mut MySqlConnection, key: KeyRef<'_>, answer: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_idempotency_key SET answer = ? WHERE scope = ? AND idempotency_key = ?",
        answer,
        key.scope,
        key.key,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes how a run stood when the first wait for it was over. What stands already stays.
pub async fn set_outcome(connection: &mut MySqlConnection, key: KeyRef<'_>, outcome: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_idempotency_key SET outcome = ?
         WHERE scope = ? AND idempotency_key = ? AND outcome IS NULL",
        outcome,
        key.scope,
        key.key,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads a key that is within its life.
pub async fn find(connection: &mut MySqlConnection, key: KeyRef<'_>) -> Result<Option<StoredKey>, sqlx::Error> {
    sqlx::query_as!(
        StoredKey,
        "SELECT fingerprint, answer, outcome FROM es_sync_idempotency_key
         WHERE scope = ? AND idempotency_key = ? AND created_at > UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
        key.scope,
        key.key,
        KEY_LIFE.num_seconds(),
    )
    .fetch_optional(connection)
    .await
}

/// Deletes a key that is beyond its life, so that it can be used anew.
pub async fn forget_expired(connection: &mut MySqlConnection, key: KeyRef<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM es_sync_idempotency_key
         WHERE scope = ? AND idempotency_key = ? AND created_at <= UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
        key.scope,
        key.key,
        KEY_LIFE.num_seconds(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes up to `limit` keys beyond their life; returns how many went.
pub async fn prune(connection: &mut MySqlConnection, limit: u32) -> Result<u64, sqlx::Error> {
    let result = sqlx::query!(
        "DELETE FROM es_sync_idempotency_key WHERE created_at <= UTC_TIMESTAMP(3) - INTERVAL ? SECOND LIMIT ?",
        KEY_LIFE.num_seconds(),
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
