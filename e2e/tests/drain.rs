//! A worker that is told to stop in the middle of a large run: it ends within its grace period, and no job is done twice.
//!
//! What was done is counted where it can be seen: in what the workers sent to the search engine, and in the rows. The
//! figures are printed: `cargo test -p hostsync-e2e --test drain -- --nocapture`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests make their documents now and print their figures"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use hostsync_e2e::service;
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use hostsync_testing::gate::Gate;
use hostsync_testing::once::{assert_each_host_once, assert_no_attempt_spent};
use hostsync_testing::process::Process;

const LIMIT: Duration = Duration::from_mins(2);

/// The default of `worker.shutdown_grace`.
const GRACE: Duration = Duration::from_secs(45);

/// The shortest that is allowed: searches are given up after a second, everything else at its end.
const SHORTEST_GRACE: Duration = Duration::from_secs(11);

/// What a process may need to notice that its grace period is over, and to end.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How often a search names each of its hosts: among those it looks for, and among those it groups by.
const MENTIONS_A_SEARCH: usize = 2;

/// Sample hosts in the pool, each with documents in the last six hours.
async fn pool_with_documents(bed: &Bed, hosts: u32) -> Vec<String> {
    let hosts: Vec<SampleHost> = (0..hosts).map(SampleHost).collect();
    bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
    let step = TimeDelta::hours(2);
    let (from, to) = (Utc::now() - TimeDelta::hours(6), Utc::now() + step);
    bed.index.fill(hosts.iter().copied(), from, to, step, |_| {}).await.expect("documents");
    hosts.iter().map(|host| host.ip()).collect()
}

async fn wait_until_finished(client: &Client, id: u64, hosts: u64) {
    wait_for(&format!("{hosts} hosts to be finished"), LIMIT, async || {
        Ok((client.execution(id).await?["success_count"].as_u64() >= Some(hosts)).then_some(()))
    })
    .await
    .expect("under way");
}

/// How many details this worker has finished.
async fn finished_by(bed: &Bed, worker: u32) -> i64 {
    let finished = format!(
        "SELECT COUNT(*) FROM es_sync_execution_detail AS detail
         JOIN es_sync_search AS search USING (execution_id, search_id) WHERE search.worker LIKE '%/{worker}'"
    );
    bed.count(&finished).await.expect("a number")
}

/// How many deliveries came again after they had been given back, by the broker's count.
async fn given_back(bed: &Bed) -> u64 {
    let mut count = 0;
    for queue in ["bulk", "manual"] {
        let name = format!("jobs.{queue}.v1");
        // The broker counts its messages anew every few seconds: a queue that is empty says that it has done so.
        let stats = wait_for("the queue to be empty", LIMIT, async || {
            let queue = bed.queue(&name).await?;
            Ok((queue["messages"] == 0).then_some(queue))
        })
        .await
        .expect("an empty queue");
        count += stats["message_stats"]["redeliver"].as_u64().unwrap_or(0);
    }
    count
}

/// How often each of these hosts was asked for over a door that recorded.
fn searches(gate: &Gate, hosts: &[String]) -> BTreeMap<String, usize> {
    let mut mentions: BTreeMap<String, usize> = hosts.iter().map(|host| (host.clone(), 0)).collect();
    for connection in gate.recorded() {
        for word in String::from_utf8_lossy(&connection).split('"') {
            if let Some(count) = mentions.get_mut(word) {
                *count += 1;
            }
        }
    }
    assert!(mentions.values().all(|count| count % MENTIONS_A_SEARCH == 0), "a search names its hosts in another way");
    mentions.into_iter().map(|(host, count)| (host, count / MENTIONS_A_SEARCH)).collect()
}

