//! How the fields of a mapping stand in the indices of a pattern, as searches through a query proxy show.
//!
//! A proxy has no `_field_caps`. It is searched as if the field could be grouped by; where the engine says that it is a text, its
//! `.keyword` is used.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::endpoint::{Endpoint, EngineReply, LONG_ANSWER_BYTES, SHORT_ANSWER_BYTES};
use super::error::SearchError;
use hostsync_mapping::{
    EngineError, FieldTypes, Grouping, KEYWORD_SUFFIX, Mapping, Metric, RefusalKind, ShardFailures, count_body,
    read_count,
};
use hostsync_model::window::Window;

/// Most indices of a pattern that are told apart.
const MAX_INDICES: u64 = 10_000;

impl Endpoint {
    /// The host field by its [`Grouping`], the fields of splits by theirs, and each metric in every shape that the mapping allows:
    /// what is asked for and not there comes back empty.
    pub(super) async fn types_by_searching(
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
    ///
    /// Of `hostIp`, for example:
    ///
    /// | the search by `hostIp` | the indices that have `hostIp` | is |
    /// |---|---|---|
    /// | is answered | are not asked for | [`Grouping::AsItIs`] |
    /// | is refused, since it is a text | all have a `hostIp.keyword` too | [`Grouping::Text`] |
    /// | is refused, since it is a text | only `day-1` has a `hostIp.keyword` | [`Grouping::Mixed`]: a text in `day-1`, a keyword in the others |
    /// | fails in the shards of `day-1`, since it is a text there | `day-1` has a `hostIp.keyword`, `day-2` may have one | [`Grouping::Mixed`]: a text in `day-1`, a keyword in `day-2` |
    /// | fails as a text in `day-1` | `day-1` has no `hostIp.keyword` | refused: it cannot be grouped by there |
    pub(super) async fn grouping_by_searching(
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
        let indices = |failures: &ShardFailures| failures.indices().map(str::to_owned).collect::<BTreeSet<String>>();
        let (is_partial, text) = match self.ask_whatever(index_pattern, &body, SHORT_ANSWER_BYTES).await? {
            EngineReply::Answer(answer) => {
                let failures = ShardFailures::read(&answer);
                if !failures.all(is_text) {
                    read_count(&answer)?;
                    return Ok(Grouping::AsItIs);
                }
                (true, indices(&failures))
            }
            EngineReply::Error { status, location, body } => {
                #[derive(Deserialize)]
                struct RefusedSearch {
                    error: EngineError,
                }
                if !serde_json::from_slice(&body).is_ok_and(|RefusedSearch { error }| is_text(&error)) {
                    return Err(SearchError::from_status(status, location.as_deref(), &body));
                }
                (false, indices(&ShardFailures::read(&body)))
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

    /// The indices with documents that have `field`: those with its `.keyword`, and those without.
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
