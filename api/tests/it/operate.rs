//! An operator's commands by the binary itself: dead letters, and runs that stand still.

use std::collections::BTreeMap;
use std::time::Duration;

use hostsync_model::execution::{DetailId, ExecutionId, JobQueue};
use hostsync_queue::{Job, JobConsumer, OutgoingJob, Topology};
use hostsync_service::shutdown::Shutdown;
use hostsync_store::outbox::Outbox;
use hostsync_store::tables::executions::{self, lease::LeaseToken};

use reqwest::Method;
use serde_json::json;

use crate::binary::run;
use crate::harness::{Ground, with_ground};

fn job(host: &str) -> Vec<u8> {
    let (execution_id, detail_id) = (ExecutionId(7), DetailId(8));
    Job { execution_id, detail_id, host_ip: host.to_owned(), attempt: 2, window_to: None }.encode()
}

async fn well(ground: &Ground, arguments: &[&str]) -> String {
    let (code, output, errors) = run(&ground.environment(), arguments).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");
    output
}

#[tokio::test]
async fn dead_letters_are_looked_at_put_back_and_dropped() {
    with_ground(Ground::new(true).await, async |ground| {
        let queues = ground.queues();
        assert_eq!(queues.ready_messages(JobQueue::Bulk).await.expect("declared"), 0);
        assert_eq!(well(ground, &["dead-letters", "list"]).await, "there are no dead letters\n");
        queues.publish_dead_letter(&job("10.0.0.1"), "given up").await.expect("set aside");
        queues.publish_dead_letter(b"hello", "not a job: by whom?").await.expect("set aside");
        queues.publish_dead_letter(&job("10.0.0.2"), "given up").await.expect("set aside");
        let still = "3 still in the broker: a scheduler moves them into the table within seconds\n";
        assert_eq!(well(ground, &["dead-letters", "list"]).await, still);
        assert_eq!(well(ground, &["dead-letters", "drop", "--yes"]).await, format!("0 dropped\n{still}"));
        ground.move_dead_letters(3).await;
        for _ in 0..2 {
            let output = well(ground, &["dead-letters", "list"]).await;
            assert!(output.contains("execution 7 host 10.0.0.1 attempt 2; reason: given up\n"), "{output}");
            assert!(
                output.contains("\"hello\" (not a job: ") && output.contains("reason: not a job: by whom?"),
                "{output}"
            );
            assert!(output.ends_with("3 dead letters, none was removed\n"), "{output}");
        }
        let output = well(ground, &["dead-letters", "list", "--limit", "1"]).await;
        assert!(output.ends_with("1 dead letters shown, there may be more (--limit); none was removed\n"), "{output}");

        let output = well(ground, &["dead-letters", "requeue"]).await;
        for host in ["10.0.0.1", "10.0.0.2"] {
            assert!(output.contains(&format!("back onto bulk: execution 7 host {host}")), "{output}");
        }
        assert!(output.contains("kept: \"hello\"") && output.ends_with("2 put back, 1 kept\n"), "{output}");
        assert_eq!(queues.ready_messages(JobQueue::Bulk).await.expect("asked"), 2);
        let mut consumer = JobConsumer::connect(&ground.queue_settings(), JobQueue::Bulk, 10).await.expect("connected");
        let received = consumer.next(|| 0).await.expect("delivered");
        assert_eq!(received.job.expect("a job").attempt, 2);
        assert!(!received.redelivered, "its looks as a dead letter do not count");
        assert!(received.headers.is_empty(), "{:?}", received.headers);
        consumer.close().await.expect("closed");

        let (code, _, errors) = run(&ground.environment(), &["dead-letters", "drop"]).await;
        assert_eq!(code, 2);
        assert!(errors.contains("--yes"), "{errors}");
        let output = well(ground, &["dead-letters", "drop", "--yes"]).await;
        assert!(output.starts_with("dropped: \"hello\"") && output.ends_with("1 dropped\n"), "{output}");
        assert_eq!(well(ground, &["dead-letters", "list"]).await, "there are no dead letters\n");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_stands_still_is_explained_and_published_anew() {
    with_ground(Ground::new(true).await, async |ground| {
        assert_eq!(well(ground, &["executions", "stuck"]).await, "0 executions without progress for 10 min\n");
        let id = ground.silent_run().await;
        let output = well(ground, &["executions", "stuck"]).await;
        assert!(output.starts_with(&format!("execution {id} (silent): no progress for 11 min, 2 hosts pending: ")), "{output}");
        assert!(output.ends_with("1 executions without progress for 10 min\n"), "{output}");

        let state = async || -> (u64, u32, Option<u64>, i64) {
            sqlx::query_as(
                "SELECT published_watermark, repair_count, lease_token,
                        (SELECT CAST(SUM(attempts) AS SIGNED) FROM es_sync_execution_detail) FROM es_sync_execution_log",
            )
            .fetch_one(&ground.pool)
            .await
            .expect("a row")
        };
        let id_text = id.to_string();
        let republish = ["executions", "republish", id_text.as_str()];
        let said = format!("a scheduler publishes the 2 pending hosts of execution {id} again, within seconds\n");
        for repairs in [1, 2] {
            assert_eq!(well(ground, &republish).await, said);
            assert_eq!(state().await, (0, repairs, None, 0), "no attempt is spent, no lease is left");
        }
        // What a scheduler does next.
        let token = LeaseToken::new();
        let stop = Shutdown::manual(Duration::from_secs(1)).token();
        let outbox = Outbox::new(ground.pool.clone(), ground.queues(), stop);
        let mut connection = ground.pool.acquire().await.expect("a connection");
        let claimed = executions::lease::claim(&mut connection, id, token).await.expect("claimed");
        assert!(claimed.is_some(), "it is free to be carried on");
        drop(connection);

        let (code, _, errors) = run(&ground.environment(), &republish).await;
        assert_eq!(code, 1);
        assert!(errors.contains("a process holds execution"), "{errors}");

        outbox.carry_on(id, token).await.expect("published");
        assert_eq!(ground.queues().ready_messages(JobQueue::Bulk).await.expect("asked"), 2);

        let refused = async |sql: &'static str, reason: &str| {
            sqlx::query(sql).execute(&ground.pool).await.expect(sql);
            let (code, _, errors) = run(&ground.environment(), &republish).await;
            assert_eq!(code, 1);
            assert!(errors.contains(reason), "{errors}");
        };
        refused("UPDATE es_sync_execution_log SET prepared_at = NULL", "are still being copied").await;
        refused("UPDATE es_sync_execution_log SET execution_status = 'success'", "is success").await;
        refused("DELETE FROM es_sync_execution_log", "there is no execution").await;
    })
    .await;
}

#[tokio::test]
async fn a_job_that_the_broker_gave_up_goes_back_onto_the_queue_that_it_died_in() {
    with_ground(Ground::new(true).await, async |ground| {
        let job = Job::decode(&job("10.0.0.1")).expect("a job");
        let queues = ground.queues();
        let published = queues.publish(&[OutgoingJob { job, queue: JobQueue::Manual }], &BTreeMap::new()).await;
        assert!(published.is_complete());
        let path = format!("queues/%2F/{}/get", Topology::new(&ground.name).queue(JobQueue::Manual));
        let reject = json!({"count": 1, "ackmode": "reject_requeue_false", "encoding": "auto"});
        ground.servers.manage(Method::POST, &path, Some(&reject)).await;
        let letter = "execution 7 host 10.0.0.1 attempt 2; reason: given up by the broker: rejected\n";
        ground.move_dead_letters(1).await;
        let listed = well(ground, &["dead-letters", "list", "--limit", "5"]).await;
        assert!(listed.starts_with(letter), "{listed}");
        let output = well(ground, &["dead-letters", "requeue"]).await;
        assert_eq!(output, format!("back onto manual: {letter}1 put back, 0 kept\n"));
        assert_eq!(queues.ready_messages(JobQueue::Manual).await.expect("asked"), 1);
        assert_eq!(queues.ready_messages(JobQueue::Bulk).await.expect("asked"), 0);
    })
    .await;
}
