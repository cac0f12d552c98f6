//! The way of dead letters: out of the broker into their table, and as jobs back onto their queue.
//!
//! Owns the order: a letter is acked once its row is committed, a row deleted once the broker has confirmed its job. Whoever
//! dies in between leaves a letter or a job twice, never none.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hostsync_queue::{DeadLetter, DeadLetters, Job, OutgoingJob, Publisher, QueueError};
use sqlx::{Connection as _, MySqlConnection, MySqlPool};

use crate::fault::Fault;
use crate::tables::dead_letters::{self, LetterFilter, LetterRow, MAX_BODY_BYTES, MAX_LETTERS, NewLetter};

/// Most letters in hand at once.
pub const CHUNK_LETTERS: usize = 100;

/// Bytes of letters in hand at which no more are taken: at most so many and one message are in memory.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Rows that are deleted at once beyond those that are kept.
const TRIM_ROWS: u32 = 1_000;

/// Jobs that are put back before their rows are deleted.
const REQUEUE_ROWS: usize = 500;

/// How often a transaction is run again that the database breaks off in favour of another.
const CONFLICTS: u32 = 3;

/// Largest trace context that is kept, in bytes; a larger one is somebody else's.
const MAX_TRACE_BYTES: usize = 4_096;

/// Why letters were not moved. They are still the broker's.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The broker's.
    #[error("the broker failed")]
    Broker(#[from] QueueError),
    /// The database's.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// What a chunk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MovedLetters {
    /// Taken from the broker.
    pub taken: usize,
    /// Of these, those that were stored; the others stood there already.
    pub stored: usize,
    /// Old ones that went for them.
    pub trimmed: u64,
}

/// Moves one chunk of letters into the table. `taken` of 0: the queue is empty.
///
/// # Errors
///
/// The broker's, the database's: what was not acked comes back to the queue when `letters` is closed.
pub async fn move_chunk(pool: &MySqlPool, letters: &DeadLetters) -> Result<MovedLetters, MoveError> {
    // First: while the database is away nothing is taken, since a broker counts how often a message was.
    let mut connection = pool.acquire().await?;
    let mut in_hand = Vec::new();
    let mut bytes = 0;
    while in_hand.len() < CHUNK_LETTERS
        && bytes < CHUNK_BYTES
        && let Some(letter) = letters.take().await?
    {
        bytes += letter.body.len();
        in_hand.push(letter);
    }
    if in_hand.is_empty() {
        return Ok(MovedLetters::default());
    }
    let mut stored = store(&mut connection, &in_hand).await;
    for _ in 0..CONFLICTS {
        if !stored.as_ref().is_err_and(|error| Fault::of(error) == Fault::Conflict) {
            break;
        }
        stored = store(&mut connection, &in_hand).await;
    }
    let stored = match stored {
        Ok(stored) => stored,
        Err(error) => {
            for letter in &in_hand {
                letters.keep(letter).await?;
            }
            return Err(error.into());
        }
    };
    for letter in &in_hand {
        letters.drop(letter).await?;
    }
    let mut moved = MovedLetters { taken: in_hand.len(), stored, trimmed: 0 };
    loop {
        let trimmed = dead_letters::trim(&mut connection, MAX_LETTERS, TRIM_ROWS).await?;
        moved.trimmed += trimmed;
        if trimmed < u64::from(TRIM_ROWS) {
            return Ok(moved);
        }
    }
}

async fn store(connection: &mut MySqlConnection, letters: &[DeadLetter]) -> Result<usize, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut stored = 0;
    for letter in letters {
        stored += usize::from(dead_letters::insert(&mut transaction, &row_of(letter)).await?);
    }
    transaction.commit().await?;
    Ok(stored)
}

fn row_of(letter: &DeadLetter) -> NewLetter {
    let job = letter.job.as_ref().ok();
    let trace = serde_json::to_string(&letter.trace).ok();
    NewLetter {
        key: letter.identity,
        body: letter.body.get(..MAX_BODY_BYTES).unwrap_or(&letter.body).to_vec(),
        body_bytes: u64::try_from(letter.body.len()).unwrap_or(u64::MAX),
        is_job: job.is_some(),
        reason: letter.reason.clone(),
        execution_id: job.map(|job| job.execution_id.0),
        detail_id: job.map(|job| job.detail_id.0),
        host_ip: job.map(|job| job.host_ip.clone()),
        queue: letter.queue,
        trace_context: trace.filter(|json| json.len() <= MAX_TRACE_BYTES && !letter.trace.is_empty()),
        dead_at: letter.dead_at.map(DateTime::<Utc>::from).filter(|at| at.timestamp() < MAX_SECONDS),
    }
}

/// 9999-12-31: the last day that a column holds.
const MAX_SECONDS: i64 = 253_402_214_400;

/// What became of letters that were to be put back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequeueReport {
    /// Their jobs are on the queue, their rows are gone.
    pub put_back: Vec<u64>,
    /// They are no jobs, or no job that this release reads.
    pub kept: Vec<u64>,
    /// Why the broker did not take the others, if it did not.
    pub refusal: Option<String>,
}

/// Puts the jobs of letters back onto the queues that they died in, and deletes each row once the broker has confirmed its
/// job. What another did meanwhile is left out. No transaction is open while jobs go out, so two at once publish a job twice,
/// which is as good as once.
///
/// # Errors
///
/// The database's; the rows of what was published last may still be there.
pub async fn requeue(
    connection: &mut MySqlConnection,
    publisher: &Publisher,
    ids: &[u64],
) -> Result<RequeueReport, sqlx::Error> {
    let mut report = RequeueReport::default();
    for chunk in ids.chunks(REQUEUE_ROWS) {
        let filter = LetterFilter { ids: Some(chunk.to_vec()), ..LetterFilter::default() };
        let limit = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let rows = dead_letters::oldest(connection, &filter, limit).await?;
        // Those of one trace go together, and there may be one for each.
        let mut traces: BTreeMap<BTreeMap<String, String>, Vec<(u64, OutgoingJob)>> = BTreeMap::new();
        for row in &rows {
            match outgoing(row) {
                Some(job) => traces.entry(trace_of(row)).or_default().push((row.id, job)),
                None => report.kept.push(row.id),
            }
        }
        let mut confirmed = Vec::new();
        for (trace, jobs) in traces {
            let outgoing: Vec<OutgoingJob> = jobs.iter().map(|(_, job)| job.clone()).collect();
            let published = publisher.publish(&outgoing, &trace).await;
            let taken = jobs.iter().zip(&published.confirmed).filter(|(_, is_confirmed)| **is_confirmed);
            confirmed.extend(taken.map(|((id, _), _)| *id));
            if let Some((_, reason)) = published.error {
                report.refusal = Some(reason);
                break;
            }
        }
        dead_letters::delete(connection, &confirmed).await?;
        report.put_back.append(&mut confirmed);
        if report.refusal.is_some() {
            break;
        }
    }
    Ok(report)
}

fn outgoing(row: &LetterRow) -> Option<OutgoingJob> {
    let job = Job::decode(&row.body).ok().filter(|_| row.is_job)?;
    Some(OutgoingJob { job, queue: *row.queue.known("queue").ok()? })
}

fn trace_of(row: &LetterRow) -> BTreeMap<String, String> {
    row.trace_context.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}
