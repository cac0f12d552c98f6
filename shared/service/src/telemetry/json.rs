//! A log line as one flat JSON object: time, level, target, message, then fields; `trace_id` where it is traced.
//!
//! Owns the shape. The fields of the spans around an event stand beside its own, so that a line can be
//! found by `execution_id` whoever wrote it; the innermost value wins. No field can take the place of
//! one of the first four.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::now;

/// Keys that no field takes, beside `message`.
const RESERVED: [&str; 3] = ["timestamp", "level", "target"];

/// Writes events as lines of JSON. Needs the fields of spans as JSON (`JsonFields`).
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        for span in ctx.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            fields.0.insert("span".to_owned(), span.name().into());
            let extensions = span.extensions();
            let formatted = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str());
            if let Some(Ok(of_span)) = formatted.map(serde_json::from_str::<Map<String, Value>>) {
                // A span has no message; a field of that name would hide the event's.
                fields.0.extend(of_span.into_iter().filter(|(key, _)| key != "message"));
            }
        }
        event.record(&mut fields);
        // Entering a span makes it the current one of the thread.
        let context = Context::current();
        let traced = context.span().span_context().clone();
        if traced.is_valid() {
            fields.0.insert("trace_id".to_owned(), traced.trace_id().to_string().into());
        }

        let message = fields.0.remove("message").unwrap_or_else(|| "".into());
        let level = metadata.level();
        let target = Value::from(metadata.target());
        write!(writer, r#"{{"timestamp":"{}","level":"{level}","target":{target},"message":{message}"#, now())?;
        for (key, value) in fields.0.into_iter().filter(|(key, _)| !RESERVED.contains(&key.as_str())) {
            write!(writer, ",{}:{value}", Value::from(key))?;
        }
        writeln!(writer, "}}")
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        self.0.insert(name.strip_prefix("r#").unwrap_or(name).to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    /// An error with what caused it, in one text.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        self.put(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
