//! A database that refuses is told apart from one that is away: which right on what, and that waiting does not help.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Ground, Server, send, until};

/// A server whose database user is a new one, without any right; the statements of a test are the administrator's.
async fn with_user(test: impl AsyncFnOnce(&Server, &str)) {
    let ground = Ground::new(true).await;
    let user = format!("u{:x}", rand::random::<u32>());
    execute(&ground, &format!("CREATE USER '{user}'@'%'")).await;
    let mut url: reqwest::Url = ground.database_url().parse().expect("a URL");
    url.set_username(&user).expect("it has a host");
    let server = Server::start(ground, &[("HOSTSYNC_DATABASE__URL", url.as_str())]).await;
    let tested = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(test(&server, &user))).await;
    server.shutdown.begin();
    execute(&server.ground, &format!("DROP USER '{user}'@'%'")).await;
    server.serving.await.expect("did not panic").expect("ended well");
    server.ground.clear().await;
    if let Err(panic) = tested {
        std::panic::resume_unwind(panic);
    }
}

async fn execute(ground: &Ground, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&ground.pool).await.expect("executed");
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_by_its_name_and_not_as_an_outage() {
    with_user(async |server, user| {
        let name = &server.ground.name;
        let told = async |method: Method, path: &str, body: Option<&serde_json::Value>| {
            let mut request = server.operator(method, path);
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = send(request).await;
            assert_eq!(answer.header("retry-after"), None, "waiting does not help");
            answer.refused(500, "database_refused")["message"].as_str().expect("a message").to_owned()
        };
        // No right at all, not even to look at the schema.
        let message = told(Method::GET, "/es-sync-tasks", None).await;
        assert!(message.contains(&format!("may not use the database {name}")), "{message}");
        until("the readiness says it", async || {
            let checks = server.get_plain("/readyz").await.body["checks"].to_string();
            // Anybody may ask: no name of a user.
            assert!(!checks.contains(user), "{checks}");
            checks.contains("lacks a right (error 1044)") && checks.contains("hostsync-api doctor")
        })
        .await;

        execute(&server.ground, &format!("GRANT SELECT ON `{name}`.* TO '{user}'@'%'")).await;
        until("reading works", async || server.get("/es-sync-tasks").await.status == 200).await;
        let task = json!({"task_name": "nightly", "cron_expression": "@daily"});
        let message = told(Method::POST, "/es-sync-tasks", Some(&task)).await;
        assert!(message.contains("may not INSERT on es_sync_task_config"), "{message}");
        let run = json!({"task_name": "by hand", "host_ip_list": ["10.0.0.1"]});
        let message = told(Method::POST, "/es-sync-execute", Some(&run)).await;
        assert!(message.contains("may not INSERT on es_sync_execution_log"), "{message}");
        assert!(!message.contains("VALUES") && message.contains("hostsync-api doctor"), "no statement: {message}");

        execute(&server.ground, &format!("GRANT INSERT, UPDATE, DELETE ON `{name}`.* TO '{user}'@'%'")).await;
        // A connection takes new rights of a database with it when it is made.
        until("writing works", async || server.post("/es-sync-tasks", &task).await.status == 200).await;
    })
    .await;
}
