//! Whether an answer is whole, and what is wrong with one that is not.
//!
//! Owns the rule that an answer which is not whole is none, whatever it holds:
//!
//! | the answer says | it is |
//! |---|---|
//! | 5 shards, 4 successful, 1 failed | [`AnswerError::Partial`], with the reason of the first failure |
//! | 5 shards, 3 successful, 0 failed | partial too: two shards have no node to live on, which is in neither count |
//! | 5 shards, 5 successful, 4 skipped | whole: skipped shards cannot hold the window |
//! | 2 clusters, 1 successful, 1 skipped | partial, whatever its shards say |
//! | no shards, and no cluster missing | [`AnswerError::NoShards`]: no index matches the pattern |
//! | `timed_out`, `is_partial`, `is_running` | partial |
//!
//! One exception: where indices of two shapes stand under a pattern, each is read by a search of its own, and the shards of the
//! other shape may fail in it, if they do so because the host field is a text there.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::HostField;
use super::engine_error::{EngineError, FailureCause, bounded};

/// Longest description of a malformed answer, in characters.
const MALFORMED_MAX_CHARS: usize = 300;

/// Failed shards of one answer that are kept; the engines name one an index and reason. Of further ones the number is.
pub(super) const MAX_FAILURES: usize = 1_000;

/// Remote clusters of one answer that are kept; of further ones nothing is.
const MAX_CLUSTERS: usize = 100;

/// Why an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It covers a part of the documents only.
    #[error("the answer is not whole: {reason}")]
    Partial {
        /// Which part is missing, and the first reason given for it.
        reason: String,
        /// What the failures behind it ask for.
        cause: FailureCause,
    },
    /// It covers a part of the hosts only: to be split.
    #[error("the list of hosts in the answer was cut short: {reason}")]
    Truncated {
        /// How that shows.
        reason: String,
    },
    /// Nothing was searched at all, since no index matches the pattern. Fatal: it says nothing of any host.
    #[error("no index matches the pattern")]
    NoShards,
    /// It ends in the middle: the connection or whoever stands between broke it off.
    #[error("the answer ends in the middle: {reason}")]
    Cut {
        /// Where.
        reason: String,
    },
    /// It is not what a search engine gives.
    #[error("the answer is malformed: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
}

/// The parts that every answer has, and the aggregations that this search asked for.
#[derive(Deserialize)]
#[serde(bound = "A: Deserialize<'de>")]
pub(super) struct RawAnswer<A> {
    pub(super) took: u64,
    timed_out: bool,
    #[serde(default)]
    is_partial: Option<bool>,
    #[serde(default)]
    is_running: Option<bool>,
    #[serde(rename = "_shards")]
    pub(super) shards: Shards,
    #[serde(default, rename = "_clusters")]
    clusters: Option<Clusters>,
    #[serde(default)]
    pub(super) aggregations: Option<A>,
}

#[derive(Deserialize)]
pub(super) struct Shards {
    pub(super) total: u64,
    successful: u64,
    failed: u64,
    #[serde(default)]
    failures: ShardFailures,
}

/// Elasticsearch 7 and `OpenSearch` give the first three, Elasticsearch 8.8 and newer all of them.
#[derive(Deserialize)]
struct Clusters {
    total: u64,
    successful: u64,
    #[serde(default)]
    skipped: u64,
    #[serde(default)]
    partial: u64,
    #[serde(default)]
    failed: u64,
    #[serde(default)]
    running: u64,
    #[serde(default)]
    details: ClusterDetails,
}

#[derive(Deserialize)]
struct ClusterDetail {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    timed_out: Option<bool>,
    #[serde(default)]
    failures: ShardFailures,
}

/// The clusters of an answer by their alias, at most [`MAX_CLUSTERS`].
#[derive(Default)]
struct ClusterDetails(BTreeMap<String, ClusterDetail>);

