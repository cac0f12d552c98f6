//! What all answers have in common, whatever was asked and however badly.

use std::collections::BTreeSet;

use hostsync_model::execution::SyncStatus;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, OPERATOR, Server, VIEWER, send, with_server};

/// Every operation of the document, with its ids filled in.
fn operations() -> Vec<(Method, String)> {
    let document = serde_json::to_value(hostsync_api::openapi()).expect("JSON");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{task_id}", "1").replace("{execution_id}", "1").replace("{host_ip}", "10.0.0.1");
        for method in item.as_object().expect("operations").keys() {
            operations.push((method.to_uppercase().parse().expect("a method"), path.clone()));
        }
    }
    operations
}

/// Checks an answer that has a JSON body. Returns its status, or nothing if it is a stream, a page or a text.
fn status_of_json(answer: &Answer, what: &str) -> Option<u16> {
    let content_type = answer.header("content-type").unwrap_or_default();
    if !content_type.starts_with("application/json") {
        assert!([200, 204].contains(&answer.status), "{what}: {content_type} with {}", answer.status);
        return None;
    }
    let body = answer.body.as_object().unwrap_or_else(|| panic!("{what}: {}", answer.text));
    if body.contains_key("openapi") {
        return None;
    }
    let is_done = answer.status == 200;
    let begin = format!("{{\"success\":{is_done},\"message\":\"");
    assert!(answer.text.starts_with(&begin), "{what}: {}", answer.text);
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {}", answer.text);
    if is_done {
        assert!(!body.contains_key("code") && !body.contains_key("data"), "{what}: {}", answer.text);
    } else {
        let code = body["code"].as_str().unwrap_or_else(|| panic!("{what}: {}", answer.text));
        assert!(!code.is_empty() && code.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{code}");
        let known = ["success", "message", "code", "errors", "invalid_lines", "invalid_line_count"];
        assert!(body.keys().all(|key| known.contains(&key.as_str())), "{what}: {}", answer.text);
        for error in body.get("errors").and_then(Value::as_array).into_iter().flatten() {
            assert!(error["field"].is_string() && error["message"].is_string(), "{what}: {error}");
        }
    }
    Some(answer.status)
}

#[tokio::test]
async fn every_body_is_flat_and_begins_with_success_and_message() {
    with_server(async |server| {
        server.task(&json!({"task_name": "one", "cron_expression": "@daily"})).await;
        let run = json!({"task_name": "one", "host_ip_list": ["10.0.0.1"]});
        server.post("/es-sync-execute", &run).await.ok();
        // Ended, so that its stream of events ends too.
        server.finish_hosts(1, &[("10.0.0.1", SyncStatus::Success)]).await;
        let mut seen = BTreeSet::new();
        let mut look = async |request: RequestBuilder, what: String| {
            seen.extend(status_of_json(&send(request).await, &what));
        };
        for (method, path) in operations() {
            let request = || server.request(method.clone(), &path).bearer_auth(OPERATOR);
            let at = |variant: &str| format!("{method} {path} {variant}");
            look(server.request(method.clone(), &path), at("without a token")).await;
            look(server.request(method.clone(), &path).bearer_auth(VIEWER), at("by a viewer")).await;
            look(server.request(method.clone(), &format!("{path}?colour=red")).bearer_auth(OPERATOR), at("?colour"))
                .await;
            look(request().json(&json!({"colour": "red"})), at("with an unknown field")).await;
            look(request().json(&json!([])), at("with a list")).await;
            look(request().header("content-type", "text/plain").body("x"), at("with a text")).await;
            look(server.request(Method::PATCH, &path).bearer_auth(OPERATOR), at("by PATCH")).await;
        }
        let at = |path: &str| server.operator(Method::POST, path);
        let taken = json!({"task_name": "two", "cron_expression": "@daily"});
        for _ in 0..2 {
            look(at("/es-sync-tasks").json(&taken), "a name twice".to_owned()).await;
        }
        let large = json!({"task_name": "three", "cron_expression": "@daily", "description": "x".repeat(1_000_000)});
        look(at("/es-sync-tasks").json(&large), "a million characters".to_owned()).await;
        look(at("/nothing").json(&taken), "no route".to_owned()).await;
        // 422 never comes, although most of these bodies are well-formed JSON that makes no sense.
        assert_eq!(seen, BTreeSet::from([200, 400, 401, 403, 404, 405, 409, 413, 415]));
    })
    .await;
}

/// What the routes for an operator's tools say.
async fn shown_to_anybody(server: &Server) -> String {
    let mut text = String::new();
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/"] {
        let answer = server.get_plain(path).await;
        assert_eq!(answer.status, 200, "{path}");
        text.push_str(&answer.text);
    }
    text
}

#[tokio::test]
async fn what_needs_no_token_shows_no_data() {
    with_server(async |server| {
        let task =
            json!({"task_name": "payroll-secret", "cron_expression": "17 43 21 * * *", "created_by": "someone-secret"});
        let id = server.task(&task).await;
        server.get(&format!("/es-sync-tasks/{id}?name=payroll-secret")).await.refused(400, "invalid_request");
        let run = json!({"task_name": "payroll-secret", "host_ip_list": ["203.0.113.77"]});
        server.post("/es-sync-execute", &run).await.ok();
        server.get("/es-sync-hosts/203.0.113.77").await.ok();
        let text = shown_to_anybody(server).await;
        for data in ["payroll-secret", "someone-secret", "203.0.113.77", "17 43 21", OPERATOR, VIEWER] {
            assert!(!text.contains(data), "{data} is shown to anybody");
        }
    })
    .await;
}
