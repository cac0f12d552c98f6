"""The programs take the configuration that the chart gives them."""

import os
import re
import subprocess
import tomllib

import pytest

from conftest import FULLNAME, ROOT, keys, render

SECRETS = {
    "database-url": "mysql://hostsync:secret-of-database@db.example/cmdb",
    "rabbitmq-url": "amqp://hostsync:secret-of-broker@mq.example/",
}

# A certificate of nobody, valid until 2126.
CERTIFICATE = (ROOT / "tests/chart/certificate.pem").read_text()


def start(component, rendered, directory):
    """Runs `hostsync-api config` as the pod of a component would: its file, its variables, its secrets."""
    [container] = rendered.deployment(component)["spec"]["template"]["spec"]["containers"]
    toml = rendered.one("ConfigMap", FULLNAME)["data"]["hostsync.toml"]
    for certificate in re.findall(r"/etc/hostsync/trust/(\S+?)\"", toml):
        (directory / certificate).write_text(CERTIFICATE)
    file = directory / "hostsync.toml"
    file.write_text(toml.replace("/etc/hostsync/trust", str(directory)))
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    for name, value in environment.items():
        if name.endswith("_FILE"):
            path = directory / value.rsplit("/", 1)[1]
            path.write_text(SECRETS.get(path.name, f"secret-of-{path.name}") + "\n")
            environment[name] = str(path)
    environment["HOSTSYNC_CONFIG"] = str(file)
    return subprocess.run([os.environ["HOSTSYNC_API"], "config"], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("component", ["scheduler", "worker", "api"])
def test_every_service_reads_its_configuration(component, rendered, tmp_path):
    done = start(component, rendered, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "secret-of" not in done.stdout
    shown = tomllib.loads(done.stdout)
    assert shown["rabbitmq"]["prefix"] == ("cmdb.sync" if rendered.name == "full" else "hostsync")


def test_the_api_gets_its_endpoints_whole(tmp_path):
    shown = tomllib.loads(start("api", render("full"), tmp_path).stdout)
    main = shown["elasticsearch"]["endpoints"]["main"]
    assert main["username"] == "hostsync" and "password" in main and main["timeout"] == "1m"
    assert shown["elasticsearch"]["default_index_pattern"] == "metrics-<host>-*"
    assert "bearer_token" in shown["elasticsearch"]["endpoints"]["far-away"]
    assert "collector" in shown["mappings"]


def test_every_key_but_secrets_can_be_said(full):
    """What the program lists stands in the file, or comes by a variable of the pod."""
    listed = set(keys())
    assert {"database.url", "worker.batch_linger", "mappings.<name>"} <= listed
    toml = tomllib.loads(full.one("ConfigMap", FULLNAME)["data"]["hostsync.toml"])
    given = {f"{section}.{key}" for section, keys in toml.items() for key in keys}
    given |= {f"elasticsearch.endpoints.<name>.{key}" for endpoint in toml["elasticsearch"]["endpoints"].values() for key in endpoint}
    for variable in full.deployment("api")["spec"]["template"]["spec"]["containers"][0]["env"]:
        name = variable["name"].removeprefix("HOSTSYNC_").lower().replace("__", ".")
        given.add(re.sub(r"(elasticsearch\.endpoints|api\.tokens)\.[^.]+", r"\1.<name>", name))
    secret = {key.removesuffix("_file") for key in listed if key.endswith("_file")}
    missing = listed - given - secret - {"mappings.<name>", "elasticsearch.endpoints.<name>.api_key_file"}
    assert missing == set()
