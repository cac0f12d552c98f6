//! Jobs that come more than once.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::service;
use hostsync_model::execution::JobQueue;
use hostsync_queue::{Job, JobConsumer, OutgoingJob, Publisher, QueueSettings, Topology, give_back, reject};
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use hostsync_testing::gate::Gate;
use hostsync_testing::process::Process;

const LIMIT: Duration = Duration::from_mins(1);

fn queue(bed: &Bed) -> QueueSettings {
    QueueSettings {
        url: bed.servers.rabbitmq_url.as_str().into(),
        topology: Topology::new(&bed.name),
        connection_name: "test".to_owned(),
    }
}

/// Takes `count` jobs and gives them back, as a worker does that stops.
async fn take_and_give_back(bed: &Bed, count: usize) -> Vec<Job> {
    let mut consumer = JobConsumer::connect(&queue(bed), JobQueue::Manual, 100).await.expect("a consumer");
    let mut jobs = Vec::new();
    let mut ackers = Vec::new();
    while jobs.len() < count {
        let received = consumer.next(|| 0).await.expect("a delivery");
        jobs.push(received.job.expect("a job"));
        ackers.push(received.acker);
    }
    consumer.cancel().await.expect("cancelled");
    give_back(ackers).await;
    consumer.close().await.expect("closed");
    jobs
}

