//! What a task would read from a source and write for a host, before there is such a task.
//!
//! Owns the order of the questions: is what is named configured, what does the source say, what does the pool say of the
//! host, what would a worker make of both. A source that cannot be reached is an answer too. Writes nothing. Knows no
//! transport.

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use hostsync_mapping::{Capacity, HostReading, Mapping, Metric, Unit, host_values};
use hostsync_model::execution::SyncStatus;
use hostsync_model::host::{HostIp, HostIpError, address_key};
use hostsync_model::window::{TimeRange, Window};
use hostsync_schedule::date_in;
use hostsync_service::defaults::Source;
use hostsync_source::{Probe, ProbedHost};
use hostsync_store::tables::hosts_pool::{self, PoolHost};
use hostsync_store::tables::server_resources::{self, ResourceValues, ServerResource};
use serde_json::json;
use utoipa::openapi::Schema;

use crate::access::Limits;
use crate::database::{Database, within_bound};
use crate::error::ApiError;
use crate::request::{Field, Fields, Submitted, request, text_schema};
use crate::sources::{SourceFields, Sources};

/// Longest time for a source to answer. What it has not answered by then stays unknown.
const LONGEST_PROBE: Duration = Duration::from_mins(1);

/// Address of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProbedAddress(HostIp);

impl Field for ProbedAddress {
    fn schema() -> Schema {
        text_schema("ip").examples([json!("10.0.0.1")]).build().into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name)?;
        text.parse().map(Self).map_err(|error: HostIpError| fields.problems().add(name, error.to_string())).ok()
    }
}

request! {
    /// A source to look at; what is left out is as it is for a task that leaves it out.
    pub(crate) struct ProbeQuery as "ProbeSource" {
        /// The host to show; absent means the first one that the source has.
        host_ip: Option<ProbedAddress>;
        ..source: SourceFields;
    }
}

/// What sources are asked with.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    pub(crate) database: Database,
    pub(crate) sources: Arc<Sources>,
    pub(crate) limits: Arc<Limits>,
}

/// What a task would read and write.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    pub(crate) source: Source,
    pub(crate) time_range: TimeRange,
    pub(crate) window: Window,
    /// The day of the rows in `server_resources`.
    pub(crate) mon_date: NaiveDate,
    /// What the source said; its host has moved to `host`.
    pub(crate) answer: Probe,
    /// What each of `answer.fields` is for.
    pub(crate) purposes: Vec<Purpose>,
    /// `None`: no host was found, or the source was not asked for one.
    pub(crate) host: Option<HostPreview>,
}

/// What a field of a mapping is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Purpose {
    /// Of its numbers.
    pub(crate) unit: Option<Unit>,
    /// The columns of `server_resources` that depend on it.
    pub(crate) columns: Vec<String>,
}

/// What a task would make of one host.
#[derive(Debug, Clone)]
pub(crate) struct HostPreview {
    pub(crate) host_ip: String,
    /// `None`: it is not in the pool, or deleted there.
    pub(crate) pool: Option<PoolHost>,
    /// `None`: it has no documents in the window.
    pub(crate) reading: Option<HostReading>,
    /// The outcome that a run would give it.
    pub(crate) status: SyncStatus,
    /// Why that is `failed`.
    pub(crate) error_message: Option<String>,
    /// What is made of the reading; of a host outside the pool without a capacity.
    pub(crate) converted: Option<ResourceValues>,
    /// The day's row as it stands.
    pub(crate) row_before: Option<ResourceValues>,
    /// The day's row as a run would leave it; `None`: it would write nothing.
    pub(crate) row_after: Option<ResourceValues>,
}

