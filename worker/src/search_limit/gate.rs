//! The turns of this process's searches: a search begins while fewer are under way than this process may have at once.
//!
//! Owns what is under way and who waits, by endpoint, and what was answered since that was last told. It knows no database:
//! `exchange` sets what is allowed. A wait ends when the endpoint is closed, the process stops, or after
//! [`LONGEST_WAIT`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostsync_model::execution::JobQueue;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::baselines::SearchKind;
use super::report::{PeriodReport, SearchSign};

/// Longest wait of a batch for all its turns. With the longest time for the searches of a batch it stays far below the 30 minutes after
/// which the broker takes back what is not acked.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// How often one who waits looks whether its endpoint was closed.
const LOOK: Duration = Duration::from_secs(1);

/// First and longest pause of a search that the source refused, before it asks for another turn.
const REFUSAL_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Refusals in a row after which the source is left alone, whatever the fleet has under way.
const MOST_REFUSALS: u32 = 8;

/// How long after more than one search was allowed a refusal may be owed to those that are still under way.
const CROWD_LASTS: Duration = Duration::from_secs(5);

/// The gates of all endpoints.
#[derive(Debug)]
pub(crate) struct SearchGates {
    most_hosts: u32,
    gates: Mutex<BTreeMap<String, Arc<EndpointGate>>>,
    /// Something is to be told or asked for.
    pub(super) wake: Arc<Notify>,
}

impl SearchGates {
    /// Of a process that puts at most so many hosts into a search.
    pub(crate) fn new(most_hosts: usize) -> Self {
        let most_hosts = u32::try_from(most_hosts).unwrap_or(u32::MAX);
        Self { most_hosts, gates: Mutex::default(), wake: Arc::default() }
    }

    /// The gate of an endpoint that takes so much.
    #[cfg(test)]
    pub(crate) fn open(endpoint: &str, searches: u32, hosts: u32) -> Arc<EndpointGate> {
        let gate = Self::new(500).of(endpoint);
        gate.update(|state| state.allow(searches, searches, hosts));
        gate
    }

    /// The gate of an endpoint. Endpoints are configured, so these are few.
    pub(crate) fn of(&self, endpoint: &str) -> Arc<EndpointGate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(EndpointGate::new(endpoint, self.most_hosts, Arc::clone(&self.wake)));
        Arc::clone(gates.entry(endpoint.to_owned()).or_insert_with(new))
    }

    pub(super) fn all(&self) -> Vec<Arc<EndpointGate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// The turns of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointGate {
    pub(super) endpoint: String,
    state: Mutex<GateState>,
    changed: Notify,
    wake: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct GateState {
    /// Searches that may be under way.
    pub(super) permits: u32,
    pub(super) in_flight: u32,
    waiting: u32,
    /// Of those who wait, jobs of people: they go first.
    waiting_manual: u32,
    /// Most that were under way or waited at once since that was last told.
    wanted: u32,
    pub(super) report: PeriodReport,
    /// Searches that the fleet may have at once, as it was last told.
    allowed: u32,
    allowed_hosts: Option<u32>,
    /// Until then others' searches may be what crowds the source.
    crowded_until: Option<Instant>,
    /// Whether the others know of this process as one that searches.
    pub(super) is_known: bool,
    /// When to tell and ask next; `None`: at once.
    pub(super) due: Option<Instant>,
}

impl GateState {
    /// What there is to tell: searches wanted since the last time, and what was answered. Both begin anew.
    pub(super) fn take_period(&mut self) -> (u32, PeriodReport) {
        let wanted = std::mem::replace(&mut self.wanted, self.in_flight + self.waiting);
        let next = self.report.next();
        (wanted, std::mem::replace(&mut self.report, next))
    }

    /// Whether no search is under way or waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight + self.waiting == 0
    }

    /// Whether the others have to hear of this process.
    pub(super) fn is_busy(&self) -> bool {
        self.wanted > 0 || !self.report.is_empty()
    }

    /// What the fleet allowed last, searches at once and hosts in one, while this process is known to search.
    pub(super) fn allowed(&self) -> Option<(u32, u32)> {
        self.allowed_hosts.filter(|_| self.is_known).map(|hosts| (self.allowed, hosts))
    }

    /// What the fleet allows now.
    pub(super) fn allow(&mut self, permits: u32, searches: u32, hosts: u32) {
        (self.permits, self.allowed, self.allowed_hosts) = (permits, searches, Some(hosts));
        if searches > 1 {
            self.crowded_until = Some(Instant::now() + CROWD_LASTS.max(self.report.latency * 2));
        }
    }
}

impl EndpointGate {
    fn new(endpoint: &str, most_hosts: u32, wake: Arc<Notify>) -> Self {
        let state = GateState {
            permits: 0,
            in_flight: 0,
            waiting: 0,
            waiting_manual: 0,
            wanted: 0,
            report: PeriodReport::new(most_hosts),
            allowed: 1,
            allowed_hosts: None,
            crowded_until: None,
            is_known: false,
            due: None,
        };
        Self { endpoint: endpoint.to_owned(), state: Mutex::new(state), changed: Notify::new(), wake }
    }

