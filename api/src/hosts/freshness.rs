//! How fresh the hosts of the pool are, for a task or for the best one.
//!
//! Owns the filters and pages of the list. A page reads the hosts that may match and looks at each; what is counted over all
//! of them is the schedulers' sweep. Knows no transport.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use hostsync_model::execution::TaskId;
use hostsync_model::freshness::FreshnessState;
use hostsync_service::defaults::Defaults;
use hostsync_store::database;
use hostsync_store::freshness::{FreshnessCounts, HostFreshness, TaskFreshness, judge};
use hostsync_store::tables::host_states::HostState;
use hostsync_store::tables::hosts_pool::PoolEntry;
use hostsync_store::tables::{freshness, host_mutes, host_states, hosts_pool, tasks};
use sqlx::MySqlConnection;

use crate::database::{Database, within_bound};
use crate::error::ApiError;
use crate::request::{FreshnessList, MAX_ID, Page, Submitted, Whole, request, text_field};

/// Tasks that are looked at, the oldest first.
const TASKS: u32 = 10_000;

/// Hosts that are looked at together.
const HOSTS: u32 = 1_000;

/// Longest beginning of an address, in characters.
const MAX_PREFIX_CHARS: usize = 50;

text_field! {
    /// Beginning of an address as the pool writes it.
    HostPrefix, max MAX_PREFIX_CHARS, example "10.0."
}

request! {
    /// Which hosts to list by how fresh they are.
    pub(crate) struct FreshnessQuery as "FreshnessQuery" {
        /// How fresh they are for this task; without it the best task of each host counts.
        task_id: Option<Whole<1, MAX_ID>>, example 7;
        /// Only hosts in this state. Muted hosts are in none.
        state: Option<FreshnessState>, example "stale";
        /// Only hosts whose address begins so, as it stands in the pool.
        host: Option<HostPrefix>, example "10.0.";
        ..page: Page<FreshnessList>;
    }
}

/// A host and how fresh it is.
#[derive(Debug, Clone)]
pub(crate) struct FreshHost {
    pub(crate) entry: PoolEntry,
    pub(crate) freshness: HostFreshness,
    /// At least 0.
    pub(crate) age_seconds: Option<u64>,
    /// Its row of the task that counts; `None`: it succeeded in the last run, or there was none.
    pub(crate) row: Option<HostState>,
    /// `None`: it is not muted.
    pub(crate) muted_until: Option<DateTime<Utc>>,
}

/// How fresh hosts are.
#[derive(Debug, Clone)]
pub(crate) struct FreshnessShown {
    /// When all of them were counted; `None`: not yet.
    pub(crate) as_of: Option<DateTime<Utc>>,
    pub(crate) counts: Option<FreshnessCounts>,
    /// A page, in order of their ids in the pool.
    pub(crate) hosts: Vec<FreshHost>,
    pub(crate) next_cursor: Option<String>,
}

/// How fresh the hosts of a task are.
///
/// # Errors
///
/// Bad fields, no such task, the database.
pub(crate) async fn list(
    database: &Database,
    defaults: &Defaults,
    submitted: Submitted<FreshnessQuery>,
) -> Result<FreshnessShown, ApiError> {
    let query = submitted.checked()?;
    let task = query.task_id.map(|Whole(id)| TaskId(id));
    within_bound(async {
        let mut connection = database.connection().await?;
        let now = database::now(&mut connection).await?;
        let paces = tasks::paces(&mut connection, task, TASKS).await?;
        if let (Some(task), []) = (task, paces.as_slice()) {
            return Err(ApiError::TaskNotFound(task));
        }
        let known = freshness::rows(&mut connection, task).await?;
        let tasks = paces.iter().map(|pace| defaults.task_freshness(pace, known.get(&pace.id), now)).collect();
        let counted = known.get(&task.unwrap_or(freshness::BEST)).filter(|row| row.as_of.is_some());
        let (as_of, counts) = (counted.and_then(|row| row.as_of), counted.map(|row| row.counts));
        let prefix = query.host.map(|prefix| prefix.0.trim().to_ascii_lowercase()).filter(|prefix| !prefix.is_empty());
        let wanted = Wanted { task, tasks, state: query.state, prefix, now };
        let after = query.page.last_seen().unwrap_or(0);
        let mut hosts = wanted.hosts(&mut connection, after, query.page.rows_to_read() as usize).await?;
        let next_cursor = query.page.cut(&mut hosts, |host| host.entry.id);
        Ok(FreshnessShown { as_of, counts, hosts, next_cursor })
    })
    .await
}

