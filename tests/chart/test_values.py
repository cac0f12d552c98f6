"""A value that cannot be meant is refused, by its name."""

import json
import shutil

import jsonschema
import pytest
import yaml

from conftest import CHART, VALUES, helm, template


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("worker.replicaCount=3", "replicaCount"),
        ("worker.scaling.keda.queueLength=3", "queueLength"),
        ("config.worker.batchHosts=3", "batchHosts"),
        ("config.database.url=mysql://u:p@h/db", "url"),
        ("config.api.operator_token=0123456789abcdef", "operator_token"),
        ("config.elasticsearch.endpoints.default.password=secret", "password"),
        ("config.elasticsearch.endpoints.default.url=https://u:p@search.example", "url"),
        ("config.worker.shutdown_grace=10s", "shutdown_grace"),
        ("config.worker.shutdown_grace=1h 30m", "shutdown_grace"),
        ("config.worker.batch_hosts=2001", "batch_hosts"),
        ("worker.scaling.mode=often", "mode"),
        ("api.extraEnv[0].name=HOSTSYNC_API__OPERATOR_TOKEN", "name"),
        ("image.digest=latest", "digest"),
    ],
)
def test_the_schema_refuses(argument, named):
    done = template(["required.yaml"], "--set", argument)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr and named in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["image.repository="], "image.repository: name the registry"),
        (["secrets.existingSecret="], "existingSecret"),
        (["config.elasticsearch.default_endpoint=main"], "config.elasticsearch.endpoints.main: set it"),
        (["worker.scaling.min=20"], "worker.scaling: min is greater than max"),
        (["worker.scaling.mode=hpa", "worker.scaling.min=0"], "only KEDA scales down to 0"),
    ],
)
def test_the_chart_says_what_is_missing(arguments, message):
    done = template(["required.yaml"], *(part for argument in arguments for part in ("--set", argument)))
    assert done.returncode != 0 and message in done.stderr


def test_every_default_is_one_that_the_schema_allows():
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), json.loads((CHART / "values.schema.json").read_text()))


def keys(value, path=""):
    if isinstance(value, dict) and value and not path.endswith((".labels", ".resources", ".endpoints")):
        return {key for name, inner in value.items() for key in keys(inner, f"{path}.{name}")}
    return {path}


def test_the_schema_names_what_values_yaml_names_and_no_more():
    schema = json.loads((CHART / "values.schema.json").read_text())

    def named(part, path=""):
        part = schema["definitions"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        if "properties" in part:
            assert part["additionalProperties"] is False, path
            return {key for name, inner in part["properties"].items() for key in named(inner, f"{path}.{name}")}
        return {path}

    assert named(schema) - {".global"} == keys(yaml.safe_load((CHART / "values.yaml").read_text()))


NOTES = """
apiVersion: v1
kind: ConfigMap
metadata: { name: notes }
data: { notes: {{ tpl (.Files.Get "NOTES.txt") . | toJson }} }
"""


def notes(directory, *files):
    """NOTES.txt as an installation shows it. `helm install` asks a cluster; so it is rendered as an object."""
    shutil.copytree(CHART, directory / "chart")
    shutil.copy(CHART / "templates" / "NOTES.txt", directory / "chart" / "NOTES.txt")
    (directory / "chart" / "templates" / "notes.yaml").write_text(NOTES)
    values = [argument for file in files for argument in ("--values", VALUES / file)]
    done = helm("template", "sync", directory / "chart", "--namespace", "cmdb", "--show-only", "templates/notes.yaml", *values)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["data"]["notes"]


def test_the_notes_say_the_next_step(tmp_path):
    shown = notes(tmp_path, "required.yaml")
    assert "kubectl -n cmdb rollout status deployment/sync-hostsync-api" in shown
    assert "get secret hostsync -o go-template='{{ index .data \"operator-token\" | base64decode }}'" in shown
    assert "es-sync-tasks" in shown and "Bearer $TOKEN" in shown
    assert "With KEDA in the cluster set" in shown and "No alert rules are installed" in shown


def test_the_notes_warn_of_what_is_open(tmp_path):
    shown = notes(tmp_path, "required.yaml", "minimal.yaml")
    assert "whoever can reach the API may do everything" in shown and "TOKEN" not in shown


def test_the_notes_warn_of_workers_at_zero(tmp_path):
    shown = notes(tmp_path, "required.yaml", "full.yaml")
    assert "No worker runs while both queues are empty" in shown and "No alert rules" not in shown
