//! What a host had over time, from documents that each show a part of it: the mounts of a disk.
//!
//! A collector *fetches* all parts of a host every period and writes a document a part. Owns the rule by which slices
//! of such documents become numbers: the sum of all documents of a slice ÷ its fetches, so that a part which is there
//! for half of a slice counts half, and parts that follow one another never add up. A fetch that the border of a slice
//! or of the window cuts in two is put together or left out first. In the average a slice weighs the time that it stands
//! for, so that a time of few fetches weighs as much as one of many. Knows no JSON.

#![expect(clippy::cast_precision_loss, reason = "counts of documents and times in milliseconds are far below 2^52")]

use std::collections::{BTreeMap, HashMap};

use super::stats::{Share, Stats, larger, max_of};
use super::{Combine, Slices};
use hostsync_model::window::Window;

/// Longest that a fetch is taken to last, in milliseconds: half of the shortest usual period, 10 s. One that lasts
/// longer is not put together at a border, and counts there as two.
const MAX_FETCH_MS: f64 = 5_000.0;

/// Longest time without a fetch that needs no explanation, in milliseconds.
const MAX_GAP_MS: f64 = 600_000.0;

/// How many periods without a fetch are still no silence.
const MAX_GAP_PERIODS: f64 = 3.0;

/// How many periods after a fetch the next is sure to come, early or late.
const NEXT_FETCH_PERIODS: f64 = 1.5;

/// The documents of one part in one slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    /// Mean of what is in use.
    pub(super) used: f64,
    /// Mean capacity.
    pub(super) total: Option<f64>,
    /// How many documents there are, at least 1.
    pub(super) samples: u64,
    /// For how many they stand, by their `_doc_count`.
    pub(super) documents: f64,
    /// Time of the first one, in milliseconds since the epoch.
    pub(super) first_ms: f64,
    /// Time of the last one.
    pub(super) last_ms: f64,
}

/// Parts by slice (its first millisecond) and name.
pub(super) type PartsBySlice = BTreeMap<i64, BTreeMap<String, Part>>;

/// A slice of the window as it was counted, in the unit of the metric.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SliceSum {
    /// When it begins, in milliseconds since the epoch.
    pub begin_ms: i64,
    /// Sum of all documents in it.
    pub sum: f64,
    /// How often its most frequent part was seen.
    pub fetches: f64,
    /// The sum ÷ the fetches: its value.
    pub quotient: f64,
}

/// The slices behind a maximum and a minimum.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Extremes {
    /// The first slice with the largest value.
    pub max: SliceSum,
    /// The first slice with the smallest value.
    pub min: SliceSum,
}

/// What the slices of a host come to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct SliceStats {
    pub(super) stats: Option<Stats>,
    pub(super) share: Share,
    /// Of a sum only.
    pub(super) extremes: Option<Extremes>,
}

impl Part {
    /// The documents of both.
    pub(super) fn with(self, other: Self) -> Self {
        let all = self.documents + other.documents;
        let mean = |a: f64, b: f64| (a * self.documents + b * other.documents) / all;
        Self {
            used: mean(self.used, other.used),
            total: self.total.zip(other.total).map(|(a, b)| mean(a, b)),
            samples: self.samples + other.samples,
            documents: all,
            first_ms: self.first_ms.min(other.first_ms),
            last_ms: self.last_ms.max(other.last_ms),
        }
    }

    /// One of its documents, of which only the means are known.
    fn one(self) -> Self {
        Self { samples: 1, documents: self.documents / self.samples as f64, ..self }
    }

    /// The others.
    fn without_one(self) -> Option<Self> {
        let samples = self.samples.checked_sub(1).filter(|samples| *samples > 0)?;
        Some(Self { samples, documents: self.documents - self.one().documents, ..self })
    }

    /// All but the first, of which the times are known only if they are even.
    fn without_first(self) -> Option<Self> {
        let first_ms = self.first_ms + self.period_ms().unwrap_or_default();
        Some(Self { first_ms, ..self.without_one()? })
    }

    /// All but the last.
    fn without_last(self) -> Option<Self> {
        let last_ms = self.last_ms - self.period_ms().unwrap_or_default();
        Some(Self { last_ms, ..self.without_one()? })
    }

    /// The mean time from one document to the next.
    fn period_ms(self) -> Option<f64> {
        let between = self.samples.checked_sub(1).filter(|between| *between > 0)?;
        Some((self.last_ms - self.first_ms) / between as f64).filter(|ms| *ms > 0.0)
    }
}

