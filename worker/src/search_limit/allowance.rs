//! What a period of answers makes of the searches and hosts that are allowed.
//!
//! Up by one while more is wanted and answers come as quickly as alone; doubled until the first sign that it is too much.
//! Down to a half when the source refuses or does not answer in time, and to what it has done at once when searches take far
//! longer than alone. Whatever was too much is not tried again for a minute: so a source is asked for too much about once a
//! minute, and not at every other step.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_store::tables::search_limit::{Allowance, FEWEST_SEARCHES, SearchLimit};

use super::baselines::{Baselines, weight_of};
use super::report::PeriodReport;

/// Shortest time between two steps of the same number, whoever of the fleet makes them.
const STEP: TimeDelta = TimeDelta::seconds(1);

/// The same down, beside the time that a search takes: by then all workers know of the last step, what was asked for before it
/// is answered, and that has been told.
const STEP_DOWN: TimeDelta = TimeDelta::seconds(2);

/// How long what was too much is not tried again.
const REMEMBERED: TimeDelta = TimeDelta::seconds(60);

/// What is left after a refusal or a time-out.
const AFTER_REFUSAL: f64 = 0.5;

/// How many times as long as alone searches take when they are too many at once.
const STRAINED: f64 = 1.5;

/// The same in the minute after they were found to be too many, so that they come down to what the source has at once.
const CALM: f64 = 1.2;

/// The strain by which the searches are lowered at most in one step.
const MOST_STRAIN: f64 = 4.0;

/// Searches of a period that say by themselves how long they take.
const ENOUGH: u32 = 4;

/// A search alone takes no longer than this many times its baseline once that has followed.
const FOLLOWED: f64 = 1.1;

/// Weight of one search in the strain: some ten searches say it.
const STRAIN_OF_ONE: f64 = 0.1;

/// Hosts in a search go up by this part of them.
const MORE_HOSTS: f64 = 0.1;

/// Fewest hosts in one search.
const FEWEST_HOSTS: f64 = 1.0;

/// Learns from what one worker was answered in a period, of a fleet that wants `wanted` searches at once.
pub(super) fn learn(limit: &mut SearchLimit, report: &PeriodReport, wanted: u32, now: DateTime<Utc>) {
    let alone = limit.searches.allowed < FEWEST_SEARCHES + 1.0;
    let mut baselines = Baselines::read(limit.baselines.as_deref());
    let step = STEP.max(latency(report));
    let step_down = STEP_DOWN + latency(report);
    let is_told_of_before = is_within(limit.searches.lowered_at, step_down, now);
    let passed = (now - limit.changed_at).as_seconds_f64().clamp(0.0, STEP.as_seconds_f64());
    // What most of this period's searches say, if they are enough to say something by themselves.
    let (mut count, mut ratios, mut is_found) = (0_u32, 0.0, true);
    for (kind, answers) in &report.answers {
        let ratio = baselines.compare(*kind, (answers.mean(), answers.count), alone, passed, now);
        is_found &= baselines.is_found(*kind);
        if is_told_of_before && !alone {
            continue;
        }
        let weight = weight_of(answers.count, STRAIN_OF_ONE);
        limit.strain += (ratio - limit.strain) * weight;
        count += answers.count;
        ratios += ratio * f64::from(answers.count);
    }
    let ratio = ratios / f64::from(count.max(1));
    if alone && count > 0 {
        // Nothing is crowded by one search: the baselines still have to follow.
        limit.strain = ratio;
        if ratio > FOLLOWED {
            // What was too much was found by what is not true any more.
            limit.searches.too_much = None;
        }
    }
    let most_strain = match limit.searches.too_much {
        _ if alone => FOLLOWED,
        Some(_) if is_within(limit.searches.lowered_at, REMEMBERED, now) => CALM,
        _ => STRAINED,
    };
    let is_lowered = if report.refused + report.timed_out > 0 {
        let too_many = limit.searches.allowed;
        limit.searches.lower(too_many * AFTER_REFUSAL, too_many, FEWEST_SEARCHES, step_down, now)
    } else if limit.strain > most_strain && !alone {
        let strain = if count >= ENOUGH { limit.strain.max(ratio) } else { limit.strain };
        let enough = (limit.searches.allowed / strain.min(MOST_STRAIN)).round();
        enough < limit.searches.allowed && limit.searches.lower(enough, enough + 1.0, FEWEST_SEARCHES, step_down, now)
    } else {
        let is_known = is_found || !alone;
        if count > 0 && is_known && limit.strain <= most_strain && wanted > whole(limit.searches.allowed) {
            let more = if limit.searches.lowered_at.is_none() { limit.searches.allowed } else { 1.0 };
            limit.searches.raise(more, f64::from(wanted), step, now);
        }
        false
    };
    if is_lowered {
        limit.strain = 1.0;
    }
    learn_hosts(&mut limit.hosts, report, (step, step_down), now);
    limit.baselines = Some(baselines.written());
    limit.changed_at = now;
}

