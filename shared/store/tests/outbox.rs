//! Publishing on a real broker and database: what is confirmed, what is guarded, what is never published twice by design.

use std::collections::BTreeMap;
use std::time::Duration;

use hostsync_metrics::{Metrics, PublishOutcome};
use hostsync_model::execution::{
    ClosingCause, Counts, DetailId, ExecutionId, ExecutionStatus, JobQueue, SyncStatus, TaskId, Trigger,
};
use hostsync_model::host::HostIp;
use hostsync_model::window::{TimeRange, Window};
use hostsync_queue::{Job, JobConsumer, OutgoingJob, Publisher, QueueSettings, Topology, ack_all};
use hostsync_service::operations::{Need, Readiness};
use hostsync_service::shutdown::Shutdown;
use hostsync_service::startup::{RABBITMQ, watch_broker};
use hostsync_store::closing::{close_execution, close_pending, close_unless_busy};
use hostsync_store::database;
use hostsync_store::fault::{Fault, StatementRefusal};
use hostsync_store::outbox::{Outbox, TurnEnd};
use hostsync_store::tables::details::outbox::NewDetail;
use hostsync_store::tables::executions::{
    self,
    counters::CounterChange,
    creation::{NewExecution, Scope},
    lease::LeaseToken,
    views::{ExecutionLog, LogFilter},
};
use hostsync_store::tables::{agenda, details, endpoint_state, hosts_pool};
use hostsync_store::word::Word;
use hostsync_testing::bed::{Bed, on_bed, rows_read};
use hostsync_testing::client::wait_for;
use hostsync_testing::documents::SampleHost;
use sqlx::MySqlConnection;
use tokio_util::sync::CancellationToken;

fn queue(bed: &Bed) -> QueueSettings {
    QueueSettings {
        url: bed.servers.rabbitmq_url.as_str().into(),
        topology: Topology::new(&bed.name),
        connection_name: "test".to_owned(),
    }
}

/// A run of a task over the pool, not yet prepared, held by the returned token.
async fn scheduled_run(bed: &Bed) -> (ExecutionId, LeaseToken) {
    let mut connection = bed.pool.acquire().await.expect("a connection");
    let now = database::now(&mut connection).await.expect("a time");
    let scope = Scope {
        window: Window::ending_at(now, &TimeRange::default_range()),
        query_time_range: "30d".into(),
        mon_date: now.date_naive(),
        es_endpoint: "default".to_owned(),
        es_index_pattern: "data-*".to_owned(),
        mapping: "zabbix".to_owned(),
    };
    let token = LeaseToken::new();
    let new = NewExecution {
        task_id: TaskId(1),
        task_name: "task",
        trigger: Trigger::Schedule,
        scheduled_for: Some(now),
        status: ExecutionStatus::Running,
        scope: &scope,
        queue: JobQueue::Bulk,
        created_by: "test",
        error_message: None,
        lease: Some(token),
        trace_context: None,
    };
    (executions::creation::insert(&mut connection, &new).await.expect("a run"), token)
}

async fn receive(bed: &Bed, count: usize) -> Vec<Job> {
    let mut consumer = JobConsumer::connect(&queue(bed), JobQueue::Bulk, 1_000).await.expect("a consumer");
    let mut jobs = Vec::new();
    while jobs.len() < count {
        let received = consumer.next(|| 0).await.expect("a delivery");
        jobs.push(received.job.expect("a job"));
        ack_all(vec![received.acker]).await;
    }
    consumer.close().await.expect("closed");
    // RabbitMQ drops acks that its channel has taken and its quorum queue has not: those jobs are ready again.
    let purge = format!("{}/api/queues/%2F/{}.jobs.bulk.v1/contents", bed.servers.management_url, bed.name);
    wait_for("an empty queue", Duration::from_secs(10), async || {
        reqwest::Client::new().delete(&purge).send().await?.error_for_status()?;
        let depth = Publisher::new(queue(bed)).ready_messages(JobQueue::Bulk).await?;
        Ok((depth == 0).then_some(()))
    })
    .await
    .expect("empty");
    jobs
}

