//! Fires at clock changes, by hand-made cases, and of everything that is not a clock change.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{CronSchedule, MAX_EXPRESSION_CHARS, parse_time_zone};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect(text)
}

fn schedule(expression: &str, zone: Tz) -> CronSchedule {
    CronSchedule::parse(expression, zone).expect(expression)
}

/// The first fires later than `after` as the wall clock of the zone shows them.
fn fires<const N: usize>(expression: &str, zone: Tz, after: &str) -> [String; N] {
    let after = at(after);
    let schedule = schedule(expression, zone);
    let mut fires = schedule.fires_after(after, after);
    std::array::from_fn(|_| {
        let fire = fires.next().expect("another fire");
        fire.with_timezone(&schedule.time_zone()).format("%FT%T%:z").to_string()
    })
}

fn every(expression: &str, after: &str, anchor: &str) -> Option<DateTime<Utc>> {
    schedule(expression, Tz::UTC).next_after(at(after), at(anchor))
}

mod outside_clock_changes {
    use super::*;

    #[test]
    fn the_next_fire_is_strictly_later() {
        assert_eq!(
            fires("0 30 2 * * *", Tz::UTC, "2026-01-05T02:29:59.999Z"),
            ["2026-01-05T02:30:00+00:00", "2026-01-06T02:30:00+00:00"]
        );
        assert_eq!(fires("0 30 2 * * *", Tz::UTC, "2026-01-05T02:30:00Z"), ["2026-01-06T02:30:00+00:00"]);
        assert_eq!(
            fires("* * * * * *", Tz::UTC, "2025-12-31T23:59:58.5Z"),
            ["2025-12-31T23:59:59+00:00", "2026-01-01T00:00:00+00:00"]
        );
    }

    #[test]
    fn the_wall_clock_is_that_of_the_zone() {
        assert_eq!(
            fires("0 30 9 * * MON", Tz::Asia__Shanghai, "2026-01-01T00:00:00Z"),
            ["2026-01-05T09:30:00+08:00", "2026-01-12T09:30:00+08:00"]
        );
        assert_eq!(fires("0 0 0 * * *", Tz::Asia__Kathmandu, "2026-01-01T00:00:00Z"), ["2026-01-02T00:00:00+05:45"]);
    }

    #[test]
    fn a_zone_prefix_beats_the_default_also_before_a_descriptor() {
        let tokyo = schedule("TZ=Asia/Tokyo @daily", Tz::Europe__Berlin);
        assert_eq!(tokyo.time_zone(), Tz::Asia__Tokyo);
        assert_eq!(tokyo, schedule("0 0 0 * * *", Tz::Asia__Tokyo));
        assert_ne!(tokyo, schedule("0 0 0 * * *", Tz::Asia__Seoul));
        let utc = schedule("CRON_TZ=UTC 0 0 * * *", Tz::Europe__Berlin);
        assert_eq!(utc.time_zone(), Tz::UTC);
        assert_eq!(schedule("TZ=Asia/Tokyo @every 5m", Tz::UTC).time_zone(), Tz::Asia__Tokyo);
    }

    #[test]
    fn two_restricted_day_fields_match_either_day() {
        assert_eq!(
            fires("0 0 0 13 * 5", Tz::UTC, "2026-02-01T00:00:00Z"),
            [
                "2026-02-06T00:00:00+00:00",
                "2026-02-13T00:00:00+00:00",
                "2026-02-20T00:00:00+00:00",
                "2026-02-27T00:00:00+00:00",
                "2026-03-06T00:00:00+00:00",
                "2026-03-13T00:00:00+00:00",
            ]
        );
        // No April has a 31st, so only its Mondays are left.
        assert_eq!(
            fires("0 0 0 31 4 1", Tz::UTC, "2026-04-20T00:00:00Z"),
            ["2026-04-27T00:00:00+00:00", "2027-04-05T00:00:00+00:00"]
        );
    }

