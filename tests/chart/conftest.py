"""Renders the chart by helm, once for each way of installing it."""

import functools
import os
import pathlib
import re
import subprocess

import pytest
import yaml

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
CHART = ROOT / "deploy" / "chart"
TOOLS = ROOT / ".dev" / "chart"
VALUES = HERE / "values"

RELEASE = "sync"
NAMESPACE = "cmdb"
FULLNAME = "sync-hostsync"

# The oldest that the chart allows, the newest that the checker knows, and two between.
KUBERNETES = ["1.30.0", "1.32.0", "1.34.1", "1.37.0"]


@functools.cache
def keys():
    """The default of each key of the configuration, None without one, as `hostsync-api --help` lists them."""
    wide = {**os.environ, "COLUMNS": "200"}
    helped = subprocess.run([os.environ["HOSTSYNC_API"], "--help"], env=wide, capture_output=True, text=True, check=True)
    listed, section = {}, None
    for line in helped.stdout.partition("\nConfiguration: ")[2].splitlines():
        if heading := re.fullmatch(r"\[(.+)\]", line):
            section = heading[1]
        elif section and (key := re.fullmatch(r"  (\S+) +.*?(?: \[(\S+)\])?", line)):
            listed[f"{section}.{key[1]}"] = key[2]
    return listed


# What an installation says, and whether its cluster has KEDA.
INSTALLATIONS = {
    "required": (["required.yaml"], True),
    "no-keda": (["required.yaml"], False),
    "hpa": (["required.yaml", "hpa.yaml"], True),
    "fixed": (["required.yaml", "fixed.yaml"], False),
    "minimal": (["required.yaml", "minimal.yaml"], False),
    "full": (["required.yaml", "full.yaml"], True),
}


def helm(*arguments):
    """Runs helm and returns what it did, whether or not it went well."""
    return subprocess.run([TOOLS / "bin" / "helm", *arguments], capture_output=True, text=True, check=False)


def template(files, *arguments, keda=True, kubernetes="1.34.1"):
    """Renders the chart with values files and further arguments."""
    values = [argument for file in files for argument in ("--values", VALUES / file)]
    apis = ["--api-versions", "keda.sh/v1alpha1"] if keda else []
    return helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", kubernetes, *apis, *values, *arguments)


class Rendered:
    """All objects of one installation."""

    def __init__(self, name, text):
        self.name = name
        self.text = text
        self.objects = [document for document in yaml.safe_load_all(text) if document]

    def all(self, kind):
        return [an_object for an_object in self.objects if an_object["kind"] == kind]

    def one(self, kind, name):
        found = [an_object for an_object in self.all(kind) if an_object["metadata"]["name"] == name]
        assert len(found) == 1, f"{self.name}: {len(found)} objects {kind} {name}"
        return found[0]

    def deployment(self, component):
        return self.one("Deployment", f"{FULLNAME}-{component}")

    def pod_templates(self):
        """(name, pod template) of everything that makes pods."""
        return [
            (f"{an_object['kind']} {an_object['metadata']['name']}", an_object["spec"]["template"])
            for an_object in self.objects
            if an_object["kind"] in ("Deployment", "Job")
        ]


@functools.cache
def render(name, kubernetes="1.34.1"):
    files, keda = INSTALLATIONS[name]
    done = template(files, keda=keda, kubernetes=kubernetes)
    assert done.returncode == 0, done.stderr
    return Rendered(name, done.stdout)


@pytest.fixture(params=INSTALLATIONS)
def rendered(request):
    """Each installation in turn."""
    return render(request.param)


@pytest.fixture
def full():
    return render("full")
