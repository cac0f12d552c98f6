//! How a window is cut into slices of time, for metrics that are measured part by part.
//!
//! Owns the rule and the bound on buckets that follows from it. A pure function of the window: what is read
//! of a host never depends on which others are read with it.

use super::{Mapping, Metric};
use hostsync_model::window::Window;

/// Most buckets that one search may ask for. The engines' own bound (`search.max_buckets`) is 65,535 by default.
pub const MAX_BUCKETS: u64 = 50_000;

/// Most slices of a window, unless even days make more of it.
const MAX_SLICES: u64 = 100;

/// The lengths that a slice may have, in seconds: 10 s, 1 min, 5 min, 1 h, 1 d.
const LENGTHS_S: [u64; 5] = [10, 60, 300, 3_600, 86_400];

/// Parts of a host and slice that room is left for. A host with more is read by a search with fewer hosts, which
/// has room for more.
const EXPECTED_PARTS: u64 = 20;

/// Most numbers of cores of one host in a window, where it is read by them; a host with more fails.
pub(super) const MAX_CORE_NUMBERS: u64 = 8;

/// The slices of a window. The first begins with it; the last may be shorter than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slices {
    /// Length of one, in seconds.
    pub seconds: u64,
    /// How many there are, at least 1.
    pub count: u64,
}

impl Slices {
    /// The finest of 10 s, 1 min, 5 min and 1 h that gives at most 100 slices, else 1 d.
    pub fn of(window: Window) -> Self {
        let length_ms = u64::try_from((window.to - window.from).num_milliseconds()).unwrap_or(0).max(1);
        let of = |seconds: u64| Self { seconds, count: length_ms.div_ceil(seconds * 1_000) };
        let [finer @ .., day] = LENGTHS_S;
        finer.into_iter().map(of).find(|slices| slices.count <= MAX_SLICES).unwrap_or_else(|| of(day))
    }

    /// Where the first slice begins, in milliseconds from a multiple of the length.
    pub(super) fn offset_ms(self, window: Window) -> u64 {
        let length_ms = i64::try_from(self.seconds * 1_000).unwrap_or(i64::MAX);
        u64::try_from(window.from.timestamp_millis().rem_euclid(length_ms)).unwrap_or(0)
    }
}

/// Slices of all metrics that are split.
fn slices_of_host(mapping: &Mapping, window: Window) -> u64 {
    let splits = Metric::ALL.into_iter().filter(|metric| mapping.metric(*metric).split.is_some()).count();
    Slices::of(window).count * splits as u64
}

/// Buckets of a host beside those of slices: its own, and one a number of cores.
fn other_buckets(mapping: &Mapping) -> u64 {
    if mapping.cpu.per_core.is_some() { 1 + MAX_CORE_NUMBERS } else { 1 }
}

/// Most hosts in one search that leave room for [`EXPECTED_PARTS`] within [`MAX_BUCKETS`]; `None`: a host is one bucket.
pub(super) fn hosts_within_buckets(mapping: &Mapping, window: Window) -> Option<u64> {
    let of_host = other_buckets(mapping) + slices_of_host(mapping, window) * (1 + EXPECTED_PARTS);
    (of_host > 1).then(|| (MAX_BUCKETS / of_host).max(1))
}

/// Most parts of one host and slice in a search of so many hosts, at least 1, so that it stays within [`MAX_BUCKETS`].
pub(super) fn parts_within_buckets(mapping: &Mapping, window: Window, hosts: usize) -> u64 {
    let of_host = MAX_BUCKETS / (hosts.max(1) as u64);
    let of_slices = of_host.saturating_sub(other_buckets(mapping));
    (of_slices / slices_of_host(mapping, window).max(1)).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use hostsync_model::window::TimeRange;
    use proptest::prelude::*;

    fn window(range: &str) -> Window {
        let to = DateTime::from_timestamp_millis(1_750_000_000_123).expect("a time");
        Window::ending_at(to, &range.parse::<TimeRange>().expect("a range"))
    }

    #[test]
    fn the_finest_slice_is_taken_that_gives_at_most_a_hundred() {
        for (range, seconds, count) in [
            ("1m", 10, 6),
            ("16m", 10, 96),
            ("17m", 60, 17),
            ("100m", 60, 100),
            ("101m", 300, 21),
            ("8h", 300, 96),
            ("9h", 3_600, 9),
            ("24h", 3_600, 24),
            ("4d", 3_600, 96),
            ("5d", 86_400, 5),
            ("30d", 86_400, 30),
            ("366d", 86_400, 366),
        ] {
            assert_eq!(Slices::of(window(range)), Slices { seconds, count }, "{range}");
        }
    }

    #[test]
    fn batches_shrink_with_the_number_of_slices() {
        let metricbeat = Mapping::metricbeat();
        assert_eq!(hosts_within_buckets(&Mapping::zabbix(), window("30d")), None);
        assert_eq!(hosts_within_buckets(&metricbeat, window("24h")), Some(97));
        assert_eq!(hosts_within_buckets(&metricbeat, window("30d")), Some(78));
        assert_eq!(hosts_within_buckets(&metricbeat, window("366d")), Some(6));
        assert_eq!(parts_within_buckets(&metricbeat, window("24h"), 97), 20);
        assert_eq!(parts_within_buckets(&metricbeat, window("24h"), 1), 2_081);
    }

    proptest! {
        #[test]
        fn no_search_asks_for_more_buckets_than_it_may(minutes in 1_u32..=366 * 24 * 60, share in 1_u64..=100) {
            let (mapping, window) = (Mapping::metricbeat(), window(&format!("{minutes}m")));
            let most = hosts_within_buckets(&mapping, window).expect("a bound");
            let hosts = (most * share / 100).max(1);
            let parts = parts_within_buckets(&mapping, window, usize::try_from(hosts).expect("small"));
            prop_assert!(parts >= EXPECTED_PARTS, "{} {}", hosts, parts);
            prop_assert!(hosts * (9 + Slices::of(window).count * (1 + parts)) <= MAX_BUCKETS);
        }
    }
}
