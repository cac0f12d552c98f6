//! Reading many hosts at once.
//!
//! Owns the order of it: the types of the fields, then one search for each field that hosts stand in, put together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::json;

use super::endpoint::{Endpoint, LONG_ANSWER_BYTES};
use super::error::SearchError;
use crate::EndpointKind;
use hostsync_mapping::RefusalKind;
use hostsync_mapping::{
    AggregatesByHost, FieldTypes, HostReading, MAX_BUCKETS, Mapping, Metric, PlanError, Slices, check_answer,
    count_body, read_answer, search_body,
};
use hostsync_metrics::spans;
use hostsync_model::window::Window;

/// Pause before the second look at a refusal: an alias that is moved in two steps is back by then.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(1);

/// Age at which field types are looked up again before they are believed that no host has any data.
const DOUBTED_AFTER: Duration = Duration::from_secs(10);

/// Longest time for the search that probes a pattern.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// Bytes of an answer beside what is said of the hosts: failed shards, clusters.
const BYTES_OF_ALL: usize = 256 << 10;

/// Bytes of an answer for each host: some 25 numbers with their names, a quarter of it in practice.
const BYTES_OF_HOST: usize = 4 << 10;

/// Bytes of an answer for one part of a host in one slice of time, such as a mount point: two numbers, the
/// times of its documents, and a long name.
const BYTES_OF_PART: usize = 450;

/// Parts of one host in one slice of time that an answer has room for, such as the mount points of a host with many
/// containers.
const MAX_PARTS: usize = 500;

/// Largest answer to a search for so many hosts, in bytes after decompression. A larger one is given up while it is read, as
/// [`SearchError::TooLarge`]: fewer hosts are asked for, and one that is too much alone spends its attempt.
pub fn max_answer_bytes(mapping: &Mapping, window: Window, hosts: usize) -> usize {
    let splits = Metric::ALL.into_iter().filter(|metric| mapping.metric(*metric).split.is_some()).count();
    let slices = usize::try_from(Slices::of(window).count).unwrap_or(usize::MAX).saturating_mul(splits);
    let parts = hosts.saturating_mul(slices).saturating_mul(MAX_PARTS);
    let most_parts = usize::try_from(MAX_BUCKETS).unwrap_or(usize::MAX);
    BYTES_OF_ALL + hosts.saturating_mul(BYTES_OF_HOST) + parts.min(most_parts) * BYTES_OF_PART
}

