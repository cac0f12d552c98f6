// One execution: how far it is, and what became of each of its hosts.

import { call, newIdempotencyKey } from "./api.js";
import { badge, button, element, facts, field, fill, link, pager, select, table, time, valuesOf, viewAddress } from "./elements.js";
import { isGoing, liveProgress } from "./progress.js";
import * as words from "./words.js";

const PAGE_ROWS = 100;

const STATUSES = ["pending", "success", "failed", "no_data", "not_in_pool", "cancelled"];

export async function showExecution(context) {
  const { place, parameters, query, signal } = context;
  const path = `/executions/${parameters.execution_id}`;
  const answer = await call("GET", "/es-sync-execution-detail/{execution_id}", {
    parameters, query: { ...query, limit: PAGE_ROWS }, signal,
  });
  const log = answer.execution_log;
  const onEnd = () => {
    context.say(`Execution ${log.id} has ended.`);
    context.refresh();
  };
  fill(
    place,
    element("h1", {}, `Execution ${log.id}: ${log.task_name}`),
    liveProgress(log, signal, { onEnd, onRefusal: context.refuse }),
    log.error_message ? element("p", { class: "warning" }, log.error_message) : null,
    element("div", { class: "buttons" }, cancelButton(log, context), retryButton(log, context)),
    about(log),
    element("h2", {}, "Hosts"),
    countsOf(path, answer.status_counts),
    filters(path, query),
    answer.execution_details.length === 0
      ? element("p", {}, "No host.")
      : table("Hosts of the execution", ["Host", "Name", "Status", "CPU max", "Memory max", "Disk max", "Documents", "Attempts", "Ended"],
          answer.execution_details.map((detail) => row(path, detail))),
    pager(path, query, answer.next_cursor),
  );
}

function about(log) {
  const task = log.task_id === 0 ? "by hand" : link(`/tasks/${log.task_id}`, `task ${log.task_id}`);
  return facts([
    ["Task", task],
    ["Trigger", words.status(log.trigger)],
    ["Scheduled for", time(log.scheduled_for)],
    ["Began", time(log.execution_time)],
    ["Took", words.duration(log.duration_ms)],
    ["Window", [time(log.window_from), " to ", time(log.window_to)]],
    ["Source", `${words.text(log.es_endpoint)} / ${words.text(log.es_index_pattern)} / ${words.text(log.mapping)}`],
    ["Made by", words.text(log.created_by)],
  ]);
}

function cancelButton(log, context) {
  if (!isGoing(log.execution_status)) return null;
  return button("Cancel", (event) => context.act(event.target, async () => {
    const answer = await call("POST", "/es-sync-executions/{execution_id}/cancel", { parameters: { execution_id: log.id } });
    context.say(answer.message);
  }));
}

function retryButton(log, context) {
  if (isGoing(log.execution_status) || log.failed_count + log.cancelled_count === 0) return null;
  const idempotencyKey = newIdempotencyKey();
  return button("Retry the failed hosts", (event) => context.act(event.target, async () => {
    const parameters = { execution_id: log.id };
    const answer = await call("POST", "/es-sync-executions/{execution_id}/retry", { parameters, idempotencyKey });
    location.hash = `/executions/${answer.execution_id}`;
  }));
}

function countsOf(path, counts) {
  const items = STATUSES.filter((status) => counts[status] > 0).map((status) =>
    element("li", {}, link(viewAddress(path, { status }), badge(status), " ", words.count(counts[status]))));
  return element("ul", { class: "counts", "aria-label": "Hosts by status" }, items);
}

function filters(path, query) {
  const onsubmit = (event) => {
    event.preventDefault();
    location.hash = viewAddress(path, valuesOf(event.target));
  };
  const choices = [["", "all"], ...STATUSES.map((status) => [status, words.status(status)])];
  return element("form", { class: "filters", onsubmit },
    field("Status", select("status", query.status ?? "", choices)),
    field("Address", element("input", { name: "host_ip", value: query.host_ip ?? "", autocomplete: "off", spellcheck: "false" })),
    element("button", {}, "Filter"));
}

function row(path, detail) {
  return [
    link(`${path}/hosts/${encodeURIComponent(detail.host_ip)}`, detail.host_ip),
    words.text(detail.host_name),
    [badge(detail.sync_status), detail.error_message && element("small", {}, detail.error_message)],
    words.measured(detail.max_cpu, "%"),
    words.measured(detail.max_memory, "GB"),
    words.measured(detail.max_disk, "GB"),
    words.count(detail.data_point_count),
    words.count(detail.attempts),
    time(detail.finished_at),
  ];
}
