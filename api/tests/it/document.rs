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
    assert_eq!(operation_ids.len(), count, "two operations have the same id: {operation_ids:?}");
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

/// The operations of the document, each with its name.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"].as_object().expect("paths").iter().flat_map(|(path, item)| {
        item.as_object()
            .expect("operations")
            .iter()
            .map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

/// Whether there is a text that says something.
fn says(text: &Value) -> bool {
    text.as_str().is_some_and(|text| !text.trim().is_empty())
}

#[test]
fn every_operation_and_parameter_has_a_description_and_an_example() {
    let document = document();
    let mut missing = Vec::new();
    for (name, operation) in operations(&document) {
        if !says(&operation["summary"]) || !says(&operation["description"]) {
            missing.push(format!("{name}: summary or description"));
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let told = says(&parameter["description"]) || says(&parameter["schema"]["description"]);
            if !told || parameter.get("example").is_none() {
                missing.push(format!("{name}: parameter {}", parameter["name"]));
            }
        }
        for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            if content.get("example").is_none() {
                missing.push(format!("{name}: example of {kind}"));
            }
        }
        for (status, response) in operation["responses"].as_object().expect("responses") {
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                if content["example"].is_null() {
                    missing.push(format!("{name}: example of {status} {kind}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_error_is_told_with_its_codes_and_shown_by_one_of_them() {
    let document = document();
    for (name, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let content = &response["content"]["application/json"];
            if content["schema"]["$ref"] != "#/components/schemas/ErrorBody" {
                continue;
            }
            let code = content["example"]["code"].as_str().unwrap_or_default();
            let told = response["description"].as_str().unwrap_or_default();
            assert!(!code.is_empty() && told.contains(&format!("`{code}`")), "{name} {status}: {code}: {told}");
            assert_eq!(content["example"]["success"], false, "{name} {status}");
        }
    }
}

#[test]
fn every_schema_and_every_field_has_a_description() {
    fn fields(schemas: &Value, name: &str, schema: &Value, missing: &mut Vec<String>) {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let told = [property, &property["oneOf"][0], &property["oneOf"][1]].into_iter().any(|schema| {
                let target = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
                says(&schema["description"]) || target.is_some_and(|target| says(&schemas[target]["description"]))
            });
            if !told {
                missing.push(format!("{name}.{field}"));
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            fields(schemas, name, part, missing);
        }
    }
    let document = document();
    let schemas = &document["components"]["schemas"];
    let mut missing = Vec::new();
    for (name, schema) in schemas.as_object().expect("schemas") {
        if !says(&schema["description"]) {
            missing.push(name.clone());
        }
        fields(schemas, name, schema, &mut missing);
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whoever makes requests from the document (a tool, a form) learns from `format` what a text must look like.
#[test]
fn a_text_of_a_request_with_a_form_of_its_own_names_it() {
    const FORMATS: [(&str, &str); 9] = [
        ("cron_expression", "cron"),
        ("time_zone", "time-zone"),
        ("query_time_range", "time-range"),
        ("catch_up_window", "catch-up-window"),
        ("delay", "delay"),
        ("freshness_target", "freshness-target"),
        ("es_endpoint", "endpoint"),
        ("es_index_pattern", "index-pattern"),
        ("mapping", "mapping"),
    ];
    let document = document();
    let mut found = 0;
    for (name, operation) in operations(&document) {
        for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            let reference = content["schema"]["$ref"].as_str().unwrap_or_default();
            let schema = document.pointer(reference.trim_start_matches('#')).unwrap_or(&content["schema"]);
            for (field, format) in FORMATS {
                if let Some(property) = schema["properties"].get(field) {
                    assert_eq!(property["format"], format, "{name} {kind}: {field}");
                    found += 1;
                }
            }
        }
    }
    assert!(found >= FORMATS.len(), "{found}");
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
