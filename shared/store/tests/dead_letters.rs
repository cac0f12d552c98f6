//! Dead letters on a real broker and database: moved once, never lost, put back by their confirm.

use std::collections::BTreeMap;
use std::time::Duration;

use hostsync_model::execution::{DetailId, ExecutionId, JobQueue};
use hostsync_queue::{DeadLetters, Job, JobConsumer, OutgoingJob, Publisher, QueueSettings, Topology};
use hostsync_store::dead_letters::{MoveError, MovedLetters, RequeueReport, move_chunk, requeue};
use hostsync_store::tables::dead_letters::{self, LetterFilter, LetterRow};
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::wait_for;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

fn settings(bed: &Bed) -> QueueSettings {
    QueueSettings {
        url: bed.servers.rabbitmq_url.as_str().into(),
        topology: Topology::new(&bed.name),
        connection_name: "test".to_owned(),
    }
}

fn job(host: &str) -> Job {
    let (execution_id, detail_id) = (ExecutionId(7), DetailId(8));
    Job { execution_id, detail_id, host_ip: host.to_owned(), attempt: 2, window_to: None }
}

/// One chunk on a connection of its own.
async fn moved(bed: &Bed) -> Result<MovedLetters, MoveError> {
    let letters = DeadLetters::open(&settings(bed)).await?;
    let moved = move_chunk(&bed.pool, &letters).await;
    letters.close().await.expect("closed");
    moved
}

/// The letters in the table, the oldest first.
async fn rows(bed: &Bed) -> Vec<LetterRow> {
    let mut connection = bed.pool.acquire().await.expect("a connection");
    dead_letters::oldest(&mut connection, &LetterFilter::default(), 10_000).await.expect("rows")
}

/// The broker knows of so many that are ready.
async fn until_ready(publisher: &Publisher, count: u32) {
    wait_for(&format!("{count} dead letters in the broker"), LIMIT, async || {
        Ok((publisher.ready_dead_letters().await? == count).then_some(()))
    })
    .await
    .expect("dead letters");
}

