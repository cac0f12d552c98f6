//! Many executions in numbers, out of the sums.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hostsync_model::execution::{Counts, ExecutionId, ExecutionStatus, TaskId};
use hostsync_store::statistics::duration_step;
use hostsync_store::tables::statistics::{self, EndedRun, ErrorCount};
use hostsync_store::word::Word;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, with_server};

/// Adds runs to the sums as the schedulers do.
async fn add(server: &Server, task_id: u64, began: &str, status: ExecutionStatus, ms: u64, failed: &[&str]) {
    let run = EndedRun {
        id: ExecutionId(1),
        task_id: TaskId(task_id),
        began: began.parse::<DateTime<Utc>>().expect(began),
        status: Word::Known(status),
        hosts: Counts { success: 10, failed: u32::try_from(failed.len()).expect("few"), ..Counts::default() },
        duration_ms: (status != ExecutionStatus::Skipped).then_some(ms),
    };
    let hosts: Vec<String> = failed.iter().map(|host| (*host).to_owned()).collect();
    let errors =
        [ErrorCount { kind: "no answer".to_owned(), example: "no answer".to_owned(), hosts: run.hosts.failed.into() }];
    let mut transaction = server.ground.pool.begin().await.expect("begun");
    statistics::add_run(&mut transaction, &run, run.duration_ms.map(duration_step)).await.expect("added");
    statistics::add_failed_hosts(&mut transaction, &run, &hosts).await.expect("added");
    statistics::add_errors(&mut transaction, &run, if failed.is_empty() { &[] } else { &errors }).await.expect("added");
    transaction.commit().await.expect("committed");
}

#[tokio::test]
async fn executions_are_summed_up_by_hour_and_by_day() {
    with_server(async |server| {
        use ExecutionStatus::{Failed, Partial, Skipped, Success};
        add(server, 7, "2026-01-02T03:59:59.999Z", Success, 1_000, &[]).await;
        add(server, 7, "2026-01-02T03:00:00Z", Partial, 100_000, &["10.0.0.1", "10.0.0.2"]).await;
        add(server, 8, "2026-01-02T05:00:00Z", Failed, 2_000, &["10.0.0.1"]).await;
        add(server, 0, "2026-01-03T00:00:00Z", Skipped, 0, &[]).await;

        let path = "/es-sync-stats?from=2026-01-02T03:04:05Z&to=2026-01-02T05:00:00.001Z&bucket=hour";
        let stats = server.get(path).await.ok();
        assert_eq!(
            (&stats["from"], &stats["to"]),
            (&json!("2026-01-02T03:00:00.000Z"), &json!("2026-01-02T06:00:00.000Z"))
        );
        let begins: Vec<&Value> = stats["buckets"].as_array().expect("buckets").iter().map(|b| &b["begin"]).collect();
        assert_eq!(begins, ["2026-01-02T03:00:00.000Z", "2026-01-02T04:00:00.000Z", "2026-01-02T05:00:00.000Z"]);
        let third = &stats["buckets"][0];
        assert_eq!(third["runs"], json!({"success": 1, "partial": 1, "failed": 0, "cancelled": 0, "skipped": 0}));
        assert_eq!(third["hosts"], json!({"success": 20, "failed": 2, "no_data": 0, "not_in_pool": 0, "cancelled": 0}));
        assert_eq!(third["success_rate"], json!(20.0 / 22.0));
        assert_eq!(third["duration_ms"]["max"], 100_000);
        let p50 = third["duration_ms"]["p50"].as_u64().expect("a number");
        assert!((975..=1_025).contains(&p50), "{p50}");
        let empty = &stats["buckets"][1];
        assert_eq!((&empty["success_rate"], &empty["duration_ms"]["p95"]), (&Value::Null, &Value::Null));
        assert_eq!(stats["message"], "3 ended executions");
        assert_eq!(
            stats["hosts_failing_most"],
            json!([{"host_ip": "10.0.0.1", "failures": 2}, {"host_ip": "10.0.0.2", "failures": 1}])
        );
        assert_eq!(
            stats["errors_seen_most"],
            json!([{"error_message": "no answer", "hosts": 3, "last_seen": "2026-01-02T05:00:00.000Z"}])
        );

        let by_day = server.get("/es-sync-stats?from=2026-01-02T00:00:00Z&to=2026-01-04T00:00:00Z").await.ok();
        assert_eq!(by_day["buckets"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            (&by_day["total"]["runs"]["skipped"], &by_day["buckets"][1]["runs"]["skipped"]),
            (&json!(1), &json!(1))
        );
        let of_task =
            server.get("/es-sync-stats?from=2026-01-02T00:00:00Z&to=2026-01-04T00:00:00Z&task_id=8").await.ok();
        assert_eq!(of_task["total"]["runs"]["failed"], 1);
        assert_eq!(of_task["hosts_failing_most"], json!([{"host_ip": "10.0.0.1", "failures": 1}]));
    })
    .await;
}

#[tokio::test]
async fn without_a_range_the_last_week_is_summed_up() {
    with_server(async |server| {
        let stats = server.get("/es-sync-stats").await.ok();
        assert_eq!(stats["buckets"].as_array().map(Vec::len), Some(8));
        assert_eq!((&stats["total"]["success_rate"], &stats["bucket"]), (&Value::Null, &json!("day")));
    })
    .await;
}

#[tokio::test]
async fn a_bad_range_is_named() {
    with_server(async |server| {
        let cases = BTreeMap::from([
            ("bucket=week", "bucket"),
            ("from=yesterday", "from"),
            ("task_id=-1", "task_id"),
            ("from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "to"),
            ("from=2026-01-01T00:00:00Z&to=2026-02-02T00:00:00Z&bucket=hour", "from"),
            ("from=2024-01-01T00:00:00Z&to=2026-02-02T00:00:00Z", "from"),
            ("from=1990-01-01T00:00:00Z", "from"),
            ("from=9000-01-01T00:00:00Z", "from"),
            ("days=7", "days"),
            ("from=9999-12-30T00:00:00Z&to=9999-12-31T23:30:00Z", "to"),
        ]);
        for (query, field) in cases {
            let refused = server.get(&format!("/es-sync-stats?{query}")).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refused), [field], "{query}");
        }
    })
    .await;
}
