//! By what a request is known in logs and traces.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName};

/// The header with the id of a request; a caller's own is kept if it has a usable form.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id of a caller that is kept, in characters.
const MAX_REQUEST_ID_CHARS: usize = 64;

/// The headers of W3C Trace Context.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// The caller's id of the request, if it is short and plain, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| (1..=MAX_REQUEST_ID_CHARS).contains(&id.len()))
        .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))
        .map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}

/// The headers of a trace that the caller belongs to.
pub(crate) fn trace_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    TRACE_HEADERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned())))
        .collect()
}
