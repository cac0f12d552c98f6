//! Lengths of time as the configuration writes them: `20ms`, `30s`, `24h`, `90d`.
//!
//! Owns reading and writing them, also for what tasks hold (`window::TimeRange`, `catch_up::CatchUpWindow`). Nothing here
//! knows a key or its bounds.

use std::time::Duration;

/// Units by which a span is written, largest first, in milliseconds.
const UNITS: [(u128, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

/// Reads a span: whole numbers with units, as in `90s`, `1h 30m` or `2days` (the `humantime` forms).
///
/// # Errors
///
/// A sentence about the form, without the text that was given.
pub fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| "must be a length of time with its unit, such as 20ms, 30s, 24h or 90d".to_owned())
}

/// Reads a span of one whole number and one of `units`, a letter each. `None`: it has another form. What is too long to be
/// read is the longest span.
pub fn parse_single(text: &str, units: &str) -> Option<Duration> {
    let number = text.strip_suffix(|unit| units.contains(unit))?;
    let is_whole = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| parse(text).unwrap_or(Duration::MAX))
}

/// Writes a span by the largest unit that divides it (days from two days on, so that a day stays
/// `24h`); anything below a millisecond is cut off.
pub fn format(span: Duration) -> String {
    let milliseconds = span.as_millis();
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(size, unit)| milliseconds.is_multiple_of(*size) && (*unit != "d" || milliseconds >= 2 * size))
        .map_or_else(|| format!("{milliseconds}ms"), |(size, unit)| format!("{}{unit}", milliseconds / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_as_a_person_would() {
        for text in ["0s", "20ms", "1500ms", "30s", "90s", "45m", "24h", "36h", "2d", "90d"] {
            assert_eq!(format(parse(text).expect(text)), text);
        }
        assert_eq!(format(Duration::from_hours(2)), "2h");
    }

    #[test]
    fn a_number_without_a_unit_is_no_span() {
        for text in ["", "30", "-1s", "s", "30x"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
