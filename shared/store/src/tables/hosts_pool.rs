//! `hosts_pool`: the CMDB's list of hosts. Its schema is never altered; a full sync adds rows, nothing changes one.
//!
//! Its rows may be anything: an address in any spelling, twice, no address, no text at all. What is read here is cut to what
//! hostsync can hold.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::MySqlConnection;

use super::ROWS_PER_STATEMENT;
use super::cmdb_clock::CmdbNow;
use super::text_statement::TextStatement;
use hostsync_model::host::{HostIp, address_key};

/// What hostsync reads of a host in the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolHost {
    /// `hosts_pool.id`; the lowest where several rows hold the same address.
    pub id: u32,
    /// Its address as it stands in the pool.
    pub host_ip: String,
    /// Its name.
    pub host_name: String,
    /// GB; NULL or 0 = unknown.
    pub ram_gb: Option<u32>,
    /// GB; NULL or 0 = unknown.
    pub disk_gb: Option<u32>,
    /// How another live row spells the same address.
    pub repeated_as: Option<String>,
    /// Whether any host has a row of state (`es_sync_host_state`).
    pub any_state: bool,
}

/// A row of the pool as the REST contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are those of the REST contract, by name")]
pub struct PoolEntry {
    pub id: u64,
    pub host_ip: String,
    pub host_name: String,
    pub is_deleted: bool,
    pub ram: Option<u64>,
    pub disk_size: Option<u64>,
    pub any_state: bool,
}

fn known_gb(value: Option<u64>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

/// Whatever character set the CMDB's columns have, and binary ones. Whether any host has a row of state is read on
/// the way, once a statement, so that batches need no statement for it while none has.
const ENTRY_COLUMNS: &str = "SELECT CAST(id AS UNSIGNED) AS id, LEFT(CONVERT(host_ip USING utf8mb4), 100) AS host_ip, \
     LEFT(COALESCE(CONVERT(host_name USING utf8mb4), ''), 255) AS host_name, COALESCE(is_deleted, 0) <> 0 AS is_deleted, \
     CAST(ram AS UNSIGNED) AS ram, CAST(disk_size AS UNSIGNED) AS disk_size, \
     EXISTS (SELECT 1 FROM es_sync_host_state) AS any_state FROM hosts_pool WHERE ";

/// The live hosts among `host_ips`, by [`address_key`].
pub async fn live(
    connection: &mut MySqlConnection,
    host_ips: &[&str],
) -> Result<HashMap<String, PoolHost>, sqlx::Error> {
    let mut hosts: HashMap<String, PoolHost> = HashMap::with_capacity(host_ips.len());
    for row in entries(connection, host_ips).await?.into_iter().filter(|row| !row.is_deleted) {
        match hosts.entry(address_key(&row.host_ip)) {
            Entry::Occupied(mut host) => host.get_mut().repeated_as = Some(row.host_ip),
            Entry::Vacant(place) => {
                place.insert(PoolHost {
                    id: u32::try_from(row.id).unwrap_or(u32::MAX),
                    host_ip: row.host_ip,
                    host_name: row.host_name,
                    ram_gb: known_gb(row.ram),
                    disk_gb: known_gb(row.disk_size),
                    repeated_as: None,
                    any_state: row.any_state,
                });
            }
        }
    }
    Ok(hosts)
}

/// The rows of `host_ips`, deleted or not, in order of id. A plain read: the CMDB's rows are not locked.
///
/// The key of the column knows texts, a host is a value. So the usual spellings are asked for, and only what has no live row
/// by them is looked for by its value: within the rows that begin as any spelling of it must.
async fn entries(connection: &mut MySqlConnection, host_ips: &[&str]) -> Result<Vec<PoolEntry>, sqlx::Error> {
    let mut all = Vec::with_capacity(host_ips.len());
    for chunk in host_ips.chunks(ROWS_PER_STATEMENT) {
        let asked: BTreeMap<String, Option<HostIp>> =
            chunk.iter().map(|text| (address_key(text), text.parse().ok())).collect();
        let mut statement = TextStatement::new(ENTRY_COLUMNS);
        statement.sql("host_ip IN ").list(asked.iter().flat_map(|(key, address)| match address {
            Some(address) if address.addr().is_ipv6() => address.spellings(),
            _ => vec![key.clone()],
        }));
        let mut found: Vec<PoolEntry> = statement.fetch_all(connection).await?;
        let live: HashSet<String> =
            found.iter().filter(|row| !row.is_deleted).map(|row| address_key(&row.host_ip)).collect();
        let missing = asked.iter().filter(|(key, _)| !live.contains(*key));
        let missing: Vec<HostIp> = missing.filter_map(|(_, address)| *address).collect();
        found.extend(entries_by_value(connection, &missing).await?);
        found.retain(|row| asked.contains_key(&address_key(&row.host_ip)));
        all.extend(found);
    }
    all.sort_by_key(|row| row.id);
    all.dedup_by_key(|row| row.id);
    Ok(all)
}

/// Rows that hold one of `addresses` in whatever spelling, and some that do not. Reads the key of the column in the ranges in
/// which they may stand: for IPv4 a few rows, for IPv6 those that share the first group.
async fn entries_by_value(
    connection: &mut MySqlConnection,
    addresses: &[HostIp],
) -> Result<Vec<PoolEntry>, sqlx::Error> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = TextStatement::new(ENTRY_COLUMNS);
    // The value first: it is cheaper than many ranges, and the ranges are for the key.
    statement.sql(
        "INET6_ATON(REPLACE(REPLACE(REPLACE(REPLACE(host_ip, ' ', ''), '\\t', ''), '\\r', ''), '\\n', '')) IN (NULL",
    );
    for address in addresses {
        statement.sql(", INET6_ATON(").value(address.to_string()).sql(")");
        if address.addr().is_ipv4() {
            statement.sql(", INET6_ATON(").value(format!("::ffff:{address}")).sql(")");
        }
    }
    // Rows that begin with a blank begin as nothing else.
    let blanks = [" ", "\t"].map(str::to_owned);
    let prefixes: BTreeSet<String> = addresses.iter().flat_map(|address| address.prefixes()).chain(blanks).collect();
    let mut separator = ") AND (host_ip LIKE ";
    for prefix in prefixes {
        statement.sql(separator).value(prefix + "%");
        separator = " OR host_ip LIKE ";
    }
    statement.sql(")");
    statement.fetch_all(connection).await
}