/// Searches that were too large lower the hosts, and a search with as many as allowed that was answered raises them.
fn learn_hosts(
    hosts: &mut Allowance,
    report: &PeriodReport,
    (step, step_down): (TimeDelta, TimeDelta),
    now: DateTime<Utc>,
) {
    let most = f64::from(report.most_hosts);
    if let Some(too_many) = report.smallest_too_large.map(f64::from) {
        // One from before the last step teaches nothing new, and where few are too many a single host is to blame.
        if too_many <= hosts.allowed && too_many > hosts.allowed * AFTER_REFUSAL {
            hosts.lower(too_many * AFTER_REFUSAL, too_many, FEWEST_HOSTS, step_down, now);
        }
    } else if f64::from(report.largest_answered) >= hosts.allowed.floor() && hosts.allowed < most {
        hosts.raise((hosts.allowed * MORE_HOSTS).max(1.0), most, step, now);
    }
}

/// What counts of an allowance.
pub(super) fn whole(allowed: f64) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small number; bounded by a cast that saturates"
    )]
    {
        allowed.floor().max(1.0) as u32
    }
}

fn latency(report: &PeriodReport) -> TimeDelta {
    TimeDelta::from_std(report.latency).unwrap_or(STEP)
}

/// The steps of one number.
trait Steps {
    /// To `allowed`, no lower than `fewest`, at most once a `pause` for the whole fleet. Whether it was lowered now.
    fn lower(&mut self, allowed: f64, too_much: f64, fewest: f64, pause: TimeDelta, now: DateTime<Utc>) -> bool;

    /// By `more`, no higher than `most`, at most once a `pause`, and below what was too much lately.
    fn raise(&mut self, more: f64, most: f64, pause: TimeDelta, now: DateTime<Utc>);
}

fn is_within(at: Option<DateTime<Utc>>, pause: TimeDelta, now: DateTime<Utc>) -> bool {
    at.is_some_and(|at| now - at < pause)
}

impl Steps for Allowance {
    fn lower(&mut self, allowed: f64, too_much: f64, fewest: f64, pause: TimeDelta, now: DateTime<Utc>) -> bool {
        if is_within(self.lowered_at, pause, now) {
            return false;
        }
        self.allowed = allowed.min(self.allowed).max(fewest);
        self.too_much = Some(too_much.max(fewest));
        self.lowered_at = Some(now);
        true
    }

    fn raise(&mut self, more: f64, most: f64, pause: TimeDelta, now: DateTime<Utc>) {
        if is_within(self.raised_at, pause, now) || is_within(self.lowered_at, pause, now) {
            return;
        }
        let higher = (self.allowed + more).min(most);
        if self.too_much.is_some_and(|too_much| whole(higher) >= whole(too_much)) {
            if is_within(self.lowered_at, REMEMBERED, now) {
                return;
            }
            self.too_much = None;
        }
        if higher > self.allowed {
            self.allowed = higher;
            self.raised_at = Some(now);
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::baselines::SearchKind;
    use super::super::report::SearchSign;
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_750_000_000_000 + ms).expect("a time")
    }

