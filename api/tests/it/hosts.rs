//! One host over all executions.

use hostsync_model::execution::SyncStatus;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, clock, with_server};

async fn sql(server: &Server, statement: String) {
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&server.ground.pool).await.expect("done");
}

async fn run_over(server: &Server, host: &str) -> u64 {
    let body = json!({"task_name": "looked at", "host_ip_list": [host, "10.9.9.9"]});
    server.post("/es-sync-execute", &body).await.ok()["execution_id"].as_u64().expect("an id")
}

#[tokio::test]
async fn a_host_shows_its_days_and_its_last_results() {
    with_server(async |server| {
        sql(
            server,
            "INSERT INTO hosts_pool (id, host_name, host_ip, ram, disk_size) VALUES (7, 'web-1', '10.0.0.1', 64, 0)"
                .to_owned(),
        )
        .await;
        let today = clock().date_naive();
        for (back, cpu) in [(0, "12.5"), (1, "NULL"), (29, "3"), (30, "4")] {
            let day = today - chrono::Days::new(back);
            sql(
                server,
                format!(
                    "INSERT INTO server_resources (pool_id, ip, mon_date, cpu_load, mem_percent_max)
                     VALUES (7, '10.0.0.1', '{day}', {cpu}, 50.25)"
                ),
            )
            .await;
        }
        for status in [SyncStatus::Success, SyncStatus::Failed, SyncStatus::NoData] {
            let id = run_over(server, "10.0.0.1").await;
            server.finish_hosts(id, &[("10.0.0.1", status)]).await;
        }
        let seen = server.get("/es-sync-hosts/10.0.0.1").await.ok();
        assert_eq!(
            seen["host"],
            json!({"host_ip": "10.0.0.1", "host_name": "web-1", "is_deleted": false, "ram": 64, "disk_size": null})
        );
        let days = seen["days"].as_array().expect("days");
        let loads: Vec<&Value> = days.iter().map(|day| &day["cpu_load"]).collect();
        assert_eq!(loads, [&json!(12.5), &Value::Null, &json!(3.0)]);
        assert_eq!((&days[0]["ip"], &days[0]["mon_date"]), (&json!("10.0.0.1"), &json!(today.to_string())));
        assert_eq!(days[0]["mem_percent_max"], 50.25);
        assert_eq!(
            (days[0]["used_disk"].clone(), days[0].as_object().map(serde_json::Map::len)),
            (Value::Null, Some(14))
        );
        let results = seen["results"].as_array().expect("results");
        let seen_of = |field: &str| results.iter().map(|result| result[field].clone()).collect::<Vec<_>>();
        assert_eq!(seen_of("execution_id"), [json!(3), json!(2), json!(1)]);
        let statuses: Vec<&Value> = results.iter().map(|result| &result["detail"]["sync_status"]).collect();
        assert_eq!(statuses, ["no_data", "failed", "success"]);
        assert_eq!((&results[0]["task_name"], &results[0]["trigger"]), (&json!("looked at"), &json!("manual")));

        let seen = server.get("/es-sync-hosts/10.0.0.1?days=31&limit=1").await.ok();
        assert_eq!(seen["days"].as_array().map(Vec::len), Some(4));
        assert_eq!(seen["results"].as_array().map(Vec::len), Some(1));
    })
    .await;
}

#[tokio::test]
async fn a_host_is_found_however_its_address_is_written() {
    with_server(async |server| {
        run_over(server, "2001:db8::1").await;
        let seen = server.get("/es-sync-hosts/2001:DB8:0::1").await.ok();
        assert_eq!(seen["results"][0]["detail"]["host_ip"], "2001:db8::1");
        assert_eq!((seen["host"].clone(), seen["days"].clone()), (Value::Null, json!([])));
        // Written so, it differs from how it is kept by nothing that the column tells apart.
        let seen = server.get("/es-sync-hosts/2001:DB8::1").await.ok();
        assert_eq!(seen["results"].as_array().map(Vec::len), Some(1));
        // What is no address may still stand in the CMDB's pool.
        sql(server, "INSERT INTO hosts_pool (host_name, host_ip, is_deleted) VALUES ('x', 'web 1', 1)".to_owned())
            .await;
        assert_eq!(server.get("/es-sync-hosts/web%201").await.ok()["host"]["is_deleted"], true);
    })
    .await;
}

