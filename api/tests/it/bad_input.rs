//! Bad input: status, code, the field named, and nothing stored.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, send, with_server};

/// A task as it should be, with one field changed.
fn task_with(field: &str, value: Value) -> Value {
    let mut task = json!({"task_name": "good", "cron_expression": "0 0 3 * * *"});
    task[field] = value;
    task
}

/// A run as it should be, with one field changed.
fn run_with(field: &str, value: Value) -> Value {
    let mut run = json!({"task_name": "good", "host_ip_list": ["10.0.0.1"]});
    run[field] = value;
    run
}

async fn nothing_is_stored(server: &Server) {
    for table in ["es_sync_task_config", "es_sync_execution_log", "es_sync_execution_detail"] {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}")))
            .fetch_one(&server.ground.pool)
            .await
            .expect("counted");
        assert_eq!(count, 0, "{table}");
    }
}

#[tokio::test]
async fn a_bad_field_of_a_task_is_named_and_nothing_is_stored() {
    let cases: Vec<(Value, &[&str], &str)> = vec![
        (json!({}), &["task_name", "cron_expression"], "must be given"),
        (json!({"task_name": null, "cron_expression": "@daily"}), &["task_name"], "must be given"),
        (task_with("task_name", json!(5)), &["task_name"], "must be a text, not the number 5"),
        (task_with("task_name", json!("  ")), &["task_name"], "must not be empty"),
        (task_with("task_name", json!("x".repeat(256))), &["task_name"], "at most 255 characters, not 256"),
        (task_with("task_nam", json!("x")), &["task_nam"], "is no field of this request"),
        (task_with("id", json!(1)), &["id"], "is no field of this request"),
        (task_with("description", json!("x".repeat(10_001))), &["description"], "at most 10000 characters"),
        (task_with("description", json!(["x"])), &["description"], "must be a text, not a list"),
        (task_with("es_endpoint", json!("http://evil.invalid")), &["es_endpoint"], "is no configured endpoint"),
        (task_with("es_endpoint", json!("https://other.invalid/")), &["es_endpoint"], "is no configured endpoint"),
        (task_with("es_index_pattern", json!("a/_search?x=")), &["es_index_pattern"], "must not contain '/'"),
        (task_with("es_index_pattern", json!("x".repeat(256))), &["es_index_pattern"], "255"),
        (task_with("mapping", json!("prometheus")), &["mapping"], "is no configured mapping"),
        (task_with("cron_expression", json!("")), &["cron_expression"], ""),
        (task_with("cron_expression", json!("60 0 3 * * *")), &["cron_expression"], "second"),
        (task_with("cron_expression", json!("0 60 3 * * *")), &["cron_expression"], "minute"),
        (task_with("cron_expression", json!("0 0 25 * * *")), &["cron_expression"], "hour"),
        (task_with("cron_expression", json!("0 0 3 32 * *")), &["cron_expression"], "day-of-month"),
        (task_with("cron_expression", json!("0 0 3 * 13 *")), &["cron_expression"], "month"),
        (task_with("cron_expression", json!("0 0 3 * * FUNDAY")), &["cron_expression"], "day-of-week"),
        (task_with("cron_expression", json!("0 0 3 30 2 ?")), &["cron_expression"], ""),
        (task_with("cron_expression", json!("@every 1x")), &["cron_expression"], ""),
        (task_with("cron_expression", json!("TZ=Mars/Base 0 0 3 * * *")), &["cron_expression"], "time zone"),
        (task_with("cron_expression", json!("x".repeat(101))), &["cron_expression"], "100"),
        (task_with("time_zone", json!("Mars/Base")), &["time_zone"], "unknown"),
        (task_with("time_zone", json!("utc+8")), &["time_zone"], "unknown"),
        (task_with("overlap_policy", json!("wait")), &["overlap_policy"], "must be one of skip, allow, queue"),
        (task_with("overlap_policy", json!("")), &["overlap_policy"], "must be one of"),
        (task_with("catch_up_window", json!("8d")), &["catch_up_window"], "from 0s to 7d"),
        (task_with("catch_up_window", json!(60)), &["catch_up_window"], "must be a text"),
        (task_with("delay", json!("32d")), &["delay"], "from 0s to 31d"),
        (task_with("delay", json!(-60)), &["delay"], "must be a text"),
        (task_with("query_time_range", json!("1y")), &["query_time_range"], "must be a whole number and one of"),
        (task_with("query_time_range", json!("367d")), &["query_time_range"], "from 1 minute to 366 days"),
        (task_with("query_time_range", json!("")), &["query_time_range"], "must be a whole number"),
        (task_with("freshness_target", json!("30s")), &["freshness_target"], "from 1m to 366d"),
        (task_with("freshness_target", json!("1y")), &["freshness_target"], "must be a whole number"),
        (task_with("is_enabled", json!("true")), &["is_enabled"], "must be true or false"),
        (task_with("is_enabled", json!(1)), &["is_enabled"], "must be true or false"),
        (task_with("created_by", json!("x".repeat(101))), &["created_by"], "at most 100 characters"),
        // All at once.
        (
            json!({"task_name": "", "cron_expression": "0 0 25 * * *", "time_zone": "Mars", "mapping": 7, "colour": "red"}),
            &["mapping", "colour", "task_name", "time_zone", "cron_expression"],
            "",
        ),
    ];
    with_server(async |server| {
        for (body, fields, message) in cases {
            let refusal = server.post("/es-sync-tasks", &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), fields, "{body}");
            let told = refusal["errors"][0]["message"].as_str().expect("a message");
            assert!(told.contains(message), "{body}: {told}");
            let sentence = refusal["message"].as_str().expect("a message");
            assert!(sentence.starts_with(&format!("{}: ", fields[0])), "{sentence}");
        }
        nothing_is_stored(server).await;
    })
    .await;
}