async fn hosts_inserted(bed: &Bed) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM es_sync_execution_detail WHERE inserted = 1")
        .fetch_one(&bed.pool)
        .await
        .expect("a number")
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_under_load_exits_in_time_and_no_job_is_done_twice() {
    on_bed("drain", async |bed| {
        // More than a person's own queue takes: these go to the queue of the schedules.
        let hosts = pool_with_documents(&bed, 6_000).await;
        let (gate, slow_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.record();
        gate.delay(Duration::from_secs(1));
        let environment = bed.environment(&[
            ("HOSTSYNC_WORKER__BATCH_HOSTS", "100"),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", &slow_url),
        ]);
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let start = || Process::start("hostsync-worker", &environment).expect("a worker");
        let (victim, others) = (start(), [start(), start()]);
        let victim_id = victim.id().expect("it runs");
        wait_for("each worker to be there", LIMIT, async || {
            Ok((bed.queue("jobs.bulk.v1").await?["consumers"] == 3).then_some(()))
        })
        .await
        .expect("three consumers");
        let id = client.execute("drain", &hosts, "6h").await.expect("accepted");
        wait_until_finished(&client, id, 1_000).await;
        wait_for("each worker to be at work", LIMIT, async || {
            Ok((finished_by(&bed, victim_id).await > 0).then_some(()))
        })
        .await
        .expect("at work");

        let told = Instant::now();
        assert_eq!(victim.terminate(GRACE).await.expect("an end within the grace period"), 0);
        let took = told.elapsed();
        let half = client.execution(id).await.expect("a log");
        assert_eq!(half["execution_status"], "running", "it was stopped too late: {half}");

        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_each_host_once(&client, &log, hosts.len()).await;
        assert_eq!(log["success_count"].as_u64(), Some(hosts.len() as u64), "{log}");
        assert_no_attempt_spent(&client, id).await;
        let more_than_once: Vec<_> = searches(&gate, &hosts).into_iter().filter(|(_, count)| *count != 1).collect();
        assert!(more_than_once.is_empty(), "not searched exactly once: {more_than_once:?}");
        // Written twice, a host's second result would say that it overwrote the first.
        assert_eq!(hosts_inserted(&bed).await, i64::try_from(hosts.len()).expect("small"));
        let by_victim = finished_by(&bed, victim_id).await;
        let back = given_back(&bed).await;
        println!(
            "told to stop after {} of {} jobs: exit 0 after {} ms; it had finished {by_victim} jobs and gave {back} back; \
             every host searched once and written once",
            half["success_count"],
            hosts.len(),
            took.as_millis()
        );
        for other in others {
            assert_eq!(other.terminate(GRACE).await.expect("an end"), 0);
        }
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn searches_that_outlast_the_grace_period_are_given_up_and_their_jobs_done_by_another_worker() {
    on_bed("drain_search", async |bed| {
        let hosts = pool_with_documents(&bed, 600).await;
        let (gate, slow_url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        let small = ("HOSTSYNC_WORKER__BATCH_HOSTS", "100");
        let slow = ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", slow_url.as_str());
        let grace = format!("{}s", SHORTEST_GRACE.as_secs());
        let grace = ("HOSTSYNC_WORKER__SHUTDOWN_GRACE", grace.as_str());
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        gate.record();
        // Longer than the grace period, shorter than the time-out of a search.
        gate.delay(Duration::from_secs(25));
        let victim = Process::start("hostsync-worker", &bed.environment(&[small, slow, grace])).expect("a worker");
        let victim_id = victim.id().expect("it runs");
        let id = client.execute("drain", &hosts, "6h").await.expect("accepted");
        wait_for("the worker to search", LIMIT, async || Ok((gate.requests() > 0).then_some(()))).await.expect("a search");

        let told = Instant::now();
        let limit = SHORTEST_GRACE + LAST_WAIT;
        assert_eq!(victim.terminate(limit).await.expect("an end within the grace period"), 0);
        let took = told.elapsed();
        assert!(took < SHORTEST_GRACE, "{took:?}: the search was waited for");
        assert_eq!(finished_by(&bed, victim_id).await, 0);

        let heir = Process::start("hostsync-worker", &bed.environment(&[small])).expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_each_host_once(&client, &log, hosts.len()).await;
        assert_eq!(log["success_count"].as_u64(), Some(hosts.len() as u64), "{log}");
        assert_no_attempt_spent(&client, id).await;
        assert_eq!(hosts_inserted(&bed).await, i64::try_from(hosts.len()).expect("small"));
        let back = given_back(&bed).await;
        println!(
            "told to stop in the middle of searches of 25 s, with a grace period of {} s: exit 0 after {} ms; {back} jobs \
             were given back and done by another",
            SHORTEST_GRACE.as_secs(),
            took.as_millis()
        );
        assert_eq!(heir.terminate(GRACE).await.expect("an end"), 0);
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_outlasts_the_grace_period_is_rolled_back_and_its_jobs_done_by_another_worker() {
    on_bed("drain_write", async |bed| {
        let hosts = pool_with_documents(&bed, 300).await;
        let small = ("HOSTSYNC_WORKER__BATCH_HOSTS", "100");
        let grace = format!("{}s", SHORTEST_GRACE.as_secs());
        let grace = ("HOSTSYNC_WORKER__SHUTDOWN_GRACE", grace.as_str());
        let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let id = client.execute("drain", &hosts, "6h").await.expect("accepted");
        wait_for("the jobs to be published", LIMIT, async || {
            let published: Option<u64> = sqlx::query_scalar(
                "SELECT id FROM es_sync_execution_log WHERE id = ? AND published_watermark > 0 AND lease_until IS NULL",
            )
            .bind(id)
            .fetch_optional(&bed.pool)
            .await?;
            Ok(published)
        })
        .await
        .expect("published");
        // Whoever wants to count a result waits here.
        let mut holder = bed.pool.begin().await.expect("a transaction");
        sqlx::query("SELECT id FROM es_sync_execution_log WHERE id = ? FOR UPDATE")
            .bind(id)
            .fetch_one(&mut *holder)
            .await
            .expect("held");
        let victim = Process::start("hostsync-worker", &bed.environment(&[small, grace])).expect("a worker");
        let victim_id = victim.id().expect("it runs");
        wait_for("the worker to wait for the row", LIMIT, async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM information_schema.processlist
                 WHERE db = ? AND command <> 'Sleep' AND time >= 1 AND id <> CONNECTION_ID()",
            )
            .bind(&bed.name)
            .fetch_one(&bed.pool)
            .await?;
            Ok((waiting > 0).then_some(()))
        })
        .await
        .expect("it waits");

        let told = Instant::now();
        assert_eq!(victim.terminate(SHORTEST_GRACE + LAST_WAIT).await.expect("an end within the grace period"), 0);
        let took = told.elapsed();
        holder.rollback().await.expect("let go");
        assert_eq!(finished_by(&bed, victim_id).await, 0, "what it had begun was rolled back");

        let heir = Process::start("hostsync-worker", &bed.environment(&[small])).expect("a worker");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_each_host_once(&client, &log, hosts.len()).await;
        assert_eq!(log["success_count"].as_u64(), Some(hosts.len() as u64), "{log}");
        assert_no_attempt_spent(&client, id).await;
        assert_eq!(hosts_inserted(&bed).await, i64::try_from(hosts.len()).expect("small"));
        let back = given_back(&bed).await;
        println!(
            "told to stop while a row is locked by others, with a grace period of {} s: exit 0 after {} ms; {back} jobs \
             were given back and done by another",
            SHORTEST_GRACE.as_secs(),
            took.as_millis()
        );
        assert_eq!(heir.terminate(GRACE).await.expect("an end"), 0);
        api.stop().await.expect("a quiet end");
    })
    .await;
}
