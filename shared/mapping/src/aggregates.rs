//! What was found of a host, put together from all indices, shapes and slices.
//!
//! Owns the arithmetic: how plain numbers and roll-ups make one maximum, average and minimum; that of a split is
//! `fetches`'. It knows no JSON (`read` does) and judges no value (`values` does).

use std::collections::HashMap;

use super::fetches::{Extremes, PartsBySlice, SliceStats, over_slices};
use super::{FieldCoverage, Mapping, Metric, MetricFields};
use hostsync_model::window::Window;

/// Maximum, average and minimum of one metric, in the unit of its field or in percent.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Stats {
    /// Largest.
    pub max: f64,
    /// Mean.
    pub avg: f64,
    /// Smallest.
    pub min: f64,
}

/// What the source says of a metric's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Share {
    /// The share in use, in percent, where the source says it, or says what is in use and what there is of each
    /// slice of time.
    pub percent: Option<Stats>,
    /// The capacity in the unit of the metric: the largest in the window.
    pub total: Option<f64>,
}

/// What a whole answer says of one host that has data.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct HostReading {
    /// Documents of this host in the window, at least 1 and exact.
    pub data_point_count: u64,
    /// Processor load in the unit of the mapping; `None` if no document holds a number.
    pub cpu: Option<Stats>,
    /// Used memory in the unit of the mapping; `None` if no document holds a number.
    pub memory: Option<Stats>,
    /// Used disk space in the unit of the mapping; `None` if no document holds a number.
    pub disk: Option<Stats>,
    /// Of the memory there is.
    pub memory_share: Share,
    /// Of the disk space there is.
    pub disk_share: Share,
    /// The slices behind the maximum and the minimum of a disk that is the sum of its parts.
    pub disk_slices: Option<Extremes>,
    /// Which fields of the mapping held a number.
    #[serde(skip)]
    pub coverage: FieldCoverage,
}

impl HostReading {
    /// The statistics of one metric.
    pub fn metric(&self, metric: Metric) -> Option<Stats> {
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.memory,
            Metric::Disk => self.disk,
        }
    }

    /// What the source says of the capacity of one metric. A processor has none.
    pub fn share(&self, metric: Metric) -> Share {
        match metric {
            Metric::Cpu => Share::default(),
            Metric::Memory => self.memory_share,
            Metric::Disk => self.disk_share,
        }
    }
}

/// Statistics of some of the documents, by what they weigh beside others. Each is known or not by itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct WeightedStats {
    pub(super) max: Option<f64>,
    pub(super) avg: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) weight: f64,
}

impl WeightedStats {
    fn is_empty(self) -> bool {
        self.max.is_none() && self.avg.is_none() && self.min.is_none()
    }
}

/// What was found of one metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct MetricAggregates {
    /// One entry a shape and search.
    pub(super) shapes: Vec<WeightedStats>,
    /// The share in use, as the unit of its field has it.
    pub(super) percent: Vec<WeightedStats>,
    /// The capacity.
    pub(super) total: Option<f64>,
    /// Of a split.
    pub(super) slices: PartsBySlice,
    /// Whether some document has the field that weighs the average.
    pub(super) has_weights: bool,
}

/// What was found of one host.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct HostAggregates {
    pub(super) documents: u64,
    pub(super) metrics: [MetricAggregates; 3],
    /// Whether some document has the field by which others are skipped.
    pub(super) has_skip_field: bool,
}

/// What several searches for the same hosts found, over different documents each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AggregatesByHost {
    pub(super) hosts: HashMap<String, HostAggregates>,
}

impl AggregatesByHost {
    /// Adds what another search found. The two must not have read the same document.
    pub fn add(&mut self, other: Self) {
        for (host, found) in other.hosts {
            let own = self.hosts.entry(host).or_default();
            own.documents = own.documents.saturating_add(found.documents);
            own.has_skip_field |= found.has_skip_field;
            for (own, found) in own.metrics.iter_mut().zip(found.metrics) {
                own.add(found);
            }
        }
    }

    /// One reading a host that has documents in the window that was searched.
    pub fn readings(&self, mapping: &Mapping, window: Window) -> HashMap<String, HostReading> {
        let with_documents = self.hosts.iter().filter(|(_, found)| found.documents > 0);
        with_documents.map(|(host, found)| (host.clone(), found.reading(mapping, window))).collect()
    }
}

impl HostAggregates {
    fn reading(&self, mapping: &Mapping, window: Window) -> HostReading {
        let of = |metric: Metric| self.metrics[metric as usize].result(mapping.metric(metric), window);
        let (cpu, memory, disk) = (of(Metric::Cpu), of(Metric::Memory), of(Metric::Disk));
        HostReading {
            data_point_count: self.documents,
            cpu: cpu.stats,
            memory: memory.stats,
            disk: disk.stats,
            memory_share: memory.share,
            disk_share: disk.share,
            disk_slices: disk.extremes,
            coverage: FieldCoverage::of(self),
        }
    }
}

