//! What a task or a request uses that leaves its source or its zone open: the answers of the configuration.
//!
//! Pure. Checks nothing: whether what is named is configured is the API's matter when it is said, the worker's when it is
//! used.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::config::{Config, ElasticsearchConfig};
use hostsync_model::freshness::FreshnessTarget;
use hostsync_model::window::{TimeRange, Window};
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
}

impl From<&Config> for Defaults {
    fn from(config: &Config) -> Self {
        Self { elasticsearch: config.elasticsearch.clone(), time_zone: config.scheduler.time_zone }
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

    /// What a run of a task reads and writes for, whose window ends at `end`; `zone` is that of its schedule. A row of the
    /// program before hostsync may hold any range, and its task runs all the same: over the default one.
    pub fn scope(&self, task: &Task, zone: Tz, end: DateTime<Utc>) -> Scope {
        let source = self.source(&task.es_endpoint, &task.es_index_pattern, &task.mapping);
        let range = match &task.query_time_range {
            Word::Known(range) => range.clone(),
            Word::Unknown(_) => TimeRange::default_range(),
        };
        Scope {
            window: Window::ending_at(end, &range),
            query_time_range: Word::Known(range),
            mon_date: date_in(zone, end),
            es_endpoint: source.es_endpoint,
            es_index_pattern: source.es_index_pattern,
            mapping: source.mapping,
        }
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
