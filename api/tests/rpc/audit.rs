//! What is written by gRPC has its entry in the audit, as what is written by REST.

use std::time::Duration;

use serde_json::json;

use crate::client::{by, client, op, proto, within};
use crate::harness::{Ground, with_server_of};

const ALICE: &str = "token-of-alice-0123456789";

#[tokio::test]
async fn each_call_that_writes_leaves_one_entry_and_one_that_is_refused_none() {
    let more = [("HOSTSYNC_API__TOKENS__ALICE__ROLE", "operator"), ("HOSTSYNC_API__TOKENS__ALICE__TOKEN", ALICE)];
    with_server_of(Ground::new(true).await, &more, async |server| {
        let mut client = client(server).await;
        let create = proto::CreateEsSyncTaskReq {
            task_name: "nightly".to_owned(),
            cron_expression: "@daily".to_owned(),
            ..Default::default()
        };
        let update = proto::UpdateEsSyncTaskReq { id: 1, query_time_range: "7d".to_owned(), ..Default::default() };
        let enable = |is_enabled| proto::EnableEsSyncTaskReq { id: 1, is_enabled };
        let list = proto::ExecuteEsSyncByHostListReq {
            host_ip_list: vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()],
            task_name: "some".to_owned(),
            ..Default::default()
        };
        let file = proto::ExecuteEsSyncByFileReq {
            file_content: b"10.0.0.3\n".to_vec(),
            task_name: "some".to_owned(),
            ..Default::default()
        };
        let soon = Duration::from_secs(3);
        assert!(client.create_es_sync_task(by(ALICE, create.clone())).await.expect("an answer").get_ref().success);
        assert!(client.update_es_sync_task(op(update)).await.expect("an answer").get_ref().success);
        assert!(client.enable_es_sync_task(op(enable(true))).await.expect("an answer").get_ref().success);
        assert!(client.enable_es_sync_task(op(enable(false))).await.expect("an answer").get_ref().success);
        assert!(client.execute_es_sync_by_host_list(within(soon, list)).await.expect("an answer").get_ref().success);
        assert!(client.execute_es_sync_by_file(within(soon, file)).await.expect("an answer").get_ref().success);
        // Refused: the name is taken, there is no such task, no host, no address.
        assert!(!client.create_es_sync_task(op(create)).await.expect("an answer").get_ref().success);
        let delete = |id| op(proto::DeleteEsSyncTaskReq { id });
        assert!(!client.delete_es_sync_task(delete(9)).await.expect("an answer").get_ref().success);
        let empty = proto::ExecuteEsSyncByHostListReq::default();
        assert!(!client.execute_es_sync_by_host_list(op(empty)).await.expect("an answer").get_ref().success);
        assert!(client.delete_es_sync_task(delete(1)).await.expect("an answer").get_ref().success);

        let page = server.get("/es-sync-audit").await.ok();
        let told: Vec<[&str; 4]> = page["entries"]
            .as_array()
            .expect("entries")
            .iter()
            .rev()
            .map(|entry| {
                ["who", "action", "object_kind", "object_id"].map(|field| entry[field].as_str().expect("a text"))
            })
            .collect();
        assert_eq!(
            told,
            [
                ["alice", "create_task", "task", "1"],
                ["operator", "update_task", "task", "1"],
                ["operator", "enable_task", "task", "1"],
                ["operator", "disable_task", "task", "1"],
                ["operator", "execute_hosts", "execution", "1"],
                ["operator", "execute_file", "execution", "2"],
                ["operator", "delete_task", "task", "1"],
            ]
        );
        let entries = &page["entries"];
        assert_eq!(entries[2]["what"]["host_ip_list"], json!(["10.0.0.1", "10.0.0.2"]));
        assert!(entries.as_array().expect("entries").iter().all(|entry| entry["from_where"] == "127.0.0.1"));
    })
    .await;
}
