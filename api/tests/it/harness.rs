//! A server of its own for a test, and what a test needs to look behind it.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use hostsync_model::execution::{Counts, ExecutionId, JobQueue, SyncStatus};
use hostsync_queue::{DeadLetters, Publisher, QueueSettings, Topology};
use hostsync_service::config::{Config, Service};
use hostsync_service::shutdown::Shutdown;
use hostsync_store::database;
use hostsync_store::dead_letters::move_chunk;
use hostsync_store::tables::details::{
    self,
    ledger::{DetailOutcome, Measurements},
};
use hostsync_store::tables::executions;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use sqlx::MySqlPool;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) const OPERATOR: &str = "operator-token-0123456789";
pub(crate) const VIEWER: &str = "viewer-token-0123456789";
pub(crate) const BASE: &str = "/api/cmdb/v1";

/// Longest wait for a condition.
const DEADLINE: Duration = Duration::from_mins(1);

/// Where the real servers are.
pub(crate) struct Servers {
    pub(crate) database: String,
    pub(crate) rabbitmq: String,
    management: String,
}

impl Servers {
    pub(crate) fn from_environment() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the servers of the tests are named by the environment")]
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start the development servers by make"))
        };
        Self {
            database: variable("HOSTSYNC_DEV_DATABASE_URL"),
            rabbitmq: variable("HOSTSYNC_DEV_RABBITMQ_URL"),
            management: variable("HOSTSYNC_DEV_RABBITMQ_MANAGEMENT_URL").trim_end_matches('/').to_owned(),
        }
    }

    /// A request to the broker's management API, whose answer must be a success or that there is no such thing.
    pub(crate) async fn manage(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let mut request = reqwest::Client::new().request(method, format!("{}/api/{path}", self.management));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("an answer");
        assert!(response.status().is_success() || response.status() == 404, "{path}: {}", response.status());
        let text = response.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The URL of a database, at the server or at another address that leads there.
    fn database_url(&self, name: &str, address: Option<SocketAddr>) -> String {
        let mut url: reqwest::Url = self.database.parse().expect("a URL");
        url.set_path(name);
        if let Some(address) = address {
            url.set_ip_host(address.ip()).expect("it has a host");
            url.set_port(Some(address.port())).expect("it has a host");
        }
        url.into()
    }

    /// Host and port of the database.
    pub(crate) fn database_address(&self) -> String {
        let url: reqwest::Url = self.database.parse().expect("a URL");
        format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(3306))
    }
}

/// A database and a queue prefix of a test's own.
pub(crate) struct Ground {
    pub(crate) servers: Servers,
    pub(crate) name: String,
    pub(crate) pool: MySqlPool,
}

impl Ground {
    /// An empty database, or one with the schema in it.
    pub(crate) async fn new(has_schema: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let servers = Servers::from_environment();
        let name = format!("hs_test_api_{:016x}", rand::random::<u64>());
        let admin = MySqlPool::connect(&servers.database_url("", None)).await.expect("the database answers");
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")))
            .execute(&admin)
            .await
            .expect("created");
        admin.close().await;
        let url = servers.database_url(&name, None);
        if has_schema {
            database::migrate(&url).await.expect("migrated");
        }
        let pool = database::connect_lazy(&url, 5).expect("a URL");
        Self { servers, name, pool }
    }

    pub(crate) fn database_url(&self) -> String {
        self.servers.database_url(&self.name, None)
    }

    /// The same by a detour.
    pub(crate) fn database_url_at(&self, address: SocketAddr) -> String {
        self.servers.database_url(&self.name, Some(address))
    }

