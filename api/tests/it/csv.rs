//! Lists as CSV: every list, all rows, cells that no spreadsheet takes for a formula.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, send, with_server};

async fn get(server: &Server, path: &str, accept: &str) -> Answer {
    send(server.operator(Method::GET, path).header("accept", accept)).await
}

async fn csv(server: &Server, path: &str) -> String {
    let answer = get(server, path, "text/csv").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    answer.text
}

async fn run(server: &Server) -> u64 {
    let body = json!({"task_name": "=cmd()", "host_ip_list": ["10.0.0.1", "10.0.0.2"]});
    server.post("/es-sync-execute", &body).await.ok()["execution_id"].as_u64().expect("an id")
}

#[tokio::test]
async fn every_list_is_a_table_with_a_column_for_each_field() {
    with_server(async |server| {
        let id = run(server).await;
        let by = "UPDATE es_sync_execution_log SET created_by = '-1'";
        sqlx::query(by).execute(&server.ground.pool).await.expect("a name");
        let detail = format!("/es-sync-execution-detail/{id}");
        let body = json!({"task_name": "+night, \"two\"", "description": "@x\nlines", "cron_expression": "@daily"});
        server.task(&body).await;
        server.ground.queues().publish_dead_letter(b"=hello", "\tnot a job").await.expect("set aside");
        server.ground.move_dead_letters(1).await;
        for (path, rows) in [
            ("/es-sync-tasks", "tasks"),
            ("/es-sync-execution-logs", "execution_logs"),
            (detail.as_str(), "execution_details"),
            ("/es-sync-audit", "entries"),
            ("/es-sync-dead-letters", "dead_letters"),
        ] {
            let listed = server.get(path).await.ok();
            let mut fields: Vec<&String> = listed[rows][0].as_object().expect("a row").keys().collect();
            let table = csv(server, path).await;
            let mut columns: Vec<&str> = table.split("\r\n").next().expect("a head").split(',').collect();
            fields.sort_unstable();
            columns.sort_unstable();
            assert_eq!(columns, fields, "{path}");
            assert!(table.ends_with("\r\n"), "{path}");
        }
        let tasks = csv(server, "/es-sync-tasks").await;
        assert!(tasks.contains(",\"'+night, \"\"two\"\"\",\"'@x\nlines\","), "{tasks}");
        let runs = csv(server, "/es-sync-execution-logs").await;
        assert!(runs.contains(",'=cmd(),manual,"), "{runs}");
        assert!(runs.contains(",'-1,"), "{runs}");
        let letters = csv(server, "/es-sync-dead-letters").await;
        assert!(letters.contains(",'\tnot a job,false,,,,bulk,'=hello,6,"), "{letters}");
        // Filters and refusals are those of the list.
        let none = csv(server, "/es-sync-execution-logs?status=failed").await;
        assert_eq!(none.matches("\r\n").count(), 1, "{none}");
        get(server, "/es-sync-execution-logs?status=odd", "text/csv").await.refused(400, "invalid_request");
        get(server, "/es-sync-execution-detail/999", "text/csv").await.refused(404, "execution_not_found");
    })
    .await;
}

#[tokio::test]
async fn numbers_stay_numbers() {
    with_server(async |server| {
        let id = run(server).await;
        sqlx::query("UPDATE es_sync_execution_detail SET max_cpu = -1, avg_cpu = -0.5 WHERE host_ip = '10.0.0.1'")
            .execute(&server.ground.pool)
            .await
            .expect("a measurement");
        let table = csv(server, &format!("/es-sync-execution-detail/{id}?host_ip=10.0.0.1")).await;
        let row = table.split("\r\n").nth(1).expect("a row");
        assert!(row.starts_with("10.0.0.1,,pending,,-1.0,-0.5,,,,,,0,"), "{row}");
    })
    .await;
}

#[tokio::test]
async fn a_byte_order_mark_is_there_for_who_asks() {
    with_server(async |server| {
        run(server).await;
        let bytes = async |path: &str| {
            let request = server.operator(Method::GET, path).header("accept", "text/csv");
            request.send().await.expect("an answer").bytes().await.expect("a body")
        };
        assert!(bytes("/es-sync-execution-logs?bom=1").await.starts_with(b"\xef\xbb\xbfid,"));
        assert!(bytes("/es-sync-execution-logs?bom=0").await.starts_with(b"id,"));
        assert!(bytes("/es-sync-execution-logs").await.starts_with(b"id,"));
        server.get("/es-sync-execution-logs?bom=1").await.ok();
    })
    .await;
}

#[tokio::test]
async fn whoever_names_no_csv_gets_json() {
    with_server(async |server| {
        run(server).await;
        for accept in ["*/*", "text/html", "application/xml", "text/*", "nonsense", "application/json, text/csv;q=0.5"]
        {
            let answer = get(server, "/es-sync-execution-logs", accept).await;
            assert_eq!(answer.header("content-type"), Some("application/json"), "{accept}");
            assert_eq!(answer.ok()["execution_logs"].as_array().map(Vec::len), Some(1), "{accept}");
        }
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_rows_are_all_there_each_once_and_in_order() {
    with_server(async |server| {
        let id = run(server).await;
        let hosts = "INSERT INTO es_sync_execution_detail (execution_id, host_ip, sync_status)
             SELECT ?, CONCAT('10.1.', tens.n, '.', ones.n), 'success'
             FROM (WITH RECURSIVE numbers AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 99)
                   SELECT n FROM numbers) AS tens
             JOIN (WITH RECURSIVE numbers AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 99)
                   SELECT n FROM numbers) AS ones";
        sqlx::query(hosts).bind(id).execute(&server.ground.pool).await.expect("hosts");
        let path = format!("/es-sync-execution-detail/{id}");
        let table = csv(server, &format!("{path}?status=success")).await;
        let rows: Vec<&str> = table.trim_end().split("\r\n").skip(1).collect();
        let stored: Vec<String> = sqlx::query_scalar(
            "SELECT host_ip FROM es_sync_execution_detail WHERE sync_status = 'success' ORDER BY id",
        )
        .fetch_all(&server.ground.pool)
        .await
        .expect("hosts");
        let shown: Vec<&str> = rows.iter().filter_map(|row| row.split(',').next()).collect();
        assert_eq!(shown.len(), 10_000);
        assert_eq!(shown, stored);
        // A limit holds, and a cursor is where the table begins.
        let body: Value = server.get(&format!("{path}?status=success&limit=400")).await.ok();
        let cursor = body["next_cursor"].as_str().expect("a cursor");
        let rest = csv(server, &format!("{path}?status=success&cursor={cursor}")).await;
        assert_eq!(rest.matches("\r\n").count(), 9_601);
        let some = csv(server, &format!("{path}?status=success&limit=7")).await;
        assert_eq!(some.matches("\r\n").count(), 8);
    })
    .await;
}
