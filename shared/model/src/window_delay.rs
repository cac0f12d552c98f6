//! How long before its fire the window of a task ends (`delay`), for documents that come late.
//!
//! Owns the grammar and its bounds. Which window follows from it is said where the window is made.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

use crate::time_span;

/// Longest delay.
const LONGEST: TimeDelta = TimeDelta::days(31);

/// Longest text: with leading zeros a number may be as long as it likes, and its column is 16 characters wide.
const MAX_CHARS: usize = 16;

/// A whole number and one of `s m h d`, from `0s` to `31d`. Keeps the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowDelay {
    text: String,
    delta: TimeDelta,
}

/// The text is no delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number and one of s, m, h, d, from 0s to 31d")]
pub struct WindowDelayError;

impl WindowDelay {
    /// Its length.
    pub fn delta(&self) -> TimeDelta {
        self.delta
    }
}

/// As tasks that name none have it: none.
impl Default for WindowDelay {
    fn default() -> Self {
        Self { text: "0s".to_owned(), delta: TimeDelta::zero() }
    }
}

impl fmt::Display for WindowDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for WindowDelay {
    type Err = WindowDelayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        time_span::parse_single(text, "smhd")
            .filter(|_| text.len() <= MAX_CHARS)
            .and_then(|span| TimeDelta::from_std(span).ok())
            .filter(|delta| *delta <= LONGEST)
            .map(|delta| Self { text: text.to_owned(), delta })
            .ok_or(WindowDelayError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_a_number_and_a_unit_up_to_31_days() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("24h", 86_400), ("31d", 2_678_400)] {
            let delay: WindowDelay = text.parse().expect(text);
            assert_eq!((delay.delta(), delay.to_string().as_str()), (TimeDelta::seconds(seconds), text));
        }
        for text in ["", "1", "m", "-1m", "1.5h", "32d", "2678401s", "1w", "1ms", "1m ", "00000000000000001m"] {
            assert_eq!(text.parse::<WindowDelay>(), Err(WindowDelayError), "{text}");
        }
        assert_eq!("0s".parse(), Ok(WindowDelay::default()));
    }
}
