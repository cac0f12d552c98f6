"""What a good engineer scripts by hand: 500 hosts a message, one search and bulk statements for them, no ledger.

`celery -A chunked worker` works; this file as a program enqueues. It reads a run a line (JSON: execution, from_ms, to_ms, hosts)
and writes how many hosts have their detail row, a number a line, until all have; then {"success": N}.
"""

import json
import os
import sys
import time
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import orjson
import pymysql
import urllib3
from celery import Celery

CHUNK = 500
LOOK_EVERY_S = 0.01

app = Celery("chunked", broker=os.environ["CHUNKED_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_default_queue="hostsync_bench_chunked",
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
)

# Nothing but placeholders in the lists of values: only such a list is sent by pymysql as one statement.
VALUES = (
    "used_memory, used_disk, cpu_load, cpu_percent_max, cpu_percent_avg, cpu_percent_min, mem_percent_max, "
    "mem_percent_avg, mem_percent_min, disk_percent_max, disk_percent_avg, disk_percent_min"
).split(", ")
UPSERT = (
    f"INSERT INTO server_resources (pool_id, ip, mon_date, {', '.join(VALUES)}, create_time, update_time) "
    f"VALUES ({', '.join(['%s'] * (5 + len(VALUES)))}) "
    "ON DUPLICATE KEY UPDATE pool_id = VALUES(pool_id), "
    f"{', '.join(f'{name} = VALUES({name})' for name in VALUES)}, update_time = VALUES(update_time)"
)
DETAIL = (
    "INSERT INTO es_sync_execution_detail (execution_id, host_ip, host_name, sync_status, max_cpu, avg_cpu, max_memory, "
    "avg_memory, max_disk, avg_disk, data_point_count) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


class Process:
    """The connections of a process: made once, by whoever needs them first."""

    _database = None
    http = urllib3.PoolManager()

    @classmethod
    def database(cls):
        if cls._database is None:
            url = urlsplit(os.environ["CHUNKED_DATABASE"])
            cls._database = pymysql.connect(
                host=url.hostname,
                port=url.port,
                user=unquote(url.username),
                password=unquote(url.password or ""),
                database=url.path[1:],
                charset="utf8mb4",
                init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            )
        return cls._database


def search(hosts, from_ms, to_ms):
    stats = {
        name: {"stats": {"field": field}}
        for name, field in (("cpu", "cpu"), ("memory", "available_memory"), ("disk", "total_disk_space_all"))
    }
    body = {
        "size": 0,
        "track_total_hits": False,
        "query": {
            "bool": {
                "filter": [
                    {"range": {"@timestamp": {"gte": from_ms, "lt": to_ms, "format": "epoch_millis"}}},
                    {"terms": {"hostIp.keyword": hosts}},
                ]
            }
        },
        "aggs": {"hosts": {"terms": {"field": "hostIp.keyword", "size": len(hosts)}, "aggs": stats}},
    }
    answer = Process.http.request(
        "POST", os.environ["CHUNKED_SEARCH"], body=orjson.dumps(body), headers={"content-type": "application/json"}
    )
    if answer.status != 200:
        raise RuntimeError(f"the search engine answers {answer.status}: {answer.data[:500]}")
    return {bucket["key"]: bucket for bucket in orjson.loads(answer.data)["aggregations"]["hosts"]["buckets"]}


def percent(stats, capacity_gb):
    return [stats[name] / capacity_gb * 100 if capacity_gb else None for name in ("max", "avg", "min")]


@app.task(autoretry_for=(pymysql.err.OperationalError,), retry_backoff=True, max_retries=5)
def sync(execution, from_ms, to_ms, hosts):
    found = search(hosts, from_ms, to_ms)
    database = Process.database()
    try:
        with database.cursor() as cursor:
            names = ", ".join(["%s"] * len(hosts))
            cursor.execute(
                f"SELECT host_ip, id, host_name, ram, disk_size FROM hosts_pool WHERE host_ip IN ({names}) AND is_deleted = 0",
                hosts,
            )
            pool = {row[0]: row[1:] for row in cursor.fetchall()}
            now, day = datetime.now(UTC), datetime.fromtimestamp(to_ms / 1000, UTC).date()
            resources, details = [], []
            for host in hosts:
                if host not in pool:
                    details.append((execution, host, None, "not_in_pool", *[None] * 7))
                    continue
                pool_id, name, ram, disk_size = pool[host]
                if host not in found:
                    details.append((execution, host, name, "no_data", *[None] * 7))
                    continue
                bucket = found[host]
                cpu, memory, disk = bucket["cpu"], bucket["memory"], bucket["disk"]
                resources.append(
                    (
                        pool_id,
                        host,
                        day,
                        memory["max"],
                        disk["max"],
                        cpu["max"],
                        *(cpu["max"], cpu["avg"], cpu["min"]),
                        *percent(memory, ram),
                        *percent(disk, disk_size),
                        *(now, now),
                    )
                )
                measured = (part[kind] for part in (cpu, memory, disk) for kind in ("max", "avg"))
                details.append((execution, host, name, "success", *measured, bucket["doc_count"]))
            if resources:
                cursor.executemany(UPSERT, resources)
            cursor.executemany(DETAIL, details)
        database.commit()
    except pymysql.err.OperationalError:
        database.rollback()
        raise


def run(order):
    hosts = sorted(order["hosts"])
    for first in range(0, len(hosts), CHUNK):
        sync.delay(order["execution"], order["from_ms"], order["to_ms"], hosts[first : first + CHUNK])
    database = Process.database()
    done = 0
    while done < len(hosts):
        time.sleep(LOOK_EVERY_S)
        with database.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM es_sync_execution_detail WHERE execution_id = %s", [order["execution"]])
            done = cursor.fetchone()[0]
        database.commit()
        print(done, flush=True)
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT sync_status, COUNT(*) FROM es_sync_execution_detail WHERE execution_id = %s GROUP BY sync_status",
            [order["execution"]],
        )
        counts = dict(cursor.fetchall())
    database.commit()
    print(json.dumps({status: counts.get(status, 0) for status in ("success", "no_data", "not_in_pool")}), flush=True)


if __name__ == "__main__":
    for line in sys.stdin:
        run(json.loads(line))
