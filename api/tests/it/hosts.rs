//! One host over all executions.

use hostsync_shared::execution::SyncStatus;
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
