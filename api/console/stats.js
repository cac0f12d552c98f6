// Many executions in numbers: success and duration by hour or day, the hosts that fail most, the errors seen most.

import { call } from "./api.js";
import { lineChart } from "./chart.js";
import { element, facts, field, fill, link, select, table, time, valuesOf, viewAddress } from "./elements.js";
import * as words from "./words.js";

const RUNS = ["success", "partial", "failed", "cancelled", "skipped"];
const HOSTS = ["success", "failed", "no_data", "not_in_pool", "cancelled"];
const DURATIONS = [["p50", "half of the runs"], ["p95", "95 of 100"], ["max", "longest"]];

export async function showStats({ place, query, signal }) {
  const answer = await call("GET", "/es-sync-stats", { query, signal });
  const { total, buckets } = answer;
  const labels = buckets.map(({ begin }) => words.instant(begin).slice(0, answer.bucket === "day" ? 10 : 16));
  fill(
    place,
    element("h1", {}, "Statistics"),
    filters(query),
    element("p", {}, `${answer.message}, from `, time(answer.from), " to ", time(answer.to), "."),
    facts([
      ["Success rate", words.share(total.success_rate)],
      ["Without data", words.share(total.no_data_rate)],
      ["Runs", sums(total.runs, RUNS)],
      ["Hosts", sums(total.hosts, HOSTS)],
      ...DURATIONS.map(([key, name]) => [`Duration, ${name}`, words.duration(total.duration_ms[key])]),
    ]),
    lineChart(`Success rate by ${answer.bucket}`, labels,
      [{ name: "success rate", values: buckets.map((bucket) => bucket.success_rate) }], { top: 1, write: words.share }),
    lineChart(`Hosts without data by ${answer.bucket}`, labels,
      [{ name: "without data", values: buckets.map((bucket) => bucket.no_data_rate) }], { top: 1, write: words.share }),
    lineChart(`Duration by ${answer.bucket}`, labels,
      DURATIONS.map(([key, name]) => ({ name, values: buckets.map((bucket) => bucket.duration_ms[key]) })),
      { write: words.duration }),
    element("details", {}, element("summary", {}, "All numbers"), numbers(labels, buckets)),
    answer.hosts_failing_most.length > 0 && table("Hosts that fail most", ["Host", "Failures"],
      answer.hosts_failing_most.map(({ host_ip: host, failures }) =>
        [link(`/hosts/${encodeURIComponent(host)}`, host), words.count(failures)])),
    answer.errors_seen_most.length > 0 && table("Errors seen most", ["Error", "Hosts", "Last seen"],
      answer.errors_seen_most.map((error) => [error.error_message, words.count(error.hosts), time(error.last_seen)])),
  );
}

function filters(query) {
  const onsubmit = (event) => {
    event.preventDefault();
    location.hash = viewAddress("/stats", valuesOf(event.target));
  };
  const date = (name) => element("input", { name, placeholder: "2026-01-02T00:00:00Z", value: query[name] ?? "" });
  return element("form", { class: "filters", onsubmit },
    field("By", select("bucket", query.bucket ?? "day", [["day", "day"], ["hour", "hour"]])),
    field("From", date("from")),
    field("To", date("to")),
    field("Task id", element("input", { name: "task_id", type: "number", min: 1, value: query.task_id ?? "" })),
    element("button", {}, "Show"));
}

function sums(counts, names) {
  const parts = names.filter((name) => counts[name] > 0).map((name) => `${words.count(counts[name])} ${words.status(name)}`);
  return parts.join(" · ") || words.NOTHING;
}

function numbers(labels, buckets) {
  const heads = ["Begins", "Success rate", "Without data", "Runs", "Hosts", ...DURATIONS.map(([, name]) => `Duration, ${name}`)];
  return table("Numbers of each hour or day", heads, buckets.map((bucket, index) => [
    labels[index],
    words.share(bucket.success_rate),
    words.share(bucket.no_data_rate),
    sums(bucket.runs, RUNS),
    sums(bucket.hosts, HOSTS),
    ...DURATIONS.map(([key]) => words.duration(bucket.duration_ms[key])),
  ]));
}
