//! What holds for every expression: the fires are those that a slow reading of the rules gives.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::expression::CronFields;
use super::{CronSchedule, Timing};

/// Zones whose offsets are whole minutes in the years used here.
const ZONES: [Tz; 12] = [
    Tz::UTC,
    Tz::Asia__Shanghai,
    Tz::Asia__Kathmandu,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::America__Sao_Paulo,
    Tz::Australia__Sydney,
    Tz::Australia__Lord_Howe,
    Tz::Africa__Cairo,
    Tz::Africa__Casablanca,
    Tz::Antarctica__Troll,
    Tz::Pacific__Apia,
];

fn reading(zone: Tz, instant: DateTime<Utc>) -> NaiveDateTime {
    let offset = zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
    instant.naive_utc() + TimeDelta::seconds(offset.local_minus_utc().into())
}

fn matches(fields: &CronFields, reading: NaiveDateTime) -> bool {
    let date = fields.days_of_month.contains(reading.day());
    let weekday = fields.days_of_week.contains(reading.weekday().num_days_from_sunday());
    fields.seconds.contains(reading.second())
        && fields.minutes.contains(reading.minute())
        && fields.hours.contains(reading.hour())
        && fields.months.contains(reading.month())
        && if fields.either_day { date || weekday } else { date && weekday }
}

fn fields(schedule: &CronSchedule) -> &CronFields {
    match &schedule.timing {
        Timing::Fields(calendar) => &calendar.fields,
        Timing::Every(_) => panic!("no fields"),
    }
}

/// The fires in `(after, end]` by walking through every minute: the rules as they are said, without
/// any arithmetic on changes. For expressions that fire at second 0 only.
fn slow_fires(schedule: &CronSchedule, after: DateTime<Utc>, end: DateTime<Utc>) -> BTreeSet<DateTime<Utc>> {
    let (fields, zone) = (fields(schedule), schedule.time_zone());
    let minute = TimeDelta::minutes(1);
    let mut fires = BTreeSet::new();
    // The highest reading so far; two days before are enough for any change to be over.
    let mut instant = after - TimeDelta::days(2);
    let mut highest = reading(zone, instant);
    while instant < end {
        instant += minute;
        let now = reading(zone, instant);
        let fires_now = if fields.real_time {
            matches(fields, now)
        } else {
            let mut reached = false;
            while highest < now {
                highest += minute;
                reached |= matches(fields, highest);
            }
            reached
        };
        if fires_now && instant > after {
            fires.insert(instant);
        }
    }
    fires
}

fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let item = prop_oneof![
        3 => (min..=max).prop_map(|value| value.to_string()),
        1 => (min..=max, 1..=max).prop_map(|(start, step)| format!("{start}/{step}")),
        1 => (1..=max).prop_map(|step| format!("*/{step}")),
        2 => (min..=max, min..=max, 1..4_u32)
            .prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
    ];
    prop_oneof![
        2 => Just("*".to_owned()),
        1 => Just("?".to_owned()),
        6 => prop::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

/// Expressions; those that never fire are left out.
fn schedule(second: &'static str) -> impl Strategy<Value = (String, CronSchedule)> {
    let second = if second == "any" { field(0, 59).boxed() } else { Just(second.to_owned()).boxed() };
    let fields = (second, field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7));
    (fields, prop::sample::select(&ZONES[..])).prop_filter_map("never fires", |(fields, zone)| {
        let (second, minute, hour, day_of_month, month, day_of_week) = fields;
        let text = format!("{second} {minute} {hour} {day_of_month} {month} {day_of_week}");
        let schedule = CronSchedule::parse(&text, zone).ok()?;
        Some((text, schedule))
    })
}

/// Small hours of every day, where most changes are.
fn night_schedule() -> impl Strategy<Value = (String, CronSchedule)> {
    let hour = prop_oneof![
        Just("*".to_owned()),
        Just("*/2".to_owned()),
        (0..4_u32, 0..3_u32).prop_map(|(a, n)| format!("{a}-{}", a + n)),
        Just("0-23".to_owned()),
        Just("23,0".to_owned()),
    ];
    (field(0, 59), hour, prop::sample::select(&ZONES[..])).prop_map(|(minute, hour, zone)| {
        let text = format!("0 {minute} {hour} * * *");
        let schedule = CronSchedule::parse(&text, zone).expect("valid");
        (text, schedule)
    })
}

