//! How fresh a host's values are, and how fresh they should be.
//!
//! Owns the states, their bounds and the grammar of `freshness_target`.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::execution::{UnknownWord, words};
use crate::time_span;

/// Shortest target.
const SHORTEST: TimeDelta = TimeDelta::minutes(1);

/// Longest target.
const LONGEST: TimeDelta = TimeDelta::days(366);

words! {
    /// How fresh a host's values are. The better one first.
    FreshnessState {
        /// Within the target.
        Fresh = "fresh",
        /// Past the target.
        Late = "late",
        /// Past twice the target.
        Stale = "stale",
        /// No run has brought values.
        Never = "never",
    }
}

impl FreshnessState {
    /// Of values of this age; `None`: there are none.
    pub fn of(age: Option<TimeDelta>, target: TimeDelta) -> Self {
        match age {
            None => Self::Never,
            Some(age) if age <= target => Self::Fresh,
            Some(age) if age <= target.checked_mul(2).unwrap_or(TimeDelta::MAX) => Self::Late,
            Some(_) => Self::Stale,
        }
    }
}

/// How old a host's values may be: a whole number and one of `m h d w`, from `1m` to `366d`. Keeps the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshnessTarget {
    text: String,
    delta: TimeDelta,
}

/// The text is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number and one of m, h, d, w, from 1m to 366d, or empty")]
pub struct FreshnessTargetError;

impl FreshnessTarget {
    /// Its length.
    pub fn delta(&self) -> TimeDelta {
        self.delta
    }
}

impl fmt::Display for FreshnessTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for FreshnessTarget {
    type Err = FreshnessTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        time_span::parse_single(text, "mhdw")
            .filter(|_| text.len() <= 12)
            .and_then(|span| TimeDelta::from_std(span).ok())
            .filter(|delta| (SHORTEST..=LONGEST).contains(delta))
            .map(|delta| Self { text: text.to_owned(), delta })
            .ok_or(FreshnessTargetError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_target_is_late_and_past_twice_of_it_stale() {
        let of = |seconds| FreshnessState::of(Some(TimeDelta::seconds(seconds)), TimeDelta::hours(1));
        assert_eq!([-5, 0, 3_600].map(of), [FreshnessState::Fresh; 3]);
        assert_eq!([3_601, 7_200].map(of), [FreshnessState::Late; 2]);
        assert_eq!(of(7_201), FreshnessState::Stale);
        assert_eq!(FreshnessState::of(None, TimeDelta::hours(1)), FreshnessState::Never);
    }

    #[test]
    fn a_target_is_a_number_and_a_unit_from_a_minute_to_a_year() {
        for (text, seconds) in [("1m", 60), ("36h", 129_600), ("2d", 172_800), ("1w", 604_800), ("366d", 31_622_400)] {
            let target: FreshnessTarget = text.parse().expect(text);
            assert_eq!((target.delta(), target.to_string().as_str()), (TimeDelta::seconds(seconds), text));
        }
        for text in ["", "1", "59s", "0m", "367d", "1.5h", "-1h", "1y", "0000000000001d", "99999999999999999999d"] {
            assert_eq!(text.parse::<FreshnessTarget>(), Err(FreshnessTargetError), "{text}");
        }
    }
}
