//! What was found of a host, put together from all indices, shapes and slices.
//!
//! Owns the arithmetic: how plain numbers and roll-ups make one maximum, average and minimum, and how the parts
//! of a split make the value of a slice. It knows no JSON (`read` does) and judges no value (`values` does).

#![expect(clippy::cast_precision_loss, reason = "counts of documents and slices are far below 2^52")]

use std::collections::{BTreeMap, HashMap};

use super::{Combine, Mapping, Metric, MetricFields};

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
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
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
pub(super) struct Weighed {
    pub(super) max: Option<f64>,
    pub(super) avg: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) weight: f64,
}

impl Weighed {
    fn is_empty(self) -> bool {
        self.max.is_none() && self.avg.is_none() && self.min.is_none()
    }
}

/// The average of one part in one slice, over so many documents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) used: f64,
    pub(super) total: Option<f64>,
    pub(super) documents: u64,
}

/// What was found of one metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct MetricFound {
    /// One entry a shape and search.
    pub(super) shapes: Vec<Weighed>,
    /// The share in use, as the unit of its field has it.
    pub(super) percent: Vec<Weighed>,
    /// The capacity.
    pub(super) total: Option<f64>,
    /// Parts by slice (its first millisecond) and name.
    pub(super) slices: BTreeMap<i64, BTreeMap<String, Part>>,
}

/// What was found of one host.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct HostFound {
    pub(super) documents: u64,
    pub(super) metrics: [MetricFound; 3],
}

/// What several searches for the same hosts found, over different documents each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    pub(super) hosts: HashMap<String, HostFound>,
}

impl Found {
    /// Adds what another search found. The two must not have read the same document.
    pub fn add(&mut self, other: Self) {
        for (host, found) in other.hosts {
            let own = self.hosts.entry(host).or_default();
            own.documents = own.documents.saturating_add(found.documents);
            for (own, found) in own.metrics.iter_mut().zip(found.metrics) {
                own.add(found);
            }
        }
    }

    /// One reading a host that has documents.
    pub fn readings(&self, mapping: &Mapping) -> HashMap<String, HostReading> {
        let with_documents = self.hosts.iter().filter(|(_, found)| found.documents > 0);
        with_documents.map(|(host, found)| (host.clone(), found.reading(mapping))).collect()
    }
}

impl HostFound {
    fn reading(&self, mapping: &Mapping) -> HostReading {
        let [cpu, memory, disk] = &self.metrics;
        let (cpu, _) = cpu.result(mapping.metric(Metric::Cpu));
        let (memory, memory_share) = memory.result(mapping.metric(Metric::Memory));
        let (disk, disk_share) = disk.result(mapping.metric(Metric::Disk));
        HostReading { data_point_count: self.documents, cpu, memory, disk, memory_share, disk_share }
    }
}

impl MetricFound {
    fn add(&mut self, other: Self) {
        self.shapes.extend(other.shapes);
        self.percent.extend(other.percent);
        self.total = larger(self.total, other.total);
        for (slice, parts) in other.slices {
            let own = self.slices.entry(slice).or_default();
            for (name, part) in parts {
                own.entry(name).and_modify(|own| *own = own.with(part)).or_insert(part);
            }
        }
    }

    fn result(&self, fields: &MetricFields) -> (Option<Stats>, Share) {
        if let Some(split) = &fields.split {
            return over_slices(&self.slices, split.how, fields.total.is_some());
        }
        let percent = fields.percent.as_ref().and_then(|share| {
            let factor = if share.unit == super::Unit::Ratio { 100.0 } else { 1.0 };
            let Stats { max, avg, min } = together(&self.percent)?;
            Some(Stats { max: max * factor, avg: avg * factor, min: min * factor })
        });
        (together(&self.shapes), Share { percent, total: self.total })
    }
}

impl Part {
    /// The mean over the documents of both.
    fn with(self, other: Self) -> Self {
        let (own, others) = (self.documents as f64, other.documents as f64);
        let mean = |a: f64, b: f64| (a * own + b * others) / (own + others);
        Self {
            used: mean(self.used, other.used),
            total: self.total.zip(other.total).map(|(a, b)| mean(a, b)),
            documents: self.documents + other.documents,
        }
    }
}

/// The statistics of all documents, known only if all three are. What one shape lacks, all lack: a maximum of
/// some documents is not the maximum. A single shape is left as the engine computed it.
fn together(shapes: &[Weighed]) -> Option<Stats> {
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
fn max_of(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(max_of(a, b)),
        (one, None) | (None, one) => one,
    }
}

fn over_slices(
    slices: &BTreeMap<i64, BTreeMap<String, Part>>,
    how: Combine,
    has_total: bool,
) -> (Option<Stats>, Share) {
    let mut values = Vec::with_capacity(slices.len());
    let (mut percents, mut total) = (Vec::new(), None);
    for parts in slices.values().filter(|parts| !parts.is_empty()) {
        let value = combined(how, parts.values().map(|part| part.used));
        values.push(value);
        // A part without a capacity leaves that of the whole unknown.
        let totals: Option<Vec<f64>> = parts.values().map(|part| part.total).collect();
        if let Some(totals) = totals.filter(|_| has_total) {
            let of_slice = combined(how, totals.into_iter());
            total = larger(total, Some(of_slice));
            if of_slice > 0.0 {
                percents.push(value / of_slice * 100.0);
            }
        }
    }
    (of_values(&values), Share { percent: of_values(&percents), total })
}

