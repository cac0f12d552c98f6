//! Indices that a pattern matched in an earlier run and that are skipped now: the engines leave out what is closed without a
//! word.
//!
//! Owns the comparison of what a pattern matches with what it matched before, which is stored for the fleet. It is made
//! when the list of indices was looked up anew, never a batch. Through a query proxy nothing is known of indices.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use hostsync_mapping::Mapping;
use hostsync_metrics::Metrics;
use hostsync_source::{Endpoint, IndexState};
use hostsync_store::database;
use hostsync_store::tables::pattern_state;
use lru::LruCache;
use serde::{Deserialize, Serialize};
use sqlx::MySqlPool;

/// Most indices of a pattern that are remembered; of a pattern with more none is, and nothing is told.
const MOST_INDICES: usize = 10_000;

/// Indices looked at when they are not matched any more; further ones are taken for deleted.
const MOST_LOOKED_AT: usize = 50;

/// Longest time for the looks at all of them: a batch waits for it.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// How long a missing index is told of. After it, it is taken for meant.
const TOLD_FOR: TimeDelta = TimeDelta::days(7);

/// Patterns whose last comparison is remembered; beyond it the one not searched for longest is compared again.
const MOST_PATTERNS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// What is known of the patterns that this process has searched.
pub(crate) struct MissingIndices {
    pool: MySqlPool,
    known: Mutex<LruCache<(String, String), Known>>,
}

struct Known {
    /// The list that was compared last.
    indices: Arc<[String]>,
    missing: Arc<[String]>,
}

/// As it is stored.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Remembered {
    indices: Vec<String>,
    #[serde(default)]
    missing: BTreeMap<String, Missing>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Missing {
    since: DateTime<Utc>,
    why: String,
}

impl MissingIndices {
    pub(crate) fn new(pool: MySqlPool) -> Self {
        Self { pool, known: Mutex::new(LruCache::new(MOST_PATTERNS)) }
    }

    /// What to warn of, a sentence an index. After a search of the pattern: before it nothing is known.
    ///
    /// # Errors
    ///
    /// The database's.
    pub(crate) async fn of(
        &self,
        endpoint: &Endpoint,
        index_pattern: &str,
        mapping: &Mapping,
    ) -> Result<Arc<[String]>, sqlx::Error> {
        let Some(indices) = endpoint.indices_of(index_pattern, mapping).filter(|list| list.len() <= MOST_INDICES)
        else {
            return Ok(Arc::default());
        };
        let key = (endpoint.name().to_owned(), index_pattern.to_owned());
        let known = |known: &mut LruCache<(String, String), Known>| {
            known
                .get(&key)
                .filter(|known| Arc::ptr_eq(&known.indices, &indices))
                .map(|known| Arc::clone(&known.missing))
        };
        if let Some(missing) = known(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(missing);
        }
        let (now, stored) = {
            let mut connection = self.pool.acquire().await?;
            let now = database::now(&mut connection).await?;
            (now, pattern_state::indices(&mut connection, &key.0, index_pattern).await?)
        };
        let before: Remembered =
            stored.as_deref().and_then(|stored| serde_json::from_str(stored).ok()).unwrap_or_default();
        let gone = before.not_among(&indices);
        let looks = join_all(gone.iter().map(|index| endpoint.state_of(index)));
        // Nothing is concluded, and the next batch looks again.
        let Ok(states) = tokio::time::timeout(LONGEST_LOOK, looks).await else { return Ok(Arc::default()) };
        let after = before.followed_by(&indices, gone.into_iter().zip(states), now);
        if after != before {
            let text = serde_json::json!(after).to_string();
            let mut connection = self.pool.acquire().await?;
            pattern_state::remember_indices(&mut connection, &key.0, index_pattern, &text).await?;
        }
        let missing: Arc<[String]> = after.sentences().collect();
        self.know(key, indices, &missing);
        Ok(missing)
    }

    fn know(&self, key: (String, String), indices: Arc<[String]>, missing: &Arc<[String]>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(key, Known { indices, missing: Arc::clone(missing) });
        let mut by_endpoint: BTreeMap<String, u64> = BTreeMap::new();
        for ((endpoint, _), known) in known.iter() {
            *by_endpoint.entry(endpoint.clone()).or_default() += known.missing.len() as u64;
        }
        Metrics::global().indices_missing(by_endpoint);
    }
}

impl Remembered {
    /// What was matched or missing and is not matched now.
    fn not_among(&self, indices: &[String]) -> Vec<String> {
        let before = self.missing.keys().chain(&self.indices);
        before.filter(|index| !indices.contains(index)).take(MOST_LOOKED_AT).cloned().collect()
    }

    fn followed_by(
        &self,
        indices: &[String],
        gone: impl IntoIterator<Item = (String, IndexState)>,
        now: DateTime<Utc>,
    ) -> Self {
        let missing = gone.into_iter().filter_map(|(index, state)| {
            let since = self.missing.get(&index).map_or(now, |missing| missing.since);
            match state {
                IndexState::Skipped { why } if now - since < TOLD_FOR => Some((index, Missing { since, why })),
                IndexState::Skipped { .. } | IndexState::Searchable | IndexState::Gone => None,
            }
        });
        Self { indices: indices.to_vec(), missing: missing.collect() }
    }

    fn sentences(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(|(index, Missing { why, .. })| {
            format!("the index \"{index}\", which the pattern matched before, was left out: {why}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_index_that_is_skipped_is_told_until_it_is_back_gone_or_meant() {
        let now = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let first = Remembered::default().followed_by(&list(&["a", "b", "c"]), [], now);
        assert_eq!(first.sentences().count(), 0);
        let open = list(&["a"]);
        assert_eq!(first.not_among(&open), ["b", "c"]);
        let skipped = || IndexState::Skipped { why: "it is closed".to_owned() };
        let second = first.followed_by(&open, [("b".to_owned(), skipped()), ("c".to_owned(), IndexState::Gone)], now);
        let told: Vec<String> = second.sentences().collect();
        assert_eq!(told, ["the index \"b\", which the pattern matched before, was left out: it is closed"]);
        let later = now + TimeDelta::days(1);
        let third = second.followed_by(&open, [("b".to_owned(), skipped())], later);
        assert_eq!((third.not_among(&open), third.missing["b"].since), (list(&["b"]), now));
        assert_eq!(third.not_among(&list(&["a", "b"])), list(&[]), "it is back");
        assert_eq!(third.followed_by(&open, [("b".to_owned(), skipped())], now + TOLD_FOR).sentences().count(), 0);
    }
}
