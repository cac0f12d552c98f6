//! The sections but `elasticsearch` and `mappings`: an entry a key.
//!
//! Owns what one value may be; a value beyond it is refused at the start. What a service demands is decided one level up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use chrono_tz::Tz;
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::error::{ConfigError, Origin, Problem};
use super::section::section;
use super::server_url::{database_url, rabbitmq_url};
use super::table::Table;
use super::value_kind;
use hostsync_model::audit::Role;
use hostsync_model::secret::Secret;
use hostsync_queue::{QueueSettings, Topology};

/// Fewest characters of a token of the API.
pub const MIN_TOKEN_CHARS: usize = 16;

/// Most characters of `rabbitmq.prefix`: names of queues and exchanges have at most 255 bytes.
const MAX_PREFIX_CHARS: usize = 64;

section! {
    /// The database.
    pub struct DatabaseConfig {
        url: Option<Secret>, value_kind::secret_url(database_url),
            "mysql://user:password@host:3306/db; TLS by ?ssl-mode=";
        // With one alone a transaction that waits for a lock would starve everything else.
        max_connections: u32 = "10", value_kind::whole(2..=1_000), "connections of one process";
    }
}

section! {
    /// The broker.
    pub struct RabbitmqConfig {
        url: Option<Secret>, value_kind::secret_url(rabbitmq_url),
            "amqp://user:password@host:5672/vhost or amqps://; no vhost: /";
        prefix: String = "hostsync", prefix(), "of every exchange and queue name; a-z 0-9 . _ -, at most 64";
    }
}

section! {
    /// The API.
    pub struct ApiConfig, check different_tokens {
        listen: SocketAddr = "127.0.0.1:8888", value_kind::address(), "address of the REST API";
        rpc_listen: SocketAddr = "127.0.0.1:8080", value_kind::address(), "address of the gRPC API";
        auth: ApiAuth = "token", value_kind::word(&[("token", ApiAuth::Token), ("none", ApiAuth::None)]),
            "token, or none: everybody may do everything";
        operator_token: Option<Secret>, value_kind::secret(token), "may read and write; at least 16 characters";
        viewer_token: Option<Secret>, value_kind::secret(token),
            "may read; at least 16 characters, no other token's";
        ..tokens: BTreeMap<String, ApiTokenConfig>, "More tokens, by name: 1–64 of `a-z 0-9 _ -`.";
    }
}

section! {
    /// A token of the API that has a name of its own.
    pub struct ApiTokenConfig {
        role: Role, value_kind::word(&[("viewer", Role::Viewer), ("operator", Role::Operator)]),
            "viewer: may read, or operator: may read and write";
        token: Secret, value_kind::secret(token), "at least 16 characters, no other token's";
    }
}

/// The names of `api.operator_token` and `api.viewer_token`.
const OPERATOR_NAME: &str = "operator";
const VIEWER_NAME: &str = "viewer";

/// How callers of the API prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAuth {
    /// By a bearer token.
    Token,
    /// Not at all: everybody may do everything.
    None,
}

section! {
    /// The scheduler, and what the others must know of it.
    #[derive(PartialEq, Eq)]
    pub struct SchedulerConfig {
        listen: SocketAddr = "127.0.0.1:8891", value_kind::address(), "address of /healthz, /readyz and /metrics";
        time_zone: Tz = "UTC", value_kind::zone(), "IANA name; zone of tasks that name none";
        retention: Duration = "90d", value_kind::span("1d", "3650d"), "finished executions older than this are pruned";
        audit_retention: Duration = "400d", value_kind::span("1d", "3650d"), "entries of the audit older than this are pruned";
        execution_deadline: Duration = "24h", value_kind::span("1m", "30d"),
            "what is still pending then becomes failed";
    }
}

