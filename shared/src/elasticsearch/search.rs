//! Reading many hosts at once.
//!
//! Owns the order of it: the types of the fields, then one search for each field that hosts stand in, put together.

use std::collections::HashMap;

use futures_util::future::try_join_all;

use super::endpoint::Endpoint;
use super::error::{RefusalKind, SearchError};
use crate::config::EndpointKind;
use crate::mapping::{FieldTypes, Found, HostReading, Mapping, PlanError, read_answer, search_body};
use crate::telemetry;
use crate::window::Window;

/// A search with what it asked by: what explains its answer, also where there is none.
#[derive(Debug)]
pub struct Asked {
    /// The fields that were asked for, resolved against the indices; `None`: that could not be done, or there was
    /// nothing to ask.
    pub types: Option<FieldTypes>,
    /// The answer.
    pub answer: Result<SearchAnswer, SearchError>,
}

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
    pub async fn search(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        hosts: &[String],
    ) -> Result<SearchAnswer, SearchError> {
        self.search_showing(index_pattern, mapping, window, hosts).await.answer
    }

    /// The same, with the fields that it asked by.
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
    pub async fn search_showing(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        hosts: &[String],
    ) -> Asked {
        let Some(first) = hosts.first() else {
            return Asked { types: None, answer: Ok(SearchAnswer { readings: HashMap::new(), took_ms: 0, shards: 0 }) };
        };
        let mut types = None;
        let answer = self.search_with_types(index_pattern, mapping, window, (hosts, first), &mut types).await;
        match &answer {
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
        let presentable = |error: SearchError| error.map_reason(|reason| self.presentable(Some(index_pattern), reason));
        let answer = answer.map_err(presentable);
        match &answer {
            // A search that is too large is asked again in parts; only a single host fails by it, in its batch.
            Ok(_) | Err(SearchError::TooLarge { .. }) => {}
            Err(error) => telemetry::set_failed(&tracing::Span::current(), error.reason()),
        }
        Asked { types, answer }
    }

    async fn search_with_types(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        (hosts, first): (&[String], &str),
        asked_by: &mut Option<FieldTypes>,
    ) -> Result<SearchAnswer, SearchError> {
        let types = self.types_for(index_pattern, mapping, window, first).await?;
        self.search_by(index_pattern, mapping, asked_by.insert(types), window, hosts).await
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
