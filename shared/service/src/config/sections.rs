//! The sections but `elasticsearch` and `mappings`: their keys, defaults and bounds.
//!
//! Owns what one value may be. Each bound is a constant here and stands in the documentation; a value
//! beyond it is refused at the start. What a service demands is decided one level up.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Deserializer};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::error::{ConfigError, Origin, Problem};
use super::leaf;
use super::reader::{Reader, header_secret};
use super::server_url::{database_url, rabbitmq_url};
use hostsync_model::secret::Secret;
use hostsync_queue::{QueueSettings, Topology};

/// Bounds of `database.max_connections`, of one process. With one alone a transaction that waits for a
/// lock would starve everything else.
pub const MAX_CONNECTIONS_BOUNDS: RangeInclusive<u32> = 2..=1_000;

/// Bounds of `worker.batch_hosts`. The most keeps one search far below Elasticsearch's 65,536 terms.
pub const BATCH_HOSTS_BOUNDS: RangeInclusive<usize> = 1..=2_000;

/// Bounds of `worker.batch_linger`. Zero: a batch is what has already arrived.
pub const BATCH_LINGER_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);

/// Bounds of `worker.concurrency`.
pub const CONCURRENCY_BOUNDS: RangeInclusive<usize> = 1..=64;

/// Bounds of `worker.shutdown_grace`. Searches are given up ten seconds before its end, so it is longer
/// than that.
pub const SHUTDOWN_GRACE_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(11)..=Duration::from_hours(1);

/// Bounds of `scheduler.retention`.
pub const RETENTION_BOUNDS: RangeInclusive<Duration> = Duration::from_hours(24)..=Duration::from_hours(24 * 3_650);

/// Bounds of `scheduler.execution_deadline`.
pub const EXECUTION_DEADLINE_BOUNDS: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24 * 30);

/// Fewest characters of a token of the API.
pub const MIN_TOKEN_CHARS: usize = 16;

/// Most characters of `rabbitmq.prefix`: names of queues and exchanges have at most 255 bytes.
const MAX_PREFIX_CHARS: usize = 64;

/// The database.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `mysql://user:password@host:3306/db`. Checked to have a host and a database's name.
    pub url: Option<Secret>,
    /// Connections of one process, within [`MAX_CONNECTIONS_BOUNDS`].
    pub max_connections: u32,
}

/// The broker.
#[derive(Debug, Clone)]
pub struct RabbitmqConfig {
    /// `amqp://` or `amqps://`.
    pub url: Option<Secret>,
    /// What every exchange and queue name begins with: 1–64 of `a-z 0-9 . _ -`.
    pub prefix: String,
}

/// The API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where the REST API listens.
    pub listen: SocketAddr,
    /// Where the gRPC API listens.
    pub rpc_listen: SocketAddr,
    /// Whether callers need a token.
    pub auth: ApiAuth,
    /// May read and write. Visible ASCII, at least [`MIN_TOKEN_CHARS`] characters.
    pub operator_token: Option<Secret>,
    /// May read. Visible ASCII, at least [`MIN_TOKEN_CHARS`] characters, never the operator's.
    pub viewer_token: Option<Secret>,
}

/// How callers of the API prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAuth {
    /// By a bearer token.
    Token,
    /// Not at all: everybody may do everything.
    None,
}

/// The scheduler, and what the others must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[serde(deserialize_with = "leaf::listen_address")]
    pub listen: SocketAddr,
    /// The zone of tasks that name none, and of `mon_date` for runs without a task.
    #[serde(deserialize_with = "time_zone")]
    pub time_zone: Tz,
    /// How long finished executions are kept, within [`RETENTION_BOUNDS`].
    #[serde(deserialize_with = "retention")]
    pub retention: Duration,
    /// After this an execution's pending hosts become failed; within [`EXECUTION_DEADLINE_BOUNDS`].
    #[serde(deserialize_with = "execution_deadline")]
    pub execution_deadline: Duration,
}

