//! Whether a field that looks unusable can be searched nevertheless.
//!
//! The flags in `_field_caps` are a hint only; what counts is what a search finds.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::endpoint::{Endpoint, LONG_ANSWER_BYTES};
use super::error::SearchError;
use hostsync_mapping::{FieldTypes, Mapping, RefusalKind, check_answer};

/// Most indices of a pattern that are looked into.
const MAX_DOUBTED_INDICES: usize = 1_000;

impl Endpoint {
    /// Checks that documents are found by their time and host, where a flag of `_field_caps` says that they are not.
    ///
    /// Elasticsearch 7 refuses some searches by a field that is not indexed, and finds nothing by others without a word (a range
    /// of dates, a list of addresses). So two searches are compared: the first takes one host from each index, the second looks
    /// for those hosts by time and address. For example the first finds `10.0.0.1` in `day-1` and `10.0.0.2` in `day-2`, and the
    /// second finds something in `day-1` only: `day-2` cannot be searched.
    pub(super) async fn check_doubt(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        types: &FieldTypes,
    ) -> Result<(), SearchError> {
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
        let checked = async {
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
        match checked.await {
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
        struct IndicesAnswer {
            aggregations: IndicesAggregations,
        }
        #[derive(Deserialize)]
        struct IndicesAggregations {
            indices: TermsBuckets,
        }
        #[derive(Deserialize)]
        struct TermsBuckets {
            buckets: Vec<KeyBucket>,
        }
        #[derive(Deserialize)]
        struct KeyBucket {
            key: String,
            #[serde(default)]
            hosts: Option<TermsBuckets>,
        }
        let answer = self.ask(index_pattern, body, LONG_ANSWER_BYTES).await?;
        check_answer(&answer)?;
        let malformed = |_| SearchError::Incomplete { reason: "the answer on indices is malformed".to_owned() };
        let IndicesAnswer { aggregations } = serde_json::from_slice(&answer).map_err(malformed)?;
        let host = |hosts: TermsBuckets| hosts.buckets.into_iter().next().map(|host| host.key);
        let one = |bucket: KeyBucket| (bucket.key, bucket.hosts.and_then(host));
        Ok(aggregations.indices.buckets.into_iter().map(one).collect())
    }
}
