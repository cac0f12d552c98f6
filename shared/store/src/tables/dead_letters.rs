//! `es_sync_dead_letter`: messages that could not be worked on, out of the broker.

use chrono::{DateTime, Utc};
use sqlx::mysql::MySql;
use sqlx::{MySqlConnection, QueryBuilder};

use crate::fault::{Fault, StatementRefusal};
use crate::word::Word;
use hostsync_model::execution::JobQueue;

/// Most letters that are kept, the newest.
pub const MAX_LETTERS: u32 = 10_000;

/// Most bytes that are kept of a message. A job has 4 KiB at most, so what is cut is none.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Most characters that are kept of a reason.
pub const MAX_REASON_CHARS: usize = 1_000;

/// Most characters of a host.
const MAX_HOST_CHARS: usize = 255;

/// A letter to be stored.
#[derive(Debug, Clone)]
pub struct NewLetter {
    /// What tells it from every other letter.
    pub key: Option<[u8; 32]>,
    /// The first bytes of the message, at most [`MAX_BODY_BYTES`].
    pub body: Vec<u8>,
    /// Length of the whole message in bytes.
    pub body_bytes: u64,
    /// Whether it is a job.
    pub is_job: bool,
    /// Why it was set aside; cut.
    pub reason: String,
    /// The run of the job.
    pub execution_id: Option<u64>,
    /// The row of the job.
    pub detail_id: Option<u64>,
    /// The host of the job; cut.
    pub host_ip: Option<String>,
    /// Where it died.
    pub queue: JobQueue,
    /// Headers that go on with the job, JSON; at most 64 KiB.
    pub trace_context: Option<String>,
    /// When it died; `None`: now.
    pub dead_at: Option<DateTime<Utc>>,
}

/// A letter.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LetterRow {
    /// Rises with the time at which letters were moved.
    pub id: u64,
    /// The first bytes of the message.
    pub body: Vec<u8>,
    /// Length of the whole message in bytes.
    pub body_bytes: u64,
    /// Whether it can be put back.
    pub is_job: bool,
    /// Why it was set aside.
    pub reason: String,
    /// The run of the job.
    pub execution_id: Option<u64>,
    /// The row of the job.
    pub detail_id: Option<u64>,
    /// The host of the job.
    pub host_ip: Option<String>,
    /// Where it died.
    pub queue: Word<JobQueue>,
    /// Headers that go on with the job, JSON.
    pub trace_context: Option<String>,
    /// When it died.
    pub dead_at: DateTime<Utc>,
    /// When it was moved.
    pub moved_at: DateTime<Utc>,
}

/// Which letters are meant.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// These alone.
    pub ids: Option<Vec<u64>>,
    /// With this in their reason, in upper or lower case.
    pub reason: Option<String>,
    /// Of one run.
    pub execution_id: Option<u64>,
    /// Of one host, in any of these spellings; empty: of all.
    pub host_ips: Vec<String>,
    /// Dead at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Dead before this time.
    pub to: Option<DateTime<Utc>>,
    /// Moved before this one (the cursor): ids below.
    pub before: Option<u64>,
}

/// Inserts a letter; `false`: it stands there already.
pub async fn insert(connection: &mut MySqlConnection, letter: &NewLetter) -> Result<bool, sqlx::Error> {
    let cut = |text: &str, chars: usize| text.chars().take(chars).collect::<String>();
    let inserted = sqlx::query(
        "INSERT INTO es_sync_dead_letter
             (letter_key, body, body_bytes, is_job, reason, execution_id, detail_id, host_ip, queue, trace_context, dead_at,
              moved_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, COALESCE(?, UTC_TIMESTAMP(3)), UTC_TIMESTAMP(3))",
    )
    .bind(letter.key.as_ref().map(<[u8; 32]>::as_slice))
    .bind(letter.body.get(..MAX_BODY_BYTES).unwrap_or(&letter.body))
    .bind(letter.body_bytes)
    .bind(letter.is_job)
    .bind(cut(&letter.reason, MAX_REASON_CHARS))
    .bind(letter.execution_id)
    .bind(letter.detail_id)
    .bind(letter.host_ip.as_deref().map(|host_ip| cut(host_ip, MAX_HOST_CHARS)))
    .bind(letter.queue.as_str())
    .bind(&letter.trace_context)
    .bind(letter.dead_at.map(|at| at.naive_utc()))
    .execute(connection)
    .await;
    // No `ON DUPLICATE KEY UPDATE`: it locks the gaps between keys, and so two schedulers one another.
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if Fault::of(&error) == Fault::Refused(StatementRefusal::Duplicate) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Letters, those that were moved last first, at most `limit`.
pub async fn list(
    connection: &mut MySqlConnection,
    filter: &LetterFilter,
    limit: u32,
) -> Result<Vec<LetterRow>, sqlx::Error> {
    select(connection, filter, " ORDER BY id DESC LIMIT ", limit).await
}

/// Letters, those that were moved first first, at most `limit`.
pub async fn oldest(
    connection: &mut MySqlConnection,
    filter: &LetterFilter,
    limit: u32,
) -> Result<Vec<LetterRow>, sqlx::Error> {
    select(connection, filter, " ORDER BY id LIMIT ", limit).await
}

async fn select(
    connection: &mut MySqlConnection,
    filter: &LetterFilter,
    order: &'static str,
    limit: u32,
) -> Result<Vec<LetterRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT id, body, body_bytes, is_job, reason, execution_id, detail_id, host_ip, queue, trace_context, dead_at,
                moved_at
         FROM es_sync_dead_letter WHERE 1 = 1",
    );
    narrow(&mut query, filter);
    query.push(order).push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// Ids of letters, the oldest first, at most [`MAX_LETTERS`], and locks them.
