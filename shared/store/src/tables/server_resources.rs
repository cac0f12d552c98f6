//! `server_resources`: the CMDB's load of each host and day. Written here, never altered.
//!
//! A new row spells the address as the pool does, which other programs compare with. A row that stands for the same address
//! and day in another spelling is written over and keeps its own.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;
use sqlx::{MySqlConnection, QueryBuilder, Row as _};

use super::ROWS_PER_STATEMENT;
use super::cmdb_clock::CmdbNow;
use super::hosts_pool::PoolHost;
use super::text_statement::TextStatement;
use hostsync_mapping::{HostValues, Stats};
use hostsync_model::host::{HostIp, address_key};

/// Maximum, average and minimum in percent; NULL where unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percent {
    /// Highest.
    pub max: Option<f64>,
    /// Mean.
    pub avg: Option<f64>,
    /// Lowest.
    pub min: Option<f64>,
}

/// One host's load on one day. All values are finite and fit their columns.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerResource {
    /// `hosts_pool.id`.
    pub pool_id: u32,
    /// The host, as the pool spells it.
    pub ip: String,
    /// Highest, in GB.
    pub used_memory: Option<f64>,
    /// Highest, in GB.
    pub used_disk: Option<f64>,
    /// Highest CPU load, in percent.
    pub cpu_load: Option<f64>,
    /// CPU.
    pub cpu: Percent,
    /// Memory.
    pub mem: Percent,
    /// Disk.
    pub disk: Percent,
}

/// The values of a row in the order of [`VALUE_COLUMNS`].
pub type ResourceValues = [Option<f64>; 12];

/// The columns that hold measured values.
pub const VALUE_COLUMNS: [&str; 12] = [
    "cpu_load",
    "used_memory",
    "used_disk",
    "cpu_percent_max",
    "cpu_percent_avg",
    "cpu_percent_min",
    "mem_percent_max",
    "mem_percent_avg",
    "mem_percent_min",
    "disk_percent_max",
    "disk_percent_avg",
    "disk_percent_min",
];

impl From<Option<Stats>> for Percent {
    fn from(stats: Option<Stats>) -> Self {
        Self { max: stats.map(|stats| stats.max), avg: stats.map(|stats| stats.avg), min: stats.map(|stats| stats.min) }
    }
}

impl ServerResource {
    /// What is written for a host of the pool.
    pub fn new(ip: &str, host: &PoolHost, values: &HostValues) -> Self {
        Self {
            pool_id: host.id,
            ip: ip.to_owned(),
            used_memory: values.used_memory_gb,
            used_disk: values.used_disk_gb,
            cpu_load: values.cpu_load,
            cpu: values.cpu_percent.into(),
            mem: values.mem_percent.into(),
            disk: values.disk_percent.into(),
        }
    }

    /// Its values in the order of [`VALUE_COLUMNS`].
    pub fn values(&self) -> ResourceValues {
        [
            self.cpu_load,
            self.used_memory,
            self.used_disk,
            self.cpu.max,
            self.cpu.avg,
            self.cpu.min,
            self.mem.max,
            self.mem.avg,
            self.mem.min,
            self.disk.max,
            self.disk.avg,
            self.disk.min,
        ]
    }
}

/// Inserts or overwrites the rows of one day. `rows` is sorted by address, each once. Rows that exist are written with their
/// id in a statement of their own, since an upsert that meets an existing row burns an auto-increment id and the CMDB's
/// ids have 32 bits. A row that was marked deleted lives again: it holds a new measurement. Returns the values of the
/// rows that were overwritten, by [`address_key`]; a row that is not among them was inserted.
pub async fn upsert(
    connection: &mut MySqlConnection,
    mon_date: NaiveDate,
    rows: &[ServerResource],
) -> Result<HashMap<String, ResourceValues>, sqlx::Error> {
    let mut previous = HashMap::new();
    if rows.is_empty() {
        return Ok(previous);
    }
    let now = CmdbNow::of(connection, "server_resources").await?;
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let ips: Vec<&str> = chunk.iter().map(|row| row.ip.as_str()).collect();
        let existing = existing_rows(connection, mon_date, &ips).await?;
        let mut ids = HashMap::with_capacity(existing.len());
        for (address, (id, values)) in existing {
            ids.insert(address.clone(), id);
            previous.insert(address, values);
        }
        let (known, new): (Vec<_>, Vec<_>) = chunk.iter().partition(|row| ids.contains_key(&address_key(&row.ip)));
        write(connection, (mon_date, &now), &known, Some(&ids)).await?;
        write(connection, (mon_date, &now), &new, None).await?;
    }
    Ok(previous)
}

/// The values that stand for a host and day, also in a row that was marked deleted: what a write would replace.
pub async fn standing(
    connection: &mut MySqlConnection,
    mon_date: NaiveDate,
    ip: &str,
) -> Result<Option<ResourceValues>, sqlx::Error> {
    let rows = existing_rows(connection, mon_date, &[ip]).await?;
    Ok(rows.into_values().next().map(|(_, values)| values))
}

