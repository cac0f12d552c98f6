//! Runs by gRPC: waiting for their end, what the answer holds, what becomes of them without their caller.

use std::time::Duration;

use hostsync_model::execution::SyncStatus;
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use crate::client::{client, op, proto, within};
use crate::harness::{Ground, Server, send, until, with_server, with_server_of};

fn host_list(hosts: &[&str]) -> proto::ExecuteEsSyncByHostListReq {
    proto::ExecuteEsSyncByHostListReq {
        host_ip_list: hosts.iter().map(|&host| host.to_owned()).collect(),
        query_time_range: "7d".to_owned(),
        es_endpoint: String::new(),
        task_name: "手动测试".to_owned(),
    }
}

fn file(content: &[u8]) -> proto::ExecuteEsSyncByFileReq {
    proto::ExecuteEsSyncByFileReq {
        file_content: content.to_vec(),
        filename: "hosts.txt".to_owned(),
        task_name: "by file".to_owned(),
        ..Default::default()
    }
}

const STORED: &str = "SELECT COUNT(*) FROM es_sync_execution_log";

async fn stored(server: &Server, runs: i64) {
    until("the run is stored", async || server.number(STORED).await == runs).await;
}

#[tokio::test]
async fn a_call_waits_for_the_end_and_lists_the_hosts_by_what_became_of_them() {
    with_server(async |server| {
        let mut client = client(server).await;
        let hosts = ["10.0.0.1", "10.0.0.9", "10.0.0.2", "10.0.0.3", "10.0.0.4", "2001:DB8::1", "10.0.0.1"];
        let work = async {
            stored(server, 1).await;
            let outcomes = [
                ("10.0.0.1", SyncStatus::Success),
                ("10.0.0.9", SyncStatus::Success),
                ("10.0.0.2", SyncStatus::Failed),
                ("10.0.0.3", SyncStatus::NoData),
                ("10.0.0.4", SyncStatus::NotInPool),
                ("2001:db8::1", SyncStatus::Success),
            ];
            server.finish_hosts(1, &outcomes).await;
        };
        let (answer, ()) = tokio::join!(client.execute_es_sync_by_host_list(op(host_list(&hosts))), work);
        let expected = proto::ExecuteEsSyncResp {
            success: true,
            message: "execution 1 over 6 hosts has ended: partial".to_owned(),
            execution_id: 1,
            total_hosts: 6,
            success_count: 3,
            failed_count: 1,
            not_in_pool_count: 1,
            not_in_pool_ip_list: vec!["10.0.0.4".to_owned()],
            not_in_datasource_count: 1,
            not_in_datasource_ip_list: vec!["10.0.0.3".to_owned()],
            new_hosts_count: 2,
            new_host_ip_list: vec!["10.0.0.1".to_owned(), "2001:db8::1".to_owned()],
            updated_hosts_count: 1,
            updated_host_ip_list: vec!["10.0.0.9".to_owned()],
            success_ip_list: vec!["10.0.0.1".to_owned(), "10.0.0.9".to_owned(), "2001:db8::1".to_owned()],
            failed_ip_list: vec!["10.0.0.2".to_owned()],
        };
        assert_eq!(answer.expect("an answer").into_inner(), expected);
    })
    .await;
}

