//! The console at `/`: how it is served, and what its modules may do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{BASE, send, with_server};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/console");

/// The files of the console by name, with their text.
fn files() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(DIRECTORY).expect("the console's files");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("text"))).collect()
}

/// The same, modules alone.
fn modules() -> Vec<(String, String)> {
    let is_module = |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "js");
    files().into_iter().filter(|(name, _)| is_module(name)).collect()
}

/// Where a file of the console is served.
fn path_of(name: &str) -> String {
    if name == "index.html" { "/".to_owned() } else { format!("/console/{name}") }
}

/// What stands between the quotes behind a text, each time that it stands there.
fn quoted_behind<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn the_console_needs_no_token_and_may_load_its_own_files_alone() {
    with_server(async |server| {
        for (name, _) in files() {
            let answer = server.get_plain(&path_of(&name)).await;
            assert_eq!(answer.status, 200, "{name}");
            let content_type = match name.rsplit('.').next() {
                Some("html") => "text/html; charset=utf-8",
                Some("css") => "text/css; charset=utf-8",
                Some("svg") => "image/svg+xml",
                _ => "text/javascript; charset=utf-8",
            };
            assert_eq!(answer.header("content-type"), Some(content_type), "{name}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}");
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{name}");
            assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"), "{name}");
            let policy = answer.header("content-security-policy").expect("a policy");
            let rules: BTreeSet<&str> = policy.split(';').map(str::trim).collect();
            let expected = BTreeSet::from([
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "img-src 'self'",
                "connect-src 'self'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            ]);
            assert_eq!(rules, expected, "{name}");
        }
        server.get_plain("/console/other.js").await.refused(404, "not_found");
        let answer = send(server.request(Method::POST, "/")).await;
        answer.refused(405, "method_not_allowed");
    })
    .await;
}

#[tokio::test]
async fn what_is_served_is_the_files_and_nothing_from_the_database() {
    with_server(async |server| {
        server.task(&json!({"task_name": "payroll-secret", "cron_expression": "@daily"})).await;
        for (name, text) in files() {
            assert!(!text.contains("payroll-secret"), "{name}");
            assert!(server.get_plain(&path_of(&name)).await.text == text, "{name} is not served as it stands");
        }
    })
    .await;
}

#[test]
fn the_page_leads_to_every_file() {
    let texts = files();
    let text_of = |name: &str| texts.iter().find(|(other, _)| other == name).map(|(_, text)| text.as_str());
    let mut reached = BTreeSet::new();
    let mut next = vec!["index.html".to_owned()];
    while let Some(name) = next.pop() {
        let text = text_of(&name).unwrap_or_else(|| panic!("there is no file {name}"));
        if !reached.insert(name) {
            continue;
        }
        next.extend(quoted_behind(text, "from \"./").iter().map(|&module| module.to_owned()));
        let loaded = [" src=\"console/", " href=\"console/"];
        next.extend(loaded.iter().flat_map(|before| quoted_behind(text, before)).map(str::to_owned));
    }
    assert_eq!(reached, texts.into_iter().map(|(name, _)| name).collect());
}

#[test]
fn every_call_of_a_module_is_in_the_document() {
    let document: Value = serde_json::to_value(hostsync_api::openapi()).expect("JSON");
    let mut called = BTreeSet::new();
    for (name, text) in modules() {
        // Every path stands behind its method, as in: "GET", "/es-sync-tasks"
        let mut parts = text.split("/es-sync-");
        let mut before = parts.next().expect("a part");
        for part in parts {
            let method = before.strip_suffix(", \"").and_then(|text| text.strip_suffix('"')?.rsplit('"').next());
            let method = method.unwrap_or_else(|| panic!("{name}: a path without a method before /es-sync-{part}"));
            let (rest, _) = part.split_once('"').expect("the end of the path");
            let path = format!("{BASE}/es-sync-{rest}");
            let operation = &document["paths"][&path][method.to_lowercase()];
            assert!(operation.is_object(), "{name} calls {method} {path}, which is not in the document");
            called.insert(format!("{method} {path}"));
            before = part;
        }
    }
    // Host lists and full syncs are programs' calls: a person's list is a file.
    // The audit, the dead letters, how fresh hosts are and the pause are for programs so far.
    let left_out = [
        "POST es-sync-execute",
        "POST es-sync-full-sync",
        "GET es-sync-audit",
        "GET es-sync-freshness",
        "POST es-sync-hosts/{host_ip}/mute",
        "GET es-sync-pause",
        "POST es-sync-pause",
        "GET es-sync-dead-letters",
        "POST es-sync-dead-letters/requeue",
        "POST es-sync-dead-letters/drop",
    ]
    .map(|call| call.replace(' ', &format!(" {BASE}/")));
    let paths = document["paths"].as_object().expect("paths").iter().filter(|(path, _)| path.starts_with(BASE));
    let documented: BTreeSet<String> = paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("operations").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .filter(|operation| !left_out.contains(operation))
        .collect();
    assert_eq!(called, documented);
}

#[test]
fn nothing_leads_elsewhere_or_turns_text_into_markup_or_code() {
    // The name of SVG in a document; no browser asks there.
    let namespace = "http://www.w3.org/2000/svg";
    for (name, text) in files() {
        let text = text.replace(namespace, "");
        for sign in [
            "http:", "https:", "ws://", "wss://", "\"//", "'//", "`//", "url(", "@import", "\"data:", "(data:", "blob:",
        ] {
            assert!(!text.contains(sign), "{name}: {sign}");
        }
        for sign in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "setHTML",
            "document.write",
            "DOMParser",
            "srcdoc",
            "createContextualFragment",
            "eval(",
            "Function(",
            "javascript:",
            "localStorage",
            "document.cookie",
            "indexedDB",
            " style=",
            " onclick=",
            "<script>",
            "<style",
        ] {
            assert!(!text.contains(sign), "{name}: {sign}");
        }
    }
}

#[test]
fn the_token_is_kept_in_one_module_for_the_tab_alone() {
    let keeping: Vec<String> =
        modules().into_iter().filter(|(_, text)| text.contains("sessionStorage")).map(|(name, _)| name).collect();
    assert_eq!(keeping, ["token.js"]);
    let sending: Vec<String> =
        modules().into_iter().filter(|(_, text)| text.contains("fetch(")).map(|(name, _)| name).collect();
    assert_eq!(sending, ["api.js"]);
}
