"""Prometheus finds every pod, and gets the rules as they stand in the file."""

import json
import re
import subprocess

import yaml

from conftest import CHART, render, template
from test_documents import TABLE

RULES = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())


def test_every_service_is_scraped_under_the_name_that_the_rules_know(full):
    [monitor] = full.all("ServiceMonitor")
    spec = monitor["spec"]
    assert spec.keys() == {"selector", "namespaceSelector", "endpoints"}
    assert spec["namespaceSelector"] == {"matchNames": ["cmdb"]}
    [endpoint] = spec["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    relabeling, _ = endpoint["relabelings"]
    assert relabeling["targetLabel"] == "job"
    jobs = set()
    for service in full.all("Service"):
        labels = service["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert "http" in [port["name"] for port in service["spec"]["ports"]]
        jobs.add(relabeling["replacement"].replace("$1", labels["app.kubernetes.io/component"]))
    assert jobs == {"hostsync-scheduler", "hostsync-worker", "hostsync-api"}


def test_no_label_of_a_target_takes_the_place_of_a_label_of_a_metric(full):
    [monitor] = full.all("ServiceMonitor")
    dropped = {rule["regex"] for rule in monitor["spec"]["endpoints"][0]["relabelings"] if rule.get("action") == "labeldrop"}
    of_metrics = {label for _, _, labels in TABLE.values() for label in re.findall(r"`([a-z_]+)`", labels)}
    assert "endpoint" in of_metrics
    # What Prometheus' operator gives to the targets of a ServiceMonitor.
    assert ({"namespace", "service", "pod", "container", "endpoint", "node", "job", "instance"} - dropped) & of_metrics == set()


def test_the_rules_are_installed_as_they_were_tested(full, tmp_path):
    [rule] = full.all("PrometheusRule")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for group in rule["spec"]["groups"]:
        for alert in group["rules"]:
            address = alert["annotations"].pop("runbook_url")
            assert address == f"https://wiki.example/hostsync#{alert['alert'].lower()}"
    assert rule["spec"] == RULES


def test_without_a_runbook_there_is_no_address_of_it():
    done = template(["required.yaml"], "--set", "monitoring.prometheusRule.enabled=true", "--show-only", "templates/monitoring.yaml")
    assert yaml.safe_load(done.stdout)["spec"] == RULES


def test_grafana_gets_the_dashboard_as_it_stands_in_the_file(full):
    dashboard = full.one("ConfigMap", "sync-hostsync-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["hostsync.json"]) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_nothing_of_it_is_installed_unasked():
    rendered = render("required")
    assert rendered.all("ServiceMonitor") + rendered.all("PrometheusRule") == []
    assert len(rendered.all("ConfigMap")) == 1
