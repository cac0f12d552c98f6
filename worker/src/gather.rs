//! Gathers deliveries into batches that one search can answer.
//!
//! Pure: time and deliveries are passed in. A batch holds jobs of one source, mapping, window and day; it is ready when
//! it is full or its oldest job has waited long enough. Batches leave in the order of their oldest job, so that a small
//! run is not starved by a large one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Collects items by key until a batch is ready.
#[derive(Debug)]
pub(crate) struct Gatherer<K, T> {
    groups: HashMap<K, Group<T>>,
    batch_size: usize,
    linger: Duration,
}

#[derive(Debug)]
struct Group<T> {
    /// Each with the time of its arrival, oldest first.
    items: VecDeque<(Instant, T)>,
}

impl<T> Group<T> {
    /// When the oldest item arrived. A group is never empty.
    fn since(&self) -> Option<Instant> {
        self.items.front().map(|(since, _)| *since)
    }
}

impl<K: Clone + Eq + Hash, T> Gatherer<K, T> {
    /// Batches of `batch_size` items at most (at least 1), each waiting `linger` at most.
    pub(crate) fn new(batch_size: usize, linger: Duration) -> Self {
        Self { groups: HashMap::new(), batch_size: batch_size.max(1), linger }
    }

    /// Adds an item.
    pub(crate) fn push(&mut self, key: K, item: T, now: Instant) {
        self.groups.entry(key).or_insert_with(|| Group { items: VecDeque::new() }).items.push_back((now, item));
    }

    /// The batch whose oldest item has waited longest, among those that are full or due.
    pub(crate) fn take_ready(&mut self, now: Instant) -> Option<(K, Vec<T>)> {
        let is_ready = |group: &Group<T>| {
            group.items.len() >= self.batch_size || group.since().is_some_and(|since| now >= since + self.linger)
        };
        let key = self
            .groups
            .iter()
            .filter(|(_, group)| is_ready(group))
            .min_by_key(|(_, group)| group.since())
            .map(|(key, _)| key.clone())?;
        let group = self.groups.get_mut(&key)?;
        let size = group.items.len().min(self.batch_size);
        let batch = group.items.drain(..size).map(|(_, item)| item).collect();
        if group.items.is_empty() {
            self.groups.remove(&key);
        }
        Some((key, batch))
    }

    /// When the next batch is due by its age; `None`: nothing waits.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.groups.values().filter_map(Group::since).min().map(|since| since + self.linger)
    }

    /// Everything that waits, for giving it back.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.groups.drain().flat_map(|(_, group)| group.items).map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINGER: Duration = Duration::from_millis(20);

    #[test]
    fn a_batch_leaves_when_it_is_full() {
        let start = Instant::now();
        let mut gatherer = Gatherer::new(3, LINGER);
        for n in 0..3 {
            assert_eq!(gatherer.take_ready(start), None);
            gatherer.push("a", n, start);
        }
        assert_eq!(gatherer.take_ready(start), Some(("a", vec![0, 1, 2])));
        assert_eq!(gatherer.next_due(), None);
    }

    #[test]
    fn a_batch_leaves_when_its_oldest_job_has_waited_long_enough() {
        let start = Instant::now();
        let mut gatherer = Gatherer::new(3, LINGER);
        gatherer.push("a", 1, start);
        assert_eq!(gatherer.next_due(), Some(start + LINGER));
        assert_eq!(gatherer.take_ready(start + LINGER / 2), None);
        assert_eq!(gatherer.take_ready(start + LINGER), Some(("a", vec![1])));
        assert_eq!(gatherer.next_due(), None);
    }

    #[test]
    fn the_group_that_has_waited_longest_goes_first() {
        let start = Instant::now();
        let mut gatherer = Gatherer::new(2, LINGER);
        gatherer.push("small", 1, start);
        for n in 0..10 {
            gatherer.push("large", n, start + Duration::from_millis(1));
        }
        let later = start + LINGER * 2;
        assert_eq!(gatherer.take_ready(later), Some(("small", vec![1])));
        assert_eq!(gatherer.take_ready(later), Some(("large", vec![0, 1])));
    }

    #[test]
    fn a_large_run_that_keeps_coming_does_not_starve_a_small_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut gatherer = Gatherer::new(10, LINGER);
        for n in 0..19 {
            gatherer.push("large", n, at(0));
        }
        gatherer.push("small", 0, at(1));
        let mut batches = Vec::new();
        for round in 0..4 {
            let (key, _) = gatherer.take_ready(at(50 + round)).expect("a batch");
            batches.push(key);
            for n in 0..10 {
                gatherer.push("large", n, at(50 + round));
            }
        }
        assert_eq!(batches, ["large", "large", "small", "large"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_repeated_or_mixed(
            keys in prop::collection::vec(0_u8..4, 0..200),
            batch_size in 1_usize..20,
        ) {
            let start = Instant::now();
            let mut gatherer = Gatherer::new(batch_size, LINGER);
            for (n, key) in keys.iter().enumerate() {
                gatherer.push(*key, n, start);
            }
            let mut seen = Vec::new();
            while let Some((key, batch)) = gatherer.take_ready(start + LINGER) {
                prop_assert!(!batch.is_empty() && batch.len() <= batch_size);
                prop_assert!(batch.iter().all(|n| keys[*n] == key));
                seen.extend(batch);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..keys.len()).collect::<Vec<_>>());
            prop_assert_eq!(gatherer.next_due(), None);
        }
    }
}
