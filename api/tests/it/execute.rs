//! Runs by hand: what is stored and published, what the caller hears.

use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use hostsync_model::execution::{JobQueue, SyncStatus};
use reqwest::Method;
use serde_json::{Value, json};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Answer, Ground, OPERATOR, Server, clock, send, until, with_server, with_server_of};

/// A form of text parts and a file.
fn form(parts: &[(&str, &str)], file: Option<&[u8]>) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "a-boundary-that-stands-nowhere-else";
    let mut body = Vec::new();
    for (name, text) in parts {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n").as_bytes(),
        );
    }
    if let Some(file) = file {
        let head = "Content-Disposition: form-data; name=\"file\"; filename=\"hosts.txt\"\r\nContent-Type: text/plain";
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

async fn post_form(server: &Server, parts: &[(&str, &str)], file: Option<&[u8]>) -> Answer {
    let (content_type, body) = form(parts, file);
    let request = server.operator(Method::POST, "/es-sync-execute-file").header("content-type", content_type);
    send(request.body(body)).await
}

async fn hosts_of(server: &Server, execution: &Value) -> Vec<String> {
    let body = server.get(&format!("/es-sync-execution-detail/{execution}")).await.ok();
    let details = body["execution_details"].as_array().expect("details");
    details.iter().map(|detail| detail["host_ip"].as_str().expect("an address").to_owned()).collect()
}

#[tokio::test]
async fn a_run_over_a_list_is_stored_with_its_hosts_and_published() {
    with_server(async |server| {
        let body = json!({
            "task_name": " web servers ", "query_time_range": "24h", "mapping": "zabbix", "es_endpoint": "other",
            "es_index_pattern": "metrics-*",
            "host_ip_list": ["10.0.0.2", "10.0.0.1", "2001:DB8:0::1", "10.0.0.2", "2001:db8::1"],
        });
        let answer = server.post("/es-sync-execute", &body).await.ok();
        assert_eq!(
            answer,
            json!({
                "success": true, "message": "execution 1 was enqueued over 3 hosts", "execution_id": 1, "total_hosts": 3,
            })
        );
        until("the run is published", async || server.ready(JobQueue::Manual).await == 3).await;
        assert_eq!(server.ready(JobQueue::Bulk).await, 0);
        let held = "SELECT COUNT(*) FROM es_sync_execution_log WHERE published_watermark < last_detail_id \
                    OR lease_token IS NOT NULL";
        until("the lease is given back", async || server.number(held).await == 0).await;

        assert_eq!(hosts_of(server, &answer["execution_id"]).await, ["10.0.0.2", "10.0.0.1", "2001:db8::1"]);
        let log = server.get("/es-sync-execution-detail/1").await.ok()["execution_log"].clone();
        for (field, value) in [
            ("task_id", json!(0)),
            ("task_name", json!("web servers")),
            ("trigger", json!("manual")),
            ("scheduled_for", Value::Null),
            ("finished_at", Value::Null),
            ("duration_ms", Value::Null),
            ("execution_status", json!("running")),
            ("total_hosts", json!(3)),
            ("pending_count", json!(3)),
            ("query_time_range", json!("24h")),
            ("es_endpoint", json!("other")),
            ("es_index_pattern", json!("metrics-*")),
            ("mapping", json!("zabbix")),
        ] {
            assert_eq!(log[field], value, "{field}");
        }
        let at = |field: &str| -> DateTime<Utc> { log[field].as_str().expect(field).parse().expect(field) };
        assert_eq!(at("window_to") - at("window_from"), TimeDelta::hours(24));
        assert!((at("execution_time") - at("window_to")).abs() < TimeDelta::seconds(5));
    })
    .await;
}

#[tokio::test]
async fn what_a_run_does_not_name_is_the_default_and_its_day_is_that_of_the_configured_zone() {
    // At any time of day the date is another one in at least one of these.
    for zone in ["Pacific/Kiritimati", "Pacific/Pago_Pago"] {
        let more = [("HOSTSYNC_SCHEDULER__TIME_ZONE", zone)];
        with_server_of(Ground::new(true).await, &more, async |server| {
            let body = json!({"task_name": "defaults", "host_ip_list": ["10.0.0.1"], "es_endpoint": "",
                              "query_time_range": null});
            server.post("/es-sync-execute", &body).await.ok();
            let log = server.get("/es-sync-execution-logs").await.ok()["execution_logs"][0].clone();
            assert_eq!(
                (&log["es_endpoint"], &log["es_index_pattern"], &log["mapping"], &log["query_time_range"]),
                (&json!("default"), &json!("cluster*:data-zabbix-host-monitor-*"), &json!("zabbix"), &json!("30d"))
            );
            let stored: (NaiveDate, DateTime<Utc>) =
                sqlx::query_as("SELECT mon_date, window_to FROM es_sync_execution_log")
                    .fetch_one(&server.ground.pool)
                    .await
                    .expect("a row");
            let zone: chrono_tz::Tz = zone.parse().expect("a zone");
            assert_eq!(stored.0, stored.1.with_timezone(&zone).date_naive());
        })
        .await;
    }
}

/// Every call that takes `query_time_range` takes the two ends in its place, and the full sync looks for its hosts there.
#[tokio::test]
async fn a_run_over_a_named_window_reads_that_and_writes_for_the_day_of_its_end() {
    let zone = [("HOSTSYNC_SCHEDULER__TIME_ZONE", "Asia/Shanghai")];
    with_server_of(Ground::new(true).await, &zone, async |server| {
        let midnight = |days: i64, hours: i64| {
            let day = (clock() - TimeDelta::days(days)).date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
            day + TimeDelta::hours(hours)
        };
        let task = server.task(&json!({"task_name": "t", "cron_expression": "@yearly", "time_zone": "UTC"})).await;
        let execute_task = format!("/es-sync-tasks/{task}/execute");
        let list = json!({"task_name": "l", "host_ip_list": ["10.0.0.1"]});
        let file = json!({"task_name": "f", "file_content": "10.0.0.1"});
        // 16:00 in UTC is midnight in Shanghai, which is the new day; a second before it is not.
        for (path, body, to, range, day) in [
            ("/es-sync-execute", &list, midnight(9, 16), "24h", midnight(8, 0)),
            ("/es-sync-execute", &list, midnight(9, 16) - TimeDelta::seconds(1), "24h", midnight(9, 0)),
            ("/es-sync-execute-file", &file, midnight(20, 0), "2d", midnight(20, 0)),
            (execute_task.as_str(), &json!({}), midnight(30, 0), "91m", midnight(30, 0)),
            (execute_task.as_str(), &json!({}), midnight(30, 0) - TimeDelta::seconds(1), "90m", midnight(31, 0)),
        ] {
            let length = match range {
                "91m" => TimeDelta::seconds(5_401),
                "90m" => TimeDelta::minutes(90),
                "2d" => TimeDelta::days(2),
                _ => TimeDelta::hours(24),
            };
            let from = to - length;
            let mut body = body.clone();
            body["window_from"] = from.to_rfc3339().into();
            body["window_to"] = to.to_rfc3339().into();
            let execution = server.post(path, &body).await.ok()["execution_id"].clone();
            let stored: (DateTime<Utc>, DateTime<Utc>, NaiveDate, String) = sqlx::query_as(
                "SELECT window_from, window_to, mon_date, query_time_range FROM es_sync_execution_log WHERE id = ?",
            )
            .bind(execution.as_u64())
            .fetch_one(&server.ground.pool)
            .await
            .expect("a row");
            assert_eq!(stored, (from, to, day.date_naive(), range.to_owned()), "{path} {to}");
            let log = server.get(&format!("/es-sync-execution-detail/{execution}")).await.ok()["execution_log"].clone();
            assert_eq!(log["query_time_range"], range);
            sqlx::query("UPDATE es_sync_execution_log SET execution_status = 'failed'")
                .execute(&server.ground.pool)
                .await
                .expect("ended");
        }
        // A task has a range of its own, so that the call takes none.
        let body = json!({"query_time_range": "24h", "window_to": "2999-01-01T00:00:00Z"});
        let refusal = server.post(&execute_task, &body).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refusal), ["query_time_range", "window_from", "window_to"]);
        let body = json!({"group_name": "web", "window_from": "2020-01-01T00:00:00Z"});
        let refusal = server.post("/es-sync-full-sync", &body).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refusal), ["window_to"]);
    })
    .await;
}

