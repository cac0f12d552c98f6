//! Fleets before sources that are overloaded beyond a capacity, in virtual time: everything but the database is real.

#![allow(clippy::cast_precision_loss, reason = "it counts in small numbers")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_model::execution::JobQueue;
use hostsync_store::tables::search_limit::{Allowance, SHARE_LIVES, SearchLimit, SearchShare, SearcherId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::baselines::SearchKind;
use super::exchange::{begin_period, next_of, settle, take};
use super::gate::{SearchGates, SearchTurns, TurnSource};
use super::report::SearchSign;

/// What a search takes while the source is not overloaded.
const ALONE: Duration = Duration::from_millis(200);

/// What the rows take there and back.
const ROUND_TRIP: Duration = Duration::from_millis(3);

const WORKERS: u32 = 10;

/// Searches that one worker would have at once.
const CONCURRENCY: u32 = 9;

/// A search that is made again and again, by everybody.
const KIND: SearchKind = SearchKind::numbered(1);

/// Has so many searches at once; those beyond wait in a queue, and those beyond that are refused.
struct OverloadedSource {
    servers: Arc<Semaphore>,
    limits: Mutex<(u32, u32)>,
    inside: AtomicU32,
    asked: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    /// Most that were inside at once since it was looked at.
    most: AtomicU32,
}

impl OverloadedSource {
    fn new(capacity: u32, queue: u32) -> Arc<Self> {
        Arc::new(Self {
            servers: Arc::new(Semaphore::new(capacity as usize)),
            limits: Mutex::new((capacity, queue)),
            inside: AtomicU32::new(0),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            most: AtomicU32::new(0),
        })
    }

    fn change(&self, capacity: u32, queue: u32) {
        let mut limits = self.limits.lock().expect("a lock");
        if capacity > limits.0 {
            self.servers.add_permits((capacity - limits.0) as usize);
        } else {
            let (servers, gone) = (Arc::clone(&self.servers), limits.0 - capacity);
            tokio::spawn(async move { servers.acquire_many_owned(gone).await.expect("open").forget() });
        }
        *limits = (capacity, queue);
    }

    async fn search(&self) -> SearchSign {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let (capacity, queue) = *self.limits.lock().expect("a lock");
        if self.inside.load(Ordering::Relaxed) >= capacity + queue {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.refused.fetch_add(1, Ordering::Relaxed);
            return SearchSign::Refused;
        }
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(inside, Ordering::Relaxed);
        let server = self.servers.acquire().await.expect("open");
        // A fifth more or less, the same in every play.
        let share = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        tokio::time::sleep(ALONE.mul_f64(0.8 + 0.4 * share as f64 / 255.0)).await;
        drop(server);
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
        SearchSign::Answered
    }

    /// Searches answered a second, and the part of all that was refused, over some time from now on.
    async fn measure(&self, over: Duration) -> (f64, f64) {
        let before = [&self.asked, &self.answered, &self.refused].map(|count| count.load(Ordering::Relaxed));
        self.most.store(0, Ordering::Relaxed);
        tokio::time::sleep(over).await;
        let after = [&self.asked, &self.answered, &self.refused].map(|count| count.load(Ordering::Relaxed));
        let [asked, answered, refused] = std::array::from_fn(|index| (after[index] - before[index]) as f64);
        (answered / over.as_secs_f64(), refused / asked)
    }
}

/// The rows of the fleet.
struct FleetRows {
    began: Instant,
    limit: SearchLimit,
    shares: Vec<(SearchShare, DateTime<Utc>)>,
}

impl FleetRows {
    fn new() -> Arc<Mutex<Self>> {
        let allowance = |allowed| Allowance { allowed, too_much: None, lowered_at: None, raised_at: None };
        let (searches, hosts) = (allowance(1.0), allowance(500.0));
        let limit = SearchLimit { searches, hosts, strain: 1.0, baselines: None, changed_at: epoch() };
        Arc::new(Mutex::new(Self { began: Instant::now(), limit, shares: Vec::new() }))
    }

    fn now(&self) -> DateTime<Utc> {
        epoch() + TimeDelta::from_std(self.began.elapsed()).expect("a short time")
    }
}

fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

/// What [`super::exchange`] does, with rows in memory.
async fn tell_and_ask(gates: Arc<SearchGates>, rows: Arc<Mutex<FleetRows>>, worker: SearcherId) {
    let gate = gates.of("default");
    loop {
        match next_of(&gate) {
            Some(next) if next > Instant::now() => {
                tokio::select! {
                    // The same in every play.
                    biased;
                    () = gates.wake.notified() => {}
                    () = tokio::time::sleep_until(next) => {}
                }
                continue;
            }
            Some(_) => {}
            None => {
                gates.wake.notified().await;
                continue;
            }
        }
        let (demand, report) = begin_period(&gate, worker);
        tokio::time::sleep(ROUND_TRIP).await;
        let mut rows = rows.lock().expect("a lock");
        let now = rows.now();
        let live: Vec<SearchShare> =
            rows.shares.iter().filter(|(_, seen)| now - *seen < SHARE_LIVES).map(|(share, _)| *share).collect();
        let (own, row) = settle(&mut rows.limit, &live, demand, &report, now);
        rows.shares.retain(|(share, _)| share.worker != worker);
        rows.shares.push((row, now));
        take(&gate, own, &rows.limit);
    }
}

/// One of a worker's batches after another.
async fn search_on_and_on(turns: SearchTurns<'static>, source: Arc<OverloadedSource>, answered: Arc<AtomicU64>) {
    let mut refusals = 0;
    loop {
        let Ok(turn) = turns.next().await else { continue };
        let began = Instant::now();
        let sign = source.search().await;
        turns.remember(KIND, sign, 500, true, began.elapsed());
        drop(turn);
        if sign == SearchSign::Answered {
            refusals = 0;
            answered.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        refusals += 1;
        // Where the source is left alone, until a first probe.
        let pause = turns.pause_after(refusals, 0.5).unwrap_or(Duration::from_secs(2));
        turns.pause(pause).await;
    }
}

/// Ten workers that always have something to search for.
struct SimulatedFleet {
    rows: Arc<Mutex<FleetRows>>,
    /// Searches that were answered, by worker.
    answered: Vec<Arc<AtomicU64>>,
    _tasks: JoinSet<()>,
}

impl SimulatedFleet {
    fn start(source: &Arc<OverloadedSource>) -> Self {
        let rows = FleetRows::new();
        let mut tasks = JoinSet::new();
        let mut answered = Vec::new();
        for id in 0..WORKERS {
            let gates = Arc::new(SearchGates::new(500));
            let count = Arc::new(AtomicU64::new(0));
            let (worker, told) = (Arc::clone(&gates), Arc::clone(&rows));
            tasks.spawn(async move {
                // They do not tell in step.
                tokio::time::sleep(Duration::from_millis(u64::from(id) * 97)).await;
                tell_and_ask(worker, told, SearcherId::new(u128::from(id))).await;
            });
            for _ in 0..CONCURRENCY {
                let stopping = CancellationToken::new();
                let turns = TurnSource { queue: JobQueue::Bulk, closed: Box::new(|| None), stopping };
                let turns = SearchTurns::new(gates.of("default"), turns);
                tasks.spawn(search_on_and_on(turns, Arc::clone(source), Arc::clone(&count)));
            }
            answered.push(count);
        }
        Self { rows, answered, _tasks: tasks }
    }

    fn allowed(&self) -> f64 {
        self.rows.lock().expect("a lock").limit.searches.allowed
    }
}

/// The most searches a second that any fixed number of searches at once gives.
async fn best_fixed(capacity: u32, queue: u32) -> f64 {
    let mut best: f64 = 0.0;
    for fixed in [capacity.div_ceil(2), capacity, capacity + queue / 2, capacity + queue] {
        let source = OverloadedSource::new(capacity, queue);
        let mut tasks = JoinSet::new();
        for _ in 0..fixed {
            let source = Arc::clone(&source);
            tasks.spawn(async move {
                loop {
                    source.search().await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        best = best.max(source.measure(Duration::from_mins(1)).await.0);
    }
    best
}

/// Long enough to find a limit, to be refused once more a minute later, and to find it again.
const SETTLED: Duration = Duration::from_secs(100);
const MEASURED: Duration = Duration::from_mins(5);

async fn is_as_good_as_the_best(source: &OverloadedSource, fleet: &SimulatedFleet, capacity: u32, queue: u32) {
    tokio::time::sleep(SETTLED).await;
    let (goodput, refused) = source.measure(MEASURED).await;
    let best = best_fixed(capacity, queue).await;
    let most = source.most.load(Ordering::Relaxed);
    let words = format!(
        "capacity {capacity} and {queue} in its queue: {goodput:.1} of {best:.1} searches a second, {:.2} % refused, {most} at once, {:.1} allowed",
        refused * 100.0,
        fleet.allowed()
    );
    println!("{words}");
    assert!(goodput >= 0.8 * best, "{words}");
    assert!(refused <= 0.02, "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_finds_what_a_source_takes_whatever_its_capacity() {
    for (capacity, queue) in [(1, 4), (3, 3), (3, 30), (12, 3), (12, 12), (40, 10)] {
        let source = OverloadedSource::new(capacity, queue);
        let fleet = SimulatedFleet::start(&source);
        is_as_good_as_the_best(&source, &fleet, capacity, queue).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_follows_a_source_whose_capacity_changes() {
    let source = OverloadedSource::new(12, 6);
    let fleet = SimulatedFleet::start(&source);
    for (capacity, queue) in [(12, 6), (40, 20), (3, 3), (12, 6)] {
        source.change(capacity, queue);
        is_as_good_as_the_best(&source, &fleet, capacity, queue).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_starves_before_a_source_that_takes_fewer_searches_than_there_are_workers() {
    let source = OverloadedSource::new(3, 3);
    let fleet = SimulatedFleet::start(&source);
    tokio::time::sleep(SETTLED + MEASURED).await;
    let answered: Vec<u64> = fleet.answered.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let (fewest, most) = (answered.iter().min().expect("workers"), answered.iter().max().expect("workers"));
    assert!(*fewest * 2 > *most, "{answered:?}");
}