    #[test]
    fn sunday_is_sunday_by_every_name() {
        for sunday in ["0", "7", "SUN", "sun", "7-7"] {
            assert_eq!(
                fires(&format!("0 0 12 * * {sunday}"), Tz::UTC, "2026-01-01T00:00:00Z"),
                ["2026-01-04T12:00:00+00:00", "2026-01-11T12:00:00+00:00"],
                "{sunday}"
            );
        }
    }

    #[test]
    fn a_leap_day_is_found_across_years_without_one() {
        assert_eq!(
            fires("0 0 0 29 2 *", Tz::UTC, "2024-02-29T00:00:00Z"),
            ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"]
        );
        let leap_days = schedule("0 0 0 29 2 *", Tz::UTC);
        let start = at("1896-02-29T00:00:00Z");
        assert_eq!(leap_days.next_after(start, start), Some(at("1972-02-29T00:00:00Z")));
        let last = at("2096-02-29T00:00:00Z");
        assert_eq!(leap_days.next_after(last, last), None);
    }

    #[test]
    fn nothing_fires_beyond_the_calendar_and_no_instant_is_too_far() {
        for zone in [Tz::UTC, Tz::Pacific__Kiritimati, Tz::Pacific__Pago_Pago] {
            for expression in ["* * * * * *", "0 0 12 * * *", "0 0 0 29 2 *", "0 0 * 1 1 *"] {
                let schedule = schedule(expression, zone);
                for never in [DateTime::<Utc>::MAX_UTC, at("2101-01-03T00:00:00Z")] {
                    assert_eq!(schedule.next_after(never, never), None);
                }
                let beginning = DateTime::<Utc>::MIN_UTC;
                let first = schedule.next_after(beginning, beginning).expect("a first fire");
                assert!(first < at("1972-03-01T12:00:00Z"), "{first}");
            }
        }
        assert_eq!(fires("* * * * * *", Tz::UTC, "2100-12-31T23:59:58Z"), ["2100-12-31T23:59:59+00:00"]);
    }

    #[test]
    fn fires_are_worked_out_lazily() {
        let schedule = schedule("* * * * * *", Tz::UTC);
        let start = at("2026-01-01T00:00:00Z");
        let hundredth = schedule.fires_after(start, start).nth(99);
        assert_eq!(hundredth, Some(start + TimeDelta::seconds(100)));
    }
}

mod where_the_clock_is_put_forward {
    use super::*;

    #[test]
    fn a_fixed_time_inside_the_gap_fires_once_right_after_it() {
        // Berlin: 02:00 becomes 03:00 on 2026-03-29.
        assert_eq!(
            fires("0 30 2 * * *", Tz::Europe__Berlin, "2026-03-28T00:00:00Z"),
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",]
        );
        // New York: 02:00 becomes 03:00 on 2026-03-08.
        assert_eq!(
            fires("15 30 2 * * *", Tz::America__New_York, "2026-03-08T00:00:00Z"),
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:15-04:00"]
        );
    }

    #[test]
    fn the_southern_hemisphere_does_so_in_its_spring() {
        // Sydney: 02:00 becomes 03:00 on 2026-10-04. Santiago: 24:00 becomes 01:00 on 2026-09-05.
        assert_eq!(
            fires("0 30 2 * * *", Tz::Australia__Sydney, "2026-10-03T00:00:00Z"),
            ["2026-10-04T03:00:00+11:00", "2026-10-05T02:30:00+11:00"]
        );
        assert_eq!(
            fires("0 30 0 * * *", Tz::America__Santiago, "2026-09-05T12:00:00Z"),
            ["2026-09-06T01:00:00-03:00", "2026-09-07T00:30:00-03:00"]
        );
    }

    #[test]
    fn several_fixed_times_in_one_gap_are_one_fire() {
        assert_eq!(
            fires("* 15,45 2 * * *", Tz::Europe__Berlin, "2026-03-29T00:00:00Z"),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:15:00+02:00"]
        );
        // The end of the gap is a fire of its own here: still one.
        assert_eq!(
            fires("0 0,30 2,3 * * *", Tz::Europe__Berlin, "2026-03-29T00:00:00Z"),
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:00:00+02:00",]
        );
    }