    /// The configuration of a server over this ground, as its environment would give it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        [
            ("HOSTSYNC_DATABASE__URL", self.database_url().as_str()),
            ("HOSTSYNC_RABBITMQ__URL", &self.servers.rabbitmq),
            ("HOSTSYNC_RABBITMQ__PREFIX", &self.name),
            ("HOSTSYNC_API__LISTEN", "127.0.0.1:0"),
            ("HOSTSYNC_API__RPC_LISTEN", "127.0.0.1:0"),
            ("HOSTSYNC_API__OPERATOR_TOKEN", OPERATOR),
            ("HOSTSYNC_API__VIEWER_TOKEN", VIEWER),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", "http://search.invalid:9200"),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__OTHER__URL", "https://other.invalid/search"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    pub(crate) fn queues(&self) -> Publisher {
        Publisher::new(self.queue_settings())
    }

    pub(crate) fn queue_settings(&self) -> QueueSettings {
        QueueSettings {
            url: self.servers.rabbitmq.as_str().into(),
            topology: Topology::new(&self.name),
            connection_name: "test".to_owned(),
        }
    }

    /// Moves the dead letters into their table, as a scheduler does; at least `count` of them come.
    pub(crate) async fn move_dead_letters(&self, count: usize) {
        let moved = AtomicUsize::new(0);
        until("the dead letters are moved", async || {
            let letters = DeadLetters::open(&self.queue_settings()).await.expect("opened");
            let chunk = move_chunk(&self.pool, &letters).await.expect("moved");
            letters.close().await.expect("closed");
            moved.fetch_add(chunk.taken, Ordering::Relaxed) + chunk.taken >= count
        })
        .await;
    }

    /// A run of two hosts that was published 11 minutes ago; neither has an outcome, and no job is in the queue.
    pub(crate) async fn silent_run(&self) -> ExecutionId {
        let run = sqlx::query(
            "INSERT INTO es_sync_execution_log
                 (task_name, `trigger`, execution_status, execution_time, prepared_at, total_hosts, pending_count, queue,
                  es_endpoint, published_at)
             VALUES ('silent', 'manual', 'running', UTC_TIMESTAMP(3) - INTERVAL 11 MINUTE, UTC_TIMESTAMP(3), 2, 2, 'bulk',
                     'default', UTC_TIMESTAMP(3))",
        );
        let id = run.execute(&self.pool).await.expect("a run").last_insert_id();
        for statement in [
            "INSERT INTO es_sync_execution_detail (execution_id, host_ip, sync_status)
             SELECT id, '10.0.0.1', 'pending' FROM es_sync_execution_log UNION ALL
             SELECT id, '10.0.0.2', 'pending' FROM es_sync_execution_log",
            "UPDATE es_sync_execution_log SET last_detail_id = (SELECT MAX(id) FROM es_sync_execution_detail)",
            "UPDATE es_sync_execution_log SET published_watermark = last_detail_id",
        ] {
            sqlx::query(statement).execute(&self.pool).await.expect(statement);
        }
        ExecutionId(id)
    }

    /// Drops the database and the queues.
    pub(crate) async fn clear(&self) {
        sqlx::query(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {}", self.name)))
            .execute(&self.pool)
            .await
            .expect("dropped");
        self.pool.close().await;
        let topology = Topology::new(&self.name);
        let client = reqwest::Client::new();
        let queues = [topology.queue(JobQueue::Bulk), topology.queue(JobQueue::Manual), topology.dead_queue()];
        let exchanges = [topology.jobs_exchange(), topology.dead_exchange()];
        let paths = queues.map(|name| format!("queues/%2F/{name}")).into_iter();
        for path in paths.chain(exchanges.map(|name| format!("exchanges/%2F/{name}"))) {
            let url = format!("{}/api/{path}", self.servers.management);
            // What the test never declared is not there.
            let _ = client.delete(url).send().await;
        }
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) ground: Ground,
    pub(crate) address: SocketAddr,
    #[allow(dead_code, reason = "what the tests of gRPC alone need")]
    pub(crate) rpc_address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) serving: JoinHandle<anyhow::Result<()>>,
    client: reqwest::Client,
}

