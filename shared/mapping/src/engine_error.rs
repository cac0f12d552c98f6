//! What a search engine says when it cannot do something, in one bounded sentence and one verdict.
//!
//! Owns the reading of its error objects, both of a refused request (`error`) and of a failed shard
//! (`_shards.failures[]`). They are folded while they are read: however deep and long one is, what is kept of it is a few
//! sentences. Knows no HTTP status: that is the matter of `source`.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Longest reason taken over from a search engine, in characters; what is longer is cut with an ellipsis.
pub const REASON_MAX_CHARS: usize = 500;

/// A document with two weights fails the whole search. Asked for alone, its host fails alone.
const MORE_THAN_ONE_WEIGHT: &str = "more than one weight for a single document";

/// How the engines word that a field is a text, before its name in brackets.
const FIELDDATA: &str = "fielddata=true on [";

/// How a parent breaker says what this very request wanted, before a number of bytes.
const NEW_BYTES: &str = "new bytes reserved: [";

/// Most names of fields that are texts kept of one error; further ones are not.
const MAX_TEXT_FIELDS: usize = 32;

/// What a failure in the search engine asks of the one who sent the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum FailureCause {
    /// Anything else.
    #[default]
    Other,
    /// The engine has no room just now: the same search may pass later.
    Busy,
    /// A shard has no node to live on, or an index is blocked: the same search may pass later.
    Away,
    /// The search was too much at once: a smaller one may pass.
    TooLarge,
}

/// A failure as the search engine tells it: an error object, or an error that is a bare string.
///
/// The types looked for, anywhere in the object, are those of Elasticsearch 7 to 9 and `OpenSearch` 1 to 3
/// (whose `rejected_execution_exception` lost its prefix): `too_many_buckets_exception` (setting
/// `search.max_buckets`), `too_many_clauses` and its nested form (setting
/// `indices.query.bool.max_clause_count`), a reason that names `index.max_terms_count`, and
/// `task_cancelled_exception`, by which an engine protects itself from a heavy search. A document with more
/// than one weight is among them too: halving the search finds its host.
///
/// A `circuit_breaking_exception` asks for a smaller search only where it says that this very search wanted the memory:
/// by its breaker (`request`, `fielddata`), by bytes newly reserved, or by not being transient. Else the memory is
/// others', and the engine is busy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineError {
    own: ErrorText,
    root: ErrorText,
    deepest: (usize, ErrorText),
    /// What most of all is asked for, anywhere in it.
    cause: FailureCause,
    is_blocked: bool,
    text_fields: BTreeSet<String>,
    /// The index of a failed shard.
    pub index: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ErrorText {
    kind: Option<String>,
    reason: Option<String>,
}

impl EngineError {
    /// Type and reason, with the root cause if it says more; at most [`REASON_MAX_CHARS`].
    pub fn text(&self) -> String {
        let (own, root) = (self.own.sentence(), self.root.sentence().or_else(|| self.deepest.1.sentence()));
        let text = match (own, root) {
            (Some(own), Some(root)) if own != root => format!("{own} (root cause: {root})"),
            (Some(text), _) | (None, Some(text)) => text,
            (None, None) => "no reason given".to_owned(),
        };
        bounded(&text, REASON_MAX_CHARS)
    }

    /// What it asks for.
    pub fn cause(&self) -> FailureCause {
        self.cause
    }

    /// Whether it names a type of its own, as every error of an engine does.
    pub fn has_type(&self) -> bool {
        self.own.kind.is_some()
    }

    /// Whether an index or the cluster is blocked, by a person or by the engine itself.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Whether it says that `field` is a text there, which cannot be grouped by.
    ///
    /// Elasticsearch 7 to 9 and `OpenSearch` word it differently, but all name the setting and the field.
    pub fn is_text_without_keyword(&self, field: &str) -> bool {
        self.text_fields.contains(field)
    }

    /// The fields that it says are texts.
    pub fn text_fields(&self) -> impl Iterator<Item = &str> {
        self.text_fields.iter().map(String::as_str)
    }

