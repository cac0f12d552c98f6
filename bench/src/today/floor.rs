//! The least that a job a host at batch cost can cost with these servers: one message a host published and consumed, for hundreds of
//! them one search, one look-up in the pool, one upsert and one insert of details in a transaction, and the acks. No ledger, no
//! retries, no counters, no evidence, no window that must not be overwritten.
//!
//! It speaks to the broker by hostsync's own client and to the database as hostsync does, by statements as text.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use hostsync_model::execution::{DetailId, ExecutionId, JobQueue};
use hostsync_queue::{Job, JobConsumer, OutgoingJob, Publisher, QueueDelivery, QueueSettings, Topology, ack_all};
use hostsync_store::fault::Fault;
use serde::Deserialize;
use serde_json::json;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use super::best::{HostLoad, PoolCapacity};
use super::{FIRST_OF_FLOOR, Setting, SyncCounts};

/// As hostsync's defaults: hosts in a batch, the wait for them, batches at once, jobs that are prefetched and published at once.
const BATCH_HOSTS: usize = 500;
const LINGER: Duration = Duration::from_millis(20);
const BATCHES_AT_ONCE: usize = 2;
const PREFETCH: u16 = 2_000;
const PUBLISHED_AT_ONCE: usize = 2_000;

/// Prefix of its queues.
const NAME: &str = "hostsync_bench_floor";

/// Its connections, kept from run to run as a service's are.
pub(crate) struct Floor {
    publisher: Publisher,
    consumer: Mutex<JobConsumer>,
    worker: Arc<FloorWorker>,
    next_execution: AtomicU64,
}

struct FloorWorker {
    database: MySqlPool,
    client: reqwest::Client,
    search_url: String,
}

impl Floor {
    /// Connects.
    ///
    /// # Errors
    ///
    /// A server does not answer.
    pub(crate) async fn start(setting: &Setting) -> anyhow::Result<Self> {
        let queue = QueueSettings {
            url: setting.rabbitmq_url.as_str().into(),
            topology: Topology::new(NAME),
            connection_name: NAME.to_owned(),
        };
        let database = MySqlPoolOptions::new()
            .max_connections(u32::try_from(BATCHES_AT_ONCE)?)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
                    sqlx::raw_sql(isolation).execute(connection).await.map(drop)
                })
            })
            .connect(&setting.database_url)
            .await?;
        Ok(Self {
            consumer: Mutex::new(JobConsumer::connect(&queue, JobQueue::Bulk, PREFETCH).await?),
            publisher: Publisher::new(queue),
            worker: Arc::new(FloorWorker {
                database,
                client: reqwest::Client::builder().no_proxy().build()?,
                search_url: setting.search_url(),
            }),
            next_execution: AtomicU64::new(FIRST_OF_FLOOR),
        })
    }

    /// As [`Setting::run`].
    pub(super) async fn run(
        &self,
        window: (DateTime<Utc>, DateTime<Utc>),
        hosts: &Arc<Vec<String>>,
        done: &Arc<AtomicUsize>,
    ) -> anyhow::Result<SyncCounts> {
        let execution_id = ExecutionId(self.next_execution.fetch_add(1, Ordering::Relaxed));
        let jobs: Vec<OutgoingJob> = hosts
            .iter()
            .zip(1..)
            .map(|(host, id)| OutgoingJob {
                job: Job {
                    execution_id,
                    detail_id: DetailId(id),
                    host_ip: host.clone(),
                    attempt: 1,
                    window_to: Some(window.1),
                },
                queue: JobQueue::Bulk,
            })
            .collect();
        let publisher = self.publisher.clone();
        let publishing = tokio::spawn(async move {
            for chunk in jobs.chunks(PUBLISHED_AT_ONCE) {
                let report = publisher.publish(chunk, &BTreeMap::new()).await;
                anyhow::ensure!(report.is_complete(), "the broker did not take all jobs: {:?}", report.error);
            }
            Ok(())
        });

        let mut consumer = self.consumer.lock().await;
        let slots = Arc::new(Semaphore::new(BATCHES_AT_ONCE));
        let mut batches: JoinSet<anyhow::Result<SyncCounts>> = JoinSet::new();
        let mut left = hosts.len();
        while left > 0 {
            let mut batch: Vec<QueueDelivery> = vec![consumer.next(|| 0).await?];
            while batch.len() < BATCH_HOSTS {
                let Ok(next) = tokio::time::timeout(LINGER, consumer.next(|| 1)).await else { break };
                batch.push(next?);
            }
            left -= batch.len();
            let permit = Arc::clone(&slots).acquire_owned().await?;
            let (worker, done) = (Arc::clone(&self.worker), Arc::clone(done));
            batches.spawn(async move {
                let counts = worker.sync(batch, execution_id, window).await?;
                done.fetch_add(counts.success + counts.no_data + counts.not_in_pool, Ordering::Relaxed);
                drop(permit);
                Ok(counts)
            });
        }
        let mut counts = SyncCounts::default();
        while let Some(batch) = batches.join_next().await {
            counts += batch??;
        }
        publishing.await??;
        Ok(counts)
    }
}

