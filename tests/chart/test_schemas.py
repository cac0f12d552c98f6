"""Every rendered object is one that the cluster's API takes."""

import jsonschema
import kubernetes_validate
import pytest
import yaml

from conftest import CHART, INSTALLATIONS, KUBERNETES, TOOLS, VALUES, helm, render

KEDA = {"ScaledObject": "keda.sh_scaledobjects.yaml", "TriggerAuthentication": "keda.sh_triggerauthentications.yaml"}

# Their operator is no part of Kubernetes; test_monitoring.py looks at them.
OPERATOR = {"ServiceMonitor", "PrometheusRule"}


def strict(schema):
    """A CRD's schema that takes no field it does not name."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        if "properties" in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
    elif isinstance(schema, list):
        schema = [strict(value) for value in schema]
    return schema


def keda_schema(kind, version):
    crd = yaml.safe_load((TOOLS / "crds" / KEDA[kind]).read_text())
    [found] = [entry for entry in crd["spec"]["versions"] if entry["name"] == version]
    schema = strict(found["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_helm_has_nothing_to_say_against_it(installation):
    files, _ = INSTALLATIONS[installation]
    values = [argument for file in files for argument in ("--values", VALUES / file)]
    done = helm("lint", CHART, "--strict", "--quiet", "--kube-version", "1.34.1", *values)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_kubernetes_takes_every_object(installation, version):
    checked = 0
    for an_object in render(installation, version).objects:
        if an_object["kind"] not in KEDA and an_object["kind"] not in OPERATOR:
            kubernetes_validate.validate(an_object, version, strict=True)
            checked += 1
    assert checked >= 8


def test_the_check_refuses_a_field_that_kubernetes_does_not_know(full):
    service = yaml.safe_load(yaml.safe_dump(full.one("Service", "sync-hostsync-api")))
    service["spec"]["selectors"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, "1.34.1", strict=True)


@pytest.mark.parametrize("installation", [name for name, (_, keda) in INSTALLATIONS.items() if keda and name != "hpa"])
@pytest.mark.parametrize("kind", KEDA)
def test_keda_takes_its_objects(installation, kind):
    [an_object] = render(installation).all(kind)
    jsonschema.validate(an_object, keda_schema(kind, an_object["apiVersion"].split("/")[1]))


def test_the_check_refuses_a_field_that_keda_does_not_know(full):
    [scaled] = full.all("ScaledObject")
    changed = {**scaled, "spec": {**scaled["spec"], "minReplicas": 1}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, keda_schema("ScaledObject", "v1alpha1"))


def test_an_older_kubernetes_is_refused():
    files, _ = INSTALLATIONS["required"]
    values = [argument for file in files for argument in ("--values", VALUES / file)]
    done = helm("template", "sync", CHART, "--kube-version", "1.29.0", *values)
    assert done.returncode != 0 and "kubeVersion" in done.stderr
