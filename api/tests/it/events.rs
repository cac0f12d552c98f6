//! Watching an execution.

use std::time::Duration;

use hostsync_model::execution::SyncStatus;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{BASE, Server, VIEWER, send, with_server};

const LIMIT: Duration = Duration::from_secs(30);

/// One event.
#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

/// A stream that is being read.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn open(server: &Server, execution: u64, last_id: Option<&str>) -> Self {
        let path = format!("/api/cmdb/v1/es-sync-executions/{execution}/events");
        let mut request = server.request(Method::GET, &path).bearer_auth(VIEWER);
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event, comments left out; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let mut event = Event::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => name.clone_into(&mut event.name),
                        Some(("id", id)) => id.clone_into(&mut event.id),
                        Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                        _ => {}
                    }
                }
                if !event.name.is_empty() {
                    return Some(event);
                }
            }
            let chunk = tokio::time::timeout(LIMIT, self.response.chunk()).await.expect("in time").expect("a chunk")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }
}

async fn run_over(server: &Server, hosts: &[&str]) -> u64 {
    let body = json!({"task_name": "watched", "host_ip_list": hosts});
    server.post("/es-sync-execute", &body).await.ok()["execution_id"].as_u64().expect("an id")
}

const HOSTS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

#[tokio::test]
async fn a_watcher_hears_the_counters_as_they_change_and_then_the_end() {
    with_server(async |server| {
        let id = run_over(server, &HOSTS).await;
        let mut first = Events::open(server, id, None).await;
        let mut second = Events::open(server, id, None).await;
        let event = first.next().await.expect("the state that is there");
        assert_eq!(
            event,
            Event {
                name: "progress".to_owned(),
                id: "running.3.0.0.0.0.0.3".to_owned(),
                data: json!({
                    "execution_id": id, "execution_status": "running", "total_hosts": 3, "success_count": 0,
                    "failed_count": 0, "no_data_count": 0, "not_in_pool_count": 0, "cancelled_count": 0,
                    "pending_count": 3, "error_message": null, "waiting_for": "", "duration_ms": null,
                }),
            }
        );
        server.finish_hosts(id, &[(HOSTS[0], SyncStatus::Success)]).await;
        let event = first.next().await.expect("a change");
        assert_eq!((event.name.as_str(), &event.data["success_count"]), ("progress", &json!(1)));
        server.finish_hosts(id, &[(HOSTS[1], SyncStatus::Failed), (HOSTS[2], SyncStatus::NoData)]).await;
        let event = first.next().await.expect("the end");
        assert_eq!((event.name.as_str(), event.id.as_str()), ("end", "partial.3.1.1.1.0.0.0"));
        assert_eq!((&event.data["execution_status"], &event.data["pending_count"]), (&json!("partial"), &json!(0)));
        assert!(event.data["duration_ms"].is_u64());
        assert_eq!(first.next().await, None);

        // Everybody hears it.
        let mut heard = Vec::new();
        while let Some(event) = second.next().await {
            heard.push(event);
        }
        assert_eq!(heard.last().map(|event| event.id.as_str()), Some("partial.3.1.1.1.0.0.0"));
        // Who comes later hears the end alone; who has heard it need not come back.
        let mut late = Events::open(server, id, Some("running.3.0.0.0.0.0.3")).await;
        assert_eq!(late.next().await.map(|event| event.name).as_deref(), Some("end"));
        assert_eq!(late.next().await, None);
        let request = server.operator(Method::GET, &format!("/es-sync-executions/{id}/events"));
        let answer = send(request.header("Last-Event-ID", "partial.3.1.1.1.0.0.0")).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    })
    .await;
}

#[tokio::test]
async fn a_watcher_that_comes_back_hears_of_a_state_only_if_it_has_changed() {
    with_server(async |server| {
        let id = run_over(server, &HOSTS).await;
        let mut watcher = Events::open(server, id, None).await;
        let last_id = watcher.next().await.expect("a state").id;
        drop(watcher);
        let mut same = Events::open(server, id, Some(&last_id)).await;
        server.finish_hosts(id, &[(HOSTS[0], SyncStatus::Success)]).await;
        // The first that is heard is the change.
        assert_eq!(same.next().await.map(|event| event.data["success_count"].clone()), Some(json!(1)));
        // What changed meanwhile is heard at once.
        let mut changed = Events::open(server, id, Some(&last_id)).await;
        assert_eq!(changed.next().await.map(|event| event.data["success_count"].clone()), Some(json!(1)));
    })
    .await;
}

#[tokio::test]
async fn watchers_are_bounded_and_one_that_goes_makes_room() {
    with_server(async |server| {
        let id = run_over(server, &HOSTS).await;
        let path = format!("/es-sync-executions/{id}/events");
        let as_viewer = || server.request(Method::GET, &format!("{BASE}{path}")).bearer_auth(VIEWER).send();
        let mut watchers = Vec::new();
        let answer = loop {
            let answer = as_viewer().await.expect("an answer");
            if answer.status() != 200 {
                break answer;
            }
            watchers.push(answer);
        };
        assert_eq!((answer.status().as_u16(), watchers.len()), (429, 90));
        // Whatever viewers have, an operator gets its own, up to its share.
        for _ in 0..55 {
            let request = server.operator(Method::GET, &path);
            watchers.push(request.send().await.expect("an answer").error_for_status().expect("a stream"));
        }
        let answer = server.get(&path).await;
        assert_eq!(answer.header("retry-after"), Some("1"));
        answer.refused(429, "too_many_requests");
        drop(watchers);
        crate::harness::until("there is room", async || {
            let request = server.operator(Method::GET, &path);
            request.send().await.expect("an answer").status() == 200
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_the_server_stops() {
    with_server(async |server| {
        let id = run_over(server, &HOSTS).await;
        let mut watcher = Events::open(server, id, None).await;
        watcher.next().await.expect("a state");
        server.shutdown.begin();
        assert_eq!(watcher.next().await, None);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_watched() {
    with_server(async |server| {
        server.get("/es-sync-executions/1/events").await.refused(404, "execution_not_found");
        server.get("/es-sync-executions/x/events").await.refused(400, "invalid_request");
        server.get_plain("/api/cmdb/v1/es-sync-executions/1/events").await.refused(401, "unauthorized");
    })
    .await;
}
