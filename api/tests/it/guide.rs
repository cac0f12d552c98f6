//! The examples of `docs/api.md` do what they say.

use std::path::Path;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, OPERATOR, Server, send, with_server};

/// A call of the guide.
struct Call {
    /// The variable that keeps a number of the answer, and the number's name.
    kept: Option<(String, String)>,
    curl: String,
}

/// The curl lines of the guide's shell blocks, continuation lines joined, those whose answer is kept among them.
fn calls() -> Vec<Call> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let text = std::fs::read_to_string(path).expect("the guide");
    let mut calls = Vec::new();
    for block in text.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default().replace("\\\n", " ");
        calls.extend(block.lines().map(str::trim).filter_map(call));
    }
    calls
}

fn call(line: &str) -> Option<Call> {
    if line.starts_with("curl") {
        return Some(Call { kept: None, curl: line.to_owned() });
    }
    let (variable, rest) = line.split_once("=$(")?;
    let (curl, number) = rest.strip_suffix(')')?.rsplit_once("| number ")?;
    Some(Call { kept: Some((variable.to_owned(), number.to_owned())), curl: curl.trim().to_owned() })
}

/// Splits a line into words as a shell does, as far as the guide needs it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ' ' => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            Some(_) | None => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// Sends what a curl line would send.
async fn perform(server: &Server, line: &str) -> Answer {
    let mut method = Method::GET;
    let mut path = String::new();
    let mut data = None;
    let mut form: Vec<(String, String)> = Vec::new();
    let mut is_json = false;
    let mut has_token = false;
    let mut key = None;
    let mut words = words(line).into_iter().skip(1);
    while let Some(word) = words.next() {
        let mut argument = || words.next().expect("an argument");
        match word.as_str() {
            "-s" => {}
            "-X" => method = argument().parse().expect("a method"),
            "-H" => match argument().as_str() {
                "$AUTH" => has_token = true,
                "$JSON" => is_json = true,
                other => match other.strip_prefix("Idempotency-Key: ") {
                    Some(value) => key = Some(value.to_owned()),
                    None => panic!("the header {other} in {line}"),
                },
            },
            "-d" => data = Some(argument()),
            "-F" => {
                let part = argument();
                let (name, value) = part.split_once('=').expect("a part");
                form.push((name.to_owned(), value.to_owned()));
            }
            word => path = word.strip_prefix("$HOSTSYNC").unwrap_or_else(|| panic!("{word} in {line}")).to_owned(),
        }
    }
    if method == Method::GET && (data.is_some() || !form.is_empty()) {
        method = Method::POST;
    }
    let mut request = server.request(method, &path);
    if has_token {
        request = request.bearer_auth(OPERATOR);
    }
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    if let Some(data) = data {
        assert!(is_json, "{line}");
        request = request.header("content-type", "application/json").body(data);
    }
    if !form.is_empty() {
        let mut body = String::new();
        for (name, value) in form {
            let (file, value) = match value.strip_prefix('@') {
                Some(_) => ("; filename=\"hosts.txt\"", "10.0.0.1\n10.0.0.2\n"),
                None => ("", value.as_str()),
            };
            let head = ["--b\r\nContent-Disposition: form-data; name=\"", &name, "\"", file, "\r\n\r\n"];
            body.extend(head.into_iter().chain([value, "\r\n"]));
        }
        body.push_str("--b--\r\n");
        request = request.header("content-type", "multipart/form-data; boundary=b").body(body);
    }
    send(request).await
}

/// The guide is typed against a server that has a task and a run of others already, as the demonstration has.
#[tokio::test]
async fn every_example_of_the_guide_works_in_its_order_and_touches_nothing_of_others() {
    with_server(async |server| {
        let task = json!({"task_name": "of others", "cron_expression": "@daily", "is_enabled": true});
        let task = server.post("/es-sync-tasks", &task).await.ok()["task_id"].clone();
        let task_path = format!("/es-sync-tasks/{task}");
        let run = json!({"task_name": "of others", "host_ip_list": ["10.0.0.9"]});
        let run = server.post("/es-sync-execute", &run).await.ok()["execution_id"].clone();
        let run_path = format!("/es-sync-execution-detail/{run}");
        let of_others = async || {
            let (task, run) = (server.get(&task_path).await.ok(), server.get(&run_path).await.ok());
            (task["task"].clone(), run["execution_log"]["execution_status"].clone(), run["status_counts"].clone())
        };
        let before = of_others().await;

        let mut variables: Vec<(String, String)> = Vec::new();
        let calls = calls();
        assert!(calls.len() >= 12, "{}", calls.len());
        for Call { kept, curl } in calls {
            let curl = variables.iter().fold(curl, |curl, (name, value)| curl.replace(&format!("${name}"), value));
            let answer = perform(server, &curl).await;
            assert_eq!(answer.status, 200, "{curl}\n{}", answer.text);
            if let Some((variable, number)) = kept {
                let number = answer.body[&number].as_u64().unwrap_or_else(|| panic!("{number} in {}", answer.text));
                variables.push((variable, number.to_string()));
            }
        }
        assert_eq!(of_others().await, before);
    })
    .await;
}
