//! `docs/contract-coverage.md` names a test for each requirement of the contracts; this holds the names against the files.
//! It needs no server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A requirement with the tests that show it.
#[derive(Debug)]
struct Row {
    line: usize,
    requirement: String,
    tests: Vec<String>,
}

/// The rows of the tables, and what is wrong with their form.
fn rows(document: &str) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for (number, text) in document.lines().enumerate() {
        let line = number + 1;
        let Some(inner) = text.strip_prefix('|') else { continue };
        let cells: Vec<&str> = inner.trim_end().trim_end_matches('|').split(" | ").map(str::trim).collect();
        let is_heading = cells.first() == Some(&"requirement");
        let is_rule = cells.iter().all(|cell| cell.chars().all(|c| matches!(c, '-' | '|')) && !cell.is_empty());
        if is_heading || is_rule {
            continue;
        }
        let [requirement, tests] = cells[..] else {
            problems.push(format!("line {line}: {} cells, not 2: {text}", cells.len()));
            continue;
        };
        if requirement.is_empty() || tests.is_empty() {
            problems.push(format!("line {line}: an empty cell: {text}"));
            continue;
        }
        let mut names = Vec::new();
        for name in tests.split(", ") {
            match name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
                Some(name) if name.contains("::") => names.push(name.to_owned()),
                _ => problems.push(format!("line {line}: not `file::test`: {name}")),
            }
        }
        rows.push(Row { line, requirement: requirement.to_owned(), tests: names });
    }
    (rows, problems)
}

/// The tests of a file in Rust or Python.
fn tests_of(path: &str, text: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    if Path::new(path).extension().is_some_and(|extension| extension == "py") {
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("def ")?.split('(').next());
        tests.extend(names.filter(|name| name.starts_with("test_")).map(str::to_owned));
        return tests;
    }
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((before, behind)) = line.split_once("fn ").filter(|_| is_test)
            && matches!(before, "" | "async " | "pub " | "pub async ")
        {
            tests.extend(behind.split(['(', '<']).next().map(str::to_owned));
            is_test = false;
        } else if !line.is_empty() && !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
        }
    }
    tests
}

#[test]
fn every_requirement_names_a_test_that_exists() {
    let (rows, mut problems) = rows(&read("docs/contract-coverage.md"));
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut requirements = BTreeSet::new();
    for Row { line, requirement, tests } in &rows {
        if !requirements.insert(requirement) {
            problems.push(format!("line {line}: stands there twice: {requirement}"));
        }
        for test in tests {
            let Some((path, name)) = test.split_once("::") else { continue };
            if !root().join(path).is_file() {
                problems.push(format!("line {line}: there is no file {path} ({requirement})"));
                continue;
            }
            let tests = known.entry(path.to_owned()).or_insert_with(|| tests_of(path, &read(path)));
            if !tests.contains(name) {
                problems.push(format!("line {line}: {path} has no test {name} ({requirement})"));
            }
        }
    }
    assert!(problems.is_empty(), "docs/contract-coverage.md:\n{}", problems.join("\n"));
    assert!(rows.len() >= 190, "{} rows", rows.len());
}

/// Suites for which it does not matter which database it is, and those that `make test-rpc-client` and `make test-console`
/// run.
const WITH_ANY_DATABASE: [&str; 7] =
    ["elasticsearch", "schedule_robfig", "rpc_client", "console", "contract_coverage", "troubled_sources", "watching"];

#[test]
fn every_suite_that_reaches_the_database_runs_on_the_other_one_too() {
    let makefile = read("Makefile");
    let recipe = makefile.split("\ntest-database:").nth(1).and_then(|rest| rest.split("\n\n").next());
    let recipe = recipe.expect("a target").replace("\\\n", " ");
    let suites: BTreeSet<&str> =
        recipe.split("--test ").skip(1).filter_map(|rest| rest.split([' ', ')']).next()).collect();
    let (rows, _) = rows(&read("docs/contract-coverage.md"));
    let mut lacking = BTreeSet::new();
    for test in rows.iter().flat_map(|row| &row.tests) {
        let path = test.split("::").next().unwrap_or_default();
        let Some((package, rest)) = path.split_once("/tests/") else { continue };
        let suite = rest.split(['/', '.']).next().unwrap_or_default();
        let is_exempt = WITH_ANY_DATABASE.iter().any(|name| suite.starts_with(name));
        if !is_exempt && !suites.contains(suite) {
            lacking.insert(format!("{package} {suite}"));
        }
    }
    assert!(lacking.is_empty(), "`make test-database` does not run {lacking:?}");
}

#[test]
fn a_bad_row_is_told_by_its_line() {
    let text = "| requirement | tests |\n|---|---|\n| a | `x.rs::y` |\n| b |  |\n| c | y |\n| d | `x.rs::y` | e |\n";
    let (rows, problems) = rows(text);
    assert_eq!(rows.iter().map(|row| (row.line, row.tests.len())).collect::<Vec<_>>(), [(3, 1), (5, 0)]);
    assert_eq!(
        problems,
        [
            "line 4: an empty cell: | b |  |",
            "line 5: not `file::test`: y",
            "line 6: 3 cells, not 2: | d | `x.rs::y` | e |",
        ]
    );
}

#[test]
fn only_functions_that_are_tests_count() {
    let text = "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(flavor = \"x\")]\n#[allow(y)]\nasync fn c() {}\n#[test]\nconst X: u8 = 1;\nfn d() {}";
    assert_eq!(tests_of("x.rs", text).into_iter().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(tests_of("x.py", "def test_a(x):\n  pass\ndef b():\n").into_iter().collect::<Vec<_>>(), ["test_a"]);
}
