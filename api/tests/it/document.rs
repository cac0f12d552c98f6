//! The OpenAPI document, against the file and against the router.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::harness::{send, with_server};

fn document() -> Value {
    serde_json::to_value(hostsync_api::openapi()).expect("JSON")
}

#[test]
fn the_document_is_the_one_in_the_repository() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&document()).expect("JSON"));
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "api/openapi.json is not what the API says of itself; UPDATE_OPENAPI=1 writes it anew");
}

#[test]
fn every_operation_says_what_it_is_and_what_can_go_wrong() {
    let document = document();
    let mut operation_ids = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = format!("{method} {path}");
            operation_ids.push(operation["operationId"].as_str().unwrap_or_else(|| panic!("{name}")).to_owned());
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{name}");
            let responses = operation["responses"].as_object().expect("responses");
            for (status, response) in responses {
                assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} {status}");
            }
            if !path.starts_with("/api/") {
                continue;
            }
            let mut wanted = vec!["200", "400", "401", "500", "503"];
            if method != "get" {
                wanted.push("403");
            }
            if operation.get("requestBody").is_some() {
                wanted.extend(["413", "415"]);
                assert!(operation["requestBody"]["content"]["application/json"]["example"].is_object(), "{name}");
            }
            for status in wanted {
                assert!(responses.contains_key(status), "{name} {status}");
            }
        }
    }
    operation_ids.sort_unstable();
    let count = operation_ids.len();
    operation_ids.dedup();
    assert_eq!((operation_ids.len(), count), (25, 25));
    let text = document.to_string();
    for code in [
        "task_name_taken",
        "idempotency_key_reused",
        "task_running",
        "nothing_to_retry",
        "execution_finished",
        "too_many_requests",
        "malformed_body",
        "database_unavailable",
    ] {
        assert!(text.contains(&format!("`{code}`")), "{code}");
    }
    assert!(!text.contains("#/components/schemas/\""));
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    found.push(reference.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn what_is_served_is_the_document_and_every_route_in_it_is_there() {
    with_server(async |server| {
        let served = server.get_plain("/openapi.json").await;
        assert_eq!(served.status, 200);
        assert_eq!(served.body, document());
        for (path, item) in served.body["paths"].as_object().expect("paths") {
            let path = path.replace("{task_id}", "1").replace("{execution_id}", "1").replace("{host_ip}", "10.0.0.1");
            let documented: Vec<String> =
                item.as_object().expect("operations").keys().map(|m| m.to_uppercase()).collect();
            // Both ways: what is documented is routed, and what is routed is documented.
            let answer = send(server.request(Method::from_bytes(b"BREW").expect("a method"), &path)).await;
            let mut allowed: Vec<&str> = answer.header("allow").expect("Allow").split(',').collect();
            allowed.retain(|method| *method != "HEAD");
            allowed.sort_unstable();
            let mut documented: Vec<&str> = documented.iter().map(String::as_str).collect();
            documented.sort_unstable();
            assert_eq!(allowed, documented, "{path}");
        }
    })
    .await;
}