#[tokio::test]
async fn a_waiting_caller_hears_how_the_run_ended() {
    with_server(async |server| {
        let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
        let body = json!({"task_name": "waited for", "host_ip_list": hosts, "wait_seconds": 60});
        let began = Instant::now();
        let work = async {
            let count = "SELECT COUNT(*) FROM es_sync_execution_log WHERE prepared_at IS NOT NULL";
            until("the run is stored", async || server.number(count).await == 1).await;
            let outcomes = [SyncStatus::Success, SyncStatus::Failed, SyncStatus::NoData, SyncStatus::NotInPool];
            let outcomes: Vec<_> = hosts.into_iter().zip(outcomes).collect();
            server.finish_hosts(1, &outcomes).await;
        };
        let (answer, ()) = tokio::join!(server.post("/es-sync-execute", &body), work);
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!(
            answer.ok(),
            json!({
                "success": true, "message": "execution 1 over 4 hosts has ended: partial", "execution_id": 1,
                "total_hosts": 4, "execution_status": "partial", "success_count": 1, "failed_count": 1,
                "no_data_count": 1, "not_in_pool_count": 1, "cancelled_count": 0, "pending_count": 0,
                "error_message": null, "waiting_for": "", "warnings": [],
            })
        );
    })
    .await;
}

