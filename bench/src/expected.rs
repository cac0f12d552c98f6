//! What must stand in `server_resources`, computed from the generator of the samples in plain Rust, and what stands there.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use hostsync_testing::documents::{Expected, Extent, Family, SampleHost};
use sqlx::MySqlPool;

/// Relative difference that sums in another order may make.
const ROUNDING: f64 = 1e-9;

/// A row of `server_resources`, as far as it is measured.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns, by name")]
pub(crate) struct Resource {
    pub(crate) ip: String,
    pub(crate) mon_date: NaiveDate,
    pub(crate) cpu_load: Option<f64>,
    pub(crate) used_memory: Option<f64>,
    pub(crate) used_disk: Option<f64>,
    pub(crate) cpu_percent_max: Option<f64>,
    pub(crate) cpu_percent_avg: Option<f64>,
    pub(crate) cpu_percent_min: Option<f64>,
    pub(crate) mem_percent_max: Option<f64>,
    pub(crate) mem_percent_avg: Option<f64>,
    pub(crate) mem_percent_min: Option<f64>,
    pub(crate) disk_percent_max: Option<f64>,
    pub(crate) disk_percent_avg: Option<f64>,
    pub(crate) disk_percent_min: Option<f64>,
}

impl Resource {
    /// Its measured columns, by name, in the order of the table.
    pub(crate) fn columns(&self) -> [(&'static str, Option<f64>); 12] {
        [
            ("used_memory", self.used_memory),
            ("used_disk", self.used_disk),
            ("cpu_load", self.cpu_load),
            ("cpu_percent_max", self.cpu_percent_max),
            ("cpu_percent_avg", self.cpu_percent_avg),
            ("cpu_percent_min", self.cpu_percent_min),
            ("mem_percent_max", self.mem_percent_max),
            ("mem_percent_avg", self.mem_percent_avg),
            ("mem_percent_min", self.mem_percent_min),
            ("disk_percent_max", self.disk_percent_max),
            ("disk_percent_avg", self.disk_percent_avg),
            ("disk_percent_min", self.disk_percent_min),
        ]
    }
}

/// The rows of one day, by address.
pub(crate) async fn rows(pool: &MySqlPool, mon_date: NaiveDate) -> sqlx::Result<HashMap<String, Resource>> {
    let rows: Vec<Resource> = sqlx::query_as(
        "SELECT ip, mon_date, cpu_load, used_memory, used_disk, cpu_percent_max, cpu_percent_avg, cpu_percent_min,
                mem_percent_max, mem_percent_avg, mem_percent_min, disk_percent_max, disk_percent_avg, disk_percent_min
         FROM server_resources WHERE mon_date = ? AND is_deleted = 0",
    )
    .bind(mon_date)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.ip.clone(), row)).collect())
}

/// Checks that each of `hosts` has the row that its documents of `family` in `[from, to)` make.
///
/// # Errors
///
/// The first row that is missing or differs, by host and column.
pub(crate) fn check(
    rows: &HashMap<String, Resource>,
    family: Family,
    hosts: impl IntoIterator<Item = SampleHost>,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    step: TimeDelta,
) -> anyhow::Result<usize> {
    let mut checked = 0;
    for host in hosts {
        let ip = host.ip();
        let row = rows.get(&ip).with_context(|| format!("host {ip} has no row in server_resources"))?;
        let expected = expected(host, host.expected_of(family, from, to, step));
        for (column, value) in row.columns() {
            let wanted = expected.get(column).copied();
            let equal = match (value, wanted) {
                (Some(value), Some(wanted)) => (value - wanted).abs() <= ROUNDING * wanted.abs(),
                _ => false,
            };
            anyhow::ensure!(
                equal,
                "{column} of host {ip} is {value:?} in server_resources; its documents from {from} to {to} make {wanted:?}"
            );
        }
        checked += 1;
    }
    Ok(checked)
}

fn expected(host: SampleHost, expected: Expected) -> BTreeMap<&'static str, f64> {
    let percent = |extent: Extent, capacity_gb: u32| {
        let factor = 100.0 / f64::from(capacity_gb);
        Extent { max: extent.max * factor, avg: extent.avg * factor, min: extent.min * factor }
    };
    let (cpu, memory, disk) =
        (expected.cpu, percent(expected.memory_gb, host.ram_gb()), percent(expected.disk_gb, host.disk_gb()));
    BTreeMap::from([
        ("used_memory", expected.memory_gb.max),
        ("used_disk", expected.disk_gb.max),
        ("cpu_load", cpu.max),
        ("cpu_percent_max", cpu.max),
        ("cpu_percent_avg", cpu.avg),
        ("cpu_percent_min", cpu.min),
        ("mem_percent_max", memory.max),
        ("mem_percent_avg", memory.avg),
        ("mem_percent_min", memory.min),
        ("disk_percent_max", disk.max),
        ("disk_percent_avg", disk.avg),
        ("disk_percent_min", disk.min),
    ])
}
