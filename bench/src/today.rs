//! The shape of the program in use today, as the thing to compare with: for each host one search and three statements (pool
//! look-up, upsert of `server_resources`, insert of the detail), ten hosts at once.
//!
//! It comes in two manners. [`Manner::Best`] has every advantage that does not change the shape. [`Manner::Usual`] does what
//! the libraries of such a program do unless told otherwise. Both have prepared statements, log nothing, and have no
//! ledger and no counters. A write that `MySQL` breaks off as a deadlock is made again, as it must be to compare like with
//! like.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;
use hostsync_shared::database::{Fault, fault};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::mysql::MySqlArguments;
use sqlx::{Connection, MySql, MySqlConnection};
use tokio::task::JoinSet;

use crate::sample;

/// Hosts at once.
const AT_ONCE: usize = 10;

/// How it treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manner {
    /// Ten connections to the database and ten to the search engine are kept, each statement commits by itself, READ
    /// COMMITTED (else upserts of neighbours meet in gap locks and deadlock on `MySQL`)
    Best,
    /// As Go's database/sql, net/http and gorm by default: two idle connections are kept to each, the others are opened and
    /// closed as they are needed, and each write stands in a transaction of its own
    Usual,
}

impl Manner {
    /// Connections that are kept while nobody uses them: `defaultMaxIdleConns` of database/sql,
    /// `DefaultMaxIdleConnsPerHost` of net/http.
    fn kept(self) -> usize {
        match self {
            Self::Best => AT_ONCE,
            Self::Usual => 2,
        }
    }
}

/// What it works with.
#[derive(Debug, Clone)]
pub struct Today {
    /// `mysql://…/db`, a database of its own.
    pub database_url: String,
    /// Search engine.
    pub elasticsearch_url: String,
    /// Index.
    pub index: String,
    /// Time read, up to the start of a run.
    pub range: TimeDelta,
    /// How it treats its connections.
    pub manner: Manner,
}

/// How a run went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Hosts written.
    pub success: usize,
    /// Hosts without documents.
    pub no_data: usize,
    /// Hosts outside the pool.
    pub not_in_pool: usize,
}

#[derive(Deserialize)]
struct Answer {
    hits: Hits,
    aggregations: Aggregations,
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
struct Aggregations {
    cpu: Stats,
    memory: Stats,
    disk: Stats,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct Stats {
    max: Option<f64>,
    avg: Option<f64>,
    min: Option<f64>,
}

impl Stats {
    fn percent_of(self, capacity_gb: Option<u32>) -> Self {
        let Some(capacity_gb) = capacity_gb.filter(|gb| *gb > 0) else { return Self::default() };
        let percent = |value: Option<f64>| value.map(|value| value / f64::from(capacity_gb) * 100.0);
        Self { max: percent(self.max), avg: percent(self.avg), min: percent(self.min) }
    }
}

#[derive(sqlx::FromRow)]
struct PoolRow {
    id: u32,
    host_name: String,
    ram: Option<u32>,
    disk_size: Option<u32>,
}

impl Today {
    /// Syncs `hosts` and returns when the last one is written. `done` counts hosts as they are finished.
    ///
    /// # Errors
    ///
    /// The first of any host: a benchmark must not compare with failures.
    pub async fn run(&self, hosts: Arc<Vec<String>>, done: Arc<AtomicUsize>) -> anyhow::Result<Outcome> {
        let to = sample::now();
        let window = (to - self.range, to);
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(self.manner.kept()).build()?;
        let mut connection = MySqlConnection::connect(&self.database_url).await?;
        let execution_id = begin(&mut connection, to).await?;
        let connections =
            Arc::new(Connections { url: self.database_url.clone(), manner: self.manner, idle: Mutex::default() });
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let slot = Slot {
                connections: Arc::clone(&connections),
                client: client.clone(),
                url: format!("{}/{}/_search", self.elasticsearch_url, self.index),
                window,
                execution_id,
            };
            let (hosts, next, done) = (Arc::clone(&hosts), Arc::clone(&next), Arc::clone(&done));
            tasks.spawn(async move {
                let mut outcome = Outcome::default();
                while let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    slot.sync(host, &mut outcome).await.with_context(|| format!("host {host}"))?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(outcome)
            });
        }
        let mut outcome = Outcome::default();
        while let Some(slot) = tasks.join_next().await {
            let slot = slot??;
            outcome.success += slot.success;
            outcome.no_data += slot.no_data;
            outcome.not_in_pool += slot.not_in_pool;
        }
        end(&mut connection, execution_id, hosts.len(), outcome).await?;
        Ok(outcome)
    }
}

/// The connections that are kept while nobody uses them.
struct Connections {
    url: String,
    manner: Manner,
    idle: Mutex<Vec<MySqlConnection>>,
}

impl Connections {
    async fn take(&self) -> sqlx::Result<MySqlConnection> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = kept {
            return Ok(connection);
        }
        let mut connection = MySqlConnection::connect(&self.url).await?;
        if self.manner == Manner::Best {
            sqlx::query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").execute(&mut connection).await?;
        }
        Ok(connection)
    }