    #[test]
    fn the_first_second_of_the_gap_is_inside_and_the_first_behind_is_not() {
        assert_eq!(
            fires("0 0 2 * * *", Tz::Europe__Berlin, "2026-03-29T00:00:00Z"),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]
        );
        assert_eq!(
            fires("59 59 1 * * *", Tz::Europe__Berlin, "2026-03-29T00:00:00Z"),
            ["2026-03-29T01:59:59+01:00", "2026-03-30T01:59:59+02:00"]
        );
    }

    #[test]
    fn nothing_is_added_where_real_time_counts() {
        assert_eq!(
            fires("0 30 * * * *", Tz::Europe__Berlin, "2026-03-29T00:00:00Z"),
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-29T04:30:00+02:00",]
        );
        assert_eq!(
            fires("0 */20 2 * * *", Tz::Europe__Berlin, "2026-03-28T01:30:00Z"),
            ["2026-03-28T02:40:00+01:00", "2026-03-30T02:00:00+02:00"]
        );
        assert_eq!(
            fires("0 30 ?/2 * * *", Tz::Europe__Berlin, "2026-03-28T23:00:00Z"),
            ["2026-03-29T00:30:00+01:00", "2026-03-29T04:30:00+02:00"]
        );
        assert_eq!(
            fires("@hourly", Tz::Europe__Berlin, "2026-03-29T00:00:00Z"),
            ["2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]
        );
    }

    #[test]
    fn half_an_hour_is_a_gap_too() {
        // Lord Howe: 02:00 becomes 02:30 on 2026-10-04.
        assert_eq!(
            fires("0 15 2 * * *", Tz::Australia__Lord_Howe, "2026-10-03T00:00:00Z"),
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]
        );
        assert_eq!(
            fires("0 45 2 * * *", Tz::Australia__Lord_Howe, "2026-10-03T00:00:00Z"),
            ["2026-10-04T02:45:00+11:00"]
        );
        assert_eq!(
            fires("0 */15 * * * *", Tz::Australia__Lord_Howe, "2026-10-03T15:00:00Z"),
            ["2026-10-04T01:45:00+10:30", "2026-10-04T02:30:00+11:00", "2026-10-04T02:45:00+11:00",]
        );
    }

    #[test]
    fn two_hours_are_a_gap_too() {
        // Troll: 01:00 becomes 03:00 on 2026-03-29.
        assert_eq!(
            fires("0 30 1,2 * * *", Tz::Antarctica__Troll, "2026-03-29T00:00:00Z"),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T01:30:00+02:00"]
        );
    }

    #[test]
    fn a_midnight_that_is_skipped_fires_at_one() {
        assert_eq!(
            fires("@daily", Tz::America__Sao_Paulo, "2018-11-03T12:00:00Z"),
            ["2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"]
        );
        assert_eq!(
            fires("@daily", Tz::Africa__Cairo, "2026-04-23T12:00:00Z"),
            ["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"]
        );
        assert_eq!(
            fires("@weekly", Tz::Asia__Beirut, "2026-03-28T12:00:00Z"),
            ["2026-03-29T01:00:00+03:00", "2026-04-05T00:00:00+03:00"]
        );
        // The day stays the one that was meant: the gap is the start of the 4th.
        assert_eq!(
            fires("0 30 0 4 11 *", Tz::America__Sao_Paulo, "2018-01-01T00:00:00Z"),
            ["2018-11-04T01:00:00-02:00", "2019-11-04T00:30:00-03:00"]
        );
    }

    #[test]
    fn a_day_dropped_at_the_date_line_is_a_gap() {
        // Apia went from the 29th to the 31st of December 2011.
        assert_eq!(
            fires("0 0 9 * * *", Tz::Pacific__Apia, "2011-12-29T12:00:00Z"),
            ["2011-12-29T09:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00",]
        );
        assert_eq!(
            fires("0 0 9 30 12 *", Tz::Pacific__Apia, "2011-01-01T00:00:00Z"),
            ["2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"]
        );
        assert_eq!(
            fires("0 0 */12 30,31 12 *", Tz::Pacific__Apia, "2011-01-01T00:00:00Z"),
            ["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]
        );
    }
}

