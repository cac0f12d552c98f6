//! The console in a real browser: `tests/console` of the repository, in Python.
//!
//! Run by `make test-console`, which installs the browser and what drives it, and names the interpreter in
//! `HOSTSYNC_CONSOLE_PYTHON`.

#[path = "it/harness.rs"]
#[allow(dead_code, reason = "what the tests of REST alone need")]
mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use hostsync_model::execution::{DetailId, ExecutionId, SyncStatus};
use hostsync_store::explanation::{Explanation, RawValues};
use hostsync_store::tables::evidence;
use hostsync_store::tables::searches::{self, NewSearch, SearchId};
use serde_json::json;
use tokio::process::Command;

use crate::harness::{OPERATOR, Server, VIEWER, clock, with_server};

/// The host of which all is known.
const KNOWN_HOST: &str = "10.0.0.1";

/// An ended execution with one host that can be explained down to its search, and that host's values by day.
async fn make_history(server: &Server) {
    let pool = &server.ground.pool;
    let sql = "INSERT INTO hosts_pool (id, host_name, host_ip, ram, disk_size) VALUES (7, 'web-1', ?, 64, 500)";
    sqlx::query(sql).bind(KNOWN_HOST).execute(pool).await.expect("a host of the pool");
    for back in [0, 1, 4] {
        let sql = "INSERT INTO server_resources (pool_id, ip, mon_date, cpu_percent_max, mem_percent_max)
                   VALUES (7, ?, ?, 40.5, 60.25)";
        let day = clock().date_naive() - chrono::Days::new(back);
        sqlx::query(sql).bind(KNOWN_HOST).bind(day).execute(pool).await.expect("a day's row");
    }
    let run = json!({"task_name": "explained", "host_ip_list": [KNOWN_HOST, "10.0.0.2"]});
    let id = server.post("/es-sync-execute", &run).await.ok()["execution_id"].as_u64().expect("an id");
    server.finish_hosts(id, &[(KNOWN_HOST, SyncStatus::Success), ("10.0.0.2", SyncStatus::Failed)]).await;
    let mut values = [None; 12];
    values[0] = Some(40.5);
    let explanation = Explanation {
        raw: RawValues {
            documents: 288,
            cpu: Some([Some(40.5), Some(20.25), None]),
            memory: None,
            disk: None,
            disk_slices: None,
        },
        converted: Some(values),
        previous: None,
        written: true,
    };
    let search = NewSearch {
        execution_id: ExecutionId(id),
        id: SearchId::new(),
        began_ago: Duration::from_secs(1),
        worker: "a worker",
        es_endpoint: "default",
        index_pattern: "load-*",
        body: Some(r#"{"terms": ["{host_ip}"]}"#),
        hosts_asked: 2,
        hosts_found: Some(1),
        documents: Some(288),
        took_ms: Some(12),
        elapsed: Duration::from_millis(15),
        shards: Some(3),
        error_message: None,
    };
    let mut connection = pool.acquire().await.expect("a connection");
    searches::insert(&mut connection, std::slice::from_ref(&search)).await.expect("a search");
    let sql = "SELECT CAST(id AS UNSIGNED) FROM es_sync_execution_detail WHERE execution_id = ? AND host_ip = ?";
    let detail = sqlx::query_scalar(sql).bind(id).bind(KNOWN_HOST).fetch_one(&mut *connection).await.expect("a detail");
    let sql = "UPDATE es_sync_execution_detail SET search_id = ? WHERE id = ?";
    let searched = sqlx::query(sql).bind(search.id.0).bind(detail).execute(&mut *connection).await;
    assert_eq!(searched.expect("a search").rows_affected(), 1);
    let hosts = BTreeMap::from([((ExecutionId(id), search.id), vec![(DetailId(detail), explanation)])]);
    evidence::insert(&mut connection, &hosts).await.expect("explained");
}

/// In place of a worker: every pending host is written, one after the other so that progress can be seen.
async fn work(server: &Server) {
    // A run has jobs, and its counters add up, from the end of its preparation on.
    let sql = "SELECT detail.execution_id, detail.host_ip
               FROM es_sync_execution_detail detail JOIN es_sync_execution_log log ON log.id = detail.execution_id
               WHERE detail.sync_status = 'pending' AND log.prepared_at IS NOT NULL LIMIT 1";
    loop {
        let pending: Option<(u64, String)> =
            sqlx::query_as(sql).fetch_optional(&server.ground.pool).await.expect("pending hosts");
        if let Some((execution, host_ip)) = pending {
            server.finish_hosts(execution, &[(host_ip.as_str(), SyncStatus::Success)]).await;
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test]
async fn people_use_the_console_in_a_browser() {
    #[expect(clippy::disallowed_methods, reason = "make names the interpreter by the environment")]
    let python = std::env::var("HOSTSYNC_CONSOLE_PYTHON").expect("run by make test-console");
    with_server(async |server| {
        make_history(server).await;
        let browsing = Command::new(&python)
            .args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/console"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .env("CONSOLE_URL", format!("http://{}/", server.address))
            .env("CONSOLE_OPERATOR_TOKEN", OPERATOR)
            .env("CONSOLE_VIEWER_TOKEN", VIEWER)
            .kill_on_drop(true)
            .status();
        let status = tokio::select! {
            status = tokio::time::timeout(Duration::from_mins(4), browsing) => status.expect("in time").expect("started"),
            () = work(server) => unreachable!("it goes on for ever"),
        };
        assert!(status.success(), "{status}");
    })
    .await;
}
