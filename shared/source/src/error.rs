//! What can go wrong with a search, sorted by what the caller does next.
//!
//! Owns the five kinds and the rule that sorts a refused request into them. Every reason is a sentence that
//! a person can act on, with the endpoint and the index pattern in it, bounded, and without credentials.
//! It decides no retry: the worker does.

use std::error::Error as _;

use serde::Deserialize;

use super::index_pattern::IndexPatternError;
use hostsync_mapping::{AnswerError, EngineError, FailureCause, REASON_MAX_CHARS, RefusalKind, bounded};
use hostsync_model::causes::causes;

/// Longest stretch shown of an answer that is not JSON, in characters.
const TEXT_MAX_CHARS: usize = 200;

/// Why there is no answer to take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The engine cannot be reached, no whole answer came (a connection that broke, half a body), or it says that it cannot
    /// serve now: no trust in its certificate, 502 to 504, 429, shards that no node holds, memory that others hold, a
    /// block. Costs no attempt.
    #[error("{reason}")]
    Outage {
        /// For people.
        reason: String,
        /// It is there but overloaded (429, a rejected execution, a circuit breaker): slow down.
        busy: bool,
    },
    /// The search was sent and the time was up. It is an outage or the search is too heavy;
    /// [`Endpoint::ping`](super::Endpoint::ping) tells which.
    #[error("{reason}")]
    TimedOut {
        /// For people.
        reason: String,
    },
    /// The engine answered that it was too much, or the answer was too large or left hosts out: ask for fewer hosts at
    /// once.
    #[error("{reason}")]
    TooLarge {
        /// For people.
        reason: String,
    },
    /// An answer that is not whole or makes no sense, or a failure inside the engine. Costs an attempt.
    #[error("{reason}")]
    Incomplete {
        /// For people.
        reason: String,
    },
    /// Sending it again would change nothing: bad credentials, index pattern, mapping, URL.
    #[error("{reason}")]
    Refused {
        /// For people.
        reason: String,
        /// For the metrics.
        kind: RefusalKind,
    },
}

impl SearchError {
    /// The reason, for people.
    pub fn reason(&self) -> &str {
        match self {
            Self::Outage { reason, .. }
            | Self::TimedOut { reason }
            | Self::TooLarge { reason }
            | Self::Incomplete { reason }
            | Self::Refused { reason, .. } => reason,
        }
    }

    /// The same error with its reason rewritten.
    pub(super) fn map_reason(mut self, rewrite: impl FnOnce(&str) -> String) -> Self {
        let (Self::Outage { reason, .. }
        | Self::TimedOut { reason }
        | Self::TooLarge { reason }
        | Self::Incomplete { reason }
        | Self::Refused { reason, .. }) = &mut self;
        *reason = rewrite(reason);
        self
    }

    /// From a request that failed before its answer was complete.
    ///
    /// The time-out of a connection counts as no connection, by [`reqwest::Error::is_connect`]. What cannot be decoded is
    /// gzip that was cut or damaged on its way.
    pub(super) fn from_transport(error: reqwest::Error, limit: std::time::Duration) -> Self {
        let error = error.without_url();
        if error.is_connect() {
            return Self::Outage {
                reason: format!("cannot connect to the search engine: {}", broken_by(&error)),
                busy: false,
            };
        }
        if error.is_timeout() {
            let limit = humantime::format_duration(limit);
            return Self::TimedOut { reason: format!("the search engine did not answer within {limit}") };
        }
        if error.is_builder() {
            let reason = format!("the request could not be made: {}", broken_by(&error));
            return Self::Refused { reason, kind: RefusalKind::Other };
        }
        let what = if error.is_decode() {
            "the answer could not be decoded"
        } else {
            "the connection broke before the answer was complete"
        };
        Self::Outage { reason: format!("{what}: {}", broken_by(&error)), busy: false }
    }

    /// Whether a body is an engine's own error, and not that of something before it.
    pub(super) fn is_of_an_engine(body: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct EngineErrorBody {
            error: EngineError,
        }
        serde_json::from_slice(body).is_ok_and(|EngineErrorBody { error }| error.has_type())
    }

