//! The way to the fleet's row and back: tells what was answered, takes this process's share.
//!
//! A process that does not search sends nothing. One that cannot reach the database keeps what it may.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hostsync_metrics::Metrics;
use hostsync_metrics::loops::Turns;
use hostsync_model::causes::causes;
use hostsync_store::database;
use hostsync_store::tables::search_limit::{self, SearchLimit, SearchShare, SearcherId};
use sqlx::MySqlPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::allowance::{learn, whole};
use super::gate::{EndpointGate, SearchGates};
use super::report::PeriodReport;
use super::shares::{OwnShare, own_share, wanted, with_own};

/// How often a process that searches tells and asks.
const EVERY: Duration = Duration::from_secs(1);

/// The same while searches pass from one worker to another.
const EVERY_WHILE_CHANGING: Duration = Duration::from_millis(250);

/// Longest wait for the database, which may hang.
const LONGEST_STATEMENT: Duration = Duration::from_secs(5);

/// What a process says, and what it has under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnDemand {
    pub(super) worker: SearcherId,
    pub(super) wanted: u32,
    pub(super) in_flight: u32,
}

/// Learns from a report and takes a share, by the rows as they stand. Returns the row to be written for this process.
pub(super) fn settle(
    limit: &mut SearchLimit,
    shares: &[SearchShare],
    demand: OwnDemand,
    report: &PeriodReport,
    now: DateTime<Utc>,
) -> (OwnShare, SearchShare) {
    let row = SearchShare { worker: demand.worker, wanted: demand.wanted, granted: demand.in_flight };
    let shares = with_own(shares, row);
    learn(limit, report, wanted(&shares), now);
    let own = own_share(&shares, demand.worker, demand.in_flight, whole(limit.searches.allowed), now);
    (own, SearchShare { granted: own.granted, ..row })
}

/// Tells and asks for each endpoint that this process searches, until it stops and the last search has ended.
pub(crate) async fn keep_up(gates: &SearchGates, pool: &MySqlPool, turns: Turns, stopping: Stopping) {
    let worker = SearcherId::new(rand::random());
    while !stopping.is_over(gates) {
        turns.turned();
        for gate in gates.all() {
            if is_due(&gate) {
                tell(&gate, pool, worker).await;
            }
        }
        say(gates);
        let next = gates.all().iter().filter_map(|gate| next_of(gate)).min();
        let pause = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = gates.wake.notified() => {}
            () = turns.waiting_for(pause) => {}
            () = stopping.begins.cancelled(), if !stopping.begins.is_cancelled() => {}
            () = stopping.searches_end.cancelled() => {}
        }
    }
    for gate in gates.all() {
        // Nobody is left who would ask for more.
        gate.update(|state| state.permits = 1);
        drop_share(&gate, pool, worker).await;
    }
}

/// The end of a process that searches.
pub(crate) struct Stopping {
    /// Nothing new is taken.
    pub(crate) begins: CancellationToken,
    /// Searches are given up.
    pub(crate) searches_end: CancellationToken,
}

impl Stopping {
    fn is_over(&self, gates: &SearchGates) -> bool {
        let is_idle = || gates.all().iter().all(|gate| gate.lock().is_idle());
        self.searches_end.is_cancelled() || self.begins.is_cancelled() && is_idle()
    }
}

fn say(gates: &SearchGates) {
    let allowed = gates.all().into_iter().filter_map(|gate| {
        let (searches, hosts) = gate.lock().allowed()?;
        Some((gate.endpoint.clone(), searches, hosts))
    });
    Metrics::global().searches_allowed(allowed);
}

/// When to tell and ask next; `None`: when it searches again.
pub(super) fn next_of(gate: &EndpointGate) -> Option<Instant> {
    let state = gate.lock();
    (state.is_known || state.is_busy()).then(|| state.due.unwrap_or_else(Instant::now))
}

fn is_due(gate: &EndpointGate) -> bool {
    next_of(gate).is_some_and(|next| next <= Instant::now())
}

