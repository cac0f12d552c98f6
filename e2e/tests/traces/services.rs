//! The three services as processes that send what they do to a collector and log to files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hostsync_testing::bed::Bed;
use hostsync_testing::client::Client;
use hostsync_testing::process::Process;
use serde_json::Value;
use tempfile::TempDir;

use crate::LIMIT;
use crate::collector::{Collector, Series, free_address};

/// One of the services; killed when it is dropped.
pub(crate) struct Service {
    pub(crate) url: String,
    process: Process,
    log: PathBuf,
    _folder: TempDir,
}

impl Service {
    /// Starts `hostsync-<component>`, with its spans and metrics sent to the collector at once.
    pub(crate) fn start(bed: &Bed, collector: &Collector, component: &str, more: &[(&str, &str)]) -> Self {
        let address = free_address();
        let listen = format!("HOSTSYNC_{}__LISTEN", component.to_uppercase());
        let own = [
            (listen.as_str(), address.as_str()),
            ("HOSTSYNC_TELEMETRY__OTLP_ENDPOINT", collector.url.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ];
        let environment = bed.environment(&[own.as_slice(), more].concat());
        let folder = TempDir::new().expect("a folder");
        let log = folder.path().join("log");
        let process = Process::start_with_log(&format!("hostsync-{component}"), &environment, &log).expect("a process");
        Self { url: format!("http://{address}"), process, log, _folder: folder }
    }

    /// An API that is ready, with a caller of it.
    pub(crate) async fn api(bed: &Bed, collector: &Collector, more: &[(&str, &str)]) -> (Self, Client) {
        let api = Self::start(bed, collector, "api", more);
        let client = Client::new(&api.url);
        client.wait_until_ready(LIMIT).await.expect("ready");
        (api, client)
    }

    /// Ends it in good order: its last spans are on their way then.
    pub(crate) async fn stop(self) {
        assert_eq!(self.process.terminate(LIMIT).await.expect("an end"), 0);
    }

    /// What it has logged.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).expect("a log");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The traces of its log lines.
    pub(crate) fn traces(&self) -> BTreeSet<String> {
        self.lines().iter().filter_map(|line| Some(line["trace_id"].as_str()?.to_owned())).collect()
    }

    /// Every series at `/metrics`; a histogram is one series, without its buckets.
    pub(crate) async fn series(&self) -> BTreeSet<Series> {
        let Ok(answer) = reqwest::get(format!("{}/metrics", self.url)).await else { return BTreeSet::new() };
        let text = answer.text().await.expect("a text");
        let histograms: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram")).collect();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        samples
            .filter_map(|(series, _)| {
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let is_of = |suffix| name.strip_suffix(suffix).filter(|name| histograms.contains(name));
                if is_of("_bucket").or(is_of("_sum")).is_some() || name == "target_info" {
                    return None;
                }
                Some((is_of("_count").unwrap_or(name).to_owned(), labels_of(labels.trim_end_matches('}'))))
            })
            .collect()
    }
}

/// The labels within the braces; our values hold neither quotes nor commas.
fn labels_of(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
}
