//! The types of fields that were looked up, remembered for minutes.
//!
//! Owns the bounds of that memory in time and number. Two searches that find nothing remembered may both
//! look up; the later one wins. No lock is held while anything is asked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::mapping::{FieldTypes, Mapping};

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
    types: FieldTypes,
    looked_up: Instant,
}

impl FieldTypesCache {
    pub(super) fn get(&self, index_pattern: &str, mapping: &Mapping) -> Option<FieldTypes> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.looked_up.elapsed() < REMEMBERED_FOR);
        entries.iter().find(|entry| entry.is_for(index_pattern, mapping)).map(|entry| entry.types.clone())
    }

    pub(super) fn put(&self, index_pattern: &str, mapping: &Mapping, types: FieldTypes) {
        let mut entries = self.entries();
        entries.retain(|entry| !entry.is_for(index_pattern, mapping));
        if entries.len() >= MAX_ENTRIES {
            entries.remove(0);
        }
        entries.push(Entry {
            index_pattern: index_pattern.to_owned(),
            mapping: mapping.clone(),
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
        FieldTypes { host_field: field.to_owned(), ..FieldTypes::unresolved(&Mapping::zabbix()) }
    }

    fn other() -> Mapping {
        Mapping { host_field: "other".to_owned(), ..Mapping::zabbix() }
    }

    #[tokio::test]
    async fn types_are_kept_apart_by_pattern_and_mapping() {
        let cache = FieldTypesCache::default();
        cache.put("a", &Mapping::zabbix(), types("1"));
        cache.put("a", &other(), types("2"));
        cache.put("a", &Mapping::zabbix(), types("3"));
        assert_eq!(cache.get("a", &Mapping::zabbix()), Some(types("3")));
        assert_eq!(cache.get("a", &other()), Some(types("2")));
        assert_eq!(cache.get("b", &other()), None);
        cache.forget("a", &other());
        assert_eq!(cache.get("a", &other()), None);
        assert_eq!(cache.get("a", &Mapping::zabbix()), Some(types("3")));
    }

    #[tokio::test]
    async fn the_oldest_goes_when_there_are_too_many() {
        let cache = FieldTypesCache::default();
        for index in 0..=MAX_ENTRIES {
            cache.put(&index.to_string(), &Mapping::zabbix(), types("1"));
        }
        assert_eq!(cache.get("0", &Mapping::zabbix()), None);
        assert_eq!(cache.get("1", &Mapping::zabbix()), Some(types("1")));
        assert_eq!(cache.get(&MAX_ENTRIES.to_string(), &Mapping::zabbix()), Some(types("1")));
    }
}
