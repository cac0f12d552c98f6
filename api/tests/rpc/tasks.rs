//! Tasks by gRPC mean what they mean by REST.

use reqwest::Method;
use serde_json::{Value, json};
use tonic::Request;
use tonic::codec::CompressionEncoding;

use crate::client::{Client, client, op, proto};
use crate::harness::{Server, send, with_server};

fn task(name: &str, cron_expression: &str) -> proto::CreateEsSyncTaskReq {
    proto::CreateEsSyncTaskReq {
        task_name: name.to_owned(),
        cron_expression: cron_expression.to_owned(),
        ..Default::default()
    }
}

async fn shown(client: &mut Client, id: i64) -> proto::EsSyncTask {
    let answer = client.get_es_sync_task_detail(op(proto::GetEsSyncTaskDetailReq { id })).await.expect("an answer");
    let answer = answer.into_inner();
    assert!(answer.success, "{}", answer.message);
    answer.task.expect("a task")
}

/// What REST says when it refuses the same.
async fn rest(server: &Server, method: Method, path: &str, body: &Value) -> String {
    let answer = send(server.operator(method, path).json(body)).await;
    assert!(answer.status >= 400, "{}", answer.text);
    answer.body["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn a_task_is_made_shown_changed_enabled_and_deleted() {
    with_server(async |server| {
        let mut client = client(server).await;
        let request = proto::CreateEsSyncTaskReq {
            task_name: "  每日同步 ".to_owned(),
            description: "all of it".to_owned(),
            es_endpoint: "https://other.invalid/search".to_owned(),
            es_index_pattern: "zabbix-*".to_owned(),
            cron_expression: "0 0 2 * * ?".to_owned(),
            query_time_range: "24h".to_owned(),
            created_by: "ops".to_owned(),
        };
        let made = client.create_es_sync_task(op(request)).await.expect("an answer").into_inner();
        assert_eq!((made.success, made.message.as_str(), made.task_id), (true, "task 1 was created", 1));

        let task = shown(&mut client, 1).await;
        let rest = server.show(1).await;
        for (field, value) in [
            ("task_name", task.task_name.as_str()),
            ("description", &task.description),
            ("es_endpoint", &task.es_endpoint),
            ("es_index_pattern", &task.es_index_pattern),
            ("cron_expression", &task.cron_expression),
            ("query_time_range", &task.query_time_range),
            ("created_by", &task.created_by),
            ("created_at", &task.created_at),
            ("updated_at", &task.updated_at),
        ] {
            assert_eq!(rest[field], value, "{field}");
        }
        assert_eq!((task.task_name.as_str(), task.es_endpoint.as_str()), ("每日同步", "other"));
        assert_eq!(
            (task.is_enabled, task.last_execution_time, task.next_execution_time),
            (false, String::new(), String::new())
        );

        let change = proto::UpdateEsSyncTaskReq { id: 1, query_time_range: "7d".to_owned(), ..Default::default() };
        let changed = client.update_es_sync_task(op(change)).await.expect("an answer").into_inner();
        assert_eq!((changed.success, changed.message.as_str()), (true, "task 1 was changed"));
        let enable = proto::EnableEsSyncTaskReq { id: 1, is_enabled: true };
        let enabled = client.enable_es_sync_task(op(enable)).await.expect("an answer").into_inner();
        assert_eq!((enabled.success, enabled.message.as_str()), (true, "task 1 is enabled"));
        let task = shown(&mut client, 1).await;
        assert_eq!((task.query_time_range.as_str(), task.description.as_str()), ("7d", "all of it"));
        assert_eq!(server.show(1).await["next_execution_time"], task.next_execution_time.as_str());
        assert!(task.is_enabled && task.next_execution_time.ends_with("02:00:00.000Z"), "{task:?}");

        let deleted = client.delete_es_sync_task(op(proto::DeleteEsSyncTaskReq { id: 1 })).await.expect("an answer");
        assert_eq!(deleted.get_ref().message, "task 1 was deleted");
        let gone = client.get_es_sync_task_detail(op(proto::GetEsSyncTaskDetailReq { id: 1 })).await;
        let gone = gone.expect("an answer").into_inner();
        assert_eq!((gone.success, gone.message.as_str(), gone.task), (false, "there is no task 1", None));
    })
    .await;
}

#[tokio::test]
async fn a_refused_request_is_an_answer_in_the_words_of_rest() {
    with_server(async |server| {
        let mut client = client(server).await;
        server.task(&json!({"task_name": "taken", "cron_expression": "@daily"})).await;
        let mut refused = async |request: proto::CreateEsSyncTaskReq, body: Value| {
            let answer = client.create_es_sync_task(op(request)).await.expect("status OK").into_inner();
            assert!(!answer.success && answer.task_id == 0, "{answer:?}");
            assert_eq!(answer.message, rest(server, Method::POST, "/es-sync-tasks", &body).await);
        };
        refused(proto::CreateEsSyncTaskReq::default(), json!({})).await;
        refused(task("taken", "@daily"), json!({"task_name": "taken", "cron_expression": "@daily"})).await;
        refused(task("bad", "0 0 25 * * *"), json!({"task_name": "bad", "cron_expression": "0 0 25 * * *"})).await;
        let bad = proto::CreateEsSyncTaskReq {
            es_endpoint: "http://nowhere".to_owned(),
            query_time_range: "7y".to_owned(),
            ..task(&"x".repeat(256), "@daily")
        };
        let body = json!({"task_name": "x".repeat(256), "cron_expression": "@daily", "es_endpoint": "http://nowhere",
            "query_time_range": "7y"});
        refused(bad, body).await;

        let change = |id, task_name: &str| {
            op(proto::UpdateEsSyncTaskReq { id, task_name: task_name.to_owned(), ..Default::default() })
        };
        for (id, path, name) in [(99, "99", "x"), (-1, "-1", "x"), (2, "2", "taken")] {
            let answer = client.update_es_sync_task(change(id, name)).await.expect("status OK").into_inner();
            let path = format!("/es-sync-tasks/{path}");
            let expected = rest(server, Method::PUT, &path, &json!({"task_name": name})).await;
            assert_eq!((answer.success, answer.message), (false, expected));
        }
        for id in [99, -1] {
            let answer = client.delete_es_sync_task(op(proto::DeleteEsSyncTaskReq { id })).await.expect("status OK");
            let expected = rest(server, Method::DELETE, &format!("/es-sync-tasks/{id}"), &Value::Null).await;
            assert_eq!((answer.get_ref().success, answer.get_ref().message.as_str()), (false, expected.as_str()));
        }
        for id in [99, 0, -1] {
            let request = proto::EnableEsSyncTaskReq { id, is_enabled: true };
            let answer = client.enable_es_sync_task(op(request)).await.expect("status OK").into_inner();
            let body = json!({"id": id, "is_enabled": true});
            let expected = rest(server, Method::PUT, "/es-sync-tasks/enable", &body).await;
            assert_eq!((answer.success, answer.message), (false, expected));
        }
    })
    .await;
}

#[tokio::test]
async fn a_list_holds_all_tasks_or_those_that_fire() {
    with_server(async |server| {
        let mut client = client(server).await;
        // More than a page of REST, and more than is read at once.
        let mut insert = sqlx::QueryBuilder::new(
            "INSERT INTO es_sync_task_config (task_name, description, es_endpoint, es_index_pattern, cron_expression,
                 query_time_range, is_enabled, created_by, overlap_policy, catch_up_window, created_at, updated_at) ",
        );
        insert.push_values(0..2_500, |mut row, n| {
            row.push_bind(format!("task {n}"))
                .push("'', '', '', '@daily', '24h'")
                .push_bind(n % 2 == 0)
                .push("'', 'skip', '1m', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3)");
        });
        insert.build().persistent(false).execute(&server.ground.pool).await.expect("inserted");
        let mut list = async |enabled_only| {
            let request = op(proto::GetEsSyncTasksReq { enabled_only });
            client.get_es_sync_tasks(request).await.expect("an answer").into_inner()
        };
        let all = list(false).await;
        assert_eq!((all.success, all.message.as_str(), all.tasks.len()), (true, "2500 tasks", 2_500));
        assert!(all.tasks.is_sorted_by_key(|task| task.id));
        let enabled = list(true).await;
        assert_eq!(enabled.tasks.len(), 1_250);
        assert!(enabled.tasks.iter().all(|task| task.is_enabled));

        // 2,500 times 2,000 bytes are more than an answer holds.
        sqlx::query("UPDATE es_sync_task_config SET description = REPEAT('x', 2000)")
            .execute(&server.ground.pool)
            .await
            .expect("updated");
        let cut = list(false).await;
        assert!(cut.success && (1_400..1_600).contains(&cut.tasks.len()), "{}", cut.tasks.len());
        let expected = format!("the first {} tasks; the answer is cut at 3 MiB, there are more", cut.tasks.len());
        assert_eq!(cut.message, expected);
        assert!(prost::Message::encoded_len(&cut) <= 3 * 1024 * 1024);
    })
    .await;
}

