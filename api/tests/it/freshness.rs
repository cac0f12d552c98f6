//! How fresh hosts are, by times that the tests write into the tables, and the hosts that are left out of that.

use chrono::TimeDelta;
use hostsync_model::audit::AuditAction;
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, Server, VIEWER, clock, send, with_server};

async fn sql(server: &Server, statement: impl Into<String>) {
    sqlx::query(sqlx::AssertSqlSafe(statement.into())).execute(&server.ground.pool).await.expect("done");
}

/// Live hosts of the pool, `10.0.<n / 250>.<n % 250>` with the id `n + 1`.
async fn pool(server: &Server, hosts: u32) {
    let rows: Vec<String> =
        (0..hosts).map(|n| format!("({}, 'host {n}', '10.0.{}.{}')", n + 1, n / 250, n % 250)).collect();
    sql(server, format!("INSERT INTO hosts_pool (id, host_name, host_ip) VALUES {}", rows.join(","))).await;
}

/// The last run of a task has read up to so many minutes ago, over the hosts up to an id.
async fn last_run(server: &Server, task: u64, minutes: i64, pool_cursor: u64) {
    let statement = format!(
        "REPLACE INTO es_sync_freshness (task_id, window_to, pool_cursor)
         VALUES ({task}, UTC_TIMESTAMP(3) - INTERVAL {minutes} MINUTE, {pool_cursor})"
    );
    sql(server, statement).await;
}

/// A host has failed since, and is fresh by so many minutes ago, or never was.
async fn failing(server: &Server, task: u64, pool_id: u64, minutes: Option<i64>) {
    let since = minutes.map_or("NULL".to_owned(), |minutes| format!("UTC_TIMESTAMP(3) - INTERVAL {minutes} MINUTE"));
    let statement = format!(
        "INSERT INTO es_sync_host_state
             (host_ip, task_id, pool_id, last_status, last_error, failing_since, failures_in_a_row, last_execution_id,
              window_to, fresh_since)
         SELECT host_ip, {task}, id, 'failed', 'no answer', UTC_TIMESTAMP(3), 3, 12, UTC_TIMESTAMP(3), {since}
         FROM hosts_pool WHERE id = {pool_id}"
    );
    sql(server, statement).await;
}

async fn list(server: &Server, query: &str) -> Vec<Value> {
    server.get(&format!("/es-sync-freshness?{query}")).await.ok()["hosts"].as_array().expect("hosts").clone()
}

async fn ips(server: &Server, query: &str) -> Vec<String> {
    list(server, query).await.iter().map(|host| host["host_ip"].as_str().expect("an address").to_owned()).collect()
}

fn task(name: &str) -> Value {
    json!({"task_name": name, "cron_expression": "@daily", "freshness_target": "1h"})
}

