//! A real Prometheus of one's own: it scrapes what it is told to and evaluates the chart's rules.

pub mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use hostsync_testing::client::wait_for;
use hostsync_testing::ports::free_port;

/// Pause between two scrapes, and between two evaluations of the rules.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Longest time until it answers.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running Prometheus; killed, and its data removed, when it is dropped.
pub struct Prometheus {
    // Dropped first: nobody writes into a folder that is being removed.
    _process: Child,
    folder: TempDir,
    url: String,
    http: reqwest::Client,
}

/// A process to scrape, with the labels that Prometheus' operator gives to it by the chart's `ServiceMonitor`.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`; also the label `instance`.
    pub address: String,
    /// Such as `hostsync-worker`.
    pub job: String,
    /// Where it is installed.
    pub namespace: String,
}

/// Labels of a series.
pub type Labels = BTreeMap<String, String>;

impl Prometheus {
    /// Starts one on 127.0.0.1 that knows these rules and no target.
    ///
    /// # Errors
    ///
    /// It is not installed, or it refuses the rules.
    pub async fn start(rules: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // YAML holds JSON.
        let config = json!({
            "global": {
                "scrape_interval": format!("{}ms", INTERVAL.as_millis()),
                "scrape_timeout": format!("{}ms", INTERVAL.as_millis()),
                "evaluation_interval": format!("{}ms", INTERVAL.as_millis()),
            },
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{
                "job_name": "hostsync",
                "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}],
                // As the chart's ServiceMonitor says; its other relabeling makes the label `job`.
                "relabel_configs": [{"action": "labeldrop", "regex": "endpoint"}],
            }],
        });
        tokio::fs::write(folder.path().join("prometheus.yaml"), config.to_string()).await?;
        tokio::fs::write(folder.path().join("rules.yaml"), rules).await?;
        tokio::fs::write(folder.path().join("targets.json"), "[]").await?;
        let port = free_port()?;
        let mut process = Command::new("prometheus")
            .arg("--config.file=prometheus.yaml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("Prometheus cannot be started: run by `make test-alerts`")?;
        let (url, http) = (format!("http://127.0.0.1:{port}"), reqwest::Client::new());
        wait_for("Prometheus to be ready", START_LIMIT, async || {
            anyhow::ensure!(process.try_wait()?.is_none(), "Prometheus has ended");
            let answer = http.get(format!("{url}/-/ready")).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await?;
        Ok(Self { _process: process, folder, url, http })
    }

    /// Scrapes these from now on, and no others.
    ///
    /// # Errors
    ///
    /// The file of targets cannot be written.
    pub async fn scrape(&self, targets: &[Target]) -> anyhow::Result<()> {
        let groups: Vec<Value> = targets
            .iter()
            .map(|target| {
                let labels = json!({
                    "job": target.job, "namespace": target.namespace, "service": target.job, "container": target.job,
                    "pod": format!("{}-0", target.job), "endpoint": "http",
                });
                json!({"targets": [target.address], "labels": labels})
            })
            .collect();
        // Never a file that is half written.
        let new = self.folder.path().join("targets.new");
        tokio::fs::write(&new, Value::from(groups).to_string()).await?;
        tokio::fs::rename(new, self.folder.path().join("targets.json")).await?;
        Ok(())
    }

    /// The labels of each series that an expression yields now.
    ///
    /// # Errors
    ///
    /// The expression is none, or Prometheus does not answer.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<Labels>> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", expression)])?;
        let answer: Value = self.http.get(url).send().await?.json().await?;
        anyhow::ensure!(answer["status"] == "success", "{expression}: {answer}");
        let series = answer["data"]["result"].as_array().context("no result")?;
        series.iter().map(|series| Ok(serde_json::from_value(series["metric"].clone())?)).collect()
    }

    /// The names of the alerts that are pending or firing now.
    ///
    /// # Errors
    ///
    /// Prometheus does not answer.
    pub async fn alerts(&self) -> anyhow::Result<BTreeSet<String>> {
        self.names("ALERTS").await
    }

    /// The names of the alerts that have fired since the start, even if only for a moment.
    ///
    /// # Errors
    ///
    /// Prometheus does not answer.
    pub async fn fired(&self) -> anyhow::Result<BTreeSet<String>> {
        self.names(r#"count_over_time(ALERTS{alertstate="firing"}[1d])"#).await
    }

    async fn names(&self, expression: &str) -> anyhow::Result<BTreeSet<String>> {
        let series = self.query(expression).await?;
        series.into_iter().map(|mut labels| labels.remove("alertname").context("an alert without a name")).collect()
    }
}
