//! Which source a request may name: endpoint, index pattern, mapping, and how far back it is read.
//!
//! Owns the check that only what is configured is named, since a server that searches any URL it is sent is a hole.
//! Checking asks nobody: whether an index exists is known to the search engine alone.

use std::collections::BTreeMap;

use hostsync_mapping::Mapping;
use hostsync_model::window::TimeRange;
use hostsync_service::config::{Config, ElasticsearchConfig};
use hostsync_service::defaults::{Defaults, Source};
use hostsync_source::{Endpoint, EndpointError, EndpointSettings, valid_index_pattern};
use serde_json::json;
use utoipa::openapi::Schema;

use crate::request::{Field, Fields, Problems, quoted, request, text_field, text_schema};

text_field! {
    /// Name or exact URL of a configured endpoint; empty means the default one.
    EndpointName, format "endpoint", default "", example "default"
}

text_field! {
    /// Name of a configured mapping; empty means the default one.
    MappingName, format "mapping", default "", example "zabbix"
}

/// Longest index pattern, in characters.
const MAX_PATTERN_CHARS: usize = 255;

/// An index pattern; empty means the default one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IndexPattern(pub(crate) String);

impl From<IndexPattern> for String {
    fn from(pattern: IndexPattern) -> Self {
        pattern.0
    }
}

impl Field for IndexPattern {
    fn schema() -> Schema {
        text_schema("index-pattern")
            .description(Some("Index pattern; empty means the default one."))
            .max_length(Some(MAX_PATTERN_CHARS))
            .default(Some("".into()))
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let pattern = fields.text(name)?;
        if !pattern.is_empty()
            && let Err(error) = valid_index_pattern(&pattern)
        {
            fields.problems().add(name, error.to_string());
        }
        Some(Self(pattern))
    }
}

impl Field for TimeRange {
    fn schema() -> Schema {
        text_schema("time-range")
            .description(Some(
                "How far back a run looks: a whole number and one of `m h d w`, from 1 minute to 366 days.",
            ))
            .default(Some(Self::default_range().as_str().into()))
            .examples([json!("24h")])
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name)?;
        match text.parse() {
            Ok(range) => Some(range),
            Err(error) => {
                fields.problems().add(name, format!("{error}, not {}", quoted(&text)));
                None
            }
        }
    }
}

request! {
    /// What is read.
    pub(crate) struct SourceFields as "SourceFields" {
        es_endpoint: Option<EndpointName>;
        es_index_pattern: Option<IndexPattern>;
        mapping: Option<MappingName>;
        query_time_range: Option<TimeRange>;
    }
}

/// What is configured.
#[derive(Debug)]
pub(crate) struct Sources {
    /// What holds where a request says nothing.
    pub(crate) defaults: Defaults,
    elasticsearch: ElasticsearchConfig,
    mappings: BTreeMap<String, Mapping>,
    clients: BTreeMap<String, Endpoint>,
}

impl Sources {
    /// Makes a client of each endpoint; connects to nothing.
    pub(crate) fn new(config: &Config) -> Result<Self, EndpointError> {
        let mut clients = BTreeMap::new();
        for (name, endpoint) in &config.elasticsearch.endpoints {
            clients.insert(name.clone(), Endpoint::new(EndpointSettings::configured(name, endpoint))?);
        }
        let (elasticsearch, mappings) = (config.elasticsearch.clone(), config.mappings.clone());
        Ok(Self { defaults: Defaults::from(config), elasticsearch, mappings, clients })
    }

    /// What a checked source is asked with; `None` only for one that was not checked here.
    pub(crate) fn client(&self, source: &Source) -> Option<(&Endpoint, &Mapping)> {
        Some((self.clients.get(&source.es_endpoint)?, self.mappings.get(&source.mapping)?))
    }

    /// The name of the endpoint that is named by name or exact URL; empty stays empty, for the default.
    pub(crate) fn endpoint(&self, name_or_url: &str, problems: &mut Problems) -> String {
        if name_or_url.is_empty() {
            return String::new();
        }
        if let Some((name, _)) = self.elasticsearch.endpoint_named(name_or_url) {
            return name.to_owned();
        }
        let known: Vec<&str> = self.elasticsearch.endpoints.keys().map(String::as_str).collect();
        problems.add(
            "es_endpoint",
            format!(
                "{} is no configured endpoint; name one of: {} (or its exact URL)",
                quoted(name_or_url),
                known.join(", ")
            ),
        );
        String::new()
    }

    /// The name of a configured mapping; empty stays empty, for the default.
    pub(crate) fn mapping(&self, name: &str, problems: &mut Problems) -> String {
        if !name.is_empty() && !self.mappings.contains_key(name) {
            let known: Vec<&str> = self.mappings.keys().map(String::as_str).collect();
            problems.add(
                "mapping",
                format!("{} is no configured mapping; name one of: {}", quoted(name), known.join(", ")),
            );
        }
        name.to_owned()
    }

    /// What a run reads that says so much of its source.
    pub(crate) fn source(&self, fields: SourceFields, problems: &mut Problems) -> (Source, TimeRange) {
        let endpoint = self.endpoint(&fields.es_endpoint.unwrap_or_default().0, problems);
        let mapping = self.mapping(&fields.mapping.unwrap_or_default().0, problems);
        let source = self.defaults.source(&endpoint, &fields.es_index_pattern.unwrap_or_default().0, &mapping);
        (source, fields.query_time_range.unwrap_or_else(TimeRange::default_range))
    }
}
