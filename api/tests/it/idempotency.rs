//! The same enqueue sent twice is one.

use futures_util::future::join_all;
use hostsync_model::execution::SyncStatus;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, Server, send, with_server};

const RUNS: &str = "SELECT COUNT(*) FROM es_sync_execution_log";

fn keyed(server: &Server, path: &str, key: &str, body: &Value) -> RequestBuilder {
    server.operator(Method::POST, path).header("Idempotency-Key", key).json(body)
}

async fn post(server: &Server, path: &str, key: &str, body: &Value) -> Answer {
    send(keyed(server, path, key, body)).await
}

#[tokio::test]
async fn the_same_key_and_body_get_the_first_answer_and_enqueue_nothing() {
    with_server(async |server| {
        let body = json!({"task_name": "once", "host_ip_list": ["10.0.0.1", "10.0.0.2"]});
        let first = post(server, "/es-sync-execute", "k-1", &body).await.ok();
        assert_eq!((&first["execution_id"], &first["total_hosts"]), (&json!(1), &json!(2)));
        // Written in another way it is the same.
        let again = server
            .operator(Method::POST, "/es-sync-execute")
            .header("Idempotency-Key", "k-1")
            .header("content-type", "application/json")
            .body("{ \"host_ip_list\": [\"10.0.0.1\",\n\"10.0.0.2\"], \"task_name\": \"once\" }");
        assert_eq!(send(again).await.ok(), first);
        assert_eq!(server.number(RUNS).await, 1);

        let other = json!({"task_name": "once", "host_ip_list": ["10.0.0.2", "10.0.0.1"]});
        let refusal = post(server, "/es-sync-execute", "k-1", &other).await.refused(409, "idempotency_key_reused");
        assert!(refusal["message"].as_str().is_some_and(|message| message.contains("\"k-1\"")), "{refusal}");
        // Another key, or none, is another run.
        assert_eq!(post(server, "/es-sync-execute", "k-2", &body).await.ok()["execution_id"], 2);
        assert_eq!(server.post("/es-sync-execute", &body).await.ok()["execution_id"], 3);
    })
    .await;
}

#[tokio::test]
async fn a_key_holds_at_the_path_that_it_was_sent_to() {
    with_server(async |server| {
        let body = json!({"task_name": "a", "host_ip_list": ["10.0.0.1"]});
        post(server, "/es-sync-execute", "same", &body).await.ok();
        let file = json!({"task_name": "a", "file_content": "10.0.0.1\nweb-1\n"});
        let answer = post(server, "/es-sync-execute-file", "same", &file).await.ok();
        assert_eq!(answer["execution_id"], 2);
        assert_eq!(post(server, "/es-sync-execute-file", "same", &file).await.ok(), answer);
        assert_eq!(answer["invalid_line_count"], 1);
        for id in [1, 2] {
            server.finish_hosts(id, &[("10.0.0.1", SyncStatus::Failed)]).await;
        }
        let retry = async |id: u64| {
            post(server, &format!("/es-sync-executions/{id}/retry"), "same", &json!({})).await.ok()["execution_id"]
                .clone()
        };
        assert_eq!([retry(1).await, retry(2).await, retry(1).await], [json!(3), json!(4), json!(3)]);
        let task = server.task(&json!({"task_name": "a", "cron_expression": "@yearly"})).await;
        let path = format!("/es-sync-tasks/{task}/execute");
        let first = post(server, &path, "same", &json!({})).await.ok();
        // Without the key a second run of the task would be refused; a body that is absent is an empty one.
        let again = server.operator(Method::POST, &path).header("Idempotency-Key", "same");
        assert_eq!(send(again).await.ok(), first);
        assert_eq!(server.number(RUNS).await, 5);
    })
    .await;
}

#[tokio::test]
async fn a_form_is_the_same_however_it_was_put_together() {
    with_server(async |server| {
        let form = |boundary: &str, parts: &[(&str, &str)]| {
            let mut body = String::new();
            for (name, text) in parts {
                let file = if *name == "file" { "; filename=\"hosts.txt\"" } else { "" };
                let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
                body.extend([head.as_str(), text, "\r\n"]);
            }
            body.extend(["--", boundary, "--\r\n"]);
            server
                .operator(Method::POST, "/es-sync-execute-file")
                .header("Idempotency-Key", "form")
                .header("content-type", format!("multipart/form-data; boundary={boundary}"))
                .body(body)
        };
        let parts = [("task_name", "f"), ("query_time_range", "7d"), ("file", "10.0.0.1\n")];
        let first = send(form("one", &parts)).await.ok();
        let shuffled = [parts[2], parts[1], parts[0]];
        assert_eq!(send(form("two", &shuffled)).await.ok(), first);
        let other = [("task_name", "f"), ("query_time_range", "7d"), ("file", "10.0.0.2\n")];
        send(form("one", &other)).await.refused(409, "idempotency_key_reused");
        assert_eq!(server.number(RUNS).await, 1);
    })
    .await;
}