#[tokio::test]
async fn a_bad_change_leaves_the_task_as_it_was() {
    with_server(async |server| {
        let id = server.task(&json!({"task_name": "steady", "cron_expression": "@daily", "is_enabled": true})).await;
        let before = server.show(id).await;
        let path = format!("/es-sync-tasks/{id}");
        for (body, field) in [
            (json!({"task_name": ""}), "task_name"),
            (json!({"description": "new", "cron_expression": "0 0 25 * * *"}), "cron_expression"),
            (json!({"description": "new", "time_zone": "Mars"}), "time_zone"),
            (json!({"description": "new", "created_by": "me"}), "created_by"),
            (json!({"description": "new", "id": id}), "id"),
            (json!({"is_enabled": "no"}), "is_enabled"),
        ] {
            let refusal = server.put(&path, &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), [field], "{body}");
        }
        for (body, fields) in [
            (json!({}), vec!["id", "is_enabled"]),
            (json!({"id": id}), vec!["is_enabled"]),
            (json!({"id": "1", "is_enabled": true}), vec!["id"]),
            (json!({"id": 0, "is_enabled": true}), vec!["id"]),
            (json!({"id": -1, "is_enabled": true}), vec!["id"]),
            (json!({"id": 1.5, "is_enabled": true}), vec!["id"]),
            (json!({"id": id, "is_enabled": false, "force": true}), vec!["force"]),
        ] {
            let refusal = server.put("/es-sync-tasks/enable", &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), fields, "{body}");
        }
        assert_eq!(server.show(id).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_bad_field_of_a_run_is_named_and_nothing_is_stored() {
    let cases: Vec<(Value, &[&str], &str)> = vec![
        (json!({}), &["host_ip_list", "task_name"], "must be given"),
        (run_with("host_ip_list", json!([])), &["host_ip_list"], "must not be empty"),
        (run_with("host_ip_list", json!("10.0.0.1")), &["host_ip_list"], "must be a list of texts, not the text"),
        (
            run_with("host_ip_list", json!(["10.0.0.1", "web-1", 5, "10.0.0.256", "", "fe80::1%eth0"])),
            &["host_ip_list[2]", "host_ip_list[1]", "host_ip_list[3]", "host_ip_list[4]", "host_ip_list[5]"],
            "must be a text, not the number 5",
        ),
        (run_with("task_name", json!(" ")), &["task_name"], "must not be empty"),
        (run_with("query_time_range", json!("0m")), &["query_time_range"], "from 1 minute"),
        (run_with("window_from", json!("2026-01-01T00:00:00Z")), &["window_to"], "must be given with window_from"),
        (
            json!({"task_name": "good", "host_ip_list": ["web-1"], "window_from": "2026-01-01T00:00:00.5Z",
                   "window_to": "2999-01-01T00:00:00Z", "query_time_range": "24h"}),
            &["host_ip_list[0]", "window_from", "query_time_range", "window_to"],
            "is not an IPv4 or IPv6 address",
        ),
        (
            json!({"task_name": "good", "host_ip_list": ["10.0.0.1"], "window_from": "2020-01-01T00:00:00Z",
                   "window_to": "2020-01-02T00:00:00Z"}),
            &["window_to"],
            "scheduler.retention and 40 days ago",
        ),
        (run_with("es_endpoint", json!("http://169.254.169.254/latest")), &["es_endpoint"], "no configured endpoint"),
        (run_with("es_index_pattern", json!("../x")), &["es_index_pattern"], ""),
        (run_with("mapping", json!("none")), &["mapping"], "no configured mapping"),
        (run_with("wait_seconds", json!(61)), &["wait_seconds"], "from 0 to 60"),
        (run_with("wait_seconds", json!(-1)), &["wait_seconds"], "from 0 to 60"),
        (run_with("wait_seconds", json!("5")), &["wait_seconds"], "from 0 to 60"),
        (run_with("file_content", json!("10.0.0.1")), &["file_content"], "is no field of this request"),
    ];
    with_server(async |server| {
        for (body, fields, message) in cases {
            let refusal = server.post("/es-sync-execute", &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), fields, "{body}");
            let told = refusal["errors"][0]["message"].as_str().expect("a message");
            assert!(told.contains(message), "{body}: {told}");
        }
        let many: Vec<String> = (0..250).map(|n| format!("host-{n}")).collect();
        let body = run_with("host_ip_list", json!(many));
        let refusal = server.post("/es-sync-execute", &body).await.refused(400, "invalid_request");
        let errors = refusal["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), 100);
        assert!(errors[99]["message"].as_str().is_some_and(|text| text.contains("150 more")), "{}", errors[99]);
        nothing_is_stored(server).await;
    })
    .await;
}

#[tokio::test]
async fn a_bad_query_parameter_is_named() {
    with_server(async |server| {
        server.task(&json!({"task_name": "one", "cron_expression": "@daily"})).await;
        for (path, fields) in [
            ("/es-sync-tasks?limit=0", vec!["limit"]),
            ("/es-sync-tasks?limit=501", vec!["limit"]),
            ("/es-sync-tasks?limit=ten", vec!["limit"]),
            ("/es-sync-tasks?cursor=zzz", vec!["cursor"]),
            ("/es-sync-tasks?cursor=e1", vec!["cursor"]),
            ("/es-sync-tasks?enabled_only=yes", vec!["enabled_only"]),
            ("/es-sync-tasks?enabled=true", vec!["enabled"]),
            ("/es-sync-tasks?limit=1&limit=2", vec!["limit"]),
            ("/es-sync-tasks/1?verbose=1", vec!["verbose"]),
            ("/es-sync-tasks/one", vec!["task_id"]),
            ("/es-sync-tasks/-1", vec!["task_id"]),
            ("/es-sync-execution-logs?task_id=x", vec!["task_id"]),
            ("/es-sync-execution-logs?status=done", vec!["status"]),
            ("/es-sync-execution-logs?trigger=cron", vec!["trigger"]),
            ("/es-sync-execution-logs?from=yesterday&to=2026-01-01", vec!["from", "to"]),
            ("/es-sync-execution-logs?from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", vec!["to"]),
            ("/es-sync-execution-detail/1?status=running", vec!["status"]),
            ("/es-sync-freshness?state=old&task_id=0", vec!["task_id", "state"]),
            ("/es-sync-freshness?limit=501&cursor=t1", vec!["limit", "cursor"]),
            ("/es-sync-freshness?host=10.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1", vec!["host"]),
            ("/es-sync-execution-detail/x", vec!["execution_id"]),
        ] {
            let refusal = server.get(path).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), fields, "{path}");
        }
        let refusal = send(server.operator(Method::DELETE, "/es-sync-tasks/1?force=1")).await;
        assert_eq!(Answer::fields(&refusal.refused(400, "invalid_request")), ["force"]);
        assert_eq!(server.show(1).await["id"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    with_server(async |server| {
        let post = async |content_type: Option<&str>, body: &'static str| {
            let request = server.operator(Method::POST, "/es-sync-tasks").body(body);
            let request = match content_type {
                Some(content_type) => request.header("content-type", content_type),
                None => request,
            };
            send(request).await
        };
        for body in
            ["", "{", "{\"task_name\": \"x\",}", "[]", "\"x\"", "null", "{\"a\":1} {}", "{\"a\":1,\"a\":2}", "\u{0}"]
        {
            let refusal = post(Some("application/json"), body).await.refused(400, "malformed_body");
            assert!(refusal["message"].as_str().is_some_and(|text| text.contains("body")), "{refusal}");
        }
        let good = "{\"task_name\": \"x\", \"cron_expression\": \"@daily\"}";
        for content_type in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data")]
        {
            post(content_type, good).await.refused(415, "unsupported_media_type");
        }
        let request = server.operator(Method::POST, "/es-sync-execute-file").header("content-type", "text/plain");
        send(request.body("10.0.0.1")).await.refused(415, "unsupported_media_type");
        nothing_is_stored(server).await;
        post(Some("Application/JSON; charset=utf-8"), good).await.ok();
        // Some editors and programs begin a text with a byte order mark; one is forgiven.
        post(Some("application/json"), "\u{feff}{\"task_name\": \"y\", \"cron_expression\": \"@daily\"}").await.ok();
        post(Some("application/json"), "\u{feff}\u{feff}{}").await.refused(400, "malformed_body");
    })
    .await;
}

#[tokio::test]
async fn an_id_that_the_document_does_not_allow_is_bad_input_wherever_it_stands() {
    // One more than `int64` holds.
    const TOO_LARGE: &str = "9223372036854775808";
    with_server(async |server| {
        for (path, field) in [
            (format!("/es-sync-tasks/{TOO_LARGE}"), "task_id"),
            (format!("/es-sync-execution-detail/{TOO_LARGE}"), "execution_id"),
            (format!("/es-sync-execution-logs?task_id={TOO_LARGE}"), "task_id"),
            (format!("/es-sync-stats?task_id={TOO_LARGE}"), "task_id"),
        ] {
            let body = server.get(&path).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&body), [field], "{path}");
        }
        let body: Value = serde_json::from_str(&format!(r#"{{"id": {TOO_LARGE}, "is_enabled": true}}"#)).expect("JSON");
        let refused = server.put("/es-sync-tasks/enable", &body).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refused), ["id"]);
        // The largest there can be is merely unknown.
        server.get("/es-sync-tasks/9223372036854775807").await.refused(404, "task_not_found");
    })
    .await;
}

#[tokio::test]
async fn a_whole_number_with_a_point_is_taken_as_json_schema_takes_it() {
    with_server(async |server| {
        let preview = json!({"cron_expression": "@daily", "count": 3.0});
        let times = server.post("/es-sync-tasks/preview", &preview).await.ok();
        assert_eq!(times["fire_times"].as_array().expect("times").len(), 3);
        let preview = json!({"cron_expression": "@daily", "count": 3.5});
        let refused = server.post("/es-sync-tasks/preview", &preview).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refused), ["count"]);
    })
    .await;
}
