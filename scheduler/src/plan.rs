//! What to do with the fires of a task that have come due.
//!
//! Pure: of several missed fires only the newest runs, and only within the task's catch-up window; the others are
//! recorded. Over a hundred in a row are recorded in one row.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_shared::schedule::CronSchedule;

/// Missed fires up to this many get a row each; more get one row together.
const ROWS_FOR_MISSED: usize = 100;

/// Missed fires counted one by one; a longer gap is recorded as "at least" so many.
const COUNTED_MISSED: usize = 100_000;

/// What to do with the due fires of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirePlan {
    /// Fires that did not run in time.
    pub(crate) missed: Missed,
    /// The fire that runs now.
    pub(crate) run: Option<DateTime<Utc>>,
    /// The fire after now; `None`: never again.
    pub(crate) next: Option<DateTime<Utc>>,
}

/// Fires that did not run in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missed {
    /// A row each.
    Each(Vec<DateTime<Utc>>),
    /// One row for all of them.
    Many {
        /// The oldest.
        first: DateTime<Utc>,
        /// The newest; where the row stands.
        last: DateTime<Utc>,
        /// How many; exact unless `or_more`.
        count: usize,
        /// Counting was given up.
        or_more: bool,
    },
}

impl Missed {
    /// How many fires.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Each(fires) => fires.len(),
            Self::Many { count, .. } => *count,
        }
    }
}

/// Plans the fires of a task from `due` (its stored next fire) to `now`.
pub(crate) fn plan(
    schedule: &CronSchedule,
    anchor: DateTime<Utc>,
    due: DateTime<Utc>,
    now: DateTime<Utc>,
    catch_up: TimeDelta,
) -> FirePlan {
    let next = schedule.next_after(now, anchor);
    if due > now {
        return FirePlan { missed: Missed::Each(Vec::new()), run: None, next: Some(due) };
    }
    let run = newest_within(schedule, anchor, due, now, catch_up);
    let mut missed = std::iter::once(due)
        .chain(schedule.fires_after(due, anchor))
        .take_while(|fire| *fire <= now && Some(*fire) != run)
        .take(COUNTED_MISSED + 1);
    let mut rows: Vec<DateTime<Utc>> = missed.by_ref().take(ROWS_FOR_MISSED + 1).collect();
    if rows.len() <= ROWS_FOR_MISSED {
        return FirePlan { missed: Missed::Each(rows), run, next };
    }
    let first = rows[0];
    let mut count = rows.len();
    let mut last = rows.pop().unwrap_or(first);
    for fire in missed {
        count += 1;
        last = fire;
    }
    let or_more = count > COUNTED_MISSED;
    FirePlan { missed: Missed::Many { first, last, count: count.min(COUNTED_MISSED), or_more }, run, next }
}

/// The newest fire in `[due, now]` that is no older than the catch-up window.
fn newest_within(
    schedule: &CronSchedule,
    anchor: DateTime<Utc>,
    due: DateTime<Utc>,
    now: DateTime<Utc>,
    catch_up: TimeDelta,
) -> Option<DateTime<Utc>> {
    let oldest = now - catch_up;
    let start = if due >= oldest { due } else { schedule.next_after(oldest - TimeDelta::milliseconds(1), anchor)? };
    std::iter::once(start).chain(schedule.fires_after(start, anchor)).take_while(|fire| *fire <= now).last()
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn planned(expression: &str, due: &str, now: &str, catch_up_s: i64) -> FirePlan {
        let schedule = CronSchedule::parse(expression, Tz::UTC).expect("an expression");
        plan(&schedule, at("2026-01-01T00:00:00Z"), at(due), at(now), TimeDelta::seconds(catch_up_s))
    }

    #[test]
    fn a_fire_that_is_due_runs() {
        let plan = planned("0 * * * * *", "2026-03-01T10:05:00Z", "2026-03-01T10:05:00.120Z", 60);
        assert_eq!(plan.run, Some(at("2026-03-01T10:05:00Z")));
        assert_eq!(plan.missed, Missed::Each(Vec::new()));
        assert_eq!(plan.next, Some(at("2026-03-01T10:06:00Z")));
    }

    #[test]
    fn of_several_missed_fires_only_the_newest_runs() {
        let plan = planned("0 * * * * *", "2026-03-01T10:05:00Z", "2026-03-01T10:08:30Z", 60);
        assert_eq!(plan.run, Some(at("2026-03-01T10:08:00Z")));
        assert_eq!(
            plan.missed,
            Missed::Each(vec![at("2026-03-01T10:05:00Z"), at("2026-03-01T10:06:00Z"), at("2026-03-01T10:07:00Z")])
        );
    }

    #[test]
    fn a_fire_beyond_the_catch_up_window_does_not_run() {
        let plan = planned("0 0 2 * * *", "2026-03-01T02:00:00Z", "2026-03-01T09:00:00Z", 60);
        assert_eq!(plan.run, None);
        assert_eq!(plan.missed.len(), 1);
        assert_eq!(plan.next, Some(at("2026-03-02T02:00:00Z")));
    }

    #[test]
    fn many_missed_fires_are_one_row_with_first_last_and_count() {
        let plan = planned("* * * * * *", "2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z", 0);
        assert_eq!(plan.run, Some(at("2026-03-01T01:00:00Z")));
        assert_eq!(
            plan.missed,
            Missed::Many {
                first: at("2026-03-01T00:00:00Z"),
                last: at("2026-03-01T00:59:59Z"),
                count: 3_600,
                or_more: false
            }
        );
    }

    #[test]
    fn a_gap_of_weeks_does_not_count_for_ever() {
        let plan = planned("* * * * * *", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z", 60);
        assert!(matches!(plan.missed, Missed::Many { or_more: true, count: COUNTED_MISSED, .. }));
        assert_eq!(plan.run, Some(at("2026-03-08T00:00:00Z")));
    }
}
