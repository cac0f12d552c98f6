//! A client in another language, made from the same document: `tests/rpc-client` of the repository, in Python.
//!
//! Run by `make test-rpc-client`, which installs what the client needs and names its interpreter in
//! `HOSTSYNC_RPC_CLIENT_PYTHON`.

#[path = "it/harness.rs"]
#[allow(dead_code, reason = "what the tests of REST alone need")]
mod harness;

use std::time::Duration;

use hostsync_model::execution::SyncStatus;
use tokio::process::Command;

use crate::harness::{OPERATOR, VIEWER, with_server};

#[tokio::test]
async fn a_client_in_another_language_calls_all_methods() {
    #[expect(clippy::disallowed_methods, reason = "make names the interpreter by the environment")]
    let python = std::env::var("HOSTSYNC_RPC_CLIENT_PYTHON").expect("run by make test-rpc-client");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    with_server(async |server| {
        // In place of a worker: every pending host of every run is written, those that end with 9 had a row before.
        let work = async {
            loop {
                let sql = "SELECT execution_id, host_ip FROM es_sync_execution_detail WHERE sync_status = 'pending'";
                let pending: Vec<(u64, String)> =
                    sqlx::query_as(sql).fetch_all(&server.ground.pool).await.expect("pending hosts");
                for (execution, host_ip) in pending {
                    server.finish_hosts(execution, &[(host_ip.as_str(), SyncStatus::Success)]).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let calling = Command::new(&python)
            .arg(format!("{root}/tests/rpc-client/call_all.py"))
            .args([&format!("{root}/api/proto"), &server.rpc_address.to_string(), OPERATOR, VIEWER])
            .kill_on_drop(true)
            .status();
        let status = tokio::select! {
            status = tokio::time::timeout(Duration::from_mins(2), calling) => status.expect("in time").expect("started"),
            () = work => unreachable!("it goes on for ever"),
        };
        assert!(status.success(), "{status}");
    })
    .await;
}