/// How a search went: the fields that it used and its answer. Both explain a host's result later, also where there is no answer.
#[derive(Debug)]
pub struct SearchReport {
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
    /// [`max_hosts`](hostsync_mapping::max_hosts). The types of the fields are looked up before the first search
    /// of an index pattern and mapping (through a query proxy: and window), and remembered for 5 minutes, or until an
    /// answer makes no sense, comes from another number of shards, or finds nobody. A refusal is looked at twice.
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
        self.search_with_report(index_pattern, mapping, window, hosts).await.answer
    }

    /// The same, with the fields that it used.
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
    pub async fn search_with_report(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        hosts: &[String],
    ) -> SearchReport {
        let Some(first) = hosts.first() else {
            return SearchReport {
                types: None,
                answer: Ok(SearchAnswer { readings: HashMap::new(), took_ms: 0, shards: 0 }),
            };
        };
        let mut types = None;
        // On the heap: the future of a look-up and two searches is large.
        let with_first = (hosts, first.as_str());
        let mut answer = Box::pin(self.search_with_types(index_pattern, mapping, window, with_first, &mut types)).await;
        // A refusal is believed when it is seen twice. Of credentials the fleet decides, not one process.
        if matches!(&answer, Err(SearchError::Refused { kind, .. }) if *kind != RefusalKind::Credentials) {
            self.field_types.forget(index_pattern, mapping);
            self.identity.forget();
            tokio::time::sleep(SECOND_LOOK_AFTER).await;
            answer = Box::pin(self.search_with_types(index_pattern, mapping, window, with_first, &mut types)).await;
        }
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
            Err(error) => spans::set_failed(&tracing::Span::current(), error.reason()),
        }
        SearchReport { types, answer }
    }

    async fn search_with_types(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        (hosts, first): (&[String], &str),
        types_used: &mut Option<FieldTypes>,
    ) -> Result<SearchAnswer, SearchError> {
        let known = self.pattern_fields(index_pattern, mapping, window, first).await?;
        let types = types_used.insert(known.types);
        let mut answer = self.search_by(index_pattern, mapping, types, window, hosts).await?;
        let are_others = known.shards.is_some_and(|shards| shards != answer.shards);
        let is_in_doubt = answer.readings.is_empty() && known.looked_up.elapsed() >= DOUBTED_AFTER;
        if are_others || is_in_doubt {
            self.field_types.forget(index_pattern, mapping);
            let fresh = self.pattern_fields(index_pattern, mapping, window, first).await?;
            if fresh.types != *types {
                let types = types_used.insert(fresh.types);
                answer = self.search_by(index_pattern, mapping, types, window, hosts).await?;
            }
        }
        self.field_types.saw_shards(index_pattern, mapping, self.of_window(window), answer.shards);
        Ok(answer)
    }

    /// The search by which a pattern is probed that could not be searched: the one that failed, or one for the mere number of
    /// documents where nothing was sent.
    pub fn probe_of(mapping: &Mapping, types: Option<&FieldTypes>, window: Window, hosts: &[String]) -> String {
        let searched = types.and_then(|types| search_body(mapping, types, types.hosts.first()?, window, hosts).ok());
        searched.unwrap_or_else(|| count_body(mapping, window)).to_string()
    }

    /// Whether a pattern can be searched again, by [`Self::probe_of`]. Whatever the engine makes of the search, it must come
    /// to an answer; one that takes longer than a probe may shows by [`Self::ping`] that the engine is at work on it.
    ///
    /// # Errors
    ///
    /// [`SearchError::Outage`]: it cannot.
    pub async fn probe_pattern(&self, index_pattern: &str, probe: &str) -> Result<(), SearchError> {
        let asked = async {
            // What another release has stored may be of another form.
            let body = serde_json::from_str(probe).unwrap_or_else(|_| json!({"size": 0}));
            let answer = self.ask(index_pattern, &body, LONG_ANSWER_BYTES).await?;
            Ok(check_answer(&answer)?)
        };
        match tokio::time::timeout(PROBE_TIME, asked).await {
            Ok(Err(error @ SearchError::Outage { .. })) => {
                Err(error.map_reason(|reason| self.presentable(Some(index_pattern), reason)))
            }
            Ok(Err(SearchError::TimedOut { .. })) | Err(_) => self.ping().await,
            Ok(Ok(()) | Err(_)) => Ok(()),
        }
    }

    /// The indices that a search of this pattern reads, as they were last looked up; `None`: nothing is remembered, or a
    /// query proxy does not say. A list that was looked up anew is another allocation.
    pub fn indices_of(&self, index_pattern: &str, mapping: &Mapping) -> Option<Arc<[String]>> {
        self.field_types.get(index_pattern, mapping, None)?.indices
    }

    /// The error of a search by a doubted field: where it names the field, the doubt was right, and the search is refused for it.
    fn confirm_doubt(types: &FieldTypes, error: SearchError) -> SearchError {
        let (SearchError::Refused { reason, kind: RefusalKind::Other } | SearchError::Incomplete { reason }) = &error
        else {
            return error;
        };
        match types.doubt() {
            Some(doubt) if reason.contains(&format!("[{}", doubt.field)) => SearchError::Refused {
                reason: format!("{}; the search engine says: {reason}", doubt.reason),
                kind: RefusalKind::Field,
            },
            _ => error,
        }
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
            let max_bytes = max_answer_bytes(mapping, window, hosts.len());
            let asked = async {
                let answer = self.ask(index_pattern, &body, max_bytes).await?;
                Ok(read_answer(mapping, types, host_field, hosts, &answer)?)
            };
            asked.await.map_err(|error| self.bad_mapping(mapping, Self::confirm_doubt(types, error)))
        });
        let mut aggregates = AggregatesByHost::default();
        let (mut took_ms, mut shards) = (0, 0_u64);
        for answer in try_join_all(searches).await? {
            aggregates.add(answer.hosts);
            took_ms = took_ms.max(answer.took_ms);
            shards = shards.saturating_add(answer.shards);
        }
        Ok(SearchAnswer { readings: aggregates.readings(mapping, window), took_ms, shards })
    }
}
