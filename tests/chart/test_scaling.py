"""Workers follow the queues; without KEDA their CPU or nothing."""

import re

import pytest

from conftest import FULLNAME, ROOT, render

WORKER = f"{FULLNAME}-worker"


def queues(prefix):
    """The names of the job queues as shared/queue/src/topology.rs makes them."""
    topology = (ROOT / "shared/queue/src/topology.rs").read_text()
    [form] = re.findall(r'pub fn queue\(.*?format!\("([^"]*)"', topology, re.DOTALL)
    [variants] = re.findall(r"^    JobQueue \{(.*?)^    \}", (ROOT / "shared/model/src/execution.rs").read_text(), re.DOTALL | re.MULTILINE)
    kinds = re.findall(r'= "(\w+)"', variants)
    assert len(kinds) == 2
    return {form.replace("{}", prefix, 1).replace("{}", kind) for kind in kinds}


@pytest.mark.parametrize(("installation", "prefix"), [("required", "hostsync"), ("full", "cmdb.sync")])
def test_keda_watches_both_queues(installation, prefix):
    [scaled] = render(installation).all("ScaledObject")
    assert {trigger["metadata"]["queueName"] for trigger in scaled["spec"]["triggers"]} == queues(prefix)


def test_delivered_jobs_count_as_well():
    [scaled] = render("required").all("ScaledObject")
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["type"] == "rabbitmq"
        assert trigger["metadata"]["protocol"] == "http"
        assert trigger["metadata"]["mode"] == "QueueLength"
        assert trigger["metadata"]["excludeUnacknowledged"] == "false"
        # The fallback needs it.
        assert trigger["metricType"] == "AverageValue"


def test_the_address_of_the_management_api_stays_in_its_secret(full):
    [scaled] = full.all("ScaledObject")
    [authentication] = full.all("TriggerAuthentication")
    assert authentication["spec"] == {"secretTargetRef": [{"parameter": "host", "name": "broker", "key": "management"}]}
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
        assert "host" not in trigger["metadata"]


def test_workers_come_fast_and_go_slowly(full):
    [scaled] = full.all("ScaledObject")
    spec = scaled["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": WORKER}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 40)
    assert spec["fallback"]["replicas"] == 2 and spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_one_worker_stays_unless_told_otherwise():
    [scaled] = render("required").all("ScaledObject")
    assert scaled["spec"]["minReplicaCount"] == 1


@pytest.mark.parametrize(
    ("installation", "scaler", "replicas"),
    [("required", "ScaledObject", None), ("no-keda", "HorizontalPodAutoscaler", None), ("hpa", "HorizontalPodAutoscaler", None), ("fixed", None, 3)],
)
def test_exactly_one_decides_how_many_workers_there_are(installation, scaler, replicas):
    rendered = render(installation)
    scalers = rendered.all("ScaledObject") + rendered.all("HorizontalPodAutoscaler")
    assert [found["kind"] for found in scalers] == ([scaler] if scaler else [])
    assert [found["spec"]["scaleTargetRef"]["name"] for found in scalers] == ([WORKER] if scaler else [])
    assert rendered.deployment("worker")["spec"].get("replicas") == replicas


def test_without_keda_nothing_needs_its_secret():
    assert "rabbitmq-management-url" not in render("no-keda").text
