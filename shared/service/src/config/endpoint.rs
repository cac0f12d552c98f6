//! The section `elasticsearch`: the endpoints by name, and what a task uses that names nothing.
//!
//! Owns which endpoints exist. A task or a request may name only one of them, by name or by exact URL: a
//! server that queries any URL it is sent is a hole. Credentials stand here and never in the database.
//! How an endpoint is spoken to is the elasticsearch module's matter.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::section::section;
use super::table::Table;
use super::value_kind;
use hostsync_model::secret::Secret;
use hostsync_source::{EndpointConfig, EndpointKind};

/// The index pattern of who says none: that of the installations that hostsync was made for, so elsewhere it may match
/// nothing.
pub const DEFAULT_INDEX_PATTERN: &str = "cluster*:data-zabbix-host-monitor-*";

/// Most characters of an index pattern: the column that keeps a task's.
const MAX_INDEX_PATTERN_CHARS: usize = 255;

section! {
    /// The endpoints by name, and what a task uses that names nothing. The default endpoint is known to be among them for
    /// the worker and the API ([`super::Config::check`]).
    pub struct ElasticsearchConfig {
        default_endpoint: String = "default", value_kind::text(), "name of the endpoint of tasks that name none";
        default_index_pattern: String = DEFAULT_INDEX_PATTERN, index_pattern(), "index pattern of tasks that name none";
        default_mapping: String = "zabbix", value_kind::text(), "mapping of tasks that name none";
        ..endpoints: BTreeMap<String, EndpointConfig>, "By name: 1–64 of `a-z 0-9 _ -`.";
    }
}

section! {
    for EndpointConfig, check one_way_to_authenticate {
        url: Url, value_kind::url_that("a URL, such as https://search.example:9200", |_| Ok(())),
            "http:// or https://, without user and password";
        kind: EndpointKind = "cluster",
            value_kind::word(&[("cluster", EndpointKind::Cluster), ("proxy", EndpointKind::Proxy)]),
            "cluster, or proxy: a query proxy";
        username: Option<String>, value_kind::text_that(username), "with password: basic authentication";
        password: Option<Secret>, value_kind::secret(value_kind::any_secret), "with username";
        api_key: Option<Secret>, value_kind::secret(value_kind::header_secret),
            "an Elasticsearch API key in its encoded form";
        bearer_token: Option<Secret>, value_kind::secret(value_kind::header_secret), "a bearer token";
        ca_file: Option<PathBuf>, value_kind::path(), "PEM file of the authority that signed its certificate";
        timeout: Duration = "30s", value_kind::span("1s", "10m"), "of one search";
    }
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
            let url = value_kind::http_url(name_or_url).ok()?;
            named(&self.default_endpoint)
                .into_iter()
                .chain(self.endpoints.iter().map(|(name, endpoint)| (name.as_str(), endpoint)))
                .find(|(_, endpoint)| endpoint.url == url)
        })
    }
}

fn one_way_to_authenticate(_: Option<&EndpointConfig>, table: &mut Table<'_>) {
    let (has_username, has_password) = (table.has("username"), table.has("password"));
    match (has_username, has_password) {
        (true, false) => table.report(["password"], "must be set, since username is"),
        (false, true) => table.report(["username"], "must be set, since password is"),
        _ => {}
    }
    let ways = [
        (has_username || has_password, "password"),
        (table.has("api_key"), "api_key"),
        (table.has("bearer_token"), "bearer_token"),
    ];
    let given: Vec<&str> = ways.iter().filter(|(is_given, _)| *is_given).map(|(_, way)| *way).collect();
    if let [_, second, ..] = given.as_slice() {
        table.report([*second], format!("only one way to authenticate may be given, not {}", given.join(" and ")));
    }
}

/// RFC 7617, section 2.
fn username(text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains(':') {
        return Err("must not be empty and must not contain a colon".to_owned());
    }
    Ok(())
}

fn index_pattern() -> value_kind::ValueKind<String> {
    value_kind::text_of(format!("1 to {MAX_INDEX_PATTERN_CHARS} characters without blanks"), |text| {
        (1..=MAX_INDEX_PATTERN_CHARS).contains(&text.chars().count())
            && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}
