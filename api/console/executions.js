// The executions, newest first, with how far the newest of those that are going have come.

import { call } from "./api.js";
import { element, field, fill, link, pager, select, table, time, valuesOf, viewAddress } from "./elements.js";
import { isGoing, liveProgress, progressBar } from "./progress.js";
import * as words from "./words.js";

const PAGE_ROWS = 20;

/** Executions that are followed at once: a browser has six connections to a server, and calls need some. */
const MAX_FOLLOWED = 3;

const STATUSES = ["waiting", "running", "success", "partial", "failed", "cancelled", "skipped"];
const TRIGGERS = ["schedule", "manual", "file", "full", "retry"];

export async function showExecutions(context) {
  const { place, query, signal } = context;
  const answer = await call("GET", "/es-sync-execution-logs", { query: { ...query, limit: PAGE_ROWS }, signal });
  const logs = answer.execution_logs;
  const followed = logs.filter((log) => isGoing(log.execution_status)).slice(0, MAX_FOLLOWED);
  fill(
    place,
    element("h1", {}, "Executions"),
    filters(query),
    logs.length === 0
      ? element("p", {}, "No execution.")
      : table("Executions, newest first", ["Id", "Task", "Hosts", "Trigger", "Began", "Took"],
          logs.map((log) => row(log, followed.includes(log), context))),
    pager("/executions", query, answer.next_cursor),
  );
}

function filters(query) {
  const choices = (values) => [["", "all"], ...values.map((value) => [value, words.status(value)])];
  const onsubmit = (event) => {
    event.preventDefault();
    location.hash = viewAddress("/executions", valuesOf(event.target));
  };
  return element("form", { class: "filters", onsubmit },
    field("Status", select("status", query.status ?? "", choices(STATUSES))),
    field("Trigger", select("trigger", query.trigger ?? "", choices(TRIGGERS))),
    field("Task id", element("input", { name: "task_id", type: "number", min: 1, value: query.task_id ?? "" })),
    element("button", {}, "Filter"));
}

function row(log, isFollowed, context) {
  const { signal, refresh, refuse } = context;
  const progress = isFollowed
    ? liveProgress(log, signal, { onEnd: refresh, onRefusal: refuse })
    : progressBar(log).element;
  return [
    link(`/executions/${log.id}`, log.id),
    [link(`/executions/${log.id}`, log.task_name || "execution"), log.error_message && element("small", {}, log.error_message)],
    progress,
    words.status(log.trigger),
    time(log.execution_time),
    words.duration(log.duration_ms),
  ];
}
