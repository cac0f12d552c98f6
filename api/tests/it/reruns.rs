//! A task executed by hand, and an execution retried.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use hostsync_model::execution::{JobQueue, SyncStatus};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Ground, Server, send, until, with_server, with_server_of};

async fn fill_pool(server: &Server, live: u32) {
    for n in 0..=live {
        sqlx::query("INSERT INTO hosts_pool (host_name, host_ip, is_deleted) VALUES (?, ?, ?)")
            .bind(format!("host-{n}"))
            .bind(format!("10.1.0.{n}"))
            .bind(n == live)
            .execute(&server.ground.pool)
            .await
            .expect("a host");
    }
}

async fn log(server: &Server, id: u64) -> Value {
    server.get(&format!("/es-sync-execution-detail/{id}")).await.ok()["execution_log"].clone()
}

async fn execute(server: &Server, task: u64) -> Value {
    server.post(&format!("/es-sync-tasks/{task}/execute"), &json!({})).await.ok()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().expect("a time").parse().expect("a time")
}

#[tokio::test]
async fn a_task_executed_by_hand_runs_over_the_whole_pool() {
    with_server(async |server| {
        fill_pool(server, 3).await;
        // It need not be enabled.
        let body = json!({"task_name": "by hand", "cron_expression": "@yearly", "query_time_range": "24h",
                          "es_endpoint": "other", "es_index_pattern": "metrics-*"});
        let task = server.task(&body).await;
        let answer = execute(server, task).await;
        let message = "execution 1 was enqueued over the whole pool";
        assert_eq!(answer, json!({"success": true, "message": message, "execution_id": 1, "total_hosts": null}));
        until("it is prepared and published", async || server.ready(JobQueue::Bulk).await == 3).await;
        let log = log(server, 1).await;
        for (field, value) in [
            ("task_id", json!(task)),
            ("task_name", json!("by hand")),
            ("trigger", json!("manual")),
            ("scheduled_for", Value::Null),
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
        assert_eq!(time(&log["window_to"]) - time(&log["window_from"]), TimeDelta::hours(24));
        assert!((time(&log["created_at"]) - time(&log["window_to"])).abs() < TimeDelta::seconds(5));
        let shown = server.show(task).await;
        assert_eq!(shown["last_execution_status"], "running");
        assert_eq!(shown["last_execution_time"], log["execution_time"]);
        assert_eq!(shown["next_execution_time"], Value::Null);
        server.post("/es-sync-tasks/99/execute", &json!({})).await.refused(404, "task_not_found");
    })
    .await;
}

#[tokio::test]
async fn the_url_in_a_task_of_the_old_program_means_the_endpoint_of_that_url() {
    with_server(async |server| {
        let task = server.task(&json!({"task_name": "old", "cron_expression": "@yearly"})).await;
        sqlx::query("UPDATE es_sync_task_config SET es_endpoint = 'https://other.invalid/search' WHERE id = ?")
            .bind(task)
            .execute(&server.ground.pool)
            .await
            .expect("as the old program wrote it");
        let id = execute(server, task).await["execution_id"].as_u64().expect("an id");
        assert_eq!(log(server, id).await["es_endpoint"], "other");
    })
    .await;
}

#[tokio::test]
async fn a_run_by_hand_can_be_waited_for() {
    with_server(async |server| {
        fill_pool(server, 1).await;
        let task = server.task(&json!({"task_name": "waited", "cron_expression": "@yearly"})).await;
        let work = async {
            let count = "SELECT COUNT(*) FROM es_sync_execution_log WHERE prepared_at IS NOT NULL";
            until("it is prepared", async || server.number(count).await == 1).await;
            server.finish_hosts(1, &[("10.1.0.0", SyncStatus::Success)]).await;
        };
        let path = format!("/es-sync-tasks/{task}/execute");
        let body = json!({"wait_seconds": 60});
        let (answer, ()) = tokio::join!(server.post(&path, &body), work);
        let answer = answer.ok();
        assert_eq!(answer["message"], "execution 1 over 1 host has ended: success");
        assert_eq!((&answer["total_hosts"], &answer["success_count"]), (&json!(1), &json!(1)));
        let refusal =
            server.post(&path, &json!({"wait_seconds": 61, "hosts": []})).await.refused(400, "invalid_request");
        assert_eq!(crate::harness::Answer::fields(&refusal), ["wait_seconds", "hosts"]);
    })
    .await;
}

#[tokio::test]
async fn the_day_of_a_run_by_hand_is_that_of_the_tasks_zone() {
    with_server_of(Ground::new(true).await, &[("HOSTSYNC_SCHEDULER__TIME_ZONE", "UTC")], async |server| {
        for (name, expression, task_zone, zone) in [
            ("a", "@yearly", "Pacific/Kiritimati", "Pacific/Kiritimati"),
            ("b", "@yearly", "Pacific/Pago_Pago", "Pacific/Pago_Pago"),
            ("c", "TZ=Pacific/Pago_Pago @yearly", "Pacific/Kiritimati", "Pacific/Pago_Pago"),
            ("d", "@yearly", "", "UTC"),
        ] {
            let body = json!({"task_name": name, "cron_expression": expression, "time_zone": task_zone});
            let id = execute(server, server.task(&body).await).await["execution_id"].as_u64().expect("an id");
            let stored: (NaiveDate, DateTime<Utc>) =
                sqlx::query_as("SELECT mon_date, window_to FROM es_sync_execution_log WHERE id = ?")
                    .bind(id)
                    .fetch_one(&server.ground.pool)
                    .await
                    .expect("a row");
            let zone: chrono_tz::Tz = zone.parse().expect("a zone");
            assert_eq!(stored.0, stored.1.with_timezone(&zone).date_naive(), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_by_hand_keeps_to_the_overlap_policy() {
    with_server(async |server| {
        fill_pool(server, 1).await;
        let task = async |name: &str, policy: &str, is_enabled: bool| {
            let body = json!({"task_name": name, "cron_expression": "0 0 0 1 1 *", "overlap_policy": policy,
                              "is_enabled": is_enabled});
            let task = server.task(&body).await;
            execute(server, task).await;
            task
        };
        let refused = async |task: u64| {
            let path = format!("/es-sync-tasks/{task}/execute");
            server.post(&path, &json!({})).await.refused(409, "task_running")["message"].clone()
        };
        let skip = task("skip", "skip", true).await;
        let told = format!("a run of task {skip} is still going; wait for its end, or cancel it");
        assert_eq!(refused(skip).await, told);

        let allow = task("allow", "allow", true).await;
        execute(server, allow).await;

        let queue = task("queue", "queue", true).await;
        let answer = execute(server, queue).await;
        let id = answer["execution_id"].as_u64().expect("an id");
        assert_eq!(answer["message"], format!("execution {id} waits until the task's last run has ended"));
        assert_eq!(answer["total_hosts"], Value::Null);
        assert_eq!(log(server, id).await["execution_status"], "waiting");
        assert_eq!(server.show(queue).await["last_execution_status"], "waiting");
        assert_eq!(
            refused(queue).await,
            format!("a run of task {queue} waits already; wait for its end, or cancel it")
        );

        // What waits of a disabled task would be skipped, so it is refused.
        let disabled = task("disabled", "queue", false).await;
        refused(disabled).await;
    })
    .await;
}

#[tokio::test]
async fn of_simultaneous_executions_of_a_task_one_begins() {
    with_server(async |server| {
        fill_pool(server, 1).await;
        let task = server.task(&json!({"task_name": "at once", "cron_expression": "@yearly"})).await;
        let path = format!("/es-sync-tasks/{task}/execute");
        let body = json!({});
        let answers = futures_util::future::join_all((0..20).map(|_| server.post(&path, &body))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        for answer in answers.into_iter().filter(|answer| answer.status != 200) {
            answer.refused(409, "task_running");
        }
    })
    .await;
}

#[tokio::test]
async fn a_retry_runs_the_failed_and_cancelled_hosts_for_the_same_window() {
    with_server(async |server| {
        let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"];
        let body = json!({"task_name": "first", "host_ip_list": hosts, "query_time_range": "7d", "es_endpoint": "other",
                          "es_index_pattern": "metrics-*"});
        server.post("/es-sync-execute", &body).await.ok();
        let path = "/es-sync-executions/1/retry";
        let refusal = server.post(path, &json!({})).await.refused(409, "execution_not_finished");
        assert_eq!(refusal["message"], "execution 1 is still running; wait for its end, or cancel it");
        let outcomes = [
            SyncStatus::Success,
            SyncStatus::Failed,
            SyncStatus::NoData,
            SyncStatus::NotInPool,
            SyncStatus::Cancelled,
        ];
        // A host that has its outcome is not published any more.
        until("the first run is published", async || server.ready(JobQueue::Manual).await == 5).await;
        server.finish_hosts(1, &hosts.into_iter().zip(outcomes).collect::<Vec<_>>()).await;
        // As if it had been a while ago, by a task.
        let age = "UPDATE es_sync_execution_log SET window_from = window_from - INTERVAL 3 DAY, mon_date = '2026-01-02', \
                   window_to = window_to - INTERVAL 3 DAY, task_id = 7, scheduled_for = window_to";
        sqlx::query(age).execute(&server.ground.pool).await.expect("aged");

        // A body may be left out.
        let answer = send(server.operator(Method::POST, path)).await.ok();
        let message = "execution 2 was enqueued over 2 hosts";
        assert_eq!(answer, json!({"success": true, "message": message, "execution_id": 2, "total_hosts": 2}));
        let (first, retry) = (log(server, 1).await, log(server, 2).await);
        for field in ["task_id", "task_name", "query_time_range", "window_from", "window_to", "es_endpoint",
                      "es_index_pattern", "mapping"] {
            assert_eq!(retry[field], first[field], "{field}");
        }
        for (field, value) in [
            ("trigger", json!("retry")),
            ("scheduled_for", Value::Null),
            ("execution_status", json!("running")),
            ("total_hosts", json!(2)),
            ("pending_count", json!(2)),
            ("failed_count", json!(0)),
            ("cancelled_count", json!(0)),
        ] {
            assert_eq!(retry[field], value, "{field}");
        }
        assert_eq!(first["failed_count"], 1);
        let days = "SELECT COUNT(*) FROM es_sync_execution_log WHERE mon_date = '2026-01-02'";
        assert_eq!(server.number(days).await, 2);
        let body = server.get("/es-sync-execution-detail/2").await.ok();
        let details = body["execution_details"].as_array().expect("details");
        let shown: Vec<_> = details.iter().map(|detail| (&detail["host_ip"], &detail["attempts"])).collect();
        assert_eq!(shown, [(&json!(hosts[1]), &json!(0)), (&json!(hosts[4]), &json!(0))]);
        // All five of the first run and the two of the retry: no worker is here.
        until("it is published", async || server.ready(JobQueue::Manual).await == 7).await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_retried_is_told() {
    with_server(async |server| {
        server.post("/es-sync-executions/9/retry", &json!({})).await.refused(404, "execution_not_found");
        let body = json!({"task_name": "good", "host_ip_list": ["10.0.0.1"]});
        server.post("/es-sync-execute", &body).await.ok();
        server.finish_hosts(1, &[("10.0.0.1", SyncStatus::Success)]).await;
        let refusal = server.post("/es-sync-executions/1/retry", &json!({})).await.refused(409, "nothing_to_retry");
        assert_eq!(refusal["message"], "execution 1 has no failed or cancelled host");
        for (change, status, code) in [
            ("execution_status = 'waiting'", 409, "execution_not_finished"),
            ("execution_status = 'skipped'", 409, "nothing_to_retry"),
            ("execution_status = 'failed', failed_count = 1, window_to = NULL", 409, "nothing_to_retry"),
            ("window_to = UTC_TIMESTAMP(3)", 409, "nothing_to_retry"),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE es_sync_execution_log SET {change}")))
                .execute(&server.ground.pool)
                .await
                .expect("changed");
            server.post("/es-sync-executions/1/retry", &json!({})).await.refused(status, code);
        }
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_execution_log").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_retry_is_no_run_of_its_task_as_far_as_overlap_goes() {
    with_server(async |server| {
        fill_pool(server, 1).await;
        let task = server.task(&json!({"task_name": "retried", "cron_expression": "@yearly"})).await;
        execute(server, task).await;
        let count = "SELECT COUNT(*) FROM es_sync_execution_log WHERE prepared_at IS NOT NULL";
        until("it is prepared", async || server.number(count).await == 1).await;
        server.finish_hosts(1, &[("10.1.0.0", SyncStatus::Failed)]).await;
        server.post("/es-sync-executions/1/retry", &json!({})).await.ok();
        // The retry is going, and the task can run.
        assert_eq!(execute(server, task).await["execution_id"], 3);
    })
    .await;
}

#[tokio::test]
async fn a_retry_is_retried_only_while_newer_results_of_its_day_are_known() {
    with_server(async |server| {
        fill_pool(server, 1).await;
        let task = server.task(&json!({"task_name": "retried", "cron_expression": "@yearly"})).await;
        execute(server, task).await;
        let count = "SELECT COUNT(*) FROM es_sync_execution_log WHERE prepared_at IS NOT NULL";
        until("it is prepared", async || server.number(count).await == 1).await;
        server.finish_hosts(1, &[("10.1.0.0", SyncStatus::Failed)]).await;
        // Its day may be as old as it is.
        let days_ago = async |days: u32| {
            sqlx::query("UPDATE es_sync_execution_log SET mon_date = UTC_DATE() - INTERVAL ? DAY")
                .bind(days)
                .execute(&server.ground.pool)
                .await
                .expect("older");
        };
        days_ago(80).await;
        assert_eq!(server.post("/es-sync-executions/1/retry", &json!({})).await.ok()["execution_id"], 2);
        server.finish_hosts(2, &[("10.1.0.0", SyncStatus::Failed)]).await;
        let refusal = server.post("/es-sync-executions/2/retry", &json!({})).await.refused(409, "nothing_to_retry");
        let message = refusal["message"].as_str().expect("a message");
        assert!(message.contains("a retry of a day too long ago"), "{message}");
        days_ago(30).await;
        assert_eq!(server.post("/es-sync-executions/2/retry", &json!({})).await.ok()["execution_id"], 3);
    })
    .await;
}

#[tokio::test]
async fn a_retry_of_many_hosts_is_prepared_in_chunks_by_whoever_goes_on_with_it() {
    with_server(async |server| {
        let hosts: Vec<String> =
            (0..12_000_u32).map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string()).collect();
        let body = json!({"task_name": "many", "host_ip_list": hosts});
        server.post("/es-sync-execute", &body).await.ok();
        for change in [
            "UPDATE es_sync_execution_detail SET sync_status = IF(id % 3 = 0, 'cancelled', IF(id % 3 = 1, 'failed', 'success'))",
            "UPDATE es_sync_execution_log SET execution_status = 'cancelled', finished_at = UTC_TIMESTAMP(3), pending_count = 0, \
             failed_count = 4000, cancelled_count = 4000, success_count = 4000",
        ] {
            sqlx::query(change).execute(&server.ground.pool).await.expect("ended");
        }
        let answer = server.post("/es-sync-executions/1/retry", &json!({})).await.ok();
        assert_eq!(answer["total_hosts"], 8_000);
        until("all of its hosts stand", async || log(server, 2).await["total_hosts"] == 8_000).await;
        let shown = log(server, 2).await;
        assert_eq!((&shown["pending_count"], &shown["execution_status"]), (&json!(8_000), &json!("running")));
        let twice = "SELECT COUNT(DISTINCT host_ip) FROM es_sync_execution_detail WHERE execution_id = 2";
        assert_eq!(server.number(twice).await, 8_000);
        let chunks = "SELECT COUNT(DISTINCT created_at) FROM es_sync_execution_detail WHERE execution_id = 2";
        assert!(server.number(chunks).await > 1);
        // A scheduler of the release before, which knows no such runs, would add none of the pool's hosts.
        let cursor = "SELECT CAST(prepare_cursor AS SIGNED) FROM es_sync_execution_log WHERE id = 2";
        assert_eq!(server.number(cursor).await, i64::from(u32::MAX));
    })
    .await;
}

#[tokio::test]
async fn a_run_by_hand_ends_its_window_by_the_tasks_delay_before_now() {
    with_server(async |server| {
        let body = json!({"task_name": "late documents", "cron_expression": "@yearly", "query_time_range": "24h",
                          "delay": "0s"});
        let id = server.task(&body).await;
        server.put(&format!("/es-sync-tasks/{id}"), &json!({"delay": "36h"})).await.ok();
        assert_eq!(server.show(id).await["delay"], "36h");
        server.post(&format!("/es-sync-tasks/{id}/execute"), &json!({})).await.ok();
        let ms = "SELECT TIMESTAMPDIFF(MICROSECOND, window_to, execution_time) DIV 1000 FROM es_sync_execution_log";
        let ms: i64 = sqlx::query_scalar(ms).fetch_one(&server.ground.pool).await.expect("a row");
        let delay = 36 * 3_600_000;
        assert!((delay..delay + 60_000).contains(&ms), "{ms} ms");
        let day = "SELECT mon_date = DATE(window_to) FROM es_sync_execution_log";
        assert_eq!(server.number(day).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_window_that_ended_longer_ago_than_results_are_known_is_not_read_again() {
    with_server(async |server| {
        let body = json!({"task_name": "old", "host_ip_list": ["10.0.0.1"], "query_time_range": "24h"});
        let id = server.post("/es-sync-execute", &body).await.ok()["execution_id"].clone();
        let ended = "UPDATE es_sync_execution_log SET execution_status = 'failed', failed_count = 1, pending_count = 0,
                     window_to = UTC_TIMESTAMP(3) - INTERVAL 131 DAY";
        sqlx::raw_sql(ended).execute(&server.ground.pool).await.expect("ended");
        let retry = format!("/es-sync-executions/{id}/retry");
        let refusal = server.post(&retry, &json!({})).await.refused(409, "nothing_to_retry");
        assert!(refusal["message"].as_str().is_some_and(|told| told.contains("40 days ago")), "{refusal}");
    })
    .await;
}
