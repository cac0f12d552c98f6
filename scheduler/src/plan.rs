//! What to do with the fires of a task that have come due.
//!
//! Pure. A fire that is late although schedulers were at work all the time is only late: it runs, in its order. After a
//! break only the newest fire runs, if it is within the task's catch-up window or somebody was at work at its time; the
//! others are recorded, over a hundred in a row in one row.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_schedule::CronSchedule;

/// Fires that are recorded, not run, up to this many get a row each; more get one row together.
pub(crate) const ROWS_A_REASON: usize = 100;

/// Fires counted one by one; a longer gap is recorded as "at least" so many.
const COUNTED: usize = 100_000;

/// Late fires of one task that run one after the other. With more the task fires faster than the schedulers can: the newest
/// runs and the others are recorded.
const MOST_IN_ORDER: usize = 10;

/// What to do with the due fires of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirePlan {
    /// Fires that a pause keeps from running.
    pub(crate) paused: UnrunFires,
    /// Fires at whose time no scheduler was at work and that did not run in time.
    pub(crate) missed: UnrunFires,
    /// Fires at whose time a scheduler was at work, but a newer one runs or has come due before it came to them.
    pub(crate) passed_over: UnrunFires,
    /// The fire that runs now.
    pub(crate) run: Option<DateTime<Utc>>,
    /// The fire after that; `None`: never again.
    pub(crate) next: Option<DateTime<Utc>>,
}

/// Fires that do not run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnrunFires {
    /// The oldest of them.
    first: Vec<DateTime<Utc>>,
    /// The newest.
    last: Option<DateTime<Utc>>,
    count: usize,
    /// Counting was given up.
    or_more: bool,
}

/// How fires that do not run are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FireRecords<'a> {
    /// A row each.
    Each(&'a [DateTime<Utc>]),
    /// One row for all of them.
    Together {
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

impl UnrunFires {
    fn add(&mut self, fire: DateTime<Utc>) {
        if self.first.len() < ROWS_A_REASON {
            self.first.push(fire);
        }
        self.last = Some(fire);
        self.count += 1;
    }

    /// How many fires, at least.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How they are recorded.
    pub(crate) fn recorded(&self) -> FireRecords<'_> {
        match (self.first.first(), self.last) {
            (Some(first), Some(last)) if self.count > self.first.len() => {
                FireRecords::Together { first: *first, last, count: self.count, or_more: self.or_more }
            }
            _ => FireRecords::Each(&self.first),
        }
    }
}

/// When schedulers were at work: spans without a break, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WorkSpans(Vec<(DateTime<Utc>, DateTime<Utc>)>);

impl WorkSpans {
    /// From the shifts of all schedulers, in order of their begin.
    pub(crate) fn of(shifts: impl IntoIterator<Item = (DateTime<Utc>, DateTime<Utc>)>) -> Self {
        let mut spans: Vec<(DateTime<Utc>, DateTime<Utc>)> = Vec::new();
        for (from, to) in shifts {
            match spans.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => spans.push((from, to)),
            }
        }
        Self(spans)
    }

    /// Whether anybody was at work then.
    fn at(&self, time: DateTime<Utc>) -> bool {
        self.all_the_time(time, time)
    }

    /// Whether somebody was at work all the time from `from` to `to`.
    fn all_the_time(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        let after = self.0.partition_point(|(begin, _)| *begin <= from);
        after.checked_sub(1).is_some_and(|at| to <= self.0[at].1)
    }
}

/// Plans the fires of a task from `due` (its stored next fire) to `now`. Those before `paused_until` (the end of the last
/// pause; while it goes on, a time after `now`) do not run, whenever somebody comes to them.
pub(crate) fn plan(
    schedule: &CronSchedule,
    anchor: DateTime<Utc>,
    due: DateTime<Utc>,
    now: DateTime<Utc>,
    catch_up: TimeDelta,
    at_work: &WorkSpans,
    paused_until: Option<DateTime<Utc>>,
) -> FirePlan {
    let Some(until) = paused_until.filter(|until| due < *until && due <= now) else {
        return plan_unpaused(schedule, anchor, due, now, catch_up, at_work);
    };
    let mut paused = UnrunFires::default();
    let fires = std::iter::once(due).chain(schedule.fires_after(due, anchor));
    for fire in fires.take_while(|fire| *fire < until && *fire <= now).take(COUNTED) {
        paused.add(fire);
    }
    // Fires are at whole seconds; none is at the last moment of the pause.
    let last_moment = (until - TimeDelta::milliseconds(1)).min(now);
    paused.or_more = paused.count == COUNTED;
    match schedule.next_after(last_moment, anchor) {
        Some(next) => FirePlan { paused, ..plan_unpaused(schedule, anchor, next, now, catch_up, at_work) },
        None => FirePlan {
            paused,
            missed: UnrunFires::default(),
            passed_over: UnrunFires::default(),
            run: None,
            next: None,
        },
    }
}

