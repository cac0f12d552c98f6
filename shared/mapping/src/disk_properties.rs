//! Disks over time, held against a truth that is known second by second.
//!
//! Documents are simulated, aggregated as an engine would, and read by the code that reads an engine's answer.

use std::collections::BTreeMap;

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{FieldTypes, HostReading, Mapping, Slices, Stats, read_answer};
use hostsync_model::window::{TimeRange, Window};

const HOST: &str = "10.0.0.1";

/// A place that one mount at a time stands in: changes with their second, name, used and total. An empty name is none.
type CollectorSlot = Vec<(i64, String, f64, f64)>;

/// How a collector fetches.
#[derive(Debug, Clone, Copy)]
struct MountCollector {
    period_ms: i64,
    /// First fetch after the begin of the window; there are some before it too.
    phase_ms: i64,
    jitter_ms: i64,
    /// From one document of a fetch to the next.
    gap_ms: i64,
    /// Stands in each document as `_doc_count`.
    doc_count: u64,
    /// From a second of the window on it fetches with another period, in milliseconds. The first fetch is at once, the last
    /// before it 5 s earlier.
    then: Option<(i64, i64)>,
    /// Seconds of the window between which it is down.
    down: Option<(i64, i64)>,
}

impl MountCollector {
    fn every(period_s: i64) -> Self {
        Self { period_ms: period_s * 1_000, phase_ms: 0, jitter_ms: 0, gap_ms: 0, doc_count: 1, then: None, down: None }
    }

    /// A repeatable number between -`jitter_ms` and `jitter_ms`.
    fn jitter(self, fetch: i64) -> i64 {
        let mixed = fetch.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
        mixed.rem_euclid(2 * self.jitter_ms + 1) - self.jitter_ms
    }

    /// When its fetches begin, in milliseconds from the begin of the window: from a little before it to a little after.
    fn fetches(self, length_ms: i64) -> Vec<i64> {
        let (changes_ms, later_ms) = self.then.map_or((i64::MAX, self.period_ms), |(at_s, ms)| (at_s * 1_000, ms));
        let (before, after) = ((0, self.phase_ms, self.period_ms), (1 << 40, changes_ms, later_ms));
        let of = |(seed, begin, period_ms): (i64, i64, i64)| {
            let fetches = -2..=length_ms / period_ms + 2;
            fetches.map(move |fetch| (fetch, begin + fetch * period_ms + self.jitter(seed + fetch)))
        };
        let mut all: Vec<i64> = of(before).map(|(_, at)| at).filter(|at| *at < changes_ms - 5_000).collect();
        if self.then.is_some() {
            all.extend(of(after).filter(|(fetch, _)| *fetch >= 0).map(|(_, at)| at.max(changes_ms)));
        }
        let is_down = |at: i64| self.down.is_some_and(|(from, to)| (from * 1_000..to * 1_000).contains(&at));
        all.retain(|at| !is_down(*at));
        all
    }

    /// The period at a second of the window.
    fn period_at(self, second: i64) -> i64 {
        self.then.filter(|(at_s, _)| *at_s <= second).map_or(self.period_ms, |(_, ms)| ms)
    }
}

fn window(range: &str) -> Window {
    let to = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
    Window::ending_at(to, &range.parse::<TimeRange>().expect("a range"))
}

/// What stands in a slot at a second, counted from the begin of the window.
fn at(slot: &CollectorSlot, second: i64) -> Option<&(i64, String, f64, f64)> {
    let next = slot.partition_point(|(begin, ..)| *begin <= second);
    slot.get(next.checked_sub(1)?).filter(|(_, name, ..)| !name.is_empty())
}

#[derive(Default)]
struct SimulatedBucket {
    samples: u64,
    used: f64,
    total: f64,
    first: i64,
    last: i64,
}

