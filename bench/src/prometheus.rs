//! Reads histograms from Prometheus text, as far as the benchmark needs it.

use std::collections::BTreeMap;

/// A histogram over all of its labels, cumulative by upper bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Histogram {
    /// Count of what is at most the bound; bounds in millionths, so that they order and compare exactly.
    buckets: BTreeMap<u64, f64>,
    pub(crate) count: f64,
    pub(crate) sum: f64,
}

impl Histogram {
    /// The histogram `name` in `text`, summed over its series; empty if it is not there.
    pub(crate) fn read(text: &str, name: &str) -> Self {
        let mut histogram = Self::default();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(name) else { continue };
            let Some(value) = rest.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()) else { continue };
            if rest.starts_with("_count") {
                histogram.count += value;
            } else if rest.starts_with("_sum") {
                histogram.sum += value;
            } else if rest.starts_with("_bucket")
                && let Some(bound) = rest.split("le=\"").nth(1).and_then(|rest| rest.split('"').next())
                && let Ok(bound) = bound.parse::<f64>()
            {
                *histogram.buckets.entry(millionths(bound)).or_default() += value;
            }
        }
        histogram
    }

    /// What was added since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let buckets = self
            .buckets
            .iter()
            .map(|(bound, count)| (*bound, count - before.buckets.get(bound).copied().unwrap_or_default()))
            .collect();
        Self { buckets, count: self.count - before.count, sum: self.sum - before.sum }
    }

    /// Both together.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (bound, count) in &other.buckets {
            *self.buckets.entry(*bound).or_default() += count;
        }
        self.count += other.count;
        self.sum += other.sum;
        self
    }

    /// Mean; `None` of nothing.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// A quantile, evenly spread within its bucket; `None` of nothing, the highest bound for what is beyond it.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.count;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.buckets {
            // What is beyond every bound is taken as the highest of them.
            let high = if *bound == u64::MAX { low } else { bound_of(*bound) };
            if *count >= rank && *count > below {
                return Some(low + (high - low) * (rank - below) / (count - below));
            }
            (low, below) = (high, *count);
        }
        (self.count > 0.0).then_some(low)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounds are positive and far below 2^53")]
fn millionths(bound: f64) -> u64 {
    if bound.is_finite() { (bound * 1e6).round() as u64 } else { u64::MAX }
}

#[allow(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
fn bound_of(millionths: u64) -> f64 {
    millionths as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE a_seconds histogram
a_seconds_bucket{x=\"1\",le=\"0.1\"} 1
a_seconds_bucket{x=\"1\",le=\"0.2\"} 3
a_seconds_bucket{x=\"1\",le=\"+Inf\"} 4
a_seconds_sum{x=\"1\"} 1.5
a_seconds_count{x=\"1\"} 4
b_seconds_count 7
";

    #[test]
    #[allow(clippy::float_cmp, reason = "exact in binary")]
    fn a_histogram_is_read_and_its_quantiles_are_within_their_buckets() {
        let histogram = Histogram::read(TEXT, "a_seconds");
        assert_eq!((histogram.count, histogram.mean()), (4.0, Some(0.375)));
        let p50 = histogram.quantile(0.5).expect("a value");
        assert!((p50 - 0.15).abs() < 1e-9, "{p50}");
        let later = histogram.clone().plus(&histogram);
        assert_eq!(later.since(&histogram), histogram);
        assert_eq!(Histogram::read(TEXT, "c").quantile(0.5), None);
    }
}
