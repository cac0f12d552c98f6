//! Publishes the jobs of a run in order of their rows, moving the watermark over what is confirmed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Outbox, OutboxError, Turn, TurnEnd};
use crate::tables::details::{self, outbox::PublishableDetail};
use crate::tables::executions::{
    self,
    lease::{LeaseToken, Progress},
};
use hostsync_metrics::spans;
use hostsync_metrics::{Metrics, PublishOutcome};
use hostsync_model::execution::{ExecutionId, JobQueue};
use hostsync_queue::{Job, OutgoingJob};

/// Jobs between two moves of the watermark.
const CHUNK_JOBS: u32 = 2_000;

impl Outbox {
    /// Publishes from the watermark to the last row. Rows that have an outcome or a clock are passed over.
    pub(super) async fn publish(
        &self,
        progress: Progress,
        token: LeaseToken,
        turn: &mut Turn,
    ) -> Result<TurnEnd, OutboxError> {
        let headers = spans::current_trace_headers();
        let window_to = self.window_end(progress.id).await?;
        let mut watermark = progress.published_watermark;
        while watermark < progress.last_detail_id {
            if self.stop.is_cancelled() {
                return Ok(TurnEnd::Stopped);
            }
            if !turn.goes_on() {
                return Ok(TurnEnd::TurnOver);
            }
            let rows = {
                let mut connection = self.pool.acquire().await?;
                if executions::backlog::is_held_back(&mut connection, progress.id).await? {
                    return Ok(TurnEnd::EndpointClosed);
                }
                details::outbox::publishable(
                    &mut connection,
                    progress.id,
                    watermark,
                    progress.last_detail_id,
                    CHUNK_JOBS,
                )
                .await?
            };
            let is_last = rows.len() < CHUNK_JOBS as usize;
            let published = self.publish_rows(progress.id, window_to, progress.queue, &rows, &headers).await;
            let confirmed_up_to = match published.confirmed {
                n if n == rows.len() && is_last => progress.last_detail_id,
                0 => watermark,
                n => rows[n - 1].id.0,
            };
            if confirmed_up_to > watermark {
                let mut connection = self.pool.acquire().await?;
                if !executions::lease::move_watermark(&mut connection, progress.id, token, watermark, confirmed_up_to)
                    .await?
                {
                    return Ok(TurnEnd::Replaced);
                }
                watermark = confirmed_up_to;
            }
            if let Some((outcome, reason)) = published.error {
                return Err(OutboxError::Publish { outcome, reason });
            }
        }
        Ok(TurnEnd::Done)
    }

    /// The end of a run's window, by which its jobs prove whose they are.
    pub(super) async fn window_end(&self, id: ExecutionId) -> Result<Option<DateTime<Utc>>, OutboxError> {
        Ok(executions::creation::window_end(&mut *self.pool.acquire().await?, id).await?)
    }

    /// Publishes the jobs of some rows of one run.
    pub(super) async fn publish_rows(
        &self,
        execution_id: ExecutionId,
        window_to: Option<DateTime<Utc>>,
        queue: JobQueue,
        rows: &[PublishableDetail],
        headers: &BTreeMap<String, String>,
    ) -> PublishTally {
        let jobs: Vec<OutgoingJob> = rows
            .iter()
            .map(|row| {
                let (host_ip, attempt) = (row.host_ip.clone(), row.attempts + 1);
                OutgoingJob { queue, job: Job { execution_id, detail_id: row.id, host_ip, attempt, window_to } }
            })
            .collect();
        let report = self.publisher.publish(&jobs, headers).await;
        let confirmed = report.confirmed.iter().filter(|confirmed| **confirmed).count() as u64;
        Metrics::global().jobs_published(queue, PublishOutcome::Confirmed, confirmed);
        if let Some((outcome, _)) = &report.error {
            Metrics::global().jobs_published(queue, *outcome, rows.len() as u64 - confirmed);
        }
        PublishTally { confirmed: report.confirmed_prefix(), error: report.error }
    }
}

/// What became of a stretch of rows.
pub(super) struct PublishTally {
    /// Length of the contiguous confirmed prefix.
    pub(super) confirmed: usize,
    /// The first fault.
    pub(super) error: Option<(PublishOutcome, String)>,
}