/// The answer of an engine to a search for this host in this window.
fn answer(slots: &[CollectorSlot], collector: MountCollector, window: Window) -> Value {
    let (from, to) = (window.from.timestamp_millis(), window.to.timestamp_millis());
    let slice_ms = i64::try_from(Slices::of(window).seconds * 1_000).expect("small");
    let mut buckets: BTreeMap<i64, BTreeMap<&str, SimulatedBucket>> = BTreeMap::new();
    let mut documents = 0;
    for begin in collector.fetches(to - from) {
        for (time, slot) in (0..).map(|nth| begin + nth * collector.gap_ms).zip(slots) {
            let Some((_, name, used, total)) = at(slot, time.div_euclid(1_000)) else { continue };
            if !(0..to - from).contains(&time) {
                continue;
            }
            documents += 1;
            let bucket = buckets.entry(time / slice_ms).or_default().entry(name).or_default();
            (bucket.first, bucket.last) =
                if bucket.samples == 0 { (time, time) } else { (bucket.first.min(time), bucket.last.max(time)) };
            (bucket.samples, bucket.used, bucket.total) =
                (bucket.samples + 1, bucket.used + used, bucket.total + total);
        }
    }
    let part = |(name, bucket): (&&str, &SimulatedBucket)| {
        #[expect(clippy::cast_precision_loss, reason = "few documents")]
        let samples = bucket.samples as f64;
        json!({
            "key": name, "doc_count": bucket.samples * collector.doc_count,
            "used": {"value": bucket.used / samples}, "total": {"value": bucket.total / samples},
            "time": {"count": bucket.samples, "min": from + bucket.first, "max": from + bucket.last},
        })
    };
    let slices: Vec<Value> = buckets
        .iter()
        .map(|(slice, parts)| {
            json!({"key": from + slice * slice_ms, "parts": {
                "doc_count_error_upper_bound": 0, "sum_other_doc_count": 0,
                "buckets": parts.iter().map(part).collect::<Vec<_>>(),
            }})
        })
        .collect();
    let none = json!({"count": 0, "min": null, "max": null, "avg": null});
    json!({
        "took": 1, "timed_out": false, "_shards": {"total": 1, "successful": 1, "failed": 0},
        "aggregations": {"hosts": {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": [{
            "key": HOST, "doc_count": documents,
            "cpu": none, "memory": none, "memory_percent": none, "memory_total": {"value": null},
            "disk_slices": {"slices": {"buckets": slices}},
        }]}},
    })
}

fn read(slots: &[CollectorSlot], collector: MountCollector, window: Window) -> HostReading {
    let (mapping, hosts) = (Mapping::metricbeat(), [HOST.to_owned()]);
    let types = FieldTypes::unresolved(&mapping);
    let body = answer(slots, collector, window).to_string();
    let answer = read_answer(&mapping, &types, &types.hosts[0], &hosts, body.as_bytes()).expect("a whole answer");
    answer.hosts.readings(&mapping, window)[HOST]
}

/// The mean of what is in use over seconds from the begin of the window: as if each were looked at, in one step for
/// those between two changes.
#[expect(clippy::cast_precision_loss, reason = "seconds of a month")]
fn mean_used(slots: &[CollectorSlot], from: i64, to: i64) -> f64 {
    let of_slot = |slot: &CollectorSlot| {
        let changes = slot.iter().map(|(begin, ..)| *begin).filter(|begin| (from + 1..to).contains(begin));
        let mut begin = from;
        let mut sum = 0.0;
        for end in changes.chain([to]) {
            sum += at(slot, begin).map_or(0.0, |(_, _, used, _)| *used) * (end - begin) as f64;
            begin = end;
        }
        sum
    };
    slots.iter().map(of_slot).sum::<f64>() / (to - from) as f64
}

fn truth(slots: &[CollectorSlot], window: Window) -> Stats {
    let length = (window.to - window.from).num_seconds();
    let slice = i64::try_from(Slices::of(window).seconds).expect("small");
    let begins = (0..length).step_by(usize::try_from(slice).expect("small"));
    let means: Vec<f64> = begins.map(|begin| mean_used(slots, begin, (begin + slice).min(length))).collect();
    Stats {
        max: means.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        avg: mean_used(slots, 0, length),
        min: means.iter().copied().fold(f64::INFINITY, f64::min),
    }
}

