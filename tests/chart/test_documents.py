"""docs/operations.md tells of every metric and every alert, and what is asked of Prometheus exists."""

import json
import re
import subprocess

import pytest
import yaml

from conftest import CHART, ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
RULES = [rule for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
SOURCES = [path for crate in ("shared/*", "scheduler", "worker", "api") for path in ROOT.glob(f"{crate}/src/**/*.rs")]


def table():
    """OpenTelemetry's name → (Prometheus' name, kind and unit, labels) of each row."""
    section = PAGE.split("\n## Metrics\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]
    assert all(len(row) == 6 and row[4] for row in rows)
    return {row[0].strip("`"): (row[1].strip("`"), row[2], row[3]) for row in rows}


TABLE = table()


def series():
    """Every name that a query may use, with the labels that it has."""
    found = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
    for name, kind, labels in TABLE.values():
        labels = set(re.findall(r"`([a-z_]+)`(?=:|,|;| \(|$)", labels))
        if kind.startswith("histogram"):
            found |= {f"{name}_{part}": labels | ({"le"} if part == "bucket" else set()) for part in ("bucket", "sum", "count")}
        else:
            found[name] = labels
    return found


# What Prometheus itself adds.
TARGET = {"job", "instance", "namespace", "pod"}

SERIES = series()

QUERIES = {rule["alert"]: rule["expr"] for rule in RULES}
QUERIES |= {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
}


def test_each_metric_of_the_code_is_in_the_table():
    named = {name for path in SOURCES for name in re.findall(r'"(hostsync\.(?!toml|test)[a-z_]+(?:\.[a-z_]+)*|db\.client\.connection\.(?:count|max))"', path.read_text())}
    assert len(named) >= 15
    assert named - TABLE.keys() == set()


def test_names_are_those_that_the_exporter_makes():
    for name, (exported, kind, _) in TABLE.items():
        expected = name.replace(".", "_") + ("_seconds" if kind.endswith(", s") else "") + ("_total" if kind.startswith("counter") else "")
        assert exported == expected
        assert re.fullmatch(r"(counter|gauge|histogram)(, s)?", kind), name


def test_no_label_holds_a_host_or_an_execution():
    assert not {"host", "host_ip", "id", "execution_id", "task_name"} & {label for labels in SERIES.values() for label in labels}


@pytest.mark.parametrize("query", QUERIES)
def test_what_a_query_asks_for_exists(query):
    expression = QUERIES[query]
    names = set(re.findall(r"\b(?:hostsync|db_client)_[a-z_]+(?=[{\[\s)]|$)", expression)) | ({"up"} if re.search(r"\bup\{", expression) else set())
    names -= {"db_client_connection_state"}
    assert names and names <= SERIES.keys(), names - SERIES.keys()
    for name, matchers in re.findall(r"\b((?:hostsync|db_client)_[a-z_]+|up)\{([^}]*)\}", expression):
        used = set(re.findall(r"(\w+)\s*(?:=|!)", matchers))
        assert used <= SERIES[name] | TARGET, f"{name} has no label {used - SERIES[name] - TARGET}"
    grouped = {label.strip() for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in labels.split(",") if label.strip()}
    assert grouped <= TARGET.union(*(SERIES[name] for name in names))


def test_prometheus_understands_every_query(tmp_path):
    """As recording rules: promtool parses them."""
    filled = [query.replace("$__rate_interval", "5m").replace("$namespace", ".*") for query in QUERIES.values()]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(filled)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_looked_at_by_somebody():
    asked = " ".join(QUERIES.values())
    assert [name for name, _, _ in TABLE.values() if name not in asked] == []


def test_each_alert_has_its_section_and_each_section_its_alert():
    section = PAGE.split("\n## Alerts\n")[1]
    assert sorted(re.findall(r"^### (\w+)$", section, re.MULTILINE)) == sorted(rule["alert"] for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_section_says_how_urgent_it_is_and_gives_commands(rule):
    text = PAGE.split(f"\n### {rule['alert']}\n")[1].split("\n### ")[0]
    assert text.lstrip().startswith(f"**{rule['labels']['severity']}.**")
    assert re.search(r"^1\. ", text, re.MULTILINE)
    assert re.search(r"kubectl|curl|rabbitmq|SQL |\(#", text)


def test_links_within_the_page_lead_somewhere():
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors


def test_files_that_the_page_names_exist():
    for path in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path


def test_values_that_the_page_names_exist():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = re.findall(r"`((?:config|worker|scheduler|api|secrets|networkPolicy|monitoring|migration|trust|image)\.[A-Za-z_.]+?)(?::[^`]*)?`", PAGE)
    # Keys of the programs without the chart's `config.` before them.
    configuration = values["config"]
    for name in named:
        part = values
        if name.split(".")[0] in configuration and name.split(".")[1] in configuration[name.split(".")[0]]:
            part = configuration
        for level in name.split("."):
            assert level in part, name
            part = part[level]


def test_panels_do_not_overlap_and_say_what_they_show():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or (panel["description"] and panel["targets"]), panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_runbooks_that_panels_name_exist():
    alerts = {rule["alert"] for rule in RULES}
    named = {name for panel in DASHBOARD["panels"] for name in re.findall(r"\bHostsync\w+", panel.get("description", ""))}
    assert named and named <= alerts
