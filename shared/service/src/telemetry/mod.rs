//! Logs to standard error, and traces and metrics by OTLP where an endpoint is configured.
//!
//! Owns the subscriber of the process; what crosses processes is [`hostsync_metrics::spans`]. Set up once, by `main`;
//! a library or a test that never does so loses nothing but the output. It must never hold up the
//! process: what cannot be delivered is dropped, and the last flush has a bound.

mod json;
mod keep_errors;
mod signals;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{SecondsFormat, Utc};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter};
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};
use url::Url;

use crate::config::{LogFormat, TelemetryConfig};
use hostsync_metrics::Metrics;
use hostsync_model::causes::causes;

use keep_errors::{KeepErrors, RecordAll};
use signals::Signals;

/// Longest wait for the last flush of traces and metrics. What is not delivered then is lost.
pub const FLUSH_BOUND: Duration = Duration::from_secs(5);

/// What a crate says below this is noise at every `log_level`, unless a directive names the crate. `sqlx`
/// tells slow statements as warnings, so they are seen.
const QUIET: &str =
    "lapin=warn,sqlx=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn,opentelemetry=warn";

/// Spans of our own crates make up the traces, whatever `log_level` says.
const TRACED: &str = "hostsync";

/// Flushes traces and metrics when it is dropped, within [`FLUSH_BOUND`]. `main` keeps it to its end.
#[must_use = "traces and metrics are flushed when the guard is dropped"]
pub struct TelemetryGuard {
    tracer_provider: Option<SdkTracerProvider>,
    meter_provider: Option<SdkMeterProvider>,
}

/// Sets up logs, traces and metrics of this process. Call it once, first, within or without a runtime.
///
/// `is_terminal` says whether standard error is one: text in colours there, else JSON, unless the
/// configuration says which. The standard `OTEL_*` variables are honoured as the SDK does (sampler, limits, headers,
/// compression, resource attributes, service name), and as `signals` says where it leaves that to us; the endpoint and
/// the protocol come from the configuration alone.
/// Whatever the sampler, the spans of failed work are sent (`keep_errors`).
///
/// # Errors
///
/// The exporter cannot be built, or a subscriber has been set already.
pub fn init(service_name: &'static str, config: &TelemetryConfig, is_terminal: bool) -> anyhow::Result<TelemetryGuard> {
    let resource = resource(service_name);
    let signals = Signals::of_process();
    let exporter = config.otlp_endpoint.as_ref().filter(|_| signals.metrics).map(metric_exporter).transpose()?;
    let meter_provider = Metrics::init(resource.clone(), |builder| match exporter {
        Some(exporter) => builder.with_periodic_exporter(exporter),
        None => builder,
    });
    let (subscriber, mut guard) = build(resource, config, &signals, is_terminal, std::io::stderr)?;
    guard.meter_provider = Some(meter_provider);
    subscriber.try_init().context("logging has been set up already in this process")?;
    if let Some(endpoint) = &config.otlp_endpoint {
        say_what_is_sent(&signals, endpoint);
    }
    Ok(guard)
}

fn say_what_is_sent(signals: &Signals, endpoint: &Url) {
    for ignored in &signals.ignored {
        warn!("{ignored}");
    }
    match (signals.traces, signals.metrics) {
        (true, true) => info!(%endpoint, "traces and metrics go to {endpoint} by OTLP"),
        (true, false) => info!(%endpoint, "traces go to {endpoint} by OTLP, metrics do not: OTEL_METRICS_EXPORTER"),
        (false, true) => info!(%endpoint, "metrics go to {endpoint} by OTLP, traces do not: OTEL_TRACES_EXPORTER"),
        (false, false) => {
            info!(
                "neither traces nor metrics are sent: OTEL_SDK_DISABLED, or OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER"
            );
        }
    }
}

/// Who speaks: the service's name, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` says another,
/// its version, and an id of this process so that the metrics of several do not mix.
fn resource(service_name: &'static str) -> Resource {
    let from_environment = Resource::builder().build();
    let is_named = from_environment
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let has_instance = from_environment.get(&Key::from_static_str("service.instance.id")).is_some();
    let mut builder = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if !is_named {
        builder = builder.with_service_name(service_name);
    }
    if !has_instance {
        let id = format!("{:016x}", rand::random::<u64>());
        builder = builder.with_attribute(KeyValue::new("service.instance.id", id));
    }
    builder.build()
}