#[tokio::test]
async fn a_host_is_fresh_within_the_target_then_late_then_stale_and_one_without_values_never() {
    with_server(async |server| {
        pool(server, 6).await;
        let id = server.task(&task("one")).await;
        // No run yet.
        assert_eq!(ips(server, &format!("task_id={id}&state=never")).await.len(), 6);
        // Host 6 came after the last run; 2 is late, 3 stale, 4 has never been synced.
        last_run(server, id, 30, 5).await;
        failing(server, id, 2, Some(90)).await;
        failing(server, id, 3, Some(150)).await;
        failing(server, id, 4, None).await;
        let of = |state: &str| format!("task_id={id}&state={state}");
        assert_eq!(ips(server, &of("fresh")).await, ["10.0.0.0", "10.0.0.4"]);
        assert_eq!(ips(server, &of("late")).await, ["10.0.0.1"]);
        assert_eq!(ips(server, &of("stale")).await, ["10.0.0.2"]);
        assert_eq!(ips(server, &of("never")).await, ["10.0.0.3", "10.0.0.5"]);

        let all = server.get(&format!("/es-sync-freshness?task_id={id}")).await.ok();
        assert_eq!((&all["as_of"], &all["counts"]), (&Value::Null, &Value::Null), "no sweeper has counted yet");
        let (healthy, late, new) = (&all["hosts"][0], &all["hosts"][1], &all["hosts"][5]);
        assert_eq!(healthy["host_name"], "host 0");
        assert_eq!((&healthy["last_status"], &healthy["failures_in_a_row"]), (&json!("success"), &json!(0)));
        for field in ["last_error", "failing_since", "last_execution_id", "muted_until"] {
            assert_eq!(healthy[field], Value::Null, "{field}");
        }
        let age = late["age_seconds"].as_u64().expect("seconds");
        assert!((5_400..6_000).contains(&age), "{age}");
        assert_eq!((&late["last_status"], &late["last_error"]), (&json!("failed"), &json!("no answer")));
        assert_eq!((&late["failures_in_a_row"], &late["last_execution_id"]), (&json!(3), &json!(12)));
        assert!(late["failing_since"].is_string() && late["fresh_since"].is_string());
        assert_eq!(
            (&new["fresh_since"], &new["age_seconds"], &new["last_status"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );

        // As the task's last run grows old, so do the hosts without a row.
        last_run(server, id, 100, 5).await;
        assert_eq!(ips(server, &of("late")).await, ["10.0.0.0", "10.0.0.1", "10.0.0.4"]);
        last_run(server, id, 121, 5).await;
        assert_eq!(ips(server, &of("stale")).await, ["10.0.0.0", "10.0.0.2", "10.0.0.4"]);
        // What the task says counts.
        server.put(&format!("/es-sync-tasks/{id}"), &json!({"freshness_target": "1d"})).await.ok();
        assert_eq!(ips(server, &of("fresh")).await.len(), 4);
        // Soft-deleted hosts leave at once.
        sql(server, "UPDATE hosts_pool SET is_deleted = 1 WHERE id IN (1, 2)").await;
        assert_eq!(ips(server, &of("fresh")).await, ["10.0.0.2", "10.0.0.4"]);
        server.get("/es-sync-freshness?task_id=99").await.refused(404, "task_not_found");
    })
    .await;
}

#[tokio::test]
async fn without_a_task_the_best_one_of_each_host_counts() {
    with_server(async |server| {
        pool(server, 4).await;
        let (one, other) = (server.task(&task("one")).await, server.task(&task("other")).await);
        last_run(server, one, 30, 2).await;
        last_run(server, other, 90, 4).await;
        failing(server, one, 1, Some(200)).await;
        failing(server, one, 2, None).await;
        failing(server, other, 2, Some(300)).await;
        assert_eq!(ips(server, "state=late").await, ["10.0.0.0", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(ips(server, "state=stale").await, ["10.0.0.1"]);
        let stale = list(server, "state=stale").await;
        assert_eq!((&stale[0]["last_status"], &stale[0]["failures_in_a_row"]), (&json!("failed"), &json!(3)));
        sql(server, "DELETE FROM es_sync_host_state").await;
        assert_eq!(ips(server, "state=fresh").await, ["10.0.0.0", "10.0.0.1"]);
        // A task that is deleted counts no more.
        server.delete(&format!("/es-sync-tasks/{one}")).await.ok();
        assert_eq!(ips(server, "state=late").await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn hosts_are_paged_by_the_beginning_of_their_address_and_by_state() {
    with_server(async |server| {
        pool(server, 1_100).await;
        let id = server.task(&task("one")).await;
        last_run(server, id, 30, 1_050).await;
        for pool_id in [3, 260, 261, 700, 1_020] {
            failing(server, id, pool_id, Some(200)).await;
        }
        let walk = async |query: String| {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = server.get(&format!("/es-sync-freshness?{query}{cursor}")).await.ok();
                for host in page["hosts"].as_array().expect("hosts") {
                    seen.push(host["host_ip"].as_str().expect("an address").to_owned());
                }
                let Some(next) = page["next_cursor"].as_str() else { return seen };
                cursor = format!("&cursor={next}");
            }
        };
        let within = walk(format!("task_id={id}&host=10.0.1.&limit=70")).await;
        assert_eq!(within.len(), 250);
        assert_eq!((within[0].as_str(), within[249].as_str()), ("10.0.1.0", "10.0.1.249"));
        assert_eq!(walk(format!("task_id={id}&limit=500")).await.len(), 1_100);
        assert_eq!(walk(format!("task_id={id}&state=fresh&limit=400")).await.len(), 1_045);
        assert_eq!(walk(format!("task_id={id}&state=never&limit=20")).await.len(), 50);
        let stale = walk(format!("task_id={id}&state=stale&limit=2")).await;
        assert_eq!(stale, ["10.0.0.2", "10.0.1.9", "10.0.1.10", "10.0.2.199", "10.0.4.19"]);
        assert_eq!(walk(format!("task_id={id}&state=stale&host=10.0.1&limit=1")).await, ["10.0.1.9", "10.0.1.10"]);
        // No character of an address is a wildcard.
        assert_eq!(walk(format!("task_id={id}&host=10.0._")).await, [""; 0]);
        assert_eq!(walk(format!("task_id={id}&host=%25")).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_muted_host_is_in_no_state_until_the_mute_ends() {
    with_server(async |server| {
        pool(server, 3).await;
        let id = server.task(&task("one")).await;
        last_run(server, id, 500, 3).await;
        let stale = format!("task_id={id}&state=stale");
        assert_eq!(ips(server, &stale).await.len(), 3);
        let until = clock() + TimeDelta::hours(2);
        let body = json!({"until": until.to_rfc3339(), "note": "is being rebuilt"});
        let answer = server.post("/es-sync-hosts/10.0.0.1/mute", &body).await.ok();
        assert!(answer["muted_until"].is_string(), "{answer}");
        assert_eq!(ips(server, &stale).await, ["10.0.0.0", "10.0.0.2"]);
        // It is listed where no state is asked for, and says until when.
        let all = list(server, &format!("task_id={id}")).await;
        assert_eq!(all[1]["muted_until"], answer["muted_until"]);
        let kept: (String, String) = sqlx::query_as("SELECT note, who FROM es_sync_host_mute")
            .fetch_one(&server.ground.pool)
            .await
            .expect("a mute");
        assert_eq!(kept, ("is being rebuilt".to_owned(), "operator".to_owned()));
        let audited = server.get(&format!("/es-sync-audit?action={}", AuditAction::MuteHost)).await.ok();
        assert_eq!(
            (&audited["entries"][0]["object_kind"], &audited["entries"][0]["object_id"]),
            (&json!("host"), &json!("10.0.0.1"))
        );
        assert_eq!(audited["entries"][0]["result"], answer["message"]);
        // It ends by itself, and by a time that has passed.
        sql(server, "UPDATE es_sync_host_mute SET muted_until = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND").await;
        assert_eq!(ips(server, &stale).await.len(), 3);
        server.post("/es-sync-hosts/10.0.0.2/mute", &body).await.ok();
        assert_eq!(ips(server, &stale).await.len(), 2);
        let ended = server.post("/es-sync-hosts/10.0.0.2/mute", &json!({"until": "2026-01-01T00:00:00Z"})).await.ok();
        assert_eq!((&ended["message"], &ended["muted_until"]), (&json!("host 10.0.0.2 is not muted"), &Value::Null));
        assert_eq!(ips(server, &stale).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_mute_that_makes_no_sense_is_refused_by_its_field_and_a_viewer_may_not_mute() {
    with_server(async |server| {
        pool(server, 1).await;
        let too_late = (clock() + TimeDelta::days(367)).to_rfc3339();
        for (body, field) in [
            (json!({}), "until"),
            (json!({"until": "tomorrow"}), "until"),
            (json!({"until": too_late}), "until"),
            (json!({"until": "2026-01-01T00:00:00Z", "note": "x".repeat(501)}), "note"),
            (json!({"until": "2026-01-01T00:00:00Z", "why": "x"}), "why"),
        ] {
            let refused = server.post("/es-sync-hosts/10.0.0.0/mute", &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refused), [field], "{body}");
        }
        let body = json!({"until": "2026-01-01T00:00:00Z"});
        server.post("/es-sync-hosts/10.9.9.9/mute", &body).await.refused(404, "host_not_found");
        let path = format!("{BASE}/es-sync-hosts/10.0.0.0/mute");
        send(server.request(reqwest::Method::POST, &path).bearer_auth(VIEWER).json(&body))
            .await
            .refused(403, "forbidden");
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_host_mute").await, 0);
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_audit").await, 0);
        let path = format!("{BASE}/es-sync-freshness");
        send(server.request(reqwest::Method::GET, &path).bearer_auth(VIEWER)).await.ok();
    })
    .await;
}

#[tokio::test]
async fn the_statistics_have_the_counts_of_each_day() {
    with_server(async |server| {
        sql(
            server,
            "INSERT INTO es_sync_freshness_day (task_id, day, fresh_hosts, late_hosts, stale_hosts, never_hosts)
             VALUES (0, '2026-01-02', 7, 2, 1, 0), (0, '2026-01-04', 10, 0, 0, 0), (7, '2026-01-02', 1, 1, 1, 1)",
        )
        .await;
        let days = async |task: u64| {
            let path = format!("/es-sync-stats?from=2026-01-02T00:00:00Z&to=2026-01-04T00:00:00Z&task_id={task}");
            server.get(&path).await.ok()["freshness"].clone()
        };
        assert_eq!(days(0).await, json!([{"day": "2026-01-02", "fresh": 7, "late": 2, "stale": 1, "never": 0}]));
        assert_eq!(days(7).await, json!([{"day": "2026-01-02", "fresh": 1, "late": 1, "stale": 1, "never": 1}]));
    })
    .await;
}