    fn look_at(&mut self, text: &str) {
        const TOO_LARGE: [&str; 4] = ["max_terms_count", "max_clause_count", "maxClauseCount", MORE_THAN_ONE_WEIGHT];
        self.ask_for(FailureCause::TooLarge, TOO_LARGE.iter().any(|sign| text.contains(sign)));
        let fields = text.split(FIELDDATA).skip(1).filter_map(|rest| rest.split(']').next());
        for field in fields {
            if self.text_fields.len() < MAX_TEXT_FIELDS {
                self.text_fields.insert(field.to_owned());
            }
        }
    }

    /// `reason` and `durability` stand beside the type.
    fn look_at_type(&mut self, kind: &str, reason: &str, durability: Option<&str>) {
        const TOO_LARGE: [&str; 4] =
            ["too_many_buckets", "too_many_clauses", "too_many_nested_clauses", "task_cancelled"];
        self.ask_for(FailureCause::TooLarge, TOO_LARGE.iter().any(|sign| kind.contains(sign)));
        self.ask_for(FailureCause::Busy, kind.contains("rejected_execution"));
        self.is_blocked |= kind.contains("cluster_block");
        self.ask_for(FailureCause::Away, self.is_blocked || kind.contains("no_shard_available"));
        if kind.contains("circuit_breaking") {
            let is_own = wanted_by_this_search(reason, durability);
            self.ask_for(if is_own { FailureCause::TooLarge } else { FailureCause::Busy }, true);
        }
    }

    fn ask_for(&mut self, cause: FailureCause, is_so: bool) {
        if is_so {
            self.cause = self.cause.max(cause);
        }
    }
}

impl ErrorText {
    fn sentence(&self) -> Option<String> {
        match (&self.kind, &self.reason) {
            (Some(kind), Some(reason)) => Some(format!("{kind}: {reason}")),
            (Some(text), None) | (None, Some(text)) => Some(text.clone()),
            (None, None) => None,
        }
    }
}

/// Whether a breaker was tripped by what this search itself wanted.
fn wanted_by_this_search(reason: &str, durability: Option<&str>) -> bool {
    let new_bytes = reason.split(NEW_BYTES).nth(1).map(|rest| rest.split(['/', ']']).next().unwrap_or_default());
    match new_bytes {
        Some(bytes) => bytes.trim().parse::<u64>().is_ok_and(|bytes| bytes > 0),
        None => {
            reason.contains("[request] ")
                || reason.contains("[fielddata] ")
                || durability.is_some_and(|durability| durability.eq_ignore_ascii_case("PERMANENT"))
        }
    }
}

impl<'de> Deserialize<'de> for EngineError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut error = Self::default();
        Fold { error: &mut error, place: ErrorPlace::Own }.deserialize(deserializer)?;
        Ok(error)
    }
}

/// Where in an error object something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorPlace {
    Own,
    /// The first of `root_cause`.
    Root,
    /// So many `caused_by` down.
    Caused(usize),
    Elsewhere,
}

/// Reads a value into an error that is there already. Depth is bounded by the parser, which refuses JSON nested deeper
/// than 128.
struct Fold<'a> {
    error: &'a mut EngineError,
    place: ErrorPlace,
}

