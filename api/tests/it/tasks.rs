//! Tasks: what is stored, what changing one does to its schedule.

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use hostsync_model::execution::{ExecutionStatus, JobQueue, TaskId, Trigger};
use hostsync_model::window::{TimeRange, Window};
use hostsync_store::tables::executions::{
    self,
    creation::{NewExecution, Scope},
};
use serde_json::{Value, json};

use crate::harness::{Answer, Server, clock, with_server};

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().expect("a time")
}

/// A run of a task that waits, as the scheduler makes it.
async fn waiting_run(server: &Server, task: u64) -> u64 {
    let now = clock();
    let scope = Scope {
        window: Window::ending_at(now, &TimeRange::default_range()),
        query_time_range: "30d".into(),
        mon_date: now.date_naive(),
        es_endpoint: "default".to_owned(),
        es_index_pattern: "x".to_owned(),
        mapping: "zabbix".to_owned(),
    };
    let new = NewExecution {
        task_id: TaskId(task),
        task_name: "waiting",
        trigger: Trigger::Schedule,
        scheduled_for: Some(now),
        status: ExecutionStatus::Waiting,
        scope: &scope,
        queue: JobQueue::Bulk,
        created_by: "",
        error_message: None,
        lease: None,
        trace_context: None,
    };
    let mut connection = server.ground.pool.acquire().await.expect("a connection");
    executions::creation::insert(&mut connection, &new).await.expect("inserted").0
}

