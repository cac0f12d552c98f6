//! Gathers deliveries into batches that one search can answer.
//!
//! Pure: time and deliveries are passed in. A batch holds jobs of one source, mapping, window and day; it is ready when
//! it is full or its oldest job has waited long enough. Batches leave in the order of their oldest job, so that a small
//! run is not starved by a large one.

use std::collections::HashMap;
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
    items: Vec<T>,
    since: Instant,
}

impl<K: Clone + Eq + Hash, T> Gatherer<K, T> {
    /// Batches of `batch_size` items at most (at least 1), each waiting `linger` at most.
    pub(crate) fn new(batch_size: usize, linger: Duration) -> Self {
        Self { groups: HashMap::new(), batch_size: batch_size.max(1), linger }
    }

    /// Adds an item.
    pub(crate) fn push(&mut self, key: K, item: T, now: Instant) {
        self.groups.entry(key).or_insert_with(|| Group { items: Vec::new(), since: now }).items.push(item);
    }

    /// The batch whose oldest item has waited longest, among those that are full or due.
    pub(crate) fn take_ready(&mut self, now: Instant) -> Option<(K, Vec<T>)> {
        let key = self
            .groups
            .iter()
            .filter(|(_, group)| group.items.len() >= self.batch_size || now >= group.since + self.linger)
            .min_by_key(|(_, group)| group.since)
            .map(|(key, _)| key.clone())?;
        let group = self.groups.get_mut(&key)?;
        let batch = if group.items.len() > self.batch_size {
            // What stays has waited as long: it is due at once.
            let rest = group.items.split_off(self.batch_size);
            std::mem::replace(&mut group.items, rest)
        } else {
            self.groups.remove(&key)?.items
        };
        Some((key, batch))
    }

    /// When the next batch is due by its age; `None`: nothing waits.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.groups.values().map(|group| group.since + self.linger).min()
    }

    /// Everything that waits, for giving it back.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.groups.drain().flat_map(|(_, group)| group.items).collect()
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