impl<'de> Deserialize<'de> for ClusterDetails {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClusterDetailsVisitor;
        impl<'de> Visitor<'de> for ClusterDetailsVisitor {
            type Value = ClusterDetails;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an entry a cluster")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ClusterDetails, M::Error> {
                let mut details = BTreeMap::new();
                while let Some(alias) = map.next_key::<String>()? {
                    if details.len() < MAX_CLUSTERS {
                        details.insert(alias, map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(ClusterDetails(details))
            }
        }
        deserializer.deserialize_map(ClusterDetailsVisitor)
    }
}

/// The failed shards that an answer names, at most `MAX_FAILURES` of them.
#[derive(Debug, Default)]
pub struct ShardFailures {
    kept: Vec<EngineError>,
    more: usize,
}

impl ShardFailures {
    /// Those of an answer, or of an error that names them; none if it is neither.
    pub fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct NamedFailures {
            #[serde(default, rename = "_shards")]
            shards: Option<ShardsObject>,
            #[serde(default)]
            error: Option<ErrorObject>,
        }
        #[derive(Deserialize)]
        struct ShardsObject {
            #[serde(default)]
            failures: ShardFailures,
        }
        #[derive(Deserialize)]
        struct ErrorObject {
            #[serde(default)]
            failed_shards: ShardFailures,
        }
        match serde_json::from_slice(body) {
            Ok(NamedFailures { shards: Some(ShardsObject { failures }), .. }) => failures,
            Ok(NamedFailures { error: Some(ErrorObject { failed_shards }), .. }) => failed_shards,
            _ => Self::default(),
        }
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether there are some, all of them are known, and each is as told.
    pub fn all(&self, is: impl Fn(&EngineError) -> bool) -> bool {
        !self.is_empty() && self.more == 0 && self.kept.iter().all(is)
    }

    /// The indices that they name.
    pub fn indices(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().filter_map(|failure| failure.index.as_deref())
    }