    /// From an answer with a status other than 2xx and the beginning of its body.
    ///
    /// What the error object says goes before the status: too many buckets is a 503 in Elasticsearch 7 and a
    /// 400 in 8, a tripped circuit breaker and a full queue are both a 429, a block is a 403.
    pub(super) fn from_status(status: u16, location: Option<&str>, body: &[u8]) -> Self {
        let ErrorVerdict { text, cause, is_blocked } = reason_in(body);
        let reason = |sentence: &str| match text.as_str() {
            "" => format!("{sentence} (HTTP {status})"),
            text => format!("{sentence} (HTTP {status}): {text}"),
        };
        if status < 400 {
            let to = location.map(|location| format!(" to {}", bounded(location, TEXT_MAX_CHARS)));
            return Self::Refused {
                reason: format!(
                    "the search engine redirects (HTTP {status}{}), which is not followed: \
                     set the url of the endpoint to where it is",
                    to.unwrap_or_default()
                ),
                kind: RefusalKind::Other,
            };
        }
        match (status, cause) {
            (413, _) | (_, FailureCause::TooLarge) => {
                Self::TooLarge { reason: reason("the search is too large for the search engine") }
            }
            (429, _) | (_, FailureCause::Busy) => {
                Self::Outage { reason: reason("the search engine is overloaded"), busy: true }
            }
            (_, FailureCause::Away) if is_blocked => Self::Outage {
                reason: reason(
                    "an index is blocked for reading, by a setting such as index.blocks.read or by the search engine \
                     itself: lift the block",
                ),
                busy: false,
            },
            (_, FailureCause::Away) => {
                Self::Outage { reason: reason("no node of the search engine holds what was searched"), busy: false }
            }
            (502..=504, _) => Self::Outage { reason: reason("the search engine is not available"), busy: false },
            (408, _) => Self::TimedOut { reason: reason("the time for the search was up") },
            (500.., _) => Self::Incomplete { reason: reason("the search engine failed") },
            (401, _) => Self::Refused {
                reason: reason("the search engine did not accept the credentials of the endpoint"),
                kind: RefusalKind::Credentials,
            },
            (403, _) => Self::Refused {
                reason: reason("the credentials of the endpoint do not allow this search"),
                kind: RefusalKind::Credentials,
            },
            (404, _) => {
                Self::Refused { reason: reason("what was searched does not exist"), kind: RefusalKind::IndexPattern }
            }
            _ => Self::Refused { reason: reason("the search engine refused the search"), kind: RefusalKind::Other },
        }
    }
}

impl From<IndexPatternError> for SearchError {
    fn from(error: IndexPatternError) -> Self {
        Self::Refused { reason: format!("the index pattern {error}"), kind: RefusalKind::IndexPattern }
    }
}

impl From<AnswerError> for SearchError {
    fn from(refusal: AnswerError) -> Self {
        let reason = refusal.to_string();
        match refusal {
            AnswerError::Partial { cause: FailureCause::TooLarge, .. } | AnswerError::Truncated { .. } => {
                Self::TooLarge { reason }
            }
            AnswerError::Partial { cause: FailureCause::Busy, .. } => Self::Outage { reason, busy: true },
            AnswerError::Partial { cause: FailureCause::Away, .. } | AnswerError::Cut { .. } => {
                Self::Outage { reason, busy: false }
            }
            AnswerError::Partial { cause: FailureCause::Other, .. } | AnswerError::Malformed { .. } => {
                Self::Incomplete { reason }
            }
            AnswerError::NoShards => Self::Refused { reason, kind: RefusalKind::IndexPattern },
        }
    }
}

/// What a refused request says.
struct ErrorVerdict {
    /// Empty: nothing that can be shown.
    text: String,
    cause: FailureCause,
    is_blocked: bool,
}

/// The error object of a body, or its text if that is not HTML.
fn reason_in(body: &[u8]) -> ErrorVerdict {
    #[derive(Deserialize)]
    struct EngineErrorBody {
        #[serde(default)]
        error: Option<EngineError>,
    }
    let none = ErrorVerdict { text: String::new(), cause: FailureCause::Other, is_blocked: false };
    if let Ok(EngineErrorBody { error }) = serde_json::from_slice(body) {
        return error.map_or(none, |error| ErrorVerdict {
            text: error.text(),
            cause: error.cause(),
            is_blocked: error.is_blocked(),
        });
    }
    let text = bounded(&String::from_utf8_lossy(body), TEXT_MAX_CHARS);
    if text.starts_with(['<', '{', '[']) { none } else { ErrorVerdict { text, ..none } }
}

