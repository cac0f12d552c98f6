//! Runs as a real OpenTelemetry collector sees them: traces across the services, log lines, metrics, sampling.
//!
//! Run by `make test-traces`, which builds the collector and names it in `HOSTSYNC_COLLECTOR`.

#![allow(clippy::disallowed_methods, reason = "make names the collector by the environment")]

mod collector;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use collector::{Collector, Span};
use hostsync_e2e::service;
use hostsync_model::execution::{DetailId, ExecutionId, JobQueue};
use hostsync_queue::{Job, OutgoingJob, Publisher};
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::{SampleHost, ips};
use hostsync_testing::gate::Gate;
use reqwest::Method;
use serde_json::{Value, json};
use services::Service;
use sqlx::AssertSqlSafe;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

const LIMIT: Duration = Duration::from_mins(2);

const HOSTS: std::ops::Range<u32> = 0..3;

async fn pool_with_documents(bed: &Bed) {
    bed.add_to_pool(HOSTS.map(SampleHost)).await.expect("a pool");
    bed.index_last_day(HOSTS.map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
}

async fn success(client: &Client, id: u64) {
    let log = client.wait_for_end(id, LIMIT).await.expect("an end");
    assert_eq!(log["execution_status"], "success", "{log}");
}

/// The span of publishing a run.
fn publishing(spans: &[Span], id: u64) -> Option<&Span> {
    let id = id.to_string();
    spans.iter().find(|span| span.name == "publish_execution" && span.attributes.get("execution_id") == Some(&id))
}

fn child<'a>(spans: &'a [Span], parent: &Span, service: &str, name: &str) -> Option<&'a Span> {
    spans.iter().find(|span| {
        span.trace == parent.trace && span.parent == parent.id && span.service == service && span.name == name
    })
}

/// From what started a run down to the transaction, each span the child of the one before it, the search beside it.
struct Path {
    start: Span,
    publish: Span,
    batch: Span,
}

/// The path of a run that the span `start` of `service` started, once all of it has arrived.
async fn path(collector: &Collector, id: u64, service: &str, start: &str) -> Path {
    collector
        .wait_for_spans(&format!("the path of execution {id}"), LIMIT, |spans| {
            let publish = publishing(spans, id)?;
            let begun = spans.iter().find(|span| span.id == publish.parent && span.trace == publish.trace)?;
            assert_eq!((begun.service.as_str(), begun.name.as_str()), (service, start));
            assert_eq!(publish.service, service);
            let batch = child(spans, publish, "hostsync-worker", "sync_batch")?;
            child(spans, batch, "hostsync-worker", "elasticsearch.search")?;
            child(spans, batch, "hostsync-worker", "write_batch")?;
            Some(Path { start: begun.clone(), publish: publish.clone(), batch: batch.clone() })
        })
        .await
}

/// The `traceparent` of a message that waits in the queue for jobs of manual runs.
async fn waiting_traceparent(bed: &Bed) -> String {
    let url = format!("{}/api/queues/%2F/{}.jobs.manual.v1/get", bed.servers.management_url, bed.name);
    let body = json!({"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"});
    wait_for("a message", LIMIT, async || {
        let answer: Value = reqwest::Client::new().post(&url).json(&body).send().await?.json().await?;
        Ok(answer[0]["properties"]["headers"]["traceparent"].as_str().map(str::to_owned))
    })
    .await
    .expect("a message")
}

