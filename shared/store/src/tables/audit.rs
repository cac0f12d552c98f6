//! `es_sync_audit`: who changed what, when and from where.
//!
//! A row is inserted in the transaction of the write that it tells of, so that neither is there without the other. Rows are
//! never changed, but for the result of what a transaction cannot hold (dead letters of the broker).

use chrono::{DateTime, Utc};
use sqlx::{MySqlConnection, QueryBuilder};

use crate::word::Word;
use hostsync_model::audit::{Actor, AuditAction, AuditObject, AuditObjectKind, Role};

/// Most characters of a result; the rest is cut.
const MAX_RESULT_CHARS: usize = 255;

/// A write, before it is known what came of it.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Who writes.
    pub actor: Actor,
    /// What is done.
    pub action: AuditAction,
    /// The request as JSON, without tokens, secrets and headers; at most 64 KiB.
    pub what: String,
}

/// Inserts the row of a write; returns its id.
pub async fn insert(
    connection: &mut MySqlConnection,
    entry: &AuditEntry,
    object: &AuditObject,
    result: &str,
) -> Result<u64, sqlx::Error> {
    let AuditEntry { actor, action, what } = entry;
    let inserted = sqlx::query(
        "INSERT INTO es_sync_audit (at, who, role, from_where, action, object_kind, object_id, what, result)
         VALUES (UTC_TIMESTAMP(3), ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&actor.who)
    .bind(actor.role.as_str())
    .bind(&actor.from)
    .bind(action.as_str())
    .bind(object.kind.as_str())
    .bind(&object.id)
    .bind(what)
    .bind(cut(result))
    .execute(connection)
    .await?;
    Ok(inserted.last_insert_id())
}

/// Writes what came of something that began after its row was committed.
pub async fn set_result(connection: &mut MySqlConnection, id: u64, result: &str) -> Result<(), sqlx::Error> {
    let update = sqlx::query("UPDATE es_sync_audit SET result = ? WHERE id = ?");
    update.bind(cut(result)).bind(id).execute(connection).await?;
    Ok(())
}

fn cut(result: &str) -> String {
    result.chars().take(MAX_RESULT_CHARS).collect()
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRow {
    /// Rises with time.
    pub id: u64,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// Name of the token, or `command:<user>`.
    pub who: String,
    /// What it might do then.
    pub role: Word<Role>,
    /// From where.
    pub from_where: String,
    /// What was done.
    pub action: Word<AuditAction>,
    /// To what kind of thing.
    pub object_kind: Word<AuditObjectKind>,
    /// To which of them.
    pub object_id: String,
    /// The request as JSON.
    pub what: String,
    /// What came of it.
    pub result: String,
}

/// Which rows a list wants.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of one who.
    pub who: Option<String>,
    /// Of one kind.
    pub action: Option<AuditAction>,
    /// On one kind of things.
    pub object_kind: Option<AuditObjectKind>,
    /// On those of this id.
    pub object_id: Option<String>,
    /// At this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Before this time.
    pub to: Option<DateTime<Utc>>,
    /// Older than this one (the cursor): ids below.
    pub before: Option<u64>,
}

/// Rows, newest first by id, at most `limit`.
pub async fn list(
    connection: &mut MySqlConnection,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<AuditRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT id, at, who, role, from_where, action, object_kind, object_id, what, result FROM es_sync_audit
         WHERE 1 = 1",
    );
    if let Some(who) = &filter.who {
        query.push(" AND who = ").push_bind(who);
    }
    if let Some(action) = filter.action {
        query.push(" AND action = ").push_bind(action.as_str());
    }
    if let Some(kind) = filter.object_kind {
        query.push(" AND object_kind = ").push_bind(kind.as_str());
    }
    if let Some(id) = &filter.object_id {
        query.push(" AND object_id = ").push_bind(id);
    }
    // As DATETIME: a TIMESTAMP ends in 2038.
    if let Some(from) = filter.from {
        query.push(" AND at >= ").push_bind(from.naive_utc());
    }
    if let Some(to) = filter.to {
        query.push(" AND at < ").push_bind(to.naive_utc());
    }
    if let Some(before) = filter.before {
        query.push(" AND id < ").push_bind(before);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// Deletes at most `limit` rows from before a time; returns how many.
pub async fn prune(connection: &mut MySqlConnection, before: DateTime<Utc>, limit: u32) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query("DELETE FROM es_sync_audit WHERE at < ? ORDER BY at LIMIT ?");
    Ok(deleted.bind(before.naive_utc()).bind(limit).execute(connection).await?.rows_affected())
}
