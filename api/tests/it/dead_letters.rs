//! Dead letters by REST: looked at, counted, put back and dropped.

use hostsync_model::execution::{DetailId, ExecutionId, JobQueue};
use hostsync_queue::Job;
use reqwest::Method;
use serde_json::{Value, json};

use crate::doctor::nobody;
use crate::harness::{Answer, BASE, Ground, Server, VIEWER, send, with_server, with_server_of};

const PATH: &str = "/es-sync-dead-letters";

fn job(execution: u64, host: &str) -> Vec<u8> {
    let (execution_id, detail_id) = (ExecutionId(execution), DetailId(8));
    Job { execution_id, detail_id, host_ip: host.to_owned(), attempt: 2, window_to: None }.encode()
}

/// Three letters in the table: two jobs and what is none.
async fn three_letters(server: &Server) {
    let queues = server.ground.queues();
    for (body, reason) in
        [(job(7, "10.0.0.1"), "Given up"), (job(9, "2001:db8::1"), "given up"), (b"hello".to_vec(), "not a job: 100%")]
    {
        queues.publish_dead_letter(&body, reason).await.expect("set aside");
        server.ground.move_dead_letters(1).await;
    }
}

async fn ids(server: &Server, query: &str) -> Vec<u64> {
    let path = format!("{BASE}{PATH}?{query}");
    let listed = send(server.request(Method::GET, &path).bearer_auth(VIEWER)).await.ok();
    let letters = listed["dead_letters"].as_array().expect("letters");
    letters.iter().map(|letter| letter["id"].as_u64().expect("an id")).collect()
}

async fn act(server: &Server, what: &str, body: Value) -> Value {
    server.post(&format!("{PATH}/{what}"), &body).await.ok()
}

async fn audited(server: &Server) -> Vec<(String, String)> {
    sqlx::query_as("SELECT action, result FROM es_sync_audit ORDER BY id")
        .fetch_all(&server.ground.pool)
        .await
        .expect("rows")
}

