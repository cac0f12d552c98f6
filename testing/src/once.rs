//! What must be true of every execution that has ended.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::client::Client;

/// Each host has exactly one outcome and the counters of `log`, as the API answered it, say the same.
pub async fn assert_each_host_once(client: &Client, log: &Value, hosts: usize) {
    let id = log["id"].as_u64().expect("an id");
    let details = client.details(id).await.expect("details");
    let text = |detail: &Value, field: &str| detail[field].as_str().expect("a text").to_owned();
    assert_eq!(details.len(), hosts, "{log}");
    assert_eq!(details.iter().map(|detail| text(detail, "host_ip")).collect::<BTreeSet<_>>().len(), hosts);
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for detail in &details {
        *counted.entry(text(detail, "sync_status")).or_default() += 1;
    }
    assert_eq!(counted.get("pending"), None, "{counted:?}");
    for (status, counter) in [
        ("success", "success_count"),
        ("failed", "failed_count"),
        ("no_data", "no_data_count"),
        ("not_in_pool", "not_in_pool_count"),
        ("cancelled", "cancelled_count"),
    ] {
        assert_eq!(log[counter].as_u64(), Some(counted.get(status).copied().unwrap_or(0)), "{counter} in {log}");
    }
    assert_eq!(log["total_hosts"].as_u64(), Some(hosts as u64));
    assert_eq!(log["pending_count"], 0);
}

/// No host of an execution needed a second attempt.
pub async fn assert_no_attempt_spent(client: &Client, id: u64) {
    let mut details = client.details(id).await.expect("details");
    details.retain(|detail| detail["attempts"] != 1);
    assert!(details.is_empty(), "attempts were spent: {details:?}");
}
