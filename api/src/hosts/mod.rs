//! One host: over all executions (here), in one of them and why (`explain`), before there is a task (`probe`),
//! how fresh all of them are (`freshness`) and which are left out of that (`mute`).
//!
//! Knows no transport.

pub(crate) mod explain;
pub(crate) mod freshness;
pub(crate) mod mute;
pub(crate) mod probe;

use chrono::{Days, NaiveDate};
use hostsync_model::host::HostIp;
use hostsync_store::database;
use hostsync_store::tables::details::{self, views::HostResult};
use hostsync_store::tables::hosts_pool::{self, PoolEntry};
use hostsync_store::tables::server_resources::{self, HostDay};

use crate::database::{Database, within_bound};
use crate::error::ApiError;
use crate::request::{Problems, Submitted, Whole, request};

/// Longest address of a host, in characters: the width of its columns.
const MAX_HOST_CHARS: usize = 50;

/// Most days in an answer.
pub(crate) const MAX_DAYS: u64 = 366;

/// Days when the caller does not say how many.
pub(crate) const DEFAULT_DAYS: u64 = 30;

/// Most results in an answer.
pub(crate) const MAX_RESULTS: u64 = 100;

/// Results when the caller does not say how many.
pub(crate) const DEFAULT_RESULTS: u64 = 20;

request! {
    /// How much of a host to show.
    pub(crate) struct HostQuery as "HostQuery" {
        /// Days to show, back from today (UTC).
        days: Option<Whole<1, MAX_DAYS>>, default DEFAULT_DAYS;
        /// Most results to show.
        limit: Option<Whole<1, MAX_RESULTS>>, default DEFAULT_RESULTS;
    }
}

/// What is known of a host.
#[derive(Debug, Clone)]
pub(crate) struct HostHistory {
    /// `None`: the pool does not have it.
    pub(crate) pool: Option<PoolEntry>,
    /// Newest first.
    pub(crate) days: Vec<HostDay>,
    /// Newest first.
    pub(crate) results: Vec<HostResult>,
}

/// The ways in which a host may stand in our tables: as it was given, and in the usual spellings of its address. What is no
/// address may stand in the CMDB's pool all the same.
///
/// # Errors
///
/// The text fits no column.
pub(crate) fn spellings(host_ip: &str) -> Result<Vec<String>, Problems> {
    let length = host_ip.chars().count();
    if length == 0 || length > MAX_HOST_CHARS {
        return Err(Problems::of("host_ip", format!("must have 1 to {MAX_HOST_CHARS} characters, not {length}")));
    }
    match host_ip.parse::<HostIp>() {
        Ok(address) => {
            let mut spellings = address.spellings();
            if !spellings.iter().any(|spelling| spelling == host_ip) && host_ip.is_ascii() {
                spellings.push(host_ip.to_owned());
            }
            Ok(spellings)
        }
        Err(_) if host_ip.is_ascii() => Ok(vec![host_ip.to_owned()]),
        Err(error) => Err(Problems::of("host_ip", error.to_string())),
    }
}

/// What is known of a host.
///
/// # Errors
///
/// Bad fields, a host of which nothing is known, the database.
pub(crate) async fn look(
    database: &Database,
    host_ip: &str,
    submitted: Submitted<HostQuery>,
) -> Result<HostHistory, ApiError> {
    let query = submitted.checked()?;
    let mut ips = spellings(host_ip)?;
    let days = query.days.map_or(DEFAULT_DAYS, |Whole(days)| days);
    let results = u32::try_from(query.limit.map_or(DEFAULT_RESULTS, |Whole(limit)| limit)).unwrap_or(u32::MAX);
    let seen = within_bound(async {
        let mut connection = database.connection().await?;
        let today = database::now(&mut connection).await?.date_naive();
        let from = today.checked_sub_days(Days::new(days - 1)).unwrap_or(NaiveDate::MIN);
        // A zone ahead of UTC may have begun tomorrow, and two spellings may have a row.
        let limit = u32::try_from((days + 1) * 2).unwrap_or(u32::MAX);
        let pool = hosts_pool::find(&mut connection, host_ip).await?;
        // The CMDB may write it as nobody else does.
        ips.extend(pool.iter().map(|entry| entry.host_ip.clone()).filter(|ip| !ips.contains(ip)).collect::<Vec<_>>());
        Ok(HostHistory {
            pool,
            days: server_resources::of_host(&mut connection, &ips, from, limit).await?,
            results: details::views::last_of_host(&mut connection, &ips, results).await?,
        })
    })
    .await?;
    if seen.pool.is_none() && seen.days.is_empty() && seen.results.is_empty() {
        return Err(ApiError::HostNotFound(host_ip.to_owned()));
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_looked_for_by_its_value() {
        let of = |text: &str| spellings(text).expect(text);
        assert_eq!(of("2001:0DB8::0001"), of("2001:db8::1"));
        assert_eq!(of("2001:DB8:0::1").last().map(String::as_str), Some("2001:DB8:0::1"), "as it was given, too");
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("web-1"), ["web-1"]);
        for text in ["", "数据库", "10.0.0.1\u{200b}x", &"x".repeat(51)] {
            assert!(spellings(text).is_err(), "{text}");
        }
    }
}
