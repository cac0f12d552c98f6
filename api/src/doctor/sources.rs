//! Every configured endpoint, asked as a task with the default index pattern and mapping would ask it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use hostsync_mapping::Mapping;
use hostsync_model::window::{TimeRange, Window};
use hostsync_service::config::{Config, DEFAULT_INDEX_PATTERN};
use hostsync_service::tested::Tested;
use hostsync_source::EndpointConfig;
use hostsync_source::{Endpoint, EndpointSettings, Probe, Product};

use super::{Check, untested};

/// Longest time for one source; all are asked at once.
const LONGEST_PROBE: Duration = Duration::from_secs(20);

/// Patterns that are shown of a source that has not the one that is asked for.
const PATTERNS: usize = 5;

/// What is looked at: a source that got nothing for a day is dead.
const RANGE: &str = "24h";

pub(super) async fn examine(config: &Config, now: DateTime<Utc>) -> Vec<Check> {
    let Some(mapping) = config.mappings.get(&config.elasticsearch.default_mapping) else { return Vec::new() };
    let range = RANGE.parse().unwrap_or_else(|_| TimeRange::default_range());
    let window = Window::ending_at(now, &range);
    let endpoints = &config.elasticsearch.endpoints;
    join_all(endpoints.iter().map(|(name, endpoint)| source(config, name, endpoint, mapping, window))).await.concat()
}

async fn source(
    config: &Config,
    name: &str,
    endpoint: &EndpointConfig,
    mapping: &Mapping,
    window: Window,
) -> Vec<Check> {
    let check = format!("source {name}");
    let pattern = &config.elasticsearch.default_index_pattern;
    let client = match Endpoint::new(EndpointSettings::configured(name, endpoint)) {
        Ok(client) => client,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let next = format!("correct elasticsearch.endpoints.{name}");
            return vec![Check::fail(check, format!("{error}{cause}"), next)];
        }
    };
    let probe = client.probe(pattern, mapping, window, None, LONGEST_PROBE).await;
    let version = probe
        .product
        .zip(probe.version.as_deref())
        .and_then(|(product, version)| untested(&check, Tested::engine(product), version));
    let mut check = judge(check, name, config, &probe);
    if probe.index_exists == Some(false) {
        // It answers, but not this one: no more can be told.
        let asking = client.patterns(&mapping.time_field, PATTERNS);
        let patterns = tokio::time::timeout(LONGEST_PROBE, asking).await.ok().and_then(Result::ok).unwrap_or_default();
        check.next = suggestion(&patterns).or(check.next);
    }
    [check].into_iter().chain(version).collect()
}

/// What to set where the source has other patterns.
fn suggestion(patterns: &[String]) -> Option<String> {
    // A mapping is called after what writes its documents, and so, mostly, is their index.
    const FAMILIES: [&str; 2] = ["zabbix", "metricbeat"];
    let first = patterns.first()?;
    let family = |pattern: &String| FAMILIES.into_iter().find(|name| pattern.contains(name));
    let known = patterns.iter().find(|pattern| family(pattern).is_some()).unwrap_or(first);
    let (pattern, mapping) = (known, family(known));
    let mapping = mapping.map_or_else(
        || "elasticsearch.default_mapping to how they are read (docs/sources.md)".to_owned(),
        |mapping| format!("elasticsearch.default_mapping = {mapping:?}"),
    );
    let has = patterns.join(", ");
    Some(format!("the source has {has}: set elasticsearch.default_index_pattern = {pattern:?} and {mapping}"))
}

fn judge(check: String, name: &str, config: &Config, probe: &Probe) -> Check {
    let who = match (probe.product, &probe.version) {
        (Some(product @ Product::Elasticsearch), Some(version)) => {
            format!("Elasticsearch {version} (tested: {})", Tested::engine(product))
        }
        (Some(product @ Product::OpenSearch), Some(version)) => {
            format!("OpenSearch {version} (tested: {})", Tested::engine(product))
        }
        _ => "it does not say who it is".to_owned(),
    };
    let pattern = &config.elasticsearch.default_index_pattern;
    if let Some(reason) = probe.problems.first() {
        let next = next_step(name, reason, probe);
        // Its tasks may all have patterns of their own; and a pattern that nobody chose is no mistake of anybody's.
        let is_default = name == config.elasticsearch.default_endpoint;
        if probe.index_exists == Some(false) && !(is_default && pattern != DEFAULT_INDEX_PATTERN) {
            return Check::warn(
                check,
                reason.clone(),
                format!("fine if its tasks name a pattern of their own; else {next}"),
            );
        }
        return Check::fail(check, reason.clone(), next);
    }
    let documents = probe.documents.unwrap_or_default();
    let usable = probe.fields.iter().filter(|field| field.usable).count();
    let found = format!("{who}; {documents} documents in {RANGE} in {pattern}, {usable} fields");
    if documents == 0 {
        let next =
            format!("does anything still write there? Compare elasticsearch.default_index_pattern with {pattern}");
        return Check::warn(check, found, next);
    }
    Check::ok(check, found)
}

/// Where a reason is mended. The sentences are those of `hostsync_source`.
fn next_step(name: &str, reason: &str, probe: &Probe) -> String {
    let key = format!("elasticsearch.endpoints.{name}");
    if !probe.reachable {
        let is_trust = reason.contains("certificate") || reason.contains("TLS");
        return if is_trust {
            format!("set {key}.ca_file to the authority that signed the server's certificate")
        } else {
            format!("is the engine up, does {key}.url lead to it, does a network policy let us through?")
        };
    }
    if reason.contains("did not accept the credentials") {
        format!("correct username and password, api_key or bearer_token of {key}")
    } else if reason.contains("do not allow") {
        "give the user `read` and `view_index_metadata` on the index pattern".to_owned()
    } else if probe.index_exists == Some(false) {
        "correct elasticsearch.default_index_pattern, or see who writes the index".to_owned()
    } else if probe.fields.iter().any(|field| field.reason.is_some()) {
        "correct the mapping (mappings.<name>, elasticsearch.default_mapping) or the type of the field".to_owned()
    } else {
        format!("see {key}.url and {key}.kind, and docs/sources.md")
    }
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn a_pattern_of_a_family_that_we_know_is_suggested_with_its_mapping() {
        let of = |patterns: &[&str]| suggestion(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        let told = of(&["logs-*", "metricbeat-*"]).expect("a suggestion");
        assert!(told.contains("default_index_pattern = \"metricbeat-*\""), "{told}");
        assert!(
            told.contains("default_mapping = \"metricbeat\"") && told.contains("has logs-*, metricbeat-*"),
            "{told}"
        );
        let told = of(&["hosts"]).expect("a suggestion");
        assert!(told.contains("default_index_pattern = \"hosts\"") && told.contains("docs/sources.md"), "{told}");
    }
}
