//! How the fields of a mapping stand in the indices of a pattern: asked once, remembered for minutes.
//!
//! Owns the two ways to find out. A cluster has `_field_caps`. A query proxy has no such call: it is searched as if
//! the host field were a keyword, and where the engine says that it is a text, its `.keyword` is used; a metric is
//! asked for in every shape that its mapping allows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::endpoint::{Endpoint, LONG_ANSWER_BYTES, SHORT_ANSWER_BYTES, Told};
use super::error::SearchError;
use super::field_types_cache::Known;
use super::index_pattern::valid_index_pattern;
use crate::EndpointKind;
use hostsync_mapping::RefusalKind;
use hostsync_mapping::{
    EngineError, Failures, FieldTypes, FieldTypesError, Grouping, KEYWORD_SUFFIX, Mapping, Metric, NameField,
    check_answer, count_body, last_body, read_count, read_last,
};
use hostsync_model::window::Window;

/// Most indices of a pattern that are told apart through a query proxy.
const MAX_INDICES: u64 = 10_000;

/// Most indices of a pattern that are looked into where a flag says that a field cannot be searched.
const MAX_DOUBTED_INDICES: usize = 1_000;

/// The fields by which a group is searched.
pub(super) struct GroupFields {
    pub(super) types: FieldTypes,
    pub(super) name: Option<NameField>,
    pub(super) group: Option<NameField>,
}

impl Endpoint {
    /// What is known of the indices of a search, remembered or looked up. Remembers it.
    pub(super) async fn known_for(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        host: &str,
    ) -> Result<Known, SearchError> {
        valid_index_pattern(index_pattern)?;
        let of_window = self.of_window(window);
        if let Some(known) = self.field_types.get(index_pattern, mapping, of_window) {
            return Ok(known);
        }
        let known = match self.kind {
            EndpointKind::Cluster => {
                let legacy_interval = self.legacy_interval().await?;
                let answer = self.field_caps(index_pattern, &FieldTypes::to_ask_for(mapping)).await?;
                let read =
                    FieldTypes::read(mapping, &answer).and_then(|types| Ok((types, FieldTypes::indices(&answer)?)));
                let (types, indices) = match read {
                    Ok(read) => read,
                    Err(error) => return Err(self.types_error(index_pattern, mapping, window, error).await),
                };
                self.check_doubt(index_pattern, mapping, &types).await?;
                Known::now(if legacy_interval { types.with_legacy_interval() } else { types }, Some(indices))
            }
            EndpointKind::Proxy => {
                Known::now(self.types_by_searching(index_pattern, mapping, window, Some(host)).await?, None)
            }
        };
        self.field_types.put(index_pattern, mapping, of_window, known.clone());
        Ok(known)
    }

    /// Whether documents are found by their time and host where a flag says that they are not. Elasticsearch 7 refuses some
    /// searches by a field without an index, and finds nothing by others without a word (a range of dates, a list of
    /// addresses): one host of each index is looked for.
    async fn check_doubt(&self, index_pattern: &str, mapping: &Mapping, types: &FieldTypes) -> Result<(), SearchError> {
        let (Some(doubt), Some(host)) = (types.doubt(), types.hosts.first()) else { return Ok(()) };
        if doubt.field != mapping.time_field && doubt.field != mapping.host_field {
            return Ok(());
        }
        let because = |why: &str| SearchError::Refused {
            reason: format!("{}; the search engine says: {why}", doubt.reason),
            kind: RefusalKind::Field,
        };
        let by_index = json!({"terms": {"field": "_index", "size": MAX_DOUBTED_INDICES}});
        let mut there =
            json!({"size": 0, "query": {"exists": {"field": mapping.time_field}}, "aggs": {"indices": by_index}});
        there["aggs"]["indices"]["aggs"] = json!({"hosts": {"terms": {"field": host.field, "size": 1}}});
        let asked = async {
            let there = self.indices_in(index_pattern, &there).await?;
            let hosts: BTreeSet<&String> = there.values().flatten().collect();
            let by_both = json!({
                "size": 0,
                "query": {"bool": {"filter": [
                    {"terms": {&host.field: hosts}},
                    {"range": {&mapping.time_field: {"gte": 0, "format": "epoch_millis"}}},
                ]}},
                "aggs": {"indices": by_index},
            });
            let found =
                if hosts.is_empty() { BTreeMap::new() } else { self.indices_in(index_pattern, &by_both).await? };
            let is_lost = |(index, host): &(&String, &Option<String>)| host.is_some() && !found.contains_key(*index);
            Ok(there.iter().find(is_lost).map(|(index, _)| index.clone()))
        };
        match asked.await {
            Ok(None) => Ok(()),
            Ok(Some(index)) => Err(because(&format!("nothing is found by it in {index}, since it is not indexed"))),
            // Incomplete: in some of the indices only. What is not about this field is told as it is.
            Err(SearchError::Refused { reason, kind: RefusalKind::Other } | SearchError::Incomplete { reason })
                if reason.contains(&format!("[{}", doubt.field)) =>
            {
                Err(because(&reason))
            }
            Err(error) => Err(error),
        }
    }

