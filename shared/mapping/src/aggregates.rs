//! What was found of hosts, put together from all indices, shapes and searches.
//!
//! It knows no JSON (`read` does) and makes no statistics of it (`host_reading` does).

use std::collections::HashMap;

use super::fetches::PartsBySlice;
use super::stats::{WeightedStats, larger};

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
}
