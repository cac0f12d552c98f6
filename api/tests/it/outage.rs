//! What happens while the database or the broker is away.

use std::time::Duration;

use hostsync_model::execution::JobQueue;
use hostsync_service::shutdown::Shutdown;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{Ground, Server, Way, config, send, until, with_ground, with_server, with_server_of};

#[tokio::test]
async fn a_run_is_accepted_while_the_broker_is_away_and_published_when_it_is_back() {
    let mut way = Way::closed().await;
    let ground = Ground::new(true).await;
    let broker = ground.servers.rabbitmq.clone();
    let (credentials, rest) = broker.split_once('@').expect("credentials");
    let (target, virtual_host) = rest.split_once('/').expect("a virtual host");
    let url = format!("{credentials}@{}/{virtual_host}", way.address);
    with_server_of(ground, &[("HOSTSYNC_RABBITMQ__URL", &url)], async |server| {
        let body = server.get_plain("/readyz").await.ok();
        assert_eq!(body["checks"]["rabbitmq"]["required"], false);
        let body = json!({"task_name": "early", "host_ip_list": ["10.0.0.1", "10.0.0.2"]});
        server.post("/es-sync-execute", &body).await.ok();
        until("the broker is told to be away", async || {
            let checks = server.get_plain("/readyz").await.ok()["checks"].clone();
            checks["rabbitmq"]["message"].as_str().is_some_and(|text| text.contains("published when it comes back"))
        })
        .await;
        // Given back, so that any scheduler goes on with it.
        let held = "SELECT COUNT(*) FROM es_sync_execution_log WHERE lease_token IS NOT NULL";
        until("the lease is given back", async || server.number(held).await == 0).await;

        way.open(target.to_owned()).await;
        until("the broker is ready", async || {
            server.get_plain("/readyz").await.ok()["checks"]["rabbitmq"]["ready"] == true
        })
        .await;
        server.post("/es-sync-execute", &body).await.ok();
        until("the later run is published", async || server.ready(JobQueue::Manual).await == 2).await;
        way.cut().await;
    })
    .await;
}

#[tokio::test]
async fn it_starts_without_a_database_and_goes_on_when_it_comes_and_comes_again() {
    let mut way = Way::closed().await;
    let ground = Ground::new(true).await;
    let target = ground.servers.database_address();
    let url = ground.database_url_at(way.address);
    let server = Server::start(ground, &[("HOSTSYNC_DATABASE__URL", &url)]).await;

    let is_away = async || {
        let answer = server.get_plain("/readyz").await;
        answer.status == 503 && answer.header("retry-after").is_some() && answer.body["code"] == "not_ready"
    };
    let is_ready = async || server.get_plain("/readyz").await.status == 200;
    let task = json!({"task_name": "patient", "cron_expression": "@daily"});
    let away_ground = async || {
        assert_eq!(server.get_plain("/healthz").await.status, 200);
        for (method, path) in [(Method::GET, "/es-sync-tasks"), (Method::GET, "/es-sync-execution-detail/1")] {
            let answer = send(server.operator(method, path)).await;
            assert_eq!(answer.header("retry-after"), Some("5"));
            let body = answer.refused(503, "database_unavailable");
            assert_eq!(body["message"], "the database is not available; try again in a few seconds");
        }
        server.post("/es-sync-tasks", &task).await.refused(503, "database_unavailable");
        let run = json!({"task_name": "patient", "host_ip_list": ["10.0.0.1"]});
        server.post("/es-sync-execute", &run).await.refused(503, "database_unavailable");
        // What is wrong with a request is still told.
        server.post("/es-sync-tasks", &json!({})).await.refused(400, "invalid_request");
    };

    until("the database is told to be away", is_away).await;
    away_ground().await;
    way.open(target.clone()).await;
    until("the database is ready", is_ready).await;
    server.post("/es-sync-tasks", &task).await.ok();

    way.cut().await;
    until("the database is told to be away again", is_away).await;
    away_ground().await;
    way.open(target).await;
    until("the database is ready again", is_ready).await;
    assert_eq!(server.get("/es-sync-tasks").await.ok()["tasks"][0]["task_name"], "patient");

    server.shutdown.begin();
    server.serving.await.expect("did not panic").expect("ended well");
    server.ground.clear().await;
}

#[tokio::test]
async fn it_refuses_an_older_schema_and_names_the_command() {
    with_ground(Ground::new(false).await, async |ground| {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let shutdown = Shutdown::manual(Duration::from_secs(5));
        let serving = hostsync_api::serve(config(ground, &[]), listener, shutdown);
        let error =
            tokio::time::timeout(Duration::from_secs(30), serving).await.expect("in time").expect_err("refused");
        let text = hostsync_api::explain(&error);
        assert!(text.contains("run `hostsync-api migrate`"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_fails_is_told_to_nobody_but_the_log() {
    with_server(async |server| {
        sqlx::query("DROP TABLE es_sync_task_config").execute(&server.ground.pool).await.expect("dropped");
        let answer = server.get("/es-sync-tasks").await;
        assert!(answer.header("x-request-id").is_some());
        let body = answer.refused(500, "internal_error");
        let text = body.to_string();
        assert!(!text.contains("es_sync_task_config") && !text.contains("SELECT"), "{text}");
    })
    .await;
}