#[tokio::test]
async fn a_waiting_caller_hears_why_and_what_to_know() {
    with_server(async |server| {
        let key = "why-1";
        let post = async || {
            let body = json!({"task_name": "why", "host_ip_list": ["10.0.0.1"], "wait_seconds": 60});
            let request = server.operator(Method::POST, "/es-sync-execute").header("Idempotency-Key", key);
            send(request.json(&body)).await.ok()
        };
        let work = async {
            let count = "SELECT COUNT(*) FROM es_sync_execution_log WHERE prepared_at IS NOT NULL";
            until("the run is stored", async || server.number(count).await == 1).await;
            let end =
                "UPDATE es_sync_execution_log SET execution_status = 'failed', failed_count = 1, pending_count = 0,
                              error_message = 'the source refuses it', warnings = '[\"an index was left out\"]'";
            sqlx::query(end).execute(&server.ground.pool).await.expect("ended");
        };
        let (answer, ()) = tokio::join!(post(), work);
        assert_eq!(answer["error_message"], "the source refuses it");
        assert_eq!(answer["warnings"], json!(["an index was left out"]));
        // Whoever asks again by the same key hears the same.
        assert_eq!(post().await, answer);
    })
    .await;
}

#[tokio::test]
async fn a_wait_that_is_over_tells_how_the_run_stands() {
    with_server(async |server| {
        let body = json!({"task_name": "slow", "host_ip_list": ["10.0.0.1"], "wait_seconds": 1});
        let began = Instant::now();
        let answer = server.post("/es-sync-execute", &body).await.ok();
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!(answer["message"], "execution 1 over 1 host is going on, 0 of them are done");
        assert_eq!((&answer["execution_status"], &answer["pending_count"]), (&json!("running"), &json!(1)));
    })
    .await;
}

