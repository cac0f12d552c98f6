//! Looking at a schedule before it is a task's.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, VIEWER, clock, send, with_server};

const PATH: &str = "/es-sync-tasks/preview";

#[tokio::test]
async fn a_schedule_shows_its_times_its_words_and_its_surprises() {
    with_server(async |server| {
        let body = json!({
            "cron_expression": "0 30 2 * * *", "time_zone": "Europe/Berlin", "after": "2026-03-28T00:00:00Z", "count": 3
        });
        let seen = server.post(PATH, &body).await.ok();
        assert_eq!(
            seen["fire_times"],
            json!(["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"])
        );
        assert_eq!(seen["description"], "every day at 02:30:00, Europe/Berlin");
        assert_eq!(seen["time_zone"], "Europe/Berlin");
        let warnings = seen["warnings"].as_array().expect("warnings");
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].as_str().expect("a text").contains("2026-03-29 02:30:00"), "{warnings:?}");

        // A prefix beats the zone, and both day fields together are pointed out.
        let body = json!({"cron_expression": "TZ=Asia/Shanghai 0 30 9 13 * MON", "time_zone": "UTC", "count": 1});
        let seen = server.post(PATH, &body).await.ok();
        assert_eq!(
            (&seen["time_zone"], seen["fire_times"].as_array().map(Vec::len)),
            (&json!("Asia/Shanghai"), Some(1))
        );
        assert!(seen["warnings"][0].as_str().expect("a text").contains("match either"), "{seen}");
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_task_config").await, 0);
    })
    .await;
}

#[tokio::test]
async fn without_a_time_and_a_count_it_shows_ten_fires_from_now_on() {
    with_server(async |server| {
        let before = clock();
        let seen = server.post(PATH, &json!({"cron_expression": "@every 1h"})).await.ok();
        let times: Vec<chrono::DateTime<chrono::Utc>> =
            serde_json::from_value(seen["fire_times"].clone()).expect("times");
        assert_eq!(times.len(), 10);
        let wait = times[0] - before;
        assert!((3_590..=3_660).contains(&wait.num_seconds()), "{wait}");
        assert!(times.is_sorted());
        let seen = server.post(PATH, &json!({"cron_expression": "* * * * * *", "count": 100})).await.ok();
        assert_eq!(seen["fire_times"].as_array().map(Vec::len), Some(100));
    })
    .await;
}

#[tokio::test]
async fn a_viewer_may_look_at_a_schedule() {
    with_server(async |server| {
        let path = format!("{BASE}{PATH}");
        let body = json!({"cron_expression": "@daily"});
        send(server.request(Method::POST, &path).bearer_auth(VIEWER).json(&body)).await.ok();
        send(server.request(Method::POST, &path).json(&body)).await.refused(401, "unauthorized");
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_named() {
    with_server(async |server| {
        for (body, field, words) in [
            (json!({}), "cron_expression", "must be given"),
            (json!({"cron_expression": 5}), "cron_expression", "must be a text"),
            (json!({"cron_expression": "0 0 25 * * *"}), "cron_expression", "hour"),
            (json!({"cron_expression": "0 0 0 * * FUNDAY"}), "cron_expression", "day-of-week"),
            (json!({"cron_expression": "0 0 0 30 2 ?"}), "cron_expression", ""),
            (json!({"cron_expression": "@daily", "time_zone": "Mars/Base"}), "time_zone", "unknown"),
            (json!({"cron_expression": "@daily", "count": 0}), "count", "from 1 to 100"),
            (json!({"cron_expression": "@daily", "count": 101}), "count", "from 1 to 100"),
            (json!({"cron_expression": "@daily", "after": "tomorrow"}), "after", "must be a time"),
            (json!({"cron_expression": "@daily", "until": "x"}), "until", "is no field"),
        ] {
            let refused = server.post(PATH, &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refused), [field], "{body}");
            assert!(refused["errors"][0]["message"].as_str().expect("a text").contains(words), "{refused}");
        }
        server.get(PATH).await.refused(405, "method_not_allowed");
        assert_eq!(server.post("/es-sync-tasks/preview?x=1", &json!({"cron_expression": "@daily"})).await.status, 400);
        assert_eq!(server.post(PATH, &Value::Null).await.status, 400);
    })
    .await;
}