/// The row of each address on a day, by [`address_key`]: of several spellings the one that was asked for, else the oldest.
async fn existing_rows(
    connection: &mut MySqlConnection,
    mon_date: NaiveDate,
    ips: &[&str],
) -> Result<HashMap<String, (u64, ResourceValues)>, sqlx::Error> {
    let mut statement = TextStatement::new("SELECT CONVERT(ip USING utf8mb4), CAST(id AS UNSIGNED)");
    for column in VALUE_COLUMNS {
        // Doubles, whatever number type the CMDB's column has.
        statement.sql(", ").sql(column).sql(" + 0E0");
    }
    statement.sql(" FROM server_resources WHERE mon_date = ").value(mon_date);
    statement.sql(" AND ip IN ").list(ips.iter().flat_map(|ip| {
        let spellings = ip.parse().map_or_else(|_| Vec::new(), HostIp::spellings);
        std::iter::once((*ip).to_owned()).chain(spellings)
    }));
    let asked: HashSet<&str> = ips.iter().copied().collect();
    let mut existing: HashMap<String, (bool, u64, ResourceValues)> = HashMap::with_capacity(ips.len());
    for row in statement.fetch_rows(connection).await? {
        let ip: String = row.try_get(0)?;
        let (is_other, id) = (!asked.contains(ip.as_str()), row.try_get(1)?);
        let mut values: ResourceValues = ResourceValues::default();
        for (position, value) in values.iter_mut().enumerate() {
            *value = row.try_get(position + 2)?;
        }
        let kept = existing.entry(address_key(&ip)).or_insert((is_other, id, values));
        if (is_other, id) < (kept.0, kept.1) {
            *kept = (is_other, id, values);
        }
    }
    Ok(existing.into_iter().map(|(address, (_, id, values))| (address, (id, values))).collect())
}

async fn write(
    connection: &mut MySqlConnection,
    (mon_date, now): (NaiveDate, &CmdbNow),
    rows: &[&ServerResource],
    ids: Option<&HashMap<String, u64>>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut statement = TextStatement::new("INSERT INTO server_resources (");
    if ids.is_some() {
        statement.sql("id, ");
    }
    statement.sql("pool_id, ip, mon_date, ");
    for column in VALUE_COLUMNS {
        statement.sql(column).sql(", ");
    }
    statement.sql("create_time, update_time, is_deleted) ");
    statement.rows(rows, |values, row| {
        if let Some(ids) = ids {
            values.value(ids.get(&address_key(&row.ip)));
        }
        values.value(row.pool_id).value(row.ip.as_str()).value(mon_date);
        for value in row.values() {
            values.value(value);
        }
        values.value(now.for_column("create_time")).value(now.for_column("update_time")).sql("0");
    });
    statement.sql(" ON DUPLICATE KEY UPDATE pool_id = VALUES(pool_id), ");
    for column in VALUE_COLUMNS {
        statement.sql(column).sql(" = VALUES(").sql(column).sql("), ");
    }
    statement.sql("update_time = VALUES(update_time), is_deleted = 0, delete_time = NULL");
    statement.execute(connection).await?;
    Ok(())
}

/// A row as the REST contract shows it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are the columns of the CMDB, by name")]
pub struct HostDay {
    pub ip: String,
    pub mon_date: NaiveDate,
    pub cpu_load: Option<f64>,
    pub used_memory: Option<f64>,
    pub used_disk: Option<f64>,
    pub cpu_percent_max: Option<f64>,
    pub cpu_percent_avg: Option<f64>,
    pub cpu_percent_min: Option<f64>,
    pub mem_percent_max: Option<f64>,
    pub mem_percent_avg: Option<f64>,
    pub mem_percent_min: Option<f64>,
    pub disk_percent_max: Option<f64>,
    pub disk_percent_avg: Option<f64>,
    pub disk_percent_min: Option<f64>,
}

/// The live rows of a host from a day on, newest first, at most `limit`. `ips` are the ways to write its address. The
/// arithmetic makes doubles of whatever number type the CMDB's columns have.
pub async fn of_host(
    connection: &mut MySqlConnection,
    ips: &[String],
    from: NaiveDate,
    limit: u32,
) -> Result<Vec<HostDay>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT ip, mon_date, cpu_load + 0E0 AS cpu_load, used_memory + 0E0 AS used_memory,
                used_disk + 0E0 AS used_disk, cpu_percent_max + 0E0 AS cpu_percent_max,
                cpu_percent_avg + 0E0 AS cpu_percent_avg, cpu_percent_min + 0E0 AS cpu_percent_min,
                mem_percent_max + 0E0 AS mem_percent_max, mem_percent_avg + 0E0 AS mem_percent_avg,
                mem_percent_min + 0E0 AS mem_percent_min, disk_percent_max + 0E0 AS disk_percent_max,
                disk_percent_avg + 0E0 AS disk_percent_avg, disk_percent_min + 0E0 AS disk_percent_min
         FROM server_resources WHERE ip IN (",
    );
    let mut list = query.separated(", ");
    for ip in ips {
        list.push_bind(ip);
    }
    query
        .push(") AND mon_date >= ")
        .push_bind(from)
        .push(" AND COALESCE(is_deleted, 0) = 0 ORDER BY mon_date DESC, ip LIMIT ")
        .push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}