fn steady(name: &str, used: f64, total: f64) -> CollectorSlot {
    vec![(i64::MIN, name.to_owned(), used, total)]
}

/// A volume whose mount point has a new name every so many seconds.
fn renamed(every_s: i64, used: f64, total: f64) -> CollectorSlot {
    (-1..31 * 86_400 / every_s).map(|nth| (nth * every_s, format!("/v{nth}"), used, total)).collect()
}

fn flat(value: f64) -> Stats {
    Stats { max: value, avg: value, min: value }
}

fn assert_close(found: Option<Stats>, expected: Stats, what: &str) {
    let found = found.expect(what);
    for (found, expected) in [(found.max, expected.max), (found.avg, expected.avg), (found.min, expected.min)] {
        assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{what}: {found} is not {expected}");
    }
}

#[test]
fn a_volume_with_an_ever_new_mount_point_is_counted_once_in_every_window() {
    let slots = [steady("/", 20.0, 100.0), renamed(600, 50.0, 100.0)];
    for range in ["30m", "1h", "24h", "30d"] {
        for period_s in [10, 60, 300] {
            let reading = read(&slots, MountCollector::every(period_s), window(range));
            assert_close(reading.disk, flat(70.0), range);
            assert_close(reading.disk_share.percent, flat(35.0), range);
            assert_eq!(reading.disk_share.total, Some(200.0), "{range}");
        }
    }
}

#[test]
fn a_fetch_on_both_sides_of_a_border_is_whole_in_every_window() {
    let slots = [steady("/", 20.0, 100.0), steady("/data", 300.0, 400.0)];
    for range in ["2m", "5m", "16m", "17m", "30m", "1h", "100m", "8h", "24h", "4d", "30d"] {
        // A document before each full minute, another after it: borders of slices, and of the window.
        for (phase_ms, jitter_ms) in [(59_750, 0), (59_750, 300), (59_999, 100), (0, 0), (59_500, 0), (30_000, 2_000)] {
            let collector = MountCollector { phase_ms, jitter_ms, gap_ms: 500, ..MountCollector::every(60) };
            let reading = read(&slots, collector, window(range));
            let what = format!("{range} {collector:?}");
            assert_close(reading.disk, flat(320.0), &what);
            assert_close(reading.disk_share.percent, flat(64.0), &what);
        }
    }
}

#[test]
fn a_slow_fetch_of_many_mounts_is_whole_wherever_it_is_cut() {
    let mounts = [("/", 20.0, 100.0), ("/a", 100.0, 400.0), ("/b", 30.0, 50.0), ("/c", 50.0, 50.0)];
    let slots = mounts.map(|(name, used, total)| steady(name, used, total));
    for range in ["5m", "15m", "30m", "8h", "24h"] {
        for phase_ms in (0..60_000).step_by(4_300) {
            // 4.5 s from the first document to the last, some seconds early or late.
            let collector = MountCollector { phase_ms, jitter_ms: 2_000, gap_ms: 1_500, ..MountCollector::every(60) };
            let reading = read(&slots, collector, window(range));
            let what = format!("{range} {collector:?}");
            assert_close(reading.disk, flat(200.0), &what);
            assert_eq!(reading.disk_share.total, Some(600.0), "{what}");
        }
    }
}