    fn new(searches: f64) -> SearchLimit {
        let allowance = |allowed| Allowance { allowed, too_much: None, lowered_at: None, raised_at: None };
        SearchLimit {
            searches: allowance(searches),
            hosts: allowance(500.0),
            strain: 1.0,
            baselines: None,
            changed_at: at(0),
        }
    }

    const KIND: SearchKind = SearchKind::numbered(7);

    fn answered(count: u32, ms: u64) -> PeriodReport {
        let mut report = PeriodReport::new(500);
        for _ in 0..count {
            report.add(KIND, SearchSign::Answered, 500, true, Duration::from_millis(ms));
        }
        report
    }

    fn with(sign: SearchSign, hosts: u32) -> PeriodReport {
        let mut report = PeriodReport::new(500);
        report.add(KIND, sign, hosts, true, Duration::from_millis(100));
        report
    }

    #[test]
    fn it_doubles_until_the_first_sign_and_then_goes_up_by_one() {
        let mut limit = new(1.0);
        let mut seen = Vec::new();
        for second in 1..=4 {
            learn(&mut limit, &answered(4, 200), 100, at(second * 1_000));
            seen.push(limit.searches.allowed);
        }
        learn(&mut limit, &with(SearchSign::Refused, 500), 100, at(5_000));
        for second in 6..=9 {
            learn(&mut limit, &answered(4, 200), 100, at(second * 1_000));
            seen.push(limit.searches.allowed);
        }
        assert_eq!(seen, [2.0, 4.0, 8.0, 16.0, 8.0, 8.0, 9.0, 10.0]);
    }

    #[test]
    fn many_workers_that_are_refused_together_halve_once() {
        let mut limit = new(32.0);
        for ms in [0, 10, 20, 400, 1_000, 1_900] {
            learn(&mut limit, &with(SearchSign::Refused, 500), 100, at(ms));
        }
        assert_eq!(limit.searches.allowed, 16.0);
        learn(&mut limit, &with(SearchSign::TimedOut, 500), 100, at(2_100));
        assert_eq!(limit.searches.allowed, 8.0);
    }

    #[test]
    fn many_workers_that_are_answered_together_raise_once() {
        let mut limit = new(4.0);
        limit.searches.lowered_at = Some(at(-100_000));
        for ms in [0, 10, 20, 400, 900] {
            learn(&mut limit, &answered(3, 200), 100, at(ms));
        }
        assert_eq!(limit.searches.allowed, 5.0);
    }

    #[test]
    fn what_was_too_much_is_not_tried_again_for_a_minute() {
        let mut limit = new(6.0);
        learn(&mut limit, &with(SearchSign::Refused, 500), 100, at(0));
        let mut highest = Vec::new();
        for second in 1..=62 {
            learn(&mut limit, &answered(3, 200), 100, at(second * 1_000));
            highest.push(limit.searches.allowed);
        }
        assert_eq!(highest[10..59].iter().filter(|allowed| **allowed != 5.0).count(), 0, "{highest:?}");
        assert!(limit.searches.allowed > 6.0, "{highest:?}");
    }

    #[test]
    fn what_nobody_wants_is_not_allowed() {
        let mut limit = new(1.0);
        for second in 1..=10 {
            learn(&mut limit, &answered(3, 200), 5, at(second * 1_000));
        }
        assert_eq!(limit.searches.allowed, 5.0);
    }

