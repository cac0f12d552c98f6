//! Publishes jobs whose clock has run out.

use super::{Outbox, OutboxError};
use crate::tables::details;
use crate::tables::executions::backlog::DueRun;
use hostsync_metrics::spans;
use hostsync_model::execution::DetailId;

/// Retries of one run published in one go, which paces the return after an outage.
const RETRY_CHUNK: u32 = 2_000;

/// When a retry that the broker did not take is due again, at the latest.
const UNPUBLISHED_DELAY_MS: u64 = 5_000;

impl Outbox {
    /// Clears the clock of due rows, commits, publishes. A crash in between leaves rows without a clock that nobody
    /// published: Repair finds them. Returns how many were published.
    ///
    /// # Errors
    ///
    /// The database or the broker failed; what was not confirmed has its clock again.
    pub async fn publish_due(&self, run: &DueRun) -> Result<usize, OutboxError> {
        // Before a clock is cleared: what fails here leaves the rows as they are, and not to Repair.
        let queue = *run.queue.known("queue")?;
        let window_to = self.window_end(run.id).await?;
        let mut transaction = self.pool.begin().await?;
        let due = details::clock::lock_due(&mut transaction, run.id, RETRY_CHUNK).await?;
        if due.is_empty() {
            transaction.rollback().await?;
            return Ok(0);
        }
        let ids: Vec<DetailId> = due.iter().map(|row| row.id).collect();
        details::clock::clear_clock(&mut transaction, &ids).await?;
        transaction.commit().await?;

        let headers = run.trace_context.as_deref().map(spans::trace_headers).unwrap_or_default();
        let published = self.publish_rows(run.id, window_to, queue, &due, &headers).await;
        if published.confirmed < ids.len() {
            let mut connection = self.pool.acquire().await?;
            details::clock::set_clock_again(&mut connection, &ids[published.confirmed..], UNPUBLISHED_DELAY_MS).await?;
        }
        match published.error {
            Some((outcome, reason)) => Err(OutboxError::Publish { outcome, reason }),
            None => Ok(due.len()),
        }
    }
}