#[tokio::test]
async fn a_file_is_taken_as_json_and_as_a_form_with_its_bad_lines_told() {
    with_server(async |server| {
        let file = "\u{feff}# front\r\n10.0.0.1,\r\nweb-1\r\n\r\n 10.0.0.2  # back\r\n10.0.0.1\r\n10.0.0.0/24\r\n";
        let bad = json!([
            {"line": 3, "text": "web-1", "reason": "is not an IPv4 or IPv6 address"},
            {"line": 7, "text": "10.0.0.0/24",
             "reason": "is not an IPv4 or IPv6 address: a network (/) is not taken, name each host"},
        ]);
        let body = json!({"task_name": "as JSON", "file_content": file});
        let as_json = server.post("/es-sync-execute-file", &body).await.ok();
        let parts = [("task_name", "as a form"), ("query_time_range", "7d"), ("wait_seconds", "0")];
        let as_form = post_form(server, &parts, Some(file.as_bytes())).await.ok();
        for (id, answer) in [(1, &as_json), (2, &as_form)] {
            assert_eq!(
                *answer,
                json!({
                    "success": true, "execution_id": id, "total_hosts": 2, "invalid_lines": bad, "invalid_line_count": 2,
                    "message": format!("execution {id} was enqueued over 2 hosts; 2 bad lines left out"),
                })
            );
            assert_eq!(hosts_of(server, &answer["execution_id"]).await, ["10.0.0.1", "10.0.0.2"]);
        }
        let logs = server.get("/es-sync-execution-logs?trigger=file").await.ok()["execution_logs"].clone();
        assert_eq!(logs.as_array().map(Vec::len), Some(2));
        assert_eq!((&logs[0]["task_name"], &logs[0]["query_time_range"]), (&json!("as a form"), &json!("7d")));
    })
    .await;
}

#[tokio::test]
async fn a_form_is_checked_like_json() {
    with_server(async |server| {
        let refused = async |parts: &[(&str, &str)], file: Option<&[u8]>| {
            Answer::fields(&post_form(server, parts, file).await.refused(400, "invalid_request"))
        };
        assert_eq!(refused(&[("task_name", "x")], None).await, ["file"]);
        assert_eq!(refused(&[], Some(b"10.0.0.1")).await, ["task_name"]);
        assert_eq!(
            refused(&[("task_name", "x"), ("wait_seconds", "61"), ("colour", "red")], Some(b"# nothing")).await,
            ["wait_seconds", "colour", "file"]
        );
        assert_eq!(refused(&[("task_name", "x"), ("task_name", "y")], Some(b"10.0.0.1")).await, ["task_name"]);

        let request = server.operator(Method::POST, "/es-sync-execute-file");
        let request = request.header("content-type", "multipart/form-data; boundary=x").body("no form");
        send(request).await.refused(400, "malformed_body");
        let request = server.operator(Method::POST, "/es-sync-execute-file");
        let request = request.header("content-type", "multipart/form-data").body("no boundary");
        send(request).await.refused(400, "malformed_body");
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_execution_log").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_file_without_a_host_tells_its_lines_and_runs_nothing() {
    with_server(async |server| {
        let body = json!({"task_name": "hopeless", "file_content": "web-1\nweb-2\n"});
        let refusal = server.post("/es-sync-execute-file", &body).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refusal), ["file_content"]);
        assert_eq!(refusal["invalid_lines"][1]["text"], "web-2");
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_execution_log").await, 0);
    })
    .await;
}

#[tokio::test]
async fn the_most_hosts_are_taken_and_one_more_is_not() {
    with_server(async |server| {
        let hosts: Vec<String> = (0..100_001_u32).map(|n| std::net::Ipv4Addr::from_bits(n).to_string()).collect();
        let body = json!({"task_name": "too many", "host_ip_list": hosts});
        let refusal = server.post("/es-sync-execute", &body).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refusal), ["host_ip_list"]);
        let body = json!({"task_name": "too many", "file_content": hosts.join("\n")});
        let refusal = server.post("/es-sync-execute-file", &body).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refusal), ["file_content"]);
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_execution_log").await, 0);

        let body = json!({"task_name": "all", "file_content": hosts[..100_000].join("\n")});
        let answer = server.post("/es-sync-execute-file", &body).await.ok();
        assert_eq!(answer["total_hosts"], 100_000);
        // So many wait behind no person: they go to the other queue.
        let bulk = "SELECT COUNT(*) FROM es_sync_execution_log WHERE queue = 'bulk' AND pending_count = 100000";
        assert_eq!(server.number(bulk).await, 1);
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_execution_detail").await, 100_000);
    })
    .await;
}

