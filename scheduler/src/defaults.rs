//! What a task that names nothing uses.

use chrono_tz::Tz;
use hostsync_shared::config::{Config, ElasticsearchConfig};
use hostsync_shared::schedule::{CronSchedule, ScheduleError, parse_time_zone};
use hostsync_shared::tables::tasks::Task;

/// The configuration's answers for what a task leaves open.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    elasticsearch: ElasticsearchConfig,
    pub(crate) index_pattern: String,
    pub(crate) mapping: String,
    pub(crate) time_zone: Tz,
}

impl From<&Config> for Defaults {
    fn from(config: &Config) -> Self {
        Self {
            elasticsearch: config.elasticsearch.clone(),
            index_pattern: config.elasticsearch.default_index_pattern.clone(),
            mapping: config.elasticsearch.default_mapping.clone(),
            time_zone: config.scheduler.time_zone,
        }
    }
}

impl Defaults {
    /// The name of a task's endpoint. A task of the program before hostsync holds a URL; where this process has endpoints
    /// configured, the one of that URL is meant.
    pub(crate) fn endpoint_name(&self, name_or_url: &str) -> String {
        match self.elasticsearch.endpoint_named(name_or_url) {
            Some((name, _)) => name.to_owned(),
            None => or_default(name_or_url, &self.elasticsearch.default_endpoint).to_owned(),
        }
    }

    /// The schedule of a task, in its zone or the default one.
    pub(crate) fn schedule(&self, task: &Task) -> Result<CronSchedule, ScheduleError> {
        let zone = if task.time_zone.is_empty() { self.time_zone } else { parse_time_zone(&task.time_zone)? };
        CronSchedule::parse(&task.cron_expression, zone)
    }
}

/// `value`, or `default` where it is empty.
pub(crate) fn or_default<'a>(value: &'a str, default: &'a str) -> &'a str {
    if value.is_empty() { default } else { value }
}
