"""What every pod promises: no privileges, no token, no secret in sight, and an end in good order."""

import re

from conftest import FULLNAME, ROOT, render

COMPONENTS = ("scheduler", "worker", "api")


def test_every_pod_passes_the_restricted_pod_security_standard(rendered):
    for name, template in rendered.pod_templates():
        pod = template["spec"]
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys(), name
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
        for volume in pod["volumes"]:
            assert volume.keys() - {"name"} <= {"configMap", "projected"}, f"{name}: {volume}"


def test_no_pod_gets_a_token_of_the_cluster(rendered):
    accounts = {account["metadata"]["name"]: account for account in rendered.all("ServiceAccount")}
    for name, template in rendered.pod_templates():
        assert template["spec"]["automountServiceAccountToken"] is False, name
        account = accounts[template["spec"]["serviceAccountName"]]
        assert account["automountServiceAccountToken"] is False, name


def test_kubernetes_adds_no_variables_of_services(rendered):
    assert all(template["spec"]["enableServiceLinks"] is False for _, template in rendered.pod_templates())


def test_every_container_has_requests_and_a_limit_of_memory(rendered):
    for name, template in rendered.pod_templates():
        for container in template["spec"]["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name


def test_no_manifest_holds_a_secret(rendered):
    assert rendered.all("Secret") == []
    for name, template in rendered.pod_templates():
        for container in template["spec"]["containers"]:
            for variable in container["env"]:
                # The role of a token is no secret.
                is_role = re.fullmatch(r"HOSTSYNC_API__TOKENS__\w+__ROLE", variable["name"])
                if re.search(r"PASSWORD|TOKEN|API_KEY|__URL", variable["name"]) and not is_role:
                    assert variable["name"].endswith("_FILE"), f"{name}: {variable['name']}"
                    assert variable["value"].startswith("/run/hostsync/secrets/"), f"{name}: {variable['name']}"
    assert not re.search(r"://[^/\s\"]*:[^/\s\"]*@", rendered.text)


def files_of(template):
    [volume] = [volume for volume in template["spec"]["volumes"] if volume["name"] == "secrets"]
    return {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}


def test_each_secret_that_a_variable_names_is_mounted(rendered):
    for name, template in rendered.pod_templates():
        [container] = template["spec"]["containers"]
        [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "secrets"]
        named = {v["value"].removeprefix(mount["mountPath"] + "/") for v in container["env"] if v["name"].endswith("_FILE")}
        assert named == files_of(template), name


def test_a_pod_gets_only_the_secrets_that_it_uses(full):
    files = {component: files_of(full.deployment(component)["spec"]["template"]) for component in COMPONENTS}
    # Schedulers probe endpoints that are closed.
    assert files["scheduler"] == {"database-url", "rabbitmq-url", "endpoint-main-password", "endpoint-far-away-bearer-token"}
    assert files["worker"] == files["scheduler"]
    assert files["api"] == files["worker"] | {"operator-token", "viewer-token", "token-alice"}
    [job] = full.all("Job")
    assert files_of(job["spec"]["template"]) == {"database-url"}


def test_the_migration_may_connect_as_another_user(full):
    [job] = full.all("Job")
    [volume] = [volume for volume in job["spec"]["template"]["spec"]["volumes"] if volume["name"] == "secrets"]
    assert [source["secret"]["name"] for source in volume["projected"]["sources"]] == ["database-owner"]


def test_selectors_match_the_pods_and_nothing_that_changes(rendered):
    templates = {name: template["metadata"]["labels"] for name, template in rendered.pod_templates()}
    for deployment in rendered.all("Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.keys() == {f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")}
        selected = [name for name, labels in templates.items() if selector.items() <= labels.items()]
        assert selected == [f"Deployment {deployment['metadata']['name']}"]
    for kind, path in (("Service", "selector"), ("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for an_object in rendered.all(kind):
            selector = an_object["spec"][path]
            selector = selector.get("matchLabels", selector)
            selected = [name for name, labels in templates.items() if selector.items() <= labels.items()]
            assert len(selected) == 1 and selected[0].endswith(f" {an_object['metadata']['name']}"), kind


def test_every_port_that_is_named_exists(rendered):
    for service in rendered.all("Service"):
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        [container] = rendered.deployment(component)["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports


def test_probes_ask_what_they_mean(rendered):
    for component in COMPONENTS:
        [container] = rendered.deployment(component)["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        liveness = container["livenessProbe"]
        assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60, "a slow minute kills nobody"


def seconds(pattern, path):
    [number] = re.findall(pattern, (ROOT / path).read_text())
    return int(number)


def test_a_pod_is_killed_only_after_its_process_has_ended_by_itself(rendered):
    last_wait = seconds(r"const LAST_WAIT: Duration = Duration::from_secs\((\d+)\)", "shared/service/src/shutdown.rs")
    fixed = seconds(r"const SHUTDOWN_GRACE: Duration = Duration::from_secs\((\d+)\)", "shared/service/src/process.rs")
    toml = rendered.one("ConfigMap", FULLNAME)["data"]["hostsync.toml"]
    worker = int(re.search(r'shutdown_grace = "(\d+)s"', toml)[1])
    for component, grace in (("scheduler", fixed), ("api", fixed), ("worker", worker)):
        pod = rendered.deployment(component)["spec"]["template"]["spec"]
        waits = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        # 10 s for the last traces.
        assert pod["terminationGracePeriodSeconds"] >= waits + grace + last_wait + 10, component


def test_the_worker_gets_as_long_as_it_is_configured_to_take():
    pod = render("full").deployment("worker")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 135


def test_the_api_stops_only_when_nobody_sends_to_it_any_more(rendered):
    [container] = rendered.deployment("api")["spec"]["template"]["spec"]["containers"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


def test_pods_are_spread_and_drained_one_by_one():
    rendered = render("required")
    for component in COMPONENTS:
        pod = rendered.deployment(component)["spec"]["template"]["spec"]
        keys = [spread["topologyKey"] for spread in pod["topologySpreadConstraints"]]
        assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        assert rendered.one("PodDisruptionBudget", f"{FULLNAME}-{component}")["spec"]["maxUnavailable"] == 1


def test_scheduler_and_api_run_twice_and_are_never_fewer_during_a_rollout():
    for component in ("scheduler", "api"):
        spec = render("required").deployment(component)["spec"]
        assert spec["replicas"] == 2
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_changed_configuration_changes_the_pods(full):
    def checksum(rendered):
        return rendered.deployment("worker")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum(full) != checksum(render("required"))


def test_each_pod_reaches_its_servers_and_no_others(full):
    def ports(name):
        rules = full.one("NetworkPolicy", f"{FULLNAME}-{name}")["spec"]["egress"]
        return {port["port"] for rule in rules for port in rule["ports"]}

    assert ports("migration") == {53, 3306}
    assert ports("scheduler") == ports("worker") == ports("api") == {53, 3306, 5672, 5671, 4318, 9200, 443}


def test_who_may_connect_is_said_for_each_pod(full):
    assert "ingress" not in full.one("NetworkPolicy", f"{FULLNAME}-migration")["spec"]
    [worker] = full.one("NetworkPolicy", f"{FULLNAME}-worker")["spec"]["ingress"]
    assert worker["ports"] == [{"port": 8892, "protocol": "TCP"}]
    assert worker["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    [api] = full.one("NetworkPolicy", f"{FULLNAME}-api")["spec"]["ingress"]
    assert [port["port"] for port in api["ports"]] == [8888, 8080]


def test_the_version_is_the_one_of_the_programs(rendered):
    [version] = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    label = rendered.deployment("api")["metadata"]["labels"]["app.kubernetes.io/version"]
    assert label == version
