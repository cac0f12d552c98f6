//! What a database says no to, and what becomes of a run then: its host spends attempts with the server's own words, its
//! neighbours and other runs go on, and whatever waits says so.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::fleet::Fleet;
use hostsync_e2e::service;
use hostsync_store::database;
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::wait_for;
use hostsync_testing::documents::{SampleHost, ips};
use hostsync_testing::gate::Gate;
use hostsync_testing::own_mariadb::OwnMariadb;
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

/// A fleet, and hosts with documents.
async fn fleet_of(bed: &Bed, hosts: u32) -> Fleet {
    bed.add_to_pool((0..hosts).map(SampleHost)).await.expect("a pool");
    bed.index_last_day((0..hosts).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
    Fleet::start(bed, &[]).await
}

fn ip(n: u32) -> String {
    SampleHost(n).ip()
}

/// Until so many hosts have an outcome, and the others wait for their second attempt; returns the run's log then.
async fn wait_until_waiting(fleet: &Fleet, id: u64, done: u64) -> Value {
    wait_for("the refused hosts to wait and the others to be done", LIMIT, async || {
        let log = fleet.client.execution(id).await?;
        Ok((log["success_count"] == done && log["waiting_for"] != "").then_some(log))
    })
    .await
    .expect("a run that waits")
}

async fn wait_until_all_wait(bed: &Bed, hosts: i64) {
    wait_for("every refused host to wait", LIMIT, async || {
        let waiting = bed.count("SELECT COUNT(*) FROM es_sync_execution_detail WHERE retry_at IS NOT NULL").await?;
        Ok((waiting == hosts).then_some(()))
    })
    .await
    .expect("waiting");
}

/// Gives every waiting host its last attempt now, so that the next refusal ends it.
async fn make_the_next_attempt_the_last(bed: &Bed) {
    bed.execute(
        "UPDATE es_sync_execution_detail SET attempts = 4, retry_at = UTC_TIMESTAMP(3) WHERE retry_at IS NOT NULL"
            .to_owned(),
    )
    .await;
}

#[tokio::test]
async fn hosts_that_the_database_refuses_spend_their_attempts_with_its_words_and_neighbours_go_on() {
    on_bed("refusals", async |bed| {
        let fleet = fleet_of(&bed, 12).await;
        // Numbers that stand in some list and numbers that nobody listed, of errors by the server and by a trigger.
        let numbers = [1644, 5678, 3001, 1526, 1366, 1406, 1142, 65_000];
        let cases: Vec<String> = (0_u32..)
            .zip(numbers)
            .map(|(n, number)| {
                let ip = ip(n);
                format!("IF NEW.ip = '{ip}' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'not {ip}'; END IF; ")
            })
            .collect();
        let cases = cases.concat();
        let trigger = |when: &str| {
            format!("CREATE TRIGGER refuse_{when} BEFORE {when} ON server_resources FOR EACH ROW BEGIN {cases} END")
        };
        bed.execute(trigger("INSERT")).await;
        bed.execute(trigger("UPDATE")).await;
        let id = fleet.client.execute("refused", &ips(0..12), "6h").await.expect("accepted");
        let log = wait_until_waiting(&fleet, id, 4).await;
        let told = log["waiting_for"].as_str().expect("a text");
        assert!(told.contains("the database refused to store this host: not 10."), "{told}");
        // Another run on the same worker is not behind it.
        let other = fleet.client.execute("healthy", &ips(8..12), "5h").await.expect("accepted");
        let other = fleet.client.wait_for_end(other, LIMIT).await.expect("an end");
        assert_eq!(other["execution_status"], "success", "{other}");
        let log = fleet.client.execution(id).await.expect("a log");
        assert_eq!((&log["execution_status"], &log["pending_count"]), (&json!("running"), &json!(8)), "{log}");

        wait_until_all_wait(&bed, 8).await;
        make_the_next_attempt_the_last(&bed).await;
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!((&log["success_count"], &log["failed_count"]), (&json!(4), &json!(8)), "{log}");
        let details = fleet.client.details(id).await.expect("details");
        for (n, number) in (0_u32..).zip(numbers) {
            let detail = details.iter().find(|detail| detail["host_ip"] == ip(n)).expect("a detail");
            let words = format!("the database refused to store this host: not {} (error {number})", ip(n));
            assert_eq!(detail["error_message"], words, "{detail}");
        }
        // The run's own reason names the host that it is of.
        let reason = log["error_message"].as_str().expect("a reason");
        assert!(reason.starts_with("host 10.") && reason.contains("refused to store this host"), "{reason}");
        assert_eq!(log["waiting_for"], "");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_partition_that_is_missing_is_told_and_ends_every_host_by_itself() {
    on_bed("partition", async |bed| {
        let fleet = fleet_of(&bed, 3).await;
        // A partitioned table has no foreign keys, and its unique keys hold what it is partitioned by.
        bed.execute(
            "ALTER TABLE server_resources DROP FOREIGN KEY fk_server_resources_pool;
             ALTER TABLE server_resources DROP PRIMARY KEY, ADD PRIMARY KEY (id, mon_date);
             ALTER TABLE server_resources PARTITION BY RANGE COLUMNS (mon_date)
                 (PARTITION old VALUES LESS THAN ('2000-01-01'))"
                .to_owned(),
        )
        .await;
        let id = fleet.client.execute("partition", &ips(0..3), "6h").await.expect("accepted");
        let log = wait_until_waiting(&fleet, id, 0).await;
        let told = log["waiting_for"].as_str().expect("a text");
        assert!(told.contains("the database refused to store this host: ") && told.contains("(error 1526)"), "{told}");
        wait_until_all_wait(&bed, 3).await;
        make_the_next_attempt_the_last(&bed).await;
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!((&log["execution_status"], &log["failed_count"]), (&json!("failed"), &json!(3)), "{log}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_row_that_the_cmdb_locks_for_long_holds_up_its_own_host_alone() {
    on_bed("row_lock", async |bed| {
        let fleet = fleet_of(&bed, 6).await;
        let first = fleet.client.execute("first", &ips(0..6), "6h").await.expect("accepted");
        fleet.client.wait_for_end(first, LIMIT).await.expect("an end");
        let mut cmdb = bed.pool.begin().await.expect("a transaction");
        sqlx::query("SELECT id FROM server_resources WHERE ip = ? FOR UPDATE")
            .bind(ip(0))
            .fetch_all(&mut *cmdb)
            .await
            .expect("a lock");
        let id = fleet.client.execute("locked", &ips(0..6), "6h").await.expect("accepted");
        let log = wait_until_waiting(&fleet, id, 5).await;
        let told = log["waiting_for"].as_str().expect("a text");
        assert!(told.contains(&ip(0)) && told.contains("(error 1205)"), "{told}");
        cmdb.rollback().await.expect("unlocked");
        bed.execute(
            "UPDATE es_sync_execution_detail SET retry_at = UTC_TIMESTAMP(3) WHERE retry_at IS NOT NULL".to_owned(),
        )
        .await;
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!((&log["success_count"], &log["waiting_for"]), (&json!(6), &json!("")), "{log}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_table_that_is_locked_as_a_whole_is_told_and_the_run_goes_on_when_it_is_free() {
    on_bed("table_lock", async |bed| {
        let fleet = fleet_of(&bed, 3).await;
        let mut backup = bed.pool.acquire().await.expect("a connection").detach();
        sqlx::raw_sql("LOCK TABLES server_resources READ").execute(&mut backup).await.expect("a lock");
        let id = fleet.client.execute("locked", &ips(0..3), "6h").await.expect("accepted");
        let log = wait_until_waiting(&fleet, id, 0).await;
        assert!(log["waiting_for"].as_str().expect("a text").contains("(error 1205)"), "{log}");
        sqlx::raw_sql("UNLOCK TABLES").execute(&mut backup).await.expect("unlocked");
        wait_for("the run to end", LIMIT, async || {
            sqlx::raw_sql("UPDATE es_sync_execution_detail SET retry_at = UTC_TIMESTAMP(3) WHERE retry_at IS NOT NULL")
                .execute(&bed.pool)
                .await?;
            Ok((fleet.client.execution(id).await?["execution_status"] == "success").then_some(()))
        })
        .await
        .expect("a success");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_only_explains_an_outcome_never_costs_it() {
    on_bed("unexplained", async |bed| {
        let fleet = fleet_of(&bed, 4).await;
        let signal = "SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 4444, MESSAGE_TEXT = 'read the manual'";
        // A warning of missing indices explains no more than they do.
        for table in ["es_sync_search", "es_sync_evidence", "es_sync_attempt", "es_sync_pattern_state"] {
            bed.execute(format!("CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} FOR EACH ROW {signal}")).await;
        }
        let id = fleet.client.execute("unexplained", &ips(0..4), "6h").await.expect("accepted");
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 4, "{log}");
        // An attempt is spent all the same.
        bed.execute(format!("CREATE TRIGGER refuse_row BEFORE INSERT ON server_resources FOR EACH ROW {signal}")).await;
        bed.execute(format!("CREATE TRIGGER refuse_again BEFORE UPDATE ON server_resources FOR EACH ROW {signal}"))
            .await;
        let id = fleet.client.execute("refused", &ips(0..2), "6h").await.expect("accepted");
        wait_until_all_wait(&bed, 2).await;
        make_the_next_attempt_the_last(&bed).await;
        let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["failed_count"], 2, "{log}");
        assert!(log["error_message"].as_str().expect("a reason").contains("read the manual (error 4444)"), "{log}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_outcome_cannot_even_be_recorded_says_so_and_fails_after_as_many_rounds() {
    on_bed("unrecorded", async |bed| {
        let fleet = fleet_of(&bed, 4).await;
        let ip = ip(0);
        let signal = "SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 4444, MESSAGE_TEXT = 'read the manual'";
        // No outcome and no clock, but what ends the run is taken.
        bed.execute(format!(
            "CREATE TRIGGER refuse_outcome BEFORE UPDATE ON es_sync_execution_detail FOR EACH ROW
                 BEGIN IF NEW.host_ip = '{ip}' AND (NEW.retry_at IS NOT NULL OR NEW.sync_status = 'success')
                       THEN {signal}; END IF; END"
        ))
        .await;
        let id = fleet.client.execute("unrecorded", &ips(0..4), "6h").await.expect("accepted");
        wait_for("the others to be done", LIMIT, async || {
            Ok((fleet.client.execution(id).await?["success_count"] == 3).then_some(()))
        })
        .await
        .expect("done");
        // The last but one of its rounds; from now on it has always been silent for so long that the next one is due.
        bed.execute(
            "UPDATE es_sync_execution_log SET refusal_rounds = 4, execution_time = execution_time - INTERVAL 2 HOUR"
                .to_owned(),
        )
        .await;
        let silent = "UPDATE es_sync_execution_log SET progress_at = execution_time, published_at = execution_time,
                          refused_at = execution_time + INTERVAL 1 SECOND,
                          repaired_at = IF(repaired_at IS NULL, NULL, execution_time + INTERVAL 2 SECOND)";
        let mut told = String::new();
        let log = wait_for("the run to end", LIMIT, async || {
            sqlx::raw_sql(silent).execute(&bed.pool).await?;
            let log = fleet.client.execution(id).await?;
            if let Some(waiting) = log["waiting_for"].as_str().filter(|waiting| !waiting.is_empty()) {
                waiting.clone_into(&mut told);
            }
            Ok((log["execution_status"] != "running").then_some(log))
        })
        .await
        .expect("an end");
        assert_eq!((&log["success_count"], &log["failed_count"]), (&json!(3), &json!(1)), "{log}");
        assert!(log["error_message"].as_str().expect("a reason").contains("read the manual"), "{log}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "waits for minutes: make test-long"]
async fn a_run_whose_row_somebody_locks_holds_no_worker_for_long_and_goes_on_when_it_is_free() {
    on_bed("run_lock", async |bed| {
        const HOSTS: u32 = 60;
        bed.add_to_pool((0..HOSTS).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..HOSTS).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let mut fleet = Fleet::with_workers(&bed, &[], &[]).await;
        let id = fleet.client.execute("locked", &ips(0..HOSTS), "6h").await.expect("accepted");
        wait_for("the jobs to be published", LIMIT, async || {
            let published = "SELECT COUNT(*) FROM es_sync_execution_log
                             WHERE published_watermark >= last_detail_id AND prepared_at IS NOT NULL AND lease_token IS NULL";
            Ok((bed.count(published).await? == 1).then_some(()))
        })
        .await
        .expect("published");
        let mut somebody = bed.pool.begin().await.expect("a transaction");
        sqlx::query("SELECT id FROM es_sync_execution_log WHERE id = ? FOR UPDATE")
            .bind(id)
            .fetch_all(&mut *somebody)
            .await
            .expect("a lock");
        fleet.services.push(service::worker(bed.config(&[]).expect("a configuration")).await.expect("a worker"));
        // Host by host it would be ten seconds each, twice.
        wait_for("the worker to have nothing in its hands", LIMIT * 3, async || {
            // The server ends a connection that says nothing for a minute, and its locks with it.
            sqlx::query("SELECT 1").execute(&mut *somebody).await?;
            let queue = bed.queue("jobs.manual.v1").await?;
            let acked = queue["message_stats"]["ack"].as_u64() >= Some(u64::from(HOSTS));
            Ok((queue["messages"] == 0 && acked).then_some(()))
        })
        .await
        .expect("a free worker");
        somebody.rollback().await.expect("unlocked");
        let log = fleet.client.execution(id).await.expect("a log");
        assert_eq!(log["pending_count"], HOSTS, "{log}");
        // Silent for so long that it is published anew.
        let silent = "UPDATE es_sync_execution_log
                      SET execution_time = LEAST(execution_time, UTC_TIMESTAMP(3) - INTERVAL 2 HOUR),
                          progress_at = execution_time, published_at = execution_time
                      WHERE repaired_at IS NULL";
        let log = wait_for("the run to end", LIMIT, async || {
            sqlx::raw_sql(silent).execute(&bed.pool).await?;
            sqlx::raw_sql("UPDATE es_sync_execution_detail SET retry_at = UTC_TIMESTAMP(3) WHERE retry_at IS NOT NULL")
                .execute(&bed.pool)
                .await?;
            let log = fleet.client.execution(id).await?;
            Ok((log["execution_status"] != "running").then_some(log))
        })
        .await
        .expect("an end");
        assert_eq!(log["success_count"], HOSTS, "{log}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_primary_that_was_demoted_and_lives_on_is_left_for_the_new_one() {
    on_bed("demoted", async |bed| {
        bed.add_to_pool((0..3).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..3).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let old = OwnMariadb::start(&bed.name).await.expect("a primary");
        let gate = Gate::to(&old.address).await.expect("a door");
        let url = format!("mysql://root@{}/{}", gate.address(), bed.name);
        database::migrate(&url).await.expect("migrated");
        let fleet = Fleet::start(&bed, &[("HOSTSYNC_DATABASE__URL", &url)]).await;
        let readyz = async || {
            let answer = reqwest::get(format!("{}/readyz", fleet.services[0].url())).await?;
            Ok::<_, anyhow::Error>((answer.status().as_u16(), answer.text().await?))
        };
        let enqueue = async || {
            let body = json!({"task_name": "demoted", "host_ip_list": ips(0..3), "query_time_range": "6h"});
            fleet.client.send(Method::POST, "/es-sync-execute", Some(&body)).await
        };
        // Several connections, so that many lead to the old primary.
        let several = futures_util::future::join_all((0..8).map(|_| enqueue())).await;
        assert!(several.into_iter().all(|answer| answer.expect("an answer").0 == 200));

        old.set_read_only(true).await.expect("demoted");
        wait_for("readiness to say that nothing can be written", LIMIT, async || {
            let (status, said) = readyz().await?;
            Ok((status == 503 && said.contains("takes no writes") && said.contains("1290")).then_some(()))
        })
        .await
        .expect("told");
        assert_eq!(enqueue().await.expect("an answer").0, 503);

        let servers: reqwest::Url = bed.servers.database_url.parse().expect("a URL");
        gate.lead_to(&format!("127.0.0.1:{}", servers.port().expect("a port")));
        wait_for("readiness", LIMIT, async || Ok((readyz().await?.0 == 200).then_some(()))).await.expect("ready");
        // Every connection leads to the new one by now: none is refused, however many there are.
        let several = futures_util::future::join_all((0..8).map(|_| enqueue())).await;
        for answer in several {
            let (status, answer) = answer.expect("an answer");
            assert_eq!(status, 200, "{answer}");
            let id = answer["execution_id"].as_u64().expect("an id");
            let log = fleet.client.wait_for_end(id, LIMIT).await.expect("an end");
            assert_eq!(log["execution_status"], "success", "{log}");
        }
        fleet.stop().await;
    })
    .await;
}