#[tokio::test]
async fn a_host_is_its_value_wherever_it_is_looked_for() {
    with_server(async |server| {
        // Usual spellings and unusual ones, with blanks, deleted and live.
        for (id, host_ip, is_deleted) in [
            (1, "2001:DB8:66::A", 0),
            (2, "2001:0db8:0066:0000:0000:0000:0000:000b", 0),
            (3, "2001:db8:066::0C", 0),
            (4, "::ffff:10.66.8.2", 0),
            (5, "0:0:0::FFFF:0a42:0803", 0),
            (6, " 10.66.8.4\t", 0),
            (7, "10.66.8.5", 1),
            (8, "::ffff:a42:805", 0),
            (9, "fE80::1", 0),
        ] {
            let row = format!("INSERT INTO hosts_pool (id, host_ip, host_name, is_deleted) VALUES ({id}, '{host_ip}', 'host {id}', {is_deleted})");
            sql(server, row).await;
        }
        for (asked, id) in [
            ("2001:db8:66::a", 1),
            ("2001:DB8:0066::b", 2),
            ("2001:db8:66::c", 3),
            ("10.66.8.2", 4),
            ("::ffff:10.66.8.3", 5),
            ("10.66.8.4", 6),
            ("10.66.8.5", 8),
            ("FE80:0::1", 9),
        ] {
            let seen = server.get(&format!("/es-sync-hosts/{asked}")).await.ok();
            assert_eq!(seen["host"]["host_name"], format!("host {id}"), "{asked}");
        }
        for stranger in ["10.66.8.6", "2001:db8:66::d", "10.6.68.2"] {
            server.get(&format!("/es-sync-hosts/{stranger}")).await.refused(404, "host_not_found");
        }
        let today = clock().date_naive();
        let day = format!("INSERT INTO server_resources (pool_id, ip, mon_date, cpu_load) VALUES (3, '2001:db8:066::0C', '{today}', 7)");
        sql(server, day).await;
        assert_eq!(server.get("/es-sync-hosts/2001:db8:66::c").await.ok()["days"][0]["cpu_load"], 7.0);

        let id = run_over(server, "2001:0DB8:66::000C").await;
        for asked in ["2001:db8:66::c", "2001:0db8:0066::000c", "2001:DB8:66:0::C"] {
            let explained = server.get(&format!("/es-sync-executions/{id}/hosts/{asked}")).await.ok();
            assert_eq!(explained["success"], true, "{asked}");
            let details = server.get(&format!("/es-sync-execution-detail/{id}?host_ip={asked}")).await.ok();
            assert_eq!(details["execution_details"][0]["host_ip"], "2001:db8:66::c", "{asked}");
        }
        // What no column holds in every character set is no host.
        let refused = server.get("/es-sync-hosts/%F0%9F%98%8A").await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refused), ["host_ip"]);
    })
    .await;
}

#[tokio::test]
async fn a_run_in_which_nothing_was_written_says_so() {
    with_server(async |server| {
        let warnings = async |id: u64| {
            server.get(&format!("/es-sync-execution-detail/{id}")).await.ok()["execution_log"]["warnings"].clone()
        };
        for (a, b, told) in [
            (
                SyncStatus::NoData,
                SyncStatus::NoData,
                json!(["nothing was written: none of 2 hosts had a document in the window"]),
            ),
            (
                SyncStatus::NotInPool,
                SyncStatus::NotInPool,
                json!(["nothing was written: none of 2 hosts is in hosts_pool"]),
            ),
            (
                SyncStatus::NoData,
                SyncStatus::NotInPool,
                json!(["nothing was written: 1 hosts had no document in the window, 1 are not in hosts_pool"]),
            ),
            (SyncStatus::Success, SyncStatus::NoData, json!([])),
            (SyncStatus::Failed, SyncStatus::NoData, json!([])),
        ] {
            let id = run_over(server, "10.0.0.1").await;
            server.finish_hosts(id, &[("10.0.0.1", a), ("10.9.9.9", b)]).await;
            assert_eq!(warnings(id).await, told);
        }
        // A pool without a host.
        let task = server.task(&json!({"task_name": "empty", "cron_expression": "@yearly"})).await;
        let body = json!({"wait_seconds": 30});
        let answer = server.post(&format!("/es-sync-tasks/{task}/execute"), &body).await.ok();
        assert_eq!(answer["execution_status"], "success");
        let id = answer["execution_id"].as_u64().expect("an id");
        assert_eq!(warnings(id).await, json!(["nothing was written: the run had no host"]));
    })
    .await;
}

#[tokio::test]
async fn a_host_of_which_nothing_is_known_is_not_found() {
    with_server(async |server| {
        let refused = server.get("/es-sync-hosts/10.0.0.1").await.refused(404, "host_not_found");
        assert_eq!(refused["message"], "nothing is known of a host \"10.0.0.1\"");
        for (path, field) in [
            ("10.0.0.1?days=0", "days"),
            ("10.0.0.1?days=367", "days"),
            ("10.0.0.1?limit=101", "limit"),
            ("10.0.0.1?day=1", "day"),
            (&"x".repeat(51), "host_ip"),
        ] {
            let refused = server.get(&format!("/es-sync-hosts/{path}")).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refused), [field], "{path}");
        }
    })
    .await;
}
