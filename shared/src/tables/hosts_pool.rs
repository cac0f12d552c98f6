//! `hosts_pool`: the CMDB's list of hosts. Read here, never altered.

use std::collections::HashMap;

use sqlx::{MySqlConnection, QueryBuilder};

use super::ROWS_PER_STATEMENT;

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

/// The live hosts among `host_ips`, by address as it was asked for. A plain read: the CMDB's rows are not locked.
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
        let mut query = QueryBuilder::new(
            "SELECT CAST(id AS UNSIGNED), host_ip, COALESCE(host_name, ''), CAST(ram AS UNSIGNED),
                    CAST(disk_size AS UNSIGNED)
             FROM hosts_pool WHERE is_deleted = 0 AND host_ip IN (",
        );
        let mut list = query.separated(", ");
        for host_ip in chunk {
            list.push_bind(*host_ip);
        }
        query.push(")");
        let rows: Vec<(u64, String, String, Option<u64>, Option<u64>)> =
            query.build_query_as().persistent(false).fetch_all(&mut *connection).await?;
        for (id, host_ip, host_name, ram, disk) in rows {
            let gb = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0);
            hosts.insert(
                host_ip,
                PoolHost {
                    id: u32::try_from(id).unwrap_or(u32::MAX),
                    host_name,
                    ram_gb: gb(ram),
                    disk_gb: gb(disk),
                },
            );
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