/// Asks a source what a task would read there, and shows one host.
///
/// # Errors
///
/// Bad fields, too many probes at once, the database. Never the source's: what is wrong with it stands in the answer.
pub(crate) async fn probe(probes: &Probes, submitted: Submitted<ProbeQuery>) -> Result<Probed, ApiError> {
    let Submitted { value: ProbeQuery { host_ip, source }, mut problems, said: _ } = submitted;
    let (source, time_range) = probes.sources.source(source, &mut problems);
    problems.check()?;
    let Some((endpoint, mapping)) = probes.sources.client(&source) else {
        return Err(anyhow::anyhow!("a source without a problem is not configured").into());
    };

    let Ok(_permit) = probes.limits.probes.try_acquire() else {
        return Err(ApiError::TooManyProbes);
    };
    let now = probes.database.now().await?;
    let window = Window::ending_at(now, &time_range);
    let mon_date = date_in(probes.sources.defaults.time_zone(), now);
    // No connection is held while a source takes its time.
    let mut answer = endpoint
        .probe(
            &source.es_index_pattern,
            mapping,
            window,
            host_ip.map(|ProbedAddress(host)| host.to_string()).as_deref(),
            LONGEST_PROBE,
        )
        .await;
    let host = match answer.host.take() {
        Some(found) => Some(within_bound(see(&probes.database, mapping, mon_date, found)).await?),
        None => None,
    };
    let purposes = answer.fields.iter().map(|field| purpose_of(mapping, &field.key)).collect();
    Ok(Probed { source, time_range, window, mon_date, answer, purposes, host })
}

/// What a worker would make of what was found, with what the pool and the day's row say.
async fn see(
    database: &Database,
    mapping: &Mapping,
    mon_date: NaiveDate,
    found: ProbedHost,
) -> Result<HostPreview, ApiError> {
    let mut connection = database.connection().await?;
    let mut pool = hosts_pool::live(&mut connection, &[&found.host_ip]).await?;
    let pool = pool.remove(&address_key(&found.host_ip));
    let spelled = pool.as_ref().map_or(&found.host_ip, |host| &host.host_ip);
    let row_before = server_resources::standing(&mut connection, mon_date, spelled).await?;
    Ok(HostPreview { row_before, ..outcome(mapping, found, pool) })
}

/// The outcome of a host, by the rules of a worker: its place in the pool first, then its documents, then its values.
fn outcome(mapping: &Mapping, found: ProbedHost, pool: Option<PoolHost>) -> HostPreview {
    let ProbedHost { host_ip, reading } = found;
    let mut seen = HostPreview {
        host_ip,
        reading,
        status: if pool.is_some() { SyncStatus::NoData } else { SyncStatus::NotInPool },
        error_message: None,
        converted: None,
        row_before: None,
        row_after: None,
        pool,
    };
    let Some(reading) = &seen.reading else { return seen };
    // What stands here for a host outside the pool is written nowhere.
    let outside = PoolHost::default();
    let host = seen.pool.as_ref().unwrap_or(&outside);
    match host_values(mapping, reading, &Capacity { ram_gb: host.ram_gb, disk_gb: host.disk_gb }) {
        Ok(values) => {
            seen.converted = Some(ServerResource::new(&seen.host_ip, host, &values).values());
            if seen.pool.is_some() {
                seen.status = SyncStatus::Success;
                seen.row_after = seen.converted;
            }
        }
        Err(bad) => {
            seen.error_message = Some(bad.to_string());
            if seen.pool.is_some() {
                seen.status = SyncStatus::Failed;
            }
        }
    }
    seen
}

