//! The examples of `docs/api.md` do what they say.

use std::path::Path;

use reqwest::Method;

use crate::harness::{Answer, OPERATOR, Server, send, with_server};

/// The curl lines of the guide's shell blocks, continuation lines joined.
fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let text = std::fs::read_to_string(path).expect("the guide");
    let mut commands = Vec::new();
    for block in text.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default().replace("\\\n", " ");
        commands.extend(block.lines().map(str::trim).filter(|line| line.starts_with("curl")).map(str::to_owned));
    }
    commands
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

#[tokio::test]
async fn every_example_of_the_guide_works_in_its_order() {
    with_server(async |server| {
        let commands = commands();
        assert!(commands.len() >= 12, "{commands:?}");
        for line in &commands {
            let answer = perform(server, line).await;
            assert_eq!(answer.status, 200, "{line}\n{}", answer.text);
        }
    })
    .await;
}
