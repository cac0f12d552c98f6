//! The list of all keys: name, default, bounds, meaning.
//!
//! Owns what `--help` says of the configuration. Tests hold it against the structs: every key is here,
//! every default is the true one. It decides nothing; the structs do.

use std::fmt::Write as _;

use super::endpoint::DEFAULT_INDEX_PATTERN;
use super::source::variable_of_key;

/// One key as `--help` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted; `<name>` stands for a name that the user chooses.
    pub name: &'static str,
    /// As it would be written in a variable of the environment; `None` for a key without one.
    pub default: Option<&'static str>,
    /// One line.
    pub meaning: &'static str,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default: Some(default), meaning }
}

const fn unset(name: &'static str, meaning: &'static str) -> Key {
    Key { name, default: None, meaning }
}

/// Every key, in the order of the documentation.
pub const KEYS: &[Key] = &[
    unset("database.url", "mysql://user:password@host:3306/db; TLS by ?ssl-mode="),
    unset("database.url_file", "a file that holds database.url"),
    key("database.max_connections", "10", "connections of one process, 2 to 1000"),
    unset("rabbitmq.url", "amqp://user:password@host:5672/vhost or amqps://; no vhost: /"),
    unset("rabbitmq.url_file", "a file that holds rabbitmq.url"),
    key("rabbitmq.prefix", "hostsync", "of every exchange and queue name; a-z 0-9 . _ -, at most 64"),
    key("api.listen", "127.0.0.1:8888", "address of the REST API"),
    key("api.rpc_listen", "127.0.0.1:8080", "address of the gRPC API"),
    key("api.auth", "token", "token, or none: everybody may do everything"),
    unset("api.operator_token", "may read and write; at least 16 characters"),
    unset("api.operator_token_file", "a file that holds it"),
    unset("api.viewer_token", "may read; at least 16 characters, not the operator's"),
    unset("api.viewer_token_file", "a file that holds it"),
    key("elasticsearch.default_endpoint", "default", "name of the endpoint of tasks that name none"),
    key("elasticsearch.default_index_pattern", DEFAULT_INDEX_PATTERN, "index pattern of tasks that name none"),
    key("elasticsearch.default_mapping", "zabbix", "mapping of tasks that name none"),
    unset("elasticsearch.endpoints.<name>.url", "http:// or https://, without user and password"),
    key("elasticsearch.endpoints.<name>.kind", "cluster", "cluster, or proxy: a query proxy"),
    unset("elasticsearch.endpoints.<name>.username", "with password: basic authentication"),
    unset("elasticsearch.endpoints.<name>.password", "with username"),
    unset("elasticsearch.endpoints.<name>.password_file", "a file that holds it"),
    unset("elasticsearch.endpoints.<name>.api_key", "an Elasticsearch API key in its encoded form"),
    unset("elasticsearch.endpoints.<name>.api_key_file", "a file that holds it"),
    unset("elasticsearch.endpoints.<name>.bearer_token", "a bearer token"),
    unset("elasticsearch.endpoints.<name>.bearer_token_file", "a file that holds it"),
    unset("elasticsearch.endpoints.<name>.ca_file", "PEM file of the authority that signed its certificate"),
    key("elasticsearch.endpoints.<name>.timeout", "30s", "of one search, 1s to 10m"),
    unset("mappings.<name>", "how to read documents, what to skip: a table; built in: zabbix, metricbeat"),
    key("scheduler.listen", "127.0.0.1:8891", "address of /healthz, /readyz and /metrics"),
    key("scheduler.time_zone", "UTC", "IANA name; zone of tasks that name none"),
    key("scheduler.retention", "90d", "finished executions older than this are pruned, 1d to 3650d"),
    key("scheduler.execution_deadline", "24h", "what is still pending then becomes failed, 1m to 30d"),
    key("worker.listen", "127.0.0.1:8892", "address of /healthz, /readyz and /metrics"),
    key("worker.batch_hosts", "500", "most hosts in one search, 1 to 2000"),
    key("worker.batch_linger", "20ms", "longest wait for a batch to fill, 0s to 1s"),
    key("worker.concurrency", "2", "searches and transactions at once, 1 to 64"),
    key("worker.shutdown_grace", "45s", "time to finish what has begun, 11s to 1h"),
    unset("telemetry.otlp_endpoint", "http://host:4318: traces and metrics by OTLP; off when not set"),
    unset("telemetry.log_format", "text or json; text on a terminal, else json"),
    key("telemetry.log_level", "info", "error, warn, info, debug, trace or directives (info,lapin=debug)"),
];

/// The text for `--help`: every key with its default and meaning, by section, and how to give it.
/// No line is longer than 100 characters.
pub fn help_table() -> String {
    let split = |key: &Key| key.name.rsplit_once('.').unwrap_or(("", key.name));
    let width = KEYS.iter().map(|key| split(key).1.len()).max().unwrap_or(0);
    let mut text = String::from(
        "Configuration: a TOML file (--config, or HOSTSYNC_CONFIG) and, winning over it, the environment.\n\
         In the environment a key is HOSTSYNC_ and its levels with two underscores between them:\n",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{} for database.url. Defaults stand in brackets.", variable_of_key("database.url"));
    let mut last_section = "";
    for key in KEYS {
        let (section, name) = split(key);
        if section != last_section {
            let _ = writeln!(text, "\n[{section}]");
            last_section = section;
        }
        let default = key.default.map(|default| format!(" [{default}]")).unwrap_or_default();
        let _ = writeln!(text, "  {name:width$}  {}{default}", key.meaning);
    }
    text.push('\n');
    text
}
