//! A place of its own on the real servers: a database with the schema, a queue prefix, an index.

use std::panic::AssertUnwindSafe;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use hostsync_service::config::{Config, Service};
use hostsync_service::telemetry;
use hostsync_store::database;
use serde_json::Value;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, MySqlPool, QueryBuilder};

use crate::documents::{SampleHost, SampleIndex};
use crate::servers::Servers;

/// Token of the operator in every bed.
pub const OPERATOR_TOKEN: &str = "operator-token-of-a-test-bed";

/// Token of the viewer in every bed.
pub const VIEWER_TOKEN: &str = "viewer-token-of-a-test-bed";

/// What a policy of the bed is called, after its name.
const LIMIT: &str = "limit";

/// A place of its own on the real servers.
pub struct Bed {
    /// The servers.
    pub servers: Servers,
    /// Name of the database; also what queue and index names begin with.
    pub name: String,
    /// Connections to the database, for looking and preparing.
    pub pool: MySqlPool,
    /// The sample documents.
    pub index: SampleIndex,
}

impl Bed {
    /// Runs statements as text: MySQL does not prepare every one.
    ///
    /// # Panics
    ///
    /// The database refuses one.
    pub async fn execute(&self, sql: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&self.pool).await.expect("executed");
    }

    /// Creates a bed whose names begin with `label`.
    ///
    /// # Errors
    ///
    /// A server does not answer.
    pub async fn create(label: &str) -> anyhow::Result<Self> {
        let bed = Self::create_without_schema(label).await?;
        database::migrate(&bed.database_url()).await?;
        Ok(bed)
    }

    /// Creates a bed with an empty database.
    ///
    /// # Errors
    ///
    /// A server does not answer.
    pub async fn create_without_schema(label: &str) -> anyhow::Result<Self> {
        Self::prepare(&format!("hs_{label}_{:08x}", rand::random::<u32>()), true).await
    }

    /// Opens the bed of this name, made anew if `fresh`; else its schema is brought up to date and its data stays.
    ///
    /// # Errors
    ///
    /// A server does not answer.
    pub async fn open(name: &str, fresh: bool) -> anyhow::Result<Self> {
        let bed = Self::prepare(name, fresh).await?;
        database::migrate(&bed.database_url()).await?;
        Ok(bed)
    }

    async fn prepare(name: &str, fresh: bool) -> anyhow::Result<Self> {
        telemetry::use_ring();
        let servers = Servers::from_environment()?;
        let mut root = MySqlConnection::connect(&servers.database_url).await.context("the database does not answer")?;
        if fresh {
            execute(&mut root, format!("DROP DATABASE IF EXISTS `{name}`")).await?;
        }
        execute(&mut root, format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")).await?;
        root.close().await?;
        let url = format!("{}/{name}", servers.database_url);
        let pool = MySqlPoolOptions::new().max_connections(4).connect(&url).await?;
        if fresh {
            SampleIndex::existing(&servers.elasticsearch_url, &index_name(name)).delete().await?;
        }
        let index = SampleIndex::create(&servers.elasticsearch_url, &index_name(name)).await;
        let index = match index {
            Ok(index) => index,
            Err(_) if !fresh => SampleIndex::existing(&servers.elasticsearch_url, &index_name(name)),
            Err(error) => return Err(error),
        };
        Ok(Self { servers, name: name.to_owned(), pool, index })
    }

    /// URL of the bed's database.
    pub fn database_url(&self) -> String {
        format!("{}/{}", self.servers.database_url, self.name)
    }

    /// The configuration as environment variables, for real processes. `more` is appended and wins.
    pub fn environment(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let database_url = self.database_url();
        let mut variables: Vec<(String, String)> = [
            ("HOSTSYNC_DATABASE__URL", database_url.as_str()),
            ("HOSTSYNC_RABBITMQ__URL", &self.servers.rabbitmq_url),
            ("HOSTSYNC_RABBITMQ__PREFIX", &self.name),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", &self.servers.elasticsearch_url),
            ("HOSTSYNC_ELASTICSEARCH__DEFAULT_INDEX_PATTERN", &self.index.name),
            ("HOSTSYNC_API__OPERATOR_TOKEN", OPERATOR_TOKEN),
            ("HOSTSYNC_API__VIEWER_TOKEN", VIEWER_TOKEN),
            ("HOSTSYNC_API__LISTEN", "127.0.0.1:0"),
            ("HOSTSYNC_API__RPC_LISTEN", "127.0.0.1:0"),
            ("HOSTSYNC_SCHEDULER__LISTEN", "127.0.0.1:0"),
            ("HOSTSYNC_WORKER__LISTEN", "127.0.0.1:0"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        for (name, value) in more {
            variables.retain(|(known, _)| known != name);
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        variables
    }

    /// The same as a configuration, for services within this process.
    ///
    /// # Errors
    ///
    /// `more` makes no sense.
    pub fn config(&self, more: &[(&str, &str)]) -> anyhow::Result<Config> {
        Ok(Config::load_for(Service::Api, None, self.environment(more))?)
    }

    /// Puts sample hosts into the pool.
    pub async fn add_to_pool(&self, hosts: impl IntoIterator<Item = SampleHost>) -> anyhow::Result<()> {
        let hosts: Vec<SampleHost> = hosts.into_iter().collect();
        for chunk in hosts.chunks(1_000) {
            let mut query = QueryBuilder::new("INSERT INTO hosts_pool (host_name, host_ip, ram, disk_size, vcpus) ");
            query.push_values(chunk, |mut row, host| {
                row.push_bind(host.name())
                    .push_bind(host.ip())
                    .push_bind(host.ram_gb())
                    .push_bind(host.disk_gb())
                    .push("8");
            });
            query.build().persistent(false).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Writes documents of `hosts` for the last day and the next `step`, one each `step`: the window of a run that begins
    /// after the next multiple of it is full too.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn index_last_day(
        &self,
        hosts: impl IntoIterator<Item = SampleHost>,
        step: TimeDelta,
    ) -> anyhow::Result<()> {
        let now: DateTime<Utc> = Utc::now();
        self.index.fill(hosts, now - TimeDelta::days(1), now + step, step, |_| {}).await?;
        Ok(())
    }

    /// What the broker's management API says of a queue, such as `jobs.bulk.v1`.
    ///
    /// # Errors
    ///
    /// The broker does not answer, or not in JSON.
    pub async fn queue(&self, name: &str) -> anyhow::Result<Value> {
        let url = format!("{}/api/queues/%2F/{}.{name}", self.servers.management_url, self.name);
        Ok(reqwest::get(url).await?.json().await?)
    }

    /// Empties a queue, such as `jobs.bulk.v1`.
    ///
    /// # Errors
    ///
    /// The broker does not answer, or has no such queue.
    pub async fn purge(&self, name: &str) -> anyhow::Result<()> {
        let url = format!("{}/api/queues/%2F/{}.{name}/contents", self.servers.management_url, self.name);
        reqwest::Client::new().delete(url).send().await?.error_for_status()?;
        Ok(())
    }

    /// The number that a statement selects.
    pub async fn count(&self, statement: &str) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_one(&self.pool).await?)
    }

    /// Removes everything of the bed from the servers.
    ///
    /// # Errors
    ///
    /// A server does not answer.
    pub async fn remove(self) -> anyhow::Result<()> {
        self.index.delete().await?;
        sqlx::query(AssertSqlSafe(format!("DROP DATABASE IF EXISTS `{}`", self.name))).execute(&self.pool).await?;
        self.pool.close().await;
        self.remove_queues().await
    }

    /// Makes the broker take no more than `jobs` into the queue of manual runs, by a policy; `None`: as many as declared.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn limit_manual_queue(&self, jobs: Option<u32>) -> anyhow::Result<()> {
        let url = format!("{}/api/policies/%2F/{}.{LIMIT}", self.servers.management_url, self.name);
        let client = reqwest::Client::new();
        let request = match jobs {
            Some(jobs) => client.put(url).json(&serde_json::json!({
                "pattern": format!("^{}\\.jobs\\.manual\\.v1$", self.name), "apply-to": "queues",
                "definition": {"max-length": jobs},
            })),
            None => client.delete(url),
        };
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Removes its queues and exchanges with what is in them.
    ///
    /// # Errors
    ///
    /// The broker does not answer.
    pub async fn remove_queues(&self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let url = &self.servers.management_url;
        for (kind, names) in [
            ("queues", vec!["jobs.bulk.v1", "jobs.manual.v1", "dead.v1"]),
            ("exchanges", vec!["jobs.v1", "dead.v1"]),
            ("policies", vec![LIMIT]),
        ] {
            for name in names {
                // Gone already is as good.
                client.delete(format!("{url}/api/{kind}/%2F/{}.{name}", self.name)).send().await?;
            }
        }
        Ok(())
    }
}

/// Index names may not hold everything that a database's may.
fn index_name(name: &str) -> String {
    format!("{}-data-zabbix-host-monitor", name.to_lowercase().replace('_', "-"))
}

async fn execute(connection: &mut MySqlConnection, statement: String) -> anyhow::Result<()> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Runs a test on a bed of its own and removes the bed, however the test ends.
///
/// # Panics
///
/// As the test does, and when a server does not answer.
pub async fn on_bed<F: Future<Output = ()>>(label: &str, test: impl FnOnce(std::sync::Arc<Bed>) -> F) {
    on(Bed::create(label).await.expect("a bed on the development servers"), test).await;
}

/// The same on a bed with an empty database.
///
/// # Panics
///
/// As the test, or when a server does not answer.
pub async fn on_bed_without_schema<F: Future<Output = ()>>(label: &str, test: impl FnOnce(std::sync::Arc<Bed>) -> F) {
    on(Bed::create_without_schema(label).await.expect("a bed on the development servers"), test).await;
}

async fn on<F: Future<Output = ()>>(bed: Bed, test: impl FnOnce(std::sync::Arc<Bed>) -> F) {
    let bed = std::sync::Arc::new(bed);
    let outcome = catching(test(std::sync::Arc::clone(&bed))).await;
    if let Some(bed) = std::sync::Arc::into_inner(bed) {
        bed.remove().await.expect("the bed can be removed");
    }
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn catching<F: Future<Output = ()>>(test: F) -> Result<(), Box<dyn std::any::Any + Send>> {
    use futures_util::FutureExt;
    AssertUnwindSafe(test).catch_unwind().await
}

/// Rows that a session of the database has read through any key since its `FLUSH STATUS`.
///
/// # Panics
///
/// When the server does not say.
pub async fn rows_read(connection: &mut MySqlConnection) -> u64 {
    let read: Vec<(String, String)> =
        sqlx::query_as("SHOW SESSION STATUS LIKE 'Handler_read%'").fetch_all(connection).await.expect("counters");
    read.iter().map(|(_, count)| count.parse::<u64>().expect("a number")).sum()
}
