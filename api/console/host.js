// One host over all executions: its values by day, and its last results.

import { call } from "./api.js";
import { lineChart } from "./chart.js";
import { badge, element, fill, link, table, time } from "./elements.js";
import { COLUMNS } from "./values.js";
import * as words from "./words.js";

const DAYS = 90;

/** What the chart shows, from the columns of `server_resources`. */
const LINES = [
  ["cpu_percent_max", "CPU, highest"],
  ["mem_percent_max", "Memory, highest"],
  ["disk_percent_max", "Disk, highest"],
];

export async function showHost({ place, parameters, signal }) {
  const answer = await call("GET", "/es-sync-hosts/{host_ip}", { parameters, query: { days: DAYS }, signal });
  fill(
    place,
    element("h1", {}, `Host ${answer.host?.host_ip ?? parameters.host_ip}`),
    element("p", {}, inPool(answer.host)),
    element("h2", {}, "Values by day"),
    answer.days.length === 0 ? element("p", {}, `No values in the last ${DAYS} days.`) : days(answer.days),
    element("h2", {}, "Last results"),
    answer.results.length === 0
      ? element("p", {}, "No result.")
      : table("Last results", ["Execution", "Trigger", "Began", "Status", "CPU max", "Documents"], answer.results.map(result)),
  );
}

function inPool(host) {
  if (!host) return "Not in the pool.";
  const sizes = `${words.measured(host.ram, "GB")} memory, ${words.measured(host.disk_size, "GB")} disk`;
  return `${host.is_deleted ? "Deleted from the pool" : "In the pool"} as ${words.text(host.host_name)}: ${sizes}.`;
}

/** The API gives the newest day first, a chart goes from left to right. */
function days(newestFirst) {
  const byDate = new Map(newestFirst.map((day) => [day.mon_date, day]));
  const dates = datesBetween(newestFirst.at(-1).mon_date, newestFirst[0].mon_date);
  const lines = LINES.map(([column, name]) => ({ name, values: dates.map((date) => byDate.get(date)?.[column] ?? null) }));
  const heads = ["Day", ...COLUMNS.map(([, name, unit]) => `${name} (${unit})`)];
  const rows = newestFirst.map((day) => [day.mon_date, ...COLUMNS.map(([column]) => words.measured(day[column]))]);
  return [
    lineChart("Highest values by day, in percent", dates, lines, { top: 100, write: (value) => words.measured(value, "%") }),
    element("details", {}, element("summary", {}, "All values"), table("Values by day", heads, rows)),
  ];
}

/** Every day from the first to the last: one without values is a gap in the line. */
export function datesBetween(first, last) {
  const dates = [];
  for (let day = new Date(`${first}T00:00:00Z`); ; day.setUTCDate(day.getUTCDate() + 1)) {
    const date = day.toISOString().slice(0, 10);
    dates.push(date);
    if (date >= last) return dates;
  }
}

function result({ detail, ...execution }) {
  const host = encodeURIComponent(detail.host_ip);
  return [
    link(`/executions/${execution.execution_id}/hosts/${host}`, `${execution.execution_id} ${execution.task_name}`),
    words.status(execution.trigger),
    time(execution.execution_time),
    [badge(detail.sync_status), detail.error_message && element("small", {}, detail.error_message)],
    words.measured(detail.max_cpu, "%"),
    words.count(detail.data_point_count),
  ];
}
