//! Workers that find together how many searches a source takes at once.

#![allow(clippy::cast_precision_loss, reason = "it counts in small numbers")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::TimeDelta;
use hostsync_e2e::fleet::Fleet;
use hostsync_e2e::service;
use hostsync_testing::bed::on_bed;
use hostsync_testing::client::wait_for;
use hostsync_testing::documents::{SampleHost, ips};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const LIMIT: Duration = Duration::from_mins(3);

/// Searches that the source has at once.
const CAPACITY: u32 = 2;

/// Searches that wait for it; it refuses those beyond.
const QUEUE: u32 = 6;

/// What a search takes.
const TAKES: Duration = Duration::from_millis(300);

/// Hosts of a run, too many for the queue of people's runs: 300 searches for 20 hosts, of which each worker would have eight at
/// once.
const HOSTS: u32 = 6_000;

/// A source that is overloaded beyond its capacity.
struct OverloadedStandIn {
    servers: Semaphore,
    inside: AtomicU32,
    /// How many were inside when each search came, with it.
    seen: Mutex<Vec<u32>>,
}

impl OverloadedStandIn {
    async fn start() -> (Arc<Self>, String) {
        let source = Arc::new(Self {
            servers: Semaphore::new(CAPACITY as usize),
            inside: AtomicU32::new(0),
            seen: Mutex::default(),
        });
        let router = Router::new()
            .route("/", get(async || Json(json!({"version": {"number": "8.1.0"}}))))
            .route("/{pattern}/_field_caps", get(fields).post(fields))
            .route("/{pattern}/_search", post(search))
            .fallback(async || Json(json!({})))
            .with_state(Arc::clone(&source));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (source, url)
    }
}

async fn fields() -> Json<Value> {
    let field = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": true}});
    Json(json!({"indices": ["data"], "fields": {
        "@timestamp": field("date"), "hostIp": field("keyword"), "cpu": field("double"),
        "available_memory": field("double"), "total_disk_space_all": field("double"),
    }}))
}

/// Has no document of any host.
async fn search(State(source): State<Arc<OverloadedStandIn>>) -> Response {
    let inside = source.inside.fetch_add(1, Ordering::Relaxed) + 1;
    source.seen.lock().expect("a lock").push(inside);
    if inside > CAPACITY + QUEUE {
        source.inside.fetch_sub(1, Ordering::Relaxed);
        let error = json!({"error": {"type": "es_rejected_execution_exception", "reason": "the queue is full"}});
        return (StatusCode::TOO_MANY_REQUESTS, Json(error)).into_response();
    }
    let server = source.servers.acquire().await.expect("open");
    tokio::time::sleep(TAKES).await;
    drop(server);
    source.inside.fetch_sub(1, Ordering::Relaxed);
    let nothing = json!({
        "took": 300, "timed_out": false, "_shards": {"total": 2, "successful": 2, "skipped": 0, "failed": 0},
        "aggregations": {"hosts": {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}},
    });
    Json(nothing).into_response()
}