#[tokio::test]
async fn a_manual_run_is_one_trace_from_the_request_through_the_message_to_the_transaction() {
    on_bed("trace_manual", async |bed| {
        pool_with_documents(&bed).await;
        let collector = Collector::start().await;
        let (api, client) = Service::api(&bed, &collector, &[]).await;
        let id = client.execute("traced", &ips(HOSTS)[..1], "6h").await.expect("accepted");
        let traceparent = waiting_traceparent(&bed).await;
        let worker = Service::start(&bed, &collector, "worker", &[]);
        success(&client, id).await;

        let path = path(&collector, id, "hostsync-api", "POST /api/cmdb/v1/es-sync-execute").await;
        assert_eq!(path.start.parent, "");
        assert_eq!(traceparent, format!("00-{}-{}-01", path.publish.trace, path.publish.id));
        assert_eq!(path.batch.links, BTreeSet::from([(path.publish.trace.clone(), path.publish.id.clone())]));

        assert_eq!(path.batch.attributes.get("execution_ids"), Some(&id.to_string()));

        // A log line leads to the trace.
        let ended = wait_for("the line of the run's end", LIMIT, async || {
            Ok(worker.lines().into_iter().find(|line| line["message"] == format!("execution {id} ended: success")))
        });
        assert_eq!(ended.await.expect("a line")["trace_id"], path.start.trace.as_str());
        let accepted = api.lines().into_iter().find(|line| line["route"] == "/api/cmdb/v1/es-sync-execute");
        assert_eq!(accepted.expect("a line")["trace_id"], path.start.trace.as_str());
        worker.stop().await;
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_fire_is_one_trace_from_the_scheduler_through_the_message_to_the_transaction() {
    on_bed("trace_fire", async |bed| {
        pool_with_documents(&bed).await;
        let collector = Collector::start().await;
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let scheduler = Service::start(&bed, &collector, "scheduler", &[]);
        let worker = Service::start(&bed, &collector, "worker", &[]);
        let task = client.create_enabled_task("traced", "@every 1s", "24h").await.expect("a task");
        let id = wait_for("a fire", LIMIT, async || {
            let logs = client.execution_logs(task).await?;
            Ok(logs.iter().find(|log| log["execution_status"] != "skipped").and_then(|log| log["id"].as_u64()))
        })
        .await
        .expect("a fire");
        client.enable_task(task, false).await.expect("disabled");
        success(&client, id).await;

        let path = path(&collector, id, "hostsync-scheduler", "fire").await;
        assert_eq!(path.start.attributes.get("task_id"), Some(&task.to_string()));
        assert!(path.batch.links.contains(&(path.publish.trace.clone(), path.publish.id.clone())), "{:?}", path.batch);
        wait_for("a log line of the trace", LIMIT, async || {
            Ok(worker.traces().contains(&path.start.trace).then_some(()))
        })
        .await
        .expect("a line");
        worker.stop().await;
        scheduler.stop().await;
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_two_runs_goes_on_in_the_trace_of_one_and_links_to_both() {
    on_bed("trace_batch", async |bed| {
        pool_with_documents(&bed).await;
        let collector = Collector::start().await;
        let (api, client) = Service::api(&bed, &collector, &[]).await;
        // A worker makes one batch of manual runs at once: while it is slow with this one, the others wait together.
        let (gate, slow_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.delay(Duration::from_secs(3));
        let slow = client.execute("slow", &ips(HOSTS)[2..], "6h").await.expect("accepted");
        // Runs are published side by side: this one is to be the first in the queue.
        collector.wait_for_spans("the slow run in the queue", LIMIT, |spans| publishing(spans, slow).map(|_| ())).await;
        let mut runs = Vec::new();
        for host in &ips(HOSTS)[..2] {
            runs.push(client.execute("one of two", std::slice::from_ref(host), "6h").await.expect("accepted"));
        }
        let published = collector.wait_for_spans("both runs to be published", LIMIT, |spans| {
            runs.iter().map(|id| publishing(spans, *id).cloned()).collect::<Option<Vec<Span>>>()
        });
        let published = published.await;
        assert_ne!(published[0].trace, published[1].trace);
        // One search can answer both once their windows are the same.
        let (first, second) = (runs[0], runs[1]);
        let same = format!(
            "UPDATE es_sync_execution_log a JOIN es_sync_execution_log b ON b.id = {first}
             SET a.window_from = b.window_from, a.window_to = b.window_to, a.mon_date = b.mon_date WHERE a.id = {second}"
        );
        sqlx::query(AssertSqlSafe(same)).execute(&bed.pool).await.expect("updated");
        // A job of another window than its row's is dropped, so that of the second comes again with its new one.
        let (detail, to): (u64, chrono::DateTime<chrono::Utc>) = sqlx::query_as(
            "SELECT detail.id, log.window_to FROM es_sync_execution_detail AS detail
             JOIN es_sync_execution_log AS log ON log.id = detail.execution_id WHERE log.id = ?",
        )
        .bind(second)
        .fetch_one(&bed.pool)
        .await
        .expect("its row");
        let job = Job {
            execution_id: ExecutionId(second),
            detail_id: DetailId(detail),
            host_ip: ips(HOSTS)[1].clone(),
            attempt: 1,
            window_to: Some(to),
        };
        let traceparent = format!("00-{}-{}-01", published[1].trace, published[1].id);
        let settings = bed.config(&[]).expect("a configuration").rabbitmq.settings("test").expect("settings");
        let report = Publisher::new(settings)
            .publish(
                &[OutgoingJob { job, queue: JobQueue::Manual }],
                &BTreeMap::from([("traceparent".to_owned(), traceparent)]),
            )
            .await;
        assert!(report.is_complete());
        let slowly = [("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", slow_url.as_str())];
        let worker = Service::start(&bed, &collector, "worker", &slowly);
        for id in [slow, first, second] {
            success(&client, id).await;
        }
        let batch = collector.wait_for_spans("the batch", LIMIT, |spans| {
            let batches = spans.iter().filter(|span| span.name == "sync_batch");
            batches.max_by_key(|span| span.links.len()).filter(|batch| batch.links.len() > 1).cloned()
        });
        let batch = batch.await;
        let of_jobs: BTreeSet<(String, String)> =
            published.iter().map(|span| (span.trace.clone(), span.id.clone())).collect();
        assert_eq!(batch.links, of_jobs);
        assert!(of_jobs.contains(&(batch.trace.clone(), batch.parent.clone())), "{batch:?}");
        worker.stop().await;
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn metrics_arrive_with_the_names_and_labels_that_prometheus_sees() {
    on_bed("trace_metrics", async |bed| {
        pool_with_documents(&bed).await;
        let collector = Collector::start().await;
        let (api, client) = Service::api(&bed, &collector, &[]).await;
        let scheduler = Service::start(&bed, &collector, "scheduler", &[]);
        let worker = Service::start(&bed, &collector, "worker", &[]);
        let id = client.execute("measured", &ips(HOSTS), "6h").await.expect("accepted");
        success(&client, id).await;
        for (service, name, must_have) in [
            (&api, "hostsync-api", "hostsync_jobs_published_total"),
            (&scheduler, "hostsync-scheduler", "hostsync_outbox_depth"),
            (&worker, "hostsync-worker", "hostsync_search_duration_seconds"),
        ] {
            let mut last = (BTreeSet::new(), BTreeSet::new());
            let met = wait_for("the same series in both places", LIMIT, async || {
                last = (service.series().await, collector.series(name).await);
                let has_it = last.0.iter().any(|(series, _)| series == must_have);
                Ok((has_it && last.0 == last.1).then_some(()))
            })
            .await;
            let only_there: Vec<_> = last.0.symmetric_difference(&last.1).collect();
            assert!(met.is_ok(), "{name} has no {must_have}, or not the same in both places: {only_there:#?}");
        }
        for service in [worker, scheduler, api] {
            service.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn without_sampling_nothing_of_healthy_work_arrives_and_all_of_failed_work_does() {
    on_bed("trace_errors", async |bed| {
        pool_with_documents(&bed).await;
        let collector = Collector::start().await;
        let broken = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(500)).mount(&broken).await;
        let broken = broken.uri();
        let none = [
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0"),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__BROKEN__URL", broken.as_str()),
        ];
        let (api, client) = Service::api(&bed, &collector, &none).await;
        let scheduler = Service::start(&bed, &collector, "scheduler", &none);
        let healthy = client.execute("healthy", &ips(HOSTS), "6h").await.expect("accepted");
        let traceparent = waiting_traceparent(&bed).await;
        assert!(traceparent.ends_with("-00"), "{traceparent}");
        let worker = Service::start(&bed, &collector, "worker", &none);
        success(&client, healthy).await;

        // A search that fails, and with it the attempt.
        let body = json!({"task_name": "fails", "host_ip_list": ips(HOSTS), "query_time_range": "6h", "es_endpoint": "broken"});
        client.ok(Method::POST, "/es-sync-execute", Some(&body)).await.expect("accepted");
        // A fire that fails: a schedule that the API would not have stored.
        let task = client.create_enabled_task("unreadable", "0 0 0 1 1 *", "6h").await.expect("a task");
        let unreadable = "UPDATE es_sync_task_config SET cron_expression = 'never', next_execution_time = UTC_TIMESTAMP(3) WHERE id = ?";
        sqlx::query(unreadable).bind(task).execute(&bed.pool).await.expect("updated");
        let (fire, batch) = collector
            .wait_for_spans("what failed", LIMIT, |spans| {
                let fire = spans.iter().find(|span| span.name == "fire")?;
                let batch = spans.iter().find(|span| span.name == "sync_batch")?;
                let search = child(spans, batch, "hostsync-worker", "elasticsearch.search")?;
                child(spans, batch, "hostsync-worker", "write_batch")?;
                assert!(search.is_error, "{search:?}");
                Some((fire.clone(), batch.clone()))
            })
            .await;
        assert!(batch.is_error, "{batch:?}");
        assert!(fire.is_error && fire.service == "hostsync-scheduler", "{fire:?}");
        assert_eq!(fire.attributes.get("task_id"), Some(&task.to_string()));

        // The requests and the publishing went well in both runs.
        let all_of_worker = worker.lines();
        for service in [worker, scheduler, api] {
            service.stop().await;
        }
        let of_healthy = all_of_worker
            .iter()
            .find(|line| line["message"] == format!("execution {healthy} ended: success"))
            .expect("the healthy run's line")["trace_id"]
            .clone();
        let spans = collector.spans().await;
        let of_healthy: Vec<&Span> = spans.iter().filter(|span| of_healthy == span.trace.as_str()).collect();
        assert!(of_healthy.is_empty(), "{of_healthy:#?}");
        let failed: BTreeSet<(&str, &str)> =
            spans.iter().filter(|span| span.is_error).map(|span| (span.service.as_str(), span.trace.as_str())).collect();
        for span in &spans {
            assert!(failed.contains(&(span.service.as_str(), span.trace.as_str())), "{span:#?} was kept without an error");
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_that_fails_by_its_value_keeps_the_spans_of_its_batch() {
    on_bed("trace_value", async |bed| {
        let host = SampleHost(0);
        bed.add_to_pool([host]).await.expect("a pool");
        // A CPU of 6,400 %.
        let document = json!({
            "@timestamp": (chrono::Utc::now() - TimeDelta::minutes(10)).to_rfc3339(), "hostIp": host.ip(),
            "cpu": 6400.0, "available_memory": 4.0, "total_disk_space_all": 10.0,
        });
        bed.index.put(&document).await.expect("a document");
        let collector = Collector::start().await;
        let none = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
        let (api, client) = Service::api(&bed, &collector, &none).await;
        let worker = Service::start(&bed, &collector, "worker", &none);
        let id = client.execute("a bad value", &[host.ip()], "6h").await.expect("accepted");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["failed_count"], 1, "{log}");
        let batch = collector
            .wait_for_spans("the batch", LIMIT, |spans| spans.iter().find(|span| span.name == "sync_batch").cloned());
        let batch = batch.await;
        assert!(batch.is_error, "{batch:?}");
        assert_eq!(batch.attributes.get("execution_ids"), Some(&id.to_string()));
        worker.stop().await;
        api.stop().await;
    })
    .await;
}
