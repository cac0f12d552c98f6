// The tasks: which there are, whether they fire, when they ran and will run.

import { call, newIdempotencyKey } from "./api.js";
import { badge, button, element, field, fill, link, pager, table, time, valuesOf, viewAddress } from "./elements.js";
import * as words from "./words.js";

const PAGE_ROWS = 50;

export async function showTasks(context) {
  const { place, query, signal } = context;
  const answer = await call("GET", "/es-sync-tasks", { query: { ...query, limit: PAGE_ROWS }, signal });
  fill(
    place,
    element("h1", {}, "Tasks"),
    filters(query),
    element("p", {}, link("/tasks/new", "New task")),
    answer.tasks.length === 0
      ? element("p", {}, "No task.")
      : table("Tasks", ["Fires", "Task", "Schedule", "Last execution", "Next execution", "Do"],
          answer.tasks.map((task) => row(task, context))),
    pager("/tasks", query, answer.next_cursor),
  );
}

function filters(query) {
  const onsubmit = (event) => {
    event.preventDefault();
    location.hash = viewAddress("/tasks", valuesOf(event.target));
  };
  return element("form", { class: "filters", onsubmit },
    field("Name has", element("input", { name: "name", value: query.name ?? "" })),
    element("label", { class: "check" },
      element("input", { type: "checkbox", name: "enabled_only", value: "true", checked: query.enabled_only === "true" }),
      "Enabled only"),
    element("button", {}, "Filter"));
}

function row(task, context) {
  const name = task.task_name;
  return [
    enabledSwitch(task, context),
    [link(`/tasks/${task.id}`, name), task.description && element("small", {}, task.description)],
    [element("code", {}, task.cron_expression), task.time_zone && element("small", {}, task.time_zone)],
    [time(task.last_execution_time), " ", task.last_execution_status && badge(task.last_execution_status)],
    time(task.next_execution_time),
    element("div", { class: "buttons" },
      runButton(task, context),
      link(viewAddress("/executions", { task_id: task.id }), "Executions"),
      deleteButton(task, context)),
  ];
}

function enabledSwitch(task, context) {
  const onchange = (event) => context.act(event.target, async () => {
    const body = { id: task.id, is_enabled: event.target.checked };
    context.say((await call("PUT", "/es-sync-tasks/enable", { body })).message);
    await context.reload();
  }, (refusal) => {
    event.target.checked = task.is_enabled;
    context.say(refusal.message);
  });
  return element("input", {
    type: "checkbox", role: "switch", checked: task.is_enabled, "aria-label": `${task.task_name} fires`, onchange,
  });
}

function runButton(task, context) {
  const idempotencyKey = newIdempotencyKey();
  return button("Run now", (event) => context.act(event.target, async () => {
    const parameters = { task_id: task.id };
    const answer = await call("POST", "/es-sync-tasks/{task_id}/execute", { parameters, idempotencyKey });
    location.hash = `/executions/${answer.execution_id}`;
  }), { "aria-label": `Run ${task.task_name} now` });
}

function deleteButton(task, context) {
  return button("Delete", (event) => {
    if (!confirm(`Delete the task ${words.text(task.task_name)}? Its executions stay.`)) return;
    context.act(event.target, async () => {
      const answer = await call("DELETE", "/es-sync-tasks/{task_id}", { parameters: { task_id: task.id } });
      context.say(answer.message);
      await context.reload();
    });
  }, { "aria-label": `Delete ${task.task_name}` });
}
