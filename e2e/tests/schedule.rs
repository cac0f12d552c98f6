//! Schedules at work: overlap, missed fires, anchors over a restart, changes that take effect, retention.

#![allow(clippy::disallowed_methods, reason = "tests look at the clock")]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_e2e::service::{self, RunningService};
use hostsync_queue::Publisher;
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use hostsync_testing::gate::Gate;
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

/// Fires so rarely that a test sees none.
const NEVER: &str = "0 0 0 1 1 *";

async fn api(bed: &Bed) -> (RunningService, Client) {
    let api = service::api(bed.config(&[]).expect("a configuration")).await.expect("an API");
    let client = Client::new(&api.url());
    client.wait_until_ready(LIMIT).await.expect("ready");
    (api, client)
}

async fn scheduler(bed: &Bed) -> RunningService {
    service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler")
}

async fn stop(services: impl IntoIterator<Item = RunningService>) {
    for service in services {
        service.stop().await.expect("a quiet end");
    }
}

async fn create(client: &Client, body: &Value) -> u64 {
    client.ok(Method::POST, "/es-sync-tasks", Some(body)).await.expect("a task")["task_id"].as_u64().expect("an id")
}

async fn now(bed: &Bed) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT UTC_TIMESTAMP(3)").fetch_one(&bed.pool).await.expect("the time")
}

/// The logs of a task, oldest first.
async fn logs(client: &Client, task: u64) -> Vec<Value> {
    let mut logs = client.execution_logs(task).await.expect("logs");
    logs.reverse();
    logs
}

/// The logs of a task once it has so many.
async fn wait_for_logs(client: &Client, task: u64, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} executions"), LIMIT, async || {
        Ok((client.execution_logs(task).await?.len() >= count).then_some(()))
    })
    .await
    .expect("executions");
    logs(client, task).await
}

/// The logs of a task, oldest first, once so many of its fires had their turn: a scheduler that a slow machine holds up passes
/// over fires for newer ones.
async fn wait_for_fires(client: &Client, task: u64, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} fires in time"), LIMIT, async || {
        let mut logs = client.execution_logs(task).await?;
        logs.reverse();
        logs.retain(|log| !reason(log).contains("a newer fire of this task had come due"));
        Ok((logs.len() >= count).then_some(logs))
    })
    .await
    .expect("fires")
}

fn time(log: &Value, field: &str) -> DateTime<Utc> {
    log[field].as_str().expect(field).parse().expect(field)
}

fn statuses(logs: &[Value]) -> Vec<&str> {
    logs.iter().map(|log| log["execution_status"].as_str().expect("a status")).collect()
}