#[tokio::test]
async fn two_workers_find_together_how_many_searches_a_source_takes() {
    on_bed("search_limit", async |bed| {
        bed.add_to_pool((0..HOSTS).map(SampleHost)).await.expect("a pool");
        let (source, url) = OverloadedStandIn::start().await;
        let more = [
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", url.as_str()),
            ("HOSTSYNC_WORKER__CONCURRENCY", "8"),
            ("HOSTSYNC_WORKER__BATCH_HOSTS", "20"),
            ("HOSTSYNC_WORKER__BATCH_LINGER", "1s"),
        ];
        let fleet = Fleet::with_workers(&bed, &more, &[&more, &more]).await;
        let body = json!({"task_name": "search limit", "host_ip_list": hosts(), "query_time_range": "6h"});
        let answer = fleet.client.ok(Method::POST, "/es-sync-execute", Some(&body)).await.expect("accepted");
        let id = answer["execution_id"].as_u64().expect("an id");
        wait_for("two workers to share the searches", LIMIT, async || {
            let shares = bed.count("SELECT COUNT(*) FROM es_sync_search_share").await?;
            Ok((shares == 2).then_some(()))
        })
        .await
        .expect("shared");
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!((&log["execution_status"], &log["no_data_count"]), (&json!("success"), &json!(HOSTS)), "{log}");
        let spent = bed.count("SELECT COUNT(*) FROM es_sync_execution_detail WHERE attempts > 1").await;
        assert_eq!(spent.expect("a count"), 0);
        // In the second half it has been found; what was too much is tried again each minute.
        let seen = source.seen.lock().expect("a lock").clone();
        let settled = &seen[seen.len() / 2..];
        let part = |which: fn(&u32) -> bool| {
            settled.iter().filter(|inside| which(inside)).count() as f64 / settled.len() as f64
        };
        let (within, refused) = (part(|inside| *inside <= CAPACITY + 1), part(|inside| *inside > CAPACITY + QUEUE));
        let limit: (f64, f64, String) =
            sqlx::query_as("SELECT searches, strain, baselines FROM es_sync_search_limit WHERE endpoint = 'default'")
                .fetch_one(&bed.pool)
                .await
                .expect("a limit");
        assert!(
            within >= 0.8 && refused <= 0.02,
            "{within} with at most one that waits, {refused} refused, {limit:?}: {seen:?}"
        );
        wait_for("the workers to give their shares back", LIMIT, async || {
            let shares = bed.count("SELECT COUNT(*) FROM es_sync_search_share").await?;
            Ok((shares == 0).then_some(()))
        })
        .await
        .expect("given back");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_gets_no_turn_says_so_and_holds_up_neither_a_stop_nor_a_closed_endpoint() {
    on_bed("no_turn", async |bed| {
        bed.add_to_pool((0..20).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..20).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        // Another worker has the one search that is allowed, and does not let go of it.
        bed.execute(
            "INSERT INTO es_sync_search_limit (endpoint, searches, hosts, strain, changed_at)
                     VALUES ('default', 1, 500, 1, UTC_TIMESTAMP(3))",
        )
        .await;
        bed.execute(
            "INSERT INTO es_sync_search_share (endpoint, worker_id, wanted, granted, seen_at)
                     VALUES ('default', X'00000000000000000000000000000001', 1, 1, UTC_TIMESTAMP(3) + INTERVAL 1 DAY)",
        )
        .await;
        let mut fleet = Fleet::with_workers(&bed, &[], &[&[]]).await;
        let body = json!({"task_name": "no turn", "host_ip_list": ips(0..20), "query_time_range": "6h"});
        let answer = fleet.client.ok(Method::POST, "/es-sync-execute", Some(&body)).await.expect("accepted");
        let id = answer["execution_id"].as_u64().expect("an id");
        let waits_for = async |words: &str| {
            wait_for(&format!("the run to wait for {words}"), LIMIT, async || {
                let log = fleet.client.execution(id).await?;
                Ok(log["waiting_for"].as_str().is_some_and(|told| told.contains(words)).then_some(()))
            })
            .await
            .expect("told");
        };
        waits_for("its turn to search endpoint \"default\", which takes one search at once").await;
        let worker = fleet.services.pop().expect("the worker");
        let began = Instant::now();
        worker.stop().await.expect("a quiet end");
        assert!(began.elapsed() < Duration::from_secs(10), "searches are given up after so long");
        let touched = "SELECT COUNT(*) FROM es_sync_execution_detail WHERE retry_at IS NOT NULL OR attempts > 0";
        assert_eq!(bed.count(touched).await.expect("a count"), 0, "the jobs went back to the queue");

        fleet.services.push(service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker"));
        wait_for("the worker to wait for its turn", LIMIT, async || {
            Ok((bed.count("SELECT COUNT(*) FROM es_sync_search_share").await? == 2).then_some(()))
        })
        .await
        .expect("waits");
        bed.execute(
            "INSERT INTO es_sync_endpoint_state (endpoint, closed_since, reason, probe_after)
                     VALUES ('default', UTC_TIMESTAMP(3), 'for a test', UTC_TIMESTAMP(3) + INTERVAL 1 DAY)",
        )
        .await;
        let put_off = "SELECT COUNT(*) FROM es_sync_execution_detail WHERE retry_at IS NOT NULL";
        wait_for("the jobs to be put off", LIMIT, async || Ok((bed.count(put_off).await? == 20).then_some(())))
            .await
            .expect("put off");
        bed.execute("UPDATE es_sync_search_limit SET searches = 9").await;
        bed.execute("UPDATE es_sync_endpoint_state SET probe_after = UTC_TIMESTAMP(3)").await;
        wait_for("the endpoint to begin with one search again", LIMIT, async || {
            Ok((bed.count("SELECT COUNT(*) FROM es_sync_search_limit WHERE searches = 1").await? == 1).then_some(()))
        })
        .await
        .expect("begun");
        bed.execute(
            "DELETE FROM es_sync_search_share WHERE granted = 1 AND seen_at > UTC_TIMESTAMP(3) + INTERVAL 1 HOUR",
        )
        .await;
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!((&log["success_count"], &log["waiting_for"]), (&json!(20), &json!("")), "{log}");
        let spent = bed.count("SELECT COUNT(*) FROM es_sync_execution_detail WHERE attempts > 1").await;
        assert_eq!(spent.expect("a count"), 0);
        fleet.stop().await;
    })
    .await;
}

fn hosts() -> BTreeSet<String> {
    (0..HOSTS).map(|n| SampleHost(n).ip()).collect()
}