/// What is logged: `info` and [`QUIET`], then what the configuration says, which wins.
fn filter(log_level: &str) -> anyhow::Result<EnvFilter> {
    let is_sparing = log_level
        .split(',')
        .filter_map(|directive| directive.trim().parse::<LevelFilter>().ok())
        .any(|level| level <= LevelFilter::WARN);
    let base = if is_sparing { String::new() } else { format!("info,{QUIET},") };
    EnvFilter::try_new(format!("{base}{log_level}")).context("telemetry.log_level")
}

/// The subscriber without making it the process's own.
fn build<W>(
    resource: Resource,
    config: &TelemetryConfig,
    signals: &Signals,
    is_terminal: bool,
    writer: W,
) -> anyhow::Result<(impl Subscriber + Send + Sync + 'static, TelemetryGuard)>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let filter = filter(&config.log_level)?;
    let format = config.log_format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => {
            let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(UtcMilliseconds);
            if is_terminal { layer.boxed() } else { layer.with_ansi(false).boxed() }
        }
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .fmt_fields(JsonFields::new())
            .event_format(json::JsonLines)
            .boxed(),
    };
    let endpoint = config.otlp_endpoint.as_ref().filter(|_| signals.traces);
    let tracer_provider = endpoint.map(|endpoint| tracer_provider(resource, endpoint)).transpose()?;
    let traces = tracer_provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("hostsync"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACED, LevelFilter::INFO))
    });
    let subscriber = tracing_subscriber::registry().with(logs.with_filter(filter)).with(traces);
    Ok((subscriber, TelemetryGuard { tracer_provider, meter_provider: None }))
}

fn tracer_provider(resource: Resource, endpoint: &Url) -> anyhow::Result<SdkTracerProvider> {
    use_ring();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(signal_url(endpoint, "v1/traces"))
        .build()
        .context("the exporter of traces cannot be built")?;
    let exporter = Reporting { exporter, endpoint: endpoint.clone(), is_failing: AtomicBool::new(false) };
    // The batch processor exports in a thread of its own: no runtime is held up by a slow collector.
    let batches = BatchSpanProcessor::builder(exporter).build();
    Ok(SdkTracerProvider::builder()
        .with_sampler(RecordAll::around_the_configured())
        .with_span_processor(KeepErrors::before(batches))
        .with_resource(resource)
        .build())
}

fn metric_exporter(endpoint: &Url) -> anyhow::Result<MetricExporter> {
    use_ring();
    MetricExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(signal_url(endpoint, "v1/metrics"))
        .build()
        .context("the exporter of metrics cannot be built")
}

/// The URL of one signal below the base URL of a collector (OTLP specification, "Endpoint URLs for OTLP/HTTP").
fn signal_url(endpoint: &Url, path: &str) -> String {
    format!("{}/{path}", endpoint.as_str().trim_end_matches('/'))
}

/// Makes ring the process's TLS provider, for every HTTP client in it; whoever came first has set it.
pub fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        let (tracer_provider, meter_provider) = (self.tracer_provider.take(), self.meter_provider.take());
        let (done, is_done) = mpsc::channel::<()>();
        // In a thread, since a collector that accepts and never answers would hold us longer than the bound.
        let flusher = std::thread::Builder::new().name("telemetry-flush".to_owned()).spawn(move || {
            if let Some(provider) = tracer_provider {
                let _ = provider.shutdown_with_timeout(FLUSH_BOUND);
            }
            if let Some(provider) = meter_provider {
                let _ = provider.shutdown_with_timeout(FLUSH_BOUND);
            }
            let _ = done.send(());
        });
        if flusher.is_ok() {
            let _ = is_done.recv_timeout(FLUSH_BOUND);
        }
    }
}

impl fmt::Debug for TelemetryGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryGuard").field("sends_traces", &self.tracer_provider.is_some()).finish_non_exhaustive()
    }
}

/// An exporter that says once that it fails and once that it works again.
#[derive(Debug)]
struct Reporting<E> {
    exporter: E,
    endpoint: Url,
    is_failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match &result {
            Err(error) if !was_failing => {
                warn!(%endpoint, error = %causes(error), "traces cannot be delivered to {endpoint}; they are lost until it answers");
            }
            Ok(()) if was_failing => info!(%endpoint, "traces are delivered to {endpoint} again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// RFC 3339 in UTC to the millisecond.
#[derive(Debug, Clone, Copy)]
struct UtcMilliseconds;

impl FormatTime for UtcMilliseconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&now())
    }
}

#[allow(clippy::disallowed_methods, reason = "a log line has the time of its process")]
fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
