//! Executions by gRPC.

use hostsync_model::execution::SyncStatus;
use serde_json::json;

use crate::client::{client, op, proto};
use crate::harness::with_server;

#[tokio::test]
async fn an_execution_is_shown_with_all_of_its_hosts() {
    with_server(async |server| {
        // More than a page of REST, and more than is read at once.
        let hosts: Vec<String> = (0..2_500).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
        server.post("/es-sync-execute", &json!({"task_name": "many", "host_ip_list": hosts})).await.ok();
        server.finish_hosts(1, &[("10.0.0.0", SyncStatus::Success), ("10.0.0.1", SyncStatus::Failed)]).await;
        let mut client = client(server).await;
        let mut show = async || {
            let request = op(proto::GetEsSyncExecutionDetailReq { execution_id: 1 });
            client.get_es_sync_execution_detail(request).await.expect("an answer").into_inner()
        };
        let answer = show().await;
        assert_eq!((answer.success, answer.message.as_str()), (true, "execution 1"));
        let data = answer.data.expect("data");
        let log = data.execution_log.expect("a log");
        let rest = server.get("/es-sync-execution-detail/1?limit=2").await.ok();
        for (field, value) in [
            ("task_name", &log.task_name),
            ("execution_time", &log.execution_time),
            ("execution_status", &log.execution_status),
            ("error_message", &log.error_message),
            ("query_time_range", &log.query_time_range),
            ("created_at", &log.created_at),
        ] {
            assert_eq!(rest["execution_log"][field].as_str().unwrap_or_default(), value, "{field}");
        }
        assert_eq!((log.id, log.task_id, log.total_hosts), (1, 0, 2_500));
        assert_eq!((log.success_count, log.failed_count, log.not_in_pool_count, log.duration_ms), (1, 1, 0, 0));

        assert_eq!(data.details.len(), 2_500);
        let listed: Vec<&str> = data.details.iter().map(|detail| detail.host_ip.as_str()).collect();
        assert_eq!(listed, hosts);
        let first = &data.details[0];
        assert_eq!((first.host_name.as_str(), first.sync_status.as_str()), ("name of 10.0.0.0", "success"));
        assert_eq!((first.max_cpu, first.avg_cpu, first.data_point_count), (Some(12.5), None, Some(288)));
        assert_eq!(rest["execution_details"][0]["created_at"], first.created_at.as_str());
        assert_eq!(data.details[1].error_message, "no answer");
        assert_eq!((data.details[2].max_cpu, data.details[2].data_point_count), (None, None));

        sqlx::query("UPDATE es_sync_execution_detail SET error_message = REPEAT('x', 2000)")
            .execute(&server.ground.pool)
            .await
            .expect("updated");
        let cut = show().await;
        assert!(prost::Message::encoded_len(&cut) <= 3 * 1024 * 1024);
        let listed = cut.data.expect("data").details.len();
        assert!((1_400..1_600).contains(&listed), "{listed}");
        let expected = format!("execution 1, the first {listed} hosts; the answer is cut at 3 MiB, there are more");
        assert_eq!((cut.success, cut.message), (true, expected));
    })
    .await;
}

#[tokio::test]
async fn executions_are_listed_newest_first_within_the_limit_of_rest() {
    with_server(async |server| {
        for n in 0..60 {
            let body = json!({"task_name": format!("run {n}"), "host_ip_list": ["10.0.0.1"]});
            server.post("/es-sync-execute", &body).await.ok();
        }
        let mut client = client(server).await;
        let mut list = async |task_id, limit| {
            let request = op(proto::GetEsSyncExecutionLogsReq { task_id, limit });
            client.get_es_sync_execution_logs(request).await.expect("status OK").into_inner()
        };
        let answer = list(0, 0).await;
        assert_eq!((answer.success, answer.message.as_str()), (true, "50 executions"));
        assert_eq!((answer.execution_logs[0].id, answer.execution_logs[49].id), (60, 11));
        assert_eq!(list(0, 500).await.execution_logs.len(), 60);
        assert_eq!(list(7, 10).await.execution_logs, []);
        for (task_id, limit, query) in [(0, 501, "limit=501"), (0, -1, "limit=-1"), (-1, 5, "task_id=-1&limit=5")] {
            let answer = list(task_id, limit).await;
            let rest = server.get(&format!("/es-sync-execution-logs?{query}")).await.refused(400, "invalid_request");
            // A query string holds texts, a message numbers: that much of the sentence differs.
            let expected =
                rest["message"].as_str().expect("a message").replace("the text ", "the number ").replace('"', "");
            assert_eq!((answer.success, answer.message), (false, expected));
        }
        sqlx::query("UPDATE es_sync_execution_log SET error_message = REPEAT('x', 65000)")
            .execute(&server.ground.pool)
            .await
            .expect("updated");
        let cut = list(0, 500).await;
        assert!(cut.message.ends_with("; the answer is cut at 3 MiB, there are more"), "{}", cut.message);
        assert_eq!(cut.execution_logs.len(), 48);
    })
    .await;
}

#[tokio::test]
async fn an_execution_that_is_not_there_is_told_in_the_answer() {
    with_server(async |server| {
        let mut client = client(server).await;
        for (execution_id, expected) in
            [(7, "there is no execution 7"), (-7, "execution_id: must be a whole number, not \"-7\"")]
        {
            let request = op(proto::GetEsSyncExecutionDetailReq { execution_id });
            let answer = client.get_es_sync_execution_detail(request).await.expect("status OK").into_inner();
            assert_eq!((answer.success, answer.message.as_str(), answer.data), (false, expected, None));
        }
    })
    .await;
}
