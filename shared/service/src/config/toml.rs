//! What is in force, as a TOML text with every secret masked.
//!
//! Owns the writing of it. A password inside a URL is masked, the rest of the URL is shown. The text can
//! be read back; keys that are not set stand in it as comments, so that it also serves as a template.

use std::fmt::Write as _;
use std::path::Path;

use figment2::value::{Empty, Num, Value};
use url::Url;

use super::server_url::masked_url;
use hostsync_source::{EndpointConfig, EndpointKind};

use super::{ApiAuth, Config, LogFormat};
use hostsync_model::secret::{MASK, Secret};
use hostsync_model::time_span;

impl Config {
    /// The configuration in force as TOML, secrets masked.
    pub fn masked_toml(&self) -> String {
        let mut text = Toml::default();
        text.table("database");
        text.secret_url("url", self.database.url.as_ref());
        text.bare("max_connections", self.database.max_connections);

        text.table("rabbitmq");
        text.secret_url("url", self.rabbitmq.url.as_ref());
        text.text("prefix", Some(&self.rabbitmq.prefix));

        text.table("api");
        text.shown("listen", self.api.listen);
        text.shown("rpc_listen", self.api.rpc_listen);
        text.text(
            "auth",
            Some(match self.api.auth {
                ApiAuth::Token => "token",
                ApiAuth::None => "none",
            }),
        );
        text.secret("operator_token", self.api.operator_token.as_ref());
        text.secret("viewer_token", self.api.viewer_token.as_ref());

        text.table("elasticsearch");
        text.text("default_endpoint", Some(&self.elasticsearch.default_endpoint));
        text.text("default_index_pattern", Some(&self.elasticsearch.default_index_pattern));
        text.text("default_mapping", Some(&self.elasticsearch.default_mapping));
        for (name, endpoint) in &self.elasticsearch.endpoints {
            text.table(&format!("elasticsearch.endpoints.{name}"));
            text.endpoint(endpoint);
        }

        for (name, mapping) in &self.mappings {
            text.table(&format!("mappings.{name}"));
            let values = Value::serialize(mapping).ok().and_then(Value::into_dict).unwrap_or_default();
            for (key, value) in &values {
                text.line(key, &value_text(value));
            }
        }

        text.table("scheduler");
        text.shown("listen", self.scheduler.listen);
        text.shown("time_zone", self.scheduler.time_zone);
        text.shown("retention", time_span::format(self.scheduler.retention));
        text.shown("execution_deadline", time_span::format(self.scheduler.execution_deadline));

        text.table("worker");
        text.shown("listen", self.worker.listen);
        text.bare("batch_hosts", self.worker.batch_hosts);
        text.shown("batch_linger", time_span::format(self.worker.batch_linger));
        text.bare("concurrency", self.worker.concurrency);
        text.shown("shutdown_grace", time_span::format(self.worker.shutdown_grace));

        text.table("telemetry");
        text.text("otlp_endpoint", self.telemetry.otlp_endpoint.as_ref().map(Url::as_str));
        text.text(
            "log_format",
            self.telemetry.log_format.map(|format| match format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }),
        );
        text.text("log_level", Some(&self.telemetry.log_level));
        text.0
    }
}

/// A TOML text in the making.
#[derive(Default)]
struct Toml(String);

impl Toml {
    fn table(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}[{name}]");
    }

    fn line(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{} = {value}", key_text(key));
    }

    fn bare(&mut self, key: &str, number: impl std::fmt::Display) {
        self.line(key, &number.to_string());
    }

    fn shown(&mut self, key: &str, value: impl std::fmt::Display) {
        self.text(key, Some(&value.to_string()));
    }

    fn text(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.line(key, &quoted(text)),
            None => {
                let _ = writeln!(self.0, "# {key} is not set");
            }
        }
    }

    fn path(&mut self, key: &str, path: Option<&Path>) {
        self.text(key, path.map(|path| path.display().to_string()).as_deref());
    }

    fn secret(&mut self, key: &str, secret: Option<&Secret>) {
        self.text(key, secret.map(|_| MASK));
    }

    fn secret_url(&mut self, key: &str, secret: Option<&Secret>) {
        self.text(key, secret.map(masked_url).as_deref());
    }

    fn endpoint(&mut self, endpoint: &EndpointConfig) {
        self.text("url", Some(endpoint.base_url()));
        self.text(
            "kind",
            Some(match endpoint.kind {
                EndpointKind::Cluster => "cluster",
                EndpointKind::Proxy => "proxy",
            }),
        );
        self.text("username", endpoint.username.as_deref());
        self.secret("password", endpoint.password.as_ref());
        self.secret("api_key", endpoint.api_key.as_ref());
        self.secret("bearer_token", endpoint.bearer_token.as_ref());
        self.path("ca_file", endpoint.ca_file.as_deref());
        self.shown("timeout", time_span::format(endpoint.timeout));
    }
}

/// A text as a TOML basic string, which has JSON's escapes and takes no DEL as it is.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// A key, in quotes where it is no bare one.
fn key_text(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A value of a mapping, on one line.
fn value_text(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Char(_, c) => quoted(&c.to_string()),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, Num::F32(number)) => format!("{number:?}"),
        Value::Num(_, Num::F64(number)) => format!("{number:?}"),
        Value::Num(_, number) => number
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| number.to_u128().map(|n| n.to_string()))
            .unwrap_or_default(),
        Value::Empty(_, Empty::None | Empty::Unit) => quoted(""),
        Value::Dict(_, table) => {
            let pairs: Vec<_> =
                table.iter().map(|(key, value)| format!("{} = {}", key_text(key), value_text(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(_, items) => format!("[{}]", items.iter().map(value_text).collect::<Vec<_>>().join(", ")),
    }
}
