//! Taking a host out of freshness for a time. It is still synced.
//!
//! Owns how long that may be. Knows no transport.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_model::audit::{Actor, AuditAction, AuditObject};
use hostsync_model::host::address_key;
use hostsync_store::database;
use hostsync_store::tables::audit::AuditEntry;
use hostsync_store::tables::host_mutes::{self, HostMute};
use hostsync_store::tables::hosts_pool;

use super::spellings;
use crate::database::{Database, transact};
use crate::error::ApiError;
use crate::request::{Problems, Submitted, Timestamp, request, text_field};

/// Longest mute.
const LONGEST: TimeDelta = TimeDelta::days(366);

/// Longest note, in characters: the width of its column.
const MAX_NOTE_CHARS: usize = 500;

text_field! {
    /// Why.
    MuteNote, max MAX_NOTE_CHARS, default "", example "is being rebuilt"
}

request! {
    /// Until when a host is muted, and why.
    pub(crate) struct MuteHost as "MuteHost" {
        /// It is muted until then, at most 366 days from now; a time that has passed ends the mute.
        until: DateTime<Utc>, example "2026-01-08T00:00:00Z";
        note: Option<MuteNote>;
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Muted {
    pub(crate) message: String,
    /// `None`: the host is not muted.
    pub(crate) until: Option<DateTime<Utc>>,
}

/// Mutes a host of the pool, or ends that.
///
/// # Errors
///
/// Bad fields, a host that the pool does not have, the database.
pub(crate) async fn mute(
    database: &Database,
    actor: &Actor,
    host_ip: &str,
    submitted: Submitted<MuteHost>,
) -> Result<Muted, ApiError> {
    let Submitted { value: MuteHost { until, note }, mut problems, said } = submitted;
    if let Err(bad) = spellings(host_ip) {
        problems.append(bad);
    }
    problems.check()?;
    let entry = AuditEntry { actor: actor.clone(), action: AuditAction::MuteHost, what: said.json() };
    let note = note.map(String::from).unwrap_or_default();
    transact(|| mute_once(database, &entry, host_ip, until, note.clone())).await
}

async fn mute_once(
    database: &Database,
    entry: &AuditEntry,
    host_ip: &str,
    until: DateTime<Utc>,
    note: String,
) -> Result<Muted, ApiError> {
    let mut transaction = database.begin(entry).await?;
    let now = database::now(&mut transaction).await?;
    if until > now + LONGEST {
        let problem = format!("must be at most {} days from now", LONGEST.num_days());
        return Err(Problems::of("until", problem).into());
    }
    let host = hosts_pool::find(&mut transaction, host_ip).await?;
    let host = host.ok_or_else(|| ApiError::HostNotFound(host_ip.to_owned()))?;
    let host_ip = address_key(&host.host_ip);
    let mute = HostMute { host_ip: host_ip.clone(), pool_id: host.id, until, note, who: transaction.who() };
    host_mutes::set(&mut transaction, &mute).await?;
    let until = Some(until).filter(|until| *until > now);
    let message = until.map_or_else(
        || format!("host {host_ip} is not muted"),
        |until| format!("host {host_ip} is muted until {}", Timestamp(until)),
    );
    transaction.commit(AuditObject::host(&host_ip), &message).await?;
    tracing::info!(host_ip, "{message}");
    Ok(Muted { message, until })
}
