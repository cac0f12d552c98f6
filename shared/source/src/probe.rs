//! What a task would read, before it is saved: one screenful about a source.
//!
//! Owns the order of the questions; each is asked as far as those before it allow, and what goes wrong is a sentence
//! in the answer, not an error. It writes nothing and remembers nothing but what a search remembers too.

use std::time::Duration;

use serde::Serialize;

use super::endpoint::Endpoint;
use super::error::SearchError;
use super::identity::Product;
use crate::EndpointKind;
use hostsync_mapping::RefusalKind;
use hostsync_mapping::{
    FieldTypes, FieldTypesError, FieldUse, GroupCursor, GroupHosts, GroupMember, GroupPage, HostReading, Mapping,
    Slices, max_hosts,
};
use hostsync_model::window::Window;

/// Addresses looked at to find a host that can be shown.
const SAMPLE: usize = 100;

/// A host of a probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbedHost {
    /// The one that was asked for, else the first that was found.
    pub host_ip: String,
    /// What was measured of it; `None`: it has no documents in the window.
    pub reading: Option<HostReading>,
}

/// What is known of a source.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Probe {
    /// Whether anybody answers.
    pub reachable: bool,
    /// Who answers; `None` if it does not say, as a query proxy.
    pub product: Option<Product>,
    /// Its version.
    pub version: Option<String>,
    /// Whether an index matches the pattern; `None` if that could not be found out.
    pub index_exists: Option<bool>,
    /// How many do; `None` through a query proxy.
    pub indices: Option<usize>,
    /// Every field of the mapping, with its types and whether it can be used.
    pub fields: Vec<FieldUse>,
    /// Documents of the mapping in the window, exactly.
    pub documents: Option<u64>,
    /// One host's numbers.
    pub host: Option<ProbedHost>,
    /// Length of a slice of time in seconds, where a metric is split.
    pub slice_seconds: Option<u64>,
    /// Most hosts in one search.
    pub max_hosts: usize,
    /// What is wrong, each a sentence; empty: a task would read this source.
    pub problems: Vec<String>,
}

impl Endpoint {
    /// Asks everything that a task would need to know of this source. What is not answered within `longest` stays
    /// unknown, and a problem says so.
    pub async fn probe(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        host: Option<&str>,
        longest: Duration,
    ) -> Probe {
        let is_split = mapping.disk.split.is_some() || mapping.memory.split.is_some() || mapping.cpu.split.is_some();
        let mut probe = Probe {
            fields: FieldTypes::undescribed(mapping),
            slice_seconds: is_split.then(|| Slices::of(window).seconds),
            max_hosts: max_hosts(mapping, window),
            ..Probe::default()
        };
        let asking = self.ask_all(index_pattern, mapping, window, host, &mut probe);
        let asked = tokio::time::timeout(longest, asking).await;
        let too_slow = |_| {
            let reason = format!("not everything was answered within {} s", longest.as_secs_f64());
            Err(SearchError::TimedOut { reason })
        };
        if let Err(error) = asked.unwrap_or_else(too_slow) {
            let reason = error.map_reason(|reason| self.presentable(Some(index_pattern), reason)).reason().to_owned();
            if !probe.problems.contains(&reason) {
                probe.problems.push(reason);
            }
        }
        probe
    }

    async fn ask_all(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        host: Option<&str>,
        probe: &mut Probe,
    ) -> Result<(), SearchError> {
        if let Err(error) = self.ping().await {
            // It has its endpoint before it already.
            probe.problems.push(error.reason().to_owned());
            return Ok(());
        }
        probe.reachable = true;
        if let Some(identity) = self.identify().await? {
            let defect = identity.defect();
            probe.product = Some(identity.product);
            probe.version = Some(identity.version);
            if let Some(reason) = defect {
                return Err(SearchError::Refused { reason, kind: RefusalKind::Other });
            }
        }
        let documents = self.count(index_pattern, mapping, window).await;
        if let Err(SearchError::Refused { reason, .. }) = &documents {
            let is_missing = reason.contains("no index matches") || reason.contains("does not exist");
            probe.index_exists = is_missing.then_some(false);
        }
        probe.documents = Some(documents?);
        probe.index_exists = Some(true);
        if self.kind == EndpointKind::Cluster {
            let answer = self.field_caps(index_pattern, &FieldTypes::all_to_ask_for(mapping)).await?;
            let of_types = |error: FieldTypesError| SearchError::Incomplete { reason: error.to_string() };
            probe.indices = Some(FieldTypes::indices(&answer).map_err(of_types)?.len());
            probe.fields = FieldTypes::describe(mapping, &answer).map_err(of_types)?;
            probe.problems.extend(probe.fields.iter().filter_map(|field| field.reason.clone()));
            let is_name = |field: &FieldUse| matches!(field.key.as_str(), "host_name_field" | "group_field");
            if probe.fields.iter().any(|field| !field.usable && !is_name(field)) {
                return Ok(());
            }
        }
        let host = match host {
            Some(host) => Some(host.to_owned()),
            None => self.any_host(index_pattern, mapping, window).await?,
        };
        if let Some(host_ip) = host {
            let known = self.pattern_fields(index_pattern, mapping, window, &host_ip).await?;
            let mut answer =
                self.search_by(index_pattern, mapping, &known.types, window, std::slice::from_ref(&host_ip)).await?;
            probe.host = Some(ProbedHost { reading: answer.readings.remove(&host_ip), host_ip });
        }
        Ok(())
    }

    /// Some host with documents in the window.
    async fn any_host(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
    ) -> Result<Option<String>, SearchError> {
        // Names and groups are of no interest here, and may be unusable.
        let mapping = Mapping { host_name_field: None, group_field: None, ..mapping.clone() };
        let fields = self.group_fields(index_pattern, &mapping, window).await?;
        for host_field in 0..fields.types.hosts.len() {
            let cursor = GroupCursor { host_field, ..GroupCursor::default() };
            let page = self.page(index_pattern, &mapping, window, &fields, None, (&cursor, SAMPLE)).await?;
            // The text of the documents, by which a keyword is found again.
            let usable = |address: &String| {
                let page = GroupPage {
                    members: vec![GroupMember { address: address.clone(), names: Vec::new() }],
                    has_several_addresses: false,
                    next: None,
                };
                !GroupHosts::of([page]).hosts.is_empty()
            };
            if let Some(address) = page.members.into_iter().map(|member| member.address).find(usable) {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }
}
