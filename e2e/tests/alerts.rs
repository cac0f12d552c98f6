//! Ten failures, each made for real: the right alert fires in a real Prometheus, no other does, and the runbook's commands
//! name the cause.
//!
//! Run by `make test-alerts`, which installs Prometheus. The rules are the chart's, with every duration divided by ten
//! (`hostsync_e2e::prometheus::rules`); thresholds are as they are.

use std::time::Duration;

use hostsync_e2e::watched::{LIMIT, Watched};
use hostsync_testing::bed::on_bed;
use hostsync_testing::client::wait_for;
use hostsync_testing::gate::Gate;
use reqwest::Method;
use serde_json::{Value, json};

const SEARCH_URL: &str = "HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL";

#[tokio::test]
async fn a_broker_that_is_down_is_told_by_its_alert_alone() {
    on_bed("al_broker", async |bed| {
        let (gate, url) = Gate::before(&bed.servers.rabbitmq_url).await.expect("a door");
        let watched = Watched::start(&bed, &[("HOSTSYNC_RABBITMQ__URL", &url)]).await.expect("all is well");
        gate.shut();
        let alert = "HostsyncBrokerDown";
        watched.enqueue("waits for the broker").await.expect("accepted");
        watched.alert(alert, "job", "hostsync-worker").await.expect("the right alert");
        watched.alert(alert, "job", "hostsync-scheduler").await.expect("of each that needs it");
        let doctor = watched.command(alert, "hs doctor").await.expect("a report");
        assert!(said(&doctor, "FAIL", "broker").contains(&place(&url)), "{doctor}");
        gate.open();
        watched.all_clear(alert).await.expect("all is well again");
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_down_is_told_by_its_alert_alone() {
    on_bed("al_database", async |bed| {
        let (gate, url) = Gate::before(&bed.database_url()).await.expect("a door");
        let watched = Watched::start(&bed, &[("HOSTSYNC_DATABASE__URL", &url)]).await.expect("all is well");
        gate.shut();
        let alert = "HostsyncDatabaseDown";
        for job in ["hostsync-worker", "hostsync-scheduler", "hostsync-api"] {
            watched.alert(alert, "job", job).await.expect("the right alert");
        }
        let doctor = watched.command(alert, "hs doctor").await.expect("a report");
        assert!(said(&doctor, "FAIL", "database").contains(&place(&url)), "{doctor}");
        gate.open();
        watched.client.wait_until_ready(LIMIT).await.expect("ready");
        watched.all_clear(alert).await.expect("all is well again");
        watched.run("the database is back").await.expect("a success");
    })
    .await;
}

#[tokio::test]
async fn a_search_engine_that_is_down_is_told_by_its_alert_alone() {
    on_bed("al_search", async |bed| {
        let (gate, url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        let watched = Watched::start(&bed, &[(SEARCH_URL, &url)]).await.expect("all is well");
        gate.shut();
        let id = watched.enqueue("waits for the source").await.expect("accepted");
        let alert = "HostsyncSearchDown";
        watched.alert(alert, "endpoint", "default").await.expect("the right alert");
        let doctor = watched.command(alert, "hs doctor").await.expect("a report");
        // What a door that is shut does to those who come; the runbook tells of it.
        assert!(said(&doctor, "FAIL", "endpoints").contains("the connection broke"), "{doctor}");
        assert!(said(&doctor, "FAIL", "source default").contains("the connection broke"), "{doctor}");
        assert!(watched.says(alert, "the connection broke").expect("a section"));
        gate.open();
        watched.all_clear(alert).await.expect("all is well again");
        let log = watched.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "success", "{log}");
    })
    .await;
}

#[tokio::test]
async fn bad_credentials_are_told_by_their_alert_alone() {
    on_bed("al_password", async |bed| {
        let (gate, url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        let watched = Watched::start(&bed, &[(SEARCH_URL, &url)]).await.expect("all is well");
        gate.refuse(Some(401));
        let id = watched.enqueue("is refused").await.expect("accepted");
        let log = watched.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "failed", "{log}");
        let alert = "HostsyncSourceCredentials";
        watched.alert(alert, "endpoint", "default").await.expect("the right alert");
        let doctor = watched.command(alert, "hs doctor").await.expect("a report");
        assert!(said(&doctor, "FAIL", "source default").contains("did not accept the credentials"), "{doctor}");
        let found = watched.statements(alert).await.expect("rows");
        assert!(found.contains("did not accept the credentials"), "{found}");
        gate.refuse(None);
        watched.run("has the right password").await.expect("a success");
        watched.all_clear(alert).await.expect("all is well again");
    })
    .await;
}

#[tokio::test]
async fn a_wrong_index_pattern_is_told_by_its_alert_alone() {
    on_bed("al_pattern", async |bed| {
        let watched = Watched::start(&bed, &[]).await.expect("all is well");
        let task = json!({
            "task_name": "looks elsewhere", "cron_expression": "0 0 3 1 1 *", "es_index_pattern": "there-is-no-such-index-*",
        });
        let task = watched.client.ok(Method::POST, "/es-sync-tasks", Some(&task)).await.expect("a task");
        let run = format!("/es-sync-tasks/{}/execute", task["task_id"]);
        watched.client.ok(Method::POST, &run, None).await.expect("a run");
        let alert = "HostsyncSourceIndexPattern";
        watched.alert(alert, "endpoint", "default").await.expect("the right alert");
        let found = watched.statements(alert).await.expect("rows");
        assert!(found.contains("task_name: looks elsewhere"), "{found}");
        assert!(found.contains("es_index_pattern: there-is-no-such-index-*"), "{found}");
        watched.all_clear(alert).await.expect("quiet after a while");
    })
    .await;
}

#[tokio::test]
async fn a_poison_message_is_told_by_its_alert_alone() {
    on_bed("al_poison", async |bed| {
        let watched = Watched::start(&bed, &[]).await.expect("all is well");
        let url = format!("{}/api/exchanges/%2F/{}.jobs.v1/publish", bed.servers.management_url, bed.name);
        let message = json!({
            "properties": {"delivery_mode": 2}, "routing_key": "manual", "payload": "hello", "payload_encoding": "string",
        });
        let sent = reqwest::Client::new().post(url).json(&message).send().await.expect("an answer");
        let sent: Value = sent.json().await.expect("JSON");
        assert_eq!(sent["routed"], true, "{sent}");
        let alert = "HostsyncPoisonMessage";
        watched.alert(alert, "namespace", &bed.name).await.expect("the right alert");
        let doctor = watched.command(alert, "hs doctor").await.expect("a report");
        assert!(said(&doctor, "warn", "dead letters").contains("1 in "), "{doctor}");
        let letters = watched.command(alert, "hs dead-letters list --limit 20").await.expect("a list");
        assert!(letters.contains("reason: not a job: "), "{letters}");
        watched.run("is not held up").await.expect("a success");
        watched.all_clear(alert).await.expect("quiet after a while");
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_is_told_by_its_alert_alone() {
    on_bed("al_full", async |bed| {
        let mut watched = Watched::start(&bed, &[]).await.expect("all is well");
        // The broker takes a few more than it should before it rejects, hence several runs.
        bed.limit_manual_queue(Some(10)).await.expect("a policy");
        watched.remove_service("worker").await.expect("no worker");
        let mut runs = Vec::new();
        for number in 0..4 {
            runs.push(watched.enqueue(&format!("does not fit, {number}")).await.expect("accepted"));
        }
        let alert = "HostsyncQueueFull";
        watched.alert(alert, "queue", "manual").await.expect("the right alert");
        let doctor = watched.command(alert, "hs doctor").await.expect("a report");
        assert!(said(&doctor, "warn", "queue manual").ends_with("jobs wait, 0 consumers"), "{doctor}");
        watched.start_service("worker").await.expect("a worker");
        for id in runs {
            let log = watched.client.wait_for_end(id, LIMIT).await.expect("an end");
            assert_eq!(log["execution_status"], "success", "{log}");
        }
        watched.all_clear(alert).await.expect("all is well again");
    })
    .await;
}

#[tokio::test]
async fn a_stuck_worker_is_told_by_its_alert_alone() {
    on_bed("al_stuck", async |bed| {
        let watched = Watched::start(&bed, &[]).await.expect("all is well");
        watched.service("worker").expect("it runs").hold().await.expect("it stands still");
        let alert = "HostsyncWorkerStuck";
        watched.alert(alert, "instance", watched.address("worker")).await.expect("the right alert");
        // The last command that the runbook gives there: what the process says of its loops.
        assert!(watched.says(alert, "/proxy/metrics\" | grep hostsync_loop_age").expect("a section"));
        assert!(watched.says(alert, "No answer to the last one: the process is held up").expect("a section"));
        assert_eq!(watched.metrics("worker").await, None, "the one that the alert names is held up");
        assert!(watched.metrics("scheduler").await.is_some_and(|text| text.contains("hostsync_loop_age_seconds{")));
        watched.service("worker").expect("it runs").let_go().await.expect("it goes on");
        watched.run("it moves again").await.expect("a success");
        watched.all_clear(alert).await.expect("all is well again");
    })
    .await;
}

#[tokio::test]
async fn a_missed_fire_is_told_by_its_alert_alone() {
    on_bed("al_missed", async |bed| {
        let watched = Watched::start(&bed, &[]).await.expect("all is well");
        let task = json!({
            "task_name": "came too late", "cron_expression": "0 0 * * * *", "query_time_range": "6h", "is_enabled": true,
            "catch_up_window": "1s",
        });
        let task = watched.client.ok(Method::POST, "/es-sync-tasks", Some(&task)).await.expect("a task");
        let id = task["task_id"].as_u64().expect("an id");
        // As if no scheduler had run for two hours: a real absence is told by another alert as well.
        sqlx::query(
            "UPDATE es_sync_task_config
             SET next_execution_time = UTC_DATE() + INTERVAL HOUR(UTC_TIME()) HOUR - INTERVAL 2 HOUR WHERE id = ?",
        )
        .bind(id)
        .execute(&bed.pool)
        .await
        .expect("two hours ago");
        wait_for("a fire to be missed", LIMIT, async || {
            let logs = watched.client.execution_logs(id).await?;
            let is_missed = |log: &Value| log["error_message"].as_str().is_some_and(|why| why.starts_with("missed:"));
            Ok(logs.iter().any(is_missed).then_some(()))
        })
        .await
        .expect("missed");
        watched.client.enable_task(id, false).await.expect("disabled");
        let alert = "HostsyncFireMissed";
        watched.alert(alert, "namespace", &bed.name).await.expect("the right alert");
        let found = watched.statements(alert).await.expect("rows");
        assert!(found.contains("task_name: came too late"), "{found}");
        assert!(found.contains("error_message: missed:"), "{found}");
        watched.all_clear(alert).await.expect("quiet after a while");
    })
    .await;
}

#[tokio::test]
async fn a_slow_source_is_told_by_its_alert_alone() {
    on_bed("al_slow", async |bed| {
        let (gate, url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        // Searches enough to go on for as long as the alert takes.
        let small = ("HOSTSYNC_WORKER__BATCH_HOSTS", "2");
        let watched = Watched::start(&bed, &[(SEARCH_URL, &url), small]).await.expect("all is well");
        gate.delay(Duration::from_secs(11));
        let id = watched.enqueue("is slow").await.expect("accepted");
        let alert = "HostsyncSourceSlow";
        watched.alert(alert, "endpoint", "default").await.expect("the right alert");
        let found = watched.statements(alert).await.expect("rows");
        let of = |column: &str| found.lines().find_map(|line| line.strip_prefix(column)?.parse::<u64>().ok());
        assert!(of("elapsed_ms: ").is_some_and(|ms| ms >= 11_000), "the slowest search took that long: {found}");
        assert!(of("took_ms: ").is_some_and(|ms| ms < 5_000), "and it was not the engine: {found}");
        gate.delay(Duration::ZERO);
        let log = watched.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "success", "{log}");
        watched.all_clear(alert).await.expect("all is well again");
    })
    .await;
}

/// What the doctor says of a dependency at this level, `FAIL` or `warn`; empty: nothing.
fn said(report: &str, level: &str, check: &str) -> String {
    let lines = report.lines().filter_map(|line| line.strip_prefix(level)?.trim_start().strip_prefix(check));
    lines.collect::<Vec<_>>().join("\n")
}

/// `host:port` of a URL.
fn place(url: &str) -> String {
    let url: reqwest::Url = url.parse().expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"))
}