/// A host, deleted or not; the live one first where several rows hold its address. `None`: it was never there.
pub async fn find(connection: &mut MySqlConnection, ip: &str) -> Result<Option<PoolEntry>, sqlx::Error> {
    let mut found = entries(connection, &[ip]).await?;
    found.sort_by_key(|row| row.is_deleted);
    Ok(found.into_iter().next())
}

/// Longest `host_name`, in characters: the width of the column.
pub const MAX_HOST_NAME_CHARS: usize = 50;

/// A host to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPoolHost {
    /// Its address.
    pub host_ip: String,
    /// Its name, cut to [`MAX_HOST_NAME_CHARS`] when it is written; empty if it is not known.
    pub host_name: String,
}

/// Those of `host_ips` that have a row, deleted or not, by [`address_key`].
pub async fn known(connection: &mut MySqlConnection, host_ips: &[&str]) -> Result<HashSet<String>, sqlx::Error> {
    Ok(entries(connection, host_ips).await?.into_iter().map(|row| address_key(&row.host_ip)).collect())
}

/// A live row of the pool as it stands, whatever it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct PoolRow {
    /// `hosts_pool.id`.
    pub id: u64,
    /// Cut to 100 characters.
    pub host_ip: Option<String>,
    /// Cut to the width of the detail's column.
    pub host_name: Option<String>,
}

/// The next live rows after the row `after`, in order of id, at most `limit`. A plain read: no row is locked.
pub async fn rows_after(connection: &mut MySqlConnection, after: u64, limit: u32) -> Result<Vec<PoolRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT CAST(id AS UNSIGNED) AS id, LEFT(CONVERT(host_ip USING utf8mb4), 100) AS host_ip,
                LEFT(CONVERT(host_name USING utf8mb4), 255) AS host_name
         FROM hosts_pool WHERE id > ? AND COALESCE(is_deleted, 0) = 0 ORDER BY hosts_pool.id LIMIT ?",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// How many live rows there are among the next `limit` of them with ids in `(after, up_to]`, and the id of the last.
