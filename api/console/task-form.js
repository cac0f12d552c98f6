// One task to make or to change, beside what its schedule means and what its source says.

import { call } from "./api.js";
import { alertBox, badge, button, element, field, fill, link, select, tell, valuesOf, viewAddress } from "./elements.js";
import { probed } from "./source.js";
import * as words from "./words.js";

/** Fire times that a preview shows. */
const PREVIEWED = 5;

const NEW_TASK = {
  task_name: "", description: "", cron_expression: "", time_zone: "", query_time_range: "30d", overlap_policy: "skip",
  catch_up_window: "1m", delay: "0s", es_endpoint: "", es_index_pattern: "", mapping: "", is_enabled: false,
};

const OVERLAP_POLICIES = [
  ["skip", "skip this fire"],
  ["queue", "let one wait"],
  ["allow", "run beside it"],
];

export async function showTaskForm(context) {
  const { place, parameters, signal } = context;
  const id = parameters.task_id;
  const task = id ? (await call("GET", "/es-sync-tasks/{task_id}", { parameters, signal })).task : NEW_TASK;
  const box = alertBox();
  const form = element("form", { class: "fields" }, fields(task), !id && madeBy(), box,
    element("div", { class: "buttons" }, element("button", {}, id ? "Save" : "Create"), link("/tasks", "Back to the tasks")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    box.replaceChildren();
    const save = () => (id ? change(id, task, form, context) : create(form, context));
    context.act(event.submitter ?? form.querySelector("button"), save, (refusal) => tell(box, refusal));
  });
  fill(
    place,
    element("h1", {}, id ? task.task_name : "New task"),
    id && element("p", {}, "Last execution ", badge(task.last_execution_status), ". ",
      link(viewAddress("/executions", { task_id: id }), "All executions")),
    element("div", { class: "beside" }, form, element("div", {}, previewOf(form, context), probeOf(form, context))),
  );
}

function fields(task) {
  const input = (name, more = {}) => element("input", { name, value: task[name], autocomplete: "off", ...more });
  return [
    field("Name", input("task_name", { required: true, maxlength: 255 })),
    field("Schedule", input("cron_expression", { required: true, maxlength: 100, spellcheck: "false" }),
      "second minute hour day-of-month month day-of-week, @daily, or @every 1h30m"),
    field("Time zone", input("time_zone", { placeholder: "the configured one", spellcheck: "false" })),
    field("Window", input("query_time_range", { required: true }), "How far back a run looks: 30m, 24h, 7d, 4w"),
    field("If the last run is going", select("overlap_policy", task.overlap_policy, OVERLAP_POLICIES)),
    field("Delay", input("delay", { required: true }), "How long before its fire the window ends, for late documents: 0s, 10m"),
    field("Catch-up window", input("catch_up_window", { required: true }), "How late a missed fire may still run: 1m, 2h"),
    field("Endpoint", input("es_endpoint", { placeholder: "the default one", spellcheck: "false" })),
    field("Index pattern", input("es_index_pattern", { placeholder: "the default one", spellcheck: "false" })),
    field("Mapping", input("mapping", { placeholder: "the default one", spellcheck: "false" })),
    field("Description", element("textarea", { name: "description", rows: 2, maxlength: 10000 }, task.description)),
    element("label", { class: "check" },
      element("input", { type: "checkbox", name: "is_enabled", checked: task.is_enabled }), "Fires"),
  ];
}

function madeBy() {
  return field("Made by", element("input", { name: "created_by", maxlength: 100, autocomplete: "off" }));
}

/** What the form says, in the fields of the API. */
function said(form) {
  return { ...valuesOf(form), is_enabled: form.elements.is_enabled.checked };
}

async function create(form, context) {
  const answer = await call("POST", "/es-sync-tasks", { body: said(form) });
  location.hash = `/tasks/${answer.task_id}`;
}

/** Sends what is different alone: what somebody else has changed meanwhile stays. */
async function change(id, task, form, context) {
  const body = Object.fromEntries(Object.entries(said(form)).filter(([name, value]) => value !== task[name]));
  if (Object.keys(body).length === 0) {
    context.say("Nothing was changed.");
    return;
  }
  const answer = await call("PUT", "/es-sync-tasks/{task_id}", { parameters: { task_id: id }, body });
  context.say(answer.message);
  await context.reload();
}

/** What the schedule means: asked when its fields change, and by the button. */
function previewOf(form, context) {
  const place = element("div", { "aria-live": "polite" });
  const pressed = button("Preview the schedule", () => preview());
  const preview = () => context.act(pressed, async () => {
    const { cron_expression, time_zone } = valuesOf(form);
    const body = { cron_expression, time_zone, count: PREVIEWED };
    const answer = await call("POST", "/es-sync-tasks/preview", { body, signal: context.signal });
    const times = answer.fire_times.map((at) =>
      element("li", {}, element("time", { datetime: at }, words.instantIn(at, answer.time_zone))));
    const warnings = answer.warnings.map((warning) => element("li", { class: "warning" }, warning));
    fill(
      place,
      element("p", {}, answer.description),
      element("ol", {}, times),
      warnings.length > 0 && element("ul", { "aria-label": "Warnings" }, warnings));
  }, (refusal) => tell(place, refusal));
  form.addEventListener("change", (event) => {
    const isSchedule = ["cron_expression", "time_zone"].includes(event.target.name);
    if (isSchedule && form.elements.cron_expression.value.trim()) preview();
  });
  if (form.elements.cron_expression.value) preview();
  return element("section", {}, element("h2", {}, "Schedule"), pressed, place);
}

/** What a run would read and write, without writing it. */
function probeOf(form, context) {
  const place = element("div", { "aria-live": "polite" });
  const host = element("input", { placeholder: "the first one", autocomplete: "off", spellcheck: "false" });
  const pressed = button("Probe the source", () => context.act(pressed, async () => {
    fill(place, "Asking the source…");
    const { es_endpoint, es_index_pattern, mapping, query_time_range } = valuesOf(form);
    const body = { es_endpoint, es_index_pattern, mapping, query_time_range, host_ip: host.value.trim() || null };
    const answer = await call("POST", "/es-sync-tasks/probe", { body, signal: context.signal });
    fill(place, probed(answer));
  }, (refusal) => tell(place, refusal)));
  return element("section", {}, element("h2", {}, "Source"), field("Host to show", host), pressed, place);
}
