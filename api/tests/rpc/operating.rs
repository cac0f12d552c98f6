//! What an operator sees of gRPC, and what a caller sees of an outage.

use tonic::{Code, Request};

use crate::client::{client, op, proto, status};
use crate::harness::{Ground, Server, Way, until, with_server};

/// Long enough to stand in no measured duration.
const NO_TASK: i64 = 918_273_645_546_372;

fn tasks() -> proto::GetEsSyncTasksReq {
    proto::GetEsSyncTasksReq::default()
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    with_server(async |server| {
        let mut client = client(server).await;
        client.get_es_sync_tasks(op(tasks())).await.expect("an answer");
        client.get_es_sync_tasks(Request::new(tasks())).await.expect_err("no token");
        client.delete_es_sync_task(op(proto::DeleteEsSyncTaskReq { id: NO_TASK })).await.expect("an answer");
        let text = server.get_plain("/metrics").await.text;
        for (method, code) in
            [("get_es_sync_tasks", "OK"), ("get_es_sync_tasks", "UNAUTHENTICATED"), ("delete_es_sync_task", "REFUSED")]
        {
            let line = format!(
                "hostsync_rpc_request_duration_seconds_count{{code=\"{code}\",method=\"cmpool.cmpool/{method}\""
            );
            assert!(text.contains(&line), "{line}: {text}");
        }
        assert!(!text.contains(&NO_TASK.to_string()));
    })
    .await;
}

#[tokio::test]
async fn every_answer_has_an_id_and_a_callers_own_is_kept() {
    with_server(async |server| {
        let mut client = client(server).await;
        let first = client.get_es_sync_tasks(op(tasks())).await.expect("an answer");
        assert!(first.metadata().get("x-request-id").is_some());
        let mut request = op(tasks());
        request.metadata_mut().insert("x-request-id", "gateway_7.1".parse().expect("a value"));
        let second = client.get_es_sync_tasks(request).await.expect("an answer");
        assert_eq!(second.metadata().get("x-request-id").expect("an id"), "gateway_7.1");
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_away_is_a_status_and_what_is_wrong_is_still_told() {
    let mut way = Way::closed().await;
    let ground = Ground::new(true).await;
    let target = ground.servers.database_address();
    let url = ground.database_url_at(way.address);
    let server = Server::start(ground, &[("HOSTSYNC_DATABASE__URL", &url)]).await;
    let mut client = client(&server).await;
    let run = proto::ExecuteEsSyncByHostListReq {
        task_name: "early".to_owned(),
        host_ip_list: vec!["10.0.0.1".to_owned()],
        ..Default::default()
    };

    let away = (Code::Unavailable, "the database is not available; try again in a few seconds".to_owned());
    let (code, message, _) = status(client.get_es_sync_tasks(op(tasks())).await);
    assert_eq!((code, message), away);
    let (code, message, _) = status(client.execute_es_sync_by_host_list(op(run)).await);
    assert_eq!((code, message), away);
    let answer = client.create_es_sync_task(op(proto::CreateEsSyncTaskReq::default())).await.expect("status OK");
    assert!(!answer.get_ref().success, "{answer:?}");

    way.open(target).await;
    until("the database is ready", async || server.get_plain("/readyz").await.status == 200).await;
    client.get_es_sync_tasks(op(tasks())).await.expect("an answer");
    way.cut().await;
    until("the database is told to be away", async || server.get_plain("/readyz").await.status == 503).await;
    let (code, message, _) = status(client.get_es_sync_tasks(op(tasks())).await);
    assert_eq!((code, message), away);

    server.shutdown.begin();
    server.serving.await.expect("did not panic").expect("ended well");
    server.ground.clear().await;
}

#[tokio::test]
async fn a_statement_that_fails_is_told_to_nobody_but_the_log() {
    with_server(async |server| {
        sqlx::query("DROP TABLE es_sync_task_config").execute(&server.ground.pool).await.expect("dropped");
        let (code, message, _) = status(client(server).await.get_es_sync_tasks(op(tasks())).await);
        assert_eq!(code, Code::Internal);
        assert!(message.contains("x-request-id") && !message.contains("es_sync"), "{message}");
    })
    .await;
}
