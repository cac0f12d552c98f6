//! Which index patterns a source has, for who has named one that it has not.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::endpoint::Endpoint;
use super::error::SearchError;
use crate::EndpointKind;

#[derive(Deserialize)]
struct IndexList {
    #[serde(default)]
    indices: Vec<String>,
}

impl Endpoint {
    /// The patterns of the open indices, the one of the most indices first, at most `limit`; none through a query proxy.
    ///
    /// # Errors
    ///
    /// The source's.
    pub async fn patterns(&self, time_field: &str, limit: usize) -> Result<Vec<String>, SearchError> {
        if self.kind != EndpointKind::Cluster {
            return Ok(Vec::new());
        }
        let answer = self.field_caps("*", &[time_field.to_owned()]).await?;
        let caps: IndexList = serde_json::from_slice(&answer).map_err(|error| SearchError::Incomplete {
            reason: format!("the list of indices cannot be read: {error}"),
        })?;
        Ok(patterns_of(&caps.indices, limit))
    }
}

/// The patterns of indices by name. What begins with a dot is the engine's own, but for the indices of a data stream.
fn patterns_of(indices: &[String], limit: usize) -> Vec<String> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for index in indices {
        let name = index.strip_prefix(".ds-").unwrap_or(index);
        if !name.starts_with('.') {
            *found.entry(pattern_of(name)).or_default() += 1;
        }
    }
    let mut found: Vec<(String, usize)> = found.into_iter().collect();
    found.sort_by_key(|(_, indices)| std::cmp::Reverse(*indices));
    found.into_iter().take(limit).map(|(pattern, _)| pattern).collect()
}

/// A name without the versions, dates and numbers at its end.
fn pattern_of(name: &str) -> String {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'));
    let end = &name[stem.len()..];
    match end.chars().next() {
        Some(separator) if end.contains(|c: char| c.is_ascii_digit()) && !stem.is_empty() => {
            if separator.is_ascii_digit() { format!("{stem}*") } else { format!("{stem}{separator}*") }
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_by_day_and_version_is_one_pattern() {
        for (name, pattern) in [
            ("metricbeat-8.11.0-2026.11.29-000001", "metricbeat-*"),
            ("data-zabbix-host-monitor-2026.11", "data-zabbix-host-monitor-*"),
            ("logs_2026_11", "logs_*"),
            ("hosts2", "hosts*"),
            ("hosts", "hosts"),
            ("2026.11.29", "2026.11.29"),
            ("hosts-", "hosts-"),
        ] {
            assert_eq!(pattern_of(name), pattern, "{name}");
        }
    }

    #[test]
    fn the_pattern_of_the_most_indices_comes_first_and_the_engines_own_do_not_come() {
        let names =
            ["logs-1", ".ds-metricbeat-8.1-2026.11.28-000001", ".ds-metricbeat-8.1-2026.11.29-000002", ".kibana_1"];
        let names = names.map(str::to_owned);
        assert_eq!(patterns_of(&names, 5), ["metricbeat-*", "logs-*"]);
        assert_eq!(patterns_of(&names, 1), ["metricbeat-*"]);
    }
}