async fn status_and_reason(server: &Server, execution: u64) -> (String, String) {
    let log = server.get(&format!("/es-sync-execution-detail/{execution}")).await.ok()["execution_log"].clone();
    (
        log["execution_status"].as_str().expect("a status").to_owned(),
        log["error_message"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn a_new_task_has_the_defaults_and_does_not_fire() {
    with_server(async |server| {
        let id = server.task(&json!({"task_name": "  nightly ", "cron_expression": "0 30 2 * * *"})).await;
        let mut task = server.show(id).await;
        let fields = task.as_object_mut().expect("an object");
        for name in ["created_at", "updated_at"] {
            let at = fields.remove(name).expect(name);
            assert!(at.as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z')), "{at}");
            assert!((clock() - time(&at)).abs() < TimeDelta::minutes(5), "{at}");
        }
        assert_eq!(
            task,
            json!({
                "id": id, "task_name": "nightly", "description": "", "es_endpoint": "", "es_index_pattern": "",
                "mapping": "", "cron_expression": "0 30 2 * * *", "time_zone": "", "overlap_policy": "skip",
                "catch_up_window": "1m", "query_time_range": "30d", "delay": "0s", "freshness_target": "",
                "is_enabled": false, "created_by": "operator",
                "last_execution_time": null, "last_execution_status": null, "next_execution_time": null,
            })
        );
    })
    .await;
}

#[tokio::test]
async fn everything_that_is_said_of_a_task_is_stored() {
    with_server(async |server| {
        let id = server
            .task(&json!({
                "task_name": "夜间", "description": "every night\n🌙", "es_endpoint": "https://other.invalid/search",
                "es_index_pattern": "metrics-*,-metrics-old", "mapping": "zabbix",
                "cron_expression": "TZ=Asia/Shanghai 0 0 3 ? * MON-FRI", "time_zone": "Europe/Berlin",
                "overlap_policy": "queue", "catch_up_window": "2h", "query_time_range": "4w", "delay": "10m",
                "freshness_target": "36h", "is_enabled": true,
                "created_by": "the night shift",
            }))
            .await;
        let task = server.show(id).await;
        for (field, value) in [
            ("task_name", "夜间"),
            ("description", "every night\n🌙"),
            ("es_endpoint", "other"),
            ("es_index_pattern", "metrics-*,-metrics-old"),
            ("mapping", "zabbix"),
            ("cron_expression", "TZ=Asia/Shanghai 0 0 3 ? * MON-FRI"),
            ("time_zone", "Europe/Berlin"),
            ("overlap_policy", "queue"),
            ("catch_up_window", "2h"),
            ("query_time_range", "4w"),
            ("delay", "10m"),
            ("freshness_target", "36h"),
            ("created_by", "the night shift"),
        ] {
            assert_eq!(task[field], value, "{field}");
        }
        // The zone of the expression beats that of the task: 03:00 in Shanghai is 19:00 in UTC.
        let next = time(&task["next_execution_time"]);
        assert_eq!((next.hour(), next.minute()), (19, 0));
        assert!(next > clock());
    })
    .await;
}

#[tokio::test]
async fn two_live_tasks_never_share_a_name() {
    with_server(async |server| {
        let body = json!({"task_name": "one", "cron_expression": "@daily"});
        let first = server.task(&body).await;
        let refusal = server.post("/es-sync-tasks", &body).await.refused(409, "task_name_taken");
        assert_eq!(refusal["message"], "another task is named \"one\"; choose another name");
        let second = server.task(&json!({"task_name": "two", "cron_expression": "@daily"})).await;
        server
            .put(&format!("/es-sync-tasks/{second}"), &json!({"task_name": "one"}))
            .await
            .refused(409, "task_name_taken");
        assert_eq!(server.show(second).await["task_name"], "two");

        // A deleted task gives its name back.
        server.delete(&format!("/es-sync-tasks/{first}")).await.ok();
        server.put(&format!("/es-sync-tasks/{second}"), &json!({"task_name": "one"})).await.ok();
        server.post("/es-sync-tasks", &body).await.refused(409, "task_name_taken");
    })
    .await;
}

#[tokio::test]
async fn of_simultaneous_requests_one_gets_the_name() {
    with_server(async |server| {
        let body = json!({"task_name": "wanted", "cron_expression": "@daily", "is_enabled": true});
        // More than there are connections, and no more than those take in time on a slow machine.
        let requests = (0..40).map(|_| server.post("/es-sync-tasks", &body));
        let answers = futures_util::future::join_all(requests).await;
        let (made, refused): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((made.len(), refused.len()), (1, 39));
        for answer in refused {
            answer.refused(409, "task_name_taken");
        }
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_task_config").await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_null_field_keeps_its_value() {
    with_server(async |server| {
        let id = server
            .task(&json!({
                "task_name": "kept", "cron_expression": "@hourly", "description": "text", "es_endpoint": "other",
                "query_time_range": "24h", "is_enabled": true,
            }))
            .await;
        let before = server.show(id).await;
        server.put(&format!("/es-sync-tasks/{id}"), &json!({})).await.ok();
        server.put(&format!("/es-sync-tasks/{id}"), &json!({"description": null, "task_name": null})).await.ok();
        assert_eq!(server.show(id).await, before);

        server.put(&format!("/es-sync-tasks/{id}"), &json!({"query_time_range": "7d"})).await.ok();
        let mut expected = before.clone();
        expected["query_time_range"] = "7d".into();
        let mut after = server.show(id).await;
        after["updated_at"] = before["updated_at"].clone();
        assert_eq!(after, expected);

        // An empty text is a value: the default endpoint, no description.
        server.put(&format!("/es-sync-tasks/{id}"), &json!({"es_endpoint": "", "description": ""})).await.ok();
        let after = server.show(id).await;
        assert_eq!((&after["es_endpoint"], &after["description"]), (&json!(""), &json!("")));
    })
    .await;
}

#[tokio::test]
async fn enabling_restarts_the_schedule_from_now_and_disabling_stops_it() {
    with_server(async |server| {
        let id = server.task(&json!({"task_name": "toggled", "cron_expression": "@every 1h"})).await;
        let enable = |is_enabled: bool| json!({"id": id, "is_enabled": is_enabled});
        let body = server.put("/es-sync-tasks/enable", &enable(true)).await.ok();
        assert_eq!(body["message"], format!("task {id} is enabled"));
        let task = server.show(id).await;
        let first = time(&task["next_execution_time"]);
        let wait = first - time(&task["created_at"]);
        assert!(wait > TimeDelta::minutes(59) && wait <= TimeDelta::hours(1), "{wait}");

        // What is so already stays as it is.
        server.put("/es-sync-tasks/enable", &enable(true)).await.ok();
        assert_eq!(server.show(id).await, task);

        server.put("/es-sync-tasks/enable", &enable(false)).await.ok();
        let task = server.show(id).await;
        assert_eq!((&task["is_enabled"], &task["next_execution_time"]), (&json!(false), &Value::Null));

        // `@every` keeps its anchor.
        server.put("/es-sync-tasks/enable", &enable(true)).await.ok();
        assert_eq!(time(&server.show(id).await["next_execution_time"]), first);
    })
    .await;
}

#[tokio::test]
async fn another_expression_or_zone_restarts_the_schedule_and_the_same_one_does_not() {
    with_server(async |server| {
        let id =
            server.task(&json!({"task_name": "moved", "cron_expression": "0 0 3 * * *", "is_enabled": true})).await;
        // As if its fire were overdue: only a restart moves it.
        let overdue = "2020-01-01T03:00:00.000Z";
        let make_overdue = "UPDATE es_sync_task_config SET next_execution_time = '2020-01-01 03:00:00', \
                            schedule_anchor = '2020-01-01 00:00:00'";
        let next = async || server.show(id).await["next_execution_time"].as_str().expect("a time").to_owned();
        let change = async |body: Value| server.put(&format!("/es-sync-tasks/{id}"), &body).await.ok();
        let reset = async || sqlx::query(make_overdue).execute(&server.ground.pool).await.expect("updated");

        reset().await;
        change(json!({"cron_expression": "0 0 3 * * *", "time_zone": "", "description": "same"})).await;
        server.put("/es-sync-tasks/enable", &json!({"id": id, "is_enabled": true})).await.ok();
        assert_eq!(next().await, overdue);

        change(json!({"cron_expression": "0 15 3 * * *"})).await;
        assert!(next().await.ends_with("T03:15:00.000Z"), "{}", next().await);
        assert!(time(&json!(next().await)) > clock());
        let anchor = "SELECT COUNT(*) FROM es_sync_task_config WHERE schedule_anchor > '2020-01-01 00:00:00'";
        assert_eq!(server.number(anchor).await, 1);

        reset().await;
        change(json!({"time_zone": "Asia/Shanghai"})).await;
        assert!(next().await.ends_with("T19:15:00.000Z"), "{}", next().await);
        // `@every` counts from where its expression was set: another zone does not move that.
        assert_eq!(server.number(anchor).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_task_may_be_enabled_and_disabled_by_a_change() {
    with_server(async |server| {
        let id = server.task(&json!({"task_name": "changed", "cron_expression": "@daily"})).await;
        server.put(&format!("/es-sync-tasks/{id}"), &json!({"is_enabled": true})).await.ok();
        assert!(time(&server.show(id).await["next_execution_time"]) > clock());
        let execution = waiting_run(server, id).await;
        server.put(&format!("/es-sync-tasks/{id}"), &json!({"is_enabled": false})).await.ok();
        assert_eq!(server.show(id).await["next_execution_time"], Value::Null);
        assert_eq!(
            status_and_reason(server, execution).await,
            ("skipped".to_owned(), "the task was disabled while this run waited".to_owned())
        );
    })
    .await;
}

#[tokio::test]
async fn disabling_and_deleting_end_the_run_that_waits() {
    with_server(async |server| {
        let body = json!({"task_name": "queueing", "cron_expression": "@hourly", "is_enabled": true});
        let id = server.task(&body).await;
        let execution = waiting_run(server, id).await;
        server.put("/es-sync-tasks/enable", &json!({"id": id, "is_enabled": false})).await.ok();
        assert_eq!(
            status_and_reason(server, execution).await,
            ("skipped".to_owned(), "the task was disabled while this run waited".to_owned())
        );

        let execution = waiting_run(server, id).await;
        server.delete(&format!("/es-sync-tasks/{id}")).await.ok();
        assert_eq!(
            status_and_reason(server, execution).await,
            ("skipped".to_owned(), "the task was deleted while this run waited".to_owned())
        );
        let left = "SELECT COUNT(*) FROM es_sync_task_config WHERE next_execution_time IS NOT NULL OR is_enabled = 1";
        assert_eq!(server.number(left).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_task_is_gone_and_its_history_stays() {
    with_server(async |server| {
        let id = server.task(&json!({"task_name": "gone", "cron_expression": "@daily"})).await;
        let execution = waiting_run(server, id).await;
        let path = format!("/es-sync-tasks/{id}");
        server.delete(&path).await.ok();
        server.get(&path).await.refused(404, "task_not_found");
        server.put(&path, &json!({"description": "x"})).await.refused(404, "task_not_found");
        server.delete(&path).await.refused(404, "task_not_found");
        let enable = json!({"id": id, "is_enabled": true});
        server.put("/es-sync-tasks/enable", &enable).await.refused(404, "task_not_found");
        assert_eq!(server.get("/es-sync-tasks").await.ok()["tasks"], json!([]));
        let logs = server.get(&format!("/es-sync-execution-logs?task_id={id}")).await.ok();
        assert_eq!(logs["execution_logs"][0]["id"], execution);
    })
    .await;
}

#[tokio::test]
async fn simultaneous_changes_of_one_task_all_succeed() {
    with_server(async |server| {
        let id = server.task(&json!({"task_name": "busy", "cron_expression": "@hourly"})).await;
        let requests = (0..30).map(async |n: u32| match n % 3 {
            0 => server.put("/es-sync-tasks/enable", &json!({"id": id, "is_enabled": n.is_multiple_of(2)})).await,
            1 => {
                let body = json!({"cron_expression": format!("0 {n} * * * *"), "task_name": format!("busy {n}")});
                server.put(&format!("/es-sync-tasks/{id}"), &body).await
            }
            _ => server.put(&format!("/es-sync-tasks/{id}"), &json!({"description": n.to_string()})).await,
        });
        for answer in futures_util::future::join_all(requests).await {
            answer.ok();
        }
        let task = server.show(id).await;
        assert_eq!(task["is_enabled"].as_bool(), Some(task["next_execution_time"].is_string()));
    })
    .await;
}

#[tokio::test]
async fn a_stored_schedule_that_cannot_be_read_is_named_when_the_task_is_enabled() {
    with_server(async |server| {
        let id = server.task(&json!({"task_name": "old", "cron_expression": "@daily"})).await;
        let spoil = "UPDATE es_sync_task_config SET cron_expression = 'whenever'";
        sqlx::query(spoil).execute(&server.ground.pool).await.expect("updated");
        let enable = json!({"id": id, "is_enabled": true});
        let refusal = server.put("/es-sync-tasks/enable", &enable).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refusal), ["cron_expression"]);
        assert_eq!(server.show(id).await["is_enabled"], false);
    })
    .await;
}

#[tokio::test]
async fn tasks_are_listed_in_order_of_id_and_page_by_page() {
    with_server(async |server| {
        for n in 0..7 {
            server
                .task(&json!({
                    "task_name": format!("{} {n}", if n % 2 == 0 { "even_%" } else { "odd" }),
                    "cron_expression": "@daily", "is_enabled": n % 3 == 0,
                }))
                .await;
        }
        let ids = |body: &Value| -> Vec<u64> {
            let tasks = body["tasks"].as_array().expect("tasks");
            tasks.iter().map(|task| task["id"].as_u64().expect("an id")).collect()
        };
        let all = server.get("/es-sync-tasks").await.ok();
        assert_eq!(ids(&all), [1, 2, 3, 4, 5, 6, 7]);
        assert!(all.get("next_cursor").is_none(), "{all}");
        assert_eq!(all["message"], "7 tasks");

        let first = server.get("/es-sync-tasks?limit=3").await.ok();
        assert_eq!(ids(&first), [1, 2, 3]);
        // The next page is right although a row goes and one comes in between.
        server.delete("/es-sync-tasks/3").await.ok();
        server.task(&json!({"task_name": "late", "cron_expression": "@daily"})).await;
        let cursor = first["next_cursor"].as_str().expect("a cursor");
        let second = server.get(&format!("/es-sync-tasks?limit=3&cursor={cursor}")).await.ok();
        assert_eq!(ids(&second), [4, 5, 6]);
        let cursor = second["next_cursor"].as_str().expect("a cursor");
        let third = server.get(&format!("/es-sync-tasks?limit=3&cursor={cursor}")).await.ok();
        assert_eq!(ids(&third), [7, 8]);
        assert!(third.get("next_cursor").is_none(), "{third}");

        assert_eq!(ids(&server.get("/es-sync-tasks?enabled_only=true").await.ok()), [1, 4, 7]);
        assert_eq!(ids(&server.get("/es-sync-tasks?enabled_only=false&name=odd").await.ok()), [2, 4, 6]);
        // What is a wildcard elsewhere is a letter here; an empty parameter is absent.
        assert_eq!(ids(&server.get("/es-sync-tasks?name=_%25").await.ok()), [1, 5, 7]);
        assert_eq!(ids(&server.get("/es-sync-tasks?name=&cursor=&limit=1").await.ok()), [1]);
    })
    .await;
}
