//! How a trace goes on in another process: W3C Trace Context as a message's headers.
//!
//! Owns the way from a span to headers and back. Nothing here fails: headers that are missing or make no
//! sense leave a span without a parent or link. Works only once telemetry is set up; before that, and
//! while no OTLP endpoint is configured, there are no headers.

use std::collections::BTreeMap;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::{Status, TraceContextExt as _};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The headers that carry the current span to another process (`traceparent`, and `tracestate` where
/// there is one); none while nothing is traced.
///
/// After this the current span has its parent for good: call [`set_parent`] before.
pub fn current_trace_headers() -> BTreeMap<String, String> {
    let context = Span::current().context();
    let mut headers = Headers(BTreeMap::new());
    opentelemetry::global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut headers));
    headers.0.retain(|_, value| !value.is_empty());
    headers.0
}

/// The headers of a stored `traceparent`, as an execution keeps it.
pub fn trace_headers(traceparent: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("traceparent".to_owned(), traceparent.to_owned())])
}

/// Makes the span that the headers carry the parent of `span`, which must not have been entered yet.
pub fn set_parent(span: &Span, headers: &BTreeMap<String, String>) {
    if let Some(context) = remote(headers) {
        // Fails when nothing is traced or the span has begun; both leave it without this parent.
        let _ = span.set_parent(context);
    }
}

/// Lets `span`, which must not have been entered yet, go on with work that has several causes, such as a batch of jobs:
/// in the trace of the first cause, and linked to the span of each.
///
/// A cause whose trace is sampled comes before one whose trace is not.
pub fn follow<'a>(span: &Span, causes: impl IntoIterator<Item = &'a BTreeMap<String, String>>) {
    let causes: Vec<Context> = causes.into_iter().filter_map(remote).collect();
    let is_sampled = |cause: &&Context| cause.span().span_context().is_sampled();
    if let Some(first) = causes.iter().find(is_sampled).or(causes.first()) {
        // Fails when nothing is traced or the span has begun; both leave it without this parent.
        let _ = span.set_parent(first.clone());
    }
    for cause in &causes {
        span.add_link(cause.span().span_context().clone());
    }
}

/// Marks `span` as failed, for `reason`: its trace is kept whatever the sampler says.
pub fn set_failed(span: &Span, reason: impl Into<String>) {
    span.set_status(Status::error(reason.into()));
}

/// What the headers carry, if it is a span.
fn remote(headers: &BTreeMap<String, String>) -> Option<Context> {
    let carried = Carried(headers);
    let context = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &carried)
    });
    context.span().span_context().is_valid().then_some(context)
}

struct Headers(BTreeMap<String, String>);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_lowercase(), value);
    }
}

struct Carried<'a>(&'a BTreeMap<String, String>);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(&key.to_lowercase()).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
