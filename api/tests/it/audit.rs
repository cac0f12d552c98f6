//! The audit: every accepted write has its one entry, in its own transaction, and says who.

use hostsync_model::execution::{JobQueue, SyncStatus};
use reqwest::Method;
use serde_json::{Value, json};

use crate::binary::run;
use crate::harness::{
    Answer, BASE, Ground, OPERATOR, Server, VIEWER, send, until, with_ground, with_server, with_server_of,
};

/// The token of somebody with a name.
const ALICE: &str = "token-of-alice-0123456789";

/// A server that knows her too.
async fn with_alice(test: impl AsyncFnOnce(&Server)) {
    let more = [("HOSTSYNC_API__TOKENS__ALICE__ROLE", "operator"), ("HOSTSYNC_API__TOKENS__ALICE__TOKEN", ALICE)];
    with_server_of(Ground::new(true).await, &more, test).await;
}

/// The entries that a query finds, newest first.
async fn entries(server: &Server, query: &str) -> Vec<Value> {
    let path = format!("{BASE}/es-sync-audit?{query}");
    let answer = send(server.request(Method::GET, &path).bearer_auth(VIEWER)).await.ok();
    answer["entries"].as_array().expect("entries").clone()
}

async fn count(server: &Server) -> i64 {
    server.number("SELECT COUNT(*) FROM es_sync_audit").await
}

async fn by_alice(server: &Server, method: Method, path: &str, body: &Value) -> Answer {
    send(server.request(method, &format!("{BASE}{path}")).bearer_auth(ALICE).json(body)).await
}