/// What the field at a key of a mapping is for.
fn purpose_of(mapping: &Mapping, key: &str) -> Purpose {
    let of_metric = key
        .split_once('.')
        .and_then(|(metric, part)| Some((Metric::ALL.into_iter().find(|known| known.key() == metric)?, part)));
    let Some((metric, part)) = of_metric else {
        let columns = if key == "host_field" { vec!["ip".to_owned()] } else { Vec::new() };
        return Purpose { unit: None, columns };
    };
    let fields = mapping.metric(metric);
    let (highest, percent) = match metric {
        Metric::Cpu => ("cpu_load", "cpu_percent"),
        Metric::Memory => ("used_memory", "mem_percent"),
        Metric::Disk => ("used_disk", "disk_percent"),
    };
    let (unit, has_highest, percents): (_, _, &[&str]) = match part {
        "max" => (Some(fields.unit), true, &["max"]),
        "avg" => (Some(fields.unit), false, &["avg"]),
        "min" => (Some(fields.unit), false, &["min"]),
        "weight" => (None, false, &["avg"]),
        "total" => (Some(fields.unit), false, &["max", "avg", "min"]),
        "percent.field" => (fields.percent.as_ref().map(|share| share.unit), false, &["max", "avg", "min"]),
        // Of the parts all of the metric is made.
        _ => (None, true, &["max", "avg", "min"]),
    };
    let highest = has_highest.then(|| highest.to_owned());
    let columns = highest.into_iter().chain(percents.iter().map(|statistic| format!("{percent}_{statistic}")));
    Purpose { unit, columns: columns.collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hostsync_mapping::{FieldTypes, Stats};
    use hostsync_store::tables::server_resources::VALUE_COLUMNS;

    use super::*;

    fn pooled(ram_gb: u32) -> PoolHost {
        PoolHost { id: 7, host_name: "web-1".to_owned(), ram_gb: Some(ram_gb), ..PoolHost::default() }
    }

    fn found(memory: Option<f64>) -> ProbedHost {
        let memory = memory.map(|gb| Stats { max: gb, avg: gb, min: gb });
        let reading = HostReading { data_point_count: 1, memory, ..HostReading::default() };
        ProbedHost { host_ip: "10.0.0.1".to_owned(), reading: Some(reading) }
    }

    #[test]
    fn a_host_gets_the_outcome_that_a_run_would_give_it() {
        let zabbix = Mapping::zabbix();
        let good = outcome(&zabbix, found(Some(8.0)), Some(pooled(16)));
        assert_eq!((good.status, good.row_after), (SyncStatus::Success, good.converted));
        let values = good.converted.expect("values");
        assert_eq!((values[1], values[6], values[9]), (Some(8.0), Some(50.0), None));

        let bad = outcome(&zabbix, found(Some(8.0)), Some(pooled(4)));
        assert_eq!((bad.status, bad.converted, bad.row_after), (SyncStatus::Failed, None, None));
        assert_eq!(bad.error_message.as_deref(), Some("used memory 8.00 GB is more than the 4 GB of hosts_pool.ram"));

        let nothing = ProbedHost { reading: None, ..found(None) };
        assert_eq!(outcome(&zabbix, nothing.clone(), Some(pooled(16))).status, SyncStatus::NoData);
        assert_eq!(outcome(&zabbix, nothing, None).status, SyncStatus::NotInPool);
    }

    #[test]
    fn a_host_outside_the_pool_shows_its_values_and_would_be_written_nowhere() {
        let outside = outcome(&Mapping::zabbix(), found(Some(8.0)), None);
        assert_eq!((outside.status, outside.row_after), (SyncStatus::NotInPool, None));
        let values = outside.converted.expect("values");
        assert_eq!((values[1], values[6]), (Some(8.0), None));
    }

    #[test]
    fn every_measured_column_comes_from_a_field_of_each_mapping() {
        for mapping in [Mapping::zabbix(), Mapping::metricbeat()] {
            let fields = FieldTypes::undescribed(&mapping);
            let fed: BTreeSet<String> =
                fields.iter().flat_map(|field| purpose_of(&mapping, &field.key).columns).collect();
            let wanted: BTreeSet<String> = VALUE_COLUMNS.into_iter().chain(["ip"]).map(str::to_owned).collect();
            assert_eq!(fed, wanted);
        }
        let share = purpose_of(&Mapping::metricbeat(), "memory.percent.field");
        assert_eq!(share.unit, Some(Unit::Ratio));
        assert_eq!(purpose_of(&Mapping::metricbeat(), "memory.max").unit, Some(Unit::Bytes));
        assert_eq!(purpose_of(&Mapping::zabbix(), "group_field"), Purpose { unit: None, columns: Vec::new() });
    }
}
