//! The outbox: prepares the detail rows of a run and publishes their jobs.
//!
//! Used by whoever creates a run (scheduler, API) and by the schedulers' sweep for what a dead process left: the same
//! code. Everything here runs under the run's lease; a holder that finds itself replaced stops without a word to the
//! database. No transaction is open while the broker is spoken to.

mod prepare;
mod publish;
mod retry;

pub use prepare::{ChunkEnd, PrepareError, prepare_chunk};

use std::time::Duration;

use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::fault::{self, Fault, StatementRefusal};
use crate::tables::executions::{
    self,
    lease::{LeaseToken, Progress},
};
use hostsync_metrics::PublishOutcome;
use hostsync_metrics::spans;
use hostsync_model::causes::causes;
use hostsync_model::execution::ExecutionId;
use hostsync_queue::Publisher;

/// How often a lease is renewed; a third of its length, so that two renewals may fail.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// Renewals that may fail in a row before the lease counts as lost.
const RENEWALS_BEFORE_LOST: u32 = 3;

/// How a stretch of work on a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnEnd {
    /// Prepared and published to the end, or ended meanwhile.
    Done,
    /// Another process holds the run now, or it is closing.
    Replaced,
    /// Its endpoint is closed: published when that opens.
    EndpointClosed,
    /// There is more to do, and it is the turn of the other runs.
    TurnOver,
    /// This process stops; another goes on.
    Stopped,
}

/// How much of a run is done in one go, in chunks of hosts prepared or jobs published.
#[derive(Debug)]
struct Turn {
    chunks_left: u32,
}

impl Turn {
    /// Whether there is time for another chunk.
    fn goes_on(&mut self) -> bool {
        let goes_on = self.chunks_left > 0;
        self.chunks_left = self.chunks_left.saturating_sub(1);
        goes_on
    }
}

/// Why a stretch of work stopped early; a sweep goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database's.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The broker did not take a job.
    #[error("publishing stopped: {reason}")]
    Publish {
        /// What the broker said.
        outcome: PublishOutcome,
        /// For people.
        reason: String,
    },
}

impl OutboxError {
    /// Whether the same would happen to any other run: the broker or the database is away.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Database(error) => Fault::of(error).is_outage(),
            Self::Publish { outcome, .. } => *outcome == PublishOutcome::Failed,
        }
    }
}

/// Why a run waits whose statement the database refuses: it is tried again until the run's deadline, since a right or a
/// column may come back. `None`: the database is away, or busy with others.
fn refusal(error: &sqlx::Error) -> Option<String> {
    match Fault::of(error) {
        Fault::Refused(StatementRefusal::Duplicate | StatementRefusal::Right | StatementRefusal::Statement) => {
            Some(format!("the database refuses to prepare the run: {}", fault::sentence(error)))
        }
        Fault::Refused(StatementRefusal::Login) | Fault::ConnectionLost | Fault::ReadOnly | Fault::Conflict => None,
    }
}

/// Prepares and publishes runs.
#[derive(Clone)]
pub struct Outbox {
    pool: MySqlPool,
    publisher: Publisher,
    stop: CancellationToken,
    chunks_a_turn: u32,
}

impl Outbox {
    /// Over the process's database pool and publisher. When `stop` is cancelled, work on a run ends after the chunk that
    /// it is at.
    pub fn new(pool: MySqlPool, publisher: Publisher, stop: CancellationToken) -> Self {
        Self { pool, publisher, stop, chunks_a_turn: u32::MAX }
    }

    /// Does no more than so many chunks of a run in one go, so that the others have their turn.
    #[must_use]
    pub fn with_turns_of(self, chunks_a_turn: u32) -> Self {
        Self { chunks_a_turn, ..self }
    }

