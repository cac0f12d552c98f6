//! Telemetry as a collector and a reader of the log see it.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;
use tracing::{error, info_span};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use hostsync_metrics::spans::{current_trace_headers, follow, set_failed, set_parent, trace_headers};

use super::*;

const BOTH: Signals = Signals { traces: true, metrics: true, ignored: Vec::new() };

/// What has been written to the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lines").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("lines").clone()).expect("UTF-8")
    }
}

fn config(log_level: &str, otlp_endpoint: Option<&str>) -> TelemetryConfig {
    let otlp_endpoint = otlp_endpoint.map(|url| url.parse().expect("a URL"));
    TelemetryConfig { otlp_endpoint, log_format: None, log_level: log_level.to_owned() }
}

/// Runs `work` under a subscriber of its own, with the guard dropped at the end.
fn observed(config: &TelemetryConfig, is_terminal: bool, work: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let (subscriber, guard) =
        build(resource("hostsync-test"), config, &BOTH, is_terminal, move || writer.clone()).expect("telemetry");
    tracing::subscriber::with_default(subscriber, work);
    drop(guard);
    lines.text()
}

async fn collector(signal: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(signal))
        .and(header("content-type", "application/x-protobuf"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    server
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn a_json_line_is_flat_and_has_the_ids_of_its_spans() {
    let log = observed(&config("info", None), false, || {
        let outer = info_span!("execution", execution_id = 7_u64, host_ip = "10.0.0.1", message = "hidden");
        let _outer = outer.enter();
        let inner = info_span!("attempt", host_ip = "10.0.0.2", later = tracing::field::Empty);
        let _inner = inner.enter();
        inner.record("later", 3);
        let cause = io::Error::other("no route");
        error!(error = &cause as &dyn std::error::Error, attempt = 2_u32, level = "mine", "cannot \"search\" {}", 1);
        tracing::debug!("not at this level");
    });
    assert!(log.starts_with("{\"timestamp\":\""), "{log}");
    let mut lines = log.lines();
    let line: Value = serde_json::from_str(lines.next().expect("a line")).expect("JSON");
    assert_eq!(lines.next(), None);
    let time = line["timestamp"].as_str().expect("a time");
    assert!(time.len() == "2024-01-01T00:00:00.000Z".len() && time.ends_with('Z'), "{time}");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["message"], "cannot \"search\" 1");
    assert_eq!(line["execution_id"], 7);
    assert_eq!(line["host_ip"], "10.0.0.2");
    assert_eq!(line["later"], 3);
    assert_eq!(line["attempt"], 2);
    assert_eq!(line["error"], "no route");
    assert_eq!(line["span"], "attempt");
}

#[test]
fn the_format_follows_the_terminal_unless_it_is_configured() {
    let say = || tracing::info!(answer = 42, "hello");
    let on_terminal = observed(&config("info", None), true, say);
    assert!(on_terminal.contains("\u{1b}[") && on_terminal.contains("hello"), "{on_terminal}");
    let text = TelemetryConfig { log_format: Some(LogFormat::Text), ..config("info", None) };
    let text = observed(&text, false, say);
    assert!(text.contains(" INFO ") && text.contains("hello answer=42") && !text.contains('\u{1b}'), "{text}");
    let json = TelemetryConfig { log_format: Some(LogFormat::Json), ..config("info", None) };
    assert!(observed(&json, true, say).starts_with('{'));
}

#[test]
fn noisy_crates_are_quiet_unless_they_are_named() {
    let say = || {
        tracing::info!(target: "lapin::channel", "chatter");
        tracing::warn!(target: "sqlx::query", "slow statement");
        tracing::debug!(target: "hostsync_worker::gather", "ours");
    };
    let log = observed(&config("debug", None), false, say);
    assert!(!log.contains("chatter") && log.contains("slow statement") && log.contains("ours"), "{log}");
    let log = observed(&config("warn,lapin=info", None), false, say);
    assert!(log.contains("chatter") && log.contains("slow statement") && !log.contains("ours"), "{log}");
    let log = observed(&config("lapin=info", None), false, || {
        say();
        tracing::info!("the level is still info");
    });
    assert!(log.contains("chatter") && !log.contains("ours") && log.contains("still info"), "{log}");
    for level in ["error", "OFF"] {
        assert_eq!(observed(&config(level, None), false, say), "");
    }
}

#[tokio::test]
async fn spans_arrive_at_a_collector() {
    let server = collector("/v1/traces").await;
    // With a slash at the end or not, the signal's path is appended.
    observed(&config("off", Some(&format!("{}/", server.uri()))), false, || {
        info_span!(target: "hostsync_worker", "search-of-a-batch", execution_id = 7_u64).in_scope(|| {});
        info_span!(target: "lapin", "not-ours").in_scope(|| {});
    });
    let requests = server.received_requests().await.expect("recorded");
    assert_eq!(requests.len(), 1);
    let body = &requests[0].body;
    for text in ["search-of-a-batch", "execution_id", "hostsync-test", "service.instance.id"] {
        assert!(contains(body, text), "{text}");
    }
    assert!(!contains(body, "not-ours"));
}

#[tokio::test]
async fn metrics_arrive_at_a_collector() {
    let server = collector("/v1/metrics").await;
    let endpoint = server.uri().parse().expect("a URL");
    let exporter = metric_exporter(&endpoint).expect("an exporter");
    let (metrics, provider) =
        Metrics::detached_with(resource("hostsync-test"), |builder| builder.with_periodic_exporter(exporter));
    metrics.dead_letter();
    assert!(metrics.render().contains("hostsync_dead_letters_total 1"));
    drop(TelemetryGuard { tracer_provider: None, meter_provider: Some(provider) });
    let requests = server.received_requests().await.expect("recorded");
    assert!(requests.iter().any(|request| contains(&request.body, "hostsync.dead_letters")));
}

/// Runs itself as a process of its own, whose environment says what is sent and how.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the variables are what is tested")]
async fn the_standard_variables_say_which_signals_are_sent_and_whether_they_are_compressed() {
    const COLLECTOR: &str = "HOSTSYNC_TEST_COLLECTOR";
    if let Ok(endpoint) = std::env::var(COLLECTOR) {
        let guard = init("hostsync-test", &config("off", Some(&endpoint)), false).expect("telemetry");
        info_span!(target: "hostsync_worker", "batch").in_scope(|| {});
        Metrics::global().dead_letter();
        drop(guard);
        return;
    }
    let name = "telemetry::tests::the_standard_variables_say_which_signals_are_sent_and_whether_they_are_compressed";
    for (variables, sent) in [
        (vec![], "metrics plain, traces plain"),
        (vec![("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], "metrics gzip, traces gzip"),
        (vec![("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip")], "metrics plain, traces gzip"),
        (vec![("OTEL_TRACES_EXPORTER", "none")], "metrics plain"),
        (vec![("OTEL_METRICS_EXPORTER", "none")], "traces plain"),
        (vec![("OTEL_SDK_DISABLED", "true")], ""),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let mut process = std::process::Command::new(std::env::current_exe().expect("this program"));
        process.args([name, "--exact"]).env(COLLECTOR, server.uri()).envs(variables.iter().copied());
        let run = tokio::task::spawn_blocking(move || process.output()).await.expect("joined").expect("run");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        let requests = server.received_requests().await.expect("recorded");
        let seen: std::collections::BTreeSet<String> = requests
            .iter()
            .map(|request| {
                let encoding = request.headers.get("content-encoding").map_or("plain", |it| it.to_str().expect("text"));
                format!("{} {encoding}", request.url.path().trim_start_matches("/v1/"))
            })
            .collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>().join(", "), sent, "{variables:?}");
    }
}

#[test]
fn a_trace_goes_on_in_another_process() {
    // Nobody listens there; nothing needs to arrive.
    let nowhere = config("off", Some("http://127.0.0.1:9"));
    observed(&nowhere, false, || {
        let sender = info_span!(target: "hostsync_api", "publish");
        let headers = sender.in_scope(current_trace_headers);
        let (trace, parent) = parts(&headers);

        let receiver = info_span!(target: "hostsync_worker", "job");
        set_parent(&receiver, &headers);
        let onward = receiver.in_scope(current_trace_headers);
        assert_eq!(parts(&onward).0, trace);
        assert_ne!(parts(&onward).1, parent);

        let batch = info_span!(target: "hostsync_worker", "batch");
        let other = info_span!(target: "hostsync_api", "publish").in_scope(current_trace_headers);
        follow(&batch, [&headers, &other]);
        assert_eq!(parts(&batch.in_scope(current_trace_headers)).0, trace);

        for bad in ["", "00-0-0-01", "rubbish"] {
            let span = info_span!(target: "hostsync_worker", "job");
            let bad = BTreeMap::from([("traceparent".to_owned(), bad.to_owned())]);
            set_parent(&span, &bad);
            follow(&span, [&bad]);
            assert!(!span.in_scope(current_trace_headers).is_empty());
        }
    });
}

/// The trace's and the span's id.
fn parts(headers: &BTreeMap<String, String>) -> (String, String) {
    let parts: Vec<&str> = headers["traceparent"].split('-').collect();
    assert_eq!((parts[0], parts.len()), ("00", 4));
    (parts[1].to_owned(), parts[2].to_owned())
}

#[test]
fn work_of_several_traces_goes_on_in_the_first_that_is_sampled() {
    observed(&config("off", Some("http://127.0.0.1:9")), false, || {
        let [dropped, sampled, later] = [("1", "00"), ("2", "01"), ("3", "01")]
            .map(|(trace, flags)| trace_headers(&format!("00-{}-00f067aa0ba902b7-{flags}", trace.repeat(32))));
        let batch = info_span!(target: "hostsync_worker", "batch");
        follow(&batch, [&dropped, &sampled, &later]);
        assert_eq!(parts(&batch.in_scope(current_trace_headers)).0, "2".repeat(32));
        let batch = info_span!(target: "hostsync_worker", "batch");
        follow(&batch, [&dropped]);
        let headers = batch.in_scope(current_trace_headers);
        assert_eq!(parts(&headers).0, "1".repeat(32));
        assert!(headers["traceparent"].ends_with("-00"), "{headers:?}");
    });
}

#[tokio::test]
async fn what_failed_arrives_although_its_trace_is_not_sampled() {
    let server = collector("/v1/traces").await;
    observed(&config("off", Some(&server.uri())), false, || {
        for (name, fails) in [("failed-batch", true), ("healthy-batch", false)] {
            let batch = info_span!(target: "hostsync_worker", "batch", otel.name = name);
            follow(&batch, [&trace_headers("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")]);
            batch.in_scope(|| {
                let search = info_span!(target: "hostsync_worker", "search");
                if fails {
                    set_failed(&search, "no answer");
                }
                search.in_scope(|| {});
            });
        }
    });
    let requests = server.received_requests().await.expect("recorded");
    assert_eq!(requests.len(), 1);
    let body = &requests[0].body;
    assert!(contains(body, "failed-batch") && contains(body, "no answer") && !contains(body, "healthy-batch"));
}

#[test]
fn a_json_line_carries_its_trace() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let say = || {
        let span = info_span!(target: "hostsync_worker", "batch");
        set_parent(&span, &trace_headers(&format!("00-{trace}-00f067aa0ba902b7-00")));
        span.in_scope(|| info_span!(target: "hostsync_worker", "write").in_scope(|| tracing::info!("within")));
        tracing::info!("without");
    };
    let json = TelemetryConfig { log_format: Some(LogFormat::Json), ..config("info", Some("http://127.0.0.1:9")) };
    let log = observed(&json, false, say);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [within, without] = ["within", "without"]
        .map(|message| lines.iter().find(|line| line["message"] == message).expect("a line").get("trace_id").cloned());
    assert_eq!((within, without), (Some(trace.into()), None));
}

#[test]
fn without_an_endpoint_there_is_no_trace() {
    observed(&config("off", None), false, || {
        let span = info_span!(target: "hostsync_api", "publish");
        assert_eq!(span.in_scope(current_trace_headers), BTreeMap::new());
        set_parent(&span, &BTreeMap::new());
    });
}

#[test]
fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let started = Instant::now();
    observed(&config("off", Some(&endpoint)), false, || {
        info_span!(target: "hostsync_worker", "lost").in_scope(|| {});
    });
    assert!(started.elapsed() < FLUSH_BOUND + Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn a_collector_that_is_not_there_is_told_once() {
    let config = TelemetryConfig { log_format: Some(LogFormat::Json), ..config("warn", Some("http://127.0.0.1:9")) };
    let lines = Lines::default();
    let writer = lines.clone();
    let (subscriber, _guard) =
        build(resource("hostsync-test"), &config, &BOTH, false, move || writer.clone()).expect("telemetry");
    let exporter = Reporting {
        exporter: Failing,
        endpoint: "http://127.0.0.1:9".parse().expect("a URL"),
        is_failing: AtomicBool::new(false),
    };
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for _ in 0..3 {
            assert!(runtime.block_on(exporter.export(Vec::new())).is_err());
        }
    });
    assert_eq!(lines.text().matches("cannot be delivered").count(), 1, "{}", lines.text());
}

/// An exporter whose collector is gone.
#[derive(Debug)]
struct Failing;

impl SpanExporter for Failing {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure("refused".to_owned()))
    }
}
