//! Who may depend on whom, and what the sources keep to: words are types, a name means one thing. Needs no server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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
const ROOMS: [&str; 13] = [
    "request",
    "error",
    "database",
    "access",
    "audit",
    "pause",
    "sources",
    "tasks",
    "hosts",
    "dead_letters",
    "runs",
    "app",
    "rest or rpc",
];

/// Rooms that know no transport, and what would tell them of one.
const RULES: [&str; 8] = ["request", "audit", "pause", "sources", "tasks", "hosts", "dead_letters", "runs"];
const TRANSPORTS: [&str; 4] = ["axum", "tonic", "http::", "hyper"];

#[test]
fn a_room_of_the_api_names_only_those_before_it_and_rules_know_no_transport() {
    let files = modules("api");
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
        let files = modules(&package);
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
    assert_eq!(rings, [] as [String; 0], "these name one another in a ring");
}

/// The modules of a package by their paths (`runs::accept`; the library itself is empty), without tests and what is generated.
fn modules(package: &str) -> BTreeMap<String, String> {
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

/// The sources of the product and what measures and tests it, each with its text; without what is generated.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut folders: Vec<PathBuf> = ["shared", "scheduler", "worker", "api", "testing", "bench", "e2e"]
        .iter()
        .map(|crates| root.join(crates))
        .collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("generated") && !path.ends_with("tests") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a text");
                sources.push((path.strip_prefix(root).expect("below the root").to_owned(), text));
            }
        }
    }
    sources.sort();
    assert!(sources.len() > 100, "{} sources", sources.len());
    sources
}

/// What a word is called where rows and answers hold it.
const WORDS: [&str; 10] = [
    "status",
    "execution_status",
    "sync_status",
    "closing_status",
    "trigger",
    "queue",
    "overlap_policy",
    "cause",
    "closing_cause",
    "kind",
];

/// The types of words.
const WORD_TYPES: [&str; 8] =
    ["ExecutionStatus", "SyncStatus", "Trigger", "OverlapPolicy", "ClosingCause", "WaitKind", "DoubtKind", "JobQueue"];

/// Whether a line compares a word by its text, or puts another in the place of one that is not known.
fn treats_a_word_as_text(line: &str) -> bool {
    let is_word_before = |by: &&str| {
        line.match_indices(by).any(|(at, _)| {
            let name = line[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            WORDS.contains(&name)
        })
    };
    let is_member = |right: &str| {
        let end = right.find(|c: char| !c.is_alphanumeric() && c != ':').unwrap_or(right.len());
        right[..end].contains("::") && right[end..].starts_with(".as_str()")
    };
    let is_read_with_another = WORD_TYPES.iter().any(|word| {
        let read = format!(".parse::<{word}>()");
        [".ok()", ".unwrap_or"].iter().any(|otherwise| line.contains(&format!("{read}{otherwise}")))
    });
    is_read_with_another
        || [".as_str() ==", ".as_str() !=", ".parse().ok()", ".parse().unwrap_or"].iter().any(is_word_before)
        || ["== ", "!= "].iter().any(|by| line.split(by).skip(1).any(is_member))
}

#[test]
fn no_word_is_compared_by_its_text_and_none_stands_in_for_another() {
    for offence in [
        "if log.execution_status != ExecutionStatus::Waiting.as_str() {",
        "    if status.as_str() == \"waiting\" {",
        "queue: row.queue.parse().unwrap_or(JobQueue::Bulk),",
        "row.closing_cause.and_then(|cause| cause.parse().ok())",
        "let kind = text.parse::<WaitKind>().ok();",
    ] {
        assert!(treats_a_word_as_text(offence), "{offence}");
    }
    for (path, text) in sources() {
        if ["shared/store", "shared/service", "scheduler", "worker", "api"]
            .iter()
            .all(|crates| !path.starts_with(crates))
        {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            assert!(!treats_a_word_as_text(line), "{}:{}: {}", path.display(), number + 1, line.trim());
        }
    }
}

/// The names of the types that a line of a source declares for more than its own file.
fn declared(line: &str) -> Option<&str> {
    let declaration = line.trim_start().strip_prefix("pub")?;
    let declaration =
        declaration.strip_prefix('(').and_then(|rest| Some(rest.split_once(')')?.1)).unwrap_or(declaration);
    let name = ["struct ", "enum ", "type ", "trait ", "union "]
        .iter()
        .find_map(|kind| declaration.trim_start().strip_prefix(kind))?;
    let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (!name.is_empty()).then_some(name)
}

#[test]
fn a_type_has_a_name_of_its_own_in_the_whole_workspace() {
    assert_eq!(declared("    pub(crate) struct Lane<T> {"), Some("Lane"));
    assert_eq!(declared("pub async fn lane() {"), None);
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources() {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            // The sets of words and labels are declared by a macro, as `Name {` or `Name` on a line of its own.
            let by_macro = match line {
                "words! {" | "labels! {" | "id! {" => lines
                    .by_ref()
                    .map(str::trim)
                    .find(|line| !line.starts_with("///"))
                    .map(|line| line.trim_end_matches(" {")),
                _ => None,
            };
            if let Some(name) = by_macro.or_else(|| declared(line)) {
                places.entry(name.to_owned()).or_default().push(path.display().to_string());
            }
        }
    }
    assert!(places.contains_key("ExecutionStatus") && places.contains_key("ExecutionId"));
    let twice: BTreeMap<&str, &Vec<String>> =
        places.iter().filter(|(_, paths)| paths.len() > 1).map(|(name, paths)| (name.as_str(), paths)).collect();
    let names: Vec<&str> = twice.keys().copied().collect();
    assert_eq!(names, Vec::<&str>::new(), "{twice:#?}");
}