async fn manage(bed: &Bed, path: &str, body: &Value) -> Value {
    let url = format!("{}/api/{path}", bed.servers.management_url);
    let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    serde_json::from_str(&answer.text().await.expect("a body")).unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_letter_is_moved_with_what_can_be_read_of_it() {
    on_bed("dl_move", async |bed| {
        let publisher = Publisher::new(settings(&bed));
        publisher.publish_dead_letter(&job("10.0.0.1").encode(), "given up").await.expect("set aside");
        publisher.publish_dead_letter(b"hello", &"because ".repeat(1_000)).await.expect("set aside");
        publisher.publish_dead_letter(&vec![b'x'; 100_000], "too long").await.expect("set aside");
        until_ready(&publisher, 3).await;
        assert_eq!(moved(&bed).await.expect("moved"), MovedLetters { taken: 3, stored: 3, trimmed: 0 });
        let rows = rows(&bed).await;
        let [first, second, third] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!(first.reason, "given up");
        assert_eq!(
            (first.execution_id, first.detail_id, first.host_ip.as_deref()),
            (Some(7), Some(8), Some("10.0.0.1"))
        );
        assert!(first.is_job && first.queue == JobQueue::Bulk && first.body == job("10.0.0.1").encode());
        assert!((first.moved_at - first.dead_at).abs() < chrono::TimeDelta::minutes(5), "{first:?}");
        assert!(!second.is_job && second.execution_id.is_none() && second.reason.chars().count() == 1_000);
        assert_eq!((third.body.len(), third.body_bytes, third.is_job), (16_384, 100_000, false));
        assert_eq!(moved(&bed).await.expect("moved"), MovedLetters::default());
        assert_eq!(publisher.ready_dead_letters().await.expect("asked"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_letter_that_is_taken_again_after_a_crash_is_stored_once() {
    on_bed("dl_twice", async |bed| {
        let publisher = Publisher::new(settings(&bed));
        publisher.publish_dead_letter(b"hello", "not a job").await.expect("set aside");
        publisher.publish_dead_letter(b"hello", "not a job").await.expect("set aside");
        let queue = format!("queues/%2F/{}/get", Topology::new(&bed.name).dead_queue());
        let look = json!({"count": 10, "ackmode": "ack_requeue_true", "encoding": "auto"});
        until_ready(&publisher, 2).await;
        let seen = manage(&bed, &queue, &look).await;
        until_ready(&publisher, 2).await;
        assert_eq!(moved(&bed).await.expect("moved").stored, 2, "two that say the same are two");
        // As the broker gives them out again that had no ack.
        for letter in seen.as_array().expect("letters") {
            let again = json!({
                "properties": letter["properties"], "routing_key": "", "payload": letter["payload"],
                "payload_encoding": "string",
            });
            manage(&bed, &format!("exchanges/%2F/{}/publish", Topology::new(&bed.name).dead_exchange()), &again).await;
        }
        until_ready(&publisher, 2).await;
        assert_eq!(moved(&bed).await.expect("moved"), MovedLetters { taken: 2, stored: 0, trimmed: 0 });
        // Of what somebody else published nothing can be told: better twice than never.
        let foreign = json!({"properties": {}, "routing_key": "", "payload": "who?", "payload_encoding": "string"});
        for _ in 0..2 {
            manage(&bed, &format!("exchanges/%2F/{}/publish", Topology::new(&bed.name).dead_exchange()), &foreign)
                .await;
        }
        until_ready(&publisher, 2).await;
        assert_eq!(moved(&bed).await.expect("moved").stored, 2);
        assert_eq!(rows(&bed).await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn two_schedulers_share_the_letters() {
    on_bed("dl_share", async |bed| {
        let publisher = Publisher::new(settings(&bed));
        for letter in 0..250 {
            publisher.publish_dead_letter(format!("letter {letter}").as_bytes(), "not a job").await.expect("set aside");
        }
        until_ready(&publisher, 250).await;
        let all = async || {
            let mut stored = 0;
            loop {
                let chunk = moved(&bed).await.expect("moved");
                stored += chunk.stored;
                if chunk.taken == 0 {
                    return stored;
                }
            }
        };
        let (one, other) = tokio::join!(all(), all());
        assert_eq!(one + other, 250);
        let rows = rows(&bed).await;
        let bodies: std::collections::BTreeSet<_> = rows.iter().map(|row| row.body.clone()).collect();
        assert_eq!((rows.len(), bodies.len()), (250, 250));
    })
    .await;
}

#[tokio::test]
async fn a_letter_that_the_database_refuses_stays_in_the_broker_however_often() {
    on_bed("dl_refused", async |bed| {
        let publisher = Publisher::new(settings(&bed));
        publisher.publish_dead_letter(b"hello", "not a job").await.expect("set aside");
        bed.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON es_sync_dead_letter FOR EACH ROW
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no row'",
        )
        .await;
        // RabbitMQ 4 drops a message after 20 deliveries.
        for _ in 0..25 {
            until_ready(&publisher, 1).await;
            assert!(matches!(moved(&bed).await, Err(MoveError::Database(_))));
        }
        bed.execute("DROP TRIGGER refuse").await;
        until_ready(&publisher, 1).await;
        assert_eq!(moved(&bed).await.expect("moved").stored, 1);
        assert_eq!(rows(&bed).await[0].reason, "not a job");
    })
    .await;
}

#[tokio::test]
async fn the_newest_ten_thousand_are_kept() {
    on_bed("dl_trim", async |bed| {
        bed.execute(
            "INSERT INTO es_sync_dead_letter (body, body_bytes, is_job, reason, queue, dead_at, moved_at)
             SELECT '', 0, 0, 'old', 'bulk', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3)
             FROM (WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 106)
                   SELECT tens.n FROM numbers AS tens JOIN numbers AS ones) AS numbered",
        )
        .await;
        let publisher = Publisher::new(settings(&bed));
        publisher.publish_dead_letter(b"hello", "new").await.expect("set aside");
        until_ready(&publisher, 1).await;
        assert_eq!(moved(&bed).await.expect("moved"), MovedLetters { taken: 1, stored: 1, trimmed: 1_237 });
        let rows = rows(&bed).await;
        assert_eq!((rows.len(), rows.last().map(|row| row.reason.as_str())), (10_000, Some("new")));
    })
    .await;
}

#[tokio::test]
async fn a_job_is_put_back_with_its_trace_onto_the_queue_that_it_died_in() {
    on_bed("dl_requeue", async |bed| {
        let publisher = Publisher::new(settings(&bed));
        let traced = BTreeMap::from([("traceparent".to_owned(), "00-aa-bb-01".to_owned())]);
        let outgoing = OutgoingJob { job: job("10.0.0.1"), queue: JobQueue::Manual };
        assert!(publisher.publish(&[outgoing], &traced).await.is_complete());
        let path = format!("queues/%2F/{}/get", Topology::new(&bed.name).queue(JobQueue::Manual));
        wait_for("the broker to set it aside", LIMIT, async || {
            let reject = json!({"count": 1, "ackmode": "reject_requeue_false", "encoding": "auto"});
            manage(&bed, &path, &reject).await;
            Ok((publisher.ready_dead_letters().await? == 1).then_some(()))
        })
        .await
        .expect("a dead letter");
        publisher.publish_dead_letter(b"hello", "not a job").await.expect("set aside");
        until_ready(&publisher, 2).await;
        assert_eq!(moved(&bed).await.expect("moved").stored, 2);
        let ids: Vec<u64> = rows(&bed).await.iter().map(|row| row.id).collect();
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let report = requeue(&mut connection, &publisher, &ids).await.expect("put back");
        assert_eq!(report, RequeueReport { put_back: vec![ids[0]], kept: vec![ids[1]], refusal: None });
        assert_eq!(rows(&bed).await.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[1]]);
        let mut consumer = JobConsumer::connect(&settings(&bed), JobQueue::Manual, 10).await.expect("connected");
        let received = consumer.next(|| 0).await.expect("delivered");
        assert_eq!(received.job.expect("a job"), job("10.0.0.1"));
        assert_eq!(received.headers, traced);
        assert!(!received.redelivered);
        consumer.close().await.expect("closed");
        // Again: it is gone, so nothing is done.
        let report = requeue(&mut connection, &publisher, &ids[..1]).await.expect("nothing");
        assert_eq!(report, RequeueReport::default());
    })
    .await;
}
