//! Reading many hosts at once.
//!
//! Owns the order of it: the types of the fields, then one search for each field that hosts stand in, put together.

use std::collections::HashMap;

use futures_util::future::try_join_all;

use super::endpoint::Endpoint;
use super::error::{RefusalKind, SearchError};
use crate::config::EndpointKind;
use crate::mapping::{FieldTypes, Found, HostReading, Mapping, PlanError, read_answer, search_body};
use crate::window::Window;

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchAnswer {
    /// The hosts that have data, by the text that they were asked for with; the others have none.
    pub readings: HashMap<String, HostReading>,
    /// Milliseconds that the search engine took, by its own account.
    pub took_ms: u64,
    /// Shards that were searched.
    pub shards: u64,
}

impl Endpoint {
    /// Reads many hosts in one window with one search; with two at once where some indices of the pattern have the
    /// host as a keyword and others as a text.
    ///
    /// `hosts` are the addresses as they stand in the documents, each once, at most
    /// [`max_hosts`](crate::mapping::max_hosts). The types of the fields are looked up before the first search
    /// of an index pattern and mapping (through a query proxy: and window), and remembered for 5 minutes or until an
    /// answer makes no sense.
    ///
    /// # Errors
    ///
    /// [`SearchError`], and then nothing may be concluded about any host.
    #[tracing::instrument(
        name = "elasticsearch.search",
        skip_all,
        fields(
            endpoint = self.name(),
            index = index_pattern,
            hosts = hosts.len(),
            hosts_with_data = tracing::field::Empty,
            took_ms = tracing::field::Empty,
        )
    )]
    pub async fn search(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        hosts: &[String],
    ) -> Result<SearchAnswer, SearchError> {
        let Some(first) = hosts.first() else {
            return Ok(SearchAnswer { readings: HashMap::new(), took_ms: 0, shards: 0 });
        };
        let result = self.search_with_types(index_pattern, mapping, window, hosts, first).await;
        match &result {
            Ok(answer) => {
                let span = tracing::Span::current();
                span.record("hosts_with_data", answer.readings.len());
                span.record("took_ms", answer.took_ms);
            }
            Err(SearchError::Refused { .. } | SearchError::Incomplete { .. }) => {
                self.field_types.forget(index_pattern, mapping);
            }
            Err(_) => {}
        }
        result.map_err(|error| error.map_reason(|reason| self.presentable(Some(index_pattern), reason)))
    }

    async fn search_with_types(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        hosts: &[String],
        first: &str,
    ) -> Result<SearchAnswer, SearchError> {
        let types = self.types_for(index_pattern, mapping, window, first).await?;
        self.search_by(index_pattern, mapping, &types, window, hosts).await
    }

    /// Through a query proxy only the search itself shows that a metric is a text in some of the indices. That will
    /// not change; a host field that has become one is looked up again.
    fn bad_mapping(&self, mapping: &Mapping, error: SearchError) -> SearchError {
        match error {
            SearchError::Incomplete { reason }
                if self.kind == EndpointKind::Proxy
                    && reason.contains("fielddata=true on [")
                    && !reason.contains(&format!("[{}]", mapping.host_field)) =>
            {
                SearchError::Refused { reason, kind: RefusalKind::Field }
            }
            error => error,
        }
    }

    pub(super) async fn search_by(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        types: &FieldTypes,
        window: Window,
        hosts: &[String],
    ) -> Result<SearchAnswer, SearchError> {
        let searches = types.hosts.iter().map(async |host_field| {
            let body = search_body(mapping, types, host_field, window, hosts).map_err(|error| match error {
                PlanError::TooManyHosts { .. } => SearchError::TooLarge { reason: error.to_string() },
                PlanError::NoHosts => SearchError::Refused { reason: error.to_string(), kind: RefusalKind::Other },
            })?;
            let answer = self.ask(index_pattern, &body).await?;
            let answer = read_answer(mapping, types, host_field, hosts, &answer).map_err(SearchError::from);
            answer.map_err(|error| self.bad_mapping(mapping, error))
        });
        let mut found = Found::default();
        let (mut took_ms, mut shards) = (0, 0_u64);
        for answer in try_join_all(searches).await? {
            found.add(answer.found);
            took_ms = took_ms.max(answer.took_ms);
            shards = shards.saturating_add(answer.shards);
        }
        Ok(SearchAnswer { readings: found.readings(mapping), took_ms, shards })
    }
}