#[test]
fn a_mount_that_lives_for_half_a_slice_counts_half() {
    let slots =
        [steady("/", 20.0, 100.0), vec![(600, "/usb".to_owned(), 60.0, 60.0), (2_400, String::new(), 0.0, 0.0)]];
    let reading = read(&slots, MountCollector::every(60), window("24h"));
    let extremes = reading.disk_slices.expect("slices");
    assert_eq!(
        (extremes.max.sum, extremes.max.fetches, extremes.max.quotient),
        (60.0 * 20.0 + 30.0 * 60.0, 60.0, 50.0)
    );
    assert_eq!(extremes.max.begin_ms, window("24h").from.timestamp_millis());
    assert_eq!((extremes.min.sum, extremes.min.fetches, extremes.min.quotient), (60.0 * 20.0, 60.0, 20.0));
    assert_close(reading.disk, Stats { max: 50.0, avg: 20.0 + 30.0 / 24.0, min: 20.0 }, "half a slice");
}

#[test]
fn a_document_that_stands_for_several_counts_as_many() {
    let slots = [steady("/", 20.0, 100.0), renamed(7_200, 50.0, 100.0)];
    let reading = read(&slots, MountCollector { doc_count: 6, ..MountCollector::every(60) }, window("24h"));
    assert_close(reading.disk, flat(70.0), "six each");
    assert!((reading.disk_slices.expect("slices").max.fetches - 360.0).abs() < 1e-9);
}

#[test]
fn the_last_slice_weighs_what_it_has_of_the_window() {
    // 100 minutes in slices of one, and 9 hours and a quarter in slices of an hour.
    let minutes = 9 * 60 + 15;
    let slots = [steady("/", 10.0, 100.0), vec![(9 * 3_600, "/late".to_owned(), 40.0, 100.0)]];
    let reading = read(&slots, MountCollector::every(60), window(&format!("{minutes}m")));
    let avg = 10.0 + 40.0 * 15.0 / f64::from(minutes);
    assert_close(reading.disk, Stats { max: 50.0, avg, min: 10.0 }, "a quarter of an hour");
}

/// `/` all the time, `/data` in one half of the window.
fn half(window: Window, is_older: bool) -> [CollectorSlot; 2] {
    let middle = (window.to - window.from).num_seconds() / 2;
    let (data, none) = (("/data".to_owned(), 60.0, 100.0), (String::new(), 0.0, 0.0));
    let [older, newer] = if is_older { [data, none] } else { [none, data] };
    let at = |second, (name, used, total): (String, f64, f64)| (second, name, used, total);
    [steady("/", 20.0, 100.0), vec![at(i64::MIN, older), at(middle, newer)]]
}

fn assert_within_two_percent(found: Option<Stats>, expected: Stats, what: &str) {
    let found = found.expect(what);
    for (found, expected) in [(found.max, expected.max), (found.avg, expected.avg), (found.min, expected.min)] {
        assert!((found - expected).abs() <= 0.02 * expected, "{what}: {found} is not {expected}");
    }
}

#[test]
fn a_time_of_few_fetches_weighs_as_much_as_one_of_many() {
    for range in ["1h", "90m", "2h", "6h", "24h"] {
        let window = window(range);
        let middle = (window.to - window.from).num_seconds() / 2;
        for (first_s, later_s) in [(300, 10), (10, 300), (90, 10), (10, 90), (240, 60), (60, 240)] {
            for is_older in [true, false] {
                for phase_ms in (0..first_s * 1_000).step_by(71_000) {
                    let then = Some((middle, later_s * 1_000));
                    let collector = MountCollector { phase_ms, then, gap_ms: 300, ..MountCollector::every(first_s) };
                    let reading = read(&half(window, is_older), collector, window);
                    let what = format!("{range} {collector:?} {is_older}");
                    assert_within_two_percent(reading.disk, Stats { max: 80.0, avg: 50.0, min: 20.0 }, &what);
                    let percent = Stats { max: 40.0, avg: 30.0, min: 20.0 };
                    assert_within_two_percent(reading.disk_share.percent, percent, &what);
                }
            }
        }
    }
}

