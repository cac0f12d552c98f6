//! What may surprise people about a schedule, in sentences.
//!
//! Owns which changes of a zone's clock touch a fire, and the wording.

use chrono::{DateTime, NaiveDateTime};
use chrono_tz::Tz;

use super::MAX_WARNINGS;
use super::calendar::{Calendar, LAST_READING};
use super::wall_clock::{Change, DAY, Stretch};

/// Warnings about six fields over the fires in (`after`, `until`], in seconds since the epoch.
pub(super) fn of_fields(calendar: &Calendar, zone: Tz, after: i64, until: i64) -> Vec<String> {
    let mut warnings = Vec::new();
    if calendar.fields.either_day {
        warnings.push(
            "day-of-month and day-of-week are both restricted: it fires on days that match either \
             of them, not only on those that match both"
                .to_owned(),
        );
    }
    let (mut begin, until) = (after.max(0), until.min(LAST_READING + DAY));
    while begin < until {
        let end = until.min(begin + 5 * DAY);
        let change = Stretch::of(zone, begin, end).change;
        if let Some(sentence) = change.and_then(|change| of_change(calendar, change)) {
            if warnings.len() + 1 == MAX_WARNINGS {
                warnings.push("more changes of the clock follow".to_owned());
                break;
            }
            warnings.push(sentence);
        }
        begin = end;
    }
    warnings
}

/// A warning if the change skips or repeats a reading that matches.
fn of_change(calendar: &Calendar, change: Change) -> Option<String> {
    let (old, new) = (change.end_of_old_readings(), change.first_reading_after());
    let (low, high) = (old.min(new), old.max(new));
    let first = calendar.next_reading(low - 1).filter(|reading| *reading < high)?;

    let (old, new, first) = (show(old)?, show(new)?, show(first)?);
    let real_time = calendar.fields.real_time;
    Some(if old < new {
        let skipped = format!("the clock goes forward from {old} to {new} and skips {first}");
        if real_time {
            format!("{skipped}: what is set for the time between does not fire")
        } else {
            format!("{skipped}: what is set for the time between fires once, at {new}")
        }
    } else {
        let repeated = format!("the clock goes back from {old} to {new} and shows {first} twice");
        if real_time {
            format!("{repeated}: what is set for the time between fires both times")
        } else {
            format!("{repeated}: what is set for the time between fires the first time only")
        }
    })
}

fn show(reading: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp(reading, 0).map(|reading| reading.naive_utc())
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use chrono_tz::Tz;

    use crate::{CronSchedule, MAX_WARNINGS};

    fn warnings(expression: &str, zone: Tz, after: &str, until: &str) -> Vec<String> {
        let [after, until] = [after, until].map(|text| text.parse::<DateTime<Utc>>().expect(text));
        CronSchedule::parse(expression, zone).expect(expression).warnings(after, until)
    }

    #[test]
    fn two_restricted_day_fields_are_pointed_out() {
        let of = |expression| warnings(expression, Tz::UTC, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        assert!(of("0 0 0 13 * 5")[0].contains("match either"));
        assert_eq!(of("0 0 0 13 * ?"), [""; 0]);
    }

    #[test]
    fn a_clock_change_that_touches_a_fire_is_pointed_out() {
        let year =
            |expression| warnings(expression, Tz::Europe__Berlin, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        assert_eq!(
            year("0 30 2 * * *"),
            [
                "the clock goes forward from 2026-03-29 02:00:00 to 2026-03-29 03:00:00 and skips \
                 2026-03-29 02:30:00: what is set for the time between fires once, at 2026-03-29 \
                 03:00:00",
                "the clock goes back from 2026-10-25 03:00:00 to 2026-10-25 02:00:00 and shows \
                 2026-10-25 02:30:00 twice: what is set for the time between fires the first time only",
            ]
        );
        let hourly = year("@hourly");
        assert!(hourly[0].ends_with("does not fire"), "{hourly:?}");
        assert!(hourly[1].ends_with("both times"), "{hourly:?}");
        assert_eq!(year("59 59 1 * * *"), [""; 0]);
        assert_eq!(year("0 0 3 * * *"), [""; 0]);
        assert_eq!(year("0 30 2 28 * *"), [""; 0]);
        assert_eq!(year("@every 1h"), [""; 0]);
    }

    #[test]
    fn only_changes_between_the_two_instants_count() {
        let of = |after, until| warnings("0 30 2 * * *", Tz::Europe__Berlin, after, until).len();
        assert_eq!(of("2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"), 1);
        assert_eq!(of("2026-03-29T01:00:00Z", "2026-10-25T00:59:59Z"), 0);
        assert_eq!(of("2027-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), 0);
    }

    #[test]
    fn a_long_time_gives_a_bounded_number_of_them() {
        let all = warnings("0 30 2 * * *", Tz::Europe__Berlin, "1900-01-01T00:00:00Z", "2300-01-01T00:00:00Z");
        assert_eq!(all.len(), MAX_WARNINGS);
        assert!(all[MAX_WARNINGS - 1].contains("more"));
    }
}
