//! Schedules: a cron expression and a time zone → the instants at which a task fires.
//!
//! Owns the meaning of `cron_expression` and of `time_zone`. Pure: no clock, no randomness, no I/O
//! but for the rules of zones, read once; whoever asks passes the instant. Must not know what a fire does.
//!
//! # Notation
//!
//! That of [robfig/cron v3](https://pkg.go.dev/github.com/robfig/cron/v3) with seconds: six fields
//! `second minute hour day-of-month month day-of-week`, five without the second, `@daily` and its
//! like, `@every 1h30m`, each with an optional `TZ=Zone` or `CRON_TZ=Zone` in front. Where this
//! module differs on purpose:
//!
//! * 7 is Sunday too: alone and before a step it is the same as 0, at the end of a range it is the
//!   day after Saturday (`5-7`).
//! * Refused instead of taken: empty list elements (`1,,2`), text behind a star (`*-5`), a sign
//!   (`+5`), an interval that is zero or negative, an expression that can never fire.
//! * Taken instead of refused: blanks around the expression and before the duration of `@every`.
//! * No search limit of five years: 29 February is found from any year.
//!
//! As in robfig/cron, both day fields together mean *either*, unless one of them holds `*` or `?`;
//! `*/2` and `1-31` count as restrictions there, `*/1` does not.
//!
//! # Clock changes
//!
//! The rule is Vixie cron's. Where neither minute nor hour starts with `*` or `?`, a time that the
//! wall clock skips fires once, at the end of the gap, and a time that it shows twice fires the first
//! time. Otherwise real time counts: a fire is every instant whose reading matches, so none is added
//! for a gap and a repeated hour repeats its fires. The size of the change does not matter: a day
//! dropped at the date line is a gap like any other. (robfig/cron goes by real time always, and where
//! a clock moves by half an hour it misses fires of the days behind; neither is taken over.)
//!
//! # Bounds
//!
//! Fires of fields lie in the years 1970 to 2100 of the zone's wall clock, the calendar of the
//! `cron` crate; behind it nothing fires. An expression has at most 100 characters. Everything is in
//! whole seconds.

mod calendar;
mod describe;
mod error;
mod every;
mod expression;
mod wall_clock;
mod warn;
mod zone_rules;

use std::iter;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

pub use error::ScheduleError;
pub use zone_rules::{ZoneRules, date_in};

use calendar::Calendar;
use error::quote;
use every::Interval;
use expression::Parsed;

/// Longest expression, in characters: the width of its column.
pub const MAX_EXPRESSION_CHARS: usize = 100;

/// Most warnings that [`CronSchedule::warnings`] gives.
pub const MAX_WARNINGS: usize = 20;

/// A parsed cron expression with its time zone.
///
/// Two are equal if they have the same zone and fire alike at every instant, as far as their fields
/// tell: `@daily` equals `0 0 0 * * *`.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use hostsync_schedule::{CronSchedule, parse_time_zone};
///
/// let zone = parse_time_zone("Asia/Shanghai")?;
/// let schedule = CronSchedule::parse("0 30 9 * * MON", zone)?;
/// let after: DateTime<Utc> = "2026-01-01T00:00:00Z".parse()?;
/// let fire = schedule.next_after(after, after);
/// assert_eq!(fire, Some("2026-01-05T01:30:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CronSchedule {
    time_zone: Tz,
    timing: Timing,
}

#[derive(Debug, Clone, PartialEq)]
enum Timing {
    Every(Interval),
    Fields(Box<Calendar>),
}

impl CronSchedule {
    /// Reads `expression`. `default_zone` is used unless the expression starts with `TZ=` or
    /// `CRON_TZ=`, which beats it.
    ///
    /// # Errors
    ///
    /// The expression is longer than [`MAX_EXPRESSION_CHARS`], cannot be read, names an unknown
    /// zone, or can never fire.
    pub fn parse(expression: &str, default_zone: Tz) -> Result<Self, ScheduleError> {
        let length = expression.chars().count();
        if length > MAX_EXPRESSION_CHARS {
            return Err(ScheduleError::whole(format!(
                "the expression has {length} characters: it may have at most {MAX_EXPRESSION_CHARS}"
            )));
        }
        let (zone, rest) = expression::split_zone(expression);
        let time_zone = zone.map_or(Ok(default_zone), parse_time_zone)?;
        let timing = match expression::parse(rest)? {
            Parsed::Every(duration) => Timing::Every(Interval::parse(duration)?),
            Parsed::Fields(fields) => Timing::Fields(Box::new(Calendar::new(fields)?)),
        };
        Ok(Self { time_zone, timing })
    }

    /// The zone whose wall clock the fields mean: the prefix's, else the default given.
    #[must_use]
    pub fn time_zone(&self) -> Tz {
        self.time_zone
    }

    /// Whether this is `@every`, the one kind for which the anchor matters.
    #[must_use]
    pub fn is_every(&self) -> bool {
        matches!(self.timing, Timing::Every(_))
    }

    /// The schedule in words, such as `every Monday at 09:30:00, Asia/Shanghai`.
    ///
    /// A phrase to be shown to people, under 1,000 characters; it may change its wording.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.timing {
            Timing::Every(interval) => describe::interval(*interval),
            Timing::Fields(calendar) => describe::fields(&calendar.fields, self.time_zone),
        }
    }

    /// What may surprise people about the fires later than `after` and up to `until`, in sentences:
    /// that either day field is enough, and each change of the zone's clock that moves, leaves out or
    /// repeats a fire.
    ///
    /// At most [`MAX_WARNINGS`]; the last of so many says that there are more.
    #[must_use]
    pub fn warnings(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Vec<String> {
        match &self.timing {
            Timing::Every(_) => Vec::new(),
            Timing::Fields(calendar) => warn::of_fields(calendar, self.time_zone, after.timestamp(), until.timestamp()),
        }
    }

    /// The first fire strictly later than `after`, in whole seconds; `None`: it never fires again.
    ///
    /// `anchor` matters for `@every` alone: its fires are `anchor` cut to a whole second plus one
    /// interval, two, and so on.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = match &self.timing {
            Timing::Every(interval) => interval.next_after(after.timestamp(), anchor.timestamp()),
            Timing::Fields(calendar) => calendar.next_after(after.timestamp(), self.time_zone),
        };
        DateTime::from_timestamp(next?, 0)
    }

    /// All fires strictly later than `after`, in order, worked out as they are asked for.
    ///
    /// It may be endless: bound it with `take` or `take_while`. For `anchor` see
    /// [`next_after`](Self::next_after).
    pub fn fires_after(&self, after: DateTime<Utc>, anchor: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        iter::successors(self.next_after(after, anchor), move |fire| self.next_after(*fire, anchor))
    }
}

/// Finds a zone by its IANA name, such as `Asia/Shanghai` or `UTC`; upper and lower case matter.
///
/// # Errors
///
/// No such zone is known.
pub fn parse_time_zone(name: &str) -> Result<Tz, ScheduleError> {
    const FIELD: &str = "time zone";
    if name.is_empty() {
        return Err(ScheduleError::in_field(
            FIELD,
            "the time zone has no name: use an IANA name such as Asia/Shanghai or UTC",
        ));
    }
    name.parse().map_err(|_| {
        ScheduleError::in_field(
            FIELD,
            format!("the time zone {} is unknown: use an IANA name such as Asia/Shanghai or UTC", quote(name)),
        )
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
