//! The callers that were there before hostsync: their exact bodies do what they expect.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, send, with_server};

async fn say(server: &Server, method: Method, path: &str, body: &'static str) -> Value {
    let request = server.operator(method, path).header("content-type", "application/json").body(body);
    send(request).await.ok()
}

#[tokio::test]
async fn the_bodies_of_existing_callers_do_what_they_expect() {
    with_server(async |server| {
        let create = r#"{"task_name": "每日同步", "cron_expression": "0 0 2 * * ?", "query_time_range": "24h"}"#;
        let created = say(server, Method::POST, "/es-sync-tasks", create).await;
        assert_eq!(created["task_id"], 1);
        let task = server.show(1).await;
        for (field, value) in [
            ("task_name", json!("每日同步")),
            ("cron_expression", json!("0 0 2 * * ?")),
            ("query_time_range", json!("24h")),
            ("is_enabled", json!(false)),
            ("next_execution_time", Value::Null),
        ] {
            assert_eq!(task[field], value, "{field}");
        }

        say(server, Method::PUT, "/es-sync-tasks/enable", r#"{"id": 1, "is_enabled": true}"#).await;
        let task = server.show(1).await;
        assert_eq!(task["is_enabled"], true);
        assert!(task["next_execution_time"].as_str().is_some_and(|next| next.ends_with("T02:00:00.000Z")), "{task}");

        let execute =
            r#"{"task_name": "手动测试", "host_ip_list": ["10.1.1.1", "10.1.1.2"], "query_time_range": "7d"}"#;
        let enqueued = say(server, Method::POST, "/es-sync-execute", execute).await;
        assert_eq!((&enqueued["execution_id"], &enqueued["total_hosts"]), (&json!(1), &json!(2)));
        let file = r#"{"task_name": "手动测试", "file_content": "10.1.1.1\r\n10.1.1.2\r\n", "query_time_range": "7d"}"#;
        let enqueued = say(server, Method::POST, "/es-sync-execute-file", file).await;
        assert_eq!((&enqueued["execution_id"], &enqueued["total_hosts"]), (&json!(2), &json!(2)));

        let logs = server.get("/es-sync-execution-logs").await.ok()["execution_logs"].clone();
        assert_eq!(logs.as_array().map(Vec::len), Some(2));
        assert_eq!((&logs[1]["task_name"], &logs[1]["query_time_range"]), (&json!("手动测试"), &json!("7d")));
        let detail = server.get("/es-sync-execution-detail/1").await.ok();
        let hosts: Vec<&Value> =
            detail["execution_details"].as_array().expect("details").iter().map(|detail| &detail["host_ip"]).collect();
        assert_eq!(hosts, [&json!("10.1.1.1"), &json!("10.1.1.2")]);
        let tasks = server.get("/es-sync-tasks").await.ok()["tasks"].clone();
        assert_eq!(tasks[0]["id"], 1);

        let update = r#"{"task_name": "每日同步", "cron_expression": "0 30 2 * * ?", "query_time_range": "48h"}"#;
        say(server, Method::PUT, "/es-sync-tasks/1", update).await;
        assert_eq!(server.show(1).await["query_time_range"], "48h");
        server.delete("/es-sync-tasks/1").await.ok();
        server.get("/es-sync-tasks/1").await.refused(404, "task_not_found");
    })
    .await;
}