fn combined(how: Combine, values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    match how {
        Combine::Sum => values.iter().sum(),
        Combine::Mean => values.iter().sum::<f64>() / values.len() as f64,
        Combine::Max => values.into_iter().fold(f64::NEG_INFINITY, max_of),
    }
}

fn of_values(values: &[f64]) -> Option<Stats> {
    if values.is_empty() {
        return None;
    }
    Some(Stats {
        max: values.iter().copied().fold(f64::NEG_INFINITY, max_of),
        avg: values.iter().sum::<f64>() / values.len() as f64,
        min: -values.iter().map(|value| -value).fold(f64::NEG_INFINITY, max_of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weighed(max: f64, avg: f64, min: f64, weight: f64) -> Weighed {
        Weighed { max: Some(max), avg: Some(avg), min: Some(min), weight }
    }

    fn part(used: f64, total: impl Into<Option<f64>>, documents: u64) -> Part {
        Part { used, total: total.into(), documents }
    }

    fn slices(parts: &[(i64, &str, Part)]) -> BTreeMap<i64, BTreeMap<String, Part>> {
        let mut slices: BTreeMap<i64, BTreeMap<String, Part>> = BTreeMap::new();
        for (slice, name, part) in parts {
            slices.entry(*slice).or_default().insert((*name).to_owned(), *part);
        }
        slices
    }

    #[test]
    fn a_plain_number_weighs_one_beside_a_roll_up_of_many() {
        // Two numbers, 10 and 20, beside roll-ups of 8 values whose mean is 65.
        let found = together(&[weighed(20.0, 15.0, 10.0, 2.0), weighed(90.0, 65.0, 5.0, 8.0), Weighed::default()]);
        assert_eq!(found, Some(Stats { max: 90.0, avg: 55.0, min: 5.0 }));
    }

    #[test]
    fn what_one_shape_lacks_all_lack() {
        let lacking = Weighed { avg: None, ..weighed(9.0, 0.0, 1.0, 0.0) };
        assert_eq!(together(&[weighed(5.0, 5.0, 5.0, 1.0), lacking]), None);
        assert_eq!(together(&[Weighed::default()]), None);
    }

    #[test]
    fn the_disk_is_the_sum_over_mount_points_slice_by_slice() {
        let slices = slices(&[
            (0, "/", part(10.0, 20.0, 6)),
            (0, "/data", part(30.0, 80.0, 6)),
            (60, "/", part(15.0, 20.0, 6)),
            (60, "/data", part(45.0, 80.0, 1)),
        ]);
        let (stats, share) = over_slices(&slices, Combine::Sum, true);
        assert_eq!(stats, Some(Stats { max: 60.0, avg: 50.0, min: 40.0 }));
        assert_eq!(share.percent, Some(Stats { max: 60.0, avg: 50.0, min: 40.0 }));
        assert_eq!(share.total, Some(100.0));
        let (stats, _) = over_slices(&slices, Combine::Mean, false);
        assert_eq!(stats, Some(Stats { max: 30.0, avg: 25.0, min: 20.0 }));
        let (stats, share) = over_slices(&slices, Combine::Max, false);
        assert_eq!((stats, share), (Some(Stats { max: 45.0, avg: 37.5, min: 30.0 }), Share::default()));
    }

    #[test]
    fn a_part_without_a_capacity_leaves_that_slice_without_a_percentage() {
        let some =
            slices(&[(0, "/", part(10.0, None, 1)), (0, "/a", part(1.0, 2.0, 1)), (1, "/", part(10.0, 40.0, 1))]);
        let (stats, share) = over_slices(&some, Combine::Sum, true);
        assert_eq!(stats, Some(Stats { max: 11.0, avg: 10.5, min: 10.0 }));
        assert_eq!(share.percent, Some(Stats { max: 25.0, avg: 25.0, min: 25.0 }));
        let none = slices(&[(0, "/", part(10.0, 0.0, 1))]);
        assert_eq!(over_slices(&none, Combine::Sum, true).1, Share { percent: None, total: Some(0.0) });
    }

    #[test]
    fn a_part_that_two_searches_found_is_averaged_and_not_added() {
        let found = |used, documents| {
            let mut host = HostFound { documents, ..HostFound::default() };
            host.metrics[2].slices = slices(&[(0, "/", part(used, 100.0, documents))]);
            Found { hosts: HashMap::from([("h".to_owned(), host)]) }
        };
        let mut all = found(10.0, 1);
        all.add(found(40.0, 2));
        let reading = all.readings(&Mapping::metricbeat())["h"];
        assert_eq!(reading.data_point_count, 3);
        assert_eq!(reading.disk, Some(Stats { max: 30.0, avg: 30.0, min: 30.0 }));
    }

    proptest! {
        #[test]
        fn parts_of_a_list_make_the_statistics_of_the_list(
            lists in prop::collection::vec(prop::collection::vec(0.0..1e9_f64, 1..20), 1..6),
        ) {
            let shapes: Vec<Weighed> = lists.iter().map(|list| {
                let Stats { max, avg, min } = of_values(list).expect("values");
                weighed(max, avg, min, list.len() as f64)
            }).collect();
            let all = of_values(&lists.concat()).expect("values");
            let found = together(&shapes).expect("values");
            prop_assert_eq!((found.max, found.min), (all.max, all.min));
            prop_assert!((found.avg - all.avg).abs() <= 1e-9 * all.avg.abs(), "{} {}", found.avg, all.avg);
        }
    }
}
