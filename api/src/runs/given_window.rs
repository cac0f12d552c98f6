//! The window of a run that the request names by its ends.
//!
//! Owns what such a window may be. Knows no transport; the time by the database's clock is passed in.

use chrono::{DateTime, Timelike as _, Utc};
use hostsync_model::window::{Window, WindowError};
use hostsync_service::defaults::Defaults;
use utoipa::openapi::Schema;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use super::accept::Runs;
use crate::error::ApiError;
use crate::request::{Field, Fields, Problems, Timestamp, request};

const FROM: &str = "window_from";
const TO: &str = "window_to";

/// An end of a window: an instant at a whole second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WindowEdge(DateTime<Utc>);

impl Field for WindowEdge {
    fn schema() -> Schema {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let time = fields.exact_time(name)?;
        if time.nanosecond() != 0 {
            fields.problems().add(name, "must be at a whole second");
            return None;
        }
        Some(Self(time))
    }
}

request! {
    /// The window of a run by its ends.
    pub(crate) struct WindowFields as "WindowFields" {
        /// First instant that is read, at a whole second; with `window_to`, and in place of `query_time_range`.
        window_from: Option<WindowEdge>, example "2026-01-01T00:00:00Z";
        /// First instant that is no longer read, at a whole second: 1 minute to 366 days after `window_from`, not in the
        /// future, and not longer ago than `scheduler.retention` and 40 days. Its date is the day that is written
        /// (`mon_date`).
        window_to: Option<WindowEdge>, example "2026-01-02T00:00:00Z";
    }
}

impl WindowFields {
    /// The window that is named, by the clock of the database; `None`: none is, or what is wrong with it is a problem.
    ///
    /// # Errors
    ///
    /// The database, which is asked for the time where both ends are given.
    pub(super) async fn checked(
        self,
        runs: &Runs,
        has_range: bool,
        problems: &mut Problems,
    ) -> Result<Option<Window>, ApiError> {
        if self.window_from.is_none() && self.window_to.is_none() {
            return Ok(None);
        }
        let now = if self.window_to.is_some() { Some(runs.database.now().await?) } else { None };
        Ok(self.window_at(&runs.sources.defaults, now, has_range, problems))
    }

    /// As [`WindowFields::checked`]; without `now` the age of its end is not looked at.
    fn window_at(
        self,
        defaults: &Defaults,
        now: Option<DateTime<Utc>>,
        has_range: bool,
        problems: &mut Problems,
    ) -> Option<Window> {
        let before = problems.count();
        let mut add = |field: &str, message: String| {
            if !problems.has(field) {
                problems.add(field, message);
            }
        };
        if has_range {
            add("query_time_range", format!("must not be given beside {FROM} and {TO}"));
        }
        let window = match (self.window_from, self.window_to) {
            (Some(from), Some(to)) => {
                let window = Window::between(from.0, to.0);
                if let Err(error @ (WindowError::Empty | WindowError::Bounds)) = window {
                    add(TO, error.to_string());
                }
                window.ok()
            }
            (None, Some(_)) => {
                add(FROM, format!("must be given with {TO}"));
                None
            }
            (Some(_), None) => {
                add(TO, format!("must be given with {FROM}"));
                None
            }
            (None, None) => None,
        };
        if let (Some(WindowEdge(to)), Some(now)) = (self.window_to, now) {
            let oldest = defaults.oldest_window_end(now);
            if to > now {
                add(TO, format!("must not be in the future: it is {} now", Timestamp(now)));
            } else if to < oldest {
                add(TO, format!("must not be before {}: scheduler.retention and 40 days ago", Timestamp(oldest)));
            }
        }
        window.filter(|_| problems.count() == before)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use hostsync_service::config::Config;

    use super::*;

    const NOW: &str = "2026-11-30T12:00:00.500Z";

    /// The window of these fields at [`NOW`], and what is wrong with it.
    fn told(from: &str, to: &str, has_range: bool) -> (Option<Window>, Vec<String>) {
        let defaults = Defaults::from(&Config::load(None, Vec::<(String, String)>::new()).expect("a configuration"));
        let sent = [(FROM.to_owned(), from.to_owned()), (TO.to_owned(), to.to_owned())];
        let submitted = Fields::from_text(sent).read::<WindowFields>();
        let mut problems = submitted.problems;
        let now = Some(NOW.parse().expect("a time"));
        let window = submitted.value.window_at(&defaults, now, has_range, &mut problems);
        let problems =
            problems.into_reported().into_iter().map(|problem| format!("{}: {}", problem.field, problem.message));
        (window, problems.collect())
    }

    #[test]
    fn a_window_is_named_by_both_of_its_ends_in_any_offset() {
        let (window, problems) = told("2026-11-29T02:00:00+02:00", "2026-11-30T12:00:00Z", false);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(window.map(|window| window.to - window.from), Some(TimeDelta::hours(36)));
        assert_eq!(told("", "", false), (None, Vec::new()));
    }

    #[test]
    fn all_that_is_wrong_with_a_window_is_told_at_once() {
        for (from, to, has_range, expected) in [
            ("2026-11-30T10:00:00Z", "", false, &["window_to: must be given with window_from"][..]),
            ("", "2026-11-30T10:00:00Z", false, &["window_from: must be given with window_to"]),
            ("2026-11-30T10:00:00Z", "2026-11-30T10:00:00Z", false, &["window_to: must be after window_from"]),
            ("2026-11-30T10:00:00Z", "2026-11-30T10:00:59Z", false, &["window_to: must be from 1 minute to 366 days"]),
            ("2025-11-01T10:00:00Z", "2026-11-30T10:00:00Z", false, &["window_to: must be from 1 minute to 366 days"]),
            ("2026-11-30T10:00:00Z", "2026-11-30T12:00:01Z", false, &["window_to: must not be in the future"]),
            (
                "2026-07-20T10:00:00Z",
                "2026-07-23T11:59:59Z",
                false,
                &["window_to: must not be before 2026-07-23T12:00:00.500Z"],
            ),
            ("2026-11-30T10:00:00.001Z", "2026-11-30T11:00:00Z", false, &["window_from: must be at a whole second"]),
            ("2026-11-30T10:00:00Z", "2026-11-30T11:00:00.0000001Z", false, &["window_to: must be at a whole second"]),
            (
                "2026-11-30T10:00:00Z",
                "2026-11-30T11:00:00Z",
                true,
                &["query_time_range: must not be given beside window_from and window_to"],
            ),
            (
                "yesterday",
                "2027-01-01T00:00:00Z",
                true,
                &[
                    "window_from: must be a time",
                    "query_time_range: must not be",
                    "window_to: must not be in the future",
                ],
            ),
        ] {
            let (window, problems) = told(from, to, has_range);
            assert_eq!(window, None, "{from} {to}");
            assert_eq!(problems.len(), expected.len(), "{from} {to}: {problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.starts_with(expected), "{from} {to}: {problem}");
            }
        }
    }

    #[test]
    fn a_window_may_end_now_and_as_long_ago_as_results_are_known() {
        for (from, to) in [
            ("2026-11-30T11:59:00Z", "2026-11-30T12:00:00Z"),
            ("2026-07-23T12:00:00Z", "2026-07-23T12:01:01Z"),
            ("2025-07-24T12:00:01Z", "2026-07-23T12:00:01Z"),
        ] {
            let (window, problems) = told(from, to, false);
            assert!(window.is_some(), "{from} {to}: {problems:?}");
        }
    }
}