    /// Changes what is allowed; who waits looks again.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut GateState) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, however long it takes.
    pub(super) async fn turn(self: &Arc<Self>, queue: JobQueue) -> SearchTurn {
        let _waiting = WaitingGuard::new(self, queue);
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(turn) = self.begin(queue) {
                return turn;
            }
            changed.await;
        }
    }

    fn begin(self: &Arc<Self>, queue: JobQueue) -> Option<SearchTurn> {
        let mut state = self.lock();
        let is_first = queue == JobQueue::Manual || state.waiting_manual == 0;
        if state.in_flight >= state.permits || !is_first {
            return None;
        }
        state.in_flight += 1;
        Some(SearchTurn(Arc::clone(self)))
    }

    /// Remembers what a search was answered. A refusal is told at once.
    pub(super) fn remember(&self, kind: SearchKind, sign: SearchSign, hosts: u32, is_whole: bool, took: Duration) {
        let mut state = self.lock();
        state.report.add(kind, sign, hosts, is_whole, took);
        if sign == SearchSign::Refused {
            state.due = None;
            self.wake.notify_one();
        }
    }
}

/// A search that is under way. Whoever drops it gives its turn to the next.
#[derive(Debug)]
pub(crate) struct SearchTurn(Arc<EndpointGate>);

impl Drop for SearchTurn {
    fn drop(&mut self) {
        let is_news = self.0.update(|state| {
            let has_let_go = state.in_flight > state.permits;
            if has_let_go {
                // Another waits for it.
                state.due = None;
            }
            state.in_flight = state.in_flight.saturating_sub(1);
            // A process that stops waits until it is idle.
            has_let_go || state.is_idle()
        });
        if is_news {
            self.0.wake.notify_one();
        }
    }
}

/// Counts one who waits.
struct WaitingGuard<'a>(&'a EndpointGate, JobQueue);

impl<'a> WaitingGuard<'a> {
    fn new(gate: &'a EndpointGate, queue: JobQueue) -> Self {
        let mut state = gate.lock();
        state.waiting += 1;
        state.waiting_manual += u32::from(queue == JobQueue::Manual);
        state.wanted = state.wanted.max(state.in_flight + state.waiting);
        if !state.is_known {
            state.due = None;
            gate.wake.notify_one();
        }
        drop(state);
        Self(gate, queue)
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.update(|state| {
            state.waiting = state.waiting.saturating_sub(1);
            state.waiting_manual = state.waiting_manual.saturating_sub(u32::from(self.1 == JobQueue::Manual));
        });
    }
}

/// Why no turn came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// The process stops.
    Stopping,
    /// The endpoint or the pattern was closed meanwhile, or others had all turns.
    Closed(String),
}

/// What a batch that waits for its turns has to know.
pub(crate) struct TurnSource<'a> {
    pub(crate) queue: JobQueue,
    /// Why nobody searches there for now.
    pub(crate) closed: Box<dyn Fn() -> Option<String> + Send + Sync + 'a>,
    pub(crate) stopping: CancellationToken,
}

/// The turns of one batch.
pub(crate) struct SearchTurns<'a> {
    gate: Arc<EndpointGate>,
    source: TurnSource<'a>,
    waits: Mutex<Waits>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Waits {
    since: Option<Instant>,
    /// Those that are over.
    over: Duration,
}

impl<'a> SearchTurns<'a> {
    pub(crate) fn new(gate: Arc<EndpointGate>, source: TurnSource<'a>) -> Self {
        Self { gate, source, waits: Mutex::default() }
    }

    /// Waits for a turn to search.
    pub(crate) async fn next(&self) -> Result<SearchTurn, NoTurn> {
        self.waiting_for(self.next_or_closed()).await
    }

    /// Pauses, unless the process stops.
    pub(crate) async fn pause(&self, pause: Duration) {
        self.waiting_for(self.source.stopping.run_until_cancelled(tokio::time::sleep(pause))).await;
    }

    async fn waiting_for<T>(&self, wait: impl Future<Output = T>) -> T {
        self.waits().since = Some(Instant::now());
        let result = wait.await;
        let mut waits = self.waits();
        let waited = waits.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        waits.over += waited;
        result
    }