/// What broke a request off. The outermost error only says that it failed, and Hyper's own layer not even that.
fn broken_by(error: &reqwest::Error) -> String {
    let mut below = std::iter::successors(error.source(), |&cause| cause.source());
    let first = below.find(|cause| !cause.to_string().starts_with("client error"));
    let text = bounded(&causes(first.unwrap_or(error)).to_string(), REASON_MAX_CHARS);
    // What the libraries say of the wrong protocol helps nobody.
    for (sign, hint) in [
        ("invalid peer certificate", "ca_file of the endpoint names an authority of one's own"),
        ("InvalidContentType", "what answers does not speak TLS: the url of the endpoint should begin with http://"),
        ("invalid HTTP version parsed", "what answers does not speak HTTP: should the url begin with https://?"),
    ] {
        if text.contains(sign) {
            return format!("{text} ({hint})");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(status: u16, body: &Value) -> SearchError {
        SearchError::from_status(status, None, body.to_string().as_bytes())
    }

    fn error(kind: &str) -> Value {
        json!({"error": {"root_cause": [{"type": kind, "reason": "why"}], "type": kind, "reason": "why"}})
    }

    #[test]
    fn too_much_at_once_is_told_by_its_type_whatever_the_status() {
        for (status, kind) in [
            (400, "too_many_buckets_exception"),
            (503, "too_many_buckets_exception"),
            (400, "too_many_clauses"),
            (400, "too_many_nested_clauses"),
            (400, "task_cancelled_exception"),
        ] {
            assert!(matches!(of(status, &error(kind)), SearchError::TooLarge { .. }), "{status} {kind}");
        }
        let terms = json!({"error": {"type": "illegal_argument_exception", "reason": "set [index.max_terms_count]"}});
        assert!(matches!(of(400, &terms), SearchError::TooLarge { .. }));
        assert!(matches!(of(413, &json!({})), SearchError::TooLarge { .. }));
    }

    #[test]
    fn an_overload_is_an_outage_that_says_so() {
        for (status, body) in [
            (429, error("es_rejected_execution_exception")),
            (429, error("rejected_execution_exception")),
            (503, error("es_rejected_execution_exception")),
            (429, error("circuit_breaking_exception")),
            (500, error("circuit_breaking_exception")),
            (429, json!({})),
        ] {
            assert!(matches!(of(status, &body), SearchError::Outage { busy: true, .. }), "{status} {body}");
        }
        assert!(matches!(SearchError::from_status(429, None, b""), SearchError::Outage { busy: true, .. }));
    }

    #[test]
    fn the_other_statuses_are_sorted_as_the_design_says() {
        for status in 502..=504 {
            let outage = of(status, &error("no_shard_available_action_exception"));
            assert!(matches!(outage, SearchError::Outage { busy: false, .. }), "{status}");
        }
        for status in [500, 501, 505, 520, 599] {
            assert!(matches!(of(status, &error("x")), SearchError::Incomplete { .. }), "{status}");
        }
        for status in [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 406, 410, 415, 422] {
            assert!(matches!(of(status, &error("x")), SearchError::Refused { .. }), "{status}");
        }
        assert!(matches!(of(408, &error("x")), SearchError::TimedOut { .. }));
    }

    #[test]
    fn a_block_is_an_outage_that_says_so_and_no_matter_of_credentials() {
        for status in [403, 429, 503] {
            let blocked = of(status, &error("cluster_block_exception"));
            assert!(matches!(blocked, SearchError::Outage { .. }), "{status} {blocked:?}");
        }
        assert!(of(403, &error("cluster_block_exception")).reason().contains("index.blocks.read"));
        let refused = of(403, &error("security_exception"));
        assert!(matches!(refused, SearchError::Refused { kind: RefusalKind::Credentials, .. }), "{refused:?}");
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        for (status, kind) in [
            (401, RefusalKind::Credentials),
            (403, RefusalKind::Credentials),
            (404, RefusalKind::IndexPattern),
            (400, RefusalKind::Other),
            (301, RefusalKind::Other),
        ] {
            let refused = of(status, &error("x"));
            assert!(matches!(refused, SearchError::Refused { kind: said, .. } if said == kind), "{status} {refused:?}");
        }
        let nothing = SearchError::from(AnswerError::NoShards);
        assert!(matches!(nothing, SearchError::Refused { kind: RefusalKind::IndexPattern, .. }), "{nothing:?}");
    }

    #[test]
    fn the_reason_holds_the_status_and_the_engines_own_words() {
        assert_eq!(
            of(400, &error("parsing_exception")).reason(),
            "the search engine refused the search (HTTP 400): parsing_exception: why"
        );
        assert_eq!(
            SearchError::from_status(503, None, b"upstream\n gone").reason(),
            "the search engine is not available (HTTP 503): upstream gone"
        );
        assert_eq!(
            SearchError::from_status(503, None, b"<html>gone</html>").reason(),
            "the search engine is not available (HTTP 503)"
        );
        assert_eq!(
            SearchError::from_status(301, Some("https://elsewhere/"), b"").reason(),
            "the search engine redirects (HTTP 301 to https://elsewhere/), which is not followed: \
             set the url of the endpoint to where it is"
        );
        let long = json!({"error": {"type": "t", "reason": "x".repeat(100_000)}});
        assert!(of(500, &long).reason().chars().count() < 600);
    }
}
