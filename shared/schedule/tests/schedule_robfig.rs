//! `cron_expression` means what it means to robfig/cron v3: compared with a table that robfig/cron
//! itself printed (`tests/robfig-table`), fire by fire.
//!
//! At a clock change the rules differ on purpose: robfig/cron goes by real time always, so it leaves
//! out what falls into a gap and fires twice what repeats. And where a clock moves by half an hour it
//! goes wrong: its search steps over the change by whole hours and goes on from half past, so that it
//! misses fires of the next day or finds one at an hour that does not match. A differing fire is let
//! through only if it is exactly such a one, and how many there are of each kind is written down
//! below.

use std::collections::BTreeSet;

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use hostsync_schedule::{CronSchedule, parse_time_zone};

const TABLE: &str = include_str!("data/robfig.tsv");

/// How many of the fires in the table are alike, and how the others differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    alike: usize,
    /// Ours comes first, at the end of a gap: a fixed time that the gap skips.
    moved_out_of_a_gap: usize,
    /// Theirs comes first, in a repeated stretch: a fixed time that has fired already.
    repeated: usize,
    /// The search for theirs, from the begin of its hour, went across a change by half an hour.
    across_half_an_hour: usize,
    /// Anything else, in words.
    unexplained: Vec<String>,
}

impl Tally {
    /// Compares what comes after `previous`: `theirs` by the table.
    fn compare(&mut self, row: &Row, schedule: &CronSchedule, previous: i64, theirs: i64) {
        let zone = schedule.time_zone();
        let is_fixed = is_fixed(row.expression);
        let Some(ours) = next_after(schedule, previous, row.start) else {
            self.unexplained.push(format!("{} {zone}: ours ends", row.expression));
            return;
        };
        if ours == theirs {
            self.alike += 1;
        } else if is_fixed && ours < theirs && is_end_of_a_gap(zone, ours) {
            self.moved_out_of_a_gap += 1;
            self.compare(row, schedule, ours, theirs);
        } else if is_fixed && theirs < ours && is_repeated(zone, theirs) {
            self.repeated += 1;
        } else if crosses_half_an_hour(zone, previous - 3_600, ours.max(theirs)) {
            self.across_half_an_hour += 1;
        } else {
            let [ours, theirs] = [ours, theirs].map(|fire| instant(fire).with_timezone(&zone));
            self.unexplained.push(format!("{} {zone}: {ours} is ours, {theirs} theirs", row.expression));
        }
    }
}

fn instant(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("an instant")
}

fn next_after(schedule: &CronSchedule, after: i64, anchor: i64) -> Option<i64> {
    let fire = schedule.next_after(instant(after), instant(anchor))?;
    Some(fire.timestamp())
}

/// Seconds east of UTC.
fn offset(zone: Tz, at: i64) -> i64 {
    let offset = zone.offset_from_utc_datetime(&instant(at).naive_utc());
    offset.fix().local_minus_utc().into()
}

/// Whether the clock was put forward at this very second.
fn is_end_of_a_gap(zone: Tz, at: i64) -> bool {
    offset(zone, at) > offset(zone, at - 1)
}

/// Whether the clock has shown the same reading up to two hours before.
fn is_repeated(zone: Tz, at: i64) -> bool {
    let reading = at + offset(zone, at);
    (at - 7_200..at).any(|earlier| earlier + offset(zone, earlier) == reading)
}

/// Whether the clock was changed by other than whole hours between the two.
fn crosses_half_an_hour(zone: Tz, from: i64, to: i64) -> bool {
    let days = (from..to).step_by(86_400).chain([to]);
    let minutes: BTreeSet<i64> = days.map(|at| offset(zone, at) % 3_600).collect();
    minutes.len() > 1
}

/// Whether neither minute nor hour starts with `*` or `?`, so that the rule for clock changes is not
/// that of real time.
fn is_fixed(expression: &str) -> bool {
    let fields: Vec<&str> = expression.split_whitespace().filter(|field| !field.contains("TZ=")).collect();
    match *fields.as_slice() {
        [.., minute, hour, _, _, _] => [minute, hour].iter().all(|field| !field.starts_with(['*', '?'])),
        _ => fields != ["@hourly"],
    }
}

/// An expression with its start, in seconds since the epoch, and its fires in each zone.
struct Row {
    expression: &'static str,
    start: i64,
    fires: Vec<(Tz, Vec<i64>)>,
}

impl Row {
    fn read(line: &'static str, zones: &[Tz]) -> Self {
        let mut cells = line.split('\t');
        let expression = cells.next().expect("an expression");
        let start: i64 = cells.next().expect("a start").parse().expect("seconds");
        let fires = cells.map(|cell| {
            cell.split(',')
                .scan(start, |last, delta| {
                    *last += delta.parse::<i64>().expect("seconds");
                    Some(*last)
                })
                .collect()
        });
        Self { expression, start, fires: zones.iter().copied().zip(fires).collect() }
    }
}

fn rows() -> impl Iterator<Item = Row> {
    let mut lines = TABLE.lines();
    let heading = lines.next().expect("a heading");
    let zones: Vec<Tz> = heading.split('\t').skip(2).map(|name| parse_time_zone(name).expect(name)).collect();
    lines.filter(|line| !line.ends_with("\trefused")).map(move |line| Row::read(line, &zones))
}

#[test]
fn fires_are_those_of_robfig_cron_but_for_clock_changes() {
    let mut expressions = BTreeSet::new();
    let mut tally = Tally::default();
    for row in rows() {
        expressions.insert(row.expression);
        assert_eq!(row.fires.len(), 5, "zones of {}", row.expression);
        for (zone, fires) in &row.fires {
            assert_eq!(fires.len(), 10, "fires of {} in {zone}", row.expression);
            let schedule = CronSchedule::parse(row.expression, *zone).expect(row.expression);
            let mut previous = row.start;
            for fire in fires {
                tally.compare(&row, &schedule, previous, *fire);
                previous = *fire;
            }
        }
    }
    assert!(expressions.len() >= 500, "{} expressions", expressions.len());
    assert_eq!(
        tally,
        Tally { alike: 31_241, moved_out_of_a_gap: 20, repeated: 42, across_half_an_hour: 17, unexplained: Vec::new() }
    );
}

#[test]
fn what_robfig_cron_refuses_is_refused() {
    let refused: Vec<&str> = TABLE.lines().filter_map(|line| line.strip_suffix("\trefused")).collect();
    assert!(refused.len() >= 40, "{} expressions", refused.len());
    for expression in refused {
        let schedule = CronSchedule::parse(expression, Tz::UTC);
        assert!(schedule.is_err(), "{expression} is taken as {schedule:?}");
    }
}
