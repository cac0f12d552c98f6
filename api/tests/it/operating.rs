//! What an operator sees: metrics, request ids, an orderly end.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{send, until, with_server};

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_path() {
    with_server(async |server| {
        server.get("/es-sync-tasks/4711").await;
        server.get_plain("/made/up/path").await;
        let text = server.get_plain("/metrics").await.text;
        let counted = |labels: &[&str]| {
            text.lines().any(|line| {
                line.starts_with("hostsync_http_request_duration_seconds_count{")
                    && labels.iter().all(|label| line.contains(label))
            })
        };
        let route = "route=\"/api/cmdb/v1/es-sync-tasks/{task_id}\"";
        assert!(counted(&["method=\"GET\"", route, "status=\"404\""]), "{text}");
        assert!(counted(&["route=\"(none)\"", "status=\"404\""]), "{text}");
        assert!(!text.contains("es-sync-tasks/4711") && !text.contains("made/up"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn every_answer_has_an_id_and_a_callers_own_is_kept() {
    with_server(async |server| {
        let first = server.get_plain("/nothing").await.header("x-request-id").map(str::to_owned);
        let second = server.get("/es-sync-tasks").await.header("x-request-id").map(str::to_owned);
        assert!(first.is_some() && second.is_some() && first != second);
        let with_id = async |id: &str| {
            let answer = send(server.operator(Method::GET, "/es-sync-tasks").header("x-request-id", id)).await;
            answer.header("x-request-id").map(str::to_owned)
        };
        assert_eq!(with_id("front-end_7.1").await.as_deref(), Some("front-end_7.1"));
        assert_ne!(with_id("with blanks").await.as_deref(), Some("with blanks"));
        assert_ne!(with_id(&"x".repeat(65)).await.map(|id| id.len()), Some(65));
    })
    .await;
}

#[tokio::test]
async fn at_the_end_a_waiting_caller_hears_what_is_known() {
    with_server(async |server| {
        let body = json!({"task_name": "interrupted", "host_ip_list": ["10.0.0.1"], "wait_seconds": 60});
        let stop = async {
            let stored = "SELECT COUNT(*) FROM es_sync_execution_log";
            until("the run is stored", async || server.number(stored).await == 1).await;
            server.shutdown.begin();
        };
        let (answer, ()) = tokio::join!(server.post("/es-sync-execute", &body), stop);
        let body = answer.ok();
        assert_eq!((&body["execution_id"], &body["execution_status"]), (&json!(1), &json!("running")));
        until("the server has ended", async || server.serving.is_finished()).await;
        assert!(server.request(Method::GET, "/healthz").timeout(Duration::from_secs(5)).send().await.is_err());
    })
    .await;
}