fn reason(log: &Value) -> &str {
    log["error_message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_fire_is_skipped_while_the_last_run_is_going() {
    on_bed("overlap_skip", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let scheduler = scheduler(&bed).await;
        // Without a worker the first run goes on.
        let task = client.create_enabled_task("skip", "@every 1s", "1h").await.expect("a task");
        let seen = wait_for_fires(&client, task, 3).await;
        client.enable_task(task, false).await.expect("disabled");
        assert_eq!(statuses(&seen)[..3], ["running", "skipped", "skipped"]);
        for log in &seen[1..3] {
            assert_eq!(reason(log), "the last run of this task was still going");
            assert_eq!((&log["total_hosts"], &log["duration_ms"]), (&json!(0), &json!(0)));
            assert!(log["finished_at"].is_string());
        }
        // A run by hand counts as a run of the task.
        let by_hand = create(&client, &json!({"task_name": "by hand", "cron_expression": "@every 1s"})).await;
        client.ok(Method::POST, &format!("/es-sync-tasks/{by_hand}/execute"), None).await.expect("accepted");
        client.enable_task(by_hand, true).await.expect("enabled");
        let seen = wait_for_logs(&client, by_hand, 2).await;
        assert_eq!((&seen[0]["trigger"], &seen[1]["execution_status"]), (&json!("manual"), &json!("skipped")));
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn runs_of_a_task_may_overlap_where_that_is_allowed() {
    on_bed("overlap_allow", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let scheduler = scheduler(&bed).await;
        let body = json!({"task_name": "allow", "cron_expression": "@every 1s", "overlap_policy": "allow",
                          "is_enabled": true});
        let task = create(&client, &body).await;
        let seen = wait_for_fires(&client, task, 3).await;
        assert_eq!(statuses(&seen)[..3], ["running"; 3]);
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn a_queued_run_starts_when_the_one_before_it_has_ended() {
    on_bed("overlap_queue", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..2).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let (api, client) = api(&bed).await;
        let scheduler = scheduler(&bed).await;
        let body = json!({"task_name": "queue", "cron_expression": "@every 2s", "overlap_policy": "queue",
                          "is_enabled": true, "query_time_range": "24h"});
        let task = create(&client, &body).await;
        let seen = wait_for_fires(&client, task, 3).await;
        assert_eq!(statuses(&seen)[..3], ["running", "waiting", "skipped"]);
        assert_eq!(reason(&seen[2]), "a run of this task was already waiting");
        let (first, second) = (seen[0]["id"].as_u64().expect("an id"), seen[1]["id"].as_u64().expect("an id"));
        // No more fires, but still enabled.
        let rare = json!({"cron_expression": NEVER});
        client.ok(Method::PUT, &format!("/es-sync-tasks/{task}"), Some(&rare)).await.expect("changed");

        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        let first = client.wait_for_end(first, LIMIT).await.expect("an end");
        let second = client.wait_for_end(second, LIMIT).await.expect("an end");
        assert_eq!((&first["execution_status"], &second["execution_status"]), (&json!("success"), &json!("success")));
        assert!(time(&second, "execution_time") >= time(&first, "finished_at"), "{first}\n{second}");
        // It reads what it was to read when it fired.
        assert_eq!(second["window_to"], second["scheduled_for"]);
        stop([worker, scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn the_run_that_waits_ends_skipped_when_its_task_is_disabled() {
    on_bed("waiting_disabled", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let scheduler = scheduler(&bed).await;
        let body =
            json!({"task_name": "queue", "cron_expression": NEVER, "overlap_policy": "queue", "is_enabled": true});
        let task = create(&client, &body).await;
        let path = format!("/es-sync-tasks/{task}/execute");
        let run = async || {
            client.ok(Method::POST, &path, None).await.expect("accepted")["execution_id"].as_u64().expect("an id")
        };
        let (going, waiting) = (run().await, run().await);
        client.enable_task(task, false).await.expect("disabled");
        let log = client.execution(waiting).await.expect("a log");
        assert_eq!(log["execution_status"], "skipped");
        assert_eq!(reason(&log), "the task was disabled while this run waited");
        assert_eq!(client.execution(going).await.expect("a log")["execution_status"], "running");

        // One made by hand starts like any other when its turn has come.
        client.enable_task(task, true).await.expect("enabled");
        let waiting = run().await;
        client.ok(Method::POST, &format!("/es-sync-executions/{going}/cancel"), None).await.expect("cancelled");
        wait_for("the run to start", LIMIT, async || {
            let log = client.execution(waiting).await?;
            Ok((log["execution_status"] == "running" && log["total_hosts"] == 2).then_some(()))
        })
        .await
        .expect("started");
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn missed_fires_are_rows_with_their_reason_and_the_newest_runs() {
    on_bed("missed", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let each_minute = client.create_enabled_task("minutes", "0 * * * * *", "1h").await.expect("a task");
        let body = json!({"task_name": "seconds", "cron_expression": "* * * * * *", "catch_up_window": "0s",
                          "is_enabled": true});
        let each_second = create(&client, &body).await;
        let task = async |name: &str, window: &str| {
            let body =
                json!({"task_name": name, "cron_expression": NEVER, "catch_up_window": window, "is_enabled": true});
            create(&client, &body).await
        };
        let (late, too_late) = (task("late", "10m").await, task("too late", "1m").await);
        // The minute must not change before the scheduler looks.
        wait_for("a minute that is young", LIMIT, async || {
            Ok((bed.count("SELECT SECOND(UTC_TIMESTAMP())").await.expect("a number") < 40).then_some(()))
        })
        .await
        .expect("young");
        // As if no scheduler had run for a while.
        let set = async |task: u64, due: &str| {
            bed.execute(format!("UPDATE es_sync_task_config SET next_execution_time = {due} WHERE id = {task}")).await;
        };
        let whole = "STR_TO_DATE(DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%d %H:%i:00'), '%Y-%m-%d %H:%i:%s')";
        set(each_minute, &format!("{whole} - INTERVAL 5 MINUTE")).await;
        set(each_second, &format!("{whole} - INTERVAL 5 MINUTE")).await;
        set(late, &format!("{whole} - INTERVAL 5 MINUTE")).await;
        set(too_late, &format!("{whole} - INTERVAL 5 MINUTE")).await;
        let began = now(&bed).await;
        let scheduler = scheduler(&bed).await;

        let seen = wait_for_logs(&client, each_minute, 6).await;
        assert_eq!(statuses(&seen)[..5], ["skipped"; 5]);
        assert_eq!(seen[5]["execution_status"], "running");
        for pair in seen.windows(2) {
            assert_eq!(time(&pair[1], "scheduled_for") - time(&pair[0], "scheduled_for"), TimeDelta::minutes(1));
        }
        for log in &seen[..5] {
            assert_eq!(reason(log), "missed: no scheduler ran it within 1m");
        }
        assert!(began - time(&seen[5], "scheduled_for") < TimeDelta::minutes(1), "{}", seen[5]);

        // More than a hundred in a row are one row, with first, last and count.
        let seen = wait_for_logs(&client, each_second, 1).await;
        let (first, row) = (began - TimeDelta::minutes(7), &seen[0]);
        assert_eq!(row["execution_status"], "skipped");
        let words: Vec<&str> = reason(row).split(' ').collect();
        let ["missed:", count, "fires", "from", from_date, from_time, "UTC", "to", to_date, to_time, "UTC,", ..] =
            words[..]
        else {
            panic!("{}", reason(row))
        };
        let at = |date: &str, time: &str| -> DateTime<Utc> { format!("{date}T{time}Z").parse().expect("a time") };
        let (from, to) = (at(from_date, from_time), at(to_date, to_time));
        assert!(from > first && to - from >= TimeDelta::minutes(4), "{}", reason(row));
        assert_eq!(count.parse::<i64>().expect("a count"), (to - from).num_seconds() + 1);
        assert_eq!(time(row, "scheduled_for"), to);

        // How late a fire may still run is the task's to say.
        let run = wait_for_logs(&client, late, 1).await;
        assert_eq!(statuses(&run), ["running"]);
        assert_eq!(run[0]["window_to"], run[0]["scheduled_for"]);
        assert!(began - time(&run[0], "scheduled_for") >= TimeDelta::minutes(5));
        assert_eq!(statuses(&wait_for_logs(&client, too_late, 1).await), ["skipped"]);
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn tasks_that_are_due_together_fire_in_bulk_and_none_is_missed_for_being_late() {
    on_bed("bulk", async |bed| {
        let schedulers = [scheduler(&bed).await, scheduler(&bed).await];
        wait_for("schedulers at work", LIMIT, async || {
            let at_work = bed.count("SELECT COUNT(*) FROM es_sync_scheduler_shift").await.expect("a number");
            Ok((at_work == 2).then_some(()))
        })
        .await
        .expect("at work");
        // One fire stands already, and one can never be made: its row is refused.
        bed.execute("CREATE TRIGGER refuse BEFORE INSERT ON es_sync_execution_log FOR EACH ROW
             BEGIN IF NEW.task_name = 'task 7' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF; END",
        )
        .await;
        let mut transaction = bed.pool.begin().await.expect("a transaction");
        sqlx::query(
            "INSERT INTO es_sync_task_config
                 (task_name, cron_expression, time_zone, overlap_policy, catch_up_window, query_time_range, is_enabled,
                  next_execution_time)
             WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 700)
             SELECT CONCAT('task ', n), '0 0 0 1 1 *', 'UTC', 'skip', '0s', '1h', 1, UTC_TIMESTAMP() + INTERVAL 1 SECOND FROM n",
        )
        .execute(&mut *transaction)
        .await
        .expect("tasks");
        sqlx::query(
            "INSERT INTO es_sync_execution_log (task_id, task_name, scheduled_for, execution_status, execution_time)
             SELECT id, 'stands already', next_execution_time, 'success', UTC_TIMESTAMP() FROM es_sync_task_config
             WHERE task_name = 'task 8'",
        )
        .execute(&mut *transaction)
        .await
        .expect("a fire");
        // And one is by a policy that only a newer release knows.
        sqlx::query(
            "INSERT INTO es_sync_task_config (task_name, cron_expression, overlap_policy, is_enabled, next_execution_time)
             VALUES ('of a newer release', '0 0 0 1 1 *', 'replace', 1, UTC_TIMESTAMP() - INTERVAL 1 SECOND)",
        )
        .execute(&mut *transaction)
        .await
        .expect("a task");
        transaction.commit().await.expect("committed");
        // Somebody holds one of them while it is due.
        let ninth = bed.count("SELECT CAST(id AS SIGNED) FROM es_sync_task_config WHERE task_name = 'task 9'").await.expect("a number");
        let mut held = bed.pool.begin().await.expect("a transaction");
        sqlx::query("SELECT id FROM es_sync_task_config WHERE id = ? FOR UPDATE")
            .bind(ninth)
            .fetch_one(&mut *held)
            .await
            .expect("held");
        let fired = "SELECT COUNT(*) FROM es_sync_execution_log WHERE `trigger` = 'schedule'";
        wait_for("all others", LIMIT, async || Ok((bed.count(fired).await.expect("a number") == 697).then_some(())))
            .await
            .expect("fired");
        drop(held);
        wait_for("the one that was held", LIMIT, async || Ok((bed.count(fired).await.expect("a number") == 698).then_some(())))
            .await
            .expect("fired");
        let newer = "SELECT COUNT(*) FROM es_sync_execution_log WHERE task_name = 'of a newer release'";
        assert_eq!(bed.count(newer).await.expect("a number"), 0, "no other policy stands in");
        // Late as they are, with no catch-up window, each has run.
        assert_eq!(bed.count("SELECT COUNT(*) FROM es_sync_execution_log WHERE execution_status = 'skipped'").await.expect("a number"), 0);
        let moved = "SELECT COUNT(*) FROM es_sync_task_config WHERE next_execution_time > UTC_TIMESTAMP() + INTERVAL 1 MINUTE";
        assert_eq!(bed.count(moved).await.expect("a number"), 699);
        let known = "SELECT COUNT(*) FROM es_sync_task_config AS task JOIN es_sync_execution_log AS log
                     ON log.id = task.last_execution_id AND log.task_id = task.id";
        assert_eq!(bed.count(known).await.expect("a number"), 698);
        bed.execute("DROP TRIGGER refuse").await;
        wait_for("the one that was refused", LIMIT, async || Ok((bed.count(fired).await.expect("a number") == 699).then_some(())))
            .await
            .expect("fired");
        stop(schedulers).await;
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_row_is_held_holds_up_no_other() {
    on_bed("held", async |bed| {
        let (api, client) = api(&bed).await;
        let hosts = [SampleHost(0).ip()];
        let first = client.execute("held", &hosts, "1h").await.expect("accepted");
        let second = client.execute("free", &hosts, "1h").await.expect("accepted");
        // Beyond the deadline of a day.
        bed.execute("UPDATE es_sync_execution_log SET execution_time = UTC_TIMESTAMP(3) - INTERVAL 25 HOUR").await;
        let mut held = bed.pool.begin().await.expect("a transaction");
        sqlx::query("SELECT id FROM es_sync_execution_log WHERE id = ? FOR UPDATE")
            .bind(first)
            .fetch_one(&mut *held)
            .await
            .expect("held");
        let scheduler = scheduler(&bed).await;
        let log = client.wait_for_end(second, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "failed", "{log}");
        drop(held);
        let log = client.wait_for_end(first, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "failed", "{log}");
        stop([scheduler, api]).await;
    })
    .await;
}

/// Inserts runs over the pool with these ids, of an hour ago, which nobody has begun to prepare.
async fn insert_runs(bed: &Bed, ids: std::ops::RangeInclusive<u64>) {
    let rows: Vec<String> = ids
        .map(|id| {
            format!(
                "({id}, 'run {id}', UTC_TIMESTAMP(3) - INTERVAL 1 HOUR, 'running', 'bulk', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3),
                  UTC_DATE(), 'default', 'x', 'zabbix')"
            )
        })
        .collect();
    let insert =
        "INSERT INTO es_sync_execution_log (id, task_name, execution_time, execution_status, queue, window_from,
                      window_to, mon_date, es_endpoint, es_index_pattern, mapping) VALUES ";
    bed.execute(format!("{insert}{}", rows.join(", "))).await;
}

/// Has such runs prepared over one host each, by whom it does not matter, with nothing published.
async fn prepare_runs(bed: &Bed, first: u64) {
    bed.execute(format!(
        "INSERT INTO es_sync_execution_detail (execution_id, host_ip, sync_status)
             SELECT id, '10.0.0.1', 'pending' FROM es_sync_execution_log WHERE id >= {first}"
    ))
    .await;
    bed.execute(format!(
        "UPDATE es_sync_execution_log AS log JOIN es_sync_execution_detail AS detail ON detail.execution_id = log.id
             SET log.prepared_at = UTC_TIMESTAMP(3), log.total_hosts = 1, log.pending_count = 1,
                 log.last_detail_id = detail.id WHERE log.id >= {first}"
    ))
    .await;
}

#[tokio::test]
async fn runs_that_cannot_be_prepared_hold_up_no_run_behind_them() {
    on_bed("unprepared", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        // More than a round of the sweep takes, and the run behind them is younger.
        insert_runs(&bed, 1..=41).await;
        prepare_runs(&bed, 41).await;
        bed.execute("UPDATE es_sync_execution_log SET execution_time = UTC_TIMESTAMP(3) WHERE id = 41").await;
        bed.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON es_sync_execution_log FOR EACH ROW
             BEGIN IF NEW.id <= 40 AND OLD.prepared_at IS NULL AND NEW.prepared_at IS NOT NULL
             THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF; END",
        )
        .await;
        let scheduler = scheduler(&bed).await;
        let published = "SELECT COUNT(*) FROM es_sync_execution_log WHERE published_watermark >= last_detail_id
                         AND prepared_at IS NOT NULL";
        wait_for("the run behind them", LIMIT, async || {
            Ok((bed.count(published).await.expect("a number") == 1).then_some(()))
        })
        .await
        .expect("published");
        // They go on as soon as they can.
        bed.execute("DROP TRIGGER refuse").await;
        wait_for(
            "all of them",
            LIMIT,
            async || Ok((bed.count(published).await.expect("a number") == 41).then_some(())),
        )
        .await
        .expect("published");
        stop([scheduler]).await;
    })
    .await;
}

#[tokio::test]
async fn a_lock_on_the_details_holds_up_no_fire() {
    on_bed("locked_details", async |bed| {
        let (api, client) = api(&bed).await;
        let task =
            create(&client, &json!({"task_name": "on time", "cron_expression": NEVER, "is_enabled": true})).await;
        insert_runs(&bed, 1..=3).await;
        prepare_runs(&bed, 1).await;
        // Closed when it is dropped, and the lock with it.
        let mut locked = bed.pool.acquire().await.expect("a connection").detach();
        sqlx::raw_sql("LOCK TABLES es_sync_execution_detail WRITE").execute(&mut locked).await.expect("locked");
        let scheduler = scheduler(&bed).await;
        let waiting = "SELECT COUNT(*) FROM information_schema.processlist
                       WHERE db = DATABASE() AND state LIKE 'Waiting for table%'";
        wait_for("the sweeps to wait", LIMIT, async || {
            Ok((bed.count(waiting).await.expect("a number") >= 2).then_some(()))
        })
        .await
        .expect("waiting");
        bed.execute(format!("UPDATE es_sync_task_config SET next_execution_time = UTC_TIMESTAMP(3) WHERE id = {task}"))
            .await;
        wait_for_logs(&client, task, 1).await;
        sqlx::raw_sql("UNLOCK TABLES").execute(&mut locked).await.expect("still locked until now");
        drop(locked);
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn a_fire_while_the_database_is_away_is_late_and_not_missed() {
    on_bed("away", async |bed| {
        bed.add_to_pool((0..1).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let (gate, url) = Gate::before(&bed.database_url()).await.expect("a door");
        let more = [("HOSTSYNC_DATABASE__URL", url.as_str())];
        let scheduler = service::scheduler(bed.config(&more).expect("a configuration")).await.expect("a scheduler");
        let body = json!({"task_name": "late", "cron_expression": NEVER, "catch_up_window": "0s", "is_enabled": true});
        let task = create(&client, &body).await;
        let at_work = "SELECT COUNT(*) FROM es_sync_scheduler_shift";
        // The second sign of life shows that it has heard of the first.
        let again = "SELECT COUNT(*) FROM es_sync_scheduler_shift WHERE seen_at > began_at";
        wait_for("a scheduler at work", LIMIT, async || {
            Ok((bed.count(again).await.expect("a number") == 1).then_some(()))
        })
        .await
        .expect("at work");
        gate.shut();
        let set = "UPDATE es_sync_task_config SET next_execution_time = UTC_TIMESTAMP() + INTERVAL 2 SECOND WHERE id =";
        bed.execute(format!("{set} {task}")).await;
        let silence = "SELECT TIMESTAMPDIFF(SECOND, MAX(seen_at), UTC_TIMESTAMP(3)) FROM es_sync_scheduler_shift";
        wait_for(
            "a long silence",
            LIMIT,
            async || Ok((bed.count(silence).await.expect("a number") > 20).then_some(())),
        )
        .await
        .expect("silent");
        assert!(logs(&client, task).await.is_empty());
        gate.open();
        let seen = wait_for_logs(&client, task, 1).await;
        assert_eq!(statuses(&seen), ["running"], "{seen:?}");
        wait_for(
            "a sign of life",
            LIMIT,
            async || Ok((bed.count(silence).await.expect("a number") < 10).then_some(())),
        )
        .await
        .expect("alive");
        assert_eq!(bed.count(at_work).await.expect("a number"), 1, "it is the same shift");
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn after_weeks_without_a_scheduler_tasks_that_fire_each_second_are_planned_in_parts() {
    on_bed("weeks", async |bed| {
        bed.add_to_pool((0..1).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        for n in 0..3 {
            let body = json!({"task_name": format!("seconds {n}"), "cron_expression": "* * * * * *",
                              "catch_up_window": "0s", "is_enabled": true});
            create(&client, &body).await;
        }
        bed.execute("UPDATE es_sync_task_config SET next_execution_time = UTC_TIMESTAMP() - INTERVAL 14 DAY").await;
        let scheduler = scheduler(&bed).await;
        let recorded =
            "SELECT COUNT(*) FROM es_sync_execution_log WHERE error_message LIKE 'missed: at least 100000 fires %'";
        wait_for("all that was missed", LIMIT, async || {
            Ok((bed.count(recorded).await.expect("a number") == 3).then_some(()))
        })
        .await
        .expect("recorded");
        let fired = "SELECT COUNT(DISTINCT task_id) FROM es_sync_execution_log WHERE execution_status = 'running'";
        wait_for("all of them to run", LIMIT, async || {
            Ok((bed.count(fired).await.expect("a number") == 3).then_some(()))
        })
        .await
        .expect("running");
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn a_task_whose_schedule_cannot_be_read_stays_enabled_and_fires_once_it_can() {
    on_bed("unreadable", async |bed| {
        let (api, client) = api(&bed).await;
        bed.execute(
            "INSERT INTO es_sync_task_config (task_name, cron_expression, is_enabled, next_execution_time)
             VALUES ('new', 'whenever', 1, NULL), ('due', 'whenever', 1, UTC_TIMESTAMP(3))",
        )
        .await;
        let scheduler = scheduler(&bed).await;
        let other = client.create_enabled_task("other", "@every 1s", "1h").await.expect("a task");
        wait_for_logs(&client, other, 3).await;
        let enabled = "SELECT COUNT(*) FROM es_sync_task_config WHERE cron_expression = 'whenever' AND is_enabled = 1";
        assert_eq!(bed.count(enabled).await.expect("a number"), 2);
        bed.execute("UPDATE es_sync_task_config SET cron_expression = '@every 1s' WHERE cron_expression = 'whenever'")
            .await;
        let fired = "SELECT COUNT(DISTINCT task_id) FROM es_sync_execution_log WHERE task_name IN ('new', 'due')";
        wait_for("both to fire", LIMIT, async || Ok((bed.count(fired).await.expect("a number") == 2).then_some(())))
            .await
            .expect("fired");
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_run_waits_for_is_told_until_it_moves() {
    on_bed("waits", async |bed| {
        bed.add_to_pool((0..1).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let scheduler = scheduler(&bed).await;
        let run = client.execute("waits", &[SampleHost(0).ip()], "1h").await.expect("accepted");
        let told = wait_for("a word", LIMIT, async || {
            Ok(client.execution(run).await?["waiting_for"].as_str().filter(|text| !text.is_empty()).map(str::to_owned))
        })
        .await
        .expect("told");
        assert!(told.contains("which no worker consumes"), "{told}");
        let url = format!("{}/metrics", scheduler.url());
        wait_for("the metric", LIMIT, async || {
            let text = reqwest::get(&url).await?.text().await?;
            Ok(text.contains("hostsync_executions_waiting{kind=\"no_consumer\"} 1").then_some(()))
        })
        .await
        .expect("counted");
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        let log = client.wait_for_end(run, LIMIT).await.expect("an end");
        assert_eq!(log["waiting_for"].as_str().unwrap_or_default(), "", "{log}");
        stop([worker, scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn every_is_not_shifted_by_a_restart_of_the_scheduler() {
    on_bed("anchor", async |bed| {
        let (api, client) = api(&bed).await;
        let first = scheduler(&bed).await;
        let task = client.create_enabled_task("anchored", "@every 2s", "1h").await.expect("a task");
        let anchor: DateTime<Utc> = sqlx::query_scalar("SELECT schedule_anchor FROM es_sync_task_config")
            .fetch_one(&bed.pool)
            .await
            .expect("an anchor");
        wait_for_logs(&client, task, 2).await;
        stop([first]).await;
        // For more than a fire there is no scheduler.
        let fires = logs(&client, task).await.len();
        let gone = now(&bed).await;
        wait_for("time to pass", LIMIT, async || {
            Ok((now(&bed).await - gone > TimeDelta::milliseconds(4_700)).then_some(()))
        })
        .await
        .expect("passed");
        assert_eq!(logs(&client, task).await.len(), fires);
        let second = scheduler(&bed).await;
        let seen = wait_for_logs(&client, task, fires + 4).await;
        client.enable_task(task, false).await.expect("disabled");
        for log in &seen {
            // On whole seconds, as robfig's.
            let offset_ms = time(log, "scheduled_for").timestamp_millis() - anchor.timestamp() * 1_000;
            assert!(offset_ms > 0 && offset_ms % 2_000 == 0, "{offset_ms} ms after the anchor: {log}");
        }
        // None is left out: those missed meanwhile have their rows.
        let mut fires: Vec<i64> = seen.iter().map(|log| time(log, "scheduled_for").timestamp_millis()).collect();
        fires.sort_unstable();
        assert!(fires.windows(2).all(|pair| pair[1] - pair[0] == 2_000), "{fires:?}");
        assert!(seen.iter().any(|log| reason(log).starts_with("missed: ")), "{seen:?}");
        stop([second, api]).await;
    })
    .await;
}

#[tokio::test]
async fn the_day_of_a_fire_is_that_of_its_zone_and_midnight_is_the_new_day() {
    on_bed("days", async |bed| {
        bed.add_to_pool((0..1).map(SampleHost)).await.expect("a pool");
        let more = [("HOSTSYNC_SCHEDULER__TIME_ZONE", "Asia/Shanghai")];
        let api = service::api(bed.config(&more).expect("a configuration")).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let mut tasks = Vec::new();
        for (name, expression, zone, due, day) in [
            ("midnight", NEVER, "Asia/Kolkata", "18:30:00", 1),
            ("just before", NEVER, "Asia/Kolkata", "18:29:59", 0),
            ("prefix", "TZ=UTC 0 0 0 1 1 *", "Asia/Kolkata", "18:30:00", 0),
            ("configured", NEVER, "", "16:00:00", 1),
        ] {
            let body = json!({"task_name": name, "cron_expression": expression, "time_zone": zone, "is_enabled": true,
                              "catch_up_window": "7d", "query_time_range": "24h"});
            let task = create(&client, &body).await;
            // As if it had been due the day before yesterday at that time.
            bed.execute(format!(
                "UPDATE es_sync_task_config
                     SET next_execution_time = TIMESTAMP(UTC_DATE() - INTERVAL 2 DAY, '{due}') WHERE id = {task}"
            ))
            .await;
            tasks.push((name, task, day));
        }
        let scheduler = service::scheduler(bed.config(&more).expect("a configuration")).await.expect("a scheduler");
        for (name, task, day) in tasks {
            let log = wait_for_logs(&client, task, 1).await.remove(0);
            assert_eq!(log["window_to"], log["scheduled_for"], "{name}");
            assert_eq!(time(&log, "window_to") - time(&log, "window_from"), TimeDelta::hours(24), "{name}");
            let (later,): (i64,) = sqlx::query_as(
                "SELECT DATEDIFF(mon_date, DATE(scheduled_for)) FROM es_sync_execution_log WHERE task_id = ?",
            )
            .bind(task)
            .fetch_one(&bed.pool)
            .await
            .expect("a row");
            assert_eq!(later, day, "{name}");
        }
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn a_task_of_the_program_before_fires_in_the_zone_of_the_configuration() {
    on_bed("adopted", async |bed| {
        bed.execute("INSERT INTO es_sync_task_config (task_name, cron_expression, is_enabled) VALUES ('每日同步', '0 0 2 * * ?', 1)",
        )
        .await;
        let more = [("HOSTSYNC_SCHEDULER__TIME_ZONE", "Asia/Shanghai")];
        let scheduler = service::scheduler(bed.config(&more).expect("a configuration")).await.expect("a scheduler");
        let next = wait_for("its next fire", LIMIT, async || {
            let (next,): (Option<DateTime<Utc>>,) =
                sqlx::query_as("SELECT next_execution_time FROM es_sync_task_config").fetch_one(&bed.pool).await?;
            Ok(next)
        })
        .await
        .expect("a time");
        // 02:00 in Shanghai.
        assert_eq!(next.format("%H:%M:%S").to_string(), "18:00:00");
        assert!(next > now(&bed).await);
        stop([scheduler]).await;
    })
    .await;
}

/// Changes a task in all ways at once while it fires, as several people do.
async fn storm(client: &Client, task: u64, round: u64) {
    let changes = (0..24).map(async |n: u64| {
        let path = format!("/es-sync-tasks/{task}");
        match n % 4 {
            0 => client.enable_task(task, n.is_multiple_of(8)).await.expect("enabled or disabled"),
            1 => {
                let body = json!({"cron_expression": if n % 8 == 1 { "* * * * * *" } else { "@every 1s" }});
                client.ok(Method::PUT, &path, Some(&body)).await.expect("changed");
            }
            2 => {
                let body = json!({"task_name": format!("stormy {round} {n}"), "is_enabled": true});
                client.ok(Method::PUT, &path, Some(&body)).await.expect("changed");
            }
            _ => {
                client.ok(Method::POST, &format!("{path}/execute"), None).await.expect("accepted");
            }
        }
    });
    futures_util::future::join_all(changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_or_deleted_task_fires_no_more() {
    on_bed("storm", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let schedulers = [scheduler(&bed).await, scheduler(&bed).await];
        let body = json!({"task_name": "stormy", "cron_expression": "* * * * * *", "overlap_policy": "allow",
                          "is_enabled": true});
        let task = create(&client, &body).await;
        let path = format!("/es-sync-tasks/{task}");
        let fires = "SELECT COUNT(*) FROM es_sync_execution_log WHERE `trigger` = 'schedule'";
        let mut quiet_since = Vec::new();
        for round in 0..4 {
            client.enable_task(task, true).await.expect("enabled");
            let before = bed.count(fires).await.expect("a number");
            wait_for("it to fire", LIMIT, async || {
                Ok((bed.count(fires).await.expect("a number") > before).then_some(()))
            })
            .await
            .expect("a fire");
            // All at once with the fires, and then the end of it.
            storm(&client, task, round).await;
            if round < 3 {
                client.enable_task(task, false).await.expect("disabled");
            } else {
                let also = json!({"description": "gone"});
                let (deleted, _) =
                    tokio::join!(client.ok(Method::DELETE, &path, None), client.send(Method::PUT, &path, Some(&also)));
                deleted.expect("deleted");
            }
            let answered = now(&bed).await;
            wait_for("two fires to be due", LIMIT, async || {
                Ok((now(&bed).await - answered > TimeDelta::milliseconds(2_500)).then_some(()))
            })
            .await
            .expect("passed");
            quiet_since.push((answered, now(&bed).await));
        }
        let times: Vec<DateTime<Utc>> =
            sqlx::query_scalar("SELECT created_at FROM es_sync_execution_log WHERE `trigger` = 'schedule'")
                .fetch_all(&bed.pool)
                .await
                .expect("times");
        assert!(times.len() >= 4);
        for (answered, until) in quiet_since {
            let late = times.iter().filter(|at| **at > answered + TimeDelta::seconds(1) && **at <= until).count();
            assert_eq!(late, 0, "fires later than a second after {answered}: {times:?}");
        }
        stop(schedulers).await;
        stop([api]).await;
    })
    .await;
}

#[tokio::test]
async fn old_executions_are_pruned_in_small_batches_and_nothing_else() {
    on_bed("retention", async |bed| {
        let (api, client) = api(&bed).await;
        let insert = async |id: u64, status: &str, age: &str, hosts: u64| {
            bed.execute(format!(
                "INSERT INTO es_sync_execution_log
                         (id, task_name, execution_time, finished_at, execution_status, total_hosts, success_count,
                          pending_count, window_from, window_to, mon_date, es_endpoint, es_index_pattern, mapping,
                          prepared_at, progress_at, last_detail_id, published_watermark, published_at)
                     VALUES ({id}, 'old', UTC_TIMESTAMP(3) - INTERVAL {age}, NULL, '{status}', {hosts}, 0, {hosts},
                             UTC_TIMESTAMP(3), UTC_TIMESTAMP(3), UTC_DATE(), 'default', 'x', 'zabbix',
                             UTC_TIMESTAMP(3), UTC_TIMESTAMP(3), 1, 1, UTC_TIMESTAMP(3))"
            ))
            .await;
            let rows: Vec<String> =
                (0..hosts).map(|n| format!("({id}, '10.{}.{}', 'pending')", n / 250, n % 250)).collect();
            for rows in rows.chunks(1_000) {
                let values = rows.join(", ");
                bed.execute(format!(
                    "INSERT INTO es_sync_execution_detail (execution_id, host_ip, sync_status) VALUES {values}"
                ))
                .await;
            }
        };
        insert(1, "success", "25 HOUR", 2_500).await;
        insert(2, "skipped", "3 DAY", 0).await;
        insert(3, "success", "23 HOUR", 10).await;
        // Going for longer than that: not history yet.
        insert(4, "running", "30 HOUR", 10).await;
        // Its details are what a retry is prepared from, which somebody holds.
        insert(5, "failed", "25 HOUR", 10).await;
        insert(6, "running", "1 HOUR", 0).await;
        bed.execute(
            "UPDATE es_sync_execution_log SET retry_of = 5, prepared_at = NULL, lease_token = 1,
                 lease_until = UTC_TIMESTAMP(3) + INTERVAL 1 DAY WHERE id = 6",
        )
        .await;
        bed.execute(
            "INSERT INTO es_sync_idempotency_key (scope, idempotency_key, fingerprint, answer, created_at)
             VALUES ('/es-sync-execute', 'old', '', '{}', UTC_TIMESTAMP(3) - INTERVAL 25 HOUR),
                    ('/es-sync-execute', 'young', '', '{}', UTC_TIMESTAMP(3) - INTERVAL 23 HOUR)",
        )
        .await;
        // A run may be retried for a day, so newest windows stay for that and the margin of 72 days.
        bed.execute(
            "INSERT INTO es_sync_newest_window (ip, mon_date, window_to)
             VALUES ('old', UTC_DATE() - INTERVAL 75 DAY, '2020-01-01'),
                    ('needed', UTC_DATE() - INTERVAL 71 DAY, '2020-01-01')",
        )
        .await;
        let more = [("HOSTSYNC_SCHEDULER__RETENTION", "1d"), ("HOSTSYNC_SCHEDULER__EXECUTION_DEADLINE", "10d")];
        let scheduler = service::scheduler(bed.config(&more).expect("a configuration")).await.expect("a scheduler");
        let mut counts = Vec::new();
        wait_for("the old ones to be pruned", LIMIT, async || {
            counts.push(
                bed.count("SELECT COUNT(*) FROM es_sync_execution_detail WHERE execution_id = 1")
                    .await
                    .expect("a number"),
            );
            let keys = bed.count("SELECT COUNT(*) FROM es_sync_idempotency_key").await.expect("a number");
            let windows = bed.count("SELECT COUNT(*) FROM es_sync_newest_window").await.expect("a number");
            Ok((counts.last() == Some(&0) && keys == 1 && windows == 1).then_some(()))
        })
        .await
        .expect("pruned");
        // A thousand at a time.
        assert!(counts.iter().all(|count| [2_500, 1_500, 500, 0].contains(count)), "{counts:?}");
        let left: Vec<u64> = sqlx::query_scalar("SELECT id FROM es_sync_execution_log ORDER BY id")
            .fetch_all(&bed.pool)
            .await
            .expect("ids");
        assert_eq!(left, [3, 4, 5, 6]);
        assert_eq!(bed.count("SELECT COUNT(*) FROM es_sync_execution_detail").await.expect("a number"), 30);
        let log = client.execution(4).await.expect("a log");
        assert_eq!((&log["execution_status"], &log["pending_count"]), (&json!("running"), &json!(10)));
        let kept: String = sqlx::query_scalar("SELECT idempotency_key FROM es_sync_idempotency_key")
            .fetch_one(&bed.pool)
            .await
            .expect("a key");
        assert_eq!(kept, "young");
        let kept: String =
            sqlx::query_scalar("SELECT ip FROM es_sync_newest_window").fetch_one(&bed.pool).await.expect("a window");
        assert_eq!(kept, "needed");
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_known_of_sources_is_pruned_when_nobody_names_them() {
    on_bed("sources", async |bed| {
        bed.execute("INSERT INTO es_sync_execution_log
                 (task_name, execution_time, execution_status, es_endpoint, es_index_pattern, mapping)
             VALUES ('old', UTC_TIMESTAMP(3), 'success', 'default', 'x', 'zabbix')",
        )
        .await;
        bed.execute("INSERT INTO es_sync_pattern_state (endpoint, index_pattern, indices)
             VALUES ('default', 'x', '{}'), ('default', 'gone', '{}'), ('gone', 'x', '{}')",
        )
        .await;
        bed.execute("INSERT INTO es_sync_doubt (kind, name, since, seen_at, first_process)
             VALUES ('mapping', 'old', '2020-01-01', UTC_TIMESTAMP(3) - INTERVAL 25 HOUR, 'test'),
                    ('mapping', 'young', '2020-01-01', UTC_TIMESTAMP(3) - INTERVAL 23 HOUR, 'test')",
        )
        .await;
        let scheduler = service::scheduler(bed.config(&[]).expect("a configuration")).await.expect("a scheduler");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        wait_for("the others to be pruned", LIMIT, async || {
            let left: Vec<(String, String)> = sqlx::query_as(
                "SELECT endpoint, index_pattern FROM es_sync_pattern_state UNION ALL SELECT kind, name FROM es_sync_doubt",
            )
            .fetch_all(&bed.pool)
            .await?;
            anyhow::ensure!(left.contains(&pair("default", "x")) && left.contains(&pair("mapping", "young")), "{left:?}");
            Ok((left.len() == 2).then_some(()))
        })
        .await
        .expect("pruned");
        stop([scheduler]).await;
    })
    .await;
}

#[tokio::test]
async fn dead_letters_are_moved_by_schedulers_and_pruned_as_old_runs_are() {
    on_bed("letters", async |bed| {
        let schedulers = [scheduler(&bed).await, scheduler(&bed).await];
        let config = bed.config(&[]).expect("a configuration");
        let publisher = Publisher::new(config.rabbitmq.settings("test").expect("settings"));
        for letter in 0..30 {
            publisher.publish_dead_letter(format!("letter {letter}").as_bytes(), "not a job").await.expect("set aside");
        }
        wait_for("all to be moved, each once", LIMIT, async || {
            let [rows, bodies] = [
                bed.count("SELECT COUNT(*) FROM es_sync_dead_letter").await?,
                bed.count("SELECT COUNT(DISTINCT body) FROM es_sync_dead_letter").await?,
            ];
            assert!(rows <= 30 && rows == bodies, "{rows} {bodies}");
            Ok((rows == 30 && publisher.ready_dead_letters().await? == 0).then_some(()))
        })
        .await
        .expect("moved");
        bed.execute("UPDATE es_sync_dead_letter SET moved_at = moved_at - INTERVAL 91 DAY WHERE id % 2 = 0").await;
        wait_for("the old ones to be pruned", Duration::from_mins(3), async || {
            Ok((bed.count("SELECT COUNT(*) FROM es_sync_dead_letter").await? == 15).then_some(()))
        })
        .await
        .expect("pruned");
        stop(schedulers).await;
    })
    .await;
}

#[tokio::test]
async fn old_entries_of_the_audit_are_pruned_in_small_batches() {
    on_bed("audit", async |bed| {
        for (days, entries) in [(3, 1_500), (1, 2)] {
            sqlx::query(
                "INSERT INTO es_sync_audit (at, who, role, from_where, action, object_kind, object_id, what, result)
                 SELECT UTC_TIMESTAMP(3) - INTERVAL ? DAY, 'operator', 'operator', '', 'cancel', 'execution', n, '{}', ''
                 FROM (WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 100)
                       SELECT tens.n FROM numbers AS tens JOIN numbers AS ones LIMIT ?) AS numbered",
            )
            .bind(days)
            .bind(entries)
            .execute(&bed.pool)
            .await
            .expect("entries");
        }
        let more = [("HOSTSYNC_SCHEDULER__AUDIT_RETENTION", "2d")];
        let scheduler = service::scheduler(bed.config(&more).expect("a configuration")).await.expect("a scheduler");
        let mut counts = std::collections::BTreeSet::new();
        wait_for("the old entries to be pruned", LIMIT, async || {
            let left = bed.count("SELECT COUNT(*) FROM es_sync_audit").await?;
            counts.insert(left);
            Ok((left == 2).then_some(()))
        })
        .await
        .expect("pruned");
        // A thousand at a time.
        assert!(counts.iter().all(|count| [1_502, 502, 2].contains(count)), "{counts:?}");
        stop([scheduler]).await;
    })
    .await;
}

#[tokio::test]
async fn executions_that_cannot_be_pruned_hold_up_no_others() {
    on_bed("unprunable", async |bed| {
        // A page of them, older than those behind it.
        insert_runs(&bed, 1..=103).await;
        bed.execute(
            "UPDATE es_sync_execution_log SET execution_status = 'success', finished_at = execution_time,
                 execution_time = UTC_TIMESTAMP(3) - INTERVAL IF(id <= 100, 3, 2) DAY",
        )
        .await;
        bed.execute(
            "CREATE TRIGGER refuse BEFORE DELETE ON es_sync_execution_log FOR EACH ROW
             BEGIN IF OLD.id <= 100 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF; END",
        )
        .await;
        let more = [("HOSTSYNC_SCHEDULER__RETENTION", "1d")];
        let scheduler = service::scheduler(bed.config(&more).expect("a configuration")).await.expect("a scheduler");
        let left = "SELECT COUNT(*) FROM es_sync_execution_log";
        wait_for("those behind them", LIMIT, async || {
            Ok((bed.count(left).await.expect("a number") == 100).then_some(()))
        })
        .await
        .expect("pruned");
        stop([scheduler]).await;
    })
    .await;
}

/// A backlog of documents: what is read ends that long before the fire, and so does the day that is written.
#[tokio::test]
async fn the_window_of_a_fire_ends_by_the_tasks_delay_before_it() {
    on_bed("delay", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let scheduler = scheduler(&bed).await;
        let body = json!({"task_name": "late documents", "cron_expression": "@every 1s", "query_time_range": "24h",
                          "overlap_policy": "allow", "delay": "49h", "is_enabled": true});
        let task = create(&client, &body).await;
        for log in wait_for_fires(&client, task, 2).await {
            assert_eq!(time(&log, "scheduled_for") - time(&log, "window_to"), TimeDelta::hours(49));
            assert_eq!(time(&log, "window_to") - time(&log, "window_from"), TimeDelta::hours(24));
        }
        let other_days = "SELECT COUNT(*) FROM es_sync_execution_log WHERE mon_date <> DATE(window_to)";
        assert_eq!(bed.count(other_days).await.expect("counted"), 0);
        // A change takes effect with the next fire.
        client
            .ok(Method::PUT, &format!("/es-sync-tasks/{task}"), Some(&json!({"delay": "0s"})))
            .await
            .expect("changed");
        wait_for("a fire without a delay", LIMIT, async || {
            let logs = client.execution_logs(task).await?;
            Ok(logs.iter().any(|log| log["window_to"] == log["scheduled_for"]).then_some(()))
        })
        .await
        .expect("a fire");
        stop([scheduler, api]).await;
    })
    .await;
}

async fn pause(client: &Client, paused: bool, note: &str) -> Value {
    let body = json!({"paused": paused, "note": note});
    client.ok(Method::POST, "/es-sync-pause", Some(&body)).await.expect("a pause")
}

/// What was due before the end of a pause does not run, whether a scheduler came to it meanwhile or not.
#[tokio::test]
async fn in_a_pause_each_fire_is_a_skipped_row_and_nothing_is_caught_up() {
    on_bed("pause", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let first = scheduler(&bed).await;
        let body = json!({"task_name": "each second", "cron_expression": "@every 1s", "overlap_policy": "allow",
                          "catch_up_window": "7d", "is_enabled": true});
        let task = create(&client, &body).await;
        let going = wait_for_fires(&client, task, 1).await[0]["id"].as_u64().expect("an id");
        let paused = pause(&client, true, "the CMDB moves").await;
        // From the answer on no fire runs.
        let ran = client
            .execution_logs(task)
            .await
            .expect("logs")
            .iter()
            .filter(|log| log["execution_status"] == "running")
            .count();
        let reason_of_pause = format!("paused by {}: the CMDB moves", paused["changed_by"].as_str().expect("a name"));
        wait_for("three fires of the pause", LIMIT, async || {
            let logs = client.execution_logs(task).await?;
            Ok((logs.iter().filter(|log| reason(log) == reason_of_pause).count() >= 3).then_some(()))
        })
        .await
        .expect("fires");
        let seen = logs(&client, task).await;
        assert_eq!(seen.iter().filter(|log| log["execution_status"] == "running").count(), ran);
        for log in seen.iter().filter(|log| reason(log) == reason_of_pause) {
            assert_eq!((&log["execution_status"], &log["total_hosts"]), (&json!("skipped"), &json!(0)));
        }
        // What is going goes on, and by hand runs are made.
        let by_hand = client.ok(Method::POST, &format!("/es-sync-tasks/{task}/execute"), None).await.expect("accepted");
        let by_hand = by_hand["execution_id"].as_u64().expect("an id");
        bed.index_last_day((0..2).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let worker = service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker");
        for id in [going, by_hand] {
            assert_eq!(client.wait_for_end(id, LIMIT).await.expect("an end")["execution_status"], "success");
        }
        // Nobody comes to the last fires of the pause before its end.
        stop([first]).await;
        let stopped = now(&bed).await;
        wait_for("some fires without a scheduler", LIMIT, async || {
            Ok((now(&bed).await > stopped + TimeDelta::seconds(3)).then_some(()))
        })
        .await
        .expect("time");
        let resumed = time(&pause(&client, false, "").await, "changed_at");
        let second = scheduler(&bed).await;
        let seen = wait_for("a run after the pause", LIMIT, async || {
            let logs = client.execution_logs(task).await?;
            let ran = |log: &Value| log["trigger"] == "schedule" && log["execution_status"] != "skipped";
            Ok(logs.iter().any(|log| ran(log) && time(log, "scheduled_for") >= resumed).then_some(logs))
        })
        .await
        .expect("a run");
        let since = time(&paused, "changed_at");
        for log in seen.iter().filter(|log| log["trigger"] == "schedule") {
            let at = time(log, "scheduled_for");
            if at > since && at < resumed {
                assert_eq!(log["execution_status"], "skipped", "{log}");
            }
            if at > stopped && at < resumed {
                assert_eq!(reason(log), reason_of_pause);
            }
        }
        stop([worker, second, api]).await;
    })
    .await;
}

#[tokio::test]
async fn over_a_hundred_fires_of_a_pause_share_one_row_that_grows() {
    on_bed("pause_many", async |bed| {
        let (api, client) = api(&bed).await;
        pause(&client, true, "a long one").await;
        let body = json!({"task_name": "each second", "cron_expression": "* * * * * *", "is_enabled": true});
        let task = create(&client, &body).await;
        let hour = "UPDATE es_sync_task_config SET next_execution_time = DATE_FORMAT(UTC_TIMESTAMP() - INTERVAL 1 HOUR, '%Y-%m-%d %H:%i:%s')";
        sqlx::raw_sql(hour).execute(&bed.pool).await.expect("an hour ago");
        let scheduler = scheduler(&bed).await;
        let told = async || {
            let logs = client.execution_logs(task).await?;
            let told = logs.first().map(|log| (logs.len(), reason(log).to_owned(), time(log, "scheduled_for")));
            Ok::<_, anyhow::Error>(told)
        };
        let (_, first, at) = wait_for("the row", LIMIT, told).await.expect("a row");
        assert!(first.contains(": a long one (3") && first.contains(" fires from "), "{first}");
        let (rows, later, newest) = wait_for("the row to grow", LIMIT, async || {
            Ok(told().await?.filter(|(_, later, _)| *later != first))
        })
        .await
        .expect("a row");
        assert_eq!(rows, 1, "{later}");
        assert!(newest > at, "{later}");
        stop([scheduler, api]).await;
    })
    .await;
}

#[tokio::test]
async fn a_waiting_run_does_not_start_in_a_pause() {
    on_bed("pause_waiting", async |bed| {
        bed.add_to_pool((0..2).map(SampleHost)).await.expect("a pool");
        let (api, client) = api(&bed).await;
        let scheduler = scheduler(&bed).await;
        let body =
            json!({"task_name": "queue", "cron_expression": NEVER, "overlap_policy": "queue", "is_enabled": true});
        let path = format!("/es-sync-tasks/{}/execute", create(&client, &body).await);
        let run = async || {
            client.ok(Method::POST, &path, None).await.expect("accepted")["execution_id"].as_u64().expect("an id")
        };
        let (going, waiting) = (run().await, run().await);
        pause(&client, true, "").await;
        client.ok(Method::POST, &format!("/es-sync-executions/{going}/cancel"), None).await.expect("cancelled");
        client.wait_for_end(going, LIMIT).await.expect("an end");
        // The schedulers look once a second, which these fires show.
        let clock = client.create_enabled_task("clock", "@every 1s", "1h").await.expect("a task");
        wait_for_logs(&client, clock, 4).await;
        assert_eq!(client.execution(waiting).await.expect("a log")["execution_status"], "waiting");
        pause(&client, false, "").await;
        wait_for("the run to start", LIMIT, async || {
            Ok((client.execution(waiting).await?["execution_status"] == "running").then_some(()))
        })
        .await
        .expect("started");
        stop([scheduler, api]).await;
    })
    .await;
}
