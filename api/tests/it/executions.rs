//! Looking at runs, and cancelling one.

use hostsync_model::execution::{ExecutionId, SyncStatus};
use hostsync_store::tables::executions;
use hostsync_store::word::Word;
use serde_json::{Value, json};

use crate::harness::{Server, with_server};

async fn run_over(server: &Server, hosts: &[&str]) -> u64 {
    let body = json!({"task_name": "looked at", "host_ip_list": hosts});
    server.post("/es-sync-execute", &body).await.ok()["execution_id"].as_u64().expect("an id")
}

fn ids(body: &Value) -> Vec<u64> {
    let logs = body["execution_logs"].as_array().expect("logs");
    logs.iter().map(|log| log["id"].as_u64().expect("an id")).collect()
}

#[tokio::test]
async fn executions_are_listed_newest_first_and_page_by_page() {
    with_server(async |server| {
        for _ in 0..5 {
            run_over(server, &["10.0.0.1"]).await;
        }
        let first = server.get("/es-sync-execution-logs?limit=2").await.ok();
        assert_eq!(ids(&first), [5, 4]);
        // New rows come in between and move nothing.
        run_over(server, &["10.0.0.1"]).await;
        let cursor = first["next_cursor"].as_str().expect("a cursor");
        let second = server.get(&format!("/es-sync-execution-logs?limit=2&cursor={cursor}")).await.ok();
        assert_eq!(ids(&second), [3, 2]);
        let cursor = second["next_cursor"].as_str().expect("a cursor");
        let third = server.get(&format!("/es-sync-execution-logs?limit=2&cursor={cursor}")).await.ok();
        assert_eq!(ids(&third), [1]);
        assert!(third.get("next_cursor").is_none(), "{third}");
    })
    .await;
}

