"""For each failure the right alert fires, and no other: played to promtool as the metrics that it leaves."""

import re
import subprocess

import pytest
import yaml

from conftest import CHART

RULES = CHART / "files" / "alerts.yaml"
SUMMARIES = {rule["alert"]: rule["annotations"]["summary"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}

# Two hours, a sample each 15 s. What happens begins after an hour.
STEPS, BEGIN, SPELL = 480, 240, 40

FIRING = 'group by (alertname) (ALERTS{alertstate="firing"})'


def constant(value):
    return f"{value}x{STEPS}"


def rising(by, start=0):
    return f"{start}+{by}x{STEPS}"


def then(before, value):
    """`before` for an hour, then `value`."""
    return f"{before}x{BEGIN - 1} {value}x{STEPS - BEGIN}"


def spell(usual, value):
    """`usual`, but for ten minutes after the first hour."""
    return f"{usual}x{BEGIN - 1} {value}x{SPELL - 1} {usual}x{STEPS - BEGIN - SPELL}"


def born(value):
    """A series that appears after an hour."""
    return f"_x{BEGIN} {value}x{STEPS - BEGIN}"


def rises(by):
    """5 for an hour, then more with each step."""
    return f"5x{BEGIN} 5+{by}x{STEPS - BEGIN}"


SEARCH = 'hostsync_search_duration_seconds_bucket{instance="w1",endpoint="default",outcome="complete",le="%s"}'
REFUSALS = 'hostsync_source_refusals_total{instance="w1",endpoint="default",reason="%s"}'
READY = 'hostsync_dependency_ready{job="hostsync-%s",instance="%s",dependency="%s"}'
PUBLISHED = 'hostsync_jobs_published_total{instance="s1",queue="bulk",outcome="%s"}'
FINISHED = 'hostsync_jobs_finished_total{instance="w1",status="%s",reason="%s"}'
HTTP = 'hostsync_http_request_duration_seconds_count{instance="a1",route="/x",status="%s"}'
DEAD = 'hostsync_dead_letters_total{instance="w1"}'
CRASH = 'hostsync_attempts_failed_total{instance="w1",reason="crash"}'
MISSED = 'hostsync_fires_total{instance="s1",outcome="missed"}'
AGE = 'hostsync_queue_oldest_job_age_seconds{instance="s1",queue="bulk"}'
LOOP = 'hostsync_loop_age_seconds{job="hostsync-%s",instance="%s",loop="%s"}'
CLOSED = 'hostsync_endpoint_closed{job="hostsync-worker",instance="w1",endpoint="default"}'
UP = 'up{job="hostsync-%s",instance="%s"}'

# A day like any other, with the traces of what went wrong before.
WELL = {
    UP % ("scheduler", "s1"): constant(1),
    UP % ("worker", "w1"): constant(1),
    UP % ("api", "a1"): constant(1),
    READY % ("scheduler", "s1", "database"): constant(1),
    READY % ("scheduler", "s1", "rabbitmq"): constant(1),
    READY % ("worker", "w1", "database"): constant(1),
    READY % ("worker", "w1", "rabbitmq_bulk"): constant(1),
    CLOSED: constant(0),
    REFUSALS % "credentials": constant(3),
    REFUSALS % "index_pattern": constant(3),
    REFUSALS % "field": constant(3),
    DEAD: constant(1),
    CRASH: constant(1),
    'hostsync_attempts_failed_total{instance="w1",reason="source"}': rising(5),
    MISSED: constant(7),
    'hostsync_fires_total{instance="s1",outcome="started"}': rising(1),
    PUBLISHED % "confirmed": rising(9),
    PUBLISHED % "rejected": constant(4),
    FINISHED % ("success", "none"): rising(99),
    FINISHED % ("failed", "source"): rising(1),
    FINISHED % ("failed", "refused"): rising(90),
    AGE: constant(900),
    LOOP % ("worker", "w1", "bulk lane"): constant(1),
    LOOP % ("scheduler", "s1", "repair sweep"): constant(600),
    SEARCH % "1": rising(10),
    SEARCH % "30": rising(10),
    SEARCH % "+Inf": rising(10),
    HTTP % "200": rising(9),
    HTTP % "503": rising(9),
}

# name → (what differs, the alerts that fire from minute A on, minutes after the beginning at which all is quiet again)
FAILURES = {
    "nothing": ({}, set(), 0),
    "the database is down": (
        {
            READY % ("scheduler", "s1", "database"): spell(1, 0),
            READY % ("worker", "w1", "database"): spell(1, 0),
            # A worker that starts meanwhile has no broker either.
            READY % ("worker", "w1", "rabbitmq_bulk"): spell(1, 0),
            AGE: spell(900, 3600),
        },
        {"HostsyncDatabaseDown"},
        12,
    ),
    "the broker is down": (
        {
            READY % ("scheduler", "s1", "rabbitmq"): spell(1, 0),
            READY % ("worker", "w1", "rabbitmq_bulk"): spell(1, 0),
            AGE: spell(900, 3600),
        },
        {"HostsyncBrokerDown"},
        12,
    ),
    "the search engine is down": ({CLOSED: spell(0, 1)}, {"HostsyncSearchDown"}, 12),
    "bad credentials": ({REFUSALS % "credentials": then(3, 4)}, {"HostsyncSourceCredentials"}, 17),
    "bad credentials, for the first time in the worker's life": (
        {REFUSALS % "credentials": born(1)},
        {"HostsyncSourceCredentials"},
        17,
    ),
    "a wrong index pattern": ({REFUSALS % "index_pattern": born(1)}, {"HostsyncSourceIndexPattern"}, 17),
    "a field that cannot be aggregated": ({REFUSALS % "field": then(3, 4)}, {"HostsyncSourceRefuses"}, 17),
    "a message that cannot be read": ({DEAD: born(1)}, {"HostsyncPoisonMessage"}, 17),
    "a job that kills its worker": ({CRASH: then(1, 2)}, {"HostsyncPoisonMessage"}, 17),
    "a full queue": ({PUBLISHED % "rejected": rises(50), AGE: then(900, 3600)}, {"HostsyncQueueFull"}, None),
    "too few workers": ({AGE: spell(900, 3600)}, {"HostsyncJobsWait"}, 12),
    "a worker whose loop stands still": ({LOOP % ("worker", "w1", "bulk lane"): spell(1, 300)}, {"HostsyncWorkerStuck"}, 12),
    "a worker that does not answer": ({UP % ("worker", "w1"): spell(1, 0)}, {"HostsyncWorkerStuck"}, 12),
    "a scheduler whose loop stands still": (
        {LOOP % ("scheduler", "s1", "repair sweep"): spell(600, 1200)},
        {"HostsyncServiceDown"},
        12,
    ),
    "no scheduler": ({UP % ("scheduler", "s1"): spell(1, 0)}, {"HostsyncServiceDown"}, 12),
    "no scheduler, and Prometheus knows of none": ({UP % ("scheduler", "s1"): f"1x{BEGIN - 1} stale"}, {"HostsyncServiceDown"}, None),
    "a fire missed": ({MISSED: born(1)}, {"HostsyncFireMissed"}, 17),
    "a slow source": ({SEARCH % "1": f"0+10x{BEGIN} {BEGIN * 10}+0x{STEPS - BEGIN}"}, {"HostsyncSourceSlow"}, None),
    "partial answers for many hosts": ({FINISHED % ("failed", "source"): f"0+1x{BEGIN} {BEGIN}+300x{STEPS - BEGIN}"}, {"HostsyncHostsFail"}, None),
    "a fault in the API": ({HTTP % "500": f"0x{BEGIN} 1+1x{STEPS - BEGIN}"}, {"HostsyncApiFails"}, None),
}


def labels_of(alert):
    """The labels without which the sentence of an alert would have a hole."""
    return set(re.findall(r"\$labels\.(\w+)", SUMMARIES[alert]))


def promtool(directory, series, checks):
    """Plays the series and checks, at minutes after their beginning, which alerts fire."""
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": FIRING,
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)],
                    }
                    for minute, alerts in checks
                ]
                + [
                    {"expr": f'ALERTS{{alertname="{alert}",alertstate="firing",{label}=""}}', "eval_time": f"{minute}m", "exp_samples": []}
                    for minute, alerts in checks
                    for alert in alerts
                    for label in labels_of(alert)
                ],
            }
        ],
    }
    file = directory / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    return subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("failure", FAILURES)
def test_the_right_alert_fires_and_no_other(failure, tmp_path):
    changes, alerts, quiet_after = FAILURES[failure]
    # 9 minutes in, at the latest, somebody knows; a while after the failure nobody is bothered any more.
    checks = [(59, set()), (69, alerts)]
    if quiet_after is not None:
        checks += [(60 + quiet_after + 5, set()), (115, set())]
    done = promtool(tmp_path, {**WELL, **changes}, checks)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_failure_that_is_not_there_is_noticed_by_the_test(tmp_path):
    done = promtool(tmp_path, WELL, [(69, {"HostsyncDatabaseDown"})])
    assert done.returncode != 0


def test_every_alert_has_a_failure():
    assert {alert for _, alerts, _ in FAILURES.values() for alert in alerts} == SUMMARIES.keys()


def test_prometheus_takes_the_rules():
    done = subprocess.run(["promtool", "check", "rules", "--lint-fatal", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_is_wrong_and_how_urgent_it_is():
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"].keys() == {"severity"} and rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"].keys() == {"summary", "description"}