    /// The indices of an answer, each with its first host if one was asked for.
    async fn indices_in(
        &self,
        index_pattern: &str,
        body: &Value,
    ) -> Result<BTreeMap<String, Option<String>>, SearchError> {
        #[derive(Deserialize)]
        struct Answer {
            aggregations: Aggregations,
        }
        #[derive(Deserialize)]
        struct Aggregations {
            indices: Buckets,
        }
        #[derive(Deserialize)]
        struct Buckets {
            buckets: Vec<Bucket>,
        }
        #[derive(Deserialize)]
        struct Bucket {
            key: String,
            #[serde(default)]
            hosts: Option<Buckets>,
        }
        let answer = self.ask(index_pattern, body, LONG_ANSWER_BYTES).await?;
        check_answer(&answer)?;
        let malformed = |_| SearchError::Incomplete { reason: "the answer on indices is malformed".to_owned() };
        let Answer { aggregations } = serde_json::from_slice(&answer).map_err(malformed)?;
        let host = |hosts: Buckets| hosts.buckets.into_iter().next().map(|host| host.key);
        let one = |bucket: Bucket| (bucket.key, bucket.hosts.and_then(host));
        Ok(aggregations.indices.buckets.into_iter().map(one).collect())
    }

    /// Through a query proxy, what is known is known of the documents of one window.
    pub(super) fn of_window(&self, window: Window) -> Option<Window> {
        (self.kind == EndpointKind::Proxy).then_some(window)
    }

    async fn legacy_interval(&self) -> Result<bool, SearchError> {
        let Some(identity) = self.identify().await? else { return Ok(false) };
        match identity.defect() {
            Some(reason) => Err(SearchError::Refused { reason, kind: RefusalKind::Other }),
            None => Ok(identity.has_legacy_interval_only()),
        }
    }

    /// A cluster that cannot be reached is left out of field types without a word; a search names it.
    async fn types_error(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        error: FieldTypesError,
    ) -> SearchError {
        match &error {
            FieldTypesError::Malformed { is_cut: true, .. } => {
                return SearchError::Outage { reason: error.to_string(), busy: false };
            }
            FieldTypesError::Malformed { .. } => return SearchError::Incomplete { reason: error.to_string() },
            FieldTypesError::Unusable { .. } => {
                return SearchError::Refused { reason: error.to_string(), kind: RefusalKind::Field };
            }
            FieldTypesError::NoIndex | FieldTypesError::Missing { .. } => {}
        }
        let searched = self.count(index_pattern, mapping, window).await;
        match (error, searched) {
            (FieldTypesError::NoIndex, Err(error)) => error,
            (error @ FieldTypesError::NoIndex, Ok(_)) => SearchError::Incomplete { reason: error.to_string() },
            (error, Ok(_) | Err(SearchError::Refused { .. })) => {
                SearchError::Refused { reason: error.to_string(), kind: RefusalKind::Field }
            }
            (_, Err(error)) => error,
        }
    }

    /// How many documents of the mapping there are in the window, exactly.
    pub(super) async fn count(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
    ) -> Result<u64, SearchError> {
        let answer = self.ask(index_pattern, &count_body(mapping, window), SHORT_ANSWER_BYTES).await?;
        Ok(read_count(&answer)?)
    }

