"""Tables and plots of docs/benchmark.md, from what `hostsync-bench --json` has written.

usage: report.py DOCUMENT FOLDER FILE...

Writes what stands between the two marks of DOCUMENT anew, and the plots into FOLDER beside it.
"""

import json
import os
import re
import sys
from statistics import median

import matplotlib

matplotlib.use("svg")
# The same measurements make the same files.
matplotlib.rcParams.update({"svg.hashsalt": "hostsync", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
import matplotlib.pyplot as plt  # noqa: E402

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
TITLES = {
    "program": "today, a Go program",
    "best": "today's shape at its best",
    "chunked": "Celery by chunks",
    "floor": "floor",
    "hostsync": "hostsync",
}
# Whose processor time a column of the tables and plots is.
PROCESSES = {
    "the program itself": ["the Go program", "benchmark", "Celery", "hostsync api", "hostsync scheduler", "hostsync worker"],
    "database": ["mariadb", "mysql"],
    "search engine": ["opensearch", "elasticsearch"],
    "broker": ["rabbitmq"],
}
MOST_STATEMENTS = 8


def main(document, folder, *files):
    results = [json.load(open(file, encoding="utf-8")) for file in files]
    os.makedirs(folder, exist_ok=True)
    place = os.path.relpath(folder, os.path.dirname(document))
    small = [result for result in results if is_plain(result) and result["hosts"] == 10_000]
    parts = [where(results)]
    if small:
        plot_speed(small, f"{folder}/speed.svg")
        plot_cpu(small, f"{folder}/cpu.svg")
        parts += [f"![Hosts a second]({place}/speed.svg)", *map(speed, small), f"![Processor time]({place}/cpu.svg)"]
        parts += [*map(cpu, small), *map(database, small), *map(statements, small[:1])]
    sizes = sorted((result for result in results if is_plain(result)), key=lambda result: result["hosts"])
    if len({result["hosts"] for result in sizes}) > 1:
        plot_sizes(sizes, f"{folder}/sizes.svg")
        parts += [f"![Cost of a host by the size of a run]({place}/sizes.svg)", by_size(sizes)]
    workers = [result for result in results if result["concurrency"] == 1]
    if workers:
        plot_workers(workers, f"{folder}/workers.svg")
        parts += [f"![Workers]({place}/workers.svg)", by_workers(workers)]
    text = open(document, encoding="utf-8").read()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    with open(document, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + after)


def is_plain(result):
    """Of one worker as it is configured by default, near its source."""
    return (result["workers"], result["concurrency"], result["search_delay_ms"]) == (1, 2, 0)


def name_of(result):
    """MariaDB or MySQL."""
    return "MySQL" if result["servers"]["database"].startswith("MySQL") else "MariaDB"


def sides(result):
    """The contenders of a result, hostsync last."""
    known = result["rounds"][0]["today"]
    return [side for side in TITLES if side in known] + ["hostsync"]


def runs(result, side):
    return [round["hostsync"] if side == "hostsync" else round["today"][side] for round in result["rounds"]]


def spread(values, show):
    low, high = min(values), max(values)
    return f"{show(median(values))} ({show(low)}–{show(high)})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def where(results):
    servers = sorted({server for result in results for server in result["servers"].values()})
    day = max(result["measured_at"] for result in results)[:10]
    rounds = sorted({len(result["rounds"]) for result in results})
    rounds = " to ".join(map(str, sorted({rounds[0], rounds[-1]})))
    return f"Measured on {day}: {results[0]['machine']}; {', '.join(servers)}; {rounds} rounds, median (lowest–highest)."


def number(value):
    return f"{value:,.0f}"


def speed(result):
    rows = []
    for side in sides(result):
        ratios = [
            ours["hosts_per_second"] / theirs["hosts_per_second"]
            for ours, theirs in zip(runs(result, "hostsync"), runs(result, side), strict=True)
        ]
        rows.append([
            TITLES[side],
            spread([run["seconds"] for run in runs(result, side)], "{:.2f}".format),
            spread([run["hosts_per_second"] for run in runs(result, side)], number),
            "" if side == "hostsync" else spread(ratios, "{:.2f}".format),
        ])
    head = ["", "seconds", "hosts/s", "hostsync is … times as fast"]
    return f"{number(result['hosts'])} hosts, {result['documents_a_host']} documents each, {name_of(result)}:\n\n" + table(head, rows)


def cpu_of(run, group):
    return sum(run["cpu_seconds"].get(name, 0) for name in matching(run, PROCESSES[group]))


def matching(run, names):
    """A server's name says which one it is, such as mysql-9.7."""
    return [name for name in run["cpu_seconds"] if any(name == known or name.startswith(known + "-") for known in names)]


def micros(result, side, group=None):
    """Processor time of a host in microseconds, the median of the rounds."""
    groups = [group] if group else PROCESSES
    return median(sum(cpu_of(run, one) for one in groups) for run in runs(result, side)) * 1e6 / result["hosts"]


def cpu(result):
    rows = [[group, *(number(micros(result, side, group)) for side in sides(result))] for group in PROCESSES]
    rows.append(["all", *(number(micros(result, side)) for side in sides(result))])
    head = [f"processor time a host, µs, {name_of(result)}", *(TITLES[side] for side in sides(result))]
    return table(head, rows)


def database(result):
    def row(what, key, show):
        return [what, *(spread([run["database"][key] for run in runs(result, side)], show) for side in sides(result))]

    rows = [
        row("redo, MB", "redo_bytes", lambda value: f"{value / 1e6:.1f}"),
        row("received, MB", "received_bytes", lambda value: f"{value / 1e6:.1f}"),
        row("page splits", "page_splits", number),
        row("pages tried to be written anew", "page_reorganisations", number),
        row("pages tried to be merged", "page_merges", number),
    ]
    return table([f"what a run costs {name_of(result)}", *(TITLES[side] for side in sides(result))], rows)


def statements(result):
    kinds = sorted(result["statements"].items(), key=lambda kind: -kind[1]["bytes"])[:MOST_STATEMENTS]
    rows = [[f"`{name}`", number(kind["count"]), number(kind["bytes"] / result["hosts"])] for name, kind in kinds]
    return table(["statements of one run of hostsync", "number", "bytes a host"], rows)


def by_size(results):
    rows = []
    for result in results:
        rows.append([
            number(result["hosts"]),
            name_of(result),
            spread([run["seconds"] for run in runs(result, "hostsync")], "{:.2f}".format),
            *(number(micros(result, side)) if side in sides(result) else "" for side in ("floor", "hostsync")),
        ])
    return table(["hosts", "", "hostsync, seconds", "floor, µs a host", "hostsync, µs a host"], rows)


def by_workers(results):
    rows = []
    for result in sorted(results, key=lambda result: (result["search_delay_ms"], result["workers"])):
        base = next(
            (one for one in results if one["workers"] == 1 and one["search_delay_ms"] == result["search_delay_ms"]), result
        )
        rate = median(run["hosts_per_second"] for run in runs(result, "hostsync"))
        of_one = median(run["hosts_per_second"] for run in runs(base, "hostsync"))
        rows.append([f"{result['search_delay_ms']} ms", str(result["workers"]), number(rate), f"{rate / of_one:.2f}"])
    return table(["added to a search", "workers, one search at once each", "hosts/s", "times one worker"], rows)


def save(figure, file):
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = re.sub(r"[ \t]+\n", "\n", open(file, encoding="utf-8").read())
    with open(file, "w", encoding="utf-8") as out:
        out.write(text)


def plot_speed(results, file):
    figure, axes = plt.subplots(figsize=(7, 0.5 + 0.32 * sum(len(sides(result)) for result in results)))
    labels, at = [], 0
    for result in results:
        for side in reversed(sides(result)):
            rate = median(run["hosts_per_second"] for run in runs(result, side))
            axes.barh(at, rate, color="#1668dc" if side == "hostsync" else "#bfbfbf")
            axes.text(rate, at, f" {number(rate)}", va="center")
            labels.append(f"{TITLES[side]}, {name_of(result)}")
            at += 1
        at += 0.5
    places = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    axes.set_yticks(places, labels)
    axes.set_xscale("log")
    axes.set_xlabel("hosts a second (logarithmic)")
    save(figure, file)


def plot_cpu(results, file):
    colours = ["#1668dc", "#fa8c16", "#52c41a", "#722ed1"]
    bars = [(result, side) for result in results for side in sides(result) if side in ("chunked", "floor", "hostsync")]
    figure, axes = plt.subplots(figsize=(7, 0.8 + 0.35 * len(bars)))
    for at, (result, side) in enumerate(reversed(bars)):
        left = 0
        for group, colour in zip(PROCESSES, colours, strict=True):
            value = micros(result, side, group)
            axes.barh(at, value, left=left, color=colour, label=group if at == 0 else None)
            left += value
        axes.text(left, at, f" {number(micros(result, side))}", va="center")
    axes.set_yticks(range(len(bars)), [f"{TITLES[side]}, {name_of(result)}" for result, side in reversed(bars)])
    axes.set_xlabel("processor time a host, µs")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    save(figure, file)


def plot_sizes(results, file):
    figure, axes = plt.subplots(figsize=(7, 3))
    for side in ("hostsync", "floor"):
        for name in sorted({name_of(result) for result in results}):
            points = [(r["hosts"], micros(r, side)) for r in results if name_of(r) == name and side in sides(r)]
            if len(points) > 1:
                axes.plot(*zip(*points, strict=True), marker="o", label=f"{TITLES[side]}, {name}")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hosts in a run")
    axes.set_ylabel("processor time a host, µs")
    axes.legend(frameon=False)
    save(figure, file)


def plot_workers(results, file):
    figure, axes = plt.subplots(figsize=(7, 3))
    for delay in sorted({result["search_delay_ms"] for result in results}):
        points = sorted(
            (r["workers"], median(run["hosts_per_second"] for run in runs(r, "hostsync")))
            for r in results
            if r["search_delay_ms"] == delay
        )
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{delay} ms added to a search")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("workers, one search at once each")
    axes.set_ylabel("hosts a second")
    axes.legend(frameon=False)
    save(figure, file)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