impl MetricAggregates {
    fn add(&mut self, other: Self) {
        self.shapes.extend(other.shapes);
        self.percent.extend(other.percent);
        self.total = larger(self.total, other.total);
        self.has_weights |= other.has_weights;
        for (slice, parts) in other.slices {
            let own = self.slices.entry(slice).or_default();
            for (name, part) in parts {
                own.entry(name).and_modify(|own| *own = own.with(part)).or_insert(part);
            }
        }
    }

    fn result(&self, fields: &MetricFields, window: Window) -> SliceStats {
        if let Some(split) = &fields.split {
            return over_slices(&self.slices, split.how, fields.total.is_some(), window);
        }
        let percent = fields.percent.as_ref().and_then(|share| {
            let factor = if share.unit == super::Unit::Ratio { 100.0 } else { 1.0 };
            let Stats { max, avg, min } = together(&self.percent)?;
            Some(Stats { max: max * factor, avg: avg * factor, min: min * factor })
        });
        SliceStats { stats: together(&self.shapes), share: Share { percent, total: self.total }, extremes: None }
    }
}

/// The statistics of all documents, known only if all three are. What one shape lacks, all lack: a maximum of
/// some documents is not the maximum. A single shape is left as the engine computed it.
pub(super) fn together(shapes: &[WeightedStats]) -> Option<Stats> {
    let mut shapes = shapes.iter().copied().filter(|shape| !shape.is_empty());
    let first = shapes.next()?;
    let mut all = Stats { max: first.max?, avg: first.avg?, min: first.min? };
    let mut weight = first.weight;
    for shape in shapes {
        let Stats { max, avg, min } = Stats { max: shape.max?, avg: shape.avg?, min: shape.min? };
        let sum = weight + shape.weight;
        // Moved by a share of the difference, which lies between the two whatever their size.
        let avg = if sum > 0.0 { all.avg + (avg - all.avg) * (shape.weight / sum) } else { all.avg };
        all = Stats { max: max_of(all.max, max), avg, min: -max_of(-all.min, -min) };
        weight = sum;
    }
    Some(all)
}

/// What is no number stays none, so that its host fails for it.
pub(super) fn max_of(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

pub(super) fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(max_of(a, b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "lists of a test are short")]
mod tests {
    use super::*;
    use crate::fetches::Part;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn weighed(max: f64, avg: f64, min: f64, weight: f64) -> WeightedStats {
        WeightedStats { max: Some(max), avg: Some(avg), min: Some(min), weight }
    }

    fn of_list(values: &[f64]) -> Stats {
        Stats {
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            avg: values.iter().sum::<f64>() / values.len() as f64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
        }
    }

    #[test]
    fn a_plain_number_weighs_one_beside_a_roll_up_of_many() {
        // Two numbers, 10 and 20, beside roll-ups of 8 values whose mean is 65.
        let found =
            together(&[weighed(20.0, 15.0, 10.0, 2.0), weighed(90.0, 65.0, 5.0, 8.0), WeightedStats::default()]);
        assert_eq!(found, Some(Stats { max: 90.0, avg: 55.0, min: 5.0 }));
    }

    #[test]
    fn what_one_shape_lacks_all_lack() {
        let lacking = WeightedStats { avg: None, ..weighed(9.0, 0.0, 1.0, 0.0) };
        assert_eq!(together(&[weighed(5.0, 5.0, 5.0, 1.0), lacking]), None);
        assert_eq!(together(&[WeightedStats::default()]), None);
    }

    #[test]
    fn a_part_that_two_searches_found_is_averaged_and_not_added() {
        let found = |used, documents: u32| {
            let (total, documents, samples) = (Some(100.0), f64::from(documents), u64::from(documents));
            let part = Part { used, total, samples, documents, first_ms: 0.0, last_ms: 59_000.0 };
            let mut host = HostAggregates { documents: samples, ..HostAggregates::default() };
            host.metrics[2].slices = BTreeMap::from([(0, BTreeMap::from([("/".to_owned(), part)]))]);
            AggregatesByHost { hosts: HashMap::from([("h".to_owned(), host)]) }
        };
        let mut all = found(10.0, 1);
        all.add(found(40.0, 2));
        let minute = |ms| chrono::DateTime::from_timestamp_millis(ms).expect("a time");
        let window = Window { from: minute(0), to: minute(60_000) };
        let reading = all.readings(&Mapping::metricbeat(), window)["h"];
        assert_eq!(reading.data_point_count, 3);
        assert_eq!(reading.disk, Some(Stats { max: 30.0, avg: 30.0, min: 30.0 }));
    }

    proptest! {
        #[test]
        fn parts_of_a_list_make_the_statistics_of_the_list(
            lists in prop::collection::vec(prop::collection::vec(0.0..1e9_f64, 1..20), 1..6),
        ) {
            let shapes: Vec<WeightedStats> = lists.iter().map(|list| {
                let Stats { max, avg, min } = of_list(list);
                weighed(max, avg, min, list.len() as f64)
            }).collect();
            let all = of_list(&lists.concat());
            let found = together(&shapes).expect("values");
            prop_assert_eq!((found.max, found.min), (all.max, all.min));
            prop_assert!((found.avg - all.avg).abs() <= 1e-9 * all.avg.abs(), "{} {}", found.avg, all.avg);
        }
    }
}