#[tokio::test]
async fn letters_are_listed_newest_first_by_filter_and_page() {
    with_server(async |server| {
        assert_eq!(ids(server, "").await, [0; 0]);
        three_letters(server).await;
        let all = ids(server, "").await;
        let [third, second, first] = all[..] else { panic!("{all:?}") };
        assert!(third > second && second > first);
        let listed = server.get(PATH).await.ok();
        let letter = &listed["dead_letters"][2];
        assert_eq!(listed["message"], "3 dead letters");
        assert_eq!(
            (&letter["reason"], &letter["is_job"], &letter["execution_id"], &letter["detail_id"], &letter["host_ip"]),
            (&json!("Given up"), &json!(true), &json!(7), &json!(8), &json!("10.0.0.1"))
        );
        assert_eq!((&letter["queue"], &letter["body_bytes"]), (&json!("bulk"), &json!(job(7, "10.0.0.1").len())));
        let other = &listed["dead_letters"][0];
        assert_eq!(
            (&other["is_job"], &other["execution_id"], &other["body"]),
            (&json!(false), &json!(null), &json!("hello"))
        );
        for (query, expected) in [
            ("reason=given+up", vec![second, first]),
            ("reason=100%25", vec![third]),
            ("reason=%25", vec![third]),
            ("execution_id=9", vec![second]),
            ("host_ip=2001:0DB8::0001", vec![second]),
            ("host_ip=10.0.0.1&execution_id=9", vec![]),
            ("from=2026-01-01T00:00:00Z", all.clone()),
            ("to=2026-01-01T00:00:00Z", vec![]),
        ] {
            assert_eq!(ids(server, query).await, expected, "{query}");
        }
        let page = server.get(&format!("{PATH}?limit=2")).await.ok();
        let cursor = page["next_cursor"].as_str().expect("a cursor");
        assert_eq!(ids(server, &format!("limit=2&cursor={cursor}")).await, [first]);
        for (query, field) in [
            ("cursor=t1", "cursor"),
            ("limit=501", "limit"),
            ("bom=2", "bom"),
            ("execution_id=0", "execution_id"),
            ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
            ("id=1", "id"),
        ] {
            let refusal = server.get(&format!("{PATH}?{query}")).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), [field], "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn jobs_are_put_back_and_their_letters_are_gone_while_what_is_no_job_stays() {
    with_server(async |server| {
        three_letters(server).await;
        let counted = act(server, "requeue", json!({"reason": "given", "count_only": true})).await;
        assert_eq!((&counted["count"], &counted["done"]), (&json!(2), &json!(0)));
        assert_eq!(audited(server).await, [], "a count is no write");
        let done = act(server, "requeue", json!({"confirm": 3})).await;
        assert_eq!((&done["count"], &done["done"], &done["kept"]), (&json!(3), &json!(2), &json!(1)), "{done}");
        assert_eq!(server.ready(JobQueue::Bulk).await, 2);
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_dead_letter WHERE is_job = 0").await, 1);
        assert_eq!(server.number("SELECT COUNT(*) FROM es_sync_dead_letter").await, 1);
        let entry = ("requeue_dead_letters".to_owned(), "2 put back, 1 kept".to_owned());
        assert_eq!(audited(server).await, [entry]);
    })
    .await;
}

#[tokio::test]
async fn letters_are_dropped_by_id_or_by_a_filter_whose_count_was_seen() {
    with_server(async |server| {
        three_letters(server).await;
        let all = ids(server, "").await;
        let [third, second, first] = all[..] else { panic!("{all:?}") };
        let drop = format!("{PATH}/drop");
        for (body, field) in [
            (json!({}), "confirm"),
            (json!({"reason": "given"}), "confirm"),
            (json!({"reason": "given", "confirm": 1}), "confirm"),
            (json!({"confirm": 2}), "confirm"),
            (json!({"confirm": "all"}), "confirm"),
            (json!({"ids": []}), "ids"),
            (json!({"ids": [first], "reason": "given"}), "ids"),
            (json!({"ids": [first], "confirm": 1}), "ids"),
            (json!({"ids": [first, "x"]}), "ids[1]"),
            (json!({"ids": [0]}), "ids[0]"),
            (json!({"ids": first}), "ids"),
            (json!({"confirm": 3, "host_ip": "x".repeat(51)}), "host_ip"),
            (json!({"confirm": 3, "reason": "x".repeat(256)}), "reason"),
        ] {
            let refusal = server.post(&drop, &body).await.refused(400, "invalid_request");
            assert!(Answer::fields(&refusal).contains(&field.to_owned()), "{body}: {refusal}");
        }
        assert_eq!((ids(server, "").await, audited(server).await), (all, vec![]), "nothing was done");

        assert_eq!(act(server, "drop", json!({"ids": [second, second, 999]})).await["done"], 1);
        assert_eq!(act(server, "drop", json!({"ids": [second]})).await["done"], 0);
        assert_eq!(ids(server, "").await, [third, first]);
        assert_eq!(act(server, "drop", json!({"execution_id": 7, "count_only": true})).await["count"], 1);
        assert_eq!(
            act(server, "drop", json!({"execution_id": 7, "confirm": 1})).await["message"],
            "1 dead letter dropped"
        );
        assert_eq!(ids(server, "").await, [third]);
        let results: Vec<String> = audited(server).await.into_iter().map(|(_, result)| result).collect();
        assert_eq!(results, ["1 dropped", "0 dropped", "1 dropped"]);
    })
    .await;
}

#[tokio::test]
async fn a_viewer_reads_and_does_no_more() {
    with_server(async |server| {
        three_letters(server).await;
        for what in ["requeue", "drop"] {
            let path = format!("{BASE}{PATH}/{what}");
            let request = server.request(Method::POST, &path).bearer_auth(VIEWER).json(&json!({"confirm": 3}));
            send(request).await.refused(403, "forbidden");
        }
        assert_eq!(ids(server, "").await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn without_its_entry_in_the_audit_nothing_is_put_back_or_dropped() {
    with_server(async |server| {
        three_letters(server).await;
        sqlx::raw_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON es_sync_audit FOR EACH ROW
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no entry'",
        )
        .execute(&server.ground.pool)
        .await
        .expect("a trigger");
        for what in ["requeue", "drop"] {
            let answer = server.post(&format!("{PATH}/{what}"), &json!({"confirm": 3})).await;
            answer.refused(500, "internal_error");
        }
        assert_eq!((ids(server, "").await.len(), server.ready(JobQueue::Bulk).await), (3, 0));
    })
    .await;
}

#[tokio::test]
async fn while_the_broker_is_away_letters_are_kept() {
    let ground = Ground::new(true).await;
    let away = format!("amqp://{}", nobody().await);
    with_server_of(ground, &[("HOSTSYNC_RABBITMQ__URL", &away)], async |server| {
        three_letters(server).await;
        let answer = server.post(&format!("{PATH}/requeue"), &json!({"confirm": 3})).await;
        assert_eq!(answer.header("retry-after"), Some("15"));
        answer.refused(503, "broker_unavailable");
        assert_eq!(ids(server, "").await.len(), 3);
        let entries = audited(server).await;
        assert!(entries.len() == 1 && entries[0].1.starts_with("0 put back, 3 kept: the broker"), "{entries:?}");
        assert_eq!(act(server, "drop", json!({"confirm": 3})).await["done"], 3, "that needs no broker");
    })
    .await;
}
