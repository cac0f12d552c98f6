//! What a search engine says when it cannot do something, in one bounded sentence and one verdict.
//!
//! Owns the reading of its error objects, both of a refused request (`error`) and of a failed shard
//! (`_shards.failures[].reason`). Knows no HTTP status: that is the business of `elasticsearch`.

use serde_json::Value;

/// Longest reason taken over from a search engine, in characters; what is longer is cut with an ellipsis.
pub const REASON_MAX_CHARS: usize = 500;

/// A document with two weights fails the whole search. Asked for alone, its host fails alone.
const MORE_THAN_ONE_WEIGHT: &str = "more than one weight for a single document";

/// What a failure in the search engine asks of the one who sent the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The search was too much at once: a smaller one may pass.
    TooLarge,
    /// The engine has no room just now: the same search may pass later.
    Busy,
    /// Anything else.
    Other,
}

/// A failure as the search engine tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineReason {
    /// Type and reason, with the root cause if it says more; at most [`REASON_MAX_CHARS`].
    pub text: String,
    /// What it asks for.
    pub cause: Cause,
}

/// Reads an error object, or an error that is a bare string.
///
/// The types looked for, anywhere in the object, are those of Elasticsearch 7 to 9 and `OpenSearch` 1 to 3
/// (whose `rejected_execution_exception` lost its prefix): `too_many_buckets_exception` (setting
/// `search.max_buckets`), `circuit_breaking_exception`, `too_many_clauses` and its nested form (setting
/// `indices.query.bool.max_clause_count`), a reason that names `index.max_terms_count`, and
/// `task_cancelled_exception`, by which an engine protects itself from a heavy search. A document with more
/// than one weight is among them too: halving the search finds its host.
pub fn engine_reason(error: &Value) -> EngineReason {
    let mut signs = Signs::default();
    signs.look_at(error);
    let cause = if signs.too_large {
        Cause::TooLarge
    } else if signs.busy {
        Cause::Busy
    } else {
        Cause::Other
    };
    EngineReason { text: bounded(&sentence(error), REASON_MAX_CHARS), cause }
}

/// Whether an error, or the reason of a failed shard, says that `field` is a text there, which cannot be grouped by.
///
/// Elasticsearch 7 to 9 and `OpenSearch` word it differently, but all name the setting and the field.
pub fn is_text_without_keyword(error: &Value, field: &str) -> bool {
    let sign = format!("fielddata=true on [{field}]");
    match error {
        Value::Object(object) => object.values().any(|value| is_text_without_keyword(value, field)),
        Value::Array(values) => values.iter().any(|value| is_text_without_keyword(value, field)),
        Value::String(text) => text.contains(&sign),
        _ => false,
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

#[derive(Default)]
struct Signs {
    too_large: bool,
    busy: bool,
}

impl Signs {
    /// Depth is bounded by the parser, which refuses JSON nested deeper than 128.
    fn look_at(&mut self, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(kind) = object.get("type").and_then(Value::as_str) {
                    self.look_at_type(kind);
                }
                if let Some(reason) = object.get("reason").and_then(Value::as_str) {
                    self.look_at_text(reason);
                }
                for value in object.values().filter(|value| value.is_object() || value.is_array()) {
                    self.look_at(value);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.look_at(value)),
            Value::String(text) => {
                self.look_at_type(text);
                self.look_at_text(text);
            }
            _ => {}
        }
    }

    fn look_at_type(&mut self, kind: &str) {
        const TOO_LARGE: [&str; 5] =
            ["too_many_buckets", "circuit_breaking", "too_many_clauses", "too_many_nested_clauses", "task_cancelled"];
        self.too_large |= TOO_LARGE.iter().any(|sign| kind.contains(sign));
        self.busy |= kind.contains("rejected_execution");
    }

    fn look_at_text(&mut self, text: &str) {
        const TOO_LARGE: [&str; 4] = ["max_terms_count", "max_clause_count", "maxClauseCount", MORE_THAN_ONE_WEIGHT];
        self.too_large |= TOO_LARGE.iter().any(|sign| text.contains(sign));
    }
}

/// "type: reason", and the root cause where it is another one.
fn sentence(error: &Value) -> String {
    if let Some(text) = error.as_str() {
        return text.to_owned();
    }
    let own = one(error);
    let root = error
        .get("root_cause")
        .and_then(Value::as_array)
        .and_then(|causes| causes.first())
        .and_then(one)
        .or_else(|| deepest_cause(error));
    match (own, root) {
        (Some(own), Some(root)) if own != root => format!("{own} (root cause: {root})"),
        (Some(text), _) | (None, Some(text)) => text,
        (None, None) => "no reason given".to_owned(),
    }
}

fn deepest_cause(error: &Value) -> Option<String> {
    let mut cause = error.get("caused_by")?;
    while let Some(next) = cause.get("caused_by").filter(|next| next.is_object()) {
        cause = next;
    }
    one(cause)
}

fn one(error: &Value) -> Option<String> {
    let text = |key| error.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("type"), text("reason")) {
        (Some(kind), Some(reason)) => Some(format!("{kind}: {reason}")),
        (Some(text), None) | (None, Some(text)) => Some(text.to_owned()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn too_many_buckets_is_found_below_a_general_error() {
        let reason = engine_reason(&json!({
            "root_cause": [], "type": "search_phase_execution_exception", "reason": "", "phase": "fetch",
            "caused_by": {"type": "too_many_buckets_exception", "reason": "limit [10] exceeded", "max_buckets": 10},
        }));
        assert_eq!(reason.cause, Cause::TooLarge);
        assert_eq!(
            reason.text,
            "search_phase_execution_exception (root cause: too_many_buckets_exception: limit [10] exceeded)"
        );
    }

    #[test]
    fn both_names_of_a_rejected_execution_are_busy() {
        for kind in ["es_rejected_execution_exception", "rejected_execution_exception"] {
            let reason = engine_reason(&json!({"type": kind, "reason": "queue capacity 1000"}));
            assert_eq!(reason.cause, Cause::Busy, "{kind}");
        }
    }

    #[test]
    fn a_search_that_is_both_is_too_large() {
        let reason = engine_reason(&json!({
            "type": "search_phase_execution_exception",
            "failed_shards": [
                {"shard": 0, "reason": {"type": "es_rejected_execution_exception", "reason": "r"}},
                {"shard": 1, "reason": {"type": "circuit_breaking_exception", "reason": "c"}},
            ],
        }));
        assert_eq!(reason.cause, Cause::TooLarge);
    }

    #[test]
    fn the_reason_is_one_bounded_line() {
        let reason = engine_reason(&json!({"type": "t", "reason": "word\n\t ".repeat(1000)}));
        assert_eq!(reason.text.chars().count(), REASON_MAX_CHARS);
        assert!(reason.text.starts_with("t: word word"), "{}", reason.text);
        assert!(reason.text.ends_with('…'));
        assert_eq!(bounded("  a\u{0} b ", 10), "a b");
        assert_eq!(bounded("äöü", 3), "äöü");
        assert_eq!(bounded("äöüß", 3), "äö…");
    }

    #[test]
    fn a_bare_string_or_nothing_is_read_too() {
        assert_eq!(engine_reason(&json!("no handler")).text, "no handler");
        assert_eq!(engine_reason(&json!({})).text, "no reason given");
        assert_eq!(engine_reason(&Value::Null).text, "no reason given");
    }
}
