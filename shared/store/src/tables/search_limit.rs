//! `es_sync_search_limit` and `es_sync_search_share`: how many searches the fleet may have at once against an endpoint, how
//! many hosts may stand in one, and which worker has which share of the searches.
//!
//! The row of the limit is the lock of both: whoever reads it by [`lock`] writes before anybody else reads. What answers
//! make of the numbers is the workers' matter. All times are the database's.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::MySqlConnection;

/// A worker that has not said for so long that it searches has ended, or cannot reach the database.
pub const SHARE_LIVES: TimeDelta = TimeDelta::seconds(10);

/// The fewest searches at once, and the number to begin with.
pub const FEWEST_SEARCHES: f64 = 1.0;

/// A number that answers raise and lower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// What is allowed; what stands after the point does not count yet.
    pub allowed: f64,
    /// What was too much when it was lowered last; `None`: unknown, or long ago.
    pub too_much: Option<f64>,
    /// When it was lowered last.
    pub lowered_at: Option<DateTime<Utc>>,
    /// When it was raised last.
    pub raised_at: Option<DateTime<Utc>>,
}

/// What the fleet knows of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchLimit {
    /// Searches at once in the fleet.
    pub searches: Allowance,
    /// Hosts in one search.
    pub hosts: Allowance,
    /// How many times as long as alone searches take lately.
    pub strain: f64,
    /// What a search takes alone, as the workers write it.
    pub baselines: Option<String>,
    /// When an answer was last learned from.
    pub changed_at: DateTime<Utc>,
}

/// A worker that wants to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct SearchShare {
    /// Drawn at the start of its process, 16 bytes.
    #[sqlx(try_from = "Vec<u8>")]
    pub worker: SearcherId,
    /// Searches that it would have at once.
    pub wanted: u32,
    /// Searches that it may have at once, or still has.
    pub granted: u32,
}

/// A process that searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearcherId(u128);

impl SearcherId {
    /// Of a number that nobody else draws.
    pub const fn new(drawn: u128) -> Self {
        Self(drawn)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

impl TryFrom<Vec<u8>> for SearcherId {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        Ok(Self(u128::from_be_bytes(bytes.as_slice().try_into()?)))
    }
}

/// What [`lock`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct LockedLimit {
    /// What the fleet knows.
    pub limit: SearchLimit,
    /// The workers that want to search, by their ids.
    pub shares: Vec<SearchShare>,
    /// The time of the database.
    pub now: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct LimitRow {
    searches: f64,
    searches_too_many: Option<f64>,
    searches_lowered_at: Option<DateTime<Utc>>,
    searches_raised_at: Option<DateTime<Utc>>,
    hosts: f64,
    hosts_too_many: Option<f64>,
    hosts_lowered_at: Option<DateTime<Utc>>,
    hosts_raised_at: Option<DateTime<Utc>>,
    strain: f64,
    baselines: Option<String>,
    changed_at: DateTime<Utc>,
    read_at: DateTime<Utc>,
}

impl LimitRow {
    fn limit(self) -> (SearchLimit, DateTime<Utc>) {
        let searches = Allowance {
            allowed: self.searches,
            too_much: self.searches_too_many,
            lowered_at: self.searches_lowered_at,
            raised_at: self.searches_raised_at,
        };
        let hosts = Allowance {
            allowed: self.hosts,
            too_much: self.hosts_too_many,
            lowered_at: self.hosts_lowered_at,
            raised_at: self.hosts_raised_at,
        };
        let (strain, baselines, changed_at) = (self.strain, self.baselines, self.changed_at);
        (SearchLimit { searches, hosts, strain, baselines, changed_at }, self.read_at)
    }
}

/// Locks the limit of an endpoint and reads who wants to search it. One that nobody has searched yet begins with
/// [`FEWEST_SEARCHES`] and `hosts` in a search. In a transaction.
pub async fn lock(connection: &mut MySqlConnection, endpoint: &str, hosts: f64) -> Result<LockedLimit, sqlx::Error> {
    let row = match select(connection, endpoint).await? {
        Some(row) => row,
        None => {
            let begin = "INSERT IGNORE INTO es_sync_search_limit (endpoint, searches, hosts, strain, changed_at)
                         VALUES (?, ?, ?, 1, UTC_TIMESTAMP(3))";
            sqlx::query(begin).bind(endpoint).bind(FEWEST_SEARCHES).bind(hosts).execute(&mut *connection).await?;
            select(connection, endpoint).await?.ok_or(sqlx::Error::RowNotFound)?
        }
    };
    let (limit, now) = row.limit();
    let shares = sqlx::query_as(
        "SELECT worker_id AS worker, wanted, granted FROM es_sync_search_share
         WHERE endpoint = ? AND seen_at > ? ORDER BY worker_id",
    )
    .bind(endpoint)
    .bind(now - SHARE_LIVES)
    .fetch_all(connection)
    .await?;
    Ok(LockedLimit { limit, shares, now })
}

async fn select(connection: &mut MySqlConnection, endpoint: &str) -> Result<Option<LimitRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT searches, searches_too_many, searches_lowered_at, searches_raised_at, hosts, hosts_too_many,
                hosts_lowered_at, hosts_raised_at, strain, baselines, changed_at, UTC_TIMESTAMP(3) AS read_at
         FROM es_sync_search_limit WHERE endpoint = ? FOR UPDATE",
    )
    .bind(endpoint)
    .fetch_optional(connection)
    .await
}

