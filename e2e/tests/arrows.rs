//! Who may depend on whom. Needs no server.

use std::collections::{BTreeMap, BTreeSet};
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
