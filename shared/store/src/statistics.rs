//! What sums over many executions are made of: steps of duration, kinds of error.
//!
//! Pure. Owns how a duration is rounded so that percentiles can be added up, and which error texts are of one kind.

use std::collections::BTreeMap;

use crate::tables::statistics::{ErrorCount, MAX_ERROR_CHARS};
use hostsync_mapping::bounded;

/// Ratio of two steps of duration. A percentile is the middle of its step, so it is off by 2.5 % at most.
const STEP_RATIO: f64 = 1.05;

/// Kinds of error kept of one execution; hosts with others count under [`OTHER_ERRORS`].
pub const MAX_ERROR_KINDS: usize = 20;

/// Failed hosts kept of one execution, the first by their order in it; the same ones each time, so that sums of several
/// runs compare.
pub const MAX_FAILED_HOSTS: usize = 200;

/// What errors beyond [`MAX_ERROR_KINDS`] are called.
pub const OTHER_ERRORS: &str = "(other errors)";

/// The step in which a duration lies: 0 is below 1 ms.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "1 to 910")]
pub fn duration_step(duration_ms: u64) -> u16 {
    if duration_ms == 0 { 0 } else { ((duration_ms as f64).ln() / STEP_RATIO.ln()).floor() as u16 + 1 }
}

/// The middle of a step, in ms.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn middle_ms(step: u16) -> u64 {
    if step == 0 { 0 } else { STEP_RATIO.powf(f64::from(step) - 0.5).round().max(1.0) as u64 }
}

/// The duration in ms that `percent` of the runs do not exceed, by nearest rank. `None` without runs.
pub fn percentile_ms(runs_by_step: &BTreeMap<u16, u64>, percent: u64) -> Option<u64> {
    let total: u64 = runs_by_step.values().sum();
    let rank = (total * percent).div_ceil(100).max(1);
    let mut seen = 0;
    runs_by_step.iter().find_map(|(step, runs)| {
        seen += runs;
        (seen >= rank).then(|| middle_ms(*step))
    })
}

/// An error text without what differs from host to host: every number and IPv4 address becomes `#`, but for an HTTP status,
/// since 503 and 404 are not of one kind.
pub fn error_kind(text: &str) -> String {
    let mut kind = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(from.len());
        // Points at the end are the sentence's.
        let end = from[..end].trim_end_matches('.').len();
        let (digits, after) = from.split_at(end);
        kind.push_str(before);
        kind.push_str(if before.ends_with("HTTP ") || before.ends_with("status ") { digits } else { "#" });
        rest = after;
    }
    kind.push_str(rest);
    bounded(&kind, MAX_ERROR_CHARS)
}

/// Failures of one execution, added up in bounded memory.
#[derive(Debug, Default)]
pub struct FailureTally {
    hosts: Vec<String>,
    kinds: BTreeMap<String, (String, u64)>,
    others: u64,
}

impl FailureTally {
    /// Adds a failed host.
    pub fn add(&mut self, host_ip: String, error_message: &str) {
        if self.hosts.len() < MAX_FAILED_HOSTS {
            self.hosts.push(host_ip);
        }
        let kind = error_kind(error_message);
        if let Some((_, hosts)) = self.kinds.get_mut(&kind) {
            *hosts += 1;
        } else if self.kinds.len() < MAX_ERROR_KINDS {
            self.kinds.insert(kind, (bounded(error_message, MAX_ERROR_CHARS), 1));
        } else {
            self.others += 1;
        }
    }

    /// Host and errors, each sorted by its key.
    pub fn into_sums(mut self) -> (Vec<String>, Vec<ErrorCount>) {
        self.hosts.sort_unstable();
        self.hosts.dedup();
        if self.others > 0 {
            self.kinds.entry(OTHER_ERRORS.to_owned()).or_insert((OTHER_ERRORS.to_owned(), 0)).1 += self.others;
        }
        let errors =
            self.kinds.into_iter().map(|(kind, (example, hosts))| ErrorCount { kind, example, hosts }).collect();
        (self.hosts, errors)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_differ_in_numbers_alone_are_of_one_kind() {
        assert_eq!(
            error_kind("the maximum of the cpu is 6400.5, above 101"),
            error_kind("the maximum of the cpu is 3, above 7")
        );
        assert_eq!(error_kind("10.0.0.1 is gone"), "# is gone");
        assert_eq!(error_kind("HTTP 503 from the source"), "HTTP 503 from the source");
        assert_ne!(error_kind("HTTP 503"), error_kind("HTTP 404"));
        assert_eq!(error_kind("value 123.5"), "value #");
        assert_eq!(error_kind(""), "");
    }

    #[test]
    fn failures_take_bounded_memory() {
        let mut failures = FailureTally::default();
        for n in 0..1_000_u32 {
            let letters: String = n.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect();
            failures.add(format!("10.0.{}.{}", n / 250, n % 250), &letters);
        }
        let (hosts, errors) = failures.into_sums();
        assert_eq!((hosts.len(), errors.len()), (MAX_FAILED_HOSTS, MAX_ERROR_KINDS + 1));
        assert_eq!(errors.iter().map(|error| error.hosts).sum::<u64>(), 1_000);
        assert!(hosts.is_sorted());
    }

    #[test]
    fn a_percentile_is_by_nearest_rank() {
        let steps = |durations: &[u64]| {
            let mut steps = BTreeMap::new();
            for duration in durations {
                *steps.entry(duration_step(*duration)).or_insert(0) += 1;
            }
            steps
        };
        assert_eq!(percentile_ms(&steps(&[]), 50), None);
        assert_eq!(percentile_ms(&steps(&[0]), 95), Some(0));
        let seen = percentile_ms(&steps(&[10, 1_000, 100_000]), 50).expect("runs");
        assert!((975..=1_025).contains(&seen), "{seen}");
    }

    proptest! {
        #[test]
        fn a_duration_is_within_three_percent_of_the_middle_of_its_step(ms in 20_u64..100_000_000) {
            let middle = middle_ms(duration_step(ms));
            prop_assert!(middle.abs_diff(ms) * 100 <= ms * 3 + 100, "{ms} {middle}");
        }

        #[test]
        fn a_longer_duration_never_lies_in_an_earlier_step(a in 0_u64..u64::MAX, b in 0_u64..u64::MAX) {
            prop_assert_eq!(duration_step(a) <= duration_step(b), a <= b || duration_step(a) == duration_step(b));
        }
    }
}
