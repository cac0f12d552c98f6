"""The schema is brought up to date before any pod is changed."""

from conftest import render

HOOK = "helm.sh/hook"
WEIGHT = "helm.sh/hook-weight"
POLICY = "helm.sh/hook-delete-policy"


def hooks(rendered):
    return [o for o in rendered.objects if HOOK in o["metadata"].get("annotations", {})]


def test_the_job_runs_before_install_and_upgrade(full):
    [job] = full.all("Job")
    assert job["metadata"]["annotations"][HOOK] == "pre-install,pre-upgrade"
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["hostsync-api", "migrate"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_all_that_the_job_needs_is_there_before_it(full):
    found = hooks(full)
    [job] = [o for o in found if o["kind"] == "Job"]
    before = {
        (o["kind"], o["metadata"]["name"])
        for o in found
        if int(o["metadata"]["annotations"][WEIGHT]) < int(job["metadata"]["annotations"][WEIGHT])
    }
    pod = job["spec"]["template"]["spec"]
    assert ("ServiceAccount", pod["serviceAccountName"]) in before
    assert ("NetworkPolicy", job["metadata"]["name"]) in before
    # Objects of the release itself do not exist at the first install.
    released = {o["metadata"]["name"] for o in full.all("ConfigMap") + full.all("Secret")}
    mounted = {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
    assert mounted == {"company-certificates"} and not mounted & released


def test_a_second_upgrade_meets_no_leftovers(full):
    assert all("before-hook-creation" in o["metadata"]["annotations"][POLICY] for o in hooks(full))


def test_nothing_else_is_a_hook(full):
    assert sorted(o["kind"] for o in hooks(full)) == ["Job", "NetworkPolicy", "ServiceAccount"]


def test_it_can_be_switched_off():
    assert hooks(render("minimal")) == []
