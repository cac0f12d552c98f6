//! What a task or a request uses that leaves its source or its zone open: the answers of the configuration.
//!
//! Pure. Checks nothing: whether what is named is configured is the API's matter when it is said, the worker's when it is
//! used.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::config::{Config, ElasticsearchConfig};
use hostsync_model::freshness::FreshnessTarget;
use hostsync_model::window::{OLDEST_END_MARGIN, TimeRange, Window};
use hostsync_schedule::{CronSchedule, ScheduleError, date_in, parse_time_zone};
use hostsync_store::freshness::TaskFreshness;
use hostsync_store::tables::executions::creation::Scope;
use hostsync_store::tables::freshness::FreshnessRow;
use hostsync_store::tables::tasks::{Task, TaskPace};
use hostsync_store::word::Word;

/// Fires whose gaps make the target of a task that names none.
const FIRES_OF_A_TARGET: usize = 10;

/// The target of a task that has no two fires ahead.
const TARGET_WITHOUT_FIRES: TimeDelta = TimeDelta::days(2);

/// What a run reads, each by its own name: nothing is left to a default any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of an endpoint.
    pub es_endpoint: String,
    /// Index pattern.
    pub es_index_pattern: String,
    /// Name of a mapping.
    pub mapping: String,
}

/// The configuration's answers.
#[derive(Debug, Clone)]
pub struct Defaults {
    elasticsearch: ElasticsearchConfig,
    time_zone: Tz,
    retention: TimeDelta,
}

impl From<&Config> for Defaults {
    fn from(config: &Config) -> Self {
        Self {
            elasticsearch: config.elasticsearch.clone(),
            time_zone: config.scheduler.time_zone,
            retention: TimeDelta::from_std(config.scheduler.retention).unwrap_or(TimeDelta::MAX),
        }
    }
}

impl Defaults {
    /// The source that is meant; what is empty is the default's. An endpoint may be named by its exact URL, as tasks of the
    /// program before hostsync do; where this process has no endpoint of that name or URL, the text stays.
    pub fn source(&self, es_endpoint: &str, es_index_pattern: &str, mapping: &str) -> Source {
        let or = |given: &str, default: &str| if given.is_empty() { default.to_owned() } else { given.to_owned() };
        let es_endpoint = match self.elasticsearch.endpoint_named(es_endpoint) {
            Some((name, _)) => name.to_owned(),
            None => or(es_endpoint, &self.elasticsearch.default_endpoint),
        };
        Source {
            es_endpoint,
            es_index_pattern: or(es_index_pattern, &self.elasticsearch.default_index_pattern),
            mapping: or(mapping, &self.elasticsearch.default_mapping),
        }
    }

    /// What a run of a task reads and writes for that fires at `at`, or is made by hand then; `zone` is that of its schedule.
    /// Its window ends by the task's delay before, and its day is that of this end. A row of the program before hostsync may
    /// hold any range, and its task runs all the same: over the default one.
    pub fn scope(&self, task: &Task, zone: Tz, at: DateTime<Utc>) -> Scope {
        let range = match &task.query_time_range {
            Word::Known(range) => range.clone(),
            Word::Unknown(_) => TimeRange::default_range(),
        };
        let delay = match &task.delay {
            Word::Known(delay) => delay.delta(),
            Word::Unknown(_) => TimeDelta::zero(),
        };
        self.scope_of(task, zone, Window::ending_at(at - delay, &range), range)
    }

    /// As [`Defaults::scope`], over a window of its own, which is told as `range`.
    pub fn scope_of(&self, task: &Task, zone: Tz, window: Window, range: TimeRange) -> Scope {
        let source = self.source(&task.es_endpoint, &task.es_index_pattern, &task.mapping);
        Scope {
            window,
            query_time_range: Word::Known(range),
            mon_date: date_in(zone, window.to),
            es_endpoint: source.es_endpoint,
            es_index_pattern: source.es_index_pattern,
            mapping: source.mapping,
        }
    }