#[tokio::test]
async fn a_request_may_have_nine_mebibytes_and_no_more() {
    with_server(async |server| {
        let mut client = client(server).await;
        let mebibytes = |n: usize| n * 1024 * 1024;
        let file = |bytes: usize| {
            let content = "#".repeat(bytes).into_bytes();
            op(proto::ExecuteEsSyncByFileReq { file_content: content, task_name: "x".to_owned(), ..Default::default() })
        };
        let answer = client.execute_es_sync_by_file(file(mebibytes(9) - 100)).await.expect("status OK").into_inner();
        assert_eq!(answer.message, "the host file is too large: at most 8388608 bytes are taken");
        let answer = client.execute_es_sync_by_file(file(mebibytes(10))).await.expect("status OK").into_inner();
        assert_eq!(answer.message, "the request is too large: at most 9437184 bytes are taken");
        // What brings no hosts is small.
        let with = |bytes: usize| -> Request<_> {
            op(proto::CreateEsSyncTaskReq { description: "x".repeat(bytes), ..task("large", "@daily") })
        };
        let answer = client.create_es_sync_task(with(200 * 1024)).await.expect("status OK").into_inner();
        assert_eq!((answer.success, answer.message.contains("at most 10000 characters")), (false, true));
        let answer = client.create_es_sync_task(with(mebibytes(1))).await.expect("status OK").into_inner();
        let expected = "the request is too large: at most 262139 bytes are taken";
        assert_eq!((answer.success, answer.message.as_str()), (false, expected));
    })
    .await;
}

#[tokio::test]
async fn a_message_may_come_as_gzip() {
    with_server(async |server| {
        let mut client = client(server).await.send_compressed(CompressionEncoding::Gzip);
        let answer = client.create_es_sync_task(op(task("packed", "@daily"))).await.expect("status OK").into_inner();
        assert!(answer.success, "{answer:?}");
        // Small as it comes, large as it is unpacked.
        let bomb = proto::CreateEsSyncTaskReq { description: "x".repeat(5_000_000), ..task("bomb", "@daily") };
        let answer = client.create_es_sync_task(op(bomb)).await.expect("status OK").into_inner();
        assert_eq!(answer.message, "the unpacked request is too large: at most 262139 bytes are taken");
    })
    .await;
}
