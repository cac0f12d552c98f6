//! The served OpenAPI document, judged by tools of others: `tests/openapi` of the repository.
//!
//! Run by `make test-openapi`, which installs the tools and names their folder in `HOSTSYNC_OPENAPI_TOOLS`. The services
//! are whole and the servers real, so that runs end as in production and answers hold real data.

#![allow(clippy::disallowed_methods, reason = "make names the tools by the environment")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::service;
use hostsync_testing::bed::{Bed, OPERATOR_TOKEN, on_bed};
use hostsync_testing::client::Client;
use hostsync_testing::documents::SampleHost;
use tokio::process::Command;

/// Hosts in the pool, each with documents of the last day.
const HOSTS: u32 = 3;

/// Longest time for a service to be ready and for a run over those hosts.
const SOON: Duration = Duration::from_secs(30);

/// Longest time for one of the tools.
const TOOL_LIMIT: Duration = Duration::from_mins(8);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/openapi")
}

/// A command of the tools, with nothing of the surroundings' Python in it.
fn tool(name: &str) -> Command {
    let tools = PathBuf::from(std::env::var("HOSTSYNC_OPENAPI_TOOLS").expect("run by make test-openapi"));
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(tools.join(name));
    // Without a random seed of their own, so that each run is the same.
    command.env("PATH", path).env("PYTHONHASHSEED", "0").env_remove("PYTHONPATH").kill_on_drop(true);
    command
}

/// Runs a command, which must go well.
async fn run(mut command: Command) {
    let status = tokio::time::timeout(TOOL_LIMIT, command.status()).await.expect("in time").expect("it can be started");
    assert!(status.success(), "{}: {status}", command.as_std().get_program().display());
}

/// Runs a test against an API with a scheduler and a worker behind it; `url` is the API's.
async fn with_services(label: &str, test: impl AsyncFnOnce(&Bed, &str)) {
    on_bed(label, |bed| async move {
        let hosts = || (0..HOSTS).map(SampleHost);
        bed.add_to_pool(hosts()).await.expect("the pool");
        bed.index_last_day(hosts(), TimeDelta::minutes(10)).await.expect("the index");
        let config = bed.config(&[]).expect("a configuration");
        let worker = service::worker(config.clone()).await.expect("a worker");
        let scheduler = service::scheduler(config.clone()).await.expect("a scheduler");
        let api = service::api(config).await.expect("an API");
        Client::new(&api.url()).wait_until_ready(SOON).await.expect("ready");
        test(&bed, &api.url()).await;
        for service in [api, scheduler, worker] {
            service.stop().await.expect("ended well");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    with_services("openapi", async |bed, url| {
        // What the examples of the document name, so that they meet something: tasks up to 7, executions up to 12.
        let client = Client::new(url);
        for number in 1..=7 {
            let task = serde_json::json!({"task_name": format!("task {number}"), "cron_expression": "0 0 3 1 1 *"});
            client.ok(reqwest::Method::POST, "/es-sync-tasks", Some(&task)).await.expect("a task");
        }
        let web = serde_json::json!({
            "@timestamp": chrono::Utc::now(), "hostIp": SampleHost(0).ip(), "hostName": SampleHost(0).name(), "group": "web",
            "cpu": 1.0, "available_memory": 1.0, "total_disk_space_all": 1.0,
        });
        bed.index.put(&web).await.expect("a document of the group");
        let hosts = [SampleHost(0).ip(), SampleHost(1).ip(), "10.9.9.9".to_owned()];
        for number in 1..=12 {
            let execution = client.execute(&format!("run {number}"), &hosts, "12h").await.expect("a run");
            client.wait_for_end(execution, SOON).await.expect("its end");
        }

        let mut schemathesis = tool("schemathesis");
        schemathesis
            .arg("--config-file")
            .arg(folder().join("schemathesis.toml"))
            .args(["run", "--checks", "all", "--no-color"])
            .arg(format!("{url}/openapi.json"))
            .env("HOSTSYNC_OPENAPI_FOLDER", folder())
            .env("HOSTSYNC_OPENAPI_TOKEN", OPERATOR_TOKEN)
            .current_dir(env!("CARGO_TARGET_TMPDIR"));
        run(schemathesis).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_from_the_document_runs_a_task_from_its_creation_to_its_log() {
    with_services("openapi_client", async |bed, url| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&bed.name);
        std::fs::create_dir_all(&place).expect("a folder");
        let script = folder().join("run_task.py");

        let mut generate = tool("openapi-python-client");
        generate
            .args(["generate", "--meta", "none", "--fail-on-warning", "--url", &format!("{url}/openapi.json")])
            .arg("--config")
            .arg(folder().join("client.yaml"))
            .arg("--output-path")
            .arg(place.join("hostsync_client"))
            .current_dir(&place);
        run(generate).await;

        // What was made of the document and the script by it. The rest of the package is the generator's own.
        let mut check = tool("mypy");
        check
            .args(["--strict", "--follow-imports", "silent", "hostsync_client/api", "hostsync_client/models"])
            .arg(&script)
            .env("MYPYPATH", &place)
            .current_dir(&place);
        run(check).await;

        let mut call = tool("python");
        call.arg("-B").arg(&script).args([url, OPERATOR_TOKEN, &HOSTS.to_string()]).env("PYTHONPATH", &place);
        run(call).await;
        std::fs::remove_dir_all(&place).expect("removed");
    })
    .await;
}
