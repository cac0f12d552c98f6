//! How far back a run looks (`query_time_range`) and the absolute window that follows from it.
//!
//! Owns both types and their bounds; the clock is passed in.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::time_span;

/// Longest time range, in minutes: 366 days.
const MAX_MINUTES: u64 = 366 * 24 * 60;

/// A duration as tasks and requests write it: a whole number and one of `m h d w`, from 1 minute to
/// 366 days. Keeps the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeRange {
    text: String,
    minutes: u64,
}

/// The text is no time range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeRangeError {
    /// Not a whole number followed by one unit.
    #[error("must be a whole number and one of m, h, d, w, such as 30m, 24h, 7d or 4w")]
    Form,
    /// Shorter than a minute or longer than 366 days.
    #[error("must be from 1 minute to 366 days")]
    Bounds,
}

impl TimeRange {
    /// The default of tasks and requests: 30 days.
    pub fn default_range() -> Self {
        Self { text: "30d".to_owned(), minutes: 30 * 24 * 60 }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its length.
    pub fn delta(&self) -> TimeDelta {
        TimeDelta::minutes(i64::try_from(self.minutes).unwrap_or(i64::MAX / 60_000))
    }
}

impl FromStr for TimeRange {
    type Err = TimeRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let minutes = time_span::parse_single(text, "mhdw").ok_or(TimeRangeError::Form)?.as_secs() / 60;
        if !(1..=MAX_MINUTES).contains(&minutes) {
            return Err(TimeRangeError::Bounds);
        }
        Ok(Self { text: text.to_owned(), minutes })
    }
}

impl From<TimeRange> for String {
    fn from(range: TimeRange) -> Self {
        range.text
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How much longer ago than the retention of executions a window may end that is asked for by itself, or read again by a
/// retry. Newest windows are kept for longer, so that an old window never writes over a newer one's result.
pub const OLDEST_END_MARGIN: TimeDelta = TimeDelta::days(40);

/// What is wrong with a window that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It has no length.
    #[error("must be after window_from")]
    Empty,
    /// Shorter than a minute or longer than 366 days.
    #[error("must be from 1 minute to 366 days after window_from")]
    Bounds,
}

/// The absolute time `[from, to)` that an execution reads, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// First instant read.
    pub from: DateTime<Utc>,
    /// First instant no longer read.
    pub to: DateTime<Utc>,
}

impl Window {
    /// The window of `range` that ends at `to`.
    pub fn ending_at(to: DateTime<Utc>, range: &TimeRange) -> Self {
        Self { from: to - range.delta(), to }
    }

    /// The window between two times that were asked for.
    ///
    /// # Errors
    ///
    /// It is not from 1 minute to 366 days long.
    pub fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Self, WindowError> {
        let length = to - from;
        if length <= TimeDelta::zero() {
            return Err(WindowError::Empty);
        }
        if length < TimeDelta::minutes(1) || length > TimeDelta::days(366) {
            return Err(WindowError::Bounds);
        }
        Ok(Self { from, to })
    }

    /// Its length as a range, rounded up to whole minutes and written by the largest unit that divides it.
    pub fn range(&self) -> TimeRange {
        let seconds = u64::try_from((self.to - self.from).num_milliseconds()).unwrap_or(0).div_ceil(1_000);
        let minutes = seconds.div_ceil(60).clamp(1, MAX_MINUTES);
        TimeRange { text: time_span::format(Duration::from_secs(minutes * 60)), minutes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_whole_number_and_a_unit() {
        for (text, minutes) in [("30m", 30), ("24h", 1_440), ("7d", 10_080), ("4w", 40_320), ("366d", MAX_MINUTES)] {
            let range: TimeRange = text.parse().expect(text);
            assert_eq!(range.minutes, minutes);
            assert_eq!(range.to_string(), text);
        }
    }

    #[test]
    fn a_window_that_is_asked_for_is_a_minute_to_366_days_long() {
        let from: DateTime<Utc> = "2026-03-29T00:30:00Z".parse().expect("a time");
        let between = |seconds| Window::between(from, from + TimeDelta::seconds(seconds)).map(|window| window.to);
        for seconds in [60, 61, 86_400, 366 * 86_400] {
            assert_eq!(between(seconds), Ok(from + TimeDelta::seconds(seconds)));
        }
        assert_eq!([0, -1].map(between), [Err(WindowError::Empty); 2]);
        assert_eq!([1, 59, 366 * 86_400 + 1].map(between), [Err(WindowError::Bounds); 3]);
        let ends = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];
        assert_eq!(Window::between(ends[0], ends[1]), Err(WindowError::Bounds));
    }

    #[test]
    fn the_length_of_a_window_is_told_as_a_range_that_covers_it() {
        let from: DateTime<Utc> = "2026-03-29T00:30:00Z".parse().expect("a time");
        for (seconds, text) in [
            (60, "1m"),
            (61, "2m"),
            (5_400, "90m"),
            (7_200, "2h"),
            (86_399, "24h"),
            (86_400, "24h"),
            (2 * 86_400, "2d"),
            (366 * 86_400, "366d"),
        ] {
            let window = Window { from, to: from + TimeDelta::seconds(seconds) };
            assert_eq!(window.range().as_str(), text);
            assert_eq!(text.parse(), Ok(window.range()), "any program reads it");
            let longer = window.range().delta() - (window.to - window.from);
            assert!((TimeDelta::zero()..TimeDelta::minutes(1)).contains(&longer), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["", "d", "7", "7D", "1.5h", "-1d", "+1d", " 7d", "7 d", "7天", "1y"] {
            assert_eq!(text.parse::<TimeRange>(), Err(TimeRangeError::Form), "{text:?}");
        }
        for text in ["0m", "367d", "53w", "99999999999999999999d"] {
            assert_eq!(text.parse::<TimeRange>(), Err(TimeRangeError::Bounds), "{text:?}");
        }
    }
}
