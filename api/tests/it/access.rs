//! Who may call what.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Ground, OPERATOR, VIEWER, send, with_server, with_server_of};

/// Every operation of the document that needs a token: method, path with its ids filled in.
fn operations() -> Vec<(Method, String)> {
    let document = serde_json::to_value(hostsync_api::openapi()).expect("JSON");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{task_id}", "1").replace("{execution_id}", "1").replace("{host_ip}", "10.0.0.1");
        for (method, operation) in item.as_object().expect("operations") {
            if operation.get("security").is_some() {
                operations.push((method.to_uppercase().parse().expect("a method"), path.clone()));
            }
        }
    }
    assert_eq!(operations.len(), 23, "{operations:?}");
    operations
}

#[tokio::test]
async fn nothing_is_answered_without_a_known_token() {
    with_server(async |server| {
        for (method, path) in operations() {
            let answer = send(server.request(method.clone(), &path)).await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"hostsync\""));
            answer.refused(401, "unauthorized");
            let answer = send(server.request(method.clone(), &path).bearer_auth("operator-token-012345678")).await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"hostsync\", error=\"invalid_token\""));
            answer.refused(401, "unauthorized");
            let answer = send(server.request(method, &path).basic_auth("operator", Some(OPERATOR))).await;
            answer.refused(401, "unauthorized");
        }
    })
    .await;
}

#[tokio::test]
async fn a_viewer_reads_and_an_operator_also_writes() {
    with_server(async |server| {
        for (method, path) in operations() {
            let as_viewer = send(server.request(method.clone(), &path).bearer_auth(VIEWER)).await;
            let as_operator = send(server.request(method.clone(), &path).bearer_auth(OPERATOR)).await;
            // A preview and a probe are POSTs for their body alone: they write nothing.
            if method == Method::GET || path.ends_with("/preview") || path.ends_with("/probe") {
                assert_eq!(as_viewer.status, as_operator.status, "{method} {path}");
            } else {
                as_viewer.refused(403, "forbidden");
            }
            assert!(![401, 403].contains(&as_operator.status), "{method} {path}: {}", as_operator.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_is_turned_away_before_its_body_is_read() {
    with_server(async |server| {
        let mut connection = TcpStream::connect(server.address).await.expect("connected");
        let head = "POST /api/cmdb/v1/es-sync-execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                    content-length: 4000000\r\nconnection: close\r\n\r\n";
        connection.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(std::str::from_utf8(&answer), Ok("HTTP/1.1 401"));
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_sends_all_before_it_reads_sees_why_it_is_refused() {
    const MUCH: usize = 20_000_000;
    with_server(async |server| {
        for (token, content_type, status) in [
            (OPERATOR, "application/json", "413"),
            ("unknown", "application/json", "401"),
            (VIEWER, "application/json", "403"),
            (OPERATOR, "text/plain", "415"),
        ] {
            let mut connection = TcpStream::connect(server.address).await.expect("connected");
            let head = format!(
                "POST /api/cmdb/v1/es-sync-execute HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
                 content-type: {content_type}\r\ncontent-length: {MUCH}\r\n\r\n"
            );
            connection.write_all(head.as_bytes()).await.expect("sent");
            connection.write_all(&vec![b'x'; MUCH]).await.expect("all of it is taken");
            let mut answer = [0; 12];
            connection.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(std::str::from_utf8(&answer), Ok(format!("HTTP/1.1 {status}").as_str()));
        }
    })
    .await;
}

#[tokio::test]
async fn without_authentication_nobody_needs_a_token() {
    let more =
        [("HOSTSYNC_API__AUTH", "none"), ("HOSTSYNC_API__OPERATOR_TOKEN", ""), ("HOSTSYNC_API__VIEWER_TOKEN", "")];
    with_server_of(Ground::new(true).await, &more, async |server| {
        let body = json!({"task_name": "open", "cron_expression": "@daily"});
        let request = || server.request(Method::POST, "/api/cmdb/v1/es-sync-tasks").json(&body);
        assert_eq!(send(request()).await.ok()["task_id"], 1);

        // A page of another site may not do it by the browser of somebody here, nor by a name that leads here.
        for (name, value) in
            [("origin", "http://elsewhere.example"), ("sec-fetch-site", "cross-site"), ("host", "rebound.example")]
        {
            send(request().header(name, value)).await.refused(403, "foreign_request");
        }
        let read = server.request(Method::GET, "/api/cmdb/v1/es-sync-tasks").header("host", "rebound.example:80");
        let refusal = send(read).await.refused(403, "foreign_request");
        assert!(refusal["message"].as_str().is_some_and(|text| text.contains("Host: localhost")), "{refusal}");
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_task_config").await, 1);
    })
    .await;
}

#[tokio::test]
async fn the_operators_routes_and_what_is_not_there_need_no_token() {
    with_server(async |server| {
        for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
            let answer = server.get_plain(path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        }
        server.get_plain("/api/cmdb/v1/nothing").await.refused(404, "not_found");
        let answer = send(server.request(Method::PATCH, "/api/cmdb/v1/es-sync-tasks")).await;
        let allowed = answer.header("allow").expect("Allow").to_owned();
        assert!(allowed.contains("GET") && allowed.contains("POST") && !allowed.contains("PATCH"), "{allowed}");
        let body: Value = answer.refused(405, "method_not_allowed");
        assert_eq!(
            body["message"],
            "PATCH is not possible at /api/cmdb/v1/es-sync-tasks; the header `Allow` says what is"
        );
    })
    .await;
}
