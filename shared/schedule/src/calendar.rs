//! Six fields on the wall clock of a zone → instants.
//!
//! Owns the search for the next fire: which reading matches next is for the `cron` crate to say, on a
//! wall clock that knows no zone and no change; which instant shows it, for [`wall_clock`].

use std::fmt::Write as _;
use std::str::FromStr as _;

use chrono::DateTime;
use chrono_tz::Tz;

use super::error::{ScheduleError, quote};
use super::expression::{CronFields, DAY_OF_MONTH, DAY_OF_WEEK, FieldKind, FieldValues, HOUR, MINUTE, MONTH, SECOND};
use super::wall_clock::{self, DAY, Stretch};

/// First reading of the calendar: 1970-01-01T00:00:00.
const FIRST_READING: i64 = 0;
/// Last reading of the calendar: 2100-12-31T23:59:59.
pub(super) const LAST_READING: i64 = 4_133_980_799;

/// Six fields, with the readings of the wall clock they match.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Calendar {
    pub(super) fields: CronFields,
    /// The same fields for the `cron` crate, one or two schedules whose readings are merged.
    readings: Vec<cron::Schedule>,
}

impl Calendar {
    pub(super) fn new(fields: CronFields) -> Result<Self, ScheduleError> {
        let every_day = FieldValues::all_of(&DAY_OF_MONTH);
        let every_weekday = FieldValues::all_of(&DAY_OF_WEEK);
        let mut readings = Vec::with_capacity(2);
        if fields.either_day {
            if fields.has_a_date() {
                readings.push(expand(&fields, fields.days_of_month, every_weekday)?);
            }
            readings.push(expand(&fields, every_day, fields.days_of_week)?);
        } else {
            readings.push(expand(&fields, fields.days_of_month, fields.days_of_week)?);
        }
        Ok(Self { fields, readings })
    }

    /// The first fire later than `after`, in seconds since the epoch.
    pub(super) fn next_after(&self, after: i64, zone: Tz) -> Option<i64> {
        // Nothing fires before the calendar begins, and `None` stands behind its end; a week on
        // both sides leaves room for any offset.
        let after = after.clamp(FIRST_READING - 7 * DAY, LAST_READING + 7 * DAY);
        if self.fields.real_time {
            self.next_in_real_time(after, zone)
        } else {
            let reading = self.next_reading(wall_clock::highest_reading_until(zone, after))?;
            Some(wall_clock::first_instant_reaching(zone, reading))
        }
    }

    /// The first instant later than `after` whose reading matches.
    fn next_in_real_time(&self, mut after: i64, zone: Tz) -> Option<i64> {
        // Each round ends at least five days later, and skips to the day before the next matching
        // reading, so there are at most as many rounds as days with one.
        loop {
            let end = after + 5 * DAY;
            let stretch = Stretch::of(zone, after, end);
            let mut reading = self.next_reading(after + stretch.offset);
            let mut instant = reading.map(|reading| reading - stretch.offset);
            if let Some(change) = stretch.change
                && instant.is_none_or(|instant| instant >= change.at)
            {
                reading = self.next_reading(change.first_reading_after() - 1);
                instant = reading.map(|reading| reading - change.after);
            }
            if let Some(instant) = instant
                && instant <= end
            {
                return Some(instant);
            }
            // No reading matches between those of the stretch and this one. Readings stay within a
            // day of UTC.
            after = end.max(reading? - DAY);
        }
    }

    /// The first matching reading later than `reading`.
    pub(super) fn next_reading(&self, reading: i64) -> Option<i64> {
        let after = DateTime::from_timestamp(reading, 0)?;
        self.readings.iter().filter_map(|schedule| schedule.after(&after).next()).min().map(|next| next.timestamp())
    }
}

/// The schedule of the `cron` crate for these fields on the bare wall clock, both day fields
/// required. The crate takes 1 as Sunday.
fn expand(
    fields: &CronFields,
    days_of_month: FieldValues,
    days_of_week: FieldValues,
) -> Result<cron::Schedule, ScheduleError> {
    let mut text = String::new();
    let mut push = |kind: &FieldKind, values: FieldValues, shift: u32| {
        if values.is_full(kind) {
            text.push('*');
        } else {
            for (index, value) in values.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                // Writing to a string cannot fail.
                let _ = write!(text, "{comma}{}", value + shift);
            }
        }
        text.push(' ');
    };
    push(&SECOND, fields.seconds, 0);
    push(&MINUTE, fields.minutes, 0);
    push(&HOUR, fields.hours, 0);
    push(&DAY_OF_MONTH, days_of_month, 0);
    push(&MONTH, fields.months, 0);
    push(&DAY_OF_WEEK, days_of_week, 1);
    cron::Schedule::from_str(text.trim_end())
        .map_err(|_| ScheduleError::whole(format!("the expression cannot be expanded: {}", quote(&text))))
}