/// The worker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[serde(deserialize_with = "leaf::listen_address")]
    pub listen: SocketAddr,
    /// Most hosts in one search, within [`BATCH_HOSTS_BOUNDS`].
    #[serde(deserialize_with = "batch_hosts")]
    pub batch_hosts: usize,
    /// Longest wait for a batch to fill, within [`BATCH_LINGER_BOUNDS`].
    #[serde(deserialize_with = "batch_linger")]
    pub batch_linger: Duration,
    /// Searches and transactions at once in one process, within [`CONCURRENCY_BOUNDS`].
    #[serde(deserialize_with = "concurrency")]
    pub concurrency: usize,
    /// Time to finish what has begun after SIGTERM, within [`SHUTDOWN_GRACE_BOUNDS`].
    #[serde(deserialize_with = "shutdown_grace")]
    pub shutdown_grace: Duration,
}

/// Logs, traces, metrics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The base URL of an OTLP collector (HTTP, protobuf), such as `http://127.0.0.1:4318`; the signals'
    /// paths are appended. `None`: nothing is sent.
    #[serde(deserialize_with = "otlp_endpoint")]
    pub otlp_endpoint: Option<Url>,
    /// `None`: text on a terminal, else JSON.
    #[serde(deserialize_with = "log_format")]
    pub log_format: Option<LogFormat>,
    /// A level, or directives as `tracing_subscriber::EnvFilter` takes them; known to parse.
    #[serde(deserialize_with = "log_level")]
    pub log_level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            listen: local(8891),
            time_zone: Tz::UTC,
            retention: Duration::from_hours(24 * 90),
            execution_deadline: Duration::from_hours(24),
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            listen: local(8892),
            batch_hosts: 500,
            batch_linger: Duration::from_millis(20),
            concurrency: 2,
            shutdown_grace: Duration::from_secs(45),
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, log_format: None, log_level: "info".to_owned() }
    }
}

impl DatabaseConfig {
    /// The URL, for a process that cannot do without.
    ///
    /// # Errors
    ///
    /// It was not given, which [`super::Config::check`] would have told at the start.
    pub fn url(&self) -> Result<&Secret, ConfigError> {
        required(self.url.as_ref(), "database.url")
    }
}

impl RabbitmqConfig {
    /// The URL, for a process that cannot do without.
    ///
    /// # Errors
    ///
    /// It was not given, which [`super::Config::check`] would have told at the start.
    pub fn url(&self) -> Result<&Secret, ConfigError> {
        required(self.url.as_ref(), "rabbitmq.url")
    }

    /// What the queue needs, for a process that calls itself `connection_name`.
    ///
    /// # Errors
    ///
    /// As [`Self::url`].
    pub fn settings(&self, connection_name: &str) -> Result<QueueSettings, ConfigError> {
        Ok(QueueSettings {
            url: self.url()?.expose().to_owned(),
            topology: Topology::new(&self.prefix),
            connection_name: connection_name.to_owned(),
        })
    }
}

fn required<'a>(secret: Option<&'a Secret>, key: &str) -> Result<&'a Secret, ConfigError> {
    secret.ok_or_else(|| {
        ConfigError::of(Problem { key: key.to_owned(), reason: "must be set".to_owned(), origin: Origin::NotGiven })
    })
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDatabase {
    url: Option<Secret>,
    url_file: Option<PathBuf>,
    #[serde(deserialize_with = "max_connections")]
    max_connections: u32,
}

impl Default for RawDatabase {
    fn default() -> Self {
        Self { url: None, url_file: None, max_connections: 10 }
    }
}