    #[test]
    fn searches_that_take_far_longer_than_alone_lower_it_to_what_is_done_at_once() {
        let mut limit = new(1.0);
        learn(&mut limit, &answered(5, 1_000), 1, at(0));
        limit.searches.allowed = 16.0;
        for second in 1..=3 {
            // As of a source that has 8 at once.
            learn(&mut limit, &answered(20, 2_000), 100, at(second * 10_000));
            if limit.searches.allowed < 16.0 {
                break;
            }
        }
        assert!((8.0..10.0).contains(&limit.searches.allowed), "{limit:?}");
        assert_eq!(limit.strain, 1.0, "what was under way before says nothing of it now");
    }

    #[test]
    fn a_source_that_has_become_slower_is_known_as_such_once_it_is_searched_alone() {
        let mut limit = new(1.0);
        learn(&mut limit, &answered(5, 200), 1, at(0));
        limit.searches.allowed = 8.0;
        let mut fewest = f64::MAX;
        for second in 1..=60 {
            learn(&mut limit, &answered(4, 1_000), 100, at(second * 1_000));
            fewest = fewest.min(limit.searches.allowed);
        }
        assert_eq!(fewest, 1.0);
        assert!(limit.searches.allowed > 4.0, "{limit:?}");
    }

    #[test]
    fn hosts_are_lowered_once_a_batch_and_rise_again() {
        let mut limit = new(4.0);
        learn(&mut limit, &with(SearchSign::TooLarge, 500), 100, at(0));
        learn(&mut limit, &with(SearchSign::TooLarge, 500), 100, at(5_000));
        assert_eq!(limit.hosts.allowed, 250.0, "that one was begun before");
        learn(&mut limit, &with(SearchSign::TooLarge, 250), 100, at(5_000));
        assert_eq!(limit.hosts.allowed, 125.0);
        learn(&mut limit, &with(SearchSign::TooLarge, 3), 100, at(9_000));
        assert_eq!(limit.hosts.allowed, 125.0, "one of the three is to blame");
        // Parts of a batch that was split already say nothing.
        let mut split = PeriodReport::new(500);
        split.add(KIND, SearchSign::TooLarge, 100, false, Duration::from_secs(1));
        split.add(KIND, SearchSign::TimedOut, 100, false, Duration::from_secs(1));
        learn(&mut limit, &split, 100, at(10_000));
        assert_eq!((limit.hosts.allowed, limit.searches.lowered_at), (125.0, None));
        for second in 1..=200 {
            let mut report = PeriodReport::new(500);
            report.add(KIND, SearchSign::Answered, whole(limit.hosts.allowed), true, Duration::from_millis(100));
            learn(&mut limit, &report, 100, at(10_000 + second * 1_000));
        }
        assert_eq!(limit.hosts.allowed, 500.0);
    }

    proptest! {
        #[test]
        fn it_stays_between_one_and_what_is_wanted_whatever_is_answered(
            periods in proptest::collection::vec((0_u32..5, 0_u32..3, 0_u32..2, 1_u64..60_000, 1_u32..600, 0_i64..3_000), 1..200),
            wanted in 1_u32..100,
        ) {
            let mut limit = new(1.0);
            let mut now = 0;
            for (answers, refused, timed_out, ms, hosts, pause) in periods {
                now += pause;
                let mut report = answered(answers, ms);
                for (sign, count) in [(SearchSign::Refused, refused), (SearchSign::TimedOut, timed_out)] {
                    for _ in 0..count {
                        report.add(KIND, sign, hosts, true, Duration::from_millis(ms));
                    }
                }
                let before = limit.searches.allowed;
                learn(&mut limit, &report, wanted, at(now));
                prop_assert!((1.0..=f64::from(wanted)).contains(&limit.searches.allowed));
                prop_assert!((1.0..=500.0).contains(&limit.hosts.allowed));
                prop_assert!(limit.searches.allowed <= before * 2.0 && limit.searches.allowed >= (before / 4.0).floor());
                prop_assert!(limit.strain.is_finite() && limit.strain > 0.0);
                prop_assert!(refused + timed_out == 0 || limit.searches.allowed <= before);
            }
        }
    }
}