/// Maximum, average and minimum over the slices of a window.
pub(super) fn over_slices(parts: &PartsBySlice, how: Combine, has_total: bool, window: Window) -> SliceStats {
    let mut fetches = Fetches::of(parts, window);
    fetches.join_what_borders_cut();
    fetches.leave_out_what_the_window_cuts();

    let mut all = SliceStats::default();
    let (mut values, mut percents) = (Vec::new(), Vec::new());
    for ((begin_ms, parts), weight) in fetches.slices.iter().zip(fetches.weights_ms()) {
        let slice = combined(*begin_ms, how, parts.values().map(|part| (part.used, part.documents)));
        values.push((slice.quotient, weight));
        if how == Combine::Sum {
            all.extremes = Some(match all.extremes {
                None => Extremes { max: slice, min: slice },
                Some(Extremes { max, min }) => Extremes {
                    max: if slice.quotient > max.quotient { slice } else { max },
                    min: if slice.quotient < min.quotient { slice } else { min },
                },
            });
        }
        // A part without a capacity leaves that of the whole unknown.
        let totals: Option<Vec<(f64, f64)>> = parts.values().map(|part| Some((part.total?, part.documents))).collect();
        if let Some(totals) = totals.filter(|_| has_total) {
            let total = combined(*begin_ms, how, totals.into_iter()).quotient;
            all.share.total = larger(all.share.total, Some(total));
            if total > 0.0 {
                percents.push((slice.quotient / total * 100.0, weight));
            }
        }
    }
    all.stats = of_values(&values);
    all.share.percent = of_values(&percents);
    all
}

/// The value of a slice with parts, each with its mean and its number of documents.
fn combined(begin_ms: i64, how: Combine, parts: impl Iterator<Item = (f64, f64)>) -> SliceSum {
    let parts: Vec<(f64, f64)> = parts.collect();
    let fetches = parts.iter().map(|(_, documents)| *documents).fold(0.0, f64::max);
    let sum = parts.iter().map(|(value, documents)| value * documents).sum::<f64>();
    let quotient = match how {
        Combine::Sum => sum / fetches,
        Combine::Mean => parts.iter().map(|(value, _)| value).sum::<f64>() / parts.len() as f64,
        Combine::Max => parts.iter().map(|(value, _)| *value).fold(f64::NEG_INFINITY, max_of),
    };
    SliceSum { begin_ms, sum, fetches, quotient }
}

/// Of values with their weights.
fn of_values(values: &[(f64, f64)]) -> Option<Stats> {
    let ((first, _), weights) = (values.first()?, values.iter().map(|(_, weight)| weight).sum::<f64>());
    // Moved by shares of differences, so that the mean of equal values is that value.
    let avg = first + values.iter().map(|(value, weight)| (value - first) * (weight / weights)).sum::<f64>();
    let (max, min) =
        values.iter().fold((*first, *first), |(max, min), (value, _)| (max_of(max, *value), -max_of(-min, -value)));
    Some(Stats { max, avg, min })
}

/// The documents of a host, slice by slice, with what is known of its fetches.
struct Fetches {
    slices: PartsBySlice,
    slice_ms: f64,
    /// Of the window.
    begin_ms: f64,
    end_ms: f64,
    /// The longest seen from the first document of a fetch to its last.
    spread_ms: f64,
}

impl Fetches {
    fn of(parts: &PartsBySlice, window: Window) -> Self {
        let slices: PartsBySlice =
            parts.iter().filter(|(_, parts)| !parts.is_empty()).map(|(slice, parts)| (*slice, parts.clone())).collect();
        let spreads = slices.values().flat_map(|parts| {
            let (first, last) = bounds(parts);
            parts.values().flat_map(move |part| [part.first_ms - first, last - part.last_ms])
        });
        Self {
            spread_ms: spreads.filter(|ms| *ms < MAX_FETCH_MS).fold(0.0, f64::max),
            slices,
            slice_ms: Slices::of(window).seconds as f64 * 1_000.0,
            begin_ms: window.from.timestamp_millis() as f64,
            end_ms: window.to.timestamp_millis() as f64,
        }
    }

