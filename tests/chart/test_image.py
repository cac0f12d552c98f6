"""The image and the compose file, as far as they can be read: no Docker engine is needed."""

import re

import pytest
import yaml

from conftest import ROOT, keys

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
HOSTSYNC = ("migrate", "scheduler", "worker", "api")


def test_the_image_is_built_by_the_toolchain_of_the_project():
    [wanted] = re.findall(r'^channel = "(.*)"', (ROOT / "rust-toolchain.toml").read_text(), re.MULTILINE)
    assert f"ARG RUST_VERSION={wanted}\n" in DOCKERFILE


def test_the_image_holds_the_three_programs_and_no_shell():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert last.startswith("scratch\n") and "\nRUN " not in last
    assert "for name in scheduler worker api" in DOCKERFILE
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in last


@pytest.mark.parametrize("name", HOSTSYNC)
def test_compose_runs_it_without_privileges(name):
    service = COMPOSE[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", ["mariadb", "rabbitmq", "opensearch"])
def test_every_server_says_when_it_is_healthy(name):
    assert COMPOSE[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", ["scheduler", "worker", "api"])
def test_every_service_says_when_it_is_ready_without_a_shell(name):
    assert COMPOSE[name]["healthcheck"]["test"] == ["CMD", f"hostsync-{name}", "healthcheck"]


def test_nothing_starts_before_what_it_needs():
    for name in ("scheduler", "worker", "api"):
        needs = {needed: how["condition"] for needed, how in COMPOSE[name]["depends_on"].items()}
        assert needs == {
            "migrate": "service_completed_successfully",
            "rabbitmq": "service_healthy",
            "opensearch": "service_healthy",
        }


def test_the_worker_may_finish_what_it_has_begun():
    grace = int(keys()["worker.shutdown_grace"].removesuffix("s"))
    assert int(COMPOSE["worker"]["stop_grace_period"].removesuffix("s")) >= grace + 10


def test_every_port_is_bound_to_this_machine():
    assert all(port.startswith("127.0.0.1:") for service in COMPOSE.values() for port in service.get("ports", []))


def test_the_sample_data_are_there_without_a_further_command():
    for name in ("sample-hosts", "sample-documents"):
        assert "profiles" not in COMPOSE[name]
        assert COMPOSE[name]["volumes"] == ["./sample:/sample:ro"]
        [file] = re.findall(r"/sample/(\S+?)[\"']?(?:\s|$|,)", " ".join(COMPOSE[name].get("command", COMPOSE[name].get("entrypoint"))))
        assert (ROOT / "deploy" / "sample" / file).is_file()