/// An instant in 1975 to 2038 at a whole minute.
fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    (2_629_440_i64..35_765_280).prop_map(|minute| DateTime::from_timestamp(minute * 60, 0).expect("in range"))
}

/// An hour or so around a change of the zone's clock.
fn near_a_change(zone: Tz, instant: DateTime<Utc>) -> DateTime<Utc> {
    let mut probe = instant;
    let hour = TimeDelta::hours(1);
    for _ in 0..24 * 400 {
        if reading(zone, probe) + hour != reading(zone, probe + hour) {
            return probe;
        }
        probe += hour;
    }
    instant
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fires_are_those_of_the_slow_reading((text, schedule) in schedule("0"), after in instant()) {
        let end = after + TimeDelta::days(12);
        let slow = slow_fires(&schedule, after, end);
        let fast: BTreeSet<_> = schedule.fires_after(after, after).take_while(|fire| *fire <= end).collect();
        prop_assert_eq!(fast, slow, "{} {}", text, schedule.time_zone());
    }

    #[test]
    fn so_they_are_around_clock_changes(
        (text, schedule) in night_schedule(),
        instant in instant(),
        lead in 0..3_000_i64,
    ) {
        let zone = schedule.time_zone();
        let after = near_a_change(zone, instant) - TimeDelta::minutes(lead);
        let end = after + TimeDelta::days(3);
        let slow = slow_fires(&schedule, after, end);
        let fast: BTreeSet<_> = schedule.fires_after(after, after).take_while(|fire| *fire <= end).collect();
        prop_assert_eq!(fast, slow, "{} {}", text, zone);
    }

    #[test]
    fn fires_rise_strictly_and_asking_from_between_gives_the_same(
        (text, schedule) in schedule("any"),
        after in instant(),
        millis in 0..1000_i64,
    ) {
        let after = after + TimeDelta::milliseconds(millis);
        let mut last = after;
        for fire in schedule.fires_after(after, after).take(50) {
            prop_assert!(fire > last, "{} {}: {} after {}", text, schedule.time_zone(), fire, last);
            let between = last + (fire - last) / 2;
            prop_assert_eq!(schedule.next_after(between, between), Some(fire));
            last = fire;
        }
    }

    #[test]
    fn a_fire_shows_a_matching_reading_or_ends_a_gap_that_holds_one(
        (text, schedule) in schedule("any"),
        after in instant(),
    ) {
        let (fields, zone) = (fields(&schedule), schedule.time_zone());
        let second = TimeDelta::seconds(1);
        for fire in schedule.fires_after(after, after).take(50) {
            let now = reading(zone, fire);
            if !matches(fields, now) {
                prop_assert!(!fields.real_time, "{} {}: {}", text, zone, fire);
                let mut skipped = reading(zone, fire - second) + second;
                prop_assert!(skipped < now, "{} {}: {} ends no gap", text, zone, fire);
                while skipped < now && !matches(fields, skipped) {
                    skipped += second;
                }
                prop_assert!(skipped < now, "{} {}: {} is no fire", text, zone, fire);
            }
        }
    }

    #[test]
    fn an_interval_survives_restarts(
        anchor in instant(),
        interval in 1..10_000_000_i64,
        restarts in prop::collection::vec(0..100_000_000_i64, 1..20),
    ) {
        let schedule = CronSchedule::parse(&format!("@every {interval}s"), Tz::UTC).expect("valid");
        for restart in restarts {
            let after = anchor + TimeDelta::seconds(restart);
            let fire = schedule.next_after(after, anchor).expect("a fire");
            prop_assert_eq!((fire - anchor).num_seconds() % interval, 0);
            prop_assert!(fire > after && fire - after <= TimeDelta::seconds(interval));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}|[0-9*/?,LW#@ -]{0,40}|@every [0-9hms.µ-]{0,60}|TZ=[a-zA-Z/]{0,10} .{0,20}") {
        if let Ok(schedule) = CronSchedule::parse(&text, Tz::UTC) {
            for after in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::UNIX_EPOCH, DateTime::<Utc>::MAX_UTC] {
                let _ = schedule.next_after(after, after);
            }
        }
    }
}
