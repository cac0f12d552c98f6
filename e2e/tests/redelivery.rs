//! Jobs that come more than once.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::bed::{Bed, on_bed};
use hostsync_e2e::client::{Client, wait_for};
use hostsync_e2e::documents::SampleHost;
use hostsync_e2e::service;
use hostsync_shared::execution::JobQueue;
use hostsync_shared::queue::{Job, JobConsumer, OutgoingJob, Publisher, QueueSettings, Topology, give_back};

const LIMIT: Duration = Duration::from_mins(1);

fn queue(bed: &Bed) -> QueueSettings {
    QueueSettings {
        url: bed.servers.rabbitmq_url.clone(),
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

async fn ready(bed: &Bed, hosts: u32) -> (service::Service, Client, Vec<String>) {
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

#[tokio::test]
async fn a_job_at_its_third_delivery_runs_alone_and_a_mark_found_standing_costs_an_attempt() {
    on_bed("solo", async |bed| {
        let (api, client, hosts) = ready(&bed, 4).await;
        let id = client.execute("solo", &hosts, "6h").await.expect("accepted");
        take_and_give_back(&bed, 4).await;
        take_and_give_back(&bed, 4).await;
        // One of them killed a worker when it ran alone before.
        sqlx::query("UPDATE es_sync_execution_detail SET solo_since = UTC_TIMESTAMP(3) WHERE host_ip = ?")
            .bind(&hosts[0])
            .execute(&bed.pool)
            .await
            .expect("a mark");
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        wait_for("the others to succeed, the marked one to have spent an attempt", LIMIT, async || {
            let (spent, succeeded, marks): (i64, i64, i64) = sqlx::query_as(
                "SELECT COUNT(CASE WHEN sync_status = 'pending' AND attempts = 1 AND retry_at IS NOT NULL THEN 1 END),
                        COUNT(CASE WHEN sync_status = 'success' AND attempts = 1 THEN 1 END),
                        COUNT(solo_since)
                 FROM es_sync_execution_detail",
            )
            .fetch_one(&bed.pool)
            .await?;
            Ok(((spent, succeeded, marks) == (1, 3, 0)).then_some(()))
        })
        .await
        .expect("spent");
        // Its next attempt goes well.
        sqlx::query("UPDATE es_sync_execution_detail SET retry_at = UTC_TIMESTAMP(3) WHERE retry_at IS NOT NULL")
            .execute(&bed.pool)
            .await
            .expect("due");
        let scheduler = service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 4, "{log}");
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}