#[tokio::test]
async fn of_too_many_lists_at_once_the_last_is_told_to_come_back() {
    with_server(async |server| {
        // Each has the right to send a body and sends none of it.
        let head = format!(
            "POST /api/cmdb/v1/es-sync-execute HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {OPERATOR}\r\n\
             content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
        );
        let mut idlers = Vec::new();
        for _ in 0..16 {
            let mut connection = TcpStream::connect(server.address).await.expect("connected");
            connection.write_all(head.as_bytes()).await.expect("sent");
            idlers.push(connection);
        }
        let body = json!({"task_name": "one more", "host_ip_list": ["10.0.0.1"]});
        let refused = async || {
            let answer = server.post("/es-sync-execute", &body).await;
            answer.status == 429
                && answer.header("retry-after") == Some("1")
                && answer.body["code"] == "too_many_requests"
        };
        until("one is refused", refused).await;
        // Those who are gone hold nothing.
        drop(idlers);
        until("it is taken", async || server.post("/es-sync-execute", &body).await.status == 200).await;
    })
    .await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    with_server(async |server| {
        let file = vec![b'#'; 8 * 1024 * 1024 + 1];
        post_form(server, &[("task_name", "x")], Some(&file)).await.refused(413, "body_too_large");
        let text = String::from_utf8(file).expect("UTF-8");
        let body = json!({"task_name": "x", "file_content": text});
        server.post("/es-sync-execute-file", &body).await.refused(413, "body_too_large");
        let body = json!({"task_name": "x", "file_content": text.repeat(3)});
        server.post("/es-sync-execute-file", &body).await.refused(413, "body_too_large");
        let body = json!({"task_name": "x", "host_ip_list": vec!["10.0.0.1"; 1_000_000]});
        server.post("/es-sync-execute", &body).await.refused(413, "body_too_large");
        let body = json!({"task_name": "x", "cron_expression": "@daily", "description": "x".repeat(300_000)});
        server.post("/es-sync-tasks", &body).await.refused(413, "body_too_large");

        // A file of just the limit is none too large, however it is sent.
        let mut file = b"10.0.0.1\n".to_vec();
        file.resize(8 * 1024 * 1024, b'\n');
        post_form(server, &[("task_name", "x")], Some(&file)).await.ok();
        let body = json!({"task_name": "x", "file_content": String::from_utf8(file).expect("UTF-8")});
        server.post("/es-sync-execute-file", &body).await.ok();
    })
    .await;
}

#[tokio::test]
async fn runs_beyond_those_taken_on_are_left_to_the_schedulers() {
    // A broker that takes connections and says nothing: whatever is taken on stays so.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("amqp://guest:guest@{}/%2f", silent.local_addr().expect("an address"));
    with_server_of(Ground::new(true).await, &[("HOSTSYNC_RABBITMQ__URL", url.as_str())], async |server| {
        let body = json!({"task_name": "many", "host_ip_list": ["10.0.0.1"]});
        let answers = futures_util::future::join_all((0..48).map(|_| server.post("/es-sync-execute", &body))).await;
        let accepted = answers.into_iter().filter(|answer| answer.status == 200).count();
        // Of the rest each was told to come back (429): so many may be read at once.
        assert!(accepted > 0);
        for _ in accepted..48 {
            server.post("/es-sync-execute", &body).await.ok();
        }
        let free =
            "SELECT COUNT(*) FROM es_sync_execution_log WHERE execution_status = 'running' AND prepared_at IS NOT NULL
                    AND lease_token IS NULL";
        assert!(server.number(free).await >= 16, "{}", server.number(free).await);
        // There are connections for whoever reads.
        assert_eq!(server.get("/es-sync-execution-logs?limit=1").await.ok()["success"], true);
    })
    .await;
}