mod where_the_clock_is_put_back {
    use super::*;

    #[test]
    fn a_fixed_time_that_repeats_fires_the_first_time_only() {
        // Berlin: 03:00 becomes 02:00 on 2026-10-25. Sydney: the same on 2026-04-05.
        assert_eq!(
            fires("0 30 2 * * *", Tz::Europe__Berlin, "2026-10-24T12:00:00Z"),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        );
        assert_eq!(
            fires("0 30 2 * * *", Tz::Australia__Sydney, "2026-04-04T00:00:00Z"),
            ["2026-04-05T02:30:00+11:00", "2026-04-06T02:30:00+10:00"]
        );
        assert_eq!(
            fires("0 0 2,3 * * *", Tz::Europe__Berlin, "2026-10-24T12:00:00Z"),
            ["2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00", "2026-10-26T02:00:00+01:00",]
        );
    }

    #[test]
    fn it_stays_fired_when_asked_from_within_the_repeat() {
        for after in [
            "2026-10-25T00:30:00Z",
            "2026-10-25T00:59:59Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:29:59.5Z",
            "2026-10-25T01:59:59Z",
            "2026-10-25T02:00:00Z",
        ] {
            assert_eq!(fires("0 30 2 * * *", Tz::Europe__Berlin, after), ["2026-10-26T02:30:00+01:00"], "{after}");
        }
    }

    #[test]
    fn a_repeated_hour_repeats_its_fires_where_real_time_counts() {
        assert_eq!(
            fires("0 30 * * * *", Tz::Europe__Berlin, "2026-10-24T23:45:00Z"),
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00",]
        );
        assert_eq!(
            fires("0 */30 2 * * *", Tz::Europe__Berlin, "2026-10-24T12:00:00Z"),
            [
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-26T02:00:00+01:00",
            ]
        );
    }

    #[test]
    fn half_an_hour_repeats_too() {
        // Lord Howe: 02:00 becomes 01:30 on 2026-04-05.
        assert_eq!(
            fires("0 45 1 * * *", Tz::Australia__Lord_Howe, "2026-04-04T12:00:00Z"),
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]
        );
        assert_eq!(
            fires("0 */15 * * * *", Tz::Australia__Lord_Howe, "2026-04-04T14:30:00Z"),
            [
                "2026-04-05T01:45:00+11:00",
                "2026-04-05T01:30:00+10:30",
                "2026-04-05T01:45:00+10:30",
                "2026-04-05T02:00:00+10:30",
            ]
        );
    }

    #[test]
    fn a_midnight_put_back_still_comes_once() {
        // São Paulo: 24:00 becomes 23:00 on 2018-02-17. Cairo: the same on 2026-10-29.
        assert_eq!(
            fires("@daily", Tz::America__Sao_Paulo, "2018-02-17T12:00:00Z"),
            ["2018-02-18T00:00:00-03:00", "2018-02-19T00:00:00-03:00"]
        );
        assert_eq!(
            fires("0 30 23 * * *", Tz::Africa__Cairo, "2026-10-29T12:00:00Z"),
            ["2026-10-29T23:30:00+03:00", "2026-10-30T23:30:00+02:00"]
        );
        assert_eq!(
            fires("0 30 * 29 10 *", Tz::Africa__Cairo, "2026-10-29T20:00:00Z"),
            ["2026-10-29T23:30:00+03:00", "2026-10-29T23:30:00+02:00", "2027-10-29T00:30:00+02:00",]
        );
    }
}

mod where_the_rules_of_a_zone_changed {
    use super::*;

