//! What the tests of sources share: the engine under test, indices of their own, plain arithmetic.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_mapping::Stats;
use hostsync_model::window::Window;
use hostsync_source::EndpointKind;
use hostsync_source::{Endpoint, EndpointAuth, EndpointSettings, SearchAnswer, SearchError};
use serde_json::{Value, json};

use crate::ENGINE;

pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);

/// Where the engine is that the file of tests names.
#[expect(clippy::disallowed_methods, reason = "the environment names the servers of the tests")]
pub(crate) fn engine_url() -> String {
    std::env::var(ENGINE).unwrap_or_else(|_| {
        panic!(
            "{ENGINE} is not set: run `make up` and `deploy/dev/servers up elasticsearch7`, then `. .dev/env`, \
             or `make test`, which does all three"
        )
    })
}

pub(crate) fn endpoint_at(url: &str, auth: EndpointAuth, timeout: Duration) -> Endpoint {
    // All tests of the process share the provider that the first one installs.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = url.parse().expect("a URL");
    let settings =
        EndpointSettings { name: "test".to_owned(), kind: EndpointKind::Cluster, url, auth, ca_file: None, timeout };
    Endpoint::new(settings).expect("an endpoint")
}

pub(crate) fn real() -> Endpoint {
    endpoint_at(&engine_url(), EndpointAuth::None, TIMEOUT)
}

pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_750_000_000_123).expect("a time")
}

pub(crate) fn window_of_a_day() -> Window {
    Window { from: start(), to: start() + TimeDelta::days(1) }
}

pub(crate) fn texts<const N: usize>(hosts: [&str; N]) -> Vec<String> {
    hosts.map(str::to_owned).to_vec()
}

/// Indices that begin with a prefix of their own, gone when dropped.
pub(crate) struct Indices {
    pub(crate) prefix: String,
    pub(crate) client: reqwest::Client,
}

impl Indices {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::disallowed_methods, reason = "only to be different from the runs before")]
        let nanos = Utc::now().timestamp_nanos_opt().unwrap_or_default();
        Self { prefix: format!("hs-es-{}-{nanos}-{count}", std::process::id()), client: reqwest::Client::new() }
    }

    pub(crate) fn named(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    pub(crate) fn pattern(&self) -> String {
        format!("{}-*", self.prefix)
    }

    pub(crate) async fn send(&self, method: reqwest::Method, path: &str, body: &Value) {
        let response = self.client.request(method, format!("{}/{path}", engine_url())).json(body).send().await;
        let response = response.expect("an answer");
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap_or_default());
    }

    /// Creates an index with the mapping of its fields.
    pub(crate) async fn create(&self, suffix: &str, properties: &Value) -> String {
        self.create_with(suffix, &json!({"number_of_replicas": 0}), properties).await
    }

    /// The same with settings of its own. Waits until it can be searched, if a node may hold it.
    pub(crate) async fn create_with(&self, suffix: &str, settings: &Value, properties: &Value) -> String {
        let index = self.named(suffix);
        let active = u8::from(settings.get("routing.allocation.require._name").is_none());
        let body = json!({"settings": {"index": settings}, "mappings": {"properties": properties}});
        self.send(reqwest::Method::PUT, &format!("{index}?wait_for_active_shards={active}"), &body).await;
        index
    }

    /// Adds documents and makes them visible to searches.
    pub(crate) async fn add(&self, index: &str, documents: impl IntoIterator<Item = Value>) {
        let lines: Vec<String> =
            documents.into_iter().map(|document| format!("{{\"index\":{{}}}}\n{document}\n")).collect();
        for chunk in lines.chunks(5_000) {
            let response = self
                .client
                .post(format!("{}/{index}/_bulk", engine_url()))
                .header("content-type", "application/x-ndjson")
                .body(chunk.concat())
                .send()
                .await
                .expect("an answer");
            let answer: Value = response.json().await.expect("JSON");
            assert_eq!(answer["errors"], false, "{answer}");
        }
        self.send(reqwest::Method::POST, &format!("{index}/_refresh"), &json!({})).await;
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        let url = format!("{}/{}", engine_url(), self.pattern());
        let remove = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(reqwest::Client::new().delete(url).send()))
        };
        // What cannot be removed is of no use to anybody, and harms no later run.
        let _ = std::thread::spawn(remove).join();
    }
}

