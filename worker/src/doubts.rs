//! Doubts about a source: this process puts what it found wrong to the fleet, and answers what others put.
//!
//! Owns the answers to `es_sync_doubt`. A name that is configured here is known; credentials that work here are good, so the
//! fault is the other process's. A name that no process has known for long enough ends the runs that wait for it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use hostsync_metrics::Metrics;
use hostsync_model::causes::causes;
use hostsync_model::execution::ClosingCause;
use hostsync_source::{RefusalKind, SearchError};
use hostsync_store::closing::close_execution;
use hostsync_store::database;
use hostsync_store::tables::doubts::{self, Doubt, DoubtKind, Subject};
use hostsync_store::tables::executions::{self, going::SourceName};
use tokio_util::sync::CancellationToken;

use crate::sources::SourceRegistry;

/// How often doubts are read: several times before one is believed.
const REFRESH: Duration = Duration::from_secs(3);

/// Longest wait for the database, which may hang.
const LONGEST_STATEMENT: Duration = Duration::from_secs(10);

/// Pause between two tries of credentials that are in doubt.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// Pause after which one process says again that nobody knows a name, and tells the runs that wait for it.
const SAY_AGAIN: TimeDelta = TimeDelta::seconds(10);

/// Runs told or ended at once, the oldest; the others follow.
const RUNS: u32 = 1_000;

impl SourceRegistry {
    /// Puts what was found to the fleet; returns whether it is believed by now.
    pub(crate) async fn doubt(&self, subject: &Subject, reason: &str) -> Result<bool, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        doubts::raise(&mut connection, subject, &self.process, reason).await?;
        let standing = doubts::standing(&mut connection).await?;
        Ok(standing.iter().any(|doubt| doubt.subject == *subject && doubt.is_believed))
    }

    /// Answers the doubts of the fleet until told to stop.
    pub(crate) async fn answer_doubts(&self, stop: CancellationToken) {
        let mut looked = HashMap::new();
        while stop.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_some() {
            let Some(answered) = stop.run_until_cancelled(self.answer_standing(&mut looked)).await else { return };
            if let Err(error) = answered {
                tracing::debug!(error = %causes(&error), "cannot answer doubts: {}", causes(&error));
            }
        }
    }

    async fn answer_standing(&self, looked: &mut HashMap<Subject, Instant>) -> Result<(), sqlx::Error> {
        let standing =
            database::within(LONGEST_STATEMENT, async { doubts::standing(&mut *self.pool.acquire().await?).await })
                .await?;
        Metrics::global().doubts(DoubtKind::ALL.iter().map(|kind| {
            let of_kind = standing.iter().filter(|doubt| doubt.subject.kind == *kind).count();
            (kind.as_str().to_owned(), of_kind as u64)
        }));
        looked.retain(|subject, _| standing.iter().any(|doubt| doubt.subject == *subject));
        for doubt in &standing {
            let subject = &doubt.subject;
            match subject.kind {
                DoubtKind::Endpoint if self.endpoint(&subject.name).is_some() => self.know_better(subject).await?,
                DoubtKind::Mapping if self.mapping(&subject.name).is_some() => self.know_better(subject).await?,
                DoubtKind::Endpoint | DoubtKind::Mapping => {
                    let answering = self.report_unknown_name(doubt);
                    database::within(LONGEST_STATEMENT, answering).await?;
                }
                // Once believed, each process tries once: a new one may have better credentials. No more than that, since
                // many refusals may lock the account.
                DoubtKind::Credentials => {
                    let pause_is_over = |at: &Instant| !doubt.is_believed && at.elapsed() >= LOOK_PAUSE;
                    if looked.get(subject).is_none_or(pause_is_over) {
                        looked.insert(subject.clone(), Instant::now());
                        self.try_credentials(subject).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn know_better(&self, subject: &Subject) -> Result<(), sqlx::Error> {
        let kind = subject.kind.as_str();
        tracing::info!(kind, name = subject.name, "this process refutes a doubt about {kind} \"{}\"", subject.name);
        database::within(LONGEST_STATEMENT, async { doubts::drop(&mut *self.pool.acquire().await?, subject).await })
            .await
    }

    /// A second look, with the credentials of this process.
    async fn try_credentials(&self, subject: &Subject) -> Result<(), sqlx::Error> {
        let Some(endpoint) = self.endpoint(&subject.name) else { return Ok(()) };
        match endpoint.look(&subject.index_pattern).await {
            Err(SearchError::Refused { reason, kind: RefusalKind::Credentials }) => {
                database::within(LONGEST_STATEMENT, async {
                    doubts::raise(&mut *self.pool.acquire().await?, subject, &self.process, &reason).await
                })
                .await
            }
            Err(SearchError::Outage { .. } | SearchError::TimedOut { .. }) => Ok(()),
            Ok(()) | Err(_) => self.know_better(subject).await,
        }
    }

    /// One process of those that do not know a name either tells the runs that wait for it, or ends them.
    async fn report_unknown_name(&self, doubt: &Doubt) -> Result<(), sqlx::Error> {
        let subject = &doubt.subject;
        let mut connection = self.pool.acquire().await?;
        if !doubts::say_again(&mut connection, subject, SAY_AGAIN).await? {
            return Ok(());
        }
        let names = match subject.kind {
            DoubtKind::Mapping => SourceName::Mapping(&subject.name),
            DoubtKind::Endpoint | DoubtKind::Credentials => SourceName::Endpoint(&subject.name),
        };
        let runs = executions::going::by(&mut connection, names, RUNS).await?;
        if !doubt.is_believed {
            if runs.is_empty() {
                return doubts::drop(&mut connection, subject).await;
            }
            return executions::remarks::set_waiting_for(&mut connection, runs, &waiting_for(&doubt.reason)).await;
        }
        let reason = format!("in {} minutes no worker knew better: {}", doubts::NAME.num_minutes(), doubt.reason);
        for run in runs {
            if close_execution(&self.pool, run, ClosingCause::Refused, &reason).await? {
                tracing::warn!(execution_id = %run, reason, "execution {run} fails: {reason}");
            }
        }
        doubts::drop(&mut connection, subject).await
    }
}

/// The `waiting_for` of a run.
pub(crate) fn waiting_for(reason: &str) -> String {
    format!("a worker that knows better: {reason}")
}