/// Tells and asks once.
async fn tell(gate: &Arc<EndpointGate>, pool: &MySqlPool, worker: SearcherId) {
    let (demand, report) = begin_period(gate, worker);
    if demand.wanted == 0 && report.is_empty() {
        return leave(gate, pool, worker).await;
    }
    match database::within(LONGEST_STATEMENT, exchange(pool, &gate.endpoint, demand, &report)).await {
        Ok((own, limit)) => {
            take(gate, own, &limit);
        }
        Err(error) => {
            tracing::debug!(endpoint = gate.endpoint, error = %causes(&error), "the searches of the fleet could not be shared");
            gate.update(|state| {
                state.permits = state.permits.max(1);
                state.report.merge(report);
                state.due = Some(Instant::now() + EVERY);
            });
        }
    }
}

/// What is to be told; the next time is a period later.
pub(super) fn begin_period(gate: &EndpointGate, worker: SearcherId) -> (OwnDemand, PeriodReport) {
    let mut state = gate.lock();
    let (wanted, report) = state.take_period();
    state.due = Some(Instant::now() + EVERY);
    (OwnDemand { worker, wanted, in_flight: state.in_flight }, report)
}

/// Lets as many search as the share says.
pub(super) fn take(gate: &EndpointGate, own: OwnShare, limit: &SearchLimit) {
    gate.update(|state| {
        state.allow(own.permits, whole(limit.searches.allowed), whole(limit.hosts.allowed));
        state.is_known = true;
        if own.is_changing && state.due.is_some() {
            state.due = Some(Instant::now() + EVERY_WHILE_CHANGING);
        }
    });
}

/// Does not search for now.
async fn leave(gate: &EndpointGate, pool: &MySqlPool, worker: SearcherId) {
    let is_idle = gate.update(|state| {
        if state.is_idle() {
            state.permits = 0;
        } else {
            // Meanwhile it does.
            state.due = None;
        }
        state.is_idle()
    });
    if is_idle {
        drop_share(gate, pool, worker).await;
    }
}

/// A row that cannot be deleted is soon counted no more.
async fn drop_share(gate: &EndpointGate, pool: &MySqlPool, worker: SearcherId) {
    if !gate.update(|state| std::mem::replace(&mut state.is_known, false)) {
        return;
    }
    let dropped = database::within(LONGEST_STATEMENT, async {
        search_limit::drop_share(&mut *pool.acquire().await?, &gate.endpoint, worker).await
    });
    if let Err(error) = dropped.await {
        tracing::debug!(endpoint = gate.endpoint, error = %causes(&error), "a share of the searches was not given back");
    }
}

async fn exchange(
    pool: &MySqlPool,
    endpoint: &str,
    demand: OwnDemand,
    report: &PeriodReport,
) -> Result<(OwnShare, SearchLimit), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let locked = search_limit::lock(&mut transaction, endpoint, f64::from(report.most_hosts)).await?;
    let mut limit = locked.limit;
    let (own, row) = settle(&mut limit, &locked.shares, demand, report, locked.now);
    search_limit::save(&mut transaction, endpoint, &limit).await?;
    search_limit::put_share(&mut transaction, endpoint, row, locked.now).await?;
    transaction.commit().await?;
    Ok((own, limit))
}

#[cfg(test)]
mod tests {
    use hostsync_metrics::loops::{LIMIT, Loops};
    use hostsync_model::execution::JobQueue;

    use super::super::baselines::SearchKind;
    use super::super::report::SearchSign;
    use super::*;

    #[tokio::test]
    async fn a_worker_that_cannot_reach_the_database_searches_one_by_one_and_stops_in_time() {
        let pool = database::connect_lazy("mysql://nobody@127.0.0.1:1/nowhere", 2).expect("a pool");
        let gates = Arc::new(SearchGates::new(500));
        let gate = gates.of("default");
        let (begins, searches_end) = (CancellationToken::new(), CancellationToken::new());
        let stopping = Stopping { begins: begins.clone(), searches_end };
        let (shared, turns) = (Arc::clone(&gates), Loops::default().begin("search limit", LIMIT));
        let sharing = tokio::spawn(async move { keep_up(&shared, &pool, turns, stopping).await });
        let turn = gate.turn(JobQueue::Bulk).await;
        let second = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.turn(JobQueue::Bulk).await }
        });
        gate.remember(SearchKind::numbered(1), SearchSign::Refused, 500, true, Duration::from_millis(5));
        tokio::time::sleep(EVERY).await;
        assert!(!second.is_finished(), "one at once");
        drop(turn);
        begins.cancel();
        assert!(!sharing.is_finished(), "one is still under way");
        drop(second.await.expect("a turn"));
        sharing.await.expect("a quiet end");
    }
}