    /// When the last document of a host was, of all those before the end of the window; `None`: it has none.
    ///
    /// # Errors
    ///
    /// [`SearchError`], and then nothing may be concluded about the host.
    pub async fn last_document(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        host: &str,
    ) -> Result<Option<DateTime<Utc>>, SearchError> {
        let asked = async {
            let known = self.known_for(index_pattern, mapping, window, host).await?;
            let mut last = None;
            for host_field in &known.types.hosts {
                let body = last_body(mapping, host_field, window, host);
                let answer = self.ask(index_pattern, &body, SHORT_ANSWER_BYTES).await?;
                last = last.max(read_last(host_field, &answer)?);
            }
            Ok(last)
        };
        let presentable = |error: SearchError| error.map_reason(|reason| self.presentable(Some(index_pattern), reason));
        asked.await.map_err(presentable)
    }

    /// The types of the fields by which a group is searched; its names too.
    pub(super) async fn group_fields(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
    ) -> Result<GroupFields, SearchError> {
        valid_index_pattern(index_pattern)?;
        if self.kind == EndpointKind::Proxy {
            let grouping = async |key: &str, field: &Option<String>| match field {
                None => Ok(None),
                Some(field) => {
                    let found = self.grouping_by_searching(index_pattern, mapping, window, None, key, field).await?;
                    Ok::<_, SearchError>(Some(found.name_field(field)))
                }
            };
            return Ok(GroupFields {
                types: self.types_by_searching(index_pattern, mapping, window, None).await?,
                name: grouping("host_name_field", &mapping.host_name_field).await?,
                group: grouping("group_field", &mapping.group_field).await?,
            });
        }
        self.legacy_interval().await?;
        let answer = self.field_caps(index_pattern, &FieldTypes::all_to_ask_for(mapping)).await?;
        let read = || -> Result<GroupFields, FieldTypesError> {
            let group = mapping.group_field.as_deref();
            let name = mapping.host_name_field.as_deref();
            let name = name.map(|field| FieldTypes::name_field("host_name_field", field, &answer)).transpose();
            Ok(GroupFields {
                types: FieldTypes::read(mapping, &answer)?,
                // A host without a name is a host nevertheless.
                name: name.or_else(|error| match error {
                    FieldTypesError::Missing { .. } => Ok(None),
                    error => Err(error),
                })?,
                group: group.map(|field| FieldTypes::name_field("group_field", field, &answer)).transpose()?,
            })
        };
        match read() {
            Ok(fields) => {
                self.check_doubt(index_pattern, mapping, &fields.types).await?;
                Ok(fields)
            }
            Err(error) => Err(self.types_error(index_pattern, mapping, window, error).await),
        }
    }

    async fn types_by_searching(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        host: Option<&str>,
    ) -> Result<FieldTypes, SearchError> {
        let field = &mapping.host_field;
        let by = self.grouping_by_searching(index_pattern, mapping, window, host, "host_field", field).await?;
        let mut types = FieldTypes::of_any_shape(mapping, by.host_fields(field));
        for metric in Metric::ALL {
            let Some(split) = &mapping.metric(metric).split else { continue };
            let (key, field) = (format!("{}.split.field", metric.key()), &split.field);
            match self.grouping_by_searching(index_pattern, mapping, window, None, &key, field).await? {
                Grouping::Text => types = types.with_split_field(metric, format!("{field}{KEYWORD_SUFFIX}")),
                Grouping::Mixed { .. } => {
                    return Err(SearchError::Refused {
                        reason: format!(
                            "the field \"{field}\" ({key} of the mapping) is a text in some of the indices only: \
                             narrow the pattern to indices of one shape"
                        ),
                        kind: RefusalKind::Field,
                    });
                }
                _ => {}
            }
        }
        Ok(types)
    }

