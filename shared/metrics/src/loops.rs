//! Whether the long-lived loops of a process go round.
//!
//! Owns the list of loops with the moment of each one's last turn, which `/healthz` and the metric `hostsync.loop.age`
//! read. A loop turns also while what it needs is away: every wait in it has a bound, or turns by
//! [`Turns::waiting_for`]. Whether anything comes of a turn is not asked here.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// Limit of a loop whose rounds are bounded by seconds or a few minutes. Far above what an outage of the database or of
/// the broker makes of a round.
pub const LIMIT: Duration = Duration::from_mins(15);

/// Limit of a loop whose rounds may take ten minutes.
pub const LIMIT_OF_SWEEPS: Duration = Duration::from_mins(30);

/// How often a loop turns that waits for something without a bound.
const WHILE_WAITING: Duration = Duration::from_secs(10);

/// The loops of one service. Clones are the same list. [`Metrics::new_loops`](crate::Metrics::new_loops) shows their ages.
#[derive(Debug, Clone, Default)]
pub struct Loops(Arc<Mutex<Entries>>);

type Entries = BTreeMap<&'static str, Entry>;

#[derive(Debug)]
struct Entry {
    turned: Instant,
    limit: Duration,
}

/// A loop that has not turned within its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckLoop {
    /// Its name.
    pub name: &'static str,
    /// Since its last turn.
    pub age: Duration,
    /// The longest that it may take.
    pub limit: Duration,
}

impl Loops {
    /// Adds a loop that begins now and must turn within `limit`. It leaves the list when what is returned is dropped.
    pub fn begin(&self, name: &'static str, limit: Duration) -> Turns {
        lock(&self.0).insert(name, Entry { turned: Instant::now(), limit });
        Turns { loops: self.clone(), name }
    }

    /// Since when each loop has not turned.
    pub fn ages(&self) -> Vec<(&'static str, Duration)> {
        lock(&self.0).iter().map(|(name, entry)| (*name, entry.turned.elapsed())).collect()
    }

    /// The loops that have not turned within their limit, the oldest first.
    pub fn stuck(&self) -> Vec<StuckLoop> {
        let mut stuck: Vec<StuckLoop> = lock(&self.0)
            .iter()
            .map(|(name, entry)| StuckLoop { name, age: entry.turned.elapsed(), limit: entry.limit })
            .filter(|entry| entry.age > entry.limit)
            .collect();
        stuck.sort_by_key(|entry| std::cmp::Reverse(entry.age));
        stuck
    }

    /// As long as the service lives.
    pub(crate) fn downgrade(&self) -> WeakLoops {
        WeakLoops(Arc::downgrade(&self.0))
    }
}

/// The loops of a service that may be gone.
pub(crate) struct WeakLoops(Weak<Mutex<Entries>>);

impl WeakLoops {
    /// The loops, while their service lives.
    pub(crate) fn upgrade(&self) -> Option<Loops> {
        self.0.upgrade().map(Loops)
    }
}

/// One loop's way of saying that it goes round.
#[derive(Debug)]
pub struct Turns {
    loops: Loops,
    name: &'static str,
}

impl Turns {
    /// The loop has come round.
    pub fn turned(&self) {
        if let Some(entry) = lock(&self.loops.0).get_mut(self.name) {
            entry.turned = Instant::now();
        }
    }

    /// Waits for something that may rightly take for ever, turning meanwhile.
    pub async fn waiting_for<F: Future>(&self, wait: F) -> F::Output {
        let mut wait = std::pin::pin!(wait);
        loop {
            self.turned();
            tokio::select! {
                biased;
                output = &mut wait => return output,
                () = tokio::time::sleep(WHILE_WAITING) => {}
            }
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        lock(&self.loops.0).remove(self.name);
    }
}

fn lock(entries: &Mutex<Entries>) -> std::sync::MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_turns_is_young_and_one_that_does_not_is_named() {
        let loops = Loops::default();
        let quick = loops.begin("quick", MINUTE);
        let _slow = loops.begin("slow", MINUTE);
        tokio::time::advance(MINUTE).await;
        quick.turned();
        assert_eq!(loops.stuck(), []);
        assert_eq!(loops.ages(), [("quick", Duration::ZERO), ("slow", MINUTE)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(loops.stuck(), [StuckLoop { name: "slow", age: MINUTE + Duration::from_secs(1), limit: MINUTE }]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_has_ended_is_not_stuck() {
        let loops = Loops::default();
        drop(loops.begin("gone", MINUTE));
        tokio::time::advance(2 * MINUTE).await;
        assert_eq!((loops.stuck(), loops.ages()), (vec![], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_waits_for_long_keeps_turning() {
        let loops = Loops::default();
        let turns = loops.begin("patient", MINUTE);
        turns
            .waiting_for(async {
                for _ in 0..100 {
                    tokio::time::sleep(MINUTE).await;
                    assert_eq!(loops.stuck(), []);
                }
            })
            .await;
    }
}
