//! What a search takes when it does not have to share the source, by kind of search.
//!
//! It follows what is clearly quicker at once, and what is slower only while one search at a time is allowed, when nothing that
//! it takes can be the fleet's own crowd. So a fleet that wears a source out does not come to think of that as usual; and where
//! the source has become slower the fleet goes down to one search, sees it, and goes up again. In between it creeps, down
//! by what is a little quicker and up by itself, so that chance does not make it the quickest search ever.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hostsync_model::window::Window;
use serde::{Deserialize, Serialize};

/// Kinds that are remembered for an endpoint, those seen last.
const MOST_KINDS: usize = 32;

/// Weight of a period that was clearly quicker, or alone.
const FOLLOWS: f64 = 0.3;

/// The same of the first so many searches, since the very first is often slow.
const FOLLOWS_YOUNG: f64 = 0.5;
const YOUNG: u32 = 8;

/// Searches that tell what one takes alone.
const ENOUGH_ALONE: u32 = 4;

/// What is clearly quicker or slower: more than this many times. What is clearly slower is a crowd and not chance.
const CLEARLY: f64 = 1.3;

/// Weight of one search that was a little quicker.
const FALLS: f64 = 0.005;

/// By what part of itself a baseline rises with each search that was a little slower, and how many seconds it takes at least for all of it.
const RISES: f64 = 0.0005;
const RISES_SECONDS: f64 = 600.0;

/// What may come on top of each search by itself, such as the way to the source: only what is well beyond it counts.
const SLACK_MS: f64 = 30.0;

/// Searches that take about as long: of one pattern, of windows and numbers of hosts between two powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SearchKind(u64);

impl SearchKind {
    pub(crate) fn of(index_pattern: &str, window: Window, hosts: usize) -> Self {
        let seconds = (window.to - window.from).num_seconds().unsigned_abs();
        // FNV-1a: it has to be the same in every release.
        let bytes = index_pattern.bytes().chain([0, log2(seconds), log2(hosts as u64)]);
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    #[cfg(test)]
    pub(super) const fn numbered(number: u64) -> Self {
        Self(number)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "at most 63")]
fn log2(number: u64) -> u8 {
    number.max(1).ilog2() as u8
}

/// The weight of so many searches, by that of one.
pub(super) fn weight_of(count: u32, one: f64) -> f64 {
    1.0 - (1.0 - one).powi(i32::try_from(count).unwrap_or(i32::MAX))
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Baseline {
    ms: f64,
    /// Searches that it was found by.
    count: u32,
    /// Unix time, in seconds.
    seen: i64,
}

/// The baselines of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Baselines(BTreeMap<u64, Baseline>);

impl Baselines {
    /// As [`Self::written`] wrote them; what another release wrote in another form is found anew.
    pub(super) fn read(text: Option<&str>) -> Self {
        Self(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    pub(super) fn written(mut self) -> String {
        while self.0.len() > MOST_KINDS {
            let oldest = self.0.iter().min_by_key(|(_, baseline)| baseline.seen).map(|(kind, _)| *kind);
            self.0.remove(&oldest.unwrap_or_default());
        }
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Whether enough searches of a kind were seen to say what one takes alone.
    pub(super) fn is_found(&self, SearchKind(kind): SearchKind) -> bool {
        self.0.get(&kind).is_some_and(|known| known.count >= ENOUGH_ALONE)
    }

    /// How many times as long as alone `count` searches of a kind took on average; remembers them. `passed`: seconds since this
    /// endpoint was looked at last.
    pub(super) fn compare(
        &mut self,
        SearchKind(kind): SearchKind,
        (took, count): (Duration, u32),
        alone: bool,
        passed: f64,
        now: DateTime<Utc>,
    ) -> f64 {
        let ms = took.as_secs_f64() * 1_000.0;
        let known = self.0.entry(kind).or_insert(Baseline { ms, count: 0, seen: 0 });
        let is_young = known.count < YOUNG;
        if alone || ms * CLEARLY < known.ms {
            known.ms += (ms - known.ms) * if is_young { FOLLOWS_YOUNG } else { FOLLOWS };
        } else if ms < known.ms {
            known.ms += (ms - known.ms) * if is_young { FOLLOWS_YOUNG } else { weight_of(count, FALLS) };
        } else if ms < known.ms * CLEARLY {
            let rise = (RISES * f64::from(count)).min(passed / RISES_SECONDS);
            known.ms = ms.min(known.ms * (1.0 + rise));
        }
        known.count = known.count.saturating_add(count);
        known.seen = now.timestamp();
        (ms + SLACK_MS) / (known.ms + SLACK_MS)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const KIND: SearchKind = SearchKind(7);

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn searches_of_one_kind_take_about_as_long() {
        let window = |hours| Window { from: now() - TimeDelta::hours(hours), to: now() };
        let kind = |pattern: &str, hours, hosts| SearchKind::of(pattern, window(hours), hosts);
        assert_eq!(kind("data-*", 6, 500), kind("data-*", 6, 480));
        for other in [kind("other-*", 6, 500), kind("data-*", 24, 500), kind("data-*", 6, 20)] {
            assert_ne!(kind("data-*", 6, 500), other);
        }
    }

    #[test]
    fn a_crowd_does_not_become_usual_and_one_search_alone_does() {
        let mut baselines = Baselines::default();
        assert_eq!(baselines.compare(KIND, (ms(200), 1), true, 1.0, now()), 1.0);
        for _ in 0..60 {
            assert!(baselines.compare(KIND, (ms(1_000), 1), false, 1.0, now()) > 4.0);
        }
        for _ in 0..20 {
            baselines.compare(KIND, (ms(1_000), 1), true, 1.0, now());
        }
        assert!(baselines.compare(KIND, (ms(1_000), 1), false, 1.0, now()) < 1.1);
    }

    #[test]
    fn a_slow_first_search_is_soon_forgotten() {
        let mut baselines = Baselines::default();
        baselines.compare(KIND, (ms(380), 1), true, 1.0, now());
        for _ in 0..10 {
            baselines.compare(KIND, (ms(300), 1), false, 1.0, now());
        }
        assert!(baselines.compare(KIND, (ms(400), 1), false, 1.0, now()) > 1.25);
    }

    #[test]
    fn searches_that_take_now_more_now_less_are_no_crowd() {
        let mut baselines = Baselines::default();
        let mut ratios = 0.0;
        for number in 0..10_000_u64 {
            // From 160 to 240 ms, a hundred searches a second.
            let took = ms(160 + number * 31 % 81);
            ratios = ratios * 0.95 + 0.05 * baselines.compare(KIND, (took, 1), false, 0.01, now());
        }
        assert!((0.9..1.2).contains(&ratios), "{ratios}: far from what lowers anything");
    }

    #[test]
    fn what_another_release_wrote_is_found_anew_and_only_the_newest_kinds_are_kept() {
        for text in [None, Some("{}"), Some("[1]"), Some(r#"{"1": "2"}"#)] {
            assert!(Baselines::read(text).0.is_empty(), "{text:?}");
        }
        let mut baselines = Baselines::default();
        for kind in 0..100 {
            let at = now() + TimeDelta::seconds(i64::try_from(kind).expect("small"));
            baselines.compare(SearchKind(kind), (ms(100), 1), false, 0.0, at);
        }
        let text = baselines.written();
        assert!(text.len() < 4_000, "{text}");
        let kept: Vec<u64> = Baselines::read(Some(&text)).0.into_keys().collect();
        assert_eq!(kept, (68..100).collect::<Vec<u64>>());
    }
}
