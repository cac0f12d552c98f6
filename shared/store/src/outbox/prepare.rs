//! Makes the detail rows of a run, chunk by chunk: from the pool, or from the run that is retried.
//!
//! Owns what becomes of a row that makes no host: it holds up nobody, and is told in the run's warnings.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::MySqlConnection;

use super::{Outbox, OutboxError, Turn, TurnEnd};
use crate::closing::close_execution;
use crate::fault::{self, Fault, StatementRefusal};
use crate::tables::ROWS_PER_STATEMENT;
use crate::tables::details::{
    self,
    outbox::{NewDetail, UnsuccessfulDetail},
};
use crate::tables::executions::{
    self,
    lease::{LeaseToken, Progress},
};
use crate::tables::hosts_pool::{self, PoolRow};
use hostsync_model::execution::{ClosingCause, ExecutionId};
use hostsync_model::host::{HostIp, address_key, visible};

/// Rows in one chunk, and so in one transaction.
const CHUNK_ROWS: u32 = 5_000;

/// Longest address of a host, in characters: the width of its column.
const MAX_HOST_CHARS: usize = 50;

/// Rows that are named of each kind that makes no host; the others are counted.
const MOST_EXAMPLES: usize = 3;

/// Rows of a run that the database may refuse to store before the run fails: then it is no matter of a few rows.
const MOST_REFUSED: u64 = 100;

/// What one chunk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkEnd {
    /// The cursor stands here now, and there may be more.
    UpTo(u64),
    /// All rows stand, the totals are set: the hosts of the run.
    Whole(u32),
    /// Another holds the run: roll back.
    Replaced,
}

/// Why a chunk was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The database's; nothing was stored.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The database refuses row after row.
    #[error("the database refuses to store the hosts of the run: {0}")]
    Refused(String),
}

impl Outbox {
    /// Prepares the run from where its cursor stands. Each chunk moves the cursor in its own transaction, so that another
    /// process can go on at any point.
    pub(super) async fn prepare(
        &self,
        progress: &Progress,
        token: LeaseToken,
        turn: &mut Turn,
    ) -> Result<TurnEnd, OutboxError> {
        let id = progress.id;
        let mut cursor = progress.prepare_cursor;
        loop {
            if self.stop.is_cancelled() {
                return Ok(TurnEnd::Stopped);
            }
            if !turn.goes_on() {
                return Ok(TurnEnd::TurnOver);
            }
            let mut transaction = self.pool.begin().await?;
            match prepare_chunk(&mut transaction, id, progress.retry_of, token, cursor).await {
                Ok(ChunkEnd::UpTo(end)) => {
                    transaction.commit().await?;
                    cursor = end;
                }
                Ok(ChunkEnd::Whole(total)) => {
                    transaction.commit().await?;
                    tracing::info!(execution_id = %id, total_hosts = total, "execution {id} prepared over {total} hosts");
                    return Ok(TurnEnd::Done);
                }
                Ok(ChunkEnd::Replaced) => {
                    transaction.rollback().await?;
                    return Ok(TurnEnd::Replaced);
                }
                Err(PrepareError::Database(error)) => return Err(error.into()),
                Err(error @ PrepareError::Refused(_)) => {
                    transaction.rollback().await?;
                    tracing::error!(execution_id = %id, "execution {id} fails: {error}");
                    close_execution(&self.pool, id, ClosingCause::Refused, &error.to_string()).await?;
                    return Ok(TurnEnd::Replaced);
                }
            }
        }
    }
}

/// Stores the rows of the next chunk after `cursor`, and with the last one the totals, in the caller's transaction.
///
/// # Errors
///
/// [`PrepareError`]: roll back.
pub async fn prepare_chunk(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    retry_of: Option<ExecutionId>,
    token: LeaseToken,
    cursor: u64,
) -> Result<ChunkEnd, PrepareError> {
    let rows = match retry_of {
        None => hosts_pool::rows_after(connection, cursor, CHUNK_ROWS).await?,
        Some(of) => {
            let rows = details::outbox::unsuccessful(connection, of, cursor, CHUNK_ROWS).await?;
            rows.into_iter().map(PoolRow::from).collect()
        }
    };
    let stored = executions::lease::prepare_notes(connection, id).await?;
    let before: Notes = stored.and_then(|stored| serde_json::from_str(&stored).ok()).unwrap_or_default();
    let mut notes = before.clone();
    let hosts = hosts_of(&rows, &mut notes);
    store(connection, id, hosts, &mut notes).await?;
    if notes != before {
        let text = serde_json::to_string(&notes).unwrap_or_default();
        executions::lease::set_prepare_notes(connection, id, &text).await?;
    }
    if let Some(last) = rows.last()
        && !executions::lease::move_prepare_cursor(connection, id, token, cursor, last.id).await?
    {
        return Ok(ChunkEnd::Replaced);
    }
    if rows.len() == CHUNK_ROWS as usize {
        return Ok(ChunkEnd::UpTo(rows.last().map_or(cursor, |last| last.id)));
    }
    let (total, last_detail_id) = details::outbox::totals(connection, id).await?;
    if !executions::lease::finish_preparing(connection, id, token, total, last_detail_id).await? {
        return Ok(ChunkEnd::Replaced);
    }
    executions::remarks::add_warnings(connection, id, notes.warnings()).await?;
    Ok(ChunkEnd::Whole(total))
}

impl From<UnsuccessfulDetail> for PoolRow {
    fn from(row: UnsuccessfulDetail) -> Self {
        Self { id: row.id, host_ip: Some(row.host_ip), host_name: row.host_name }
    }
}

