//! What a fleet says of itself: queues, outbox, dependencies, loops; and who opens a closed endpoint.
//!
//! Real processes where metrics are read: those of this process are shared by all its tests.

#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation, reason = "tests make their documents now")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use hostsync_e2e::service;
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::{SampleHost, ips};
use hostsync_testing::gate::Gate;
use hostsync_testing::process::{Process, binary, run_command};
use wiremock::{Mock, MockServer, ResponseTemplate};

const LIMIT: Duration = Duration::from_secs(90);

/// A process whose metrics can be read; killed when it is dropped.
struct Watched {
    _process: Process,
    environment: Vec<(String, String)>,
    url: String,
}

impl Watched {
    async fn start(bed: &Bed, component: &str, more: &[(&str, &str)]) -> Self {
        let port =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let listen = (format!("HOSTSYNC_{}__LISTEN", component.to_uppercase()), port.to_string());
        let more: Vec<(&str, &str)> = more.iter().copied().chain([(listen.0.as_str(), listen.1.as_str())]).collect();
        let environment = bed.environment(&more);
        let process = Process::start(&format!("hostsync-{component}"), &environment).expect("a process");
        Self { _process: process, environment, url: format!("http://{port}") }
    }

    /// Every series with its value; none while the process does not answer.
    async fn metrics(&self) -> BTreeMap<String, f64> {
        let Ok(answer) = reqwest::get(format!("{}/metrics", self.url)).await else { return BTreeMap::new() };
        let text = answer.text().await.unwrap_or_default();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// Waits until the series have these values; `None`: until there is no such series.
    async fn wait_for(&self, expected: &[(&str, Option<f64>)]) {
        let mut last = BTreeMap::new();
        let met = wait_for(&format!("{expected:?}"), LIMIT, async || {
            last = self.metrics().await;
            let met = !last.is_empty() && expected.iter().all(|(series, value)| last.get(*series).copied() == *value);
            Ok(met.then_some(()))
        })
        .await;
        assert!(met.is_ok(), "{expected:?} never came: {last:#?}");
    }

    async fn health(&self) -> u16 {
        reqwest::get(format!("{}/healthz", self.url)).await.expect("an answer").status().as_u16()
    }
}

const BROKER: &str = "hostsync_dependency_ready{dependency=\"rabbitmq\"}";
const DEPTH: &str = "hostsync_queue_depth{queue=\"manual\"}";
const DEAD: &str = "hostsync_queue_depth{queue=\"dead\"}";
const OUTBOX: &str = "hostsync_outbox_depth{queue=\"manual\"}";
const WAIT: &str = "hostsync_queue_oldest_job_age_seconds{queue=\"manual\"}";

#[tokio::test]
async fn a_scheduler_says_what_waits_and_whether_the_broker_is_there() {
    on_bed("watching", async |bed| {
        bed.add_to_pool((0..5).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..5).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let (gate, url) = Gate::before(&bed.servers.rabbitmq_url).await.expect("a door");
        gate.shut();
        let through = [("HOSTSYNC_RABBITMQ__URL", url.as_str())];
        let api = service::api(bed.config(&through).expect("a configuration")).await.expect("an API");
        let scheduler = Watched::start(&bed, "scheduler", &through).await;
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");

        // Nobody publishes anything: the scheduler looks by itself.
        scheduler.wait_for(&[(BROKER, Some(0.0)), (DEPTH, None), (OUTBOX, Some(0.0))]).await;
        let id = client.execute("watching", &ips(0..5), "6h").await.expect("accepted");
        scheduler.wait_for(&[(BROKER, Some(0.0)), (DEPTH, None), (OUTBOX, Some(5.0)), (WAIT, Some(0.0))]).await;
        gate.open();
        scheduler.wait_for(&[(BROKER, Some(1.0)), (DEPTH, Some(5.0)), (DEAD, Some(0.0)), (OUTBOX, Some(0.0))]).await;
        wait_for("the wait to grow", LIMIT, async || {
            Ok(scheduler.metrics().await.get(WAIT).is_some_and(|age| *age > 3.0).then_some(()))
        })
        .await
        .expect("it grows");
        gate.shut();
        scheduler.wait_for(&[(BROKER, Some(0.0)), (DEPTH, None)]).await;
        gate.open();
        scheduler.wait_for(&[(BROKER, Some(1.0)), (DEPTH, Some(5.0))]).await;

        let worker = Watched::start(&bed, "worker", &[]).await;
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 5, "{log}");
        scheduler.wait_for(&[(DEPTH, Some(0.0)), (OUTBOX, Some(0.0)), (WAIT, Some(0.0))]).await;
        // Each job once; if the publisher lost the broker in between, some twice.
        let series = worker.metrics().await;
        let delivered = series["hostsync_job_queue_duration_seconds_count{queue=\"manual\"}"];
        let waited = series["hostsync_job_queue_duration_seconds_sum{queue=\"manual\"}"];
        assert!(delivered >= 5.0 && waited / delivered > 3.0, "{delivered} jobs, {waited} s");
        for dependency in ["database", "rabbitmq_bulk", "rabbitmq_manual"] {
            let ready = series.get(&format!("hostsync_dependency_ready{{dependency=\"{dependency}\"}}"));
            assert_eq!(ready, Some(&1.0), "{dependency}");
        }
        let most = series["db_client_connection_max{db_client_connection_pool_name=\"database\"}"];
        assert!(most >= 10.0, "{most}");
        assert!(series.keys().any(|name| name.starts_with("db_client_connection_count{") && name.contains("\"idle\"")));
        let published: Vec<_> =
            [&scheduler.metrics().await, &metrics_of(&api.url()).await].into_iter().filter_map(confirmed).collect();
        assert!(published.iter().sum::<f64>() >= 1.0, "{published:?}");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

async fn metrics_of(url: &str) -> BTreeMap<String, f64> {
    let text = reqwest::get(format!("{url}/metrics")).await.expect("an answer").text().await.expect("a text");
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
        .collect()
}

fn confirmed(metrics: &BTreeMap<String, f64>) -> Option<f64> {
    metrics.get("hostsync_publish_confirm_duration_seconds_count{queue=\"manual\"}").copied()
}

#[tokio::test]
async fn hosts_without_new_data_are_stale_while_their_task_is_enabled() {
    on_bed("stale", async |bed| {
        bed.add_to_pool((0..5).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..3).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let scheduler = Watched::start(&bed, "scheduler", &[]).await;
        let _worker = Watched::start(&bed, "worker", &[]).await;
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let task = client.create_enabled_task("stale", "*/20 * * * * *", "6h").await.expect("a task");
        let stale = format!("hostsync_hosts_stale{{task_id=\"{task}\"}}");
        let never = format!("hostsync_freshness_hosts{{state=\"never\",task_id=\"{task}\"}}");
        scheduler.wait_for(&[(&stale, Some(2.0)), (&never, Some(2.0))]).await;
        client.enable_task(task, false).await.expect("disabled");
        scheduler.wait_for(&[(&stale, None), (&never, None)]).await;
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn loops_go_round_while_the_database_hangs() {
    /// Longer than any statement may take that a quick loop waits for.
    const HANGS: Duration = Duration::from_secs(45);
    on_bed("loops", async |bed| {
        let (gate, url) = Gate::before(&bed.database_url()).await.expect("a door");
        let through = [("HOSTSYNC_DATABASE__URL", url.as_str())];
        let watched =
            [Watched::start(&bed, "scheduler", &through).await, Watched::start(&bed, "worker", &through).await];
        for process in &watched {
            process.wait_for(&[("hostsync_dependency_ready{dependency=\"database\"}", Some(1.0))]).await;
        }
        gate.mute(true);
        let began = Instant::now();
        wait_for("the hanging to last", LIMIT, async || {
            for process in &watched {
                assert_eq!(process.health().await, 200, "nobody is restarted for a database that hangs");
            }
            Ok((began.elapsed() > HANGS).then_some(()))
        })
        .await
        .expect("time passes");
        for (process, loops) in watched.iter().zip([
            vec!["fire", "broker watch", "database watch", "endpoint watch", "queue gauges"],
            vec!["bulk lane", "manual lane", "database watch", "endpoint watch"],
        ]) {
            let series = process.metrics().await;
            assert_eq!(series["hostsync_dependency_ready{dependency=\"database\"}"].to_bits(), 0.0_f64.to_bits());
            for name in loops {
                let age = series[&format!("hostsync_loop_age_seconds{{loop=\"{name}\"}}")];
                assert!(age < 40.0, "{name} has not gone round for {age} s");
            }
        }
        gate.mute(false);
        for process in &watched {
            process.wait_for(&[("hostsync_dependency_ready{dependency=\"database\"}", Some(1.0))]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_without_a_shell_asks_its_service_whether_it_is_ready() {
    on_bed("healthcheck", async |bed| {
        let (gate, url) = Gate::before(&bed.database_url()).await.expect("a door");
        gate.shut();
        let through = [("HOSTSYNC_DATABASE__URL", url.as_str())];
        for component in ["scheduler", "worker", "api"] {
            let program = binary(&format!("hostsync-{component}")).expect("a program");
            let service = Watched::start(&bed, component, &through).await;
            let ask = async || run_command(&program, &["healthcheck"], &service.environment).await;
            let waits = wait_for("it to answer", LIMIT, async || {
                let (code, said) = ask().await?;
                Ok((!said.contains("does not answer")).then_some((code, said)))
            })
            .await
            .expect("an answer");
            assert!(waits.0 == 1 && waits.1.contains("database"), "{waits:?}");
            gate.open();
            let ready =
                wait_for("it to be ready", LIMIT, async || Ok(Some(ask().await?).filter(|(code, _)| *code == 0)));
            assert!(ready.await.expect("ready").1.starts_with("ready"));
            gate.shut();
        }
        let nobody = bed.environment(&[("HOSTSYNC_WORKER__LISTEN", "127.0.0.1:9")]);
        let (code, said) = run_command(&binary("hostsync-worker").expect("a program"), &["healthcheck"], &nobody)
            .await
            .expect("an end");
        assert!(code == 1 && said.contains("http://127.0.0.1:9/readyz does not answer"), "{code}: {said}");
    })
    .await;
}

#[tokio::test]
async fn schedulers_open_a_closed_endpoint_where_no_worker_runs() {
    on_bed("probing", async |bed| {
        bed.add_to_pool((0..5).map(SampleHost)).await.expect("a pool");
        let (gate, url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.shut();
        let config =
            || bed.config(&[("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", &url)]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        client.execute("probing", &ips(0..5), "6h").await.expect("accepted");
        let deferred = async || -> anyhow::Result<(i64, i64)> {
            Ok(sqlx::query_as(
                "SELECT (SELECT COUNT(*) FROM es_sync_endpoint_state WHERE closed_since IS NOT NULL),
                        (SELECT COUNT(*) FROM es_sync_execution_detail WHERE retry_at IS NOT NULL)",
            )
            .fetch_one(&bed.pool)
            .await?)
        };
        wait_for("the endpoint to be closed and all jobs deferred", LIMIT, async || {
            Ok((deferred().await? == (1, 5)).then_some(()))
        })
        .await
        .expect("closed");
        worker.stop().await.expect("a quiet end");
        gate.open();
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        wait_for("the endpoint to be open and the jobs to be published", LIMIT, async || {
            Ok((deferred().await? == (0, 0)).then_some(()))
        })
        .await
        .expect("open");
        scheduler.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn of_several_schedulers_one_probes_every_fifteen_seconds() {
    on_bed("probes", async |bed| {
        let server = MockServer::start().await;
        Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(503)).mount(&server).await;
        let more = [("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", server.uri())];
        let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        sqlx::query(
            "INSERT INTO es_sync_endpoint_state (endpoint, closed_since, reason, probe_after)
             VALUES ('default', UTC_TIMESTAMP(3), 'a test', UTC_TIMESTAMP(3))",
        )
        .execute(&bed.pool)
        .await
        .expect("closed");
        let mut schedulers = Vec::new();
        for _ in 0..3 {
            let config = bed.config(&more).expect("a configuration");
            schedulers.push(service::scheduler(config).await.expect("a scheduler"));
        }
        let probes = async || server.received_requests().await.expect("recorded").len();
        wait_for("the first probe", LIMIT, async || Ok((probes().await >= 1).then_some(()))).await.expect("probed");
        let first = Instant::now();
        assert_eq!(probes().await, 1);
        wait_for("the second probe", LIMIT, async || Ok((probes().await >= 2).then_some(()))).await.expect("probed");
        assert!(first.elapsed() > Duration::from_secs(10), "again after {:?}", first.elapsed());

        server.reset().await;
        Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        wait_for("the endpoint to be open", LIMIT, async || {
            let (closed,): (i64,) =
                sqlx::query_as("SELECT COUNT(*) FROM es_sync_endpoint_state WHERE closed_since IS NOT NULL")
                    .fetch_one(&bed.pool)
                    .await?;
            Ok((closed == 0).then_some(()))
        })
        .await
        .expect("open");
        for scheduler in schedulers {
            scheduler.stop().await.expect("a quiet end");
        }
    })
    .await;
}
