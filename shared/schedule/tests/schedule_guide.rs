//! The examples of `docs/schedules.md` are true: every row of its tables of fires and of refusals.

use chrono::{DateTime, Utc};
use hostsync_schedule::{CronSchedule, parse_time_zone};

const GUIDE: &str = include_str!("../../../docs/schedules.md");

/// The rows of every table with these columns, a text for each.
fn rows<const N: usize>(columns: [&str; N]) -> Vec<[String; N]> {
    let mut rows = Vec::new();
    let mut is_wanted = false;
    for line in GUIDE.lines() {
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            // The line below the head is dashes; any other line ends a table.
            is_wanted &= line.starts_with("|---");
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").map(|cell| cell.trim_matches('`')).collect();
        if cells == columns {
            is_wanted = true;
        } else if is_wanted {
            let cells: Vec<String> = cells.into_iter().map(str::to_owned).collect();
            rows.push(cells.try_into().unwrap_or_else(|cells| panic!("{cells:?} is no row of {columns:?}")));
        }
    }
    rows
}

#[test]
fn every_expression_fires_when_the_guide_says() {
    let rows = rows(["expression", "time_zone", "after", "fires"]);
    assert!(rows.len() >= 30, "only {} examples were found", rows.len());
    for [expression, zone, after, fires] in rows {
        let after: DateTime<Utc> = after.parse().expect(&after);
        let zone = parse_time_zone(&zone).expect("a zone");
        let schedule = CronSchedule::parse(&expression, zone).expect("an expression");
        let told: Vec<&str> = fires.split(", ").collect();
        let shown = |fire: DateTime<Utc>| fire.with_timezone(&schedule.time_zone()).format("%FT%T%:z").to_string();
        let real: Vec<String> = schedule.fires_after(after, after).take(told.len()).map(shown).collect();
        assert_eq!(real, told, "{expression} in {zone} after {after}");
    }
}

#[test]
fn every_refused_expression_is_refused_with_the_sentence_of_the_guide() {
    let rows = rows(["refused", "because"]);
    assert!(rows.len() >= 8, "only {} examples were found", rows.len());
    for [expression, sentence] in rows {
        let error = CronSchedule::parse(&expression, chrono_tz::Tz::UTC).expect_err(&expression);
        assert_eq!(error.to_string(), sentence, "{expression}");
    }
}