    /// The oldest end of a window that may be asked for or read again at `now`: `scheduler.retention` and 40 days ago.
    pub fn oldest_window_end(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let oldest =
            now.checked_sub_signed(self.retention).and_then(|oldest| oldest.checked_sub_signed(OLDEST_END_MARGIN));
        oldest.unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// The zone of a run without a task.
    pub fn time_zone(&self) -> Tz {
        self.time_zone
    }

    /// The zone of a name; the default where it is empty.
    ///
    /// # Errors
    ///
    /// No such zone.
    pub fn zone_named(&self, name: &str) -> Result<Tz, ScheduleError> {
        if name.is_empty() { Ok(self.time_zone) } else { parse_time_zone(name) }
    }

    /// The schedule of an expression in the zone of a name.
    ///
    /// # Errors
    ///
    /// No such zone, or an expression that cannot be read.
    pub fn schedule(&self, cron_expression: &str, time_zone: &str) -> Result<CronSchedule, ScheduleError> {
        CronSchedule::parse(cron_expression, self.zone_named(time_zone)?)
    }

    /// How old a host's values may be for a task: what it says, else twice the longest gap of its next fires. A task that fires
    /// at most once more, or never, has two days.
    pub fn freshness_target(&self, pace: &TaskPace, now: DateTime<Utc>) -> TimeDelta {
        if let Ok(target) = pace.freshness_target.parse::<FreshnessTarget>() {
            return target.delta();
        }
        let Ok(schedule) = self.schedule(&pace.cron_expression, &pace.time_zone) else { return TARGET_WITHOUT_FIRES };
        let anchor = pace.schedule_anchor.unwrap_or(DateTime::UNIX_EPOCH);
        let fires: Vec<DateTime<Utc>> = schedule.fires_after(now, anchor).take(FIRES_OF_A_TARGET).collect();
        let gaps = fires.iter().zip(fires.iter().skip(1)).map(|(one, next)| *next - *one);
        gaps.max().and_then(|longest| longest.checked_mul(2)).unwrap_or(TARGET_WITHOUT_FIRES)
    }

    /// How fresh the hosts of a task are that have no row of state; `row` is what is known of its runs.
    pub fn task_freshness(&self, pace: &TaskPace, row: Option<&FreshnessRow>, now: DateTime<Utc>) -> TaskFreshness {
        TaskFreshness {
            task: pace.id,
            window_to: row.and_then(|row| row.window_to),
            pool_cursor: row.map_or(0, |row| row.pool_cursor),
            target: self.freshness_target(pace, now),
        }
    }

    /// The zone whose date a run of a task writes for: that of its expression, else the task's, else the default. Rows that
    /// the API did not write may hold anything.
    pub fn zone_of_task(&self, cron_expression: &str, time_zone: &str) -> Tz {
        let zone = self.zone_named(time_zone).unwrap_or(self.time_zone);
        CronSchedule::parse(cron_expression, zone).map_or(zone, |schedule| schedule.time_zone())
    }
}

#[cfg(test)]
mod tests {
    use hostsync_model::execution::TaskId;

    use super::*;

    const URL: &str = "https://search.example/";

    fn defaults() -> Defaults {
        let variables = [("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__OTHER__URL", URL)];
        Defaults::from(&Config::load(None, variables).expect("a configuration"))
    }

    #[test]
    fn what_is_named_beats_the_default() {
        let source = defaults().source("", "other-*", "");
        assert_eq!((source.es_index_pattern.as_str(), source.mapping.as_str()), ("other-*", "zabbix"));
        assert_eq!(source.es_endpoint, "default");
        assert_eq!(defaults().source(URL, "", "").es_endpoint, "other");
        assert_eq!(defaults().source("elsewhere", "", "").es_endpoint, "elsewhere", "another process may know it");
    }

    fn task(delay: &str) -> Task {
        Task {
            id: TaskId(3),
            task_name: "t".to_owned(),
            description: String::new(),
            es_endpoint: String::new(),
            es_index_pattern: String::new(),
            mapping: String::new(),
            cron_expression: "@daily".to_owned(),
            time_zone: String::new(),
            overlap_policy: "skip".into(),
            catch_up_window: "1m".into(),
            query_time_range: "24h".into(),
            delay: delay.into(),
            freshness_target: String::new(),
            is_enabled: true,
            created_by: String::new(),
            schedule_anchor: None,
            next_execution_time: None,
        }
    }