    /// A fetch belongs to the slice in which it begins: what comes behind the border is taken back.
    fn join_what_borders_cut(&mut self) {
        let mut slices = std::mem::take(&mut self.slices).into_iter();
        let Some(mut left) = slices.next() else { return };
        for mut right in slices {
            let end_of_left = bounds(&left.1).1;
            // In the fetch that may be cut, not in one well before it.
            let is_seen_just_before = |name: &String, part: &Part| {
                left.1.get(name).is_some_and(|before| {
                    part.first_ms - before.last_ms < MAX_FETCH_MS
                        || part.first_ms - end_of_left >= end_of_left - before.last_ms
                })
            };
            // A part that comes again begins another fetch, and what comes after it is of that one.
            let again =
                right.1.iter().filter(|(name, part)| is_seen_just_before(name, part)).map(|(_, part)| part.first_ms);
            let end_of_fetch = again.fold(end_of_left + MAX_FETCH_MS, f64::min);
            let is_of_left =
                |name: &String, part: &Part| part.first_ms < end_of_fetch && !is_seen_just_before(name, part);
            let late: Vec<(String, Part)> = right.1.extract_if(.., |name, part| is_of_left(name, part)).collect();
            for (name, part) in late {
                self.spread_ms = self.spread_ms.max(part.first_ms - end_of_left);
                let first = Part { last_ms: part.first_ms, ..part.one() };
                left.1.entry(name.clone()).and_modify(|own| *own = own.with(first)).or_insert(first);
                right.1.extend(part.without_first().map(|others| (name, others)));
            }
            if !right.1.is_empty() {
                self.slices.insert(left.0, std::mem::replace(&mut left, right).1);
            }
        }
        self.slices.insert(left.0, left.1);
    }

    /// Of a fetch at the border of the window some documents may lie outside: what is seen of it is no whole. That
    /// shows where it lies within the spread of a fetch from the border, and lacks a part that its neighbour has.
    fn leave_out_what_the_window_cuts(&mut self) {
        let Some(period_ms) = period_ms(&self.slices) else { return };
        // At a border the period may be longer than that of most fetches.
        let gaps = self.gaps_ms();
        let of_slice = |slice: Option<&BTreeMap<String, Part>>, gap: Option<&f64>| {
            let own = slice.and_then(own_period_ms).or_else(|| gap.copied().filter(|ms| *ms <= MAX_GAP_MS));
            own.map_or(period_ms, |own| own.max(period_ms))
        };
        let periods_at_border = [
            of_slice(self.slices.values().next(), gaps.first()),
            of_slice(self.slices.values().next_back(), gaps.last()),
        ];
        let is_of_neighbour = |ms: f64, period_ms: f64| ms >= MAX_FETCH_MS && ms < NEXT_FETCH_PERIODS * period_ms;
        let (mut begins, mut ends) = (HashMap::new(), HashMap::new());
        for (name, part) in self.slices.values().flatten() {
            begins.entry(name).or_insert(part.first_ms);
            ends.insert(name, part.last_ms);
        }
        let first = begins.values().copied().fold(f64::INFINITY, f64::min);
        let last = ends.values().copied().fold(f64::NEG_INFINITY, f64::max);
        let is_cut_first = first - self.begin_ms < self.spread_ms
            && begins.values().any(|begin| is_of_neighbour(begin - first, periods_at_border[0]));
        let is_cut_last = self.end_ms - last <= self.spread_ms
            && ends.values().any(|end| is_of_neighbour(last - end, periods_at_border[1]));

        let mut kept = self.slices.clone();
        if is_cut_first && let Some(parts) = kept.values_mut().next() {
            take_one_of(parts, |part| part.first_ms - first < MAX_FETCH_MS, Part::without_first);
        }
        if is_cut_last && let Some(parts) = kept.values_mut().next_back() {
            take_one_of(parts, |part| last - part.last_ms < MAX_FETCH_MS, Part::without_last);
        }
        kept.retain(|_, parts| !parts.is_empty());
        // A window with nothing but cut fetches: better those than nothing.
        if !kept.is_empty() {
            self.slices = kept;
        }
    }

    /// From the last document of each slice to the first of the next one that has some.
    fn gaps_ms(&self) -> Vec<f64> {
        let bounds: Vec<(f64, f64)> = self.slices.values().map(bounds).collect();
        bounds.windows(2).map(|pair| pair[1].0 - pair[0].1).collect()
    }

