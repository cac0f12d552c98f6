//! `hosts_pool`: the CMDB's list of hosts. Its schema is never altered; a full sync adds rows, nothing changes one.

use std::collections::{HashMap, HashSet};

use sqlx::{MySqlConnection, QueryBuilder};

use super::ROWS_PER_STATEMENT;
use super::text_statement::TextStatement;
use crate::host::address_key;

/// What hostsync reads of a host in the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolHost {
    /// `hosts_pool.id`.
    pub id: u32,
    /// Its name.
    pub host_name: String,
    /// GB; NULL or 0 = unknown.
    pub ram_gb: Option<u32>,
    /// GB; NULL or 0 = unknown.
    pub disk_gb: Option<u32>,
}

#[derive(sqlx::FromRow)]
struct PoolRow {
    id: u64,
    host_ip: String,
    host_name: String,
    ram: Option<u64>,
    disk_size: Option<u64>,
}

fn known_gb(value: Option<u64>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

/// The live hosts among `host_ips`, by [`address_key`]. A plain read: the CMDB's rows are not locked.
///
/// # Errors
///
/// The database's.
pub async fn live(
    connection: &mut MySqlConnection,
    host_ips: &[&str],
) -> Result<HashMap<String, PoolHost>, sqlx::Error> {
    let mut hosts = HashMap::with_capacity(host_ips.len());
    for chunk in host_ips.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new(
            "SELECT CAST(id AS UNSIGNED) AS id, host_ip, COALESCE(host_name, '') AS host_name,
                    CAST(ram AS UNSIGNED) AS ram, CAST(disk_size AS UNSIGNED) AS disk_size
             FROM hosts_pool WHERE is_deleted = 0 AND host_ip IN ",
        );
        statement.list(chunk);
        for row in statement.fetch_all::<PoolRow>(connection).await? {
            let host = PoolHost {
                id: u32::try_from(row.id).unwrap_or(u32::MAX),
                host_name: row.host_name,
                ram_gb: known_gb(row.ram),
                disk_gb: known_gb(row.disk_size),
            };
            hosts.insert(address_key(&row.host_ip), host);
        }
    }
    Ok(hosts)
}

/// The id of the last of the next `limit` live hosts after `after`; `None`: there are no more.
///
/// # Errors
///
/// The database's.
pub async fn chunk_end(connection: &mut MySqlConnection, after: u32, limit: u32) -> Result<Option<u32>, sqlx::Error> {
    let end: Option<u64> = sqlx::query_scalar(
        "SELECT CAST(MAX(id) AS UNSIGNED) FROM
             (SELECT id FROM hosts_pool WHERE id > ? AND is_deleted = 0 ORDER BY id LIMIT ?) AS chunk",
    )
    .bind(after)
    .bind(limit)
    .fetch_one(connection)
    .await?;
    Ok(end.and_then(|end| u32::try_from(end).ok()))
}

/// A host of the pool as the REST contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields are those of the REST contract, by name")]
pub struct PoolEntry {
    pub host_ip: String,
    pub host_name: String,
    pub is_deleted: bool,
    pub ram: Option<u64>,
    pub disk_size: Option<u64>,
}

/// A host, deleted or not; the live one first where several ways to write its address stand. `None`: it was never there.
///
/// # Errors
///
/// The database's.
pub async fn find(connection: &mut MySqlConnection, ips: &[String]) -> Result<Option<PoolEntry>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT host_ip, COALESCE(host_name, '') AS host_name, COALESCE(is_deleted, 0) <> 0 AS is_deleted,
                CAST(ram AS UNSIGNED) AS ram, CAST(disk_size AS UNSIGNED) AS disk_size
         FROM hosts_pool WHERE host_ip IN (",
    );
    let mut list = query.separated(", ");
    for ip in ips {
        list.push_bind(ip);
    }
    query.push(") ORDER BY is_deleted LIMIT 1");
    query.build_query_as().fetch_optional(connection).await
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

/// Those of `host_ips` that have a row, deleted or not. A plain read: the CMDB's rows are not locked.
///
/// # Errors
///
/// The database's.
pub async fn known(connection: &mut MySqlConnection, host_ips: &[&str]) -> Result<HashSet<String>, sqlx::Error> {
    let mut known = HashSet::with_capacity(host_ips.len());
    for chunk in host_ips.chunks(ROWS_PER_STATEMENT) {
        let mut statement = TextStatement::new("SELECT host_ip FROM hosts_pool WHERE host_ip IN ");
        statement.list(chunk);
        known.extend(statement.fetch_column::<String>(connection).await?);
    }
    Ok(known)
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
    let mut statement =
        TextStatement::new("INSERT INTO hosts_pool (host_ip, host_name, is_deleted, create_time, update_time) ");
    statement.rows(hosts, |row, host| {
        let name: String = host.host_name.chars().take(MAX_HOST_NAME_CHARS).collect();
        row.value(&host.host_ip).value(name).sql("0").sql("CURRENT_TIMESTAMP").sql("CURRENT_TIMESTAMP");
    });
    statement.execute(connection).await?;
    Ok(())
}