async fn ready(bed: &Bed, hosts: u32) -> (service::RunningService, Client, Vec<String>) {
    bed.add_to_pool((0..hosts).map(SampleHost)).await.expect("a pool");
    bed.index_last_day((0..hosts).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
    let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
    let client = Client::new(&api.url());
    client.wait_until_ready(LIMIT).await.expect("ready");
    (api, client, (0..hosts).map(|n| SampleHost(n).ip()).collect())
}

#[tokio::test]
async fn a_redelivered_job_changes_no_counter_and_no_row() {
    on_bed("redelivered", async |bed| {
        let (api, client, hosts) = ready(&bed, 10).await;
        let id = client.execute("redelivered", &hosts, "6h").await.expect("accepted");
        let jobs = take_and_give_back(&bed, 10).await;
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        let details = client.details(id).await.expect("details");
        let rows = async || -> Vec<(u64, String, String)> {
            sqlx::query_as(
                "SELECT CAST(id AS UNSIGNED), ip, CAST(update_time AS CHAR) FROM server_resources ORDER BY id",
            )
            .fetch_all(&bed.pool)
            .await
            .expect("rows")
        };
        let before = rows().await;
        // All of them once more, as after a lost ack.
        let again: Vec<OutgoingJob> =
            jobs.into_iter().map(|job| OutgoingJob { job, queue: JobQueue::Manual }).collect();
        let publisher = Publisher::new(queue(&bed));
        assert!(publisher.publish(&again, &std::collections::BTreeMap::new()).await.is_complete());
        wait_for("all of them to be acked", LIMIT, async || {
            let queue = bed.queue("jobs.manual.v1").await?;
            Ok((queue["messages"] == 0 && queue["message_stats"]["ack"].as_u64() >= Some(20)).then_some(()))
        })
        .await
        .expect("acked");
        assert_eq!(client.execution(id).await.expect("a log"), log);
        assert_eq!(client.details(id).await.expect("details"), details);
        assert_eq!(rows().await, before);
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

/// How often jobs of the bed were begun again and not ended.
async fn begun(bed: &Bed) -> i64 {
    bed.count("SELECT CAST(COALESCE(SUM(begun), 0) AS SIGNED) FROM es_sync_execution_detail").await.expect("a sum")
}

#[tokio::test]
async fn orderly_stops_count_nothing_however_many_there_are() {
    on_bed("orderly", async |bed| {
        let (api, client, hosts) = ready(&bed, 10).await;
        let id = client.execute("orderly", &hosts, "6h").await.expect("accepted");
        for _ in 0..3 {
            take_and_give_back(&bed, 10).await;
        }
        // A worker that stops while it searches, with jobs begun.
        let (gate, mute_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.mute(true);
        let mute = [("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", mute_url.as_str())];
        let worker = service::worker(bed.config(&mute).expect("a configuration")).await.expect("a worker");
        wait_for("jobs to have begun again", LIMIT, async || Ok((begun(&bed).await > 0).then_some(())))
            .await
            .expect("begun");
        worker.stop().await.expect("a quiet end");
        assert_eq!(begun(&bed).await, 0);
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 10, "{log}");
        let details = client.details(id).await.expect("details");
        assert!(details.iter().all(|detail| detail["attempts"] == 1), "{details:?}");
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_job_that_kills_its_workers_runs_alone_and_then_costs_an_attempt() {
    on_bed("killer", async |bed| {
        let (api, client, hosts) = ready(&bed, 1).await;
        let id = client.execute("killer", &hosts, "6h").await.expect("accepted");
        let (gate, mute_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.mute(true);
        let mute = bed.environment(&[("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", mute_url.as_str())]);
        // The first delivery is counted by nobody; the second once, the third, alone, twice.
        for counted in 0..3 {
            let asked = gate.requests();
            let victim = Process::start("hostsync-worker", &mute).expect("a worker");
            wait_for("the job to be searched", LIMIT, async || {
                Ok((gate.requests() > asked && begun(&bed).await == counted).then_some(()))
            })
            .await
            .expect("begun");
            victim.kill().await.expect("killed");
        }
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        let row = wait_for("the attempt to be spent", LIMIT, async || {
            Ok(sqlx::query_as::<_, (u32, String, u32)>(
                "SELECT attempts, error_message, begun FROM es_sync_execution_detail WHERE retry_at IS NOT NULL",
            )
            .fetch_optional(&bed.pool)
            .await?)
        })
        .await
        .expect("spent");
        assert_eq!(row, (1, "a worker that had this host alone died while it worked on it".to_owned(), 0));
        // Its next attempt goes well.
        sqlx::query("UPDATE es_sync_execution_detail SET retry_at = UTC_TIMESTAMP(3) WHERE retry_at IS NOT NULL")
            .execute(&bed.pool)
            .await
            .expect("due");
        let scheduler = service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 1, "{log}");
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_count_whose_commit_got_no_answer_is_known_by_its_writer() {
    on_bed("lost_commit", async |bed| {
        let (api, client, hosts) = ready(&bed, 1).await;
        let id = client.execute("lost_commit", &hosts, "6h").await.expect("accepted");
        take_and_give_back(&bed, 1).await;
        // A worker died on it: it runs alone now, and one more crash would cost an attempt.
        sqlx::query("UPDATE es_sync_execution_detail SET begun = 1, begun_by = 7")
            .execute(&bed.pool)
            .await
            .expect("a count");
        // Else a server that has a certificate, as MySQL makes itself one, lets nobody at the door read.
        let readable = format!("{}?ssl-mode=disabled", bed.database_url());
        let (gate, url) = Gate::before(&readable).await.expect("a door");
        gate.lose_answer_to("SET begun = begun + 1", 1);
        let through = [("HOSTSYNC_DATABASE__URL", url.as_str())];
        let worker = service::worker(bed.config(&through).expect("a configuration")).await.expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(gate.answers_to_lose(), 0);
        assert_eq!(log["success_count"], 1, "{log}");
        assert_eq!(client.details(id).await.expect("details")[0]["attempts"], 1);
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_job_of_another_host_or_window_than_its_row_changes_nothing() {
    on_bed("stray", async |bed| {
        let (api, client, hosts) = ready(&bed, 3).await;
        let id = client.execute("stray", &hosts, "6h").await.expect("accepted");
        let jobs = take_and_give_back(&bed, 3).await;
        assert!(jobs.iter().all(|job| job.window_to.is_some()));
        // As a database that was restored leaves them: the ids are there again, for other hosts and other windows.
        let later = |job: &Job| job.window_to.map(|to| to + TimeDelta::milliseconds(1));
        let strays: Vec<Job> = jobs
            .iter()
            .zip(jobs.iter().cycle().skip(1))
            .flat_map(|(job, other)| {
                [
                    Job { host_ip: other.host_ip.clone(), ..job.clone() },
                    Job { host_ip: other.host_ip.clone(), window_to: None, ..job.clone() },
                    Job { window_to: later(job), ..job.clone() },
                ]
            })
            .collect();
        bed.purge("jobs.manual.v1").await.expect("purged");
        let publish = async |jobs: Vec<Job>| {
            let jobs: Vec<OutgoingJob> =
                jobs.into_iter().map(|job| OutgoingJob { job, queue: JobQueue::Manual }).collect();
            assert!(Publisher::new(queue(&bed)).publish(&jobs, &std::collections::BTreeMap::new()).await.is_complete());
        };
        publish(strays).await;
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        wait_for("the strays to be acked", LIMIT, async || {
            let queue = bed.queue("jobs.manual.v1").await?;
            Ok((queue["messages"] == 0 && queue["message_stats"]["ack"].as_u64() >= Some(9)).then_some(()))
        })
        .await
        .expect("acked");
        assert_eq!(bed.count("SELECT COUNT(*) FROM server_resources").await.expect("a count"), 0);
        let untouched = "SELECT COUNT(*) FROM es_sync_execution_detail
                         WHERE sync_status = 'pending' AND attempts = 0 AND retry_at IS NULL AND begun = 0";
        assert_eq!(bed.count(untouched).await.expect("a count"), 3);
        // Its own jobs fit: as this release writes them, as the one before did.
        let own = jobs.iter().enumerate().map(|(n, job)| match n {
            0 => Job { window_to: None, ..job.clone() },
            _ => job.clone(),
        });
        publish(own.collect()).await;
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 3, "{log}");
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_rejected_job_comes_again_and_says_that_it_does() {
    on_bed("rejected", async |bed| {
        let (api, client, hosts) = ready(&bed, 1).await;
        client.execute("rejected", &hosts, "6h").await.expect("accepted");
        let mut consumer = JobConsumer::connect(&queue(&bed), JobQueue::Manual, 100).await.expect("a consumer");
        for round in 0..3 {
            let received = consumer.next(|| 0).await.expect("a delivery");
            assert_eq!(received.redelivered, round > 0, "round {round}");
            reject(vec![received.acker]).await;
        }
        consumer.close().await.expect("closed");
        api.stop().await.expect("a quiet end");
    })
    .await;
}
