//! How late a missed fire of a task may still run (`catch_up_window`).
//!
//! Owns the grammar and its bounds. Which fires are missed is the scheduler's matter.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

/// Longest window, in seconds: 7 days.
const MAX_SECONDS: i64 = 7 * 24 * 60 * 60;

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
        let seconds_per_unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(CatchUpWindowError),
        };
        let number = &text[..text.len() - 1];
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(CatchUpWindowError);
        }
        number
            .parse::<i64>()
            .ok()
            .and_then(|number| number.checked_mul(seconds_per_unit))
            .filter(|seconds| *seconds <= MAX_SECONDS)
            .map(|seconds| Self { text: text.to_owned(), delta: TimeDelta::seconds(seconds) })
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
