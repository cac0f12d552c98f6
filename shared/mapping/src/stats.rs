//! Maximum, average and minimum, and how those of some documents make those of all.
//!
//! Owns the arithmetic of what plain numbers and roll-ups say; that of a split is `fetches`'.

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
    use proptest::prelude::*;

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