    async fn give_back(&self, connection: MySqlConnection) -> sqlx::Result<()> {
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < self.manner.kept() {
                idle.push(connection);
                return Ok(());
            }
        }
        connection.close().await
    }

    /// Runs a statement that writes.
    async fn write(&self, query: sqlx::query::Query<'_, MySql, MySqlArguments>) -> sqlx::Result<()> {
        let mut connection = self.take().await?;
        match self.manner {
            Manner::Best => {
                query.execute(&mut connection).await?;
            }
            Manner::Usual => {
                let mut transaction = connection.begin().await?;
                query.execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
        }
        self.give_back(connection).await
    }
}

/// One of the ten.
struct Slot {
    connections: Arc<Connections>,
    client: reqwest::Client,
    url: String,
    window: (DateTime<Utc>, DateTime<Utc>),
    execution_id: u64,
}

impl Slot {
    async fn sync(&self, host: &str, outcome: &mut Outcome) -> anyhow::Result<()> {
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

    async fn look_up(&self, host: &str) -> anyhow::Result<Option<PoolRow>> {
        let mut connection = self.connections.take().await?;
        let row = sqlx::query_as(
            "SELECT id, host_name, ram, disk_size FROM hosts_pool WHERE host_ip = ? AND is_deleted = 0 LIMIT 1",
        )
        .bind(host)
        .fetch_optional(&mut connection)
        .await?;
        self.connections.give_back(connection).await?;
        Ok(row)
    }

    async fn upsert(&self, host: &str, pool: &PoolRow, found: &Aggregations) -> sqlx::Result<()> {
        let (memory, disk) = (found.memory.percent_of(pool.ram), found.disk.percent_of(pool.disk_size));
        let query = sqlx::query(
            "INSERT INTO server_resources
                 (pool_id, ip, mon_date, used_memory, used_disk, cpu_load, cpu_percent_max, cpu_percent_avg,
                  cpu_percent_min, mem_percent_max, mem_percent_avg, mem_percent_min, disk_percent_max,
                  disk_percent_avg, disk_percent_min, create_time, update_time)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(), UTC_TIMESTAMP())
             ON DUPLICATE KEY UPDATE pool_id = VALUES(pool_id), used_memory = VALUES(used_memory),
                 used_disk = VALUES(used_disk), cpu_load = VALUES(cpu_load),
                 cpu_percent_max = VALUES(cpu_percent_max), cpu_percent_avg = VALUES(cpu_percent_avg),
                 cpu_percent_min = VALUES(cpu_percent_min), mem_percent_max = VALUES(mem_percent_max),
                 mem_percent_avg = VALUES(mem_percent_avg), mem_percent_min = VALUES(mem_percent_min),
                 disk_percent_max = VALUES(disk_percent_max), disk_percent_avg = VALUES(disk_percent_avg),
                 disk_percent_min = VALUES(disk_percent_min), update_time = VALUES(update_time)",
        )
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
        self.connections.write(query).await
    }

    async fn insert_detail(
        &self,
        host: &str,
        pool: Option<&PoolRow>,
        status: &str,
        answer: Option<&Answer>,
    ) -> anyhow::Result<()> {
        let found = answer.map(|answer| &answer.aggregations);
        let query = sqlx::query(
            "INSERT INTO es_sync_execution_detail
                 (execution_id, host_ip, host_name, sync_status, max_cpu, avg_cpu, max_memory, avg_memory, max_disk,
                  avg_disk, data_point_count, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(3))",
        )
        .bind(self.execution_id)
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
        Ok(self.connections.write(query).await?)
    }
}

/// Whether a write is done; it is to be made again if another one was preferred to it.
fn written(outcome: sqlx::Result<()>) -> sqlx::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if fault(&error) == Fault::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}

async fn begin(connection: &mut MySqlConnection, at: DateTime<Utc>) -> sqlx::Result<u64> {
    let result = sqlx::query(
        "INSERT INTO es_sync_execution_log (task_id, task_name, execution_time, execution_status, created_at)
         VALUES (0, 'today', ?, 'running', UTC_TIMESTAMP(3))",
    )
    .bind(at)
    .execute(connection)
    .await?;
    Ok(result.last_insert_id())
}

async fn end(connection: &mut MySqlConnection, id: u64, hosts: usize, outcome: Outcome) -> sqlx::Result<()> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    sqlx::query(
        "UPDATE es_sync_execution_log
         SET execution_status = 'success', total_hosts = ?, success_count = ?, not_in_pool_count = ?,
             duration_ms = TIMESTAMPDIFF(MICROSECOND, execution_time, UTC_TIMESTAMP(3)) DIV 1000
         WHERE id = ?",
    )
    .bind(count(hosts))
    .bind(count(outcome.success))
    .bind(count(outcome.not_in_pool))
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}
