//! When a schedule would fire: its next times, what it says in words, what may surprise people about it.
//!
//! Writes nothing. Knows no transport.

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use hostsync_schedule::CronSchedule;

use super::Tasks;
use super::request::{CronExpression, ZoneName};
use crate::error::ApiError;
use crate::request::{Submitted, Whole, request};

/// Most fire times in an answer.
pub(crate) const MAX_FIRE_TIMES: u64 = 100;

/// Fire times when the caller does not say how many.
pub(crate) const DEFAULT_FIRE_TIMES: u64 = 10;

/// Warnings look at least so far ahead, so that a daily task is told of both changes of the clock.
const WARN_AHEAD: TimeDelta = TimeDelta::days(366);

request! {
    /// A schedule to look at.
    pub(crate) struct PreviewQuery as "PreviewTask" {
        cron_expression: CronExpression, example "0 30 9 * * MON";
        time_zone: Option<ZoneName>, example "Asia/Shanghai";
        /// Only fires later than this, RFC 3339; absent means now. `@every` counts from it.
        after: Option<DateTime<Utc>>;
        /// Most fire times in the answer.
        count: Option<Whole<1, MAX_FIRE_TIMES>>, default DEFAULT_FIRE_TIMES;
    }
}

/// What a schedule comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preview {
    pub(crate) time_zone: Tz,
    pub(crate) fire_times: Vec<DateTime<Utc>>,
    pub(crate) description: String,
    pub(crate) warnings: Vec<String>,
}

/// Shows what a schedule comes to.
///
/// # Errors
///
/// Bad fields; the database, whose clock says when now is if the caller does not.
pub(crate) async fn preview(tasks: &Tasks, submitted: Submitted<PreviewQuery>) -> Result<Preview, ApiError> {
    let Submitted { value: query, mut problems, said: _ } = submitted;
    let schedule = tasks.schedule(query.time_zone.as_ref(), Some(&query.cron_expression), &mut problems);
    problems.check()?;
    let schedule = schedule.context("a schedule without a problem was not read")?;
    let after = match query.after {
        Some(after) => after,
        None => tasks.database.now().await?,
    };
    let count = query.count.map_or(DEFAULT_FIRE_TIMES, |Whole(count)| count);
    Ok(of_schedule(&schedule, after, usize::try_from(count).unwrap_or(0)))
}

fn of_schedule(schedule: &CronSchedule, after: DateTime<Utc>, count: usize) -> Preview {
    let fire_times: Vec<DateTime<Utc>> = schedule.fires_after(after, after).take(count).collect();
    let ahead = after.checked_add_signed(WARN_AHEAD).unwrap_or(after);
    let until = fire_times.last().copied().map_or(ahead, |last| last.max(ahead));
    let mut warnings = schedule.warnings(after, until);
    if fire_times.is_empty() {
        warnings.push(format!("it never fires after {}", after.format("%Y-%m-%dT%H:%M:%S%.3fZ")));
    } else if fire_times.len() < count {
        warnings.push("it never fires again after the last of these times".to_owned());
    }
    Preview { time_zone: schedule.time_zone(), fire_times, description: schedule.describe(), warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(expression: &str, zone: Tz, after: &str, count: usize) -> Preview {
        let schedule = CronSchedule::parse(expression, zone).expect(expression);
        of_schedule(&schedule, after.parse().expect(after), count)
    }

    #[test]
    fn warnings_reach_a_year_ahead_however_few_times_are_asked_for() {
        let seen = preview("0 30 2 * * *", Tz::Europe__Berlin, "2026-01-01T00:00:00Z", 1);
        assert_eq!(seen.fire_times.len(), 1);
        assert_eq!(seen.warnings.len(), 2, "{:?}", seen.warnings);
    }

    #[test]
    fn a_schedule_that_ends_says_so() {
        let seen = preview("0 0 0 * * *", Tz::UTC, "2100-12-30T00:00:00Z", 5);
        assert_eq!(seen.fire_times.len(), 1);
        assert!(seen.warnings[0].contains("never fires again"), "{:?}", seen.warnings);
        let seen = preview("0 0 0 * * *", Tz::UTC, "2200-01-01T00:00:00Z", 5);
        assert!(seen.fire_times.is_empty());
        assert_eq!(seen.warnings, ["it never fires after 2200-01-01T00:00:00.000Z"]);
    }

    #[test]
    fn the_last_instant_there_is_does_no_harm() {
        for expression in ["@every 1s", "* * * * * *"] {
            let schedule = CronSchedule::parse(expression, Tz::UTC).expect(expression);
            for after in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
                assert!(of_schedule(&schedule, after, 100).fire_times.len() <= 100);
            }
        }
    }
}