#[tokio::test]
async fn executions_are_filtered_by_task_status_trigger_and_time() {
    with_server(async |server| {
        for _ in 0..3 {
            run_over(server, &["10.0.0.1"]).await;
        }
        server.finish_hosts(2, &[("10.0.0.1", SyncStatus::Failed)]).await;
        let shape = "UPDATE es_sync_execution_log SET task_id = 7, `trigger` = 'schedule', \
                     execution_time = '2026-01-02 03:04:05.678' WHERE id = 3";
        sqlx::query(shape).execute(&server.ground.pool).await.expect("updated");
        for (query, expected) in [
            ("task_id=0", vec![3, 2, 1]),
            ("task_id=7", vec![3]),
            ("task_id=8", vec![]),
            ("status=failed", vec![2]),
            ("status=running", vec![3, 1]),
            ("trigger=schedule", vec![3]),
            ("from=2026-01-02T03:04:05.678Z&to=2026-01-02T03:04:05.679Z", vec![3]),
            ("to=2026-01-02T03:04:05.678Z", vec![]),
            ("from=2026-01-02T04:04:05.678%2B01:00&task_id=7", vec![3]),
            ("from=2026-02-01T00:00:00Z", vec![2, 1]),
            ("status=running&trigger=manual", vec![1]),
        ] {
            assert_eq!(ids(&server.get(&format!("/es-sync-execution-logs?{query}")).await.ok()), expected, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_detail_shows_the_run_its_hosts_and_the_counts() {
    with_server(async |server| {
        let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
        let id = run_over(server, &hosts).await;
        let outcomes = [(hosts[0], SyncStatus::Success), (hosts[1], SyncStatus::Failed)];
        server.finish_hosts(id, &outcomes).await;
        let path = format!("/es-sync-execution-detail/{id}");
        let body = server.get(&path).await.ok();
        assert_eq!(
            body["status_counts"],
            json!({"pending": 2, "success": 1, "failed": 1, "no_data": 0, "not_in_pool": 0, "cancelled": 0})
        );
        assert_eq!((&body["execution_log"]["success_count"], &body["execution_log"]["id"]), (&json!(1), &json!(id)));
        let details = body["execution_details"].as_array().expect("details");
        assert_eq!(details.len(), 4);
        let done = details[0].as_object().expect("an object");
        assert!(done["finished_at"].is_string() && done["created_at"].is_string());
        for (field, value) in [
            ("host_ip", json!("10.0.0.1")),
            ("host_name", json!("name of 10.0.0.1")),
            ("sync_status", json!("success")),
            ("error_message", Value::Null),
            ("max_cpu", json!(12.5)),
            ("avg_cpu", Value::Null),
            ("max_memory", Value::Null),
            ("avg_memory", Value::Null),
            ("max_disk", Value::Null),
            ("avg_disk", Value::Null),
            ("data_point_count", json!(288)),
            ("attempts", json!(1)),
        ] {
            assert_eq!(done[field], value, "{field}");
        }
        assert_eq!(done.len(), 14);
        assert_eq!(details[1]["error_message"], "no answer");

        // Filters and pages change what is shown, never what is counted.
        let shown = |body: &Value| -> Vec<String> {
            let details = body["execution_details"].as_array().expect("details");
            details.iter().map(|detail| detail["host_ip"].as_str().expect("an address").to_owned()).collect()
        };
        let page = server.get(&format!("{path}?limit=3")).await.ok();
        assert_eq!(shown(&page), hosts[..3]);
        let cursor = page["next_cursor"].as_str().expect("a cursor");
        let page = server.get(&format!("{path}?limit=3&cursor={cursor}")).await.ok();
        assert_eq!(shown(&page), hosts[3..]);
        assert_eq!(page["status_counts"]["pending"], 2);
        assert_eq!(shown(&server.get(&format!("{path}?status=pending")).await.ok()), hosts[2..]);
        assert_eq!(shown(&server.get(&format!("{path}?host_ip=10.0.0.2")).await.ok()), hosts[1..2]);
        assert_eq!(shown(&server.get(&format!("{path}?host_ip=10.0.0.9")).await.ok()), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_log_has_every_field_that_callers_know() {
    with_server(async |server| {
        let id = run_over(server, &["10.0.0.1"]).await;
        server.finish_hosts(id, &[("10.0.0.1", SyncStatus::NoData)]).await;
        let listed = server.get("/es-sync-execution-logs").await.ok()["execution_logs"][0].clone();
        let shown = server.get(&format!("/es-sync-execution-detail/{id}")).await.ok()["execution_log"].clone();
        assert_eq!(listed, shown);
        let mut fields: Vec<&str> = shown.as_object().expect("an object").keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(
            fields.join(" "),
            "cancelled_count created_at created_by duration_ms error_message es_endpoint es_index_pattern \
             execution_status execution_time failed_count finished_at id mapping no_data_count not_in_pool_count \
             pending_count query_time_range scheduled_for success_count task_id task_name total_hosts trigger \
             waiting_for warnings window_from window_to"
        );
        assert!(shown["finished_at"].is_string() && shown["duration_ms"].is_u64(), "{shown}");
    })
    .await;
}

#[tokio::test]
async fn how_a_run_ends_follows_from_its_hosts() {
    use SyncStatus::{Cancelled, Failed, NoData, NotInPool, Success};
    with_server(async |server| {
        let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
        for (outcomes, expected) in [
            ([Success, Success, Success], "success"),
            ([Success, NoData, NotInPool], "success"),
            ([NoData, NoData, NoData], "success"),
            ([NotInPool, NotInPool, NotInPool], "success"),
            ([Success, Failed, NoData], "partial"),
            ([Failed, Failed, Failed], "failed"),
            ([Failed, NoData, NotInPool], "failed"),
            ([Success, Failed, Cancelled], "cancelled"),
            ([Success, Success, Cancelled], "cancelled"),
        ] {
            let id = run_over(server, &hosts).await;
            // One after the other, as workers find them.
            for (host, outcome) in hosts.into_iter().zip(outcomes) {
                let log = server.get(&format!("/es-sync-execution-detail/{id}")).await.ok()["execution_log"].clone();
                assert_eq!(log["execution_status"], "running", "{outcomes:?}");
                server.finish_hosts(id, &[(host, outcome)]).await;
            }
            let log = server.get(&format!("/es-sync-execution-detail/{id}")).await.ok()["execution_log"].clone();
            assert_eq!(
                (&log["execution_status"], &log["pending_count"]),
                (&json!(expected), &json!(0)),
                "{outcomes:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_long_list_of_details_has_500_a_page() {
    with_server(async |server| {
        let hosts: Vec<String> = (0..501).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let id = run_over(server, &hosts).await;
        let body = server.get(&format!("/es-sync-execution-detail/{id}")).await.ok();
        assert_eq!(body["execution_details"].as_array().map(Vec::len), Some(500));
        let cursor = body["next_cursor"].as_str().expect("a cursor");
        let body = server.get(&format!("/es-sync-execution-detail/{id}?cursor={cursor}")).await.ok();
        assert_eq!(body["execution_details"][0]["host_ip"], hosts[500]);
        assert!(body.get("next_cursor").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_run_is_closing_and_an_ended_one_cannot_be_cancelled() {
    with_server(async |server| {
        let id = run_over(server, &["10.0.0.1", "10.0.0.2"]).await;
        let path = format!("/es-sync-executions/{id}/cancel");
        let body = server.post(&path, &Value::Null).await.ok();
        assert_eq!(body["message"], format!("execution {id} is being cancelled"));
        let mut connection = server.ground.pool.acquire().await.expect("a connection");
        let closing = executions::closing::runs(&mut connection, 10).await.expect("closing");
        assert_eq!(closing.len(), 1);
        assert_eq!((closing[0].id, &closing[0].status), (ExecutionId(id), &Word::Known(SyncStatus::Cancelled)));
        drop(connection);

        // Again is no error while it goes on.
        let body = server.post(&path, &Value::Null).await.ok();
        assert_eq!(body["message"], format!("execution {id} was being ended already"));
        // As the schedulers' sweep does it.
        let mut after = hostsync_model::execution::DetailId(0);
        while let Some(last) =
            hostsync_store::closing::close_pending(&server.ground.pool, &closing[0], after).await.expect("closed")
        {
            after = last;
        }
        let body = server.post(&path, &Value::Null).await.refused(409, "execution_finished");
        assert_eq!(body["message"], format!("execution {id} has ended already: cancelled"));
        let body = server.get(&format!("/es-sync-execution-detail/{id}?status=cancelled")).await.ok();
        assert_eq!(body["execution_details"].as_array().map(Vec::len), Some(2));
        assert_eq!(body["execution_details"][0]["error_message"], "the execution was cancelled");
        server.post("/es-sync-executions/99/cancel", &Value::Null).await.refused(404, "execution_not_found");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_waits_is_skipped_when_it_is_cancelled() {
    with_server(async |server| {
        let id = run_over(server, &["10.0.0.1"]).await;
        let wait = "UPDATE es_sync_execution_log SET execution_status = 'waiting', prepared_at = NULL, lease_token = NULL, \
                    total_hosts = 0, pending_count = 0";
        sqlx::query(wait).execute(&server.ground.pool).await.expect("updated");
        let path = format!("/es-sync-executions/{id}/cancel");
        let body = server.post(&path, &Value::Null).await.ok();
        assert_eq!(body["message"], format!("execution {id} had not begun and is skipped"));
        let log = server.get("/es-sync-execution-logs?status=skipped").await.ok()["execution_logs"][0].clone();
        assert_eq!((&log["id"], &log["error_message"]), (&json!(id), &json!("cancelled while it waited")));
        assert!(log["finished_at"].is_string());
        server.post(&path, &Value::Null).await.refused(409, "execution_finished");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    with_server(async |server| {
        server.get("/es-sync-execution-detail/1").await.refused(404, "execution_not_found");
        server.get("/es-sync-tasks/1").await.refused(404, "task_not_found");
        assert_eq!(server.get("/es-sync-execution-logs").await.ok()["execution_logs"], json!([]));
    })
    .await;
}