    /// How a field can be grouped by, from what a search by it says. Few documents are looked at if a host is named.
    async fn grouping_by_searching(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        host: Option<&str>,
        key: &str,
        field: &str,
    ) -> Result<Grouping, SearchError> {
        let mut body = count_body(mapping, window);
        add_filter(
            &mut body,
            match host {
                Some(host) => json!({"term": {field: host}}),
                None => json!({"exists": {"field": field}}),
            },
        );
        body["aggs"]["values"] = json!({"terms": {"field": field, "size": 1}});
        let is_text = |failure: &EngineError| failure.is_text_without_keyword(field);
        let indices = |failures: &Failures| failures.indices().map(str::to_owned).collect::<BTreeSet<String>>();
        let (is_partial, text) = match self.ask_whatever(index_pattern, &body, SHORT_ANSWER_BYTES).await? {
            Told::Answer(answer) => {
                let failures = Failures::read(&answer);
                if !failures.all(is_text) {
                    read_count(&answer)?;
                    return Ok(Grouping::AsItIs);
                }
                (true, indices(&failures))
            }
            Told::Error { status, location, body } => {
                #[derive(Deserialize)]
                struct Refused {
                    error: EngineError,
                }
                if !serde_json::from_slice(&body).is_ok_and(|Refused { error }| is_text(&error)) {
                    return Err(SearchError::from_status(status, location.as_deref(), &body));
                }
                (false, indices(&Failures::read(&body)))
            }
        };
        let (with_keyword, without) = self.indices_by_keyword(index_pattern, mapping, window, field).await?;
        if let Some(index) = without.iter().find(|index| text.contains(*index)) {
            return Err(SearchError::Refused {
                reason: format!(
                    "the field \"{field}\" ({key} of the mapping) is text in {index}: it must be keyword or ip, or \
                     have a keyword field \"{field}{KEYWORD_SUFFIX}\" beside it"
                ),
                kind: RefusalKind::Field,
            });
        }
        if !is_partial && without.is_empty() {
            return Ok(Grouping::Text);
        }
        let both = if is_partial { with_keyword.difference(&text).cloned().collect() } else { Vec::new() };
        let text = if is_partial { text } else { &text | &with_keyword };
        let keyword = (&with_keyword | &without).difference(&text).cloned().collect();
        Ok(Grouping::Mixed { text: text.into_iter().collect(), keyword, both })
    }

    /// The indices with documents that have `field`, told apart by whether they have its `.keyword`.
    async fn indices_by_keyword(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        field: &str,
    ) -> Result<(BTreeSet<String>, BTreeSet<String>), SearchError> {
        let malformed = || SearchError::Incomplete { reason: "the answer on indices is malformed".to_owned() };
        let mut body = count_body(mapping, window);
        add_filter(&mut body, json!({"exists": {"field": field}}));
        body["aggs"]["indices"] = json!({
            "terms": {"field": "_index", "size": MAX_INDICES},
            "aggs": {"keyword": {"filter": {"exists": {"field": format!("{field}{KEYWORD_SUFFIX}")}}}},
        });
        let answer = self.ask(index_pattern, &body, LONG_ANSWER_BYTES).await?;
        read_count(&answer)?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|_| malformed())?;
        let indices = answer.pointer("/aggregations/indices").ok_or_else(malformed)?;
        if indices.get("sum_other_doc_count").and_then(Value::as_u64) != Some(0) {
            return Err(SearchError::Refused {
                reason: format!("the pattern matches more than {MAX_INDICES} indices: narrow it"),
                kind: RefusalKind::Other,
            });
        }
        let (mut with_keyword, mut without) = (BTreeSet::new(), BTreeSet::new());
        for bucket in indices.get("buckets").and_then(Value::as_array).ok_or_else(malformed)? {
            let index = bucket.get("key").and_then(Value::as_str).ok_or_else(malformed)?.to_owned();
            let documents = bucket.pointer("/keyword/doc_count").and_then(Value::as_u64).ok_or_else(malformed)?;
            if documents > 0 {
                with_keyword.insert(index)
            } else {
                without.insert(index)
            };
        }
        Ok((with_keyword, without))
    }
}

fn add_filter(body: &mut Value, filter: Value) {
    if let Some(filters) = body.pointer_mut("/query/bool/filter").and_then(Value::as_array_mut) {
        filters.push(filter);
    }
}
