"""What schemathesis cannot know from the OpenAPI document: how texts of a named form look, and rules between two fields.

Loaded by schemathesis.toml. Nothing here hides an answer of the server: it only says which requests are well formed.
"""

import datetime

import schemathesis
from hypothesis import strategies as st

ZONES = ["UTC", "Europe/Berlin", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]

# Days that a range of the statistics may have, by bucket.
LONGEST_DAYS = {"hour": 31, "day": 366}


def joined(*parts):
    return st.tuples(*parts).map("".join)


def whole(low, high):
    return st.integers(low, high).map(str)


def cron_field(low, high):
    number = whole(low, high)
    step = joined(st.sampled_from(["*/", f"{low}-{high}/"]), whole(1, high))
    listed = st.lists(number, min_size=1, max_size=4).map(",".join)
    return st.just("*") | number | step | listed


# A day that every month has, so that the schedule fires and may be enabled.
CRON = st.one_of(
    st.tuples(
        cron_field(0, 59),
        cron_field(0, 59),
        cron_field(0, 23),
        cron_field(1, 28),
        cron_field(1, 12) | st.sampled_from(["JAN", "feb-APR"]),
        cron_field(0, 6) | st.sampled_from(["MON", "mon-fri", "?", "7"]),
    ).map(" ".join),
    st.sampled_from(["@yearly", "@monthly", "@weekly", "@daily", "@hourly", "0 3 * * *", "0 0 2 * * ?"]),
    joined(st.just("@every "), whole(1, 59), st.sampled_from(["s", "m", "h"])),
    joined(st.sampled_from(["TZ=", "CRON_TZ="]), st.sampled_from(ZONES), st.just(" 0 30 2 * * *")),
).filter(lambda text: len(text) <= 100)

HOST_FILE = st.lists(
    st.ip_addresses().map(str) | st.sampled_from(["", "# a comment", "10.0.0.1  # front", "10.0.0.2,", "web-1"]),
    max_size=20,
).map(lambda lines: "\n".join([*lines, "10.0.0.3"]))

CURSOR = whole(1, 9_999).map(lambda text: f"{int(text):x}")

FORMATS = {
    "cron": CRON,
    "time-zone": st.sampled_from(ZONES),
    "time-range": joined(whole(1, 52), st.sampled_from(["m", "h", "d", "w"])),
    "catch-up-window": joined(whole(0, 7), st.sampled_from(["s", "m", "h", "d"])),
    "delay": joined(whole(0, 31), st.sampled_from(["s", "m", "h", "d"])),
    "freshness-target": st.just("") | joined(whole(1, 52), st.sampled_from(["m", "h", "d", "w"])),
    "endpoint": st.just("default"),
    "mapping": st.sampled_from(["zabbix", "metricbeat"]),
    "group": st.sampled_from(["demo", "web"]),
    "index-pattern": st.sampled_from(["cluster*:data-zabbix-*", "metricbeat-*", "a,b*"]),
    "ip": st.ip_addresses().map(str),
    "host-file": HOST_FILE,
    "task-cursor": joined(st.just("t"), CURSOR),
    "execution-cursor": joined(st.just("e"), CURSOR),
    "detail-cursor": joined(st.just("d"), CURSOR),
    "audit-object": st.sampled_from(["task", "execution", "pause", "task:7", "host:10.0.0.1"]),
    "audit-cursor": joined(st.just("a"), CURSOR),
    "dead-letter-cursor": joined(st.just("l"), CURSOR),
    "freshness-cursor": joined(st.just("f"), CURSOR),
}

for name, strategy in FORMATS.items():
    schemathesis.openapi.format(name, strategy)


def instant(text):
    try:
        return datetime.datetime.fromisoformat(str(text).upper().replace("Z", "+00:00"))
    except ValueError:
        return None


def mend_range(query, longest):
    """Puts `from` a day before `to` where they are no range: a schema cannot refuse that, the server does."""
    day = datetime.timedelta(days=1)
    end = instant(query["to"]) if "to" in query else datetime.datetime.now(datetime.timezone.utc)
    begin = instant(query["from"]) if "from" in query else None
    if end is None or end.year < 2 or (begin is None and "from" in query):
        query.pop("from", None)
        query.pop("to", None)
    elif begin is not None and not datetime.timedelta(0) < end - begin <= longest:
        query["from"] = (end - day).isoformat()


def mend_window(body):
    """Names a window by both ends or by none, within bounds and in place of a range, as the server wants it."""
    ends = [body.pop(name, None) for name in ("window_from", "window_to")]
    if any(end is not None for end in ends):
        end = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) - datetime.timedelta(hours=1)
        body["window_from"] = (end - datetime.timedelta(days=1)).isoformat()
        body["window_to"] = end.isoformat()
        body.pop("query_time_range", None)


def mend_address(choice):
    """A host is chosen by its address."""
    if choice.get("host_ip") is not None:
        choice["host_ip"] = "10.0.0.2"


def mend_letters(body):
    """Chooses dead letters by their ids alone, or counts those of a filter: how many there are only the server knows."""
    ids = body.get("ids")
    if ids:
        body.clear()
        body["ids"] = ids
    else:
        body.pop("ids", None)
        body.pop("confirm", None)
        body["count_only"] = True
        mend_address(body)
        mend_range(body, datetime.timedelta(days=36_500))


def before_call(context, case, kwargs):
    """Rules that a schema cannot say."""
    if case.meta is None:
        return
    query = case.query if isinstance(case.query, dict) else {}
    operation_id = case.operation.definition.raw.get("operationId")
    if case.meta.generation.mode.is_negative:
        # An empty query parameter is an absent one, and so cannot be wrong: without it the request is judged anew.
        empty = [name for name, value in query.items() if value == ""]
        for name in empty:
            del query[name]
        if not empty:
            return
    if "from" in query or "to" in query:
        longest = LONGEST_DAYS.get(query.get("bucket", "day"), 31) if operation_id == "get_es_sync_stats" else 36_500
        mend_range(query, datetime.timedelta(days=longest))
    if operation_id == "get_es_sync_dead_letters":
        mend_address(query)
    if isinstance(case.body, dict) and not case.meta.generation.mode.is_negative:
        mend_window(case.body)
        if "es-sync-dead-letters/" in case.operation.path:
            mend_letters(case.body)
    if operation_id == "execute_es_sync_full_sync" and isinstance(case.body, dict):
        case.body.pop("window_from", None)
        case.body.pop("window_to", None)
        # A group without a host is a mistake: the search must be one that finds the test's.
        case.body.update(query_time_range="23h", es_index_pattern="", mapping="")


schemathesis.hook(before_call)