/// An answer, with its body if that is JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        assert!(self.text.starts_with(r#"{"success":true,"message":""#), "{}", self.text);
        self.body
    }

    /// Checks a refusal and returns its body.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert!(self.text.starts_with(r#"{"success":false,"message":""#), "{}", self.text);
        self.body
    }

    /// The fields that a refusal names.
    pub(crate) fn fields(body: &Value) -> Vec<String> {
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().expect("a field").to_owned()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Runs a test against a server, and clears up whatever comes of it.
pub(crate) async fn with_server(test: impl AsyncFnOnce(&Server)) {
    with_server_of(Ground::new(true).await, &[], test).await;
}

/// The same over a given ground, with more in its environment.
pub(crate) async fn with_server_of(ground: Ground, more: &[(&str, &str)], test: impl AsyncFnOnce(&Server)) {
    let server = Server::start(ground, more).await;
    let outcome = AssertUnwindSafe(async {
        server.until_ready().await;
        test(&server).await;
    })
    .catch_unwind()
    .await;
    let Server { ground, shutdown, serving, .. } = server;
    shutdown.begin();
    let served = tokio::time::timeout(DEADLINE, serving).await;
    ground.clear().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    served.expect("ended in time").expect("did not panic").expect("ended well");
}

/// Runs a test over a ground without a server, and clears up.
pub(crate) async fn with_ground(ground: Ground, test: impl AsyncFnOnce(&Ground)) {
    let outcome = AssertUnwindSafe(test(&ground)).catch_unwind().await;
    ground.clear().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A configuration over a ground. A name in `more` wins over the ground's own.
pub(crate) fn config(ground: &Ground, more: &[(&str, &str)]) -> Config {
    let mut environment = ground.environment();
    environment.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    environment.retain(|(_, value)| !value.is_empty());
    Config::load_for(Service::Api, None, environment).expect("a configuration")
}

impl Server {
    /// Starts one without waiting for it to be ready.
    pub(crate) async fn start(ground: Ground, more: &[(&str, &str)]) -> Self {
        let config = config(&ground, more);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let rpc_listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let rpc_address = rpc_listener.local_addr().expect("an address");
        let shutdown = Shutdown::manual(Duration::from_secs(10));
        let serving = tokio::spawn(hostsync_api::serve_on(config, listener, rpc_listener, shutdown.clone()));
        Self { ground, address, rpc_address, shutdown, serving, client: reqwest::Client::new() }
    }

    async fn until_ready(&self) {
        until("the server is ready", async || {
            assert!(!self.serving.is_finished(), "the server has ended");
            self.get_plain("/readyz").await.status == 200
        })
        .await;
    }

    /// A request to a path, without a token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A request to a path below the base path, as an operator.
    pub(crate) fn operator(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, &format!("{BASE}{path}")).bearer_auth(OPERATOR)
    }

    pub(crate) async fn get_plain(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.operator(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.operator(Method::POST, path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        send(self.operator(Method::PUT, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        send(self.operator(Method::DELETE, path)).await
    }

    /// Makes a task and returns its id.
    pub(crate) async fn task(&self, body: &Value) -> u64 {
        self.post("/es-sync-tasks", body).await.ok()["task_id"].as_u64().expect("an id")
    }

    /// Shows a task.
    pub(crate) async fn show(&self, id: u64) -> Value {
        self.get(&format!("/es-sync-tasks/{id}")).await.ok()["task"].clone()
    }

    /// Gives hosts of a run their outcome, as a worker does; an address that ends with 9 has had a row before.
    pub(crate) async fn finish_hosts(&self, execution: u64, outcomes: &[(&str, SyncStatus)]) {
        let execution_id = ExecutionId(execution);
        let mut transaction = self.ground.pool.begin().await.expect("begun");
        let mut counts = Counts::default();
        let mut finished = Vec::new();
        for (host_ip, status) in outcomes {
            let filter = details::views::DetailFilter { host_ips: vec![(*host_ip).to_owned()], ..Default::default() };
            let rows = details::views::list(&mut transaction, execution_id, &filter, 1).await.expect("listed");
            finished.push(DetailOutcome {
                id: hostsync_model::execution::DetailId(rows[0].id),
                execution_id,
                host_ip: (*host_ip).to_owned(),
                host_name: Some(format!("name of {host_ip}")),
                status: *status,
                error_message: (*status == SyncStatus::Failed).then(|| "no answer".to_owned()),
                measured: Measurements { max_cpu: Some(12.5), ..Measurements::default() },
                inserted: (*status == SyncStatus::Success).then_some(!host_ip.ends_with('9')),
                data_point_count: Some(288),
                attempts: 1,
                search: None,
            });
            counts.add(*status);
        }
        details::ledger::finish(&mut transaction, "a worker", &finished).await.expect("finished");
        executions::counters::count(&mut transaction, execution_id, &counts, None, false).await.expect("counted");
        transaction.commit().await.expect("committed");
    }

    /// A number out of the database.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.ground.pool).await.expect(sql)
    }

    /// Messages ready in a queue.
    pub(crate) async fn ready(&self, queue: JobQueue) -> u32 {
        self.ground.queues().ready_messages(queue).await.expect("the broker answers")
    }
}

/// Sends and reads the answer.
pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status, headers, text, body }
}

/// Waits for a condition, with a deadline.
#[track_caller]
pub(crate) fn until(what: &str, condition: impl AsyncFn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + DEADLINE;
        while !condition().await {
            assert!(Instant::now() < deadline, "{caller}: waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The clock of this machine, which is that of the database too.
#[expect(clippy::disallowed_methods, reason = "a test compares what was stored with the time of day")]
pub(crate) fn clock() -> DateTime<Utc> {
    Utc::now()
}

/// A way to a server that can be cut: a listener on a port of its own that passes everything on.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    passing: Option<JoinHandle<()>>,
}

impl Way {
    /// A port that leads nowhere yet.
    pub(crate) async fn closed() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { address: listener.local_addr().expect("an address"), passing: None }
    }

    /// Passes on to `target` from now on.
    pub(crate) async fn open(&mut self, target: String) {
        let listener = TcpListener::bind(self.address).await.expect("the port is still free");
        self.passing = Some(tokio::spawn(async move {
            // Its connections end with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut there) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                    }
                });
            }
        }));
    }

    /// Cuts everything.
    pub(crate) async fn cut(&mut self) {
        if let Some(passing) = self.passing.take() {
            passing.abort();
            let _ = passing.await;
        }
    }
}