    async fn next_or_closed(&self) -> Result<SearchTurn, NoTurn> {
        let deadline = Instant::now() + LONGEST_WAIT.saturating_sub(self.waits().over);
        let turn = self.gate.turn(self.source.queue);
        let mut turn = std::pin::pin!(turn);
        loop {
            tokio::select! {
                biased;
                turn = &mut turn => return Ok(turn),
                () = self.source.stopping.cancelled() => return Err(NoTurn::Stopping),
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Some(reason) = (self.source.closed)() {
                return Err(NoTurn::Closed(reason));
            }
            if Instant::now() >= deadline {
                let minutes = LONGEST_WAIT.as_secs() / 60;
                return Err(NoTurn::Closed(format!(
                    "no turn to search came within {minutes} minutes: {}",
                    self.in_words()
                )));
            }
        }
    }

    /// How long it has waited for the turn that it waits for now.
    pub(crate) fn waiting(&self) -> Option<Duration> {
        self.waits().since.map(|since| since.elapsed())
    }

    /// How long it has waited for the turns that it had.
    pub(crate) fn waited(&self) -> Duration {
        self.waits().over
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it waits for.
    pub(crate) fn in_words(&self) -> String {
        let allowed = self.gate.lock().allowed;
        let searches = if allowed == 1 { "one search".to_owned() } else { format!("{allowed} searches") };
        format!("its turn to search endpoint \"{}\", which takes {searches} at once now", self.gate.endpoint)
    }

    /// Hosts that a search may have.
    pub(crate) fn most_hosts(&self) -> usize {
        self.gate.lock().allowed_hosts.map_or(usize::MAX, |hosts| hosts as usize)
    }

    /// Remembers what a search was answered.
    pub(crate) fn remember(&self, kind: SearchKind, sign: SearchSign, hosts: usize, is_whole: bool, took: Duration) {
        self.gate.remember(kind, sign, u32::try_from(hosts).unwrap_or(u32::MAX), is_whole, took);
    }

    /// After so many refusals in a row: how long to wait before the next turn. `None`: the fleet is not what crowds the
    /// source, so it has to be left alone. `jitter`, from 0 to 1, keeps those apart who were refused together.
    pub(crate) fn pause_after(&self, refusals: u32, jitter: f64) -> Option<Duration> {
        let is_crowded = self.gate.lock().crowded_until.is_some_and(|until| Instant::now() < until);
        if !is_crowded || refusals >= MOST_REFUSALS {
            return None;
        }
        let longest = (REFUSAL_PAUSE.0 * 2_u32.saturating_pow(refusals.saturating_sub(1))).min(REFUSAL_PAUSE.1);
        Some(longest.mul_f64(0.5 + jitter / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(stopping: &CancellationToken) -> TurnSource<'static> {
        TurnSource { queue: JobQueue::Bulk, closed: Box::new(|| None), stopping: stopping.clone() }
    }

    fn gate(permits: u32) -> Arc<EndpointGate> {
        SearchGates::open("default", permits, 500)
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_comes_when_another_ends_and_people_go_first() {
        let gate = gate(1);
        let first = gate.turn(JobQueue::Bulk).await;
        let (bulk, manual) = (Arc::clone(&gate), Arc::clone(&gate));
        let bulk = tokio::spawn(async move { bulk.turn(JobQueue::Bulk).await });
        let manual = tokio::spawn(async move { manual.turn(JobQueue::Manual).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!bulk.is_finished() && !manual.is_finished());
        drop(first);
        let second = manual.await.expect("a turn");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!bulk.is_finished());
        drop(second);
        drop(bulk.await.expect("a turn"));
        let state = gate.lock();
        assert_eq!((state.in_flight, state.waiting, state.waiting_manual, state.wanted), (0, 0, 0, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn no_turn_is_waited_for_when_the_process_stops_or_the_endpoint_is_closed_or_for_ever() {
        let (gate, stopping) = (gate(1), CancellationToken::new());
        let _taken = gate.turn(JobQueue::Bulk).await;
        let closed = TurnSource { closed: Box::new(|| Some("it is away".to_owned())), ..source(&stopping) };
        let turns = SearchTurns::new(Arc::clone(&gate), closed);
        assert_eq!(turns.next().await.err(), Some(NoTurn::Closed("it is away".to_owned())));
        let turns = SearchTurns::new(Arc::clone(&gate), source(&stopping));
        let began = Instant::now();
        assert!(matches!(turns.next().await, Err(NoTurn::Closed(reason)) if reason.contains("one search at once")));
        assert_eq!((began.elapsed().as_secs() / 60, turns.waited().as_secs() / 60), (5, 5));
        assert!(matches!(turns.next().await, Err(NoTurn::Closed(_))), "no second wait");
        stopping.cancel();
        assert_eq!(turns.next().await.err(), Some(NoTurn::Stopping));
        assert_eq!((turns.waiting(), gate.lock().waiting), (None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_a_matter_of_the_crowd_while_there_is_one() {
        let (gate, stopping) = (gate(4), CancellationToken::new());
        let turns = SearchTurns::new(Arc::clone(&gate), source(&stopping));
        assert!(turns.pause_after(1, 1.0).is_some_and(|pause| pause <= Duration::from_millis(500)));
        assert!(turns.pause_after(7, 0.0).is_some_and(|pause| pause >= Duration::from_secs(4)));
        assert_eq!(turns.pause_after(8, 0.0), None);
        gate.update(|state| state.allow(1, 1, 500));
        tokio::time::sleep(CROWD_LASTS).await;
        assert_eq!(turns.pause_after(1, 0.0), None);
    }
}
