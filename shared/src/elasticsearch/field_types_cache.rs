//! The types of fields that were looked up, remembered for minutes.
//!
//! Owns the bounds of that memory in time and number. Two searches that find nothing remembered may both
//! look up; the later one wins. No lock is held while anything is asked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::mapping::{FieldTypes, Mapping};
use crate::window::Window;

/// How long the types of a pattern's fields are taken to stand. After it they are looked up again.
const REMEMBERED_FOR: Duration = Duration::from_mins(5);

/// Most pairs of index pattern and mapping remembered for one endpoint; beyond it the oldest goes.
const MAX_ENTRIES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct FieldTypesCache {
    /// Oldest first.
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    index_pattern: String,
    mapping: Mapping,
    /// Through a query proxy, what is known is known of the documents of one window.
    window: Option<Window>,
    types: FieldTypes,
    looked_up: Instant,
}

impl FieldTypesCache {
    pub(super) fn get(&self, index_pattern: &str, mapping: &Mapping, window: Option<Window>) -> Option<FieldTypes> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.looked_up.elapsed() < REMEMBERED_FOR);
        let is_for = |entry: &&Entry| entry.is_for(index_pattern, mapping) && entry.window == window;
        entries.iter().find(is_for).map(|entry| entry.types.clone())
    }

    pub(super) fn put(&self, index_pattern: &str, mapping: &Mapping, window: Option<Window>, types: FieldTypes) {
        let mut entries = self.entries();
        entries.retain(|entry| !(entry.is_for(index_pattern, mapping) && entry.window == window));
        if entries.len() >= MAX_ENTRIES {
            entries.remove(0);
        }
        entries.push(Entry {
            index_pattern: index_pattern.to_owned(),
            mapping: mapping.clone(),
            window,
            types,
            looked_up: Instant::now(),
        });
    }

    pub(super) fn forget(&self, index_pattern: &str, mapping: &Mapping) {
        self.entries().retain(|entry| !entry.is_for(index_pattern, mapping));
    }

    /// A panic while the lock was held leaves a list that is still a list.
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_for(&self, index_pattern: &str, mapping: &Mapping) -> bool {
        self.index_pattern == index_pattern && self.mapping == *mapping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(field: &str) -> FieldTypes {
        let mut types = FieldTypes::unresolved(&Mapping::zabbix());
        field.clone_into(&mut types.hosts[0].field);
        types
    }

    fn other() -> Mapping {
        Mapping { host_field: "other".to_owned(), ..Mapping::zabbix() }
    }

    #[tokio::test]
    async fn types_are_kept_apart_by_pattern_and_mapping() {
        let cache = FieldTypesCache::default();
        cache.put("a", &Mapping::zabbix(), None, types("1"));
        cache.put("a", &other(), None, types("2"));
        cache.put("a", &Mapping::zabbix(), None, types("3"));
        assert_eq!(cache.get("a", &Mapping::zabbix(), None), Some(types("3")));
        assert_eq!(cache.get("a", &other(), None), Some(types("2")));
        assert_eq!(cache.get("b", &other(), None), None);
        cache.forget("a", &other());
        assert_eq!(cache.get("a", &other(), None), None);
        assert_eq!(cache.get("a", &Mapping::zabbix(), None), Some(types("3")));
    }

    #[tokio::test]
    async fn what_is_known_of_one_window_says_nothing_of_another() {
        let cache = FieldTypesCache::default();
        let time = |ms| chrono::DateTime::from_timestamp_millis(ms).expect("a time");
        let window = |to| Some(Window { from: time(0), to: time(to) });
        cache.put("a", &other(), window(1), types("1"));
        cache.put("a", &other(), window(2), types("2"));
        assert_eq!(cache.get("a", &other(), window(1)), Some(types("1")));
        assert_eq!(cache.get("a", &other(), window(3)), None);
        cache.forget("a", &other());
        assert_eq!(cache.get("a", &other(), window(2)), None);
    }

    #[tokio::test]
    async fn the_oldest_goes_when_there_are_too_many() {
        let cache = FieldTypesCache::default();
        for index in 0..=MAX_ENTRIES {
            cache.put(&index.to_string(), &Mapping::zabbix(), None, types("1"));
        }
        assert_eq!(cache.get("0", &Mapping::zabbix(), None), None);
        assert_eq!(cache.get("1", &Mapping::zabbix(), None), Some(types("1")));
        assert_eq!(cache.get(&MAX_ENTRIES.to_string(), &Mapping::zabbix(), None), Some(types("1")));
    }
}