pub async fn lock_ids(connection: &mut MySqlConnection, filter: &LetterFilter) -> Result<Vec<u64>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT id FROM es_sync_dead_letter WHERE 1 = 1");
    narrow(&mut query, filter);
    query.push(" ORDER BY id LIMIT ").push_bind(MAX_LETTERS).push(" FOR UPDATE");
    query.build_query_scalar().fetch_all(connection).await
}

/// How many letters there are.
pub async fn count(connection: &mut MySqlConnection, filter: &LetterFilter) -> Result<u64, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT CAST(COUNT(*) AS UNSIGNED) FROM es_sync_dead_letter WHERE 1 = 1");
    narrow(&mut query, filter);
    query.build_query_scalar().fetch_one(connection).await
}

fn narrow(query: &mut QueryBuilder<MySql>, filter: &LetterFilter) {
    if let Some(ids) = &filter.ids {
        push_ids(query, ids);
    }
    if let Some(reason) = &filter.reason {
        query.push(" AND LOCATE(").push_bind(reason.clone()).push(", reason) > 0");
    }
    if let Some(id) = filter.execution_id {
        query.push(" AND execution_id = ").push_bind(id);
    }
    if !filter.host_ips.is_empty() {
        query.push(" AND host_ip IN (");
        let mut listed = query.separated(", ");
        for host_ip in &filter.host_ips {
            listed.push_bind(host_ip.clone());
        }
        query.push(")");
    }
    if let Some(from) = filter.from {
        query.push(" AND dead_at >= ").push_bind(from.naive_utc());
    }
    if let Some(to) = filter.to {
        query.push(" AND dead_at < ").push_bind(to.naive_utc());
    }
    if let Some(before) = filter.before {
        query.push(" AND id < ").push_bind(before);
    }
}

/// Numbers go in as text: so many placeholders would be a statement of its own for each length.
fn push_ids(query: &mut QueryBuilder<MySql>, ids: &[u64]) {
    let listed = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    query.push(" AND id IN (").push(if listed.is_empty() { "0".to_owned() } else { listed }).push(")");
}

/// Deletes letters; returns how many were there.
pub async fn delete(connection: &mut MySqlConnection, ids: &[u64]) -> Result<u64, sqlx::Error> {
    let mut query = QueryBuilder::new("DELETE FROM es_sync_dead_letter WHERE 1 = 1");
    push_ids(&mut query, ids);
    Ok(query.build().execute(connection).await?.rows_affected())
}

/// Deletes at most `limit` letters that are beyond the newest `kept`; returns how many.
pub async fn trim(connection: &mut MySqlConnection, kept: u32, limit: u32) -> Result<u64, sqlx::Error> {
    let newest_to_go: Option<u64> =
        sqlx::query_scalar("SELECT id FROM es_sync_dead_letter ORDER BY id DESC LIMIT 1 OFFSET ?")
            .bind(kept)
            .fetch_optional(&mut *connection)
            .await?;
    let Some(newest_to_go) = newest_to_go else { return Ok(0) };
    let deleted = sqlx::query("DELETE FROM es_sync_dead_letter WHERE id <= ? ORDER BY id LIMIT ?");
    Ok(deleted.bind(newest_to_go).bind(limit).execute(connection).await?.rows_affected())
}

/// Deletes at most `limit` letters that were moved before a time; returns how many.
pub async fn prune(connection: &mut MySqlConnection, before: DateTime<Utc>, limit: u32) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query("DELETE FROM es_sync_dead_letter WHERE moved_at < ? ORDER BY moved_at LIMIT ?");
    Ok(deleted.bind(before.naive_utc()).bind(limit).execute(connection).await?.rows_affected())
}