#[test]
fn fetches_that_jump_over_the_borders_of_slices_weigh_what_time_they_stand_for() {
    let window = window("1h");
    for is_older in [true, false] {
        for phase_ms in (0..60_000).step_by(1_500) {
            for jitter_ms in [0, 5_000, 10_000, 10_007, 10_011] {
                let collector = MountCollector { phase_ms, jitter_ms, gap_ms: 700, ..MountCollector::every(60) };
                let reading = read(&half(window, is_older), collector, window);
                let what = format!("{collector:?} {is_older}");
                assert_within_two_percent(reading.disk, Stats { max: 80.0, avg: 50.0, min: 20.0 }, &what);
            }
        }
    }
}

#[test]
fn a_silence_counts_for_nothing() {
    // 6 hours with /data, 12 of silence, 6 without.
    let window = window("24h");
    for period_s in [10, 60, 300] {
        let collector = MountCollector { down: Some((6 * 3_600, 18 * 3_600)), ..MountCollector::every(period_s) };
        let slots = [
            steady("/", 20.0, 100.0),
            vec![(i64::MIN, "/data".to_owned(), 60.0, 100.0), (6 * 3_600, String::new(), 0.0, 0.0)],
        ];
        let reading = read(&slots, collector, window);
        assert_within_two_percent(reading.disk, Stats { max: 80.0, avg: 50.0, min: 20.0 }, "half of what is known");
        // 6 hours of 18 that are known.
        let down = Some((6 * 3_600, 12 * 3_600));
        let reading = read(&slots, MountCollector { down, ..collector }, window);
        assert_within_two_percent(reading.disk, Stats { max: 80.0, avg: 40.0, min: 20.0 }, "a third of what is known");
    }
    // A host of which nothing is known before the last hour: half of it with /data, then without, fetched far more often.
    let window = self::window("6h");
    let slots = [
        steady("/", 20.0, 100.0),
        vec![(i64::MIN, "/data".to_owned(), 60.0, 100.0), (19_800, String::new(), 0.0, 0.0)],
    ];
    let collector =
        MountCollector { down: Some((-3_600, 18_000)), then: Some((19_800, 10_000)), ..MountCollector::every(300) };
    for phase_ms in (0..300_000).step_by(17_000) {
        let reading = read(&slots, MountCollector { phase_ms, ..collector }, window);
        assert_within_two_percent(
            reading.disk,
            Stats { max: 80.0, avg: 50.0, min: 20.0 },
            &format!("from {phase_ms} on"),
        );
    }
}

#[test]
fn two_fetches_right_after_each_other_are_two_at_a_border_too() {
    // The collector begins anew at the border of a slice, 5.1 s after the fetch before.
    let collector =
        MountCollector { phase_ms: 5_865, gap_ms: 136, then: Some((300, 10_000)), ..MountCollector::every(17) };
    let reading = read(&[steady("/", 100.0, 250.0), renamed(51, 50.0, 100.0)], collector, window("45m"));
    assert_close(reading.disk, flat(150.0), "right after each other");
}

#[test]
fn a_fetch_that_the_window_cuts_is_left_out_also_where_fetches_are_few() {
    // One document of the first fetch lies before the window, and the newer half is fetched far more often.
    let collector =
        MountCollector { phase_ms: -250, gap_ms: 500, then: Some((1_810, 10_000)), ..MountCollector::every(300) };
    let slots = [steady("/", 20.0, 100.0), steady("/data", 300.0, 400.0)];
    let reading = read(&slots, collector, window("1h"));
    assert_close(reading.disk, flat(320.0), "a cut fetch");
    assert_close(reading.disk_share.percent, flat(64.0), "a cut fetch");
}

/// A host whose mounts come and go, with its collector.
#[derive(Debug, Clone)]
struct Simulation {
    range: &'static str,
    collector: MountCollector,
    slots: Vec<CollectorSlot>,
    /// Seconds with a change, and by how much what is in use changes.
    changes: Vec<(i64, f64)>,
}