/// Writes what was learned of an endpoint that [`lock`] has locked.
pub async fn save(connection: &mut MySqlConnection, endpoint: &str, limit: &SearchLimit) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE es_sync_search_limit
         SET searches = ?, searches_too_many = ?, searches_lowered_at = ?, searches_raised_at = ?, hosts = ?,
             hosts_too_many = ?, hosts_lowered_at = ?, hosts_raised_at = ?, strain = ?, baselines = ?, changed_at = ?
         WHERE endpoint = ?",
    )
    .bind(limit.searches.allowed)
    .bind(limit.searches.too_much)
    .bind(limit.searches.lowered_at)
    .bind(limit.searches.raised_at)
    .bind(limit.hosts.allowed)
    .bind(limit.hosts.too_much)
    .bind(limit.hosts.lowered_at)
    .bind(limit.hosts.raised_at)
    .bind(limit.strain)
    .bind(&limit.baselines)
    .bind(limit.changed_at)
    .bind(endpoint)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what a worker wants and may, as of `now`.
pub async fn put_share(
    connection: &mut MySqlConnection,
    endpoint: &str,
    share: SearchShare,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO es_sync_search_share (endpoint, worker_id, wanted, granted, seen_at) VALUES (?, ?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE wanted = VALUES(wanted), granted = VALUES(granted), seen_at = VALUES(seen_at)",
    )
    .bind(endpoint)
    .bind(share.worker.bytes())
    .bind(share.wanted)
    .bind(share.granted)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// A worker does not search an endpoint for now.
pub async fn drop_share(
    connection: &mut MySqlConnection,
    endpoint: &str,
    worker: SearcherId,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM es_sync_search_share WHERE endpoint = ? AND worker_id = ?")
        .bind(endpoint)
        .bind(worker.bytes())
        .execute(connection)
        .await?;
    Ok(())
}

/// An endpoint that was away begins with one search again.
pub async fn begin_again(connection: &mut MySqlConnection, endpoint: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE es_sync_search_limit
         SET searches = ?, searches_too_many = NULL, searches_lowered_at = UTC_TIMESTAMP(3), strain = 1
         WHERE endpoint = ?",
    )
    .bind(FEWEST_SEARCHES)
    .bind(endpoint)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the shares of workers that ended without a word, and endpoints that nobody has searched for so long.
pub async fn prune(connection: &mut MySqlConnection, unused_for: TimeDelta) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM es_sync_search_share WHERE seen_at < UTC_TIMESTAMP(3) - INTERVAL ? SECOND")
        .bind(SHARE_LIVES.num_seconds())
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM es_sync_search_limit WHERE changed_at < UTC_TIMESTAMP(3) - INTERVAL ? SECOND")
        .bind(unused_for.num_seconds())
        .execute(connection)
        .await?;
    Ok(())
}