    /// The time that each slice stands for, which is more than its own where others have no fetch.
    ///
    /// The time between the last fetch of one and the first of the next is parted by how rarely each side is fetched: a
    /// fetch stands for the time of its period. Where both have several fetches and adjoin, their border will do. Beside a
    /// silence, which no period explains, a slice stands for its own time,
    /// and the rest counts for nothing; at the border of the window too, unless the next fetch was due behind it.
    fn weights_ms(&self) -> Vec<f64> {
        let own: Vec<Option<f64>> = self.slices.values().map(own_period_ms).collect();
        let bounds: Vec<(f64, f64)> = self.slices.values().map(bounds).collect();
        let gaps = self.gaps_ms();
        // What each slice has of the window, to be made longer on both sides.
        let mut spans: Vec<(f64, f64)> = self
            .slices
            .keys()
            .map(|begin_ms| {
                let begin_ms = *begin_ms as f64;
                (begin_ms, (begin_ms + self.slice_ms).min(self.end_ms))
            })
            .collect();
        // A slice with a single fetch has the period that shows on its other side.
        let before = |at: usize| own[at].or_else(|| gaps.get(at.checked_sub(1)?).copied());
        let after = |at: usize| own[at].or_else(|| gaps.get(at).copied());
        let mut is_silence = vec![false; gaps.len()];
        for (nth, gap) in gaps.iter().copied().enumerate() {
            let (left, right) = match (before(nth), after(nth + 1)) {
                (None, None) => (gap, gap),
                (Some(one), None) | (None, Some(one)) => (one, one),
                (Some(left), Some(right)) => (left, right),
            };
            is_silence[nth] = gap > MAX_GAP_MS.max(MAX_GAP_PERIODS * left.max(right));
            let adjoin = spans[nth].1 >= spans[nth + 1].0 && own[nth].is_some() && own[nth + 1].is_some();
            if !is_silence[nth] && !adjoin {
                let border = within(bounds[nth].1 + gap * (left / (left + right)), bounds[nth].1, bounds[nth + 1].0);
                (spans[nth].1, spans[nth + 1].0) = (border, border);
            }
        }
        let reach = |slice: usize, gap: Option<usize>| {
            let explained = gap.filter(|gap| is_silence.get(*gap) == Some(&false)).map(|gap| gaps[gap]);
            NEXT_FETCH_PERIODS * own[slice].or(explained).unwrap_or_default()
        };
        if let Some(span) = spans.first_mut()
            && bounds[0].0 - reach(0, Some(0)) <= self.begin_ms
        {
            span.0 = self.begin_ms;
        }
        let last = spans.len().saturating_sub(1);
        if let Some(span) = spans.last_mut()
            && bounds[last].1 + reach(last, last.checked_sub(1)) >= self.end_ms
        {
            span.1 = self.end_ms;
        }
        spans.into_iter().map(|(begin, end)| (end - begin).max(1.0)).collect()
    }
}

/// Between two bounds, if they are in order. Whatever an engine may answer, nothing panics.
fn within(value: f64, least: f64, most: f64) -> f64 {
    value.max(least).min(most)
}

/// Takes one document away of each part that is meant.
fn take_one_of(
    parts: &mut BTreeMap<String, Part>,
    is_meant: impl Fn(&Part) -> bool,
    others: impl Fn(Part) -> Option<Part>,
) {
    let meant: Vec<(String, Part)> = parts.extract_if(.., |_, part| is_meant(part)).collect();
    parts.extend(meant.into_iter().filter_map(|(name, part)| Some((name, others(part)?))));
}

/// When the first and when the last document of a slice was made.
fn bounds(parts: &BTreeMap<String, Part>) -> (f64, f64) {
    parts.values().fold((f64::INFINITY, f64::NEG_INFINITY), |(first, last), part| {
        (first.min(part.first_ms), last.max(part.last_ms))
    })
}

/// The mean time from one fetch of a slice to the next, by its most frequent part; `None`: it has one fetch.
fn own_period_ms(parts: &BTreeMap<String, Part>) -> Option<f64> {
    parts.values().max_by_key(|part| part.samples)?.period_ms()
}

/// The median time from one document of a part to its next: parts that go and come again do not matter to it.
fn period_ms(slices: &PartsBySlice) -> Option<f64> {
    let mut gaps: Vec<(f64, u64)> = Vec::new();
    let mut last_seen: HashMap<&str, f64> = HashMap::new();
    for (name, part) in slices.values().flatten() {
        if let Some(last) = last_seen.insert(name, part.last_ms) {
            gaps.push((part.first_ms - last, 1));
        }
        gaps.extend(part.period_ms().map(|ms| (ms, part.samples - 1)));
    }
    gaps.retain(|(ms, _)| *ms > 0.0);
    gaps.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    let half = gaps.iter().map(|(_, count)| count).sum::<u64>() / 2;
    let mut counted = 0;
    let median = gaps.iter().find(|(_, count)| {
        counted += count;
        counted > half
    });
    median.map(|(ms, _)| *ms)
}
