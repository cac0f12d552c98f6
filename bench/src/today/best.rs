//! The shape of today's program with every advantage that does not change it: no start-up, prepared statements, ten kept
//! connections to the database and ten to the search engine, each statement committing by itself, READ COMMITTED (else
//! upserts of neighbours meet in gap locks and deadlock on `MySQL`), no log, no ledger, no counters.
//!
//! A write that `MySQL` breaks off as a deadlock is made again, as it must be to compare like with like.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use chrono::{DateTime, Utc};
use hostsync_store::fault::Fault;
use serde::Deserialize;
use serde_json::json;
use sqlx::{Connection, MySqlConnection};
use tokio::task::JoinSet;

use super::{EXECUTION_ID, Setting, SyncCounts};

/// Hosts at once.
const AT_ONCE: usize = 10;

#[derive(Deserialize)]
struct Answer {
    hits: Hits,
    aggregations: HostLoad,
}

#[derive(Deserialize)]
struct Hits {
    total: Total,
}

#[derive(Deserialize)]
struct Total {
    value: u32,
}

#[derive(Deserialize)]
pub(super) struct HostLoad {
    pub(super) cpu: LoadStats,
    pub(super) memory: LoadStats,
    pub(super) disk: LoadStats,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
pub(super) struct LoadStats {
    pub(super) max: Option<f64>,
    pub(super) avg: Option<f64>,
    pub(super) min: Option<f64>,
}

impl LoadStats {
    pub(super) fn percent_of(self, capacity_gb: Option<u32>) -> Self {
        let Some(capacity_gb) = capacity_gb.filter(|gb| *gb > 0) else { return Self::default() };
        let percent = |value: Option<f64>| value.map(|value| value / f64::from(capacity_gb) * 100.0);
        Self { max: percent(self.max), avg: percent(self.avg), min: percent(self.min) }
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct PoolCapacity {
    pub(super) id: u32,
    pub(super) host_name: String,
    pub(super) ram: Option<u32>,
    pub(super) disk_size: Option<u32>,
}

/// Syncs `hosts` and returns when the last one is written. `done` counts hosts as they are finished.
///
/// # Errors
///
/// The first of any host: a benchmark must not compare with failures.
pub(super) async fn run(
    setting: &Setting,
    window: (DateTime<Utc>, DateTime<Utc>),
    hosts: &Arc<Vec<String>>,
    done: &Arc<AtomicUsize>,
) -> anyhow::Result<SyncCounts> {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(AT_ONCE).build()?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut slots = JoinSet::new();
    for _ in 0..AT_ONCE {
        let mut connection = MySqlConnection::connect(&setting.database_url).await?;
        sqlx::query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").execute(&mut connection).await?;
        let mut slot = Slot { connection, client: client.clone(), url: setting.search_url(), window };
        let (hosts, next, done) = (Arc::clone(hosts), Arc::clone(&next), Arc::clone(done));
        slots.spawn(async move {
            let mut outcome = SyncCounts::default();
            while let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                slot.sync(host, &mut outcome).await.with_context(|| format!("host {host}"))?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(outcome)
        });
    }
    let mut outcome = SyncCounts::default();
    while let Some(slot) = slots.join_next().await {
        outcome += slot??;
    }
    Ok(outcome)
}

/// One of the ten.
struct Slot {
    connection: MySqlConnection,
    client: reqwest::Client,
    url: String,
    window: (DateTime<Utc>, DateTime<Utc>),
}

impl Slot {
    async fn sync(&mut self, host: &str, outcome: &mut SyncCounts) -> anyhow::Result<()> {
        let Some(pool) = self.look_up(host).await? else {
            outcome.not_in_pool += 1;
            return self.insert_detail(host, None, "not_in_pool", None).await;
        };
        let answer = self.search(host).await?;
        if answer.hits.total.value == 0 {
            outcome.no_data += 1;
            return self.insert_detail(host, Some(&pool), "no_data", None).await;
        }
        while !written(self.upsert(host, &pool, &answer.aggregations).await)? {}
        outcome.success += 1;
        self.insert_detail(host, Some(&pool), "success", Some(&answer)).await
    }

    async fn search(&self, host: &str) -> anyhow::Result<Answer> {
        let (from, to) = self.window;
        let body = json!({
            "size": 0,
            "query": {"bool": {"filter": [
                {"range": {"@timestamp": {
                    "gte": from.timestamp_millis(), "lt": to.timestamp_millis(), "format": "epoch_millis",
                }}},
                {"term": {"hostIp.keyword": host}},
            ]}},
            "aggs": {
                "cpu": {"stats": {"field": "cpu"}},
                "memory": {"stats": {"field": "available_memory"}},
                "disk": {"stats": {"field": "total_disk_space_all"}},
            },
        });
        let response = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await?
            .error_for_status()?;
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }

    async fn look_up(&mut self, host: &str) -> anyhow::Result<Option<PoolCapacity>> {
        let row = sqlx::query_as(
            "SELECT id, host_name, ram, disk_size FROM hosts_pool WHERE host_ip = ? AND is_deleted = 0 LIMIT 1",
        )
        .bind(host)
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(row)
    }

    async fn upsert(&mut self, host: &str, pool: &PoolCapacity, found: &HostLoad) -> sqlx::Result<()> {
        let (memory, disk) = (found.memory.percent_of(pool.ram), found.disk.percent_of(pool.disk_size));
        let query = sqlx::query(concat!(
            insert_resources!(),
            "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(), UTC_TIMESTAMP())",
            or_write_over!()
        ))
        .bind(pool.id)
        .bind(host)
        .bind(self.window.1.date_naive())
        .bind(found.memory.max)
        .bind(found.disk.max)
        .bind(found.cpu.max)
        .bind(found.cpu.max)
        .bind(found.cpu.avg)
        .bind(found.cpu.min)
        .bind(memory.max)
        .bind(memory.avg)
        .bind(memory.min)
        .bind(disk.max)
        .bind(disk.avg)
        .bind(disk.min);
        query.execute(&mut self.connection).await.map(drop)
    }

    async fn insert_detail(
        &mut self,
        host: &str,
        pool: Option<&PoolCapacity>,
        status: &str,
        answer: Option<&Answer>,
    ) -> anyhow::Result<()> {
        let found = answer.map(|answer| &answer.aggregations);
        let query = sqlx::query(concat!(insert_details!(), "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(3))"))
            .bind(EXECUTION_ID)
            .bind(host)
            .bind(pool.map(|pool| pool.host_name.as_str()))
            .bind(status)
            .bind(found.and_then(|found| found.cpu.max))
            .bind(found.and_then(|found| found.cpu.avg))
            .bind(found.and_then(|found| found.memory.max))
            .bind(found.and_then(|found| found.memory.avg))
            .bind(found.and_then(|found| found.disk.max))
            .bind(found.and_then(|found| found.disk.avg))
            .bind(answer.map(|answer| answer.hits.total.value));
        query.execute(&mut self.connection).await?;
        Ok(())
    }
}

/// Whether a write is done; it is to be made again if another one was preferred to it.
fn written(outcome: sqlx::Result<()>) -> sqlx::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if Fault::of(&error) == Fault::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}