#[tokio::test]
async fn a_run_over_the_pool_is_prepared_and_published_once_a_host() {
    on_bed("outbox", async |bed| {
        bed.add_to_pool((0..2_345).map(SampleHost)).await.expect("a pool");
        sqlx::query("UPDATE hosts_pool SET is_deleted = 1 WHERE id % 10 = 0")
            .execute(&bed.pool)
            .await
            .expect("deleted");
        let (live,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM hosts_pool WHERE is_deleted = 0")
            .fetch_one(&bed.pool)
            .await
            .expect("a count");
        let live = usize::try_from(live).expect("a count");
        let (id, token) = scheduled_run(&bed).await;
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        assert_eq!(outbox.carry_on(id, token).await.expect("published"), TurnEnd::Done);
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        assert_eq!((log.total_hosts, log.pending_count), (live as u64, live as u64));
        let jobs = receive(&bed, live).await;
        let hosts: std::collections::BTreeSet<&str> = jobs.iter().map(|job| job.host_ip.as_str()).collect();
        assert_eq!(hosts.len(), live);
        assert!(jobs.iter().all(|job| job.execution_id == id && job.attempt == 1));
        // Everything is published: nobody has anything to go on with.
        assert!(
            executions::backlog::unpublished(&mut connection, JobQueue::Bulk, 10).await.expect("a list").is_empty()
        );
        assert_eq!(outbox.claim_and_carry_on(id).await.expect("claimed"), TurnEnd::Done);
        let depth = Publisher::new(queue(&bed)).ready_messages(JobQueue::Bulk).await.expect("a depth");
        assert_eq!(depth, 0, "a claim of a published run publishes nothing");
    })
    .await;
}

#[tokio::test]
async fn a_run_over_an_empty_pool_ends_at_once() {
    on_bed("outbox_empty", async |bed| {
        let (id, token) = scheduled_run(&bed).await;
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        assert_eq!(outbox.carry_on(id, token).await.expect("ended"), TurnEnd::Done);
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        assert_eq!((log.execution_status.to_string().as_str(), log.total_hosts), ("success", 0));
        assert!(log.finished_at.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_holder_that_was_replaced_changes_nothing() {
    on_bed("outbox_guard", async |bed| {
        bed.add_to_pool((0..10).map(SampleHost)).await.expect("a pool");
        let (id, paused) = scheduled_run(&bed).await;
        sqlx::query("UPDATE es_sync_execution_log SET lease_until = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND")
            .execute(&bed.pool)
            .await
            .expect("the lease runs out");
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let heir = LeaseToken::new();
        assert!(executions::lease::claim(&mut connection, id, heir).await.expect("claimed").is_some());
        assert!(!executions::lease::renew(&mut connection, id, paused).await.expect("an answer"));
        assert!(!executions::lease::move_prepare_cursor(&mut connection, id, paused, 0, 5).await.expect("an answer"));
        assert!(!executions::lease::finish_preparing(&mut connection, id, paused, 10, 10).await.expect("an answer"));
        assert!(!executions::lease::move_watermark(&mut connection, id, paused, 0, 5).await.expect("an answer"));
        assert!(executions::lease::progress(&mut connection, id, paused).await.expect("an answer").is_none());
        assert!(executions::lease::claim(&mut connection, id, LeaseToken::new()).await.expect("an answer").is_none());
        // The old cursor guards as well, whoever holds the lease.
        assert!(!executions::lease::move_prepare_cursor(&mut connection, id, heir, 3, 5).await.expect("an answer"));
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        assert_eq!(outbox.carry_on(id, paused).await.expect("an answer"), TurnEnd::Replaced);
        assert_eq!(outbox.carry_on(id, heir).await.expect("published"), TurnEnd::Done);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_published_for_a_closed_endpoint() {
    on_bed("outbox_closed", async |bed| {
        bed.add_to_pool((0..10).map(SampleHost)).await.expect("a pool");
        let (id, token) = scheduled_run(&bed).await;
        let mut connection = bed.pool.acquire().await.expect("a connection");
        endpoint_state::close(&mut connection, "default", "it is away").await.expect("closed");
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        assert_eq!(outbox.carry_on(id, token).await.expect("an answer"), TurnEnd::EndpointClosed);
        assert!(
            executions::backlog::unpublished(&mut connection, JobQueue::Bulk, 10).await.expect("a list").is_empty()
        );
        assert!(
            !agenda::agenda(&mut connection).await.expect("an agenda").publish_bulk,
            "nobody is called for nothing"
        );
        assert!(!endpoint_state::claim_probe(&mut connection, "default").await.expect("an answer"), "not due yet");
        sqlx::query("UPDATE es_sync_endpoint_state SET probe_after = UTC_TIMESTAMP(3)")
            .execute(&bed.pool)
            .await
            .expect("due");
        let probes = [
            endpoint_state::claim_probe(&mut connection, "default").await.expect("an answer"),
            endpoint_state::claim_probe(&mut connection, "default").await.expect("an answer"),
        ];
        assert_eq!(probes, [true, false], "one probe at a time");
        assert!(endpoint_state::open(&mut connection, "default").await.expect("opened"));
        assert_eq!(executions::backlog::unpublished(&mut connection, JobQueue::Bulk, 10).await.expect("a list"), [id]);
        assert!(agenda::agenda(&mut connection).await.expect("an agenda").publish_bulk);
        assert_eq!(outbox.claim_and_carry_on(id).await.expect("published"), TurnEnd::Done);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_no_queue_takes_is_not_confirmed() {
    on_bed("outbox_unroutable", async |bed| {
        let publisher = Publisher::new(queue(&bed));
        let job = |n| OutgoingJob {
            queue: JobQueue::Bulk,
            job: Job {
                execution_id: ExecutionId(1),
                detail_id: DetailId(n),
                host_ip: "10.0.0.1".to_owned(),
                attempt: 1,
                window_to: None,
            },
        };
        let jobs: Vec<OutgoingJob> = (1..=5).map(job).collect();
        assert!(publisher.publish(&jobs, &BTreeMap::new()).await.is_complete());
        let unbind = format!(
            "{}/api/bindings/%2F/e/{}.jobs.v1/q/{}.jobs.bulk.v1/bulk",
            bed.servers.management_url, bed.name, bed.name
        );
        let unbound = reqwest::Client::new().delete(unbind).send().await.expect("an answer");
        assert!(unbound.status().is_success(), "{}", unbound.status());
        let report = publisher.publish(&jobs, &BTreeMap::new()).await;
        assert_eq!(report.confirmed_prefix(), 0, "an ack with a returned message is a failure");
        assert_eq!(report.error.expect("a reason").0, PublishOutcome::Returned);
    })
    .await;
}

#[tokio::test]
async fn counters_move_once_and_exactly_one_caller_ends_the_run() {
    on_bed("outbox_count", async |bed| {
        bed.add_to_pool((0..4).map(SampleHost)).await.expect("a pool");
        let (id, token) = scheduled_run(&bed).await;
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        outbox.carry_on(id, token).await.expect("published");
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let half = Counts { success: 1, failed: 1, ..Counts::default() };
        let going =
            executions::counters::count(&mut connection, id, &half, Some("one failed"), false).await.expect("counted");
        assert_eq!(going, CounterChange::Going);
        let rest = Counts { no_data: 1, not_in_pool: 1, ..Counts::default() };
        let ended = executions::counters::count(&mut connection, id, &rest, None, false).await.expect("counted");
        assert_eq!(ended, CounterChange::Ended(ExecutionStatus::Partial));
        let late = executions::counters::count(&mut connection, id, &rest, None, false).await.expect("an answer");
        assert_eq!(late, CounterChange::Closed, "an ended run takes no more results");
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        assert_eq!(log.error_message.as_deref(), Some("one failed"));
        assert_eq!(
            log.success_count + log.failed_count + log.no_data_count + log.not_in_pool_count + log.pending_count,
            log.total_hosts
        );
    })
    .await;
}

#[tokio::test]
async fn a_run_that_is_closed_while_it_is_prepared_keeps_the_hosts_inserted_so_far() {
    on_bed("outbox_close", async |bed| {
        bed.add_to_pool((0..10).map(SampleHost)).await.expect("a pool");
        let (id, token) = scheduled_run(&bed).await;
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let hosts: Vec<NewDetail> =
            (0..6).map(|n| NewDetail { host_ip: SampleHost(n).ip(), host_name: None }).collect();
        details::outbox::insert_pending(&mut connection, id, &hosts).await.expect("a chunk");
        assert!(executions::lease::move_prepare_cursor(&mut connection, id, token, 0, 6).await.expect("moved"));
        assert!(close_execution(&bed.pool, id, ClosingCause::Cancel, "by a person").await.expect("closed"));
        assert!(
            !close_execution(&bed.pool, id, ClosingCause::Deadline, "too late").await.expect("an answer"),
            "one closing status"
        );
        assert!(!executions::lease::move_prepare_cursor(&mut connection, id, token, 6, 10).await.expect("an answer"));
        let run = executions::closing::runs(&mut connection, 10).await.expect("a list").remove(0);
        assert_eq!(close_pending(&bed.pool, &run, DetailId(0)).await.expect("closed"), None);
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        assert_eq!(log.execution_status, ExecutionStatus::Cancelled);
        assert_eq!((log.total_hosts, log.cancelled_count, log.pending_count), (6, 6, 0));
    })
    .await;
}

#[tokio::test]
async fn hosts_that_end_by_the_closing_of_their_run_are_counted_once_by_its_cause() {
    on_bed("outbox_causes", async |bed| {
        let finished = |reason: &str, status: &str| {
            let series = format!("hostsync_jobs_finished_total{{reason=\"{reason}\",status=\"{status}\"}} ");
            let text = Metrics::global().render();
            let value = text.lines().find_map(|line| line.strip_prefix(&series));
            value.map_or(0, |value| value.parse::<u64>().expect("a number"))
        };
        bed.add_to_pool((0..7).map(SampleHost)).await.expect("a pool");
        for (cause, reason, status) in
            [(ClosingCause::Refused, "refused", "failed"), (ClosingCause::Deadline, "deadline", "failed")]
        {
            let (id, token) = scheduled_run(&bed).await;
            let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
            outbox.carry_on(id, token).await.expect("published");
            let before = finished(reason, status);
            assert!(close_execution(&bed.pool, id, cause, "for a test").await.expect("closed"));
            let mut connection = bed.pool.acquire().await.expect("a connection");
            let run = executions::closing::runs(&mut connection, 10).await.expect("a list").remove(0);
            assert_eq!(run.cause, Some(Word::Known(cause)));
            // As two schedulers at once would.
            let both =
                tokio::join!(close_pending(&bed.pool, &run, DetailId(0)), close_pending(&bed.pool, &run, DetailId(0)));
            assert_eq!((both.0.expect("closed"), both.1.expect("closed")), (None, None));
            assert_eq!(finished(reason, status) - before, 7, "{reason}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_row_somebody_holds_is_left_alone() {
    on_bed("outbox_locked", async |bed| {
        bed.add_to_pool((0..4).map(SampleHost)).await.expect("a pool");
        let (id, token) = scheduled_run(&bed).await;
        // As the services connect: what is read and not wanted is not locked.
        let pool = database::connect_lazy(&bed.database_url(), 2).expect("a URL");
        let outbox = Outbox::new(pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        outbox.carry_on(id, token).await.expect("published");
        let hold = async |sql: &'static str| {
            let mut transaction = bed.pool.begin().await.expect("a transaction");
            sqlx::query(sql).fetch_all(&mut *transaction).await.expect("held");
            transaction
        };
        let held = hold("SELECT id FROM es_sync_execution_log FOR UPDATE").await;
        // Each would wait for five seconds and fail.
        assert_eq!(outbox.claim_and_carry_on(id).await.expect("an answer"), TurnEnd::Replaced);
        assert!(!close_unless_busy(&pool, id, ClosingCause::Deadline, "late").await.expect("an answer"));
        held.rollback().await.expect("let go");
        assert!(close_unless_busy(&pool, id, ClosingCause::Deadline, "late").await.expect("closed"));
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let run = executions::closing::runs(&mut connection, 10).await.expect("a list").remove(0);
        drop(connection);
        let held = hold("SELECT id FROM es_sync_execution_log FOR UPDATE").await;
        assert_eq!(close_pending(&pool, &run, DetailId(0)).await.expect("an answer"), None);
        held.rollback().await.expect("let go");
        // Of the hosts too, only those are left that somebody holds.
        let held = hold("SELECT id FROM es_sync_execution_detail ORDER BY id LIMIT 1 FOR UPDATE").await;
        let last = close_pending(&pool, &run, DetailId(0)).await.expect("closed").expect("more");
        assert_eq!(close_pending(&pool, &run, last).await.expect("an answer"), None);
        held.rollback().await.expect("let go");
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        assert_eq!((log.failed_count, log.pending_count), (3, 1));
        assert_eq!(close_pending(&pool, &run, DetailId(0)).await.expect("closed"), None);
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        assert_eq!((log.execution_status.to_string().as_str(), log.failed_count), ("failed", 4));
    })
    .await;
}

#[tokio::test]
async fn a_long_run_is_prepared_and_published_in_turns() {
    on_bed("outbox_turns", async |bed| {
        bed.add_to_pool((0..4_100).map(SampleHost)).await.expect("a pool");
        let (id, token) = scheduled_run(&bed).await;
        let outbox =
            Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new()).with_turns_of(2);
        let mut turns = 1;
        let mut carried_on = outbox.carry_on(id, token).await.expect("a turn");
        while carried_on == TurnEnd::TurnOver {
            turns += 1;
            carried_on = outbox.claim_and_carry_on(id).await.expect("nobody holds it between its turns");
        }
        // A chunk of hosts, and three chunks of jobs.
        assert_eq!((carried_on, turns), (TurnEnd::Done, 2));
        let depth = Publisher::new(queue(&bed)).depth(JobQueue::Bulk).await.expect("a depth");
        assert_eq!((depth.ready, depth.consumers), (4_100, 0));
    })
    .await;
}

#[tokio::test]
async fn retries_are_published_when_their_clock_has_run_out() {
    on_bed("outbox_retry", async |bed| {
        bed.add_to_pool((0..6).map(SampleHost)).await.expect("a pool");
        let (id, token) = scheduled_run(&bed).await;
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        outbox.carry_on(id, token).await.expect("published");
        receive(&bed, 6).await;
        let ids: Vec<DetailId> = {
            let rows: Vec<u64> = sqlx::query_scalar("SELECT id FROM es_sync_execution_detail ORDER BY id")
                .fetch_all(&bed.pool)
                .await
                .expect("rows");
            rows.into_iter().map(DetailId).collect()
        };
        let mut connection = bed.pool.acquire().await.expect("a connection");
        details::clock::set_clock(&mut connection, &ids[..2], 0, true, "an attempt failed").await.expect("set");
        details::clock::set_clock(&mut connection, &ids[2..4], 3_600_000, false, "the source is away").await.expect("set");
        // Full jitter may give a clock of now: push those of the second pair out of reach.
        sqlx::query("UPDATE es_sync_execution_detail SET retry_at = UTC_TIMESTAMP(3) + INTERVAL 1 HOUR WHERE attempts = 0 AND retry_at IS NOT NULL")
            .execute(&bed.pool)
            .await
            .expect("later");
        let run = executions::backlog::with_due_clocks(&mut connection, ExecutionId(0), 10).await.expect("a list").remove(0);
        assert_eq!(outbox.publish_due(&run).await.expect("published"), 2);
        let jobs = receive(&bed, 2).await;
        assert!(jobs.iter().all(|job| job.attempt == 2), "{jobs:?}");
        assert_eq!(outbox.publish_due(&run).await.expect("an answer"), 0);
        // Repair passes over rows that have a clock.
        let token = LeaseToken::new();
        executions::lease::claim(&mut connection, id, token).await.expect("claimed").expect("free");
        assert!(executions::repair::publish_anew(&mut connection, id, 0, token).await.expect("repaired"));
        assert!(!executions::repair::publish_anew(&mut connection, id, 0, token).await.expect("an answer"), "seen by another too late");
        outbox.carry_on(id, token).await.expect("published");
        assert_eq!(receive(&bed, 4).await.len(), 4);
        let depth = Publisher::new(queue(&bed)).ready_messages(JobQueue::Bulk).await.expect("a depth");
        assert_eq!(depth, 0);
    })
    .await;
}

#[tokio::test]
async fn rows_of_a_host_list_stand_once_each() {
    on_bed("outbox_list", async |bed| {
        let hosts: Vec<HostIp> = (0..2_500).map(|n| SampleHost(n).ip().parse().expect("an address")).collect();
        let (id, _) = scheduled_run(&bed).await;
        let mut connection = bed.pool.acquire().await.expect("a connection");
        details::outbox::insert_hosts(&mut connection, id, &hosts).await.expect("inserted");
        assert_eq!(details::outbox::totals(&mut connection, id).await.expect("totals").0, 2_500);
        let again = details::outbox::insert_hosts(&mut connection, id, &hosts[..1]).await.expect_err("a duplicate");
        assert_eq!(Fault::of(&again), Fault::Refused(StatementRefusal::Duplicate));
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_told_in_the_words_of_the_broker() {
    on_bed("outbox_password", async |bed| {
        let mut url: url::Url = bed.servers.rabbitmq_url.parse().expect("a URL");
        url.set_password(Some("wr0ng-secret")).expect("it has a host");
        let settings = QueueSettings { url: url.as_str().into(), ..queue(&bed) };
        let readiness = Readiness::new([(RABBITMQ, Need::Informational)]);
        let shutdown = Shutdown::manual(Duration::ZERO);
        let watch =
            watch_broker(Publisher::new(settings), readiness.clone(), Metrics::global().new_loops(), shutdown.clone());
        let watching = tokio::spawn(watch);
        let message = || readiness.body().checks[RABBITMQ].message.clone();
        wait_for("the broker has refused", Duration::from_mins(1), async || {
            Ok(message().contains("ACCESS_REFUSED").then_some(()))
        })
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", message()));
        assert!(!message().contains("wr0ng-secret"), "{}", message());
        shutdown.begin();
        watching.await.expect("a quiet end");
    })
    .await;
}

/// Prepares and publishes a run over the pool; its log.
async fn run_over_the_pool(bed: &Bed) -> (ExecutionId, ExecutionLog) {
    let (id, token) = scheduled_run(bed).await;
    let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(bed)), CancellationToken::new());
    outbox.carry_on(id, token).await.expect("carried on");
    let mut connection = bed.pool.acquire().await.expect("a connection");
    (id, executions::views::find(&mut connection, id).await.expect("a row").expect("a log"))
}

#[tokio::test]
async fn a_pool_row_that_cannot_be_read_is_told_and_the_others_run() {
    on_bed("outbox_unreadable", async |bed| {
        bed.execute("ALTER TABLE hosts_pool MODIFY host_ip VARCHAR(200) NULL, MODIFY host_name VARCHAR(400) NULL,
                 MODIFY is_deleted TINYINT(1) NULL;
             INSERT INTO hosts_pool (host_ip, host_name, is_deleted) VALUES
                 ('10.0.0.1', 'good', 0), (NULL, 'no address', 0), ('', 'empty', 0), (REPEAT('x', 70), 'long', 0),
                 ('10.0.0.2', REPEAT('n', 300), NULL), ('10.0.0.3', '数据库 😊', 0), ('web-1', NULL, 0),
                 ('10.0.0.4', 'gone', 1), ('库', 'no ASCII', 0)",
        )
        .await;
        let (id, log) = run_over_the_pool(&bed).await;
        assert_eq!((log.prepared, log.total_hosts, log.execution_status.to_string().as_str()), (true, 4, "running"));
        let told = "rows of hosts_pool that cannot be read were left out (4): id 2 (host_ip is empty), id 3 (host_ip is empty), \
                    id 4 (host_ip is longer than 50 characters), …";
        assert_eq!(log.warnings(), [told]);
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let rows = details::views::list(&mut connection, id, &details::views::DetailFilter::default(), 10).await.expect("rows");
        let rows: Vec<_> = rows.iter().map(|row| (row.host_ip.as_str(), row.host_name.as_deref())).collect();
        let cut = "n".repeat(255);
        assert_eq!(
            rows,
            [("10.0.0.1", Some("good")), ("10.0.0.2", Some(&*cut)), ("10.0.0.3", Some("数据库 😊")), ("web-1", None)]
        );
    })
    .await;
}

#[tokio::test]
async fn what_stands_in_the_pool_twice_is_one_host_and_told() {
    on_bed("outbox_twice", async |bed| {
        // The repeats stand in other chunks than the rows they repeat.
        bed.add_to_pool((0..5_200).map(SampleHost)).await.expect("a pool");
        bed.execute(
            "INSERT INTO hosts_pool (host_ip, host_name) VALUES ('::ffff:10.0.0.1', 'mapped'), ('::FFFF:A00:2', 'hex'),
                 ('2001:DB8::A', 'six'), ('2001:0db8:0:0:0:0:0:a', 'again'), ('\t10.0.0.3', 'blank')",
        )
        .await;
        let (_, log) = run_over_the_pool(&bed).await;
        assert_eq!(log.total_hosts, 5_201);
        let told = log.warnings();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("one host (4): 2001:db8::a, 10.0.0.1, 10.0.0.2, …"), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn a_host_that_the_database_refuses_is_left_out_and_one_refused_like_all_ends_the_run() {
    on_bed("outbox_refused", async |bed| {
        bed.add_to_pool((0..300).map(SampleHost)).await.expect("a pool");
        bed.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON es_sync_execution_detail FOR EACH ROW
             IF NEW.host_ip IN ('10.0.0.7', '10.0.0.200') THEN
                 SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one';
             END IF",
        )
        .await;
        let (_, log) = run_over_the_pool(&bed).await;
        assert_eq!(log.total_hosts, 298);
        let told = "hosts that the database refused to store were left out (2): 10.0.0.7: not this one (error 1644), \
                    10.0.0.200: not this one (error 1644)";
        assert_eq!(log.warnings(), [told]);

        bed.execute(
            "DROP TRIGGER refuse;
             CREATE TRIGGER refuse BEFORE INSERT ON es_sync_execution_detail FOR EACH ROW
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'nobody'",
        )
        .await;
        let (id, log) = run_over_the_pool(&bed).await;
        assert_eq!(
            log.error_message.as_deref(),
            Some("the database refuses to store the hosts of the run: nobody (error 1644)")
        );
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let mut closing = executions::closing::runs(&mut connection, 10).await.expect("a list");
        close_pending(&bed.pool, &closing.remove(0), DetailId(0)).await.expect("closed");
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        assert_eq!((log.execution_status.to_string().as_str(), log.total_hosts), ("failed", 0));
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_pool_cannot_be_read_at_all_says_what_it_waits_for() {
    on_bed("outbox_no_pool", async |bed| {
        bed.add_to_pool((0..3).map(SampleHost)).await.expect("a pool");
        bed.execute("ALTER TABLE hosts_pool CHANGE host_name title VARCHAR(50) NOT NULL").await;
        let (id, token) = scheduled_run(&bed).await;
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        outbox.carry_on(id, token).await.expect_err("no such column");
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        let waiting_for = log.waiting_for.expect("a reason");
        assert!(waiting_for.starts_with("the database refuses to prepare the run: "), "{waiting_for}");
        assert!(waiting_for.contains("host_name"), "{waiting_for}");
        // Progress clears it.
        bed.execute("ALTER TABLE hosts_pool CHANGE title host_name VARCHAR(50) NOT NULL").await;
        assert_eq!(outbox.claim_and_carry_on(id).await.expect("published"), TurnEnd::Done);
        let log = executions::views::find(&mut connection, id).await.expect("a row").expect("a log");
        assert_eq!((log.total_hosts, log.waiting_for), (3, None));
    })
    .await;
}

#[tokio::test]
async fn a_run_of_which_nothing_comes_goes_behind_the_others() {
    on_bed("outbox_turns", async |bed| {
        bed.execute("ALTER TABLE hosts_pool CHANGE host_name title VARCHAR(50) NOT NULL").await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let (id, token) = scheduled_run(&bed).await;
            executions::lease::release(&mut bed.pool.acquire().await.expect("a connection"), id, token)
                .await
                .expect("released");
            ids.push(id);
        }
        // As the release before this one leaves it: published in part, without a turn.
        bed.execute("UPDATE es_sync_execution_log SET published_at = UTC_TIMESTAMP(3) ORDER BY id DESC LIMIT 1").await;
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        for turn in 0..7 {
            let turns = executions::backlog::unpublished(&mut connection, JobQueue::Bulk, 10).await.expect("a list");
            assert_eq!(turns, [ids[turn % 3], ids[(turn + 1) % 3], ids[(turn + 2) % 3]], "turn {turn}");
            outbox.claim_and_carry_on(turns[0]).await.expect_err("no such column");
        }
    })
    .await;
}

#[tokio::test]
async fn few_failed_hosts_among_many_are_found_without_a_walk() {
    on_bed("outbox_status", async |bed| {
        bed.add_to_pool((0..20_000).map(SampleHost)).await.expect("a pool");
        let (id, token) = scheduled_run(&bed).await;
        let outbox = Outbox::new(bed.pool.clone(), Publisher::new(queue(&bed)), CancellationToken::new());
        outbox.carry_on(id, token).await.expect("carried on");
        let mut connection = bed.pool.acquire().await.expect("a connection");
        // All its jobs are on their way: that no clock is due is seen without a walk through them.
        sqlx::query("FLUSH STATUS").execute(&mut *connection).await.expect("from 0");
        assert!(!agenda::agenda(&mut connection).await.expect("an agenda").retry);
        let read = rows_read(&mut connection).await;
        assert!(read < 100, "{read} rows read");
        bed.execute(
            "UPDATE es_sync_execution_detail SET sync_status = 'success';
             UPDATE es_sync_execution_detail SET sync_status = 'failed' ORDER BY id DESC LIMIT 3;
             UPDATE es_sync_execution_detail SET sync_status = 'cancelled' ORDER BY id LIMIT 2",
        )
        .await;
        let filter =
            |status| details::views::DetailFilter { status: Some(status), ..details::views::DetailFilter::default() };
        for (status, hosts) in [(SyncStatus::Failed, 3), (SyncStatus::NoData, 0), (SyncStatus::Success, 500)] {
            sqlx::query("FLUSH STATUS").execute(&mut *connection).await.expect("from 0");
            let rows = details::views::list(&mut connection, id, &filter(status), 500).await.expect("rows");
            let read = rows_read(&mut connection).await;
            assert_eq!(rows.len(), hosts);
            assert!(read < hosts as u64 * 2 + 20, "{read} rows read for {hosts} that are {status}");
        }
        sqlx::query("FLUSH STATUS").execute(&mut *connection).await.expect("from 0");
        assert_eq!(details::outbox::unsuccessful(&mut connection, id, 0, 5_000).await.expect("rows").len(), 5);
        assert_eq!(details::views::failed_hosts(&mut connection, id, 0, 200).await.expect("rows").len(), 3);
        let read = rows_read(&mut connection).await;
        assert!(read < 50, "{read} rows read");
        // Later pages, a page of all hosts and a chunk of the pool read what they show, too.
        let middle: u64 = sqlx::query_scalar("SELECT MIN(id) + 10000 FROM es_sync_execution_detail")
            .fetch_one(&mut *connection)
            .await
            .expect("an id");
        for (status, hosts) in [(Some(SyncStatus::Failed), 3), (Some(SyncStatus::Success), 100), (None, 100)] {
            sqlx::query("FLUSH STATUS").execute(&mut *connection).await.expect("from 0");
            let page =
                details::views::DetailFilter { status, after: middle, ..details::views::DetailFilter::default() };
            assert_eq!(details::views::list(&mut connection, id, &page, 100).await.expect("rows").len(), hosts);
            let read = rows_read(&mut connection).await;
            assert!(read < 250, "{read} rows read for a later page of {status:?}");
        }
        sqlx::query("FLUSH STATUS").execute(&mut *connection).await.expect("from 0");
        let all = details::views::DetailFilter::default();
        assert_eq!(details::views::list(&mut connection, id, &all, 100).await.expect("rows").len(), 100);
        assert_eq!(hosts_pool::rows_after(&mut connection, 50, 100).await.expect("rows").len(), 100);
        let read = rows_read(&mut connection).await;
        assert!(read < 500, "{read} rows read");
    })
    .await;
}

#[tokio::test]
async fn rounds_in_which_the_database_refused_are_counted_apart_from_repairs_of_mere_silence() {
    on_bed("refusal_rounds", async |bed| {
        let (id, _) = scheduled_run(&bed).await;
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let set = async |change: &'static str| {
            let statement = format!("UPDATE es_sync_execution_log SET {change}");
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&bed.pool).await.expect("a change");
        };
        set("repair_count = 9, repaired_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND").await;
        let refused = async |connection: &mut MySqlConnection| {
            executions::repair::note_refusal(connection, id).await.expect("noted")
        };
        assert_eq!(refused(&mut connection).await, 1, "however often it was repaired before");
        assert_eq!(refused(&mut connection).await, 1, "another batch of the same round");
        set("repaired_at = refused_at + INTERVAL 1 SECOND, refused_at = refused_at - INTERVAL 1 SECOND").await;
        assert_eq!(refused(&mut connection).await, 2);
        set("progress_at = refused_at, refused_at = refused_at - INTERVAL 1 SECOND").await;
        assert_eq!(refused(&mut connection).await, 1, "it went on meanwhile");
    })
    .await;
}

#[tokio::test]
async fn a_word_of_a_newer_release_hides_no_row_and_concerns_its_own_run_alone() {
    on_bed("words", async |bed| {
        let (newer, _) = scheduled_run(&bed).await;
        bed.execute(
            "UPDATE es_sync_execution_log
             SET scheduled_for = NULL, `trigger` = 'event', queue = 'express', query_time_range = 'since monday',
                 lease_token = NULL, lease_until = NULL",
        )
        .await;
        let (known, _) = scheduled_run(&bed).await;
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let logs = executions::views::list(&mut connection, &LogFilter::default(), 10).await.expect("a list");
        let shown: Vec<String> = logs.iter().map(|log| format!("{} {}", log.trigger, log.query_time_range)).collect();
        assert_eq!(shown, ["schedule 30d", "event since monday"]);
        let unknown_in = |error: sqlx::Error| match error {
            sqlx::Error::ColumnDecode { index, source } => (index, source.to_string()),
            other => panic!("{other}"),
        };
        let told = |word: &str| format!("this release does not know the word {word:?}");
        let mut transaction = bed.pool.begin().await.expect("a transaction");
        let claimed = executions::lease::claim(&mut transaction, newer, LeaseToken::new()).await;
        assert_eq!(unknown_in(claimed.expect_err("no such queue")), ("queue".to_owned(), told("express")));
        transaction.rollback().await.expect("rolled back");

        bed.execute(&format!(
            "UPDATE es_sync_execution_log
             SET closing_status = 'paused', closing_cause = 'pause', prepared_at = UTC_TIMESTAMP(3) WHERE id = {newer}"
        ))
        .await;
        assert!(close_execution(&bed.pool, known, ClosingCause::Cancel, "enough").await.expect("closing"));
        let closing = executions::closing::runs(&mut connection, 10).await.expect("a list");
        assert_eq!(closing.iter().map(|run| run.id).collect::<Vec<_>>(), [newer, known]);
        let closed = close_pending(&bed.pool, &closing[0], DetailId(0)).await;
        assert_eq!(unknown_in(closed.expect_err("no such outcome")), ("closing_status".to_owned(), told("paused")));
        assert_eq!(close_pending(&bed.pool, &closing[1], DetailId(0)).await.expect("closed"), None);
        let log = executions::views::find(&mut connection, known).await.expect("a row").expect("a log");
        assert_eq!(log.execution_status, ExecutionStatus::Cancelled);
    })
    .await;
}