fn simulated() -> impl Strategy<Value = Simulation> {
    let range = prop::sample::select(vec!["30m", "45m", "1h", "100m", "7h", "24h", "25h", "4d", "30d"]);
    let period_s = prop::sample::select(vec![10_i64, 17, 30, 60, 90, 300]);
    let later_s = prop::option::of((0..1_000_i64, prop::sample::select(vec![10_i64, 30, 60, 300])));
    let sizes = prop::collection::vec((5.0..40.0_f64, 1.0..3.0_f64), 3);
    let changes = prop::collection::vec((0..3_usize, 1.0..4.0_f64), 0..12);
    (range, (period_s, later_s), 0..1_000_i64, 0..=170_i64, 0..=700_i64, 0_i64..50, sizes, changes).prop_map(
        |(range, (first_s, later_s), phase, jitter, gap_ms, rename_periods, sizes, changes)| {
            let window = window(range);
            let length = (window.to - window.from).num_seconds();
            let slice = i64::try_from(Slices::of(window).seconds).expect("small");
            // Within a slice what is fetched more often counts more, so the period changes between two.
            let then = later_s.map(|(at, period_s)| (length * at / 1_000 / slice * slice, period_s * 1_000));
            let period_s = later_s.map_or(first_s, |(_, period_s)| period_s.max(first_s));
            // What sampling can tell: a state lasts for a whole slice with a fetch in it, or a slice has so many fetches
            // that one more or less is no matter.
            let hold = if slice >= 100 * period_s { slice } else { 2 * slice + 3 * period_s };
            let mut slots = vec![steady("/", 100.0, 250.0)];
            if rename_periods >= 3 {
                slots.push(renamed((rename_periods * period_s).max(length / 1_000), 50.0, 100.0));
            }
            let coming = slots.len();
            slots.extend(sizes.iter().map(|_| CollectorSlot::new()));
            let (mut second, mut changed) = (0, Vec::new());
            for (nth, factor) in changes {
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "days in seconds")]
                let pause = (hold as f64 * factor) as i64;
                second += pause;
                if second + hold > length {
                    break;
                }
                let (used, share) = sizes[nth];
                let slot = &mut slots[coming + nth];
                let is_there = slot.last().is_some_and(|(_, name, ..)| !name.is_empty());
                let name = if is_there { String::new() } else { format!("/m{nth}") };
                slot.push((second, name, used, used * share));
                changed.push((second, used));
            }
            let shortest_ms = then.map_or(first_s * 1_000, |(_, ms)| ms.min(first_s * 1_000));
            let collector = MountCollector {
                phase_ms: first_s * phase,
                jitter_ms: shortest_ms * jitter / 1_000,
                gap_ms,
                then,
                ..MountCollector::every(first_s)
            };
            Simulation { range, collector, slots, changes: changed }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn disks_are_within_two_percent_of_the_truth_and_never_more_than_there_was(host in simulated()) {
        let window = window(host.range);
        let truth = truth(&host.slots, window);
        let found = read(&host.slots, host.collector, window).disk.expect("a disk");
        prop_assert!((found.max - truth.max).abs() <= 0.02 * truth.max, "{found:?} {truth:?}");
        prop_assert!((found.min - truth.min).abs() <= 0.02 * truth.min, "{found:?} {truth:?}");
        // A change is seen at the next fetch: up to a period late.
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a month")]
        let late = host.changes.iter().map(|(second, used)| used * host.collector.period_at(*second) as f64).sum::<f64>()
            / (window.to - window.from).num_milliseconds() as f64;
        prop_assert!((found.avg - truth.avg).abs() <= 0.02 * truth.avg + late, "{found:?} {truth:?}");
        let seconds = (window.to - window.from).num_seconds();
        let changes = host.slots.iter().flatten().map(|(second, ..)| *second).filter(|second| (0..seconds).contains(second));
        let most = changes.chain([0]).map(|second| mean_used(&host.slots, second, second + 1)).fold(0.0, f64::max);
        prop_assert!(found.max <= most * (1.0 + 1e-9), "{found:?} {most}");
    }
}
