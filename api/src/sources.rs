//! Which source a task or a request may name: endpoint, index pattern, mapping, time range.
//!
//! Owns the check that only what is configured is named, since a server that searches any URL it is sent is a hole.
//! Checking asks nobody: whether an index exists is known to the search engine alone.

use std::collections::BTreeMap;

use hostsync_mapping::Mapping;
use hostsync_model::window::TimeRange;
use hostsync_service::config::{Config, ElasticsearchConfig};
use hostsync_service::defaults::Source;
use hostsync_source::{Endpoint, EndpointError, EndpointSettings, valid_index_pattern};

use crate::fields::{Problems, quoted};

/// What is configured.
#[derive(Debug)]
pub(crate) struct Sources {
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
        Ok(Self { elasticsearch: config.elasticsearch.clone(), mappings: config.mappings.clone(), clients })
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

    /// Checks the form of an index pattern; empty stays empty, for the default.
    pub(crate) fn index_pattern(pattern: &str, problems: &mut Problems) -> String {
        if !pattern.is_empty()
            && let Err(error) = valid_index_pattern(pattern)
        {
            problems.add("es_index_pattern", error.to_string());
        }
        pattern.to_owned()
    }

    /// Checks that a mapping is configured; empty stays empty, for the default.
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
}

/// Reads `query_time_range`; the default when it is absent.
pub(crate) fn time_range(text: Option<&str>, problems: &mut Problems) -> TimeRange {
    let Some(text) = text else {
        return TimeRange::default_range();
    };
    text.parse().unwrap_or_else(|error| {
        problems.add("query_time_range", format!("{error}, not {}", quoted(text)));
        TimeRange::default_range()
    })
}