impl RawDatabase {
    pub(super) fn resolve(self, reader: &mut Reader<'_>) -> DatabaseConfig {
        DatabaseConfig {
            url: reader.secret(&["database"], "url", self.url, self.url_file, database_url),
            max_connections: self.max_connections,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRabbitmq {
    url: Option<Secret>,
    url_file: Option<PathBuf>,
    #[serde(deserialize_with = "prefix")]
    prefix: String,
}

impl Default for RawRabbitmq {
    fn default() -> Self {
        Self { url: None, url_file: None, prefix: "hostsync".to_owned() }
    }
}

impl RawRabbitmq {
    pub(super) fn resolve(self, reader: &mut Reader<'_>) -> RabbitmqConfig {
        RabbitmqConfig {
            url: reader.secret(&["rabbitmq"], "url", self.url, self.url_file, rabbitmq_url),
            prefix: self.prefix,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawApi {
    #[serde(deserialize_with = "leaf::listen_address")]
    listen: SocketAddr,
    #[serde(deserialize_with = "leaf::listen_address")]
    rpc_listen: SocketAddr,
    #[serde(deserialize_with = "auth")]
    auth: ApiAuth,
    operator_token: Option<Secret>,
    operator_token_file: Option<PathBuf>,
    viewer_token: Option<Secret>,
    viewer_token_file: Option<PathBuf>,
}

impl Default for RawApi {
    fn default() -> Self {
        Self {
            listen: local(8888),
            rpc_listen: local(8080),
            auth: ApiAuth::Token,
            operator_token: None,
            operator_token_file: None,
            viewer_token: None,
            viewer_token_file: None,
        }
    }
}

impl RawApi {
    pub(super) fn resolve(self, reader: &mut Reader<'_>) -> ApiConfig {
        let operator_token =
            reader.secret(&["api"], "operator_token", self.operator_token, self.operator_token_file, token);
        let viewer_token = reader.secret(&["api"], "viewer_token", self.viewer_token, self.viewer_token_file, token);
        if viewer_token.is_some() && viewer_token == operator_token {
            reader.report(&["api", "viewer_token"], "must not be the operator's token");
        }
        ApiConfig { listen: self.listen, rpc_listen: self.rpc_listen, auth: self.auth, operator_token, viewer_token }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn token(text: &str) -> Result<(), String> {
    header_secret(text)?;
    if text.len() < MIN_TOKEN_CHARS {
        return Err(format!("must have at least {MIN_TOKEN_CHARS} characters"));
    }
    Ok(())
}

fn auth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ApiAuth, D::Error> {
    leaf::word(deserializer, &[("token", ApiAuth::Token), ("none", ApiAuth::None)])
}

fn log_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LogFormat>, D::Error> {
    leaf::word(deserializer, &[("text", Some(LogFormat::Text)), ("json", Some(LogFormat::Json))])
}

fn max_connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    leaf::whole_number(deserializer, MAX_CONNECTIONS_BOUNDS)
}

fn batch_hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    leaf::whole_number(deserializer, BATCH_HOSTS_BOUNDS)
}

fn batch_linger<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    leaf::span(deserializer, &BATCH_LINGER_BOUNDS)
}

fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    leaf::whole_number(deserializer, CONCURRENCY_BOUNDS)
}

fn shutdown_grace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    leaf::span(deserializer, &SHUTDOWN_GRACE_BOUNDS)
}

fn retention<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    leaf::span(deserializer, &RETENTION_BOUNDS)
}

fn execution_deadline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    leaf::span(deserializer, &EXECUTION_DEADLINE_BOUNDS)
}

fn time_zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    leaf::parsed(deserializer, "an IANA time zone, such as Europe/Berlin", |text| {
        text.parse()
            .map_err(|_| format!("must be an IANA time zone, such as Europe/Berlin or UTC, not {}", leaf::shown(text)))
    })
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    leaf::parsed(deserializer, "a text in quotes", |text| {
        let is_good = (1..=MAX_PREFIX_CHARS).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
        if is_good {
            Ok(text.to_owned())
        } else {
            Err(format!("must be 1 to {MAX_PREFIX_CHARS} of a-z, 0-9, ., _ and -, not {}", leaf::shown(text)))
        }
    })
}

/// An empty text means off: it is the only way for the environment to take back what the file says.
fn otlp_endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    leaf::parsed(deserializer, "a URL, such as http://127.0.0.1:4318", |text| match text {
        "" => Ok(None),
        _ if text.contains('@') => {
            Err("must not hold a user or a password; OTEL_EXPORTER_OTLP_HEADERS takes an authorization".to_owned())
        }
        _ => leaf::http_url(text).map(Some),
    })
}

/// A directive that is a lone word must be a level: to the filter "inof" would be a module's name.
fn log_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    leaf::parsed(deserializer, "a text in quotes", |text| {
        let lone_words = text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[', '{', '}', ']']));
        let all_levels = lone_words.into_iter().all(|word| LEVELS.contains(&word.to_lowercase().as_str()));
        if all_levels && EnvFilter::try_new(text).is_ok() {
            return Ok(text.to_owned());
        }
        let levels = LEVELS.join(", ");
        Err(format!("must be one of {levels}, or directives such as info,lapin=debug; not {}", leaf::shown(text)))
    })
}
