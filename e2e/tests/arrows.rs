//! Who may depend on whom. Needs no server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The crates of the product, each allowed to depend on those before it.
const ORDER: [&str; 8] = ["model", "schedule", "mapping", "metrics", "source", "queue", "store", "service"];

/// Crates that stay pure: nothing asynchronous, no connection.
const PURE: [&str; 3] = ["model", "schedule", "mapping"];

/// What a pure crate never reaches.
const IMPURE: [&str; 8] = ["tokio", "futures-util", "reqwest", "hyper", "lapin", "sqlx", "axum", "tracing"];

/// Direct dependencies of each package of the workspace, without those of its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").trim_start_matches("hostsync-").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            (name(package), dependencies.iter().filter(|one| one["kind"].is_null()).map(name).collect())
        })
        .collect()
}

#[test]
fn a_crate_depends_only_on_those_before_it() {
    let all = dependencies();
    let products = |dependencies: &BTreeSet<String>| -> Vec<String> {
        dependencies.iter().filter(|name| all.contains_key(*name)).cloned().collect()
    };
    for (place, name) in ORDER.iter().enumerate() {
        for dependency in products(&all[*name]) {
            assert!(ORDER[..place].contains(&dependency.as_str()), "{name} depends on {dependency}");
        }
    }
    for service in ["scheduler", "worker", "api"] {
        for dependency in products(&all[service]) {
            assert!(ORDER.contains(&dependency.as_str()), "{service} depends on {dependency}");
        }
    }
    for dependency in products(&all["testing"]) {
        assert!(ORDER.contains(&dependency.as_str()), "testing depends on {dependency}");
    }
    let known: BTreeSet<&str> =
        ORDER.into_iter().chain(["scheduler", "worker", "api", "testing", "e2e", "bench"]).collect();
    assert_eq!(all.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_pure_crates_know_no_runtime_and_no_connection() {
    let all = dependencies();
    for name in PURE {
        for impure in IMPURE {
            assert!(!all[name].contains(impure), "{name} depends on {impure}");
        }
    }
}

#[test]
fn one_crate_names_the_client_of_the_broker_and_one_that_of_the_search_engine() {
    let all = dependencies();
    let of = |library: &str| -> Vec<&str> {
        ORDER.into_iter().chain(["scheduler", "worker", "api"]).filter(|name| all[*name].contains(library)).collect()
    };
    assert_eq!(of("lapin"), ["queue"]);
    assert_eq!(of("deadpool"), ["queue"]);
    // A health check asks the service itself.
    assert_eq!(of("reqwest"), ["source", "service"]);
}

/// The rooms of the API, each allowed to name those before it, and its own.
const ROOMS: [&str; 10] =
    ["request", "error", "database", "access", "sources", "tasks", "hosts", "runs", "app", "rest or rpc"];

/// Rooms that know no transport, and what would tell them of one.
const RULES: [&str; 5] = ["request", "sources", "tasks", "hosts", "runs"];
const TRANSPORTS: [&str; 4] = ["axum", "tonic", "http::", "hyper"];

#[test]
fn a_room_of_the_api_names_only_those_before_it_and_rules_know_no_transport() {
    let files = sources("api");
    let place = |module: &str| {
        let room = module.split("::").next().unwrap_or(module);
        let room = if ["rest", "rpc"].contains(&room) { "rest or rpc" } else { room };
        ROOMS.iter().position(|known| *known == room)
    };
    let mut rooms = BTreeSet::new();
    for (module, text) in &files {
        let Some(own) = place(module) else { continue };
        rooms.insert(own);
        for used in used_modules(module, text, &files) {
            let Some(used_place) = place(&used) else { panic!("{module} names {used}, which is no room below it") };
            assert!(used_place <= own, "{module} names {used}");
            let transport = |module: &str| module.split("::").next().map(str::to_owned);
            assert!(
                own + 1 < ROOMS.len() || used_place < own || transport(module) == transport(&used),
                "{module} names {used}"
            );
        }
        if RULES.iter().any(|room| place(room) == Some(own)) {
            for name in TRANSPORTS {
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                assert!(!code.clone().any(|line| line.contains(name)), "{module} speaks of {name}");
            }
        }
    }
    assert_eq!(rooms.len(), ROOMS.len(), "a room has gone");
}

#[test]
fn no_modules_stand_in_a_ring() {
    let mut rings = Vec::new();
    for package in ORDER
        .into_iter()
        .map(|name| format!("shared/{name}"))
        .chain(["scheduler", "worker", "api", "testing"].map(str::to_owned))
    {
        let files = sources(&package);
        let uses: BTreeMap<&String, BTreeSet<String>> =
            files.iter().map(|(module, text)| (module, used_modules(module, text, &files))).collect();
        for module in files.keys() {
            // Everything that can be reached from it.
            let mut reached = BTreeSet::new();
            let mut open: Vec<&String> = uses[module].iter().collect();
            while let Some(next) = open.pop() {
                if reached.insert(next) {
                    open.extend(&uses[next]);
                }
            }
            if reached.contains(module) {
                rings.push(format!("{package}: {module}"));
            }
        }
    }
    assert_eq!(rings, Vec::<String>::new(), "these name one another in a ring");
}

/// The modules of a package by their paths (`runs::accept`; the library itself is empty), without tests and what is generated.
fn sources(package: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("src");
    let mut files = BTreeMap::new();
    let mut open = vec![folder.clone()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let place = path.strip_prefix(&folder).expect("below the folder").with_extension("");
        let mut names: Vec<&str> = place.iter().map(|name| name.to_str().expect("a name")).collect();
        if path.extension().is_none_or(|extension| extension != "rs")
            || names.iter().any(|name| ["generated", "tests"].contains(name))
        {
            continue;
        }
        if names.last().is_some_and(|name| ["mod", "lib", "main"].contains(name)) {
            names.pop();
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        let text = text.split("#[cfg(test)]\nmod").next().unwrap_or(&text).to_owned();
        // The program beside the library knows it from outside.
        if path.file_name().is_none_or(|name| name != "main.rs") {
            files.insert(names.join("::"), text);
        }
    }
    files
}

/// The other modules of its package that a module names, by what stands behind `crate::` and `super::`.
fn used_modules(module: &str, text: &str, files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let own: Vec<&str> = module.split("::").filter(|name| !name.is_empty()).collect();
    let mut used = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (start, up) in [("crate::", own.len()), ("super::", 1)] {
            for (at, _) in line.match_indices(start) {
                if line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
                    continue;
                }
                let mut names: Vec<&str> = own[..own.len().saturating_sub(up)].to_vec();
                let path = &line[at + start.len()..];
                let path = path.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next().unwrap_or("");
                for name in path.split("::") {
                    if name == "super" {
                        names.pop();
                    } else {
                        names.push(name);
                    }
                }
                // The longest beginning that is a module is the one that is named.
                while !names.is_empty() && !files.contains_key(&names.join("::")) {
                    names.pop();
                }
                used.insert(names.join("::"));
            }
        }
    }
    used.retain(|used| used != module && files.contains_key(used));
    used
}