fn plan_unpaused(
    schedule: &CronSchedule,
    anchor: DateTime<Utc>,
    due: DateTime<Utc>,
    now: DateTime<Utc>,
    catch_up: TimeDelta,
    at_work: &WorkSpans,
) -> FirePlan {
    let (missed, passed_over, paused) = (UnrunFires::default(), UnrunFires::default(), UnrunFires::default());
    if due > now {
        return FirePlan { paused, missed, passed_over, run: None, next: Some(due) };
    }
    let fires = || std::iter::once(due).chain(schedule.fires_after(due, anchor)).take_while(|fire| *fire <= now);
    if at_work.all_the_time(due, now) && fires().take(MOST_IN_ORDER + 1).count() <= MOST_IN_ORDER {
        return FirePlan { paused, missed, passed_over, run: Some(due), next: schedule.next_after(due, anchor) };
    }
    after_a_break(schedule, anchor, fires, now, catch_up, at_work)
}

fn after_a_break<F: Iterator<Item = DateTime<Utc>>>(
    schedule: &CronSchedule,
    anchor: DateTime<Utc>,
    fires: impl Fn() -> F,
    now: DateTime<Utc>,
    catch_up: TimeDelta,
    at_work: &WorkSpans,
) -> FirePlan {
    let in_time = newest_in_time(schedule, anchor, fires().next(), now, catch_up);
    let (mut missed, mut passed_over) = (UnrunFires::default(), UnrunFires::default());
    let mut before: Option<DateTime<Utc>> = None;
    let mut record = |fire| if at_work.at(fire) { passed_over.add(fire) } else { missed.add(fire) };
    let mut counted = 0;
    for fire in fires().take_while(|fire| Some(*fire) != in_time).take(COUNTED + 1) {
        if let Some(older) = before.replace(fire) {
            record(older);
        }
        counted += 1;
    }
    let or_more = counted > COUNTED;
    // The newest of all, where none is in time.
    let run = in_time.or(before.filter(|fire| !or_more && at_work.at(*fire)));
    if let Some(fire) = before.filter(|fire| run != Some(*fire) && !or_more) {
        record(fire);
    }
    missed.or_more = or_more;
    passed_over.or_more = or_more;
    FirePlan { paused: UnrunFires::default(), missed, passed_over, run, next: schedule.next_after(now, anchor) }
}

