//! Pages of a list while rows are added and change.

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::harness::{Server, with_server};

async fn run(server: &Server, hosts: &[String]) -> u64 {
    let body = json!({"task_name": "paged", "host_ip_list": hosts});
    server.post("/es-sync-execute", &body).await.ok()["execution_id"].as_u64().expect("an id")
}

/// Follows a list from its first page to its last; between two pages `meanwhile` happens.
async fn walk(server: &Server, path: &str, rows: &str, limits: &[u64], meanwhile: impl AsyncFn()) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        assert!(page < 200, "the list does not end");
        let limit = limits[page % limits.len()];
        let body = server.get(&format!("{path}?limit={limit}{cursor}")).await.ok();
        let found = body[rows].as_array().expect("rows");
        assert!(u64::try_from(found.len()).expect("few") <= limit);
        seen.extend(found.iter().cloned());
        let Some(next) = body["next_cursor"].as_str() else { break };
        assert!(!found.is_empty(), "a page with another behind it holds something");
        cursor = format!("&cursor={next}");
        meanwhile().await;
    }
    seen
}

#[tokio::test]
async fn every_row_that_stood_at_the_start_is_shown_once_whatever_comes_meanwhile() {
    with_server(async |server| {
        for round in 0..6 {
            let before: u64 = rand::rng().random_range(1..12);
            for _ in 0..before {
                run(server, &["10.0.0.1".to_owned()]).await;
                server
                    .task(&json!({"task_name": format!("t {:x}", rand::random::<u64>()), "cron_expression": "@daily"}))
                    .await;
            }
            let standing = server.number("SELECT COUNT(*) FROM es_sync_execution_log").await;
            let tasks = server.number("SELECT COUNT(*) FROM es_sync_task_config").await;
            let limits: Vec<u64> = (0..3).map(|_| rand::rng().random_range(1..5)).collect();

            let add = async || {
                run(server, &["10.0.0.1".to_owned()]).await;
            };
            let logs = walk(server, "/es-sync-execution-logs", "execution_logs", &limits, add).await;
            let ids: Vec<i64> = logs.iter().map(|log| log["id"].as_i64().expect("an id")).collect();
            // Newest first: what is added stands before the first page and is not among them.
            assert_eq!(ids, (1..=standing).rev().collect::<Vec<_>>(), "round {round}, {limits:?}");

            let add = async || {
                let name = format!("t {:x}", rand::random::<u64>());
                // At most as many as are shown, or the list would grow for ever.
                if server.number("SELECT COUNT(*) FROM es_sync_task_config").await < tasks + 3 {
                    server.task(&json!({"task_name": name, "cron_expression": "@daily"})).await;
                }
            };
            let seen = walk(server, "/es-sync-tasks", "tasks", &limits, add).await;
            let ids: Vec<i64> = seen.iter().map(|task| task["id"].as_i64().expect("an id")).collect();
            assert!(ids.is_sorted_by(|a, b| a < b) && ids.starts_with(&(1..=tasks).collect::<Vec<_>>()), "{ids:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_of_hosts_holds_while_other_runs_get_theirs_and_outcomes_come_in() {
    use hostsync_model::execution::SyncStatus;

    with_server(async |server| {
        let hosts: Vec<String> = (0..40).map(|n| format!("10.0.0.{n}")).collect();
        let id = run(server, &hosts).await;
        let next = std::sync::atomic::AtomicUsize::new(0);
        let meanwhile = async || {
            run(server, &hosts).await;
            let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            server.finish_hosts(id, &[(&hosts[39 - n], SyncStatus::Success)]).await;
        };
        let path = format!("/es-sync-execution-detail/{id}");
        let seen = walk(server, &path, "execution_details", &[3, 7, 1], meanwhile).await;
        let shown: Vec<&str> = seen.iter().map(|detail| detail["host_ip"].as_str().expect("an address")).collect();
        assert_eq!(shown, hosts);
    })
    .await;
}

#[tokio::test]
async fn a_list_without_a_limit_has_the_rows_that_its_callers_expect() {
    with_server(async |server| {
        let mut tasks = sqlx::QueryBuilder::new("INSERT INTO es_sync_task_config (task_name, cron_expression) ");
        tasks.push_values(0..501, |mut row, n| {
            row.push_bind(format!("task {n}")).push("'@daily'");
        });
        tasks.build().execute(&server.ground.pool).await.expect("inserted");
        let mut logs = sqlx::QueryBuilder::new("INSERT INTO es_sync_execution_log (task_name, execution_status) ");
        logs.push_values(0..501, |mut row, n| {
            row.push_bind(format!("run {n}")).push("'success'");
        });
        logs.build().execute(&server.ground.pool).await.expect("inserted");
        for (path, rows, expected) in [
            ("/es-sync-tasks", "tasks", 500),
            ("/es-sync-tasks?limit=500", "tasks", 500),
            ("/es-sync-execution-logs", "execution_logs", 50),
            ("/es-sync-execution-logs?limit=500", "execution_logs", 500),
        ] {
            let body = server.get(path).await.ok();
            assert_eq!(body[rows].as_array().map(Vec::len), Some(expected), "{path}");
            assert!(body["next_cursor"].is_string(), "{path}");
        }
        for path in ["/es-sync-tasks", "/es-sync-execution-logs", "/es-sync-execution-detail/1"] {
            let refused = server.get(&format!("{path}?limit=501")).await.refused(400, "invalid_request");
            assert_eq!(refused["errors"][0]["field"], "limit", "{path}");
        }
    })
    .await;
}
