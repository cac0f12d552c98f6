//! The section `elasticsearch`: the endpoints by name, and what a task uses that names nothing.
//!
//! Owns which endpoints exist. A task or a request may name only one of them, by name or by exact URL: a
//! server that queries any URL it is sent is a hole. Credentials stand here and never in the database.
//! How an endpoint is spoken to is the elasticsearch module's matter.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::leaf;
use super::reader::{Reader, any_secret, header_secret};
use hostsync_model::secret::Secret;
use hostsync_source::{DEFAULT_TIMEOUT, EndpointConfig, EndpointKind};

/// Bounds of an endpoint's `timeout`.
pub const TIMEOUT_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(10);

/// The index pattern of who says none: that of the installations that hostsync was made for, so elsewhere it may match
/// nothing.
pub const DEFAULT_INDEX_PATTERN: &str = "cluster*:data-zabbix-host-monitor-*";

/// Most characters of an index pattern: the column that keeps a task's.
const MAX_INDEX_PATTERN_CHARS: usize = 255;

/// The endpoints, and what a task uses that names nothing.
#[derive(Debug, Clone)]
pub struct ElasticsearchConfig {
    /// The name of the endpoint of tasks that name none. Known to be in `endpoints` for the worker and
    /// the API ([`super::Config::check`]).
    pub default_endpoint: String,
    /// By name: 1–64 of `a-z 0-9 _ -`.
    pub endpoints: BTreeMap<String, EndpointConfig>,
    /// The index pattern of tasks that name none, at most 255 characters.
    pub default_index_pattern: String,
    /// The mapping of tasks that name none.
    pub default_mapping: String,
}

impl ElasticsearchConfig {
    /// The endpoint that a task or a request means: by name or exact URL, empty for the default.
    ///
    /// A slash at the end of a URL makes no difference. Where several endpoints have the same URL, the
    /// default one is meant, else the first by name.
    pub fn endpoint_named(&self, name_or_url: &str) -> Option<(&str, &EndpointConfig)> {
        let named = |name: &str| self.endpoints.get_key_value(name).map(|(name, endpoint)| (name.as_str(), endpoint));
        if name_or_url.is_empty() {
            return named(&self.default_endpoint);
        }
        named(name_or_url).or_else(|| {
            let url = leaf::http_url(name_or_url).ok()?;
            named(&self.default_endpoint)
                .into_iter()
                .chain(self.endpoints.iter().map(|(name, endpoint)| (name.as_str(), endpoint)))
                .find(|(_, endpoint)| endpoint.url == url)
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawElasticsearch {
    default_endpoint: String,
    endpoints: BTreeMap<String, RawEndpoint>,
    #[serde(deserialize_with = "index_pattern")]
    default_index_pattern: String,
    default_mapping: String,
}

impl Default for RawElasticsearch {
    fn default() -> Self {
        Self {
            default_endpoint: "default".to_owned(),
            endpoints: BTreeMap::new(),
            default_index_pattern: DEFAULT_INDEX_PATTERN.to_owned(),
            default_mapping: "zabbix".to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawEndpoint {
    #[serde(deserialize_with = "endpoint_url")]
    url: Option<Url>,
    #[serde(deserialize_with = "kind")]
    kind: EndpointKind,
    username: Option<String>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    api_key: Option<Secret>,
    api_key_file: Option<PathBuf>,
    bearer_token: Option<Secret>,
    bearer_token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "timeout")]
    timeout: Duration,
}

impl Default for RawEndpoint {
    fn default() -> Self {
        Self {
            url: None,
            kind: EndpointKind::Cluster,
            username: None,
            password: None,
            password_file: None,
            api_key: None,
            api_key_file: None,
            bearer_token: None,
            bearer_token_file: None,
            ca_file: None,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl RawElasticsearch {
    pub(super) fn resolve(self, reader: &mut Reader<'_>) -> ElasticsearchConfig {
        let mut endpoints = BTreeMap::new();
        for (name, raw) in self.endpoints {
            reader.check_name(&["elasticsearch", "endpoints", &name]);
            if let Some(endpoint) = raw.resolve(&name, reader) {
                endpoints.insert(name, endpoint);
            }
        }
        ElasticsearchConfig {
            default_endpoint: self.default_endpoint,
            endpoints,
            default_index_pattern: self.default_index_pattern,
            default_mapping: self.default_mapping,
        }
    }
}

impl RawEndpoint {
    fn resolve(self, name: &str, reader: &mut Reader<'_>) -> Option<EndpointConfig> {
        let section = ["elasticsearch", "endpoints", name];
        let key = |last| ["elasticsearch", "endpoints", name, last];
        // Given, if perhaps badly: a second report would only be about the first one's consequences.
        let has_username = self.username.is_some();
        let has_password = self.password.is_some() || self.password_file.is_some();
        let has_api_key = self.api_key.is_some() || self.api_key_file.is_some();
        let has_bearer_token = self.bearer_token.is_some() || self.bearer_token_file.is_some();

        match (has_username, has_password) {
            (true, false) => reader.report(&key("password"), "must be set, since username is"),
            (false, true) => reader.report(&key("username"), "must be set, since password is"),
            _ => {}
        }
        if self.username.as_ref().is_some_and(|name| name.is_empty() || name.contains(':')) {
            // RFC 7617, section 2.
            reader.report(&key("username"), "must not be empty and must not contain a colon");
        }
        let ways =
            [(has_username || has_password, "password"), (has_api_key, "api_key"), (has_bearer_token, "bearer_token")];
        let given: Vec<&str> = ways.iter().filter(|(is_given, _)| *is_given).map(|(_, way)| *way).collect();
        if let [_, second, ..] = given.as_slice() {
            reader.report(
                &key(second),
                format!("only one way to authenticate may be given, not {}", given.join(" and ")),
            );
        }
        let password = reader.secret(&section, "password", self.password, self.password_file, any_secret);
        let api_key = reader.secret(&section, "api_key", self.api_key, self.api_key_file, header_secret);
        let bearer_token =
            reader.secret(&section, "bearer_token", self.bearer_token, self.bearer_token_file, header_secret);
        let Some(url) = self.url else {
            if !reader.has_problem(&key("url")) {
                reader.report(&key("url"), "must be set, since other keys of this endpoint are");
            }
            return None;
        };
        Some(EndpointConfig {
            url,
            kind: self.kind,
            username: self.username,
            password,
            api_key,
            bearer_token,
            ca_file: self.ca_file,
            timeout: self.timeout,
        })
    }
}

fn endpoint_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    leaf::parsed(deserializer, "a URL, such as https://search.example:9200", |text| leaf::http_url(text).map(Some))
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EndpointKind, D::Error> {
    leaf::word(deserializer, &[("cluster", EndpointKind::Cluster), ("proxy", EndpointKind::Proxy)])
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    leaf::span(deserializer, &TIMEOUT_BOUNDS)
}

fn index_pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    leaf::parsed(deserializer, "a text in quotes", |text| {
        let is_good = (1..=MAX_INDEX_PATTERN_CHARS).contains(&text.chars().count())
            && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_good {
            Ok(text.to_owned())
        } else {
            Err(format!("must be 1 to {MAX_INDEX_PATTERN_CHARS} characters without blanks, not {}", leaf::shown(text)))
        }
    })
}