    /// Goes on with a run that this process holds by `token`: prepares what is unprepared, publishes what is
    /// unpublished, renewing the lease by a timer, and gives the lease back.
    ///
    /// # Errors
    ///
    /// The database or the broker failed. What was done stands; the lease has been given back where that was possible,
    /// else it runs out.
    pub async fn carry_on(&self, id: ExecutionId, token: LeaseToken) -> Result<TurnEnd, OutboxError> {
        match self.progress(id, token).await? {
            Some(progress) => self.carry_on_from(progress, token).await,
            None => Ok(TurnEnd::Replaced),
        }
    }

    async fn carry_on_from(&self, progress: Progress, token: LeaseToken) -> Result<TurnEnd, OutboxError> {
        let id = progress.id;
        let span = tracing::info_span!("publish_execution", execution_id = %id);
        if let Some(context) = &progress.trace_context {
            spans::set_parent(&span, &spans::trace_headers(context));
        }
        let work = async {
            tokio::select! {
                outcome = self.prepare_and_publish(progress, token) => outcome,
                lost = self.keep_lease(id, token) => lost,
            }
        };
        let outcome = work.instrument(span.clone()).await;
        if let Err(error) = &outcome {
            spans::set_failed(&span, causes(error).to_string());
        }
        drop(span);
        if !matches!(outcome, Ok(TurnEnd::Replaced)) {
            let mut connection = self.pool.acquire().await?;
            if let Err(OutboxError::Database(error)) = &outcome
                && let Some(refusal) = refusal(error)
            {
                executions::remarks::set_waiting_for(&mut connection, [id], &refusal).await?;
            }
            executions::lease::release(&mut connection, id, token).await?;
        }
        outcome
    }

    /// Claims a run that nobody holds and goes on with it.
    ///
    /// # Errors
    ///
    /// As [`Outbox::carry_on`].
    pub async fn claim_and_carry_on(&self, id: ExecutionId) -> Result<TurnEnd, OutboxError> {
        let token = LeaseToken::new();
        let mut transaction = self.pool.begin().await?;
        let claimed = executions::lease::claim(&mut transaction, id, token).await?;
        transaction.commit().await?;
        match claimed {
            Some(progress) => self.carry_on_from(progress, token).await,
            None => Ok(TurnEnd::Replaced),
        }
    }

    async fn progress(&self, id: ExecutionId, token: LeaseToken) -> Result<Option<Progress>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        executions::lease::progress(&mut connection, id, token).await
    }

    async fn prepare_and_publish(&self, progress: Progress, token: LeaseToken) -> Result<TurnEnd, OutboxError> {
        let id = progress.id;
        let mut turn = Turn { chunks_left: self.chunks_a_turn };
        let progress = if progress.prepared {
            progress
        } else {
            match self.prepare(&progress, token, &mut turn).await? {
                TurnEnd::Done => {}
                other => return Ok(other),
            }
            match self.progress(id, token).await? {
                Some(progress) => progress,
                // Without a single host the run has ended in being prepared.
                None => return Ok(TurnEnd::Done),
            }
        };
        self.publish(progress, token, &mut turn).await
    }

    /// Renews the lease until it is lost, or could not be renewed for as long as it holds: then somebody else may hold it,
    /// and whatever the work hangs in is given up. The guards of the statements, not this timer, keep two holders apart.
    async fn keep_lease(&self, id: ExecutionId, token: LeaseToken) -> Result<TurnEnd, OutboxError> {
        let mut failures = 0;
        while failures < RENEWALS_BEFORE_LOST {
            tokio::time::sleep(RENEW_EVERY).await;
            let renewed = async {
                let mut connection = self.pool.acquire().await?;
                executions::lease::renew(&mut connection, id, token).await
            };
            match tokio::time::timeout(RENEW_EVERY, renewed).await {
                Ok(Ok(true)) => failures = 0,
                Ok(Ok(false)) => return Ok(TurnEnd::Replaced),
                Ok(Err(_)) | Err(_) => {
                    failures += 1;
                    tracing::warn!(execution_id = %id, "the lease of execution {id} could not be renewed");
                }
            }
        }
        Ok(TurnEnd::Replaced)
    }
}
