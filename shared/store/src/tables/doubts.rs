//! `es_sync_doubt`: what a worker says of a source and the fleet does not believe yet.
//!
//! A doubt is put to all workers: whoever knows better deletes it, whoever finds the same says so. Only what nobody has
//! refuted for long enough is believed.

use chrono::TimeDelta;
use sqlx::MySqlConnection;

use crate::word::Word;
pub use hostsync_model::execution::DoubtKind;

/// How long nobody may refute that credentials are refused, if one process says so.
pub const CREDENTIALS_ALONE: TimeDelta = TimeDelta::seconds(60);

/// The same if another process says so as well: each has had time to look by then.
pub const CREDENTIALS_TOGETHER: TimeDelta = TimeDelta::seconds(15);

/// How long nobody of the fleet may know a name: a new configuration reaches it process by process.
pub const NAME: TimeDelta = TimeDelta::minutes(5);

/// A doubt that was not seen again for so long stands no more, and is another one when it comes back: workers that could
/// refute it may have been away.
pub const STALE: TimeDelta = TimeDelta::minutes(2);

/// What is doubted of whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// What.
    pub kind: DoubtKind,
    /// Name of the endpoint or the mapping.
    pub name: String,
    /// With credentials; else empty.
    pub index_pattern: String,
}

/// A doubt that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Of whom.
    pub subject: Subject,
    /// What was found.
    pub reason: String,
    /// Nobody has refuted it for long enough.
    pub is_believed: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    kind: Word<DoubtKind>,
    name: String,
    index_pattern: String,
    reason: Option<String>,
    has_other: bool,
    seconds: i64,
}

impl Row {
    /// `None`: a worker of a newer release doubts what no worker of this one can refute.
    fn doubt(self) -> Option<Doubt> {
        let Word::Known(kind) = self.kind else { return None };
        let long_enough = match kind {
            DoubtKind::Credentials if self.has_other => CREDENTIALS_TOGETHER,
            DoubtKind::Credentials => CREDENTIALS_ALONE,
            DoubtKind::Endpoint | DoubtKind::Mapping => NAME,
        };
        Some(Doubt {
            subject: Subject { kind, name: self.name, index_pattern: self.index_pattern },
            reason: self.reason.unwrap_or_default(),
            is_believed: self.seconds >= long_enough.num_seconds(),
        })
    }
}

/// All doubts that stand; few.
pub async fn standing(connection: &mut MySqlConnection) -> Result<Vec<Doubt>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT kind, name, index_pattern, reason, (other_process IS NOT NULL) AS has_other,
                TIMESTAMPDIFF(SECOND, since, seen_at) AS seconds
         FROM es_sync_doubt WHERE seen_at > UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
    )
    .bind(STALE.num_seconds())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(Row::doubt).collect())
}

/// Says that `process` found it so: a new doubt, or one more voice for a standing one.
pub async fn raise(
    connection: &mut MySqlConnection,
    subject: &Subject,
    process: &str,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO es_sync_doubt (kind, name, index_pattern, since, seen_at, first_process, reason)
         VALUES (?, ?, ?, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3), ?, ?)
         ON DUPLICATE KEY UPDATE
             since = IF(seen_at < UTC_TIMESTAMP(3) - INTERVAL ? SECOND, VALUES(since), since),
             other_process = IF(since = VALUES(since), NULL,
                                IF(first_process <> VALUES(first_process), VALUES(first_process), other_process)),
             first_process = IF(since = VALUES(since), VALUES(first_process), first_process),
             reason = VALUES(reason),
             seen_at = VALUES(seen_at)",
    )
    .bind(subject.kind.as_str())
    .bind(&subject.name)
    .bind(&subject.index_pattern)
    .bind(process)
    .bind(reason)
    .bind(STALE.num_seconds())
    .execute(connection)
    .await?;
    Ok(())
}

/// Says again that this process does not know better; `false`: another process just said so, or the
/// doubt is gone. One caller in `pause` gets `true`.
pub async fn say_again(
    connection: &mut MySqlConnection,
    subject: &Subject,
    pause: TimeDelta,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query(
        "UPDATE es_sync_doubt
         SET since = IF(seen_at < UTC_TIMESTAMP(3) - INTERVAL ? SECOND, UTC_TIMESTAMP(3), since),
             seen_at = UTC_TIMESTAMP(3)
         WHERE kind = ? AND name = ? AND index_pattern = ? AND seen_at <= UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
    )
    .bind(STALE.num_seconds())
    .bind(subject.kind.as_str())
    .bind(&subject.name)
    .bind(&subject.index_pattern)
    .bind(pause.num_seconds())
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends a doubt: somebody knows better, or it concerns nobody any more.
pub async fn drop(connection: &mut MySqlConnection, subject: &Subject) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM es_sync_doubt WHERE kind = ? AND name = ? AND index_pattern = ?")
        .bind(subject.kind.as_str())
        .bind(&subject.name)
        .bind(&subject.index_pattern)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets doubts that nobody has shared for so long, which stand no more.
pub async fn prune(connection: &mut MySqlConnection, unseen_for: TimeDelta) -> Result<u64, sqlx::Error> {
    let result = sqlx::query("DELETE FROM es_sync_doubt WHERE seen_at < UTC_TIMESTAMP(3) - INTERVAL ? SECOND")
        .bind(unseen_for.max(STALE).num_seconds())
        .execute(connection)
        .await?;
    Ok(result.rows_affected())
}
