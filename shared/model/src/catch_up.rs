//! How late a missed fire of a task may still run (`catch_up_window`).
//!
//! Owns the grammar and its bounds. Which fires are missed is the scheduler's matter.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

use crate::time_span;

/// Longest window.
const LONGEST: TimeDelta = TimeDelta::days(7);

/// A whole number and one of `s m h d`, from `0s` (never late) to `7d`. Keeps the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatchUpWindow {
    text: String,
    delta: TimeDelta,
}

/// The text is no catch-up window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number and one of s, m, h, d, from 0s to 7d")]
pub struct CatchUpWindowError;

impl CatchUpWindow {
    /// Its length.
    pub fn delta(&self) -> TimeDelta {
        self.delta
    }
}

/// As tasks that name none have it: a minute.
impl Default for CatchUpWindow {
    fn default() -> Self {
        Self { text: "1m".to_owned(), delta: TimeDelta::minutes(1) }
    }
}

impl fmt::Display for CatchUpWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for CatchUpWindow {
    type Err = CatchUpWindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        time_span::parse_single(text, "smhd")
            .and_then(|span| TimeDelta::from_std(span).ok())
            .filter(|delta| *delta <= LONGEST)
            .map(|delta| Self { text: text.to_owned(), delta })
            .ok_or(CatchUpWindowError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catch_up_window_is_a_number_and_a_unit_up_to_a_week() {
        for (text, seconds) in [("0s", 0), ("30s", 30), ("1m", 60), ("24h", 86_400), ("7d", 604_800), ("168h", 604_800)]
        {
            let window: CatchUpWindow = text.parse().expect(text);
            assert_eq!((window.delta(), window.to_string().as_str()), (TimeDelta::seconds(seconds), text));
        }
        for text in ["", "1", "m", "-1m", "1.5h", "8d", "604801s", "1w", "1ms", "1m ", "99999999999999999999d", "1日"]
        {
            assert_eq!(text.parse::<CatchUpWindow>(), Err(CatchUpWindowError), "{text}");
        }
    }

    #[test]
    fn the_default_is_written_as_it_is() {
        let default = CatchUpWindow::default();
        assert_eq!(default.to_string().parse(), Ok(default));
    }
}