    #[test]
    fn the_gap_moves_with_the_law() {
        // The United States moved the change from April to March in 2007.
        assert_eq!(fires("0 30 2 * * *", Tz::America__New_York, "2006-04-02T06:00:00Z"), ["2006-04-02T03:00:00-04:00"]);
        assert_eq!(fires("0 30 2 * * *", Tz::America__New_York, "2007-03-11T06:00:00Z"), ["2007-03-11T03:00:00-04:00"]);
        assert_eq!(fires("0 30 2 1 4 *", Tz::America__New_York, "2006-04-02T12:00:00Z"), ["2007-04-01T02:30:00-04:00"]);
    }

    #[test]
    fn a_zone_that_gave_up_summer_time_has_no_gap_any_more() {
        assert_eq!(
            fires("0 30 2 * 4 SUN", Tz::America__Mexico_City, "2022-04-01T00:00:00Z"),
            ["2022-04-03T03:00:00-05:00", "2022-04-10T02:30:00-05:00"]
        );
        assert_eq!(
            fires("0 30 2 * 4 SUN", Tz::America__Mexico_City, "2022-04-24T12:00:00Z"),
            ["2023-04-02T02:30:00-06:00"]
        );
        // Istanbul stayed on summer time in 2016.
        assert_eq!(
            fires("0 30 3 30 10 *", Tz::Europe__Istanbul, "2015-01-01T00:00:00Z"),
            ["2015-10-30T03:30:00+03:00", "2016-10-30T03:30:00+03:00"]
        );
    }

    #[test]
    fn a_new_standard_time_is_a_change_like_any_other() {
        // Moscow: 02:00 became 01:00 on 2014-10-26, for good.
        assert_eq!(
            fires("0 30 1 * * *", Tz::Europe__Moscow, "2014-10-25T12:00:00Z"),
            ["2014-10-26T01:30:00+04:00", "2014-10-27T01:30:00+03:00"]
        );
        // Pyongyang: 23:30 became 24:00 on 2018-05-04.
        assert_eq!(
            fires("0 45 23 * * *", Tz::Asia__Pyongyang, "2018-05-04T00:00:00Z"),
            ["2018-05-05T00:00:00+09:00", "2018-05-05T23:45:00+09:00"]
        );
    }

    #[test]
    fn summer_time_that_pauses_for_a_month_changes_four_times_a_year() {
        // Casablanca in 2026 (Ramadan): 03:00 becomes 02:00 on 02-15, 02:00 becomes 03:00 on 03-22.
        assert_eq!(
            fires("0 30 2 15 2 *", Tz::Africa__Casablanca, "2026-01-01T00:00:00Z"),
            ["2026-02-15T02:30:00+01:00", "2027-02-15T02:30:00+00:00"]
        );
        assert_eq!(
            fires("0 30 2 22 3 *", Tz::Africa__Casablanca, "2026-01-01T00:00:00Z"),
            ["2026-03-22T03:00:00+01:00", "2027-03-22T02:30:00+01:00"]
        );
    }
}

mod every {
    use super::*;

    #[test]
    fn fires_count_from_the_anchor_whenever_they_are_asked_for() {
        let anchor = "2026-01-01T00:00:10Z";
        for (after, next) in [
            ("2025-06-01T00:00:00Z", "2026-01-01T01:30:10Z"),
            ("2026-01-01T00:00:10Z", "2026-01-01T01:30:10Z"),
            ("2026-01-01T01:30:09.999Z", "2026-01-01T01:30:10Z"),
            ("2026-01-01T01:30:10Z", "2026-01-01T03:00:10Z"),
            ("2026-01-01T02:59:00Z", "2026-01-01T03:00:10Z"),
        ] {
            assert_eq!(every("@every 1h30m", after, anchor), Some(at(next)), "{after}");
        }
    }

    #[test]
    fn an_anchor_within_a_second_is_cut_to_it() {
        assert_eq!(
            every("@every 1s", "2026-01-01T00:00:10.700Z", "2026-01-01T00:00:10.700Z"),
            Some(at("2026-01-01T00:00:11Z"))
        );
    }

