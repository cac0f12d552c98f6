//! What was found of a host, as its numbers.
//!
//! Judges no value; `values` does.

use std::collections::HashMap;

use super::aggregates::{AggregatesByHost, HostAggregates, MetricAggregates};
use super::fetches::{Extremes, SliceStats, over_slices};
use super::field_coverage::FieldCoverage;
use super::stats::{Share, Stats, together};
use super::{Mapping, Metric, MetricFields, Unit};
use hostsync_model::window::Window;

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

impl AggregatesByHost {
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
    fn result(&self, fields: &MetricFields, window: Window) -> SliceStats {
        if let Some(split) = &fields.split {
            return over_slices(&self.slices, split.how, fields.total.is_some(), window);
        }
        let percent = fields.percent.as_ref().and_then(|share| {
            let factor = if share.unit == Unit::Ratio { 100.0 } else { 1.0 };
            let Stats { max, avg, min } = together(&self.percent)?;
            Some(Stats { max: max * factor, avg: avg * factor, min: min * factor })
        });
        SliceStats { stats: together(&self.shapes), share: Share { percent, total: self.total }, extremes: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetches::Part;
    use std::collections::BTreeMap;

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
}
