//! Indices that a pattern matched in an earlier run and that are skipped now: the engines leave out what is closed without a
//! word.
//!
//! Owns the comparison of what a pattern matches with what it matched before, which is stored for the fleet. It is made
//! when the list of indices was looked up anew, never a batch. Through a query proxy nothing is known of indices.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// Longest time for the looks at all of them at once: a batch waits for it. What was not answered by then is looked at again
/// when the list of indices is looked up anew.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// How long a missing index is told of. After it, it is taken for meant.
const TOLD_FOR: TimeDelta = TimeDelta::days(7);

/// Patterns whose last comparison is remembered; beyond it the one not searched for longest is compared again.
const MOST_PATTERNS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Finds missing indices, and remembers what was found for the patterns that this process has searched.
pub(crate) struct MissingIndices {
    pool: MySqlPool,
    checks: Mutex<LruCache<PatternKey, PatternCheck>>,
}

/// What a list of indices belongs to: each mapping has one of its own, since it is looked up with the mapping's fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PatternKey {
    endpoint: String,
    index_pattern: String,
    mapping: String,
}

/// What the last comparison found.
struct PatternCheck {
    /// The list that was compared.
    indices: Arc<[String]>,
    missing: Arc<[String]>,
}

/// What a pattern matched before, as it is stored for the fleet.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct IndexHistory {
    indices: Vec<String>,
    #[serde(default)]
    missing: BTreeMap<String, MissingIndex>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct MissingIndex {
    since: DateTime<Utc>,
    why: String,
}

impl MissingIndices {
    pub(crate) fn new(pool: MySqlPool) -> Self {
        Self { pool, checks: Mutex::new(LruCache::new(MOST_PATTERNS)) }
    }

    /// What to warn of, a sentence an index. After a search of the pattern by the mapping of this name: before it nothing is
    /// known.
    ///
    /// # Errors
    ///
    /// The database's.
    pub(crate) async fn of(
        &self,
        endpoint: &Endpoint,
        index_pattern: &str,
        (mapping_name, mapping): (&str, &Mapping),
    ) -> Result<Arc<[String]>, sqlx::Error> {
        let Some(indices) = endpoint.indices_of(index_pattern, mapping).filter(|list| list.len() <= MOST_INDICES)
        else {
            return Ok(Arc::default());
        };
        let key = PatternKey {
            endpoint: endpoint.name().to_owned(),
            index_pattern: index_pattern.to_owned(),
            mapping: mapping_name.to_owned(),
        };
        let of_this_list = |check: &&PatternCheck| Arc::ptr_eq(&check.indices, &indices);
        if let Some(check) = self.checks().get(&key).filter(of_this_list) {
            return Ok(Arc::clone(&check.missing));
        }
        let (now, stored) = {
            let mut connection = self.pool.acquire().await?;
            let now = database::now(&mut connection).await?;
            (now, pattern_state::indices(&mut connection, endpoint.name(), index_pattern).await?)
        };
        let before: IndexHistory =
            stored.as_deref().and_then(|stored| serde_json::from_str(stored).ok()).unwrap_or_default();
        let gone = before.not_among(&indices);
        let looks = gone.iter().map(|index| tokio::time::timeout(LONGEST_LOOK, endpoint.state_of(index)));
        let states = join_all(looks).await.into_iter().map(|state| state.unwrap_or(IndexState::Unknown));
        let after = before.followed_by(&indices, gone.into_iter().zip(states), now);
        if after != before {
            let text = serde_json::json!(after).to_string();
            let mut connection = self.pool.acquire().await?;
            pattern_state::remember_indices(&mut connection, endpoint.name(), index_pattern, &text).await?;
        }
        let missing: Arc<[String]> = after.sentences().collect();
        self.remember(key, indices, &missing);
        Ok(missing)
    }

    fn checks(&self) -> MutexGuard<'_, LruCache<PatternKey, PatternCheck>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, key: PatternKey, indices: Arc<[String]>, missing: &Arc<[String]>) {
        let mut checks = self.checks();
        checks.put(key, PatternCheck { indices, missing: Arc::clone(missing) });
        let mut by_endpoint: BTreeMap<String, BTreeSet<&String>> = BTreeMap::new();
        for (pattern, check) in checks.iter() {
            by_endpoint.entry(pattern.endpoint.clone()).or_default().extend(check.missing.iter());
        }
        Metrics::global()
            .indices_missing(by_endpoint.into_iter().map(|(endpoint, missing)| (endpoint, missing.len() as u64)));
    }
}

impl IndexHistory {
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
        let mut after = Self { indices: indices.to_vec(), missing: BTreeMap::new() };
        for (index, state) in gone {
            let known = self.missing.get(&index);
            let since = known.map_or(now, |missing| missing.since);
            match (state, known) {
                (IndexState::Skipped { .. }, _) if now - since >= TOLD_FOR => {}
                (IndexState::Skipped { why }, _) => {
                    after.missing.insert(index, MissingIndex { since, why });
                }
                // Nothing is concluded: what was told of it stands, and it is looked at again.
                (IndexState::Unknown, Some(known)) => {
                    after.missing.insert(index, known.clone());
                }
                (IndexState::Unknown, None) => after.indices.push(index),
                (IndexState::Searchable | IndexState::Gone, _) => {}
            }
        }
        after
    }

    fn sentences(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(|(index, MissingIndex { why, .. })| {
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
        let first = IndexHistory::default().followed_by(&list(&["a", "b", "c"]), [], now);
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

    #[test]
    fn an_index_of_which_the_source_says_nothing_is_neither_told_nor_forgotten() {
        let now = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let open = list(&["a"]);
        let first = IndexHistory::default().followed_by(&list(&["a", "b"]), [], now);
        let second = first.followed_by(&open, [("b".to_owned(), IndexState::Unknown)], now);
        assert_eq!((second.sentences().count(), second.not_among(&open)), (0, list(&["b"])));
        let why = "it is closed".to_owned();
        let third = second.followed_by(&open, [("b".to_owned(), IndexState::Skipped { why })], now);
        let fourth = third.followed_by(&open, [("b".to_owned(), IndexState::Unknown)], now + TimeDelta::days(1));
        assert_eq!(fourth, third, "what was told of it stands");
    }
}
