//! The pause: who may, what it says, what the audit keeps of it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, VIEWER, send, with_server};

const PATH: &str = "/es-sync-pause";

#[tokio::test]
async fn a_pause_is_shown_with_who_and_why_and_repeating_it_changes_nothing() {
    with_server(async |server| {
        let shown = server.get(PATH).await.ok();
        let before = json!({"success": true, "message": "the fleet is not paused", "paused": false, "note": "",
                            "changed_by": "", "changed_at": null, "paused_since": null});
        assert_eq!(shown, before);
        assert_eq!(server.post(PATH, &json!({"paused": false, "note": "x"})).await.ok(), before, "it is not paused");

        let body = json!({"paused": true, "note": "the CMDB moves"});
        let paused = server.post(PATH, &body).await.ok();
        assert_eq!(paused["message"], "the fleet is paused by operator: the CMDB moves");
        assert_eq!(
            (&paused["paused"], &paused["note"], &paused["changed_by"]),
            (&json!(true), &body["note"], &json!("operator"))
        );
        assert!(paused["paused_since"].is_string() && paused["paused_since"] == paused["changed_at"], "{paused}");
        for again in [body, json!({"paused": true})] {
            assert_eq!(server.post(PATH, &again).await.ok(), paused);
            assert_eq!(server.get(PATH).await.ok(), paused);
        }
        let noted = server.post(PATH, &json!({"paused": true, "note": "until noon"})).await.ok();
        assert_eq!((&noted["note"], &noted["paused_since"]), (&json!("until noon"), &paused["paused_since"]));

        let resumed = server.post(PATH, &json!({"paused": false, "note": "done"})).await.ok();
        assert_eq!(
            (&resumed["paused"], &resumed["note"], &resumed["paused_since"]),
            (&json!(false), &json!("done"), &Value::Null)
        );

        let entries = server.get("/es-sync-audit?object=pause").await.ok();
        let entries = entries["entries"].as_array().expect("entries").iter().rev();
        let told: Vec<_> = entries.map(|entry| (entry["action"].as_str(), entry["result"].as_str())).collect();
        let result = "the fleet is paused by operator: the CMDB moves";
        assert_eq!(
            told,
            [
                (Some("resume"), Some("the fleet is not paused")),
                (Some("pause"), Some(result)),
                (Some("pause"), Some(result)),
                (Some("pause"), Some(result)),
                (Some("pause"), Some("the fleet is paused by operator: until noon")),
                (Some("resume"), Some("the fleet is not paused")),
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_bad_pause_is_named_and_nothing_changes() {
    with_server(async |server| {
        for (body, fields) in [
            (json!({}), vec!["paused"]),
            (json!({"paused": "yes", "note": "x".repeat(501)}), vec!["paused", "note"]),
            (json!({"paused": true, "until": "noon"}), vec!["until"]),
        ] {
            let refusal = server.post(PATH, &body).await.refused(400, "invalid_request");
            assert_eq!(Answer::fields(&refusal), fields, "{body}");
        }
        assert_eq!(server.get(PATH).await.ok()["paused"], false);
    })
    .await;
}

#[tokio::test]
async fn a_viewer_sees_the_pause_and_cannot_change_it() {
    with_server(async |server| {
        let url = format!("/api/cmdb/v1{PATH}");
        let get = send(server.request(Method::GET, &url).bearer_auth(VIEWER)).await;
        assert_eq!(get.ok()["paused"], false);
        let post = server.request(Method::POST, &url).bearer_auth(VIEWER).json(&json!({"paused": true}));
        send(post).await.refused(403, "forbidden");
        assert_eq!(server.get(PATH).await.ok()["paused"], false);
    })
    .await;
}

#[tokio::test]
async fn a_task_is_disabled_with_a_note() {
    with_server(async |server| {
        let id = server.task(&json!({"task_name": "t", "cron_expression": "@yearly", "is_enabled": true})).await;
        let body = json!({"id": id, "is_enabled": false, "note": "the source moves"});
        let done = server.put("/es-sync-tasks/enable", &body).await.ok();
        assert_eq!(done["message"], format!("task {id} is disabled"));
        let entries = server.get("/es-sync-audit?action=disable_task").await.ok();
        let entry = &entries["entries"][0];
        assert_eq!(
            (&entry["what"]["note"], &entry["result"]),
            (&body["note"], &json!("task 1 is disabled: the source moves"))
        );
        let body = json!({"id": id, "is_enabled": true, "note": "x".repeat(501)});
        let refusal = server.put("/es-sync-tasks/enable", &body).await.refused(400, "invalid_request");
        assert_eq!(Answer::fields(&refusal), ["note"]);
    })
    .await;
}