/// The hosts that rows name, each once by its value. What is text but no address stays: it fails as a host, with its reason.
fn hosts_of(rows: &[PoolRow], notes: &mut Notes) -> Vec<NewDetail> {
    let mut seen = HashSet::with_capacity(rows.len());
    let mut hosts = Vec::with_capacity(rows.len());
    for row in rows {
        let text = row.host_ip.as_deref().unwrap_or_default();
        let host_ip = visible(text);
        if let Some(reason) = unreadable(host_ip) {
            notes.unreadable.add(|| format!("id {} ({reason})", row.id));
            continue;
        }
        let host_ip = host_ip.parse::<HostIp>().map_or_else(|_| host_ip.to_owned(), |address| address.to_string());
        if seen.insert(address_key(&host_ip)) {
            hosts.push(NewDetail { host_ip, host_name: row.host_name.clone() });
        } else {
            notes.repeated.add(|| host_ip);
        }
    }
    hosts
}

/// Why a text cannot even stand as a host that fails.
fn unreadable(host_ip: &str) -> Option<String> {
    let length = host_ip.chars().count();
    if length == 0 {
        Some("host_ip is empty".to_owned())
    } else if length > MAX_HOST_CHARS {
        Some(format!("host_ip is longer than {MAX_HOST_CHARS} characters"))
    } else if !host_ip.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Some("host_ip holds characters that no address has".to_owned())
    } else {
        None
    }
}

/// Inserts rows. Those that stand already are left, and those that the database refuses are found by halves and left out.
async fn store(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    hosts: Vec<NewDetail>,
    notes: &mut Notes,
) -> Result<(), PrepareError> {
    let mut parts: Vec<Vec<NewDetail>> = hosts.chunks(ROWS_PER_STATEMENT).rev().map(<[_]>::to_vec).collect();
    while let Some(mut part) = parts.pop() {
        let Err(error) = details::outbox::insert_pending(connection, id, &part).await else { continue };
        let Fault::Refused(refused @ (StatementRefusal::Duplicate | StatementRefusal::Statement)) = Fault::of(&error)
        else {
            return Err(error.into());
        };
        if refused == StatementRefusal::Duplicate {
            let standing = details::outbox::standing(connection, id, &part).await?;
            let (repeated, new): (Vec<_>, Vec<_>) =
                part.into_iter().partition(|host| standing.contains(&address_key(&host.host_ip)));
            for host in &repeated {
                notes.repeated.add(|| host.host_ip.clone());
            }
            part = new;
            if !repeated.is_empty() {
                parts.extend(Some(part).filter(|part| !part.is_empty()));
                continue;
            }
        }
        if part.len() > 1 {
            let second = part.split_off(part.len() / 2);
            parts.extend([second, part]);
            continue;
        }
        let told = fault::sentence(&error);
        for host in part {
            notes.refused.add(|| format!("{}: {told}", host.host_ip));
        }
        if notes.refused.count > MOST_REFUSED {
            return Err(PrepareError::Refused(told));
        }
    }
    Ok(())
}

/// What was seen of rows that make no host of their own, in the whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    unreadable: Noted,
    repeated: Noted,
    refused: Noted,
}

/// Rows of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    count: u64,
    /// At most [`MOST_EXAMPLES`].
    examples: Vec<String>,
}

impl Noted {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < MOST_EXAMPLES {
            self.examples.push(example());
        }
    }

    fn warning(&self, what: &str) -> Option<String> {
        let more = if self.count > self.examples.len() as u64 { ", …" } else { "" };
        (self.count > 0).then(|| format!("{what} ({}): {}{more}", self.count, self.examples.join(", ")))
    }
}

impl Notes {
    fn warnings(&self) -> impl Iterator<Item = String> {
        [
            self.unreadable.warning("rows of hosts_pool that cannot be read were left out"),
            self.repeated.warning("rows of hosts_pool repeat an address in another spelling; each address is one host"),
            self.refused.warning("hosts that the database refused to store were left out"),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, host_ip: Option<&str>) -> PoolRow {
        PoolRow { id, host_ip: host_ip.map(str::to_owned), host_name: None }
    }

    #[test]
    fn a_row_of_the_pool_that_cannot_be_read_is_told_and_the_others_run() {
        let long = "x".repeat(70);
        let rows = [
            row(1, Some("10.0.0.1")),
            row(2, None),
            row(3, Some("  ")),
            row(4, Some(&long)),
            row(5, Some("数据库")),
            row(6, Some("Web-1")),
            row(7, Some("2001:DB8:66::A")),
            row(8, Some("2001:0db8:66::000a")),
            row(9, Some("::ffff:10.0.0.1")),
            row(10, Some("10.0.0.2\r")),
        ];
        let mut notes = Notes::default();
        let hosts: Vec<String> = hosts_of(&rows, &mut notes).into_iter().map(|host| host.host_ip).collect();
        assert_eq!(hosts, ["10.0.0.1", "Web-1", "2001:db8:66::a", "10.0.0.2"]);
        assert_eq!(
            notes.warnings().collect::<Vec<_>>(),
            [
                "rows of hosts_pool that cannot be read were left out (4): id 2 (host_ip is empty), id 3 (host_ip is \
                 empty), id 4 (host_ip is longer than 50 characters), …",
                "rows of hosts_pool repeat an address in another spelling; each address is one host (2): \
                 2001:db8:66::a, 10.0.0.1",
            ]
        );
        assert_eq!(Notes::default().warnings().count(), 0);
    }
}
