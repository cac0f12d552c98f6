//! `es_sync_host_mute`: hosts that are taken out of freshness for a time. They are synced all the same.

use chrono::{DateTime, Utc};
use sqlx::MySqlConnection;

use super::ROWS_PER_STATEMENT;
use super::text_statement::TextStatement;

/// Most muted hosts that are counted out; beyond it the lowest ids of the pool are.
const MOST: u32 = 100_000;

/// A mute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMute {
    /// By [`hostsync_model::host::address_key`].
    pub host_ip: String,
    /// `hosts_pool.id`.
    pub pool_id: u64,
    /// It ends then.
    pub until: DateTime<Utc>,
    /// Why.
    pub note: String,
    /// Name of the token.
    pub who: String,
}

/// Mutes a host, or changes its mute.
pub async fn set(connection: &mut MySqlConnection, mute: &HostMute) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO es_sync_host_mute (host_ip, pool_id, muted_until, note, who, muted_at)
         VALUES (?, ?, ?, ?, ?, UTC_TIMESTAMP(3))
         ON DUPLICATE KEY UPDATE pool_id = VALUES(pool_id), muted_until = VALUES(muted_until), note = VALUES(note),
             who = VALUES(who), muted_at = VALUES(muted_at)",
    )
    .bind(&mute.host_ip)
    .bind(mute.pool_id)
    .bind(mute.until.naive_utc())
    .bind(&mute.note)
    .bind(&mute.who)
    .execute(connection)
    .await?;
    Ok(())
}

/// Until when hosts are muted, by their ids in the pool; those alone that are muted now.
pub async fn of_hosts(
    connection: &mut MySqlConnection,
    pool_ids: &[u64],
    now: DateTime<Utc>,
) -> Result<Vec<(u64, DateTime<Utc>)>, sqlx::Error> {
    let mut mutes = Vec::new();
    for chunk in pool_ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement =
            TextStatement::new("SELECT pool_id, muted_until FROM es_sync_host_mute WHERE muted_until > ");
        statement.value(now).sql(" AND pool_id IN ").list(chunk);
        mutes.extend(statement.fetch_all::<(u64, DateTime<Utc>)>(connection).await?);
    }
    Ok(mutes)
}

/// The ids in the pool of live hosts that are muted now, rising.
pub async fn live_muted(connection: &mut MySqlConnection, now: DateTime<Utc>) -> Result<Vec<u64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT mute.pool_id FROM es_sync_host_mute AS mute JOIN hosts_pool AS host ON host.id = mute.pool_id
         WHERE mute.muted_until > ? AND COALESCE(host.is_deleted, 0) = 0 ORDER BY mute.pool_id LIMIT ?",
    )
    .bind(now.naive_utc())
    .bind(MOST)
    .fetch_all(connection)
    .await
}

/// Deletes mutes that ended before a time, at most `limit`; returns how many went.
pub async fn prune(connection: &mut MySqlConnection, before: DateTime<Utc>, limit: u32) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query("DELETE FROM es_sync_host_mute WHERE muted_until < ? LIMIT ?");
    Ok(deleted.bind(before.naive_utc()).bind(limit).execute(connection).await?.rows_affected())
}