section! {
    /// The worker.
    #[derive(PartialEq, Eq)]
    pub struct WorkerConfig {
        listen: SocketAddr = "127.0.0.1:8892", value_kind::address(), "address of /healthz, /readyz and /metrics";
        // The most keeps one search far below Elasticsearch's 65,536 terms.
        batch_hosts: usize = "500", value_kind::whole(1..=2_000), "most hosts in one search";
        // Zero: a batch is what has already arrived.
        batch_linger: Duration = "20ms", value_kind::span("0s", "1s"), "longest wait for a batch to fill";
        concurrency: usize = "2", value_kind::whole(1..=64), "most searches and transactions at once";
        // Searches are given up ten seconds before its end.
        shutdown_grace: Duration = "45s", value_kind::span("11s", "1h"), "time to finish what has begun";
    }
}

section! {
    /// Logs, traces, metrics.
    #[derive(PartialEq, Eq)]
    pub struct TelemetryConfig {
        otlp_endpoint: Option<Url>, value_kind::url_that("a URL, such as http://127.0.0.1:4318", no_user).or_empty(),
            "http://host:4318: traces and metrics by OTLP; off when not set";
        log_format: Option<LogFormat>, value_kind::word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            "text or json; text on a terminal, else json";
        log_level: String = "info", value_kind::text_that(log_level),
            "error, warn, info, debug, trace or directives (info,lapin=debug)";
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl DatabaseConfig {
    /// The URL as it is now, for a process that cannot do without.
    ///
    /// # Errors
    ///
    /// It was not given, which [`super::Config::check`] would have told at the start.
    pub fn url(&self) -> Result<SecretString, ConfigError> {
        Ok(required(self.url.as_ref(), "database.url")?.get())
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
            url: self.url()?.clone(),
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

fn prefix() -> value_kind::ValueKind<String> {
    value_kind::text_of(format!("1 to {MAX_PREFIX_CHARS} of a-z, 0-9, ., _ and -"), |text| {
        (1..=MAX_PREFIX_CHARS).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
    })
}

fn token(text: &str) -> Result<(), String> {
    value_kind::header_secret(text)?;
    if text.len() < MIN_TOKEN_CHARS {
        return Err(format!("must have at least {MIN_TOKEN_CHARS} characters"));
    }
    Ok(())
}

impl ApiConfig {
    /// Every token with its name and its role.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, Role, &Secret)> {
        let operator = self.operator_token.iter().map(|secret| (OPERATOR_NAME, Role::Operator, secret));
        let viewer = self.viewer_token.iter().map(|secret| (VIEWER_NAME, Role::Viewer, secret));
        let named = self.tokens.iter().map(|(name, token)| (name.as_str(), token.role, &token.token));
        operator.chain(viewer).chain(named)
    }
}

fn different_tokens(api: Option<&ApiConfig>, table: &mut Table<'_>) {
    let Some(api) = api else { return };
    for (name, key) in [(OPERATOR_NAME, "api.operator_token"), (VIEWER_NAME, "api.viewer_token")] {
        if api.tokens.contains_key(name) {
            table.report(["tokens", name], format!("is the name of {key}; choose another one"));
        }
    }
    let tokens: Vec<_> = api.tokens().collect();
    for (place, (name, _, secret)) in tokens.iter().enumerate() {
        let is_same = |other: &Secret| other.get().expose_secret() == secret.get().expose_secret();
        let Some((other, ..)) = tokens[..place].iter().find(|(_, _, other)| is_same(other)) else { continue };
        let reason = format!("is the token of {other} too; no two may be the same");
        match *name {
            VIEWER_NAME => table.report(["viewer_token"], reason),
            name => table.report(["tokens", name, "token"], reason),
        }
    }
}

fn no_user(text: &str) -> Result<(), String> {
    if text.contains('@') {
        return Err("must not hold a user or a password; OTEL_EXPORTER_OTLP_HEADERS takes an authorization".to_owned());
    }
    Ok(())
}

/// A directive that is a lone word must be a level: to the filter "inof" would be a module's name.
fn log_level(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let lone_words = text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[', '{', '}', ']']));
    let all_levels = lone_words.into_iter().all(|word| LEVELS.contains(&word.to_lowercase().as_str()));
    if all_levels && EnvFilter::try_new(text).is_ok() {
        return Ok(());
    }
    let levels = LEVELS.join(", ");
    Err(format!("must be one of {levels}, or directives such as info,lapin=debug; not {}", value_kind::shown(text)))
}