impl<'de> DeserializeSeed<'de> for Fold<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fold<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error of a search engine")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self { error, place } = self;
        let mut said = ErrorText::default();
        let mut durability = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => said.kind = map.next_value::<EngineError>()?.own.reason,
                "durability" => durability = map.next_value::<EngineError>()?.own.reason,
                "index" => {
                    let index = map.next_value::<EngineError>()?.own.reason;
                    if place == ErrorPlace::Own {
                        error.index = index;
                    }
                }
                // A sentence, or with a failed shard an error object of its own.
                "reason" => {
                    let mut inner: EngineError = map.next_value()?;
                    said.reason = inner.own.reason.take();
                    said.kind = inner.own.kind.take().or(said.kind);
                    error.take_in(inner);
                }
                "root_cause" if place == ErrorPlace::Own => {
                    map.next_value_seed(Fold { error: &mut *error, place: ErrorPlace::Root })?;
                }
                "caused_by" => {
                    let place = match place {
                        ErrorPlace::Own => ErrorPlace::Caused(1),
                        ErrorPlace::Caused(depth) => ErrorPlace::Caused(depth + 1),
                        ErrorPlace::Root | ErrorPlace::Elsewhere => ErrorPlace::Elsewhere,
                    };
                    map.next_value_seed(Fold { error: &mut *error, place })?;
                }
                _ => map.next_value_seed(Fold { error: &mut *error, place: ErrorPlace::Elsewhere })?,
            }
        }
        error.say(place, said, durability.as_deref());
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        let Self { error, mut place } = self;
        while list.next_element_seed(Fold { error: &mut *error, place })?.is_some() {
            place = ErrorPlace::Elsewhere;
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.error.look_at(text);
        self.error.look_at_type(text, text, None);
        if self.place == ErrorPlace::Own {
            self.error.own.reason = Some(bounded(text, REASON_MAX_CHARS)).filter(|text| !text.is_empty());
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

impl EngineError {
    fn say(&mut self, place: ErrorPlace, said: ErrorText, durability: Option<&str>) {
        if let Some(kind) = &said.kind {
            self.look_at_type(kind, said.reason.as_deref().unwrap_or_default(), durability);
        }
        match place {
            ErrorPlace::Own => self.own = said,
            ErrorPlace::Root => self.root = said,
            ErrorPlace::Caused(depth) if depth > self.deepest.0 && said.sentence().is_some() => {
                self.deepest = (depth, said);
            }
            ErrorPlace::Caused(_) | ErrorPlace::Elsewhere => {}
        }
    }

    /// What stands in the `reason` of this one.
    fn take_in(&mut self, inner: Self) {
        self.cause = self.cause.max(inner.cause);
        self.is_blocked |= inner.is_blocked;
        self.text_fields.extend(inner.text_fields);
        if inner.root.sentence().is_some() {
            self.root = inner.root;
        }
        if inner.deepest.0 > self.deepest.0 {
            self.deepest = inner.deepest;
        }
    }
}

/// `text` on one line, with runs of blanks and control characters made one blank, cut to `max_chars`
/// characters with an ellipsis as the last one.
pub fn bounded(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    let mut chars = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if chars > 0 {
            out.push(' ');
            chars += 1;
        }
        for c in word.chars() {
            out.push(c);
            chars += 1;
        }
        if chars > max_chars {
            out = out.chars().take(max_chars.saturating_sub(1)).collect();
            out.push('…');
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(error: &Value) -> EngineError {
        serde_json::from_str(&error.to_string()).expect("any JSON is an error")
    }

    #[test]
    fn too_many_buckets_is_found_below_a_general_error() {
        let error = read(&json!({
            "root_cause": [], "type": "search_phase_execution_exception", "reason": "", "phase": "fetch",
            "caused_by": {"type": "too_many_buckets_exception", "reason": "limit [10] exceeded", "max_buckets": 10},
        }));
        assert_eq!(error.cause(), FailureCause::TooLarge);
        assert_eq!(
            error.text(),
            "search_phase_execution_exception (root cause: too_many_buckets_exception: limit [10] exceeded)"
        );
    }

    #[test]
    fn both_names_of_a_rejected_execution_are_busy() {
        for kind in ["es_rejected_execution_exception", "rejected_execution_exception"] {
            assert_eq!(
                read(&json!({"type": kind, "reason": "queue capacity 1000"})).cause(),
                FailureCause::Busy,
                "{kind}"
            );
        }
    }

    #[test]
    fn a_breaker_asks_for_less_only_where_this_search_wanted_the_memory() {
        let parent = |new: &str| {
            format!(
                "[parent] Data too large, data for [<http_request>] would be [1031/1kb], which is larger than the limit \
                 of [986932838/941.2mb], real usage: [1031/1kb], new bytes reserved: [{new}], usages [request=0/0b]"
            )
        };
        for (reason, durability, cause) in [
            (parent("0/0b"), "TRANSIENT", FailureCause::Busy),
            (parent("0/0b"), "PERMANENT", FailureCause::Busy),
            (parent("262144/256kb"), "TRANSIENT", FailureCause::TooLarge),
            (
                "[request] Data too large, data for [<reused_arrays>] would be [9/9b]".to_owned(),
                "TRANSIENT",
                FailureCause::TooLarge,
            ),
            (
                "[fielddata] Data too large, data for [host] would be [9/9b]".to_owned(),
                "PERMANENT",
                FailureCause::TooLarge,
            ),
            (
                "[in_flight_requests] Data too large, data for [x] would be [9/9b]".to_owned(),
                "TRANSIENT",
                FailureCause::Busy,
            ),
            ("why".to_owned(), "TRANSIENT", FailureCause::Busy),
            ("why".to_owned(), "PERMANENT", FailureCause::TooLarge),
        ] {
            let error = json!({"type": "circuit_breaking_exception", "reason": reason, "durability": durability});
            assert_eq!(read(&error).cause(), cause, "{reason} {durability}");
            let shard = json!({"shard": 0, "index": "a", "node": "n", "reason": error});
            assert_eq!(read(&shard).cause(), cause, "in a shard: {reason} {durability}");
            let all = json!({"type": "search_phase_execution_exception", "reason": "all shards failed", "failed_shards": [shard]});
            assert_eq!(read(&all).cause(), cause, "in all: {reason} {durability}");
        }
        let passed_on = format!("circuit_breaking_exception: {}", parent("0/0b"));
        assert_eq!(read(&json!(passed_on)).cause(), FailureCause::Busy);
    }

    #[test]
    fn a_failure_that_is_both_is_too_large() {
        let error = read(&json!({
            "type": "search_phase_execution_exception",
            "failed_shards": [
                {"shard": 0, "reason": {"type": "es_rejected_execution_exception", "reason": "r"}},
                {"shard": 1, "reason": {"type": "too_many_buckets_exception", "reason": "c"}},
            ],
        }));
        assert_eq!(error.cause(), FailureCause::TooLarge);
    }

    #[test]
    fn a_failed_shard_tells_its_index_and_the_fields_that_are_texts() {
        let text = "Text fields are not optimised [...] set fielddata=true on [host.ip] in order to load";
        let shard =
            json!({"shard": 0, "index": "logs-1", "reason": {"type": "illegal_argument_exception", "reason": text}});
        let error = read(&shard);
        assert_eq!(error.index.as_deref(), Some("logs-1"));
        assert!(error.is_text_without_keyword("host.ip") && !error.is_text_without_keyword("host"));
        assert!(error.text().starts_with("illegal_argument_exception: Text fields"), "{}", error.text());
        let whole = json!({"type": "x", "reason": "all shards failed", "failed_shards": [shard]});
        assert_eq!((read(&whole).text_fields().collect::<Vec<_>>(), read(&whole).index), (vec!["host.ip"], None));
    }

    #[test]
    fn a_block_and_a_shard_without_a_node_are_no_fault_of_the_search() {
        for kind in ["cluster_block_exception", "no_shard_available_action_exception"] {
            let error = read(&json!({"type": kind, "reason": "index [x] blocked by: [FORBIDDEN/7/index read (api)];"}));
            assert_eq!(
                (error.cause(), error.is_blocked()),
                (FailureCause::Away, kind.starts_with("cluster")),
                "{kind}"
            );
        }
    }

    #[test]
    fn the_reason_is_one_bounded_line() {
        let error = read(&json!({"type": "t", "reason": "word\n\t ".repeat(1000)}));
        assert_eq!(error.text().chars().count(), REASON_MAX_CHARS);
        assert!(error.text().starts_with("t: word word") && error.text().ends_with('…'), "{}", error.text());
        assert_eq!(bounded("  a\u{0} b ", 10), "a b");
        assert_eq!(bounded("äöü", 3), "äöü");
        assert_eq!(bounded("äöüß", 3), "äö…");
    }

    #[test]
    fn a_bare_string_or_nothing_is_read_too() {
        assert_eq!(read(&json!("no handler")).text(), "no handler");
        for nothing in [json!({}), Value::Null, json!([1, [2.5], true])] {
            assert_eq!(read(&nothing).text(), "no reason given");
        }
    }
}