#[derive(Deserialize)]
struct BatchAnswer {
    aggregations: Hosts,
}

#[derive(Deserialize)]
struct Hosts {
    hosts: Buckets,
}

#[derive(Deserialize)]
struct Buckets {
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    key: String,
    doc_count: u32,
    #[serde(flatten)]
    aggregations: HostLoad,
}

impl FloorWorker {
    async fn sync(
        &self,
        batch: Vec<QueueDelivery>,
        execution: ExecutionId,
        window: (DateTime<Utc>, DateTime<Utc>),
    ) -> anyhow::Result<SyncCounts> {
        let mut hosts = Vec::with_capacity(batch.len());
        let mut ackers = Vec::with_capacity(batch.len());
        for delivery in batch {
            hosts.push(delivery.job?.host_ip);
            ackers.push(delivery.acker);
        }
        hosts.sort();
        let found = self.search(&hosts, window).await?;
        let counts = loop {
            match self.write(&hosts, &found, execution, window).await {
                Ok(counts) => break counts,
                Err(error) if Fault::of(&error) == Fault::Conflict => {}
                Err(error) => return Err(error).context("a batch"),
            }
        };
        ack_all(ackers).await;
        Ok(counts)
    }

    async fn search(
        &self,
        hosts: &[String],
        (from, to): (DateTime<Utc>, DateTime<Utc>),
    ) -> anyhow::Result<HashMap<String, Bucket>> {
        let body = json!({
            "size": 0,
            "track_total_hits": false,
            "query": {"bool": {"filter": [
                {"range": {"@timestamp": {
                    "gte": from.timestamp_millis(), "lt": to.timestamp_millis(), "format": "epoch_millis",
                }}},
                {"terms": {"hostIp.keyword": hosts}},
            ]}},
            "aggs": {"hosts": {
                "terms": {"field": "hostIp.keyword", "size": hosts.len()},
                "aggs": {
                    "cpu": {"stats": {"field": "cpu"}},
                    "memory": {"stats": {"field": "available_memory"}},
                    "disk": {"stats": {"field": "total_disk_space_all"}},
                },
            }},
        });
        let answer = self.client.post(&self.search_url).json(&body).send().await?.error_for_status()?;
        let answer: BatchAnswer = serde_json::from_slice(&answer.bytes().await?)?;
        Ok(answer.aggregations.hosts.buckets.into_iter().map(|bucket| (bucket.key.clone(), bucket)).collect())
    }