/// A write by REST: method, path, body, action, kind and id of its object, what is said of it.
type Write = (Method, &'static str, Value, &'static str, (&'static str, &'static str), &'static str);

/// Every write that there is by REST but a full sync.
fn writes() -> Vec<Write> {
    let task = json!({"task_name": "nightly", "cron_expression": "@daily", "description": "x".repeat(500)});
    let list = json!({"task_name": "some", "host_ip_list": ["10.0.0.1", "10.0.0.2"]});
    let file = json!({"task_name": "some", "file_content": "10.0.0.1\n"});
    let enable = |is_enabled: bool| json!({"id": 1, "is_enabled": is_enabled});
    vec![
        (Method::POST, "/es-sync-tasks", task, "create_task", ("task", "1"), "task 1 was created"),
        (
            Method::PUT,
            "/es-sync-tasks/1",
            json!({"query_time_range": "7d"}),
            "update_task",
            ("task", "1"),
            "task 1 was changed",
        ),
        (Method::PUT, "/es-sync-tasks/enable", enable(true), "enable_task", ("task", "1"), "task 1 is enabled"),
        // It changes nothing, and was asked for.
        (Method::PUT, "/es-sync-tasks/enable", enable(true), "enable_task", ("task", "1"), "task 1 is enabled"),
        (Method::PUT, "/es-sync-tasks/enable", enable(false), "disable_task", ("task", "1"), "task 1 is disabled"),
        (
            Method::POST,
            "/es-sync-tasks/1/execute",
            json!({}),
            "execute_task",
            ("task", "1"),
            "execution 1 was enqueued over the whole pool",
        ),
        (
            Method::POST,
            "/es-sync-execute",
            list,
            "execute_hosts",
            ("execution", "2"),
            "execution 2 was enqueued over 2 hosts",
        ),
        (
            Method::POST,
            "/es-sync-execute-file",
            file,
            "execute_file",
            ("execution", "3"),
            "execution 3 was enqueued over 1 host",
        ),
        (
            Method::POST,
            "/es-sync-executions/3/cancel",
            json!({}),
            "cancel",
            ("execution", "3"),
            "execution 3 is being cancelled",
        ),
        (
            Method::POST,
            "/es-sync-executions/3/cancel",
            json!({}),
            "cancel",
            ("execution", "3"),
            "execution 3 was being ended already",
        ),
        (
            Method::POST,
            "/es-sync-executions/2/retry",
            json!({}),
            "retry",
            ("execution", "2"),
            "execution 4 was enqueued over 1 host",
        ),
        (
            Method::POST,
            "/es-sync-hosts/10.0.0.1/mute",
            json!({"until": "2026-01-01T00:00:00Z", "note": "is back"}),
            "mute_host",
            ("host", "10.0.0.1"),
            "host 10.0.0.1 is not muted",
        ),
        (Method::DELETE, "/es-sync-tasks/1", Value::Null, "delete_task", ("task", "1"), "task 1 was deleted"),
    ]
}

/// What must have happened before a write of [`writes`].
async fn prepare(server: &Server, action: &str) {
    if action == "execute_hosts" {
        // The run over the pool, which is empty, ends by itself.
        let going = "SELECT COUNT(*) FROM es_sync_execution_log WHERE execution_status = 'running'";
        until("it has ended", async || server.number(going).await == 0).await;
    }
    if action == "mute_host" {
        let host = sqlx::query("INSERT INTO hosts_pool (host_name, host_ip) VALUES ('web-1', '10.0.0.1')");
        host.execute(&server.ground.pool).await.expect("a host");
    }
    if action == "retry" {
        server.finish_hosts(2, &[("10.0.0.1", SyncStatus::Failed), ("10.0.0.2", SyncStatus::Success)]).await;
    }
}

#[tokio::test]
async fn each_write_leaves_one_entry_that_says_who_and_on_what() {
    with_alice(async |server| {
        for (number, (method, path, body, action, (kind, id), result)) in writes().into_iter().enumerate() {
            prepare(server, action).await;
            by_alice(server, method, path, &body).await.ok();
            let found = entries(server, "").await;
            assert_eq!(found.len(), number + 1, "{action}: {found:?}");
            let entry = &found[0];
            for (field, value) in [
                ("who", "alice"),
                ("role", "operator"),
                ("from_where", "127.0.0.1"),
                ("action", action),
                ("object_kind", kind),
                ("object_id", id),
                ("result", result),
            ] {
                assert_eq!(entry[field], value, "{action}: {field}");
            }
            assert!(entry["what"].is_object(), "{entry}");
        }
        let made = entries(server, "action=create_task").await;
        let description = made[0]["what"]["description"].as_str().expect("a text");
        assert!(description.ends_with('…') && description.chars().count() == 201, "{description}");
        assert_eq!(made[0]["what"]["cron_expression"], "@daily");
        let listed = entries(server, "action=execute_hosts").await;
        assert_eq!(listed[0]["what"]["host_ip_list"], json!(["10.0.0.1", "10.0.0.2"]));
        // Nobody's token stands in any column.
        let all: Vec<String> = sqlx::query_scalar(
            "SELECT CONCAT_WS('|', who, role, from_where, action, object_kind, object_id, what, result) FROM es_sync_audit",
        )
        .fetch_all(&server.ground.pool)
        .await
        .expect("rows");
        for row in all {
            assert!(![ALICE, OPERATOR, VIEWER, "Bearer"].iter().any(|secret| row.contains(secret)), "{row}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_made_a_task_or_a_run_is_the_token_unless_the_caller_says_another() {
    with_alice(async |server| {
        let task = |name: &str| json!({"task_name": name, "cron_expression": "@daily"});
        for (body, maker) in [
            (task("one"), "alice"),
            (json!({"task_name": "two", "cron_expression": "@daily", "created_by": ""}), "alice"),
            (
                json!({"task_name": "three", "cron_expression": "@daily", "created_by": "the night shift"}),
                "the night shift",
            ),
        ] {
            let id =
                by_alice(server, Method::POST, "/es-sync-tasks", &body).await.ok()["task_id"].as_u64().expect("an id");
            assert_eq!(server.show(id).await["created_by"], maker);
        }
        assert!(entries(server, "").await.iter().all(|entry| entry["who"] == "alice"));
        by_alice(server, Method::POST, "/es-sync-execute", &json!({"task_name": "x", "host_ip_list": ["10.0.0.1"]}))
            .await
            .ok();
        let log = server.get("/es-sync-execution-detail/1").await.ok()["execution_log"].clone();
        assert_eq!(log["created_by"], "alice");
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_or_only_asked_again_leaves_no_entry() {
    with_server(async |server| {
        let task = json!({"task_name": "one", "cron_expression": "@daily"});
        server.task(&task).await;
        let list = json!({"task_name": "x", "host_ip_list": ["10.0.0.1"]});
        let keyed = || server.operator(Method::POST, "/es-sync-execute").header("Idempotency-Key", "once").json(&list);
        let first = send(keyed()).await.ok();
        assert_eq!(count(server).await, 2);
        assert_eq!(send(keyed()).await.ok(), first);
        server.finish_hosts(1, &[("10.0.0.1", SyncStatus::Success)]).await;

        server.post("/es-sync-tasks", &task).await.refused(409, "task_name_taken");
        server.post("/es-sync-tasks", &json!({"task_name": "two"})).await.refused(400, "invalid_request");
        server.put("/es-sync-tasks/1", &json!({"time_zone": "Mars"})).await.refused(400, "invalid_request");
        server.put("/es-sync-tasks/9", &json!({})).await.refused(404, "task_not_found");
        server.put("/es-sync-tasks/enable", &json!({"id": 9, "is_enabled": true})).await.refused(404, "task_not_found");
        server.delete("/es-sync-tasks/9").await.refused(404, "task_not_found");
        server.post("/es-sync-tasks/9/execute", &json!({})).await.refused(404, "task_not_found");
        server
            .post("/es-sync-execute", &json!({"task_name": "x", "host_ip_list": ["y"]}))
            .await
            .refused(400, "invalid_request");
        server
            .post("/es-sync-execute-file", &json!({"task_name": "x", "file_content": "y"}))
            .await
            .refused(400, "invalid_request");
        server.post("/es-sync-executions/1/cancel", &json!({})).await.refused(409, "execution_finished");
        server.post("/es-sync-executions/1/retry", &json!({})).await.refused(409, "nothing_to_retry");
        server.post("/es-sync-executions/9/cancel", &json!({})).await.refused(404, "execution_not_found");
        server.post("/es-sync-executions/9/retry", &json!({})).await.refused(404, "execution_not_found");
        let by_viewer = server.request(Method::DELETE, &format!("{BASE}/es-sync-tasks/1")).bearer_auth(VIEWER);
        send(by_viewer).await.refused(403, "forbidden");
        assert_eq!(count(server).await, 2);
    })
    .await;
}

/// All that a write could change.
const STATE: &str = "SELECT CONCAT_WS('|',
    (SELECT GROUP_CONCAT(CONCAT_WS(',', id, query_time_range, is_enabled, deleted_at IS NULL) ORDER BY id) FROM es_sync_task_config),
    (SELECT GROUP_CONCAT(CONCAT_WS(',', id, execution_status, closing_status) ORDER BY id) FROM es_sync_execution_log),
    (SELECT COUNT(*) FROM es_sync_execution_detail), (SELECT COUNT(*) FROM es_sync_idempotency_key))";

#[tokio::test]
async fn a_write_whose_entry_the_database_refuses_does_not_happen() {
    with_alice(async |server| {
        let sql = async |sql: &'static str| {
            sqlx::raw_sql(sql).execute(&server.ground.pool).await.expect(sql);
        };
        let state =
            async || -> String { sqlx::query_scalar(STATE).fetch_one(&server.ground.pool).await.expect("a state") };
        for (method, path, body, action, ..) in writes() {
            prepare(server, action).await;
            sql("CREATE TRIGGER refuse BEFORE INSERT ON es_sync_audit FOR EACH ROW
                 SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no entry'")
            .await;
            let before = state().await;
            by_alice(server, method.clone(), path, &body).await.refused(500, "internal_error");
            assert_eq!(state().await, before, "{action}");
            sql("DROP TRIGGER refuse").await;
            // What was rolled back has used up an id.
            sql("ALTER TABLE es_sync_task_config AUTO_INCREMENT = 1").await;
            sql("ALTER TABLE es_sync_execution_log AUTO_INCREMENT = 1").await;
            by_alice(server, method, path, &body).await.ok();
        }
    })
    .await;
}

#[tokio::test]
async fn the_audit_is_filtered_and_paged_and_a_viewer_may_read_it() {
    with_alice(async |server| {
        for name in ["one", "two", "three"] {
            server.task(&json!({"task_name": name, "cron_expression": "@daily"})).await;
        }
        by_alice(server, Method::DELETE, "/es-sync-tasks/2", &Value::Null).await.ok();
        let ids = async |query: &str| -> Vec<u64> {
            entries(server, query).await.iter().map(|entry| entry["id"].as_u64().expect("an id")).collect()
        };
        for (query, expected) in [
            ("", vec![4, 3, 2, 1]),
            ("who=alice", vec![4]),
            ("who=nobody", vec![]),
            ("action=create_task", vec![3, 2, 1]),
            ("object=task", vec![4, 3, 2, 1]),
            ("object=task:2", vec![4, 2]),
            ("object=execution", vec![]),
            ("who=operator&object=task:2", vec![2]),
            ("from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z", vec![4, 3, 2, 1]),
            ("from=2099-01-01T00:00:00Z", vec![]),
            ("to=2020-01-01T00:00:00Z", vec![]),
        ] {
            assert_eq!(ids(query).await, expected, "{query}");
        }
        let page = server.get("/es-sync-audit?limit=3").await.ok();
        assert_eq!((page["entries"].as_array().map(Vec::len), &page["message"]), (Some(3), &json!("3 audit entries")));
        let cursor = page["next_cursor"].as_str().expect("a cursor");
        // What is written meanwhile moves no page.
        server.task(&json!({"task_name": "four", "cron_expression": "@daily"})).await;
        let page = server.get(&format!("/es-sync-audit?limit=3&cursor={cursor}")).await.ok();
        assert_eq!((&page["entries"][0]["id"], page.get("next_cursor")), (&json!(1), None));
        for (query, field) in [
            ("action=think", "action"),
            ("object=disk", "object"),
            ("limit=501", "limit"),
            ("cursor=t1", "cursor"),
            ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
            ("what=x", "what"),
        ] {
            let refusal = server.get(&format!("/es-sync-audit?{query}")).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), [field], "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_authentication_everybody_is_anonymous() {
    let more =
        [("HOSTSYNC_API__AUTH", "none"), ("HOSTSYNC_API__OPERATOR_TOKEN", ""), ("HOSTSYNC_API__VIEWER_TOKEN", "")];
    with_server_of(Ground::new(true).await, &more, async |server| {
        server.task(&json!({"task_name": "open", "cron_expression": "@daily"})).await;
        let entry = &entries(server, "").await[0];
        assert_eq!((&entry["who"], &entry["role"]), (&json!("anonymous"), &json!("operator")));
        assert_eq!(server.show(1).await["created_by"], "anonymous");
    })
    .await;
}

#[tokio::test]
async fn an_operators_command_leaves_an_entry_with_its_user() {
    with_ground(Ground::new(true).await, async |ground| {
        let id = ground.silent_run().await;
        assert_eq!(ground.queues().ready_messages(JobQueue::Bulk).await.expect("declared"), 0);
        let mut environment = ground.environment();
        environment.push(("USER".to_owned(), "carol".to_owned()));
        let id_text = id.to_string();
        let told = async || -> Vec<(String, String, String, String, String)> {
            sqlx::query_as("SELECT who, action, object_kind, object_id, result FROM es_sync_audit ORDER BY id")
                .fetch_all(&ground.pool)
                .await
                .expect("rows")
        };
        for arguments in [&["executions", "stuck"][..], &["dead-letters", "list"]] {
            assert_eq!(run(&environment, arguments).await.0, 0);
        }
        assert_eq!(run(&environment, &["executions", "republish", "99"]).await.0, 1);
        assert_eq!(told().await, []);

        ground.queues().publish_dead_letter(b"hello", "not a job").await.expect("set aside");
        ground.move_dead_letters(1).await;
        for arguments in [
            &["executions", "republish", &id_text][..],
            &["dead-letters", "requeue"],
            &["dead-letters", "drop", "--yes"],
        ] {
            let (code, output, errors) = run(&environment, arguments).await;
            assert_eq!((code, errors.as_str()), (0, ""), "{output}");
        }
        let expected = [
            ("republish", "execution", id_text.as_str(), "2 pending hosts are published anew"),
            ("requeue_dead_letters", "dead_letters", "", "0 put back, 1 kept"),
            ("drop_dead_letters", "dead_letters", "", "1 dropped"),
        ];
        let expected = expected.map(|(action, kind, id, result)| {
            let [who, action, kind, id, result] = ["command:carol", action, kind, id, result].map(str::to_owned);
            (who, action, kind, id, result)
        });
        assert_eq!(told().await, expected);

        // Without its entry nothing is done.
        sqlx::raw_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON es_sync_audit FOR EACH ROW
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no entry'",
        )
        .execute(&ground.pool)
        .await
        .expect("a trigger");
        ground.queues().publish_dead_letter(b"hello", "not a job").await.expect("set aside");
        ground.move_dead_letters(1).await;
        let repairs = "SELECT CAST(SUM(repair_count) AS SIGNED) FROM es_sync_execution_log";
        let repairs = async || -> i64 { sqlx::query_scalar(repairs).fetch_one(&ground.pool).await.expect("a number") };
        let before = repairs().await;
        for arguments in [&["executions", "republish", &id_text][..], &["dead-letters", "drop", "--yes"]] {
            let (code, _, errors) = run(&environment, arguments).await;
            assert!(code == 1 && errors.contains("no entry"), "{errors}");
        }
        assert_eq!(repairs().await, before);
        let (_, output, _) = run(&environment, &["dead-letters", "list"]).await;
        assert!(output.ends_with("1 dead letters, none was removed\n"), "{output}");
    })
    .await;
}
