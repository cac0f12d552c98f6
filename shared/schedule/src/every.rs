//! `@every`: a fixed interval in the duration notation of Go, counted from an anchor.
//!
//! Owns the notation, the rounding and the arithmetic; knows no wall clock, since an interval means
//! elapsed time in every zone.

use super::error::{ScheduleError, quote};

const FIELD: &str = "interval";
const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Longest duration the notation can hold: signed 64-bit nanoseconds, about 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;
/// Digits kept of a number. 18 are a billionth of a billionth; the rest cannot move a second.
const MAX_DIGITS: usize = 18;
const EXPECTED: &str = "write numbers with a unit of h, m, s, ms, us or ns, such as 1h30m, 90s or 1.5h";

/// Units with their length in nanoseconds, longer names before their prefixes. Both micro signs
/// (U+00B5 and U+03BC) are letters of the notation.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
];

/// A whole number of seconds from 1 to about 292 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    seconds: i64,
}

impl Interval {
    /// Reads a Go duration (<https://pkg.go.dev/time#ParseDuration>) the way robfig/cron takes it:
    /// fractions of a second are dropped and the shortest interval is one second. Stricter than
    /// robfig/cron in one point: zero and less are errors instead of one second.
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let refuse = |why: &str| ScheduleError::in_field(FIELD, format!("the interval {} {why}", quote(text)));
        let unsigned = match text.strip_prefix('-') {
            Some(_) => return Err(refuse("is negative: it must be at least 1s")),
            None => text.strip_prefix('+').unwrap_or(text),
        };
        if unsigned == "0" {
            return Err(refuse("is zero: it must be at least 1s"));
        }
        if unsigned.is_empty() {
            return Err(refuse(&format!("is empty: {EXPECTED}")));
        }

        let mut nanos = 0_u128;
        let mut rest = unsigned;
        while !rest.is_empty() {
            let term = Term::split_from(rest).ok_or_else(|| refuse(&format!("is no duration: {EXPECTED}")))?;
            nanos = nanos.saturating_add(term.nanos);
            rest = term.rest;
        }
        if nanos > MAX_NANOS {
            return Err(refuse("is too long: it must be at most 2562047h"));
        }
        if nanos == 0 {
            return Err(refuse("is zero: it must be at least 1s"));
        }
        let seconds = i64::try_from(nanos / NANOS_PER_SECOND).unwrap_or(i64::MAX);
        Ok(Self { seconds: seconds.max(1) })
    }

    /// Length in seconds, at least 1.
    pub(super) fn seconds(self) -> i64 {
        self.seconds
    }

    /// The first `anchor + k × interval` (k ≥ 1) later than `after`; all in seconds since the epoch.
    /// `None` if that is beyond 64 bits.
    pub(super) fn next_after(self, after: i64, anchor: i64) -> Option<i64> {
        let elapsed = after.checked_sub(anchor)?.max(0);
        let count = elapsed / self.seconds + 1;
        count.checked_mul(self.seconds)?.checked_add(anchor)
    }
}

/// One number with its unit, and the text behind it.
struct Term<'a> {
    nanos: u128,
    rest: &'a str,
}

impl<'a> Term<'a> {
    fn split_from(text: &'a str) -> Option<Self> {
        let (whole, rest) = split_digits(text);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, rest) = UNITS.iter().find_map(|(name, nanos)| Some((*nanos, rest.strip_prefix(name)?)))?;

        // More digits than 18 (leading zeros aside) overflow the longest duration whatever the
        // unit; saturating keeps the answer "too long".
        let whole = whole.trim_start_matches('0');
        let mut nanos = if whole.len() > MAX_DIGITS { u128::MAX } else { number(whole).saturating_mul(unit) };
        let fraction = &fraction[..fraction.len().min(MAX_DIGITS)];
        let scale = fraction.bytes().fold(1_u128, |scale, _| scale * 10);
        nanos = nanos.saturating_add(number(fraction) * unit / scale);
        Some(Self { nanos, rest })
    }
}

/// Splits the leading ASCII digits off.
fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(end)
}

/// The value of at most [`MAX_DIGITS`] ASCII digits; no digit is 0.
fn number(digits: &str) -> u128 {
    digits.bytes().fold(0, |value, digit| value * 10 + u128::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> i64 {
        Interval::parse(text).expect(text).seconds()
    }

    fn refusal(text: &str) -> String {
        let error = Interval::parse(text).expect_err(text);
        assert_eq!(error.field(), Some("interval"));
        error.to_string()
    }

    #[test]
    fn durations_read_as_in_go() {
        assert_eq!(seconds("1h30m"), 5_400);
        assert_eq!(seconds("90s"), 90);
        assert_eq!(seconds("1.5h"), 5_400);
        assert_eq!(seconds(".5h"), 1_800);
        assert_eq!(seconds("1.h"), 3_600);
        assert_eq!(seconds("+2m"), 120);
        assert_eq!(seconds("1h1h"), 7_200);
        assert_eq!(seconds("3000ms"), 3);
        assert_eq!(seconds("2000000us"), 2);
        assert_eq!(seconds("2000000µs2000000μs"), 4);
        assert_eq!(seconds("0h0m7s"), 7);
        assert_eq!(seconds("000000000000000000000000000001m"), 60);
        assert_eq!(seconds("2562047h"), 2_562_047 * 3_600);
    }

    #[test]
    fn fractions_of_a_second_are_dropped_and_one_second_is_the_least() {
        assert_eq!(seconds("1999ms"), 1);
        assert_eq!(seconds("1.999s"), 1);
        assert_eq!(seconds("500ms"), 1);
        assert_eq!(seconds("1ns"), 1);
        assert_eq!(seconds("0.50000000000000000000000000h"), 1_800);
    }

    #[test]
    fn zero_negative_and_garbage_are_refused_with_the_reason() {
        assert!(refusal("0").contains("zero"));
        assert!(refusal("0s").contains("zero"));
        assert!(refusal("0h0m").contains("zero"));
        assert!(refusal("-5m").contains("negative"));
        assert!(refusal("").contains("empty"));
        for text in ["5", "1h30", "h", ".s", "1 h", "1d", "1H", "five", "1h-5m", "1..5h"] {
            assert!(refusal(text).contains("1h30m"), "{text}");
        }
        assert!(refusal("2562048h").contains("too long"));
        assert!(refusal("99999999999999999999999999999999999999999999h").contains("too long"));
    }

    #[test]
    fn the_first_fire_is_one_interval_after_the_anchor() {
        let every = Interval::parse("10s").expect("valid");
        assert_eq!(every.next_after(0, 1_000), Some(1_010));
        assert_eq!(every.next_after(1_000, 1_000), Some(1_010));
        assert_eq!(every.next_after(1_009, 1_000), Some(1_010));
        assert_eq!(every.next_after(1_010, 1_000), Some(1_020));
        assert_eq!(every.next_after(i64::MAX, 0), None);
        let every_second = Interval::parse("1s").expect("valid");
        assert_eq!(every_second.next_after(0, 1_000), Some(1_001));
    }
}