    async fn write(
        &self,
        hosts: &[String],
        found: &HashMap<String, Bucket>,
        execution: ExecutionId,
        window: (DateTime<Utc>, DateTime<Utc>),
    ) -> sqlx::Result<SyncCounts> {
        let mut transaction = self.database.begin().await?;
        let quoted: Vec<String> = hosts.iter().map(|host| format!("'{host}'")).collect();
        let look_up = format!(
            "SELECT host_ip, id, host_name, ram, disk_size FROM hosts_pool WHERE is_deleted = 0 AND host_ip IN ({})",
            quoted.join(",")
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(look_up)).fetch_all(&mut *transaction).await?;
        let pool: HashMap<String, PoolCapacity> = rows
            .iter()
            .map(|row| {
                let found = PoolCapacity {
                    id: row.try_get("id")?,
                    host_name: row.try_get("host_name")?,
                    ram: row.try_get("ram")?,
                    disk_size: row.try_get("disk_size")?,
                };
                Ok((row.try_get("host_ip")?, found))
            })
            .collect::<sqlx::Result<_>>()?;

        let mut counts = SyncCounts::default();
        let (mut resources, mut details) = (String::new(), String::new());
        let day = window.1.format("%Y-%m-%d");
        for host in hosts {
            let row = pool.get(host);
            let bucket = found.get(host).filter(|_| row.is_some());
            let status = match (row, bucket) {
                (Some(row), Some(Bucket { aggregations: HostLoad { cpu, memory, disk }, .. })) => {
                    counts.success += 1;
                    let [mem_percent, disk_percent] =
                        [memory.percent_of(row.ram), disk.percent_of(row.disk_size)].map(|of| [of.max, of.avg, of.min]);
                    let values = [memory.max, disk.max, cpu.max, cpu.max, cpu.avg, cpu.min];
                    let values = values.into_iter().chain(mem_percent).chain(disk_percent);
                    // Writing to a text cannot fail.
                    let _ = write!(resources, ",({},'{host}','{day}'", row.id);
                    values.for_each(|value| push_number(&mut resources, value));
                    resources.push_str(",UTC_TIMESTAMP(),UTC_TIMESTAMP())");
                    "success"
                }
                (Some(_), None) => {
                    counts.no_data += 1;
                    "no_data"
                }
                (None, _) => {
                    counts.not_in_pool += 1;
                    "not_in_pool"
                }
            };
            let name = row.map_or_else(|| "NULL".to_owned(), |row| format!("'{}'", row.host_name));
            let _ = write!(details, ",({execution},'{host}',{name},'{status}'");
            let of = |value: fn(&HostLoad) -> Option<f64>| bucket.and_then(|bucket| value(&bucket.aggregations));
            for value in [
                of(|of| of.cpu.max),
                of(|of| of.cpu.avg),
                of(|of| of.memory.max),
                of(|of| of.memory.avg),
                of(|of| of.disk.max),
                of(|of| of.disk.avg),
            ] {
                // As the columns round: no more digits than they keep.
                let _ = match value.filter(|value| value.is_finite()) {
                    Some(value) => write!(details, ",{value:.2}"),
                    None => write!(details, ",NULL"),
                };
            }
            let count = bucket.map_or_else(|| "NULL".to_owned(), |bucket| bucket.doc_count.to_string());
            let _ = write!(details, ",{count},UTC_TIMESTAMP(3))");
        }
        if !resources.is_empty() {
            let upsert = format!(concat!(insert_resources!(), "{}", or_write_over!()), &resources[1..]);
            sqlx::raw_sql(AssertSqlSafe(upsert)).execute(&mut *transaction).await?;
        }
        let insert = format!(concat!(insert_details!(), "{}"), &details[1..]);
        sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(counts)
    }
}

/// A comma and the number, or NULL.
fn push_number(sql: &mut String, value: Option<f64>) {
    let _ = match value.filter(|value| value.is_finite()) {
        Some(value) => write!(sql, ",{value:e}"),
        None => write!(sql, ",NULL"),
    };
}