/// The newest fire from `due` to `now` that is no older than the catch-up window. Halves the time between a fire and `now`
/// until none is left between them: a week of fires each second is not walked through.
fn newest_in_time(
    schedule: &CronSchedule,
    anchor: DateTime<Utc>,
    due: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    catch_up: TimeDelta,
) -> Option<DateTime<Utc>> {
    let oldest = now - catch_up;
    let fire_after = |time| schedule.next_after(time, anchor).filter(|fire| *fire <= now);
    let mut newest = match due? {
        due if due >= oldest => due,
        _ => fire_after(oldest - TimeDelta::milliseconds(1))?,
    };
    // None comes after it.
    let mut end = now;
    while end - newest > TimeDelta::seconds(1) {
        let middle = newest + (end - newest) / 2;
        match fire_after(middle) {
            Some(fire) => newest = fire,
            None => end = middle,
        }
    }
    // Fires are at whole seconds: at most one is left.
    Some(fire_after(newest).unwrap_or(newest))
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-03-{text}Z").parse().expect("a time")
    }

    /// `shifts` are pairs of times on that day.
    fn planned(expression: &str, due: &str, now: &str, catch_up_s: i64, shifts: &[(&str, &str)]) -> FirePlan {
        planned_beside(expression, due, now, catch_up_s, shifts, None)
    }

    fn planned_beside(
        expression: &str,
        due: &str,
        now: &str,
        catch_up_s: i64,
        shifts: &[(&str, &str)],
        paused_until: Option<&str>,
    ) -> FirePlan {
        let schedule = CronSchedule::parse(expression, Tz::UTC).expect("an expression");
        let at_work = WorkSpans::of(shifts.iter().map(|(from, to)| (at(from), at(to))));
        let catch_up = TimeDelta::seconds(catch_up_s);
        plan(&schedule, at("01T00:00:00"), at(due), at(now), catch_up, &at_work, paused_until.map(at))
    }

    fn each(unrun: &UnrunFires) -> Vec<DateTime<Utc>> {
        match unrun.recorded() {
            FireRecords::Each(fires) => fires.to_vec(),
            FireRecords::Together { .. } => panic!("{unrun:?}"),
        }
    }

    fn nothing(plan: &FirePlan) -> bool {
        plan.missed.len() == 0 && plan.passed_over.len() == 0
    }

    #[test]
    fn a_fire_that_is_due_runs() {
        let plan = planned("0 * * * * *", "01T10:05:00", "01T10:05:00.120", 60, &[]);
        assert_eq!(plan.run, Some(at("01T10:05:00")));
        assert!(nothing(&plan), "{plan:?}");
        assert_eq!(plan.next, Some(at("01T10:06:00")));
    }

    #[test]
    fn of_several_missed_fires_only_the_newest_runs() {
        let plan = planned("0 * * * * *", "01T10:05:00", "01T10:08:30", 60, &[]);
        assert_eq!(plan.run, Some(at("01T10:08:00")));
        assert_eq!(each(&plan.missed), [at("01T10:05:00"), at("01T10:06:00"), at("01T10:07:00")]);
        assert_eq!(plan.passed_over.len(), 0);
    }

    #[test]
    fn a_fire_beyond_the_catch_up_window_does_not_run() {
        let plan = planned("0 0 2 * * *", "01T02:00:00", "01T09:00:00", 60, &[]);
        assert_eq!((plan.run, plan.missed.len()), (None, 1));
        assert_eq!(plan.next, Some(at("02T02:00:00")));
    }

    #[test]
    fn a_fire_is_never_missed_because_the_schedulers_are_slow() {
        // Beyond any catch-up window, even one of nothing.
        for catch_up_s in [0, 60] {
            let plan =
                planned("0 0 2 * * *", "01T02:00:00", "01T02:05:00", catch_up_s, &[("01T01:00:00", "01T02:05:00")]);
            assert_eq!(plan.run, Some(at("01T02:00:00")));
            assert!(nothing(&plan), "{plan:?}");
        }
    }

    #[test]
    fn schedulers_that_relieve_one_another_are_one_span_and_late_fires_run_in_order() {
        let shifts = [("01T10:00:00", "01T10:06:10"), ("01T10:06:00", "01T10:08:30")];
        let plan = planned("0 * * * * *", "01T10:05:00", "01T10:08:30", 0, &shifts);
        assert_eq!((plan.run, plan.next), (Some(at("01T10:05:00")), Some(at("01T10:06:00"))));
        assert!(nothing(&plan), "{plan:?}");
    }

    #[test]
    fn a_fire_at_whose_time_a_scheduler_was_at_work_runs_after_a_break_unless_a_newer_one_does() {
        let crashed = [("01T01:00:00", "01T02:00:07"), ("01T09:00:00", "01T09:30:00")];
        let plan = planned("0 0 2 * * *", "01T02:00:00", "01T09:30:00", 60, &crashed);
        assert_eq!(plan.run, Some(at("01T02:00:00")));
        assert!(nothing(&plan), "{plan:?}");
        let plan = planned("0 0 * * * *", "01T02:00:00", "01T09:00:30", 60, &crashed);
        assert_eq!(plan.run, Some(at("01T09:00:00")));
        assert_eq!(each(&plan.passed_over), [at("01T02:00:00")]);
        assert_eq!(plan.missed.len(), 6);
    }

    #[test]
    fn a_task_that_fires_faster_than_the_schedulers_can_runs_its_newest_fire() {
        let plan = planned("* * * * * *", "01T10:00:00", "01T10:00:30", 60, &[("01T09:00:00", "01T10:00:30")]);
        assert_eq!((plan.run, plan.next), (Some(at("01T10:00:30")), Some(at("01T10:00:31"))));
        assert_eq!((plan.missed.len(), plan.passed_over.len()), (0, 30));
    }

    #[test]
    fn many_missed_fires_are_one_row_with_first_last_and_count() {
        let plan = planned("* * * * * *", "01T00:00:00", "01T01:00:00", 0, &[]);
        assert_eq!(plan.run, Some(at("01T01:00:00")));
        let together =
            FireRecords::Together { first: at("01T00:00:00"), last: at("01T00:59:59"), count: 3_600, or_more: false };
        assert_eq!(plan.missed.recorded(), together);
    }

    #[test]
    fn the_newest_fire_in_time_is_found_without_walking_through_all_of_them() {
        for (expression, now, catch_up_s) in [
            ("* * * * * *", "08T10:00:00.500", 604_800),
            ("* * * * * *", "08T10:00:00", 1),
            ("* * * * * *", "08T10:00:00", 0),
            ("* * 3 * * *", "08T10:00:00", 604_800),
            ("* * * * * MON", "05T10:00:00.001", 604_800),
            ("0 0 2 * * *", "08T01:59:59.999", 90_000),
            ("0 0 2 * * *", "08T02:00:00", 90_000),
            ("0 0 2 * * *", "08T10:00:00", 60),
            ("@every 7s", "08T10:00:03.300", 20),
        ] {
            let schedule = CronSchedule::parse(expression, Tz::UTC).expect("an expression");
            let (anchor, now, catch_up) = (at("01T00:00:00"), at(now), TimeDelta::seconds(catch_up_s));
            let oldest = now - catch_up;
            let walked = schedule
                .fires_after(oldest - TimeDelta::milliseconds(1), anchor)
                .take_while(|fire| *fire <= now)
                .last();
            let found = newest_in_time(&schedule, anchor, Some(anchor), now, catch_up);
            assert_eq!(found, walked, "{expression} at {now}");
            if let Some(due) = walked {
                assert_eq!(newest_in_time(&schedule, anchor, Some(due), now, catch_up), walked, "{expression}");
            }
        }
    }

    #[test]
    fn what_is_due_in_a_pause_does_not_run_and_the_next_fire_is_after_now() {
        let shifts = [("01T09:00:00", "01T10:07:30")];
        let plan = planned_beside("0 * * * * *", "01T10:05:00", "01T10:07:00", 600, &shifts, Some("01T10:07:00.001"));
        assert_eq!(each(&plan.paused), [at("01T10:05:00"), at("01T10:06:00"), at("01T10:07:00")]);
        assert!(nothing(&plan), "{plan:?}");
        assert_eq!((plan.run, plan.next), (None, Some(at("01T10:08:00"))));
    }

    #[test]
    fn nothing_that_was_due_before_the_end_of_a_pause_is_caught_up() {
        // Nobody was there from 09:58 to 10:08; the pause ended at 10:06.
        let shifts = [("01T09:00:00", "01T09:58:00"), ("01T10:08:00", "01T10:08:30")];
        let plan = planned_beside("0 * * * * *", "01T09:57:00", "01T10:08:30", 86_400, &shifts, Some("01T10:06:00"));
        assert_eq!(
            (plan.paused.len(), plan.paused.first[0], plan.paused.last),
            (9, at("01T09:57:00"), Some(at("01T10:05:00")))
        );
        assert_eq!(
            (plan.run, each(&plan.missed)),
            (Some(at("01T10:08:00")), vec![at("01T10:06:00"), at("01T10:07:00")])
        );
        // Without a fire since its end nothing runs.
        let plan = planned_beside("0 0 2 * * *", "01T02:00:00", "01T09:00:00", 86_400, &[], Some("01T03:00:00"));
        assert_eq!((plan.run, plan.next, plan.paused.len()), (None, Some(at("02T02:00:00")), 1));
        // A pause that ended before the fire was due is nothing to it.
        let plan = planned_beside("0 0 2 * * *", "01T02:00:00", "01T02:00:00", 60, &[], Some("01T02:00:00"));
        assert_eq!((plan.run, plan.paused.len()), (Some(at("01T02:00:00")), 0));
    }

    #[test]
    fn a_pause_over_a_change_of_the_clock_keeps_back_each_fire_before_its_end_and_no_other() {
        for expression in ["0 30 2 * * *", "0 0 * * * *", "0 */7 1-3 * * *", "@every 37m"] {
            let schedule = CronSchedule::parse(expression, Tz::Europe__Berlin).expect("an expression");
            let (anchor, now) = (at("01T00:00:00"), at("31T12:00:00"));
            let due = schedule.next_after(at("28T20:00:00"), anchor).expect("a fire");
            for minutes in (1..600).step_by(7) {
                let until = due + TimeDelta::minutes(minutes);
                let expected: Vec<_> = std::iter::once(due)
                    .chain(schedule.fires_after(due, anchor))
                    .take_while(|fire| *fire < until)
                    .collect();
                let plan =
                    super::plan(&schedule, anchor, due, now, TimeDelta::days(7), &WorkSpans::default(), Some(until));
                assert_eq!(plan.paused.len(), expected.len(), "{expression} until {until}");
                assert_eq!(plan.paused.last, expected.last().copied());
                let first_after = plan.missed.first.first().copied().or(plan.run).expect("a fire after the pause");
                assert_eq!(Some(first_after), schedule.next_after(until - TimeDelta::milliseconds(1), anchor));
            }
        }
    }

    #[test]
    fn many_paused_fires_are_one_row() {
        let plan = planned_beside("* * * * * *", "01T00:00:00", "01T01:00:00", 0, &[], Some("02T00:00:00"));
        let together =
            FireRecords::Together { first: at("01T00:00:00"), last: at("01T01:00:00"), count: 3_601, or_more: false };
        assert_eq!(plan.paused.recorded(), together);
    }

    #[test]
    fn a_gap_of_weeks_does_not_count_for_ever() {
        let plan = planned("* * * * * *", "01T00:00:00", "08T00:00:00", 60, &[]);
        let recorded = plan.missed.recorded();
        assert!(matches!(recorded, FireRecords::Together { or_more: true, count: COUNTED, .. }), "{recorded:?}");
        assert_eq!(plan.run, Some(at("08T00:00:00")));
    }
}
