//! A real OpenTelemetry collector, and what it has received.
//!
//! It is a child process on a free port. What arrives there by OTLP it hands on, as JSON, to a server of the test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use hostsync_testing::client::wait_for;
use hostsync_testing::ports::free_port;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Longest time for the collector to start.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running collector; killed when it is dropped.
pub(crate) struct Collector {
    /// Where it receives OTLP by HTTP.
    pub(crate) url: String,
    received: MockServer,
    _process: Child,
    _folder: TempDir,
}

/// A span as the collector handed it on.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty: none.
    pub(crate) parent: String,
    /// Trace and span of each.
    pub(crate) links: BTreeSet<(String, String)>,
    pub(crate) is_error: bool,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A metric's name with the labels of one of its series.
pub(crate) type Series = (String, BTreeMap<String, String>);

/// An address of this machine where nobody listens.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", free_port().expect("a port"))
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let binary = PathBuf::from(std::env::var("HOSTSYNC_COLLECTOR").expect("run by make test-traces"));
        let received = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&received).await;
        let address = free_address();
        let folder = TempDir::new().expect("a folder");
        let config = folder.path().join("collector.yaml");
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{address}'}}}}}}}}
processors: {{batch: {{timeout: 100ms}}}}
exporters: {{otlp_http: {{endpoint: '{to}', encoding: json, compression: none}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [otlp_http]}}
    metrics: {{receivers: [otlp], processors: [batch], exporters: [otlp_http]}}
",
            to = received.uri()
        );
        std::fs::write(&config, text).expect("written");
        let mut process = Command::new(binary)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it can be started");
        wait_for("the collector", START_LIMIT, async || {
            if let Some(status) = process.try_wait()? {
                anyhow::bail!("the collector ended: {status}");
            }
            Ok(TcpStream::connect(&address).await.ok())
        })
        .await
        .expect("the collector starts");
        Self { url: format!("http://{address}"), received, _process: process, _folder: folder }
    }

    /// Every part of one kind of resource that has arrived: its service and itself.
    async fn parts(&self, path: &str, resources: &str) -> Vec<(String, Value)> {
        let requests = self.received.received_requests().await.expect("recorded");
        let bodies = requests
            .iter()
            .filter(|request| request.url.path() == path)
            .map(|request| serde_json::from_slice::<Value>(&request.body).expect("JSON"));
        bodies
            .flat_map(|body| body[resources].as_array().cloned().unwrap_or_default())
            .map(|part| {
                let service = attributes(&part["resource"]["attributes"]).remove("service.name").unwrap_or_default();
                (service, part)
            })
            .collect()
    }

    /// Every span that has arrived.
    pub(crate) async fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for (service, part) in self.parts("/v1/traces", "resourceSpans").await {
            spans.extend(inner(&part, "scopeSpans", "spans").iter().map(|span| read_span(&service, span)));
        }
        spans
    }

    /// The spans as soon as there is what `find` wants of them.
    pub(crate) async fn wait_for_spans<T>(
        &self,
        what: &str,
        limit: Duration,
        find: impl Fn(&[Span]) -> Option<T>,
    ) -> T {
        let mut last = Vec::new();
        let found = wait_for(what, limit, async || {
            last = self.spans().await;
            Ok(find(&last))
        })
        .await;
        found.unwrap_or_else(|error| panic!("{error}: {last:#?}"))
    }

    /// Every series of the last metrics that have arrived from a service, by Prometheus's names.
    pub(crate) async fn series(&self, service: &str) -> BTreeSet<Series> {
        let parts = self.parts("/v1/metrics", "resourceMetrics").await;
        let last = parts.iter().rfind(|(from, _)| from == service);
        last.map(|(_, part)| inner(part, "scopeMetrics", "metrics").iter().flat_map(read_metric).collect())
            .unwrap_or_default()
    }
}

/// All of `things` in all of `scopes`.
fn inner(part: &Value, scopes: &str, things: &str) -> Vec<Value> {
    let scopes = part[scopes].as_array().into_iter().flatten();
    scopes.flat_map(|scope| scope[things].as_array().cloned().unwrap_or_default()).collect()
}

/// Attributes of OTLP/JSON, with every value as a text.
fn attributes(list: &Value) -> BTreeMap<String, String> {
    let read = |attribute: &Value| {
        let value = attribute["value"].as_object().and_then(|value| value.values().next());
        let value = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        (text(&attribute["key"]), value.unwrap_or_default())
    };
    list.as_array().into_iter().flatten().map(read).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read_span(service: &str, span: &Value) -> Span {
    let links = span["links"].as_array().into_iter().flatten();
    Span {
        service: service.to_owned(),
        name: text(&span["name"]),
        trace: text(&span["traceId"]),
        id: text(&span["spanId"]),
        parent: text(&span["parentSpanId"]),
        links: links.map(|link| (text(&link["traceId"]), text(&link["spanId"]))).collect(),
        is_error: span["status"]["code"] == 2,
        attributes: attributes(&span["attributes"]),
    }
}

/// The series of a metric, named as Prometheus names it: dots are underscores, the unit and `total` stand at the end.
fn read_metric(metric: &Value) -> Vec<Series> {
    let unit = match metric["unit"].as_str() {
        Some("s") => "_seconds",
        Some("By") => "_bytes",
        None | Some("") => "",
        Some(other) if other.starts_with('{') => "",
        Some(other) => panic!("no rule for the unit {other} of {metric}"),
    };
    let total = if metric["sum"]["isMonotonic"] == true { "_total" } else { "" };
    let name = format!("{}{unit}{total}", text(&metric["name"]).replace('.', "_"));
    let points = ["sum", "gauge", "histogram"].into_iter().filter_map(|kind| metric[kind]["dataPoints"].as_array());
    let labels = |point: &Value| {
        attributes(&point["attributes"]).into_iter().map(|(key, value)| (key.replace('.', "_"), value)).collect()
    };
    points.flatten().map(|point| (name.clone(), labels(point))).collect()
}