#[tokio::test]
async fn of_simultaneous_requests_with_the_same_key_one_enqueues() {
    with_server(async |server| {
        let body = json!({"task_name": "at once", "host_ip_list": ["10.0.0.1", "10.0.0.2", "10.0.0.3"]});
        let answers = join_all((0..40).map(|_| post(server, "/es-sync-execute", "race", &body))).await;
        let first = answers[0].body.clone();
        for answer in answers {
            assert_eq!(answer.ok(), first);
        }
        assert_eq!(server.number(RUNS).await, 1);
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_execution_detail").await, 3);
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_holds_no_key() {
    with_server(async |server| {
        let bad = json!({"task_name": "x", "host_ip_list": ["web-1"]});
        post(server, "/es-sync-execute", "k", &bad).await.refused(400, "invalid_request");
        post(server, "/es-sync-tasks/9/execute", "k", &json!({})).await.refused(404, "task_not_found");
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_idempotency_key").await, 0);
        let good = json!({"task_name": "x", "host_ip_list": ["10.0.0.1"]});
        post(server, "/es-sync-execute", "k", &good).await.ok();
    })
    .await;
}

#[tokio::test]
async fn a_key_is_free_again_after_24_hours() {
    with_server(async |server| {
        let body = json!({"task_name": "old", "host_ip_list": ["10.0.0.1"]});
        assert_eq!(post(server, "/es-sync-execute", "k", &body).await.ok()["execution_id"], 1);
        let age = async |age: &'static str| {
            sqlx::query(sqlx::AssertSqlSafe(format!(
                "UPDATE es_sync_idempotency_key SET created_at = UTC_TIMESTAMP(3) - INTERVAL {age}"
            )))
            .execute(&server.ground.pool)
            .await
            .expect("aged");
        };
        age("86390 SECOND").await;
        assert_eq!(post(server, "/es-sync-execute", "k", &body).await.ok()["execution_id"], 1);
        age("24 HOUR").await;
        let other = json!({"task_name": "new", "host_ip_list": ["10.0.0.2"]});
        assert_eq!(post(server, "/es-sync-execute", "k", &other).await.ok()["execution_id"], 2);
        assert_eq!(post(server, "/es-sync-execute", "k", &other).await.ok()["execution_id"], 2);
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_waited_hears_the_same_again() {
    with_server(async |server| {
        let body = json!({"task_name": "waited", "host_ip_list": ["10.0.0.1"], "wait_seconds": 1});
        let first = post(server, "/es-sync-execute", "k", &body).await.ok();
        assert_eq!((&first["execution_status"], &first["pending_count"]), (&json!("running"), &json!(1)));
        server.finish_hosts(1, &[("10.0.0.1", SyncStatus::Success)]).await;
        assert_eq!(post(server, "/es-sync-execute", "k", &body).await.ok(), first);

        // Where the first caller went away before its wait was over, the next one waits.
        let forget = "UPDATE es_sync_idempotency_key SET outcome = NULL";
        sqlx::query(forget).execute(&server.ground.pool).await.expect("forgotten");
        let answer = post(server, "/es-sync-execute", "k", &body).await.ok();
        assert_eq!((&answer["execution_id"], &answer["execution_status"]), (&json!(1), &json!("success")));
    })
    .await;
}

#[tokio::test]
async fn a_key_of_another_form_is_refused() {
    with_server(async |server| {
        let body = json!({"task_name": "x", "host_ip_list": ["10.0.0.1"]});
        for key in ["", "a b", "schlüssel", &"x".repeat(256)] {
            let refusal = post(server, "/es-sync-execute", key, &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), ["Idempotency-Key"], "{key}");
        }
        let twice = keyed(server, "/es-sync-execute", "a", &body).header("Idempotency-Key", "a");
        let refusal = send(twice).await.refused(400, "invalid_request");
        assert_eq!(refusal["errors"][0]["message"], "is given twice");
        post(server, "/es-sync-execute", &"~".repeat(255), &body).await.ok();
    })
    .await;
}
