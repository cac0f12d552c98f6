"""What a message costs the broker: processor time of RabbitMQ for one that is published, confirmed, delivered and acked.

usage: .dev/chunked/bin/python bench/broker.py    after `make up` (BROKER=rabbitmq-4.3 for another version) and `. .dev/env`

Each line changes one thing about the first, which is how hostsync does it.
"""

import os
import random
import statistics
import sys
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

import amqp

MESSAGES = 20_000
ROUNDS = 5
QUEUE = "hostsync_bench_broker"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Way:
    name: str
    queue: str = "quorum"
    persistent: bool = True
    body: int = 130
    headers: bool = True
    prefetch: int = 2_000
    unconfirmed: int = 1_000
    acked_at_once: int = 500


AS_IT_IS = Way("as hostsync does it: quorum, persistent")
WAYS = [
    AS_IT_IS,
    replace(AS_IT_IS, name="classic, persistent", queue="classic"),
    replace(AS_IT_IS, name="classic, not persistent", queue="classic", persistent=False),
    replace(AS_IT_IS, name="quorum, not persistent", persistent=False),
    replace(AS_IT_IS, name="no headers", headers=False),
    replace(AS_IT_IS, name="a body of 1,000 bytes", body=1_000),
    replace(AS_IT_IS, name="a prefetch of 500", prefetch=500),
    replace(AS_IT_IS, name="at most 100 unconfirmed", unconfirmed=100),
    replace(AS_IT_IS, name="each message acked alone", acked_at_once=1),
]


def broker_pids(port):
    """The broker of this checkout, by the mark of the development servers and its port."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                is_broker = file.read().startswith("beam")
        except OSError:
            continue
        if is_broker and b"HOSTSYNC_DEV_SERVER=" in environment and str(port).encode() in environment:
            yield pid


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def connect(url):
    connection = amqp.Connection(
        f"{url.hostname}:{url.port}",
        userid=unquote(url.username),
        password=unquote(url.password),
        virtual_host=unquote(url.path[1:]) or "/",
    )
    connection.connect()
    return connection


def run(url, way):
    publishing, consuming = connect(url), connect(url)
    channel = publishing.channel()
    channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": way.queue})
    channel.queue_purge(QUEUE)
    confirmed = taken = 0

    def on_confirm(tag, multiple):
        nonlocal confirmed
        confirmed = tag if multiple else confirmed + 1

    channel.confirm_select()
    channel.events["basic_ack"].add(on_confirm)
    taking = consuming.channel()
    taking.basic_qos(0, way.prefetch, False)

    def take(message):
        nonlocal taken
        taken += 1
        if taken % way.acked_at_once == 0 or taken == MESSAGES:
            taking.basic_ack(message.delivery_tag, multiple=way.acked_at_once > 1)

    taking.basic_consume(QUEUE, callback=take)
    headers = {"x-hostsync-published-ms": 1_750_000_000_123} if way.headers else {}
    for sent in range(MESSAGES):
        message = amqp.Message(
            "x" * way.body,
            delivery_mode=2 if way.persistent else 1,
            content_type="application/json",
            application_headers=headers,
        )
        channel.basic_publish(message, routing_key=QUEUE, mandatory=True)
        while sent - confirmed >= way.unconfirmed:
            publishing.drain_events(timeout=60)
    while confirmed < MESSAGES:
        publishing.drain_events(timeout=60)
    while taken < MESSAGES:
        consuming.drain_events(timeout=60)
    consuming.close()
    channel.queue_delete(QUEUE)
    publishing.close()


def main():
    url = urlsplit(os.environ["HOSTSYNC_DEV_RABBITMQ_URL"])
    pids = list(broker_pids(url.port))
    if not pids:
        sys.exit(f"no broker of this checkout listens on {url.port}: run `make up`, then `. .dev/env`")
    measured = {way: [] for way in WAYS}
    run(url, AS_IT_IS)
    for _ in range(ROUNDS):
        for way in random.sample(WAYS, len(WAYS)):
            before = cpu_seconds(pids)
            run(url, way)
            measured[way].append((cpu_seconds(pids) - before) / MESSAGES * 1e6)
    print("broker, µs of processor time a message: median (lowest–highest)")
    for way, values in measured.items():
        print(f"  {way.name:40} {statistics.median(values):6.1f} ({min(values):.1f}–{max(values):.1f})")


if __name__ == "__main__":
    main()
