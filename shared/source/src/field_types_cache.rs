//! What was looked up of the indices of a pattern, remembered for minutes.
//!
//! Owns the bounds of that memory in time and number. Two searches that find nothing remembered may both
//! look up; the later one wins. No lock is held while anything is asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use hostsync_mapping::{FieldTypes, Mapping};
use hostsync_model::window::Window;

/// How long the types of a pattern's fields are taken to stand. After it they are looked up again.
const REMEMBERED_FOR: Duration = Duration::from_mins(5);

/// Most pairs of index pattern and mapping remembered for one endpoint; beyond it the oldest goes.
const MAX_ENTRIES: usize = 64;

/// What is known of the indices of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PatternFields {
    pub(super) types: FieldTypes,
    /// Those that answered; `None`: a query proxy does not say.
    pub(super) indices: Option<Arc<[String]>>,
    /// Shards of the last whole answer: another number means other indices.
    pub(super) shards: Option<u64>,
    pub(super) looked_up: Instant,
}

impl PatternFields {
    pub(super) fn now(types: FieldTypes, indices: Option<Vec<String>>) -> Self {
        Self { types, indices: indices.map(Arc::from), shards: None, looked_up: Instant::now() }
    }
}

#[derive(Debug, Default)]
pub(super) struct FieldTypesCache {
    /// Oldest first.
    entries: Mutex<Vec<CacheEntry>>,
}

#[derive(Debug)]
struct CacheEntry {
    index_pattern: String,
    mapping: Mapping,
    /// Through a query proxy, what is known is known of the documents of one window.
    window: Option<Window>,
    known: PatternFields,
}

impl FieldTypesCache {
    pub(super) fn get(&self, index_pattern: &str, mapping: &Mapping, window: Option<Window>) -> Option<PatternFields> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.known.looked_up.elapsed() < REMEMBERED_FOR);
        let is_for = |entry: &&CacheEntry| entry.is_for(index_pattern, mapping) && entry.window == window;
        entries.iter().find(is_for).map(|entry| entry.known.clone())
    }

    pub(super) fn put(&self, index_pattern: &str, mapping: &Mapping, window: Option<Window>, known: PatternFields) {
        let mut entries = self.entries();
        entries.retain(|entry| !(entry.is_for(index_pattern, mapping) && entry.window == window));
        if entries.len() >= MAX_ENTRIES {
            entries.remove(0);
        }
        entries.push(CacheEntry { index_pattern: index_pattern.to_owned(), mapping: mapping.clone(), window, known });
    }

    /// Notes how many shards answered in full.
    pub(super) fn saw_shards(&self, index_pattern: &str, mapping: &Mapping, window: Option<Window>, shards: u64) {
        let mut entries = self.entries();
        let is_for = |entry: &&mut CacheEntry| entry.is_for(index_pattern, mapping) && entry.window == window;
        if let Some(entry) = entries.iter_mut().find(is_for) {
            entry.known.shards = Some(shards);
        }
    }

    pub(super) fn forget(&self, index_pattern: &str, mapping: &Mapping) {
        self.entries().retain(|entry| !entry.is_for(index_pattern, mapping));
    }

    /// A panic while the lock was held leaves a list that is still a list.
    fn entries(&self) -> MutexGuard<'_, Vec<CacheEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheEntry {
    fn is_for(&self, index_pattern: &str, mapping: &Mapping) -> bool {
        self.index_pattern == index_pattern && self.mapping == *mapping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(field: &str) -> PatternFields {
        let mut types = FieldTypes::unresolved(&Mapping::zabbix());
        field.clone_into(&mut types.hosts[0].field);
        PatternFields::now(types, None)
    }

    fn field(known: Option<PatternFields>) -> Option<String> {
        known.map(|known| known.types.hosts[0].field.clone())
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
        assert_eq!(field(cache.get("a", &Mapping::zabbix(), None)).as_deref(), Some("3"));
        assert_eq!(field(cache.get("a", &other(), None)).as_deref(), Some("2"));
        assert_eq!(cache.get("b", &other(), None), None);
        cache.forget("a", &other());
        assert_eq!(cache.get("a", &other(), None), None);
        assert_eq!(field(cache.get("a", &Mapping::zabbix(), None)).as_deref(), Some("3"));
    }

    #[tokio::test]
    async fn what_is_known_of_one_window_says_nothing_of_another() {
        let cache = FieldTypesCache::default();
        let time = |ms| chrono::DateTime::from_timestamp_millis(ms).expect("a time");
        let window = |to| Some(Window { from: time(0), to: time(to) });
        cache.put("a", &other(), window(1), types("1"));
        cache.put("a", &other(), window(2), types("2"));
        assert_eq!(field(cache.get("a", &other(), window(1))).as_deref(), Some("1"));
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
        assert_eq!(field(cache.get("1", &Mapping::zabbix(), None)).as_deref(), Some("1"));
        assert_eq!(field(cache.get(&MAX_ENTRIES.to_string(), &Mapping::zabbix(), None)).as_deref(), Some("1"));
    }
}