/// What a list wants.
struct Wanted {
    task: Option<TaskId>,
    tasks: Vec<TaskFreshness>,
    state: Option<FreshnessState>,
    /// In small letters.
    prefix: Option<String>,
    now: DateTime<Utc>,
}

impl Wanted {
    /// The first hosts with ids above `after`, at most `limit`.
    async fn hosts(
        &self,
        connection: &mut MySqlConnection,
        mut after: u64,
        limit: usize,
    ) -> Result<Vec<FreshHost>, sqlx::Error> {
        let mut hosts = Vec::new();
        loop {
            let ids = self.candidates(connection, after).await?;
            let Some(last) = ids.last().copied() else { return Ok(hosts) };
            for host in self.look(connection, &ids).await? {
                hosts.push(host);
                if hosts.len() == limit {
                    return Ok(hosts);
                }
            }
            after = last;
        }
    }

    /// The next hosts that may be wanted: those without a row in the parts of the pool where these are in the wanted state,
    /// and those that have a row.
    async fn candidates(&self, connection: &mut MySqlConnection, after: u64) -> Result<Vec<u64>, sqlx::Error> {
        let mut ids: BTreeSet<u64> =
            host_states::hosts_after(connection, self.task, after, HOSTS).await?.into_iter().collect();
        let mut left = HOSTS;
        for (from, to) in self.parts() {
            if to > after && left > 0 {
                let found =
                    hosts_pool::live_ids_after(connection, from.max(after), to, self.prefix.as_deref(), left).await?;
                left -= u32::try_from(found.len()).unwrap_or(left).min(left);
                ids.extend(found);
            }
        }
        Ok(ids.into_iter().take(HOSTS as usize).collect())
    }

    /// The parts of the pool, each behind an id and up to another, in which hosts without a row are wanted.
    fn parts(&self) -> Vec<(u64, u64)> {
        let Some(wanted) = self.state else { return vec![(0, u64::MAX)] };
        let bounds: BTreeSet<u64> = self.tasks.iter().map(|task| task.pool_cursor).chain([u64::MAX]).collect();
        let mut parts: Vec<(u64, u64)> = Vec::new();
        let mut from = 0;
        for to in bounds {
            if judge(&self.tasks, to, &[], self.now).state == wanted {
                match parts.last_mut() {
                    Some(last) if last.1 == from => last.1 = to,
                    _ => parts.push((from, to)),
                }
            }
            from = to;
        }
        parts
    }

    /// Those of these hosts that are wanted.
    async fn look(&self, connection: &mut MySqlConnection, ids: &[u64]) -> Result<Vec<FreshHost>, sqlx::Error> {
        let entries = hosts_pool::by_ids(connection, ids).await?;
        let mut states: HashMap<u64, Vec<HostState>> = HashMap::new();
        for row in host_states::of_hosts(connection, self.task, ids).await? {
            states.entry(row.pool_id).or_default().push(row);
        }
        let muted: HashMap<u64, DateTime<Utc>> =
            host_mutes::of_hosts(connection, ids, self.now).await?.into_iter().collect();
        let mut hosts = Vec::new();
        for entry in entries.into_iter().filter(|entry| !entry.is_deleted) {
            let begins = |prefix: &String| entry.host_ip.to_ascii_lowercase().starts_with(prefix.as_str());
            if !self.prefix.as_ref().is_none_or(begins) {
                continue;
            }
            let mut rows = states.remove(&entry.id).unwrap_or_default();
            let since: Vec<_> = rows.iter().map(|row| (row.task_id, row.fresh_since)).collect();
            let freshness = judge(&self.tasks, entry.id, &since, self.now);
            let muted_until = muted.get(&entry.id).copied();
            if self.state.is_some_and(|state| state != freshness.state || muted_until.is_some()) {
                continue;
            }
            let row = freshness.row.filter(|row| *row < rows.len()).map(|row| rows.swap_remove(row));
            let age = freshness.since.map(|since| (self.now - since).num_seconds().max(0).unsigned_abs());
            hosts.push(FreshHost { entry, freshness, age_seconds: age, row, muted_until });
        }
        Ok(hosts)
    }
}