    #[test]
    fn a_delay_moves_the_end_of_the_window_and_with_it_the_day() {
        for (at, delay, zone, end, day) in [
            ("2026-06-10T00:30:00Z", "1h", Tz::UTC, "2026-06-09T23:30:00Z", "2026-06-09"),
            ("2026-06-10T01:00:00Z", "1h", Tz::UTC, "2026-06-10T00:00:00Z", "2026-06-10"),
            // 00:30 in Berlin; then across the hour that is left out, and in the one that comes twice.
            ("2026-03-28T23:30:00Z", "1h", Tz::Europe__Berlin, "2026-03-28T22:30:00Z", "2026-03-28"),
            ("2026-03-29T01:15:00Z", "2h", Tz::Europe__Berlin, "2026-03-28T23:15:00Z", "2026-03-29"),
            ("2026-03-29T01:15:00Z", "3h", Tz::Europe__Berlin, "2026-03-28T22:15:00Z", "2026-03-28"),
            ("2026-03-29T22:00:00Z", "23h", Tz::Europe__Berlin, "2026-03-28T23:00:00Z", "2026-03-29"),
            ("2026-10-25T23:00:00Z", "25h", Tz::Europe__Berlin, "2026-10-24T22:00:00Z", "2026-10-25"),
            ("2026-10-25T23:00:00Z", "90001s", Tz::Europe__Berlin, "2026-10-24T21:59:59Z", "2026-10-24"),
            ("2026-06-10T00:30:00Z", "whenever", Tz::UTC, "2026-06-10T00:30:00Z", "2026-06-10"),
        ] {
            let scope = defaults().scope(&task(delay), zone, at.parse().expect("a time"));
            let to: DateTime<Utc> = end.parse().expect("a time");
            assert_eq!(scope.window, Window { from: to - TimeDelta::hours(24), to }, "{at} {delay}");
            assert_eq!(scope.mon_date.to_string(), day, "{at} {delay}");
        }
    }

    #[test]
    fn the_day_is_that_of_the_windows_end_at_every_quarter_of_an_hour_of_the_days_on_which_clocks_change() {
        let begins = ["2026-03-28T12:00:00Z", "2026-04-04T06:00:00Z", "2026-10-03T06:00:00Z", "2026-10-24T12:00:00Z"];
        for zone in [Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::America__St_Johns] {
            for begin in begins.map(|begin| begin.parse::<DateTime<Utc>>().expect("a time")) {
                for quarter in 0..48 * 4 {
                    let at = begin + TimeDelta::minutes(15 * quarter);
                    for (delay, minutes) in [("0s", 0), ("45m", 45), ("25h", 1_500), ("31d", 44_640)] {
                        let scope = defaults().scope(&task(delay), zone, at);
                        assert_eq!(at - scope.window.to, TimeDelta::minutes(minutes));
                        assert_eq!(scope.window.to - scope.window.from, TimeDelta::hours(24));
                        assert_eq!(scope.mon_date, scope.window.to.with_timezone(&zone).date_naive());
                    }
                }
            }
        }
    }

    #[test]
    fn a_target_is_what_the_task_says_else_twice_the_longest_gap_of_its_next_fires() {
        let target = |cron: &str, written: &str| {
            let pace = TaskPace {
                id: TaskId(7),
                cron_expression: cron.to_owned(),
                time_zone: String::new(),
                schedule_anchor: None,
                freshness_target: written.to_owned(),
                is_enabled: true,
            };
            let now = "2026-03-02T10:00:00Z".parse().expect("a time");
            defaults().freshness_target(&pace, now)
        };
        assert_eq!(target("0 0 * * * *", ""), TimeDelta::hours(2));
        assert_eq!(target("@every 90m", ""), TimeDelta::hours(3));
        assert_eq!(target("0 0 9 * * 1-5", ""), TimeDelta::days(6), "over the week-end");
        assert_eq!(target("0 0 * * * *", "36h"), TimeDelta::hours(36));
        assert_eq!(target("whenever", ""), TARGET_WITHOUT_FIRES);
    }

    #[test]
    fn the_zone_of_the_expression_beats_the_tasks_and_that_the_default() {
        let defaults = defaults();
        assert_eq!(defaults.zone_of_task("@daily", "Asia/Shanghai"), Tz::Asia__Shanghai);
        assert_eq!(defaults.zone_of_task("TZ=Europe/Berlin @daily", "Asia/Shanghai"), Tz::Europe__Berlin);
        assert_eq!(defaults.zone_of_task("whenever", ""), Tz::UTC);
        assert_eq!(defaults.zone_of_task("whenever", "Nowhere/Land"), Tz::UTC);
    }
}