#[tokio::test]
async fn before_the_deadline_the_answer_tells_what_is_known_and_the_run_goes_on() {
    with_server(async |server| {
        let mut client = client(server).await;
        let work = async {
            stored(server, 1).await;
            server.finish_hosts(1, &[("10.0.0.1", SyncStatus::Success)]).await;
        };
        let began = Instant::now();
        let call =
            client.execute_es_sync_by_host_list(within(Duration::from_secs(3), host_list(&["10.0.0.1", "10.0.0.2"])));
        let (answer, ()) = tokio::join!(call, work);
        let waited = began.elapsed();
        let answer = answer.expect("an answer before the deadline").into_inner();
        assert!((Duration::from_millis(2_500)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
        assert!(answer.success);
        assert_eq!(answer.message, "execution 1 over 2 hosts is going on, 1 of them are done");
        assert_eq!((answer.total_hosts, answer.success_count, answer.failed_count), (2, 1, 0));
        assert_eq!(answer.success_ip_list, ["10.0.0.1"]);
        server.finish_hosts(1, &[("10.0.0.2", SyncStatus::Success)]).await;
        let log = server.get("/es-sync-execution-detail/1").await.ok()["execution_log"].clone();
        assert_eq!(log["execution_status"], "success");
    })
    .await;
}

#[tokio::test]
async fn a_run_goes_on_without_its_caller() {
    with_server(async |server| {
        let mut client = client(server).await;
        tokio::select! {
            _ = client.execute_es_sync_by_host_list(op(host_list(&["10.0.0.1"]))) => panic!("nobody finished the run"),
            () = stored(server, 1) => {}
        }
        let published = "SELECT COUNT(*) FROM es_sync_execution_log WHERE published_watermark = last_detail_id";
        until("it is published", async || server.number(published).await == 1).await;
        let given_up = "hostsync_rpc_request_duration_seconds_count{code=\"CANCELLED\"";
        until("the call is given up", async || server.get_plain("/metrics").await.text.contains(given_up)).await;
        server.finish_hosts(1, &[("10.0.0.1", SyncStatus::Success)]).await;
        let log = server.get("/es-sync-execution-detail/1").await.ok()["execution_log"].clone();
        assert_eq!(log["execution_status"], "success");
    })
    .await;
}

#[tokio::test]
async fn at_the_end_a_waiting_caller_hears_what_is_known() {
    with_server(async |server| {
        let mut client = client(server).await;
        let stop = async {
            stored(server, 1).await;
            server.shutdown.begin();
        };
        let (answer, ()) = tokio::join!(client.execute_es_sync_by_host_list(op(host_list(&["10.0.0.1"]))), stop);
        let answer = answer.expect("an answer").into_inner();
        assert_eq!(answer.message, "execution 1 over 1 host is going on, 0 of them are done");
        until("the server has ended", async || server.serving.is_finished()).await;
    })
    .await;
}

#[tokio::test]
async fn a_file_runs_without_its_bad_lines() {
    with_server(async |server| {
        let mut client = client(server).await;
        let work = async {
            stored(server, 1).await;
            server.finish_hosts(1, &[("10.0.0.1", SyncStatus::Success), ("10.0.0.2", SyncStatus::NoData)]).await;
        };
        let content = b"\xef\xbb\xbf# web\r\n10.0.0.1,\r\n\r\nweb-1\r\n10.0.0.2 # front\r\n";
        let (answer, ()) = tokio::join!(client.execute_es_sync_by_file(op(file(content))), work);
        let answer = answer.expect("an answer").into_inner();
        assert_eq!(answer.message, "execution 1 over 2 hosts has ended: success; 1 bad line left out");
        assert_eq!((answer.success_count, answer.not_in_datasource_count), (1, 1));
        let log = server.get("/es-sync-execution-logs").await.ok()["execution_logs"][0].clone();
        assert_eq!((&log["trigger"], &log["query_time_range"]), (&json!("file"), &json!("30d")));
    })
    .await;
}

#[tokio::test]
async fn a_refused_run_is_an_answer_in_the_words_of_rest() {
    with_server(async |server| {
        let mut client = client(server).await;
        let refused = |answer: Result<tonic::Response<proto::ExecuteEsSyncResp>, tonic::Status>| {
            let answer = answer.expect("status OK").into_inner();
            assert!(!answer.success && answer.execution_id == 0, "{answer:?}");
            answer.message
        };
        let rest = async |path: &str, body| {
            let answer = server.post(path, &body).await;
            answer.refused(400, "invalid_request")["message"].as_str().expect("a message").to_owned()
        };
        let message =
            refused(client.execute_es_sync_by_host_list(op(proto::ExecuteEsSyncByHostListReq::default())).await);
        assert_eq!(message, rest("/es-sync-execute", json!({})).await);
        let message = refused(client.execute_es_sync_by_host_list(op(host_list(&["10.0.0.1", "web-1"]))).await);
        let body = json!({"task_name": "x", "host_ip_list": ["10.0.0.1", "web-1"]});
        assert_eq!(message, rest("/es-sync-execute", body).await);
        let bad = proto::ExecuteEsSyncByHostListReq {
            query_time_range: "1y".to_owned(),
            es_endpoint: "http://nowhere".to_owned(),
            ..host_list(&["10.0.0.1"])
        };
        let message = refused(client.execute_es_sync_by_host_list(op(bad)).await);
        let body = json!({"task_name": "x", "host_ip_list": ["10.0.0.1"], "query_time_range": "1y",
            "es_endpoint": "http://nowhere"});
        assert_eq!(message, rest("/es-sync-execute", body).await);

        let message = refused(client.execute_es_sync_by_file(op(file(b"web-1\n"))).await);
        let body = json!({"task_name": "x", "file_content": "web-1\n"});
        assert_eq!(message, rest("/es-sync-execute-file", body).await);
        let message = refused(client.execute_es_sync_by_file(op(file(b""))).await);
        assert_eq!(message, rest("/es-sync-execute-file", json!({"task_name": "x"})).await);
        let message = refused(client.execute_es_sync_by_file(op(file(&vec![b'\n'; 8 * 1024 * 1024 + 1]))).await);
        assert_eq!(message, "the host file is too large: at most 8388608 bytes are taken");
        assert_eq!(server.number(STORED).await, 0);
    })
    .await;
}

#[tokio::test]
async fn the_largest_list_is_taken_and_its_answer_is_cut() {
    with_server(async |server| {
        let hosts: Vec<String> = (0..100_000).map(|n| format!("2001:db8:1234:5678:9abc:def0:{:x}:{:x}", n >> 12, (n & 0xfff) | 0x1000)).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let mut client = client(server).await;
        let work = async {
            stored(server, 1).await;
            let finish = "UPDATE es_sync_execution_detail SET sync_status = 'success', inserted = 1";
            sqlx::query(finish).execute(&server.ground.pool).await.expect("finished");
            let end = "UPDATE es_sync_execution_log SET execution_status = 'success', success_count = 100000, pending_count = 0";
            sqlx::query(end).execute(&server.ground.pool).await.expect("ended");
        };
        // Without a deadline it would wait for a minute, in which a slow machine does not write so many rows twice.
        let call = client.execute_es_sync_by_host_list(within(Duration::from_mins(5), host_list(&hosts)));
        let (answer, ()) = tokio::join!(call, work);
        let answer = answer.expect("an answer").into_inner();
        assert_eq!((answer.success_count, answer.new_hosts_count, answer.updated_hosts_count), (100_000, 100_000, 0));
        let listed = answer.success_ip_list.len() + answer.new_host_ip_list.len();
        assert!(listed > 60_000 && listed < 200_000, "{listed}");
        assert!(answer.message.ends_with(
            "; the answer is cut at 3 MiB: the counters are whole, the lists of addresses are not"
        ), "{}", answer.message);
        assert!(prost::Message::encoded_len(&answer) <= 3 * 1024 * 1024);
    })
    .await;
}

#[tokio::test]
async fn a_full_sync_whose_source_is_away_is_unavailable_and_without_a_group_refused() {
    with_server(async |server| {
        let mut client = client(server).await;
        let request = proto::ExecuteEsSyncFullSyncReq { group_name: "web".to_owned(), ..Default::default() };
        let away = client.execute_es_sync_full_sync(op(request)).await.expect_err("nobody listens at the endpoint");
        assert_eq!(away.code(), Code::Unavailable, "{away:?}");
        let nothing = proto::ExecuteEsSyncFullSyncReq::default();
        let answer = client.execute_es_sync_full_sync(op(nothing)).await.expect("status OK").into_inner();
        assert!(!answer.success && answer.message.contains("group_name"), "{}", answer.message);
    })
    .await;
}

/// An index with documents of some hosts of a group, in the development servers' search engine.
async fn group_of(url: &str, index: &str, hosts: &[&str]) {
    let client = reqwest::Client::new();
    let fields = ["hostIp", "hostName", "group"].map(|field| (field, json!({"type": "keyword"})));
    let numbers = ["cpu", "available_memory", "total_disk_space_all"].map(|field| (field, json!({"type": "double"})));
    let mut properties: serde_json::Map<_, _> =
        fields.into_iter().chain(numbers).map(|(field, of)| (field.to_owned(), of)).collect();
    properties.insert("@timestamp".to_owned(), json!({"type": "date"}));
    let body = json!({"settings": {"number_of_replicas": 0}, "mappings": {"properties": properties}});
    let made = client.put(format!("{url}/{index}")).json(&body).send().await.expect("an answer");
    assert!(made.status().is_success(), "{}", made.text().await.unwrap_or_default());
    let at = crate::harness::clock() - chrono::TimeDelta::minutes(10);
    for host in hosts {
        let document = json!({"@timestamp": at.to_rfc3339(), "hostIp": host, "hostName": "h", "group": "web", "cpu": 1.0,
                              "available_memory": 1.0, "total_disk_space_all": 1.0});
        let request = client.post(format!("{url}/{index}/_doc?refresh=true")).json(&document);
        assert!(request.send().await.expect("an answer").status().is_success());
    }
}

#[tokio::test]
async fn a_full_sync_tells_the_hosts_that_the_pool_got_and_those_that_were_written() {
    #[expect(clippy::disallowed_methods, reason = "the servers of the tests are named by the environment")]
    let url = std::env::var("HOSTSYNC_DEV_ELASTICSEARCH_URL").expect("a search engine: make up");
    let ground = Ground::new(true).await;
    let index = ground.name.replace('_', "-");
    let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    group_of(&url, &index, &hosts).await;
    let more = [
        ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", url.as_str()),
        ("HOSTSYNC_ELASTICSEARCH__DEFAULT_INDEX_PATTERN", index.as_str()),
    ];
    with_server_of(ground, &more, async |server| {
        let known = "INSERT INTO hosts_pool (host_name, host_ip) VALUES ('a', '10.0.0.3'), ('b', '10.0.0.4')";
        sqlx::query(known).execute(&server.ground.pool).await.expect("a pool");
        let mut client = client(server).await;
        let work = async {
            stored(server, 1).await;
            let outcomes = hosts.map(|host| (host, SyncStatus::Success));
            let outcomes: Vec<_> = outcomes.into_iter().take(3).chain([(hosts[3], SyncStatus::Failed)]).collect();
            server.finish_hosts(1, &outcomes).await;
        };
        let request = proto::ExecuteEsSyncFullSyncReq {
            group_name: "web".to_owned(),
            query_time_range: "24h".to_owned(),
            ..Default::default()
        };
        let (answer, ()) = tokio::join!(client.execute_es_sync_full_sync(op(request)), work);
        reqwest::Client::new().delete(format!("{url}/{index}")).send().await.expect("an answer");
        let strings = |hosts: &[&str]| hosts.iter().map(|&host| host.to_owned()).collect();
        let expected = proto::ExecuteEsSyncFullSyncResp {
            success: true,
            message: "execution 1 over 4 hosts has ended: partial; 2 hosts added to the pool".to_owned(),
            execution_id: 1,
            total_hosts: 4,
            new_hosts_count: 2,
            updated_hosts_count: 1,
            failed_count: 1,
            new_host_ip_list: strings(&hosts[..2]),
            updated_host_ip_list: strings(&hosts[2..3]),
            failed_ip_list: strings(&hosts[3..]),
        };
        assert_eq!(answer.expect("an answer").into_inner(), expected);
        assert_eq!(server.number("SELECT COUNT(*) FROM hosts_pool").await, 4);
        let told: Vec<(String, String, String, String)> =
            sqlx::query_as("SELECT action, object_kind, object_id, result FROM es_sync_audit ORDER BY id")
                .fetch_all(&server.ground.pool)
                .await
                .expect("rows");
        let expected = [
            ["add_hosts", "hosts_pool", "", "2 hosts added to hosts_pool"],
            ["full_sync", "execution", "1", "execution 1 was enqueued over 4 hosts; 2 hosts added to the pool"],
        ];
        assert_eq!(told, expected.map(|row| row.map(str::to_owned).into()));
    })
    .await;
}

#[tokio::test]
async fn a_caller_without_patience_is_not_waited_for() {
    with_server(async |server| {
        let mut client = client(server).await;
        let outcome =
            client.execute_es_sync_by_host_list(within(Duration::from_millis(1), host_list(&["10.0.0.1"]))).await;
        let code = outcome.expect_err("too late").code();
        assert!([Code::Cancelled, Code::DeadlineExceeded].contains(&code), "{code:?}");
        assert_eq!(send(server.request(reqwest::Method::GET, "/healthz")).await.status, 200);
    })
    .await;
}