pub async fn count_live(
    connection: &mut MySqlConnection,
    after: u64,
    up_to: u64,
    limit: u32,
) -> Result<(u64, Option<u64>), sqlx::Error> {
    sqlx::query_as(
        "SELECT CAST(COUNT(*) AS UNSIGNED), CAST(MAX(id) AS UNSIGNED) FROM (
             SELECT id FROM hosts_pool WHERE id > ? AND id <= ? AND COALESCE(is_deleted, 0) = 0 ORDER BY id LIMIT ?
         ) AS part",
    )
    .bind(after)
    .bind(up_to)
    .bind(limit)
    .fetch_one(connection)
    .await
}

/// The rows of these ids, deleted or not, in order of id.
pub async fn by_ids(connection: &mut MySqlConnection, ids: &[u64]) -> Result<Vec<PoolEntry>, sqlx::Error> {
    let mut rows = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(ENTRY_COLUMNS);
        statement.sql("id IN ").list(chunk).sql(" ORDER BY hosts_pool.id");
        rows.extend(statement.fetch_all::<PoolEntry>(connection).await?);
    }
    Ok(rows)
}

/// Which of these ids have a row, in order, each with whether that is live.
pub async fn liveness(connection: &mut MySqlConnection, ids: &[u64]) -> Result<Vec<(u64, bool)>, sqlx::Error> {
    let mut rows = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let mut statement =
            TextStatement::new("SELECT CAST(id AS UNSIGNED), COALESCE(is_deleted, 0) = 0 FROM hosts_pool WHERE id IN ");
        statement.list(chunk).sql(" ORDER BY hosts_pool.id");
        rows.extend(statement.fetch_all::<(u64, bool)>(connection).await?);
    }
    Ok(rows)
}

/// The ids of the next live rows with ids in `(after, up_to]` whose address begins with `prefix` as it stands there, in order, at most
/// `limit`.
pub async fn live_ids_after(
    connection: &mut MySqlConnection,
    after: u64,
    up_to: u64,
    prefix: Option<&str>,
    limit: u32,
) -> Result<Vec<u64>, sqlx::Error> {
    let mut statement =
        TextStatement::new("SELECT CAST(id AS UNSIGNED) FROM hosts_pool WHERE COALESCE(is_deleted, 0) = 0 AND id > ");
    statement.value(after).sql(" AND id <= ").value(up_to);
    if let Some(prefix) = prefix {
        let escaped: String =
            prefix.chars().flat_map(|c| matches!(c, '%' | '_' | '!').then_some('!').into_iter().chain([c])).collect();
        statement.sql(" AND host_ip LIKE ").value(escaped + "%").sql(" ESCAPE '!'");
    }
    statement.sql(" ORDER BY hosts_pool.id LIMIT ").value(limit);
    statement.fetch_column(connection).await
}

/// Adds hosts, at most [`ROWS_PER_STATEMENT`], each of which has no row as far as the caller knows. All or none: a plain
/// insert, so that what the CMDB's table refuses is told and nothing is written that was not asked for.
///
/// # Errors
///
/// A duplicate: another has added one of them meanwhile. Anything else is the CMDB's table refusing the rows.
pub async fn add(connection: &mut MySqlConnection, hosts: &[NewPoolHost]) -> Result<(), sqlx::Error> {
    if hosts.is_empty() {
        return Ok(());
    }
    let now = CmdbNow::of(connection, "hosts_pool").await?;
    let mut statement =
        TextStatement::new("INSERT INTO hosts_pool (host_ip, host_name, is_deleted, create_time, update_time) ");
    statement.rows(hosts, |row, host| {
        let name: String = host.host_name.chars().take(MAX_HOST_NAME_CHARS).collect();
        row.value(&host.host_ip).value(name).sql("0");
        row.value(now.for_column("create_time")).value(now.for_column("update_time"));
    });
    statement.execute(connection).await?;
    Ok(())
}
