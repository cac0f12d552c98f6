//! Workers that find together how many searches a source takes at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hostsync_e2e::fleet::Fleet;
use hostsync_testing::bed::on_bed;
use hostsync_testing::client::wait_for;
use hostsync_testing::documents::SampleHost;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const LIMIT: Duration = Duration::from_mins(3);

/// Searches that the source has at once.
const CAPACITY: u32 = 3;

/// Searches that wait for it; it refuses those beyond.
const QUEUE: u32 = 6;

/// What a search takes.
const TAKES: Duration = Duration::from_millis(300);

/// Hosts of a run, too many for the queue of people's runs: 400 searches for 15 hosts, of which each worker would have eight at
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
            ("HOSTSYNC_WORKER__BATCH_HOSTS", "15"),
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
        let (within, refused) = (part(|inside| *inside <= CAPACITY), part(|inside| *inside > CAPACITY + QUEUE));
        assert!(within >= 0.8 && refused <= 0.02, "{within} within the capacity, {refused} refused: {seen:?}");
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

fn hosts() -> BTreeSet<String> {
    (0..HOSTS).map(|n| SampleHost(n).ip()).collect()
}