    /// The text of the first, the cause of all: one overloaded shard among others decides.
    fn reason(&self) -> (String, FailureCause) {
        let text = self.kept.first().map(EngineError::text).unwrap_or_default();
        (text, self.kept.iter().map(EngineError::cause).max().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for ShardFailures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShardFailuresVisitor;
        impl<'de> Visitor<'de> for ShardFailuresVisitor {
            type Value = ShardFailures;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of failed shards")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<ShardFailures, S::Error> {
                let mut failures = ShardFailures::default();
                while failures.kept.len() < MAX_FAILURES {
                    let Some(failure) = list.next_element()? else { return Ok(failures) };
                    failures.kept.push(failure);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    failures.more += 1;
                }
                Ok(failures)
            }

            fn visit_unit<E>(self) -> Result<ShardFailures, E> {
                Ok(ShardFailures::default())
            }
        }
        deserializer.deserialize_any(ShardFailuresVisitor)
    }
}

/// Reads an answer, if it is whole. `is_forgiven` says which shards may fail, since another search reads them.
pub(super) fn read_whole<'a, A: Deserialize<'a>>(
    body: &'a [u8],
    is_forgiven: impl Fn(&EngineError) -> bool,
) -> Result<RawAnswer<A>, AnswerError> {
    let mut raw: RawAnswer<A> = serde_json::from_slice(body).map_err(|error| {
        let reason = bounded(&error.to_string(), MALFORMED_MAX_CHARS);
        if is_cut(&error, body) { AnswerError::Cut { reason } } else { AnswerError::Malformed { reason } }
    })?;
    raw.forgive_shards_that_another_search_reads(is_forgiven);
    // Before the number of shards: where the only cluster was skipped there are none either.
    check_whole(&raw)?;
    if raw.shards.total == 0 {
        return Err(AnswerError::NoShards);
    }
    Ok(raw)
}

/// Whether a text is no JSON only because it ends too early, if in the middle of a number.
pub(super) fn is_cut(error: &serde_json::Error, body: &[u8]) -> bool {
    let last_line = body.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let lines = body.split(|byte| *byte == b'\n').count();
    error.is_eof() || error.is_syntax() && error.line() == lines && error.column() >= last_line.len()
}

impl HostField {
    /// Whether a shard failed only because this field is a text there, and the other field reads it.
    pub(super) fn is_read_otherwise(&self, failure: &EngineError) -> bool {
        failure.index.as_ref().is_some_and(|index| self.except.contains(index))
            && failure.is_text_without_keyword(&self.field)
    }
}

impl<A> RawAnswer<A> {
    /// The engines name a failure once an index and reason, so if each that is named is forgiven, all are.
    fn forgive_shards_that_another_search_reads(&mut self, is_read_otherwise: impl Fn(&EngineError) -> bool) {
        let shards = &mut self.shards;
        if shards.failed == 0 || !shards.failures.all(&is_read_otherwise) {
            return;
        }
        shards.successful = shards.successful.saturating_add(shards.failed);
        shards.failed = 0;
        shards.failures = ShardFailures::default();
        // Elasticsearch 8.8 and newer call the clusters of such shards partial.
        let Some(clusters) = &mut self.clusters else { return };
        for detail in clusters.details.0.values_mut() {
            let is_forgiven = detail.failures.all(&is_read_otherwise)
                && detail.timed_out != Some(true)
                && detail.status.as_deref() == Some("partial");
            if is_forgiven {
                detail.status = Some("successful".to_owned());
                clusters.partial = clusters.partial.saturating_sub(1);
                clusters.successful = clusters.successful.saturating_add(1);
            }
        }
    }
}

fn check_whole<A>(raw: &RawAnswer<A>) -> Result<(), AnswerError> {
    if raw.timed_out {
        return Err(partial("the search engine stopped at its own time limit (timed_out)"));
    }
    if let Some(clusters) = &raw.clusters {
        check_clusters(clusters)?;
    }
    check_shards(&raw.shards)?;
    // Not `terminated_early`: it is about `terminate_after`, which we never ask for, and OpenSearch 3 also says it of whole
    // answers, when an index knew the sums without going through its documents.
    for (flag, name) in [(raw.is_partial, "is_partial"), (raw.is_running, "is_running")] {
        if flag == Some(true) {
            return Err(partial(&format!("the search engine says so itself ({name})")));
        }
    }
    Ok(())
}

fn check_clusters(clusters: &Clusters) -> Result<(), AnswerError> {
    let Clusters { total, successful, skipped, partial, failed, running, details } = clusters;
    let culprit = details.0.iter().find(|(_, detail)| {
        detail.status.as_deref().is_some_and(|status| status != "successful") || detail.timed_out == Some(true)
    });
    let none_missing = [skipped, partial, failed, running].into_iter().all(|clusters| *clusters == 0);
    if culprit.is_none() && successful >= total && none_missing {
        return Ok(());
    }
    let mut reason = format!(
        "of {total} clusters {successful} answered in full \
         ({skipped} skipped, {partial} partial, {failed} failed, {running} running)"
    );
    let mut cause = FailureCause::Other;
    if let Some((alias, detail)) = culprit {
        let alias = if alias == "(local)" { "the local cluster" } else { alias.as_str() };
        let _ = write!(reason, "; {alias}");
        if !detail.failures.is_empty() {
            let (text, of_failures) = detail.failures.reason();
            let _ = write!(reason, ": {text}");
            cause = of_failures;
        }
    }
    Err(AnswerError::Partial { reason, cause })
}

fn check_shards(shards: &Shards) -> Result<(), AnswerError> {
    let Shards { total, successful, failed, failures } = shards;
    if *failed == 0 && failures.is_empty() && successful >= total {
        return Ok(());
    }
    if failures.is_empty() {
        let missing = total.saturating_sub(*successful);
        let reason =
            format!("{missing} of {total} shards did not answer ({failed} failed), as when no node holds them");
        // Shards that nobody holds are in neither count, as while they are assigned after a restart.
        let cause = if *failed == 0 { FailureCause::Away } else { FailureCause::Other };
        return Err(AnswerError::Partial { reason, cause });
    }
    let (text, cause) = failures.reason();
    Err(AnswerError::Partial { reason: format!("{failed} of {total} shards failed: {text}"), cause })
}

fn partial(reason: &str) -> AnswerError {
    AnswerError::Partial { reason: reason.to_owned(), cause: FailureCause::Other }
}

pub(super) fn malformed(reason: &str) -> AnswerError {
    AnswerError::Malformed { reason: bounded(reason, MALFORMED_MAX_CHARS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{whole, with};
    use crate::{FieldTypes, HostKind, HostsAnswer, Mapping, read_answer};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read_text(answer: &str) -> Result<(), AnswerError> {
        read_whole::<IgnoredAny>(answer.as_bytes(), |_| false).map(|_| ())
    }

    fn read(answer: &Value) -> Result<(), AnswerError> {
        read_text(&answer.to_string())
    }

    /// Reads an answer to a search by a field that another search reads in these indices.
    fn read_beside_another(answer: &Value, except: &[&str]) -> Result<HostsAnswer, AnswerError> {
        let except = except.iter().map(|index| (*index).to_owned()).collect();
        let field = HostField { field: "hostIp".to_owned(), kind: HostKind::Keyword, except };
        let mapping = Mapping::zabbix();
        let types = FieldTypes::unresolved(&mapping);
        read_answer(&mapping, &types, &field, &["10.0.0.1".to_owned()], answer.to_string().as_bytes())
    }

    #[test]
    fn skipped_shards_and_clusters_that_all_answered_are_no_defect() {
        let answer = with("/_clusters", json!({"total": 2, "successful": 2, "skipped": 0}));
        assert!(read(&answer).is_ok());
    }

    #[test]
    fn an_answer_for_which_the_engine_needed_no_look_at_each_document_is_whole() {
        assert!(read(&with("/terminated_early", json!(true))).is_ok());
    }

    #[test]
    fn an_answer_that_is_not_whole_is_refused() {
        let failure = json!({"shard": 1, "reason": {"type": "some_exception", "reason": "broken"}});
        for (answer, sign) in [
            (with("/timed_out", json!(true)), "timed_out"),
            (with("/is_partial", json!(true)), "is_partial"),
            (with("/is_running", json!(true)), "is_running"),
            (
                with("/_shards", json!({"total": 5, "successful": 4, "failed": 1, "failures": [failure]})),
                "1 of 5 shards failed: some_exception: broken",
            ),
            (with("/_shards/failed", json!(1)), "(1 failed)"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 1})), "1 skipped"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 0, "partial": 1})), "1 partial"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 0, "failed": 1})), "1 failed"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 0, "running": 1})), "1 running"),
            (with("/_clusters", json!({"total": 2, "successful": 1, "skipped": 0})), "of 2 clusters 1"),
            (
                with(
                    "/_clusters",
                    json!({"total": 1, "successful": 1, "skipped": 0, "details": {
                        "cluster1": {"status": "partial", "failures": [failure]},
                    }}),
                ),
                "cluster1: some_exception: broken",
            ),
        ] {
            match read(&answer) {
                Err(AnswerError::Partial { reason, cause: FailureCause::Other }) => {
                    assert!(reason.contains(sign), "{reason}");
                }
                other => panic!("{sign}: {other:?}"),
            }
        }
    }

    #[test]
    fn shards_that_nobody_holds_are_an_outage_unless_one_failed() {
        let answer = with("/_shards/successful", json!(3));
        let reason = "2 of 5 shards did not answer (0 failed), as when no node holds them".to_owned();
        assert_eq!(read(&answer), Err(AnswerError::Partial { reason, cause: FailureCause::Away }));
        let answer = with("/_shards", json!({"total": 5, "successful": 3, "failed": 1}));
        assert!(matches!(read(&answer), Err(AnswerError::Partial { cause: FailureCause::Other, .. })));
    }

    #[test]
    fn an_answer_cut_anywhere_is_told_from_one_that_makes_no_sense() {
        let whole = whole().to_string();
        for length in 0..whole.len() {
            let cut = read_text(&whole[..length]);
            assert!(matches!(cut, Err(AnswerError::Cut { .. })), "{length}: {cut:?}");
        }
    }

    #[test]
    fn an_answer_of_many_failures_keeps_a_part_of_them_and_is_not_forgiven() {
        let failure =
            json!({"index": "a", "reason": {"type": "x", "reason": "set fielddata=true on [hostIp] in order"}});
        let read = |failures: usize| {
            let failures = vec![failure.clone(); failures];
            let shards = json!({"total": 5, "successful": 3, "failed": 2, "failures": failures});
            read_beside_another(&with("/_shards", shards), &["a"]).is_ok()
        };
        assert!(read(MAX_FAILURES) && !read(MAX_FAILURES + 1));
    }

    #[test]
    fn failed_shards_tell_what_they_ask_for() {
        for (kind, cause) in [
            ("too_many_buckets_exception", FailureCause::TooLarge),
            ("circuit_breaking_exception", FailureCause::Busy),
            ("es_rejected_execution_exception", FailureCause::Busy),
        ] {
            let failures = json!([{"reason": {"type": "x", "reason": "y"}}, {"reason": {"type": kind, "reason": "z"}}]);
            let answer = with("/_shards", json!({"total": 5, "successful": 3, "failed": 2, "failures": failures}));
            assert_eq!(
                read(&answer),
                Err(AnswerError::Partial { reason: "2 of 5 shards failed: x: y".to_owned(), cause })
            );
        }
    }

    #[test]
    fn no_shards_is_a_wrong_pattern_unless_a_cluster_was_skipped() {
        let mut answer = with("/_shards", json!({"total": 0, "successful": 0, "skipped": 0, "failed": 0}));
        answer.as_object_mut().expect("an object").remove("aggregations");
        assert_eq!(read(&answer), Err(AnswerError::NoShards));
        answer["_clusters"] = json!({"total": 1, "successful": 0, "skipped": 1});
        assert!(matches!(read(&answer), Err(AnswerError::Partial { .. })));
    }

    #[test]
    fn only_shards_that_another_field_reads_may_fail_and_only_for_that_reason() {
        let text = "Text fields are not optimised for operations [...] set fielddata=true on [hostIp] in order to";
        let failure = |index: &str, reason: &str| json!({"shard": 0, "index": index, "reason": {"type": "illegal_argument_exception", "reason": reason}});
        let read = |failures: Value, except: &[&str]| {
            let mut answer =
                with("/_shards", json!({"total": 5, "successful": 3, "failed": 2, "failures": failures.clone()}));
            answer["_clusters"] = json!({"total": 1, "successful": 0, "partial": 1, "skipped": 0, "details": {
                "(local)": {"status": "partial", "failures": failures},
            }});
            read_beside_another(&answer, except)
        };
        let both = json!([failure("a", text), failure("c1:b", text)]);
        assert_eq!(read(both.clone(), &["a", "c1:b"]).expect("whole").hosts.hosts.len(), 1);
        assert!(matches!(read(both.clone(), &["a"]), Err(AnswerError::Partial { .. })));
        assert!(matches!(read(both, &[]), Err(AnswerError::Partial { .. })));
        let other = json!([failure("a", text), failure("a", "disk on fire")]);
        assert!(matches!(read(other, &["a"]), Err(AnswerError::Partial { .. })));
        let other_field = json!([failure("a", &text.replace("hostIp", "mount"))]);
        assert!(matches!(read(other_field, &["a"]), Err(AnswerError::Partial { .. })));
        assert!(matches!(read(json!([]), &["a"]), Err(AnswerError::Partial { .. })));
    }

    proptest! {
        #[test]
        fn any_defect_of_shards_or_clusters_is_refused(
            total in 1_u64..100, successful in 0_u64..100, failed in 0_u64..100, skipped in 0_u64..100,
            clusters in prop::option::of(prop::array::uniform6(0_u64..3)),
        ) {
            let mut answer = with("/_shards", json!({
                "total": total, "successful": successful, "failed": failed, "skipped": skipped,
            }));
            let mut defect = failed > 0 || successful < total;
            if let Some([total, successful, skipped, partial, failed, running]) = clusters {
                answer["_clusters"] = json!({
                    "total": total, "successful": successful, "skipped": skipped,
                    "partial": partial, "failed": failed, "running": running,
                });
                defect |= successful < total || skipped + partial + failed + running > 0;
            }
            let refused = matches!(read(&answer), Err(AnswerError::Partial { .. }));
            prop_assert_eq!(refused, defect);
        }
    }
}