pub(crate) fn keyword_host() -> Value {
    json!({"type": "keyword"})
}

pub(crate) fn text_and_keyword_host() -> Value {
    json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}})
}

pub(crate) fn zabbix_properties(host: &Value) -> Value {
    json!({
        "@timestamp": {"type": "date"},
        "hostIp": host,
        "cpu": {"type": "double"},
        "available_memory": {"type": "double"},
        "total_disk_space_all": {"type": "double"},
    })
}

pub(crate) fn document(host: &str, at: DateTime<Utc>, cpu: f64, memory: f64, disk: f64) -> Value {
    json!({
        "@timestamp": at.to_rfc3339(), "hostIp": host,
        "cpu": cpu, "available_memory": memory, "total_disk_space_all": disk,
    })
}

/// A few numbers that look like chance and are the same in each run.
pub(crate) fn noise(seed: u32) -> f64 {
    f64::from(seed.wrapping_mul(2_654_435_761).rotate_left(13) % 10_000) / 100.0
}

/// What the engine should say of these values, by plain arithmetic.
pub(crate) fn expected(values: &[f64]) -> Stats {
    let count = f64::from(u32::try_from(values.len()).expect("few values"));
    Stats {
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        avg: values.iter().sum::<f64>() / count,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
    }
}

pub(crate) fn assert_close(measured: Option<Stats>, expected: Stats) {
    let measured = measured.expect("a measurement");
    for (measured, expected) in
        [(measured.max, expected.max), (measured.avg, expected.avg), (measured.min, expected.min)]
    {
        assert!((measured - expected).abs() <= 1e-9 * expected.abs(), "{measured} {expected}");
    }
}

pub(crate) fn assert_refused(result: Result<SearchAnswer, SearchError>, sign: &str) {
    match result {
        Err(SearchError::Refused { reason, .. }) => assert!(reason.contains(sign), "{reason}"),
        other => panic!("{sign}: {other:?}"),
    }
}

/// A query proxy before the engine, as the installations have it: `POST` of a search with its `index` in the body,
/// and nothing else.
pub(crate) struct QueryProxy {
    url: String,
    server: tokio::task::JoinHandle<()>,
}

impl QueryProxy {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let handle = move |body: String| {
            let client = client.clone();
            async move {
                let mut search: Value = serde_json::from_str(&body).expect("JSON");
                let known = ["index", "query", "aggs", "size"];
                let keys = search.as_object().expect("an object").keys();
                assert!(keys.clone().all(|key| known.contains(&key.as_str())), "{keys:?}");
                let index = search.as_object_mut().and_then(|search| search.remove("index")).expect("an index");
                let url = format!("{}/{}/_search", engine_url(), index.as_str().expect("a text"));
                let response = client.post(url).json(&search).send().await.expect("an answer");
                let status = axum::http::StatusCode::from_u16(response.status().as_u16()).expect("a status");
                (status, response.text().await.expect("a text"))
            }
        };
        let router = axum::Router::new().route("/es/query", axum::routing::post(handle));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/es/query", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Self { url, server }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let url = self.url.parse().expect("a URL");
        let settings = EndpointSettings {
            name: "test".to_owned(),
            kind: EndpointKind::Proxy,
            url,
            auth: EndpointAuth::None,
            ca_file: None,
            timeout: TIMEOUT,
        };
        Endpoint::new(settings).expect("an endpoint")
    }
}

impl Drop for QueryProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}