    #[test]
    fn a_clock_change_does_not_matter() {
        let berlin = schedule("@every 1h", Tz::Europe__Berlin);
        let anchor = at("2026-03-28T23:15:00Z");
        let fires: Vec<_> = berlin.fires_after(anchor, anchor).take(4).collect();
        assert_eq!(fires[3] - anchor, TimeDelta::hours(4));
        assert!(berlin.is_every());
        assert!(!schedule("@hourly", Tz::UTC).is_every());
    }

    #[test]
    fn it_ends_where_instants_end() {
        let schedule = schedule("@every 2562047h", Tz::UTC);
        let end = DateTime::<Utc>::MAX_UTC;
        assert_eq!(schedule.next_after(end, end), None);
        assert!(schedule.next_after(DateTime::<Utc>::MIN_UTC, end).is_none());
        assert!(schedule.next_after(end, DateTime::<Utc>::MIN_UTC).is_none());
    }
}

mod refusals {
    use super::*;

    fn refusal(expression: &str) -> (Option<&'static str>, String) {
        let error = CronSchedule::parse(expression, Tz::UTC).expect_err(expression);
        (error.field(), error.to_string())
    }

    #[test]
    fn an_expression_is_as_wide_as_its_column_and_no_wider() {
        let minutes: Vec<String> = (10..40).map(|minute| minute.to_string()).collect();
        let list = minutes.join(",");
        let expression = format!("{list} 0 * * *");
        assert!(expression.len() < MAX_EXPRESSION_CHARS);
        assert!(CronSchedule::parse(&format!("{expression:<100}"), Tz::UTC).is_ok());
        let (field, message) = refusal(&format!("{expression:<101}"));
        assert_eq!(field, None);
        assert!(message.contains("101") && message.contains("at most 100"), "{message}");
    }

    #[test]
    fn an_unknown_zone_is_named() {
        for expression in ["TZ=Europe/Atlantis 0 0 0 * * *", "CRON_TZ=Europe/Atlantis @daily"] {
            let (field, message) = refusal(expression);
            assert_eq!(field, Some("time zone"));
            assert!(message.contains("\"Europe/Atlantis\""), "{message}");
        }
        for expression in ["TZ= 0 0 0 * * *", "TZ="] {
            assert_eq!(refusal(expression).0, Some("time zone"), "{expression}");
        }
        assert!(refusal("TZ=UTC").1.contains("empty"));
        assert!(refusal("TZ=Local @daily").1.contains("\"Local\""));
        assert!(parse_time_zone("Asia/Shanghai ").is_err());
        assert_eq!(parse_time_zone("Asia/Calcutta"), Ok(Tz::Asia__Calcutta));
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (expression, signs) in [
            ("0 0 25 * * FUNDAY", vec!["the hour \"25\"", "0 to 23", "\"FUNDAY\"", "SUN to SAT"]),
            ("99 0 0 * * *", vec!["the second \"99\""]),
            ("61 60 24 32 13 8", vec!["\"61\"", "\"60\"", "\"24\"", "\"32\"", "\"13\"", "the day-of-week \"8\""]),
            ("1,,2 5-1 * * *", vec!["empty list element", "runs backwards"]),
        ] {
            let (field, message) = refusal(expression);
            assert!(field.is_some(), "{expression}");
            assert!(signs.iter().all(|sign| message.contains(sign)), "{message}");
        }
        assert_eq!(refusal("0 0 25 * * FUNDAY").0, Some("hour"));
    }

    #[test]
    fn an_interval_is_refused_in_its_own_words() {
        for expression in ["@every", "@every ", "@every 0s", "@every -1h", "@every soon"] {
            let (field, message) = refusal(expression);
            assert_eq!(field, Some("interval"), "{expression}");
            assert!(message.contains("1s") || message.contains("1h30m"), "{message}");
        }
    }

    #[test]
    fn an_expression_that_never_fires_is_refused() {
        for expression in ["0 0 0 30 2 *", "0 0 31 4,6,9,11 ?", "TZ=Asia/Tokyo 0 0 0 30-31 feb *"] {
            let (field, message) = refusal(expression);
            assert_eq!(field, Some("day-of-month"));
            assert!(message.contains("never fires"), "{message}");
        }
    }
}
