// A run by hand over a list of hosts, pasted or out of a file.

import { call, newIdempotencyKey } from "./api.js";
import { alertBox, element, field, fill, link, table, tell, valuesOf } from "./elements.js";
import { liveProgress } from "./progress.js";
import * as words from "./words.js";

const SOURCE_FIELDS = ["es_endpoint", "es_index_pattern", "mapping"];

export async function showRun(context) {
  const box = alertBox();
  const outcome = element("div", { "aria-live": "polite" });
  const input = (name, more = {}) => element("input", { name, autocomplete: "off", ...more });
  const form = element("form", {},
    field("Name", input("task_name", { required: true, maxlength: 255 }), "What the execution is called"),
    field("Hosts", element("textarea", { name: "file_content", rows: 8, spellcheck: "false", placeholder: "10.0.0.1\n10.0.0.2  # front" }),
      "One address a line; what follows a # is left out"),
    field("Or a file of hosts", input("file", { type: "file" })),
    field("Window", input("query_time_range", { value: "30d", required: true }), "How far back it looks: 30m, 24h, 7d, 4w"),
    element("details", {}, element("summary", {}, "Source"),
      field("Endpoint", input("es_endpoint", { placeholder: "the default one" })),
      field("Index pattern", input("es_index_pattern", { placeholder: "the default one" })),
      field("Mapping", input("mapping", { placeholder: "the default one" }))),
    box,
    element("button", {}, "Run"));
  // Pressed again after an answer that got lost, the same form enqueues nothing.
  let idempotencyKey = newIdempotencyKey();
  form.addEventListener("input", () => { idempotencyKey = newIdempotencyKey(); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    fill(box);
    fill(outcome);
    const request = requestOf(form);
    if (!request) {
      fill(box, "Paste hosts or choose a file, one of the two.");
      return;
    }
    context.act(form.querySelector("button"), async () => {
      const answer = await call("POST", "/es-sync-execute-file", { ...request, idempotencyKey });
      idempotencyKey = newIdempotencyKey();
      fill(outcome, accepted(answer, form, context));
    }, (refusal) => {
      tell(box, refusal);
      fill(outcome, invalidLines(refusal.invalidLines, refusal.invalidLines.length));
    });
  });
  fill(context.place, element("h1", {}, "Run by hand"), element("div", { class: "beside" }, form, outcome));
}

/** The call that a form means: a file goes as it is, in a form; a text as JSON. Null unless it is one of the two. */
function requestOf(form) {
  const { file_content: content, file, ...rest } = valuesOf(form);
  const hasFile = file.size > 0;
  if (hasFile === (content.trim() !== "")) return null;
  if (!hasFile) return { body: { ...rest, file_content: content } };
  const parts = new FormData();
  for (const [name, value] of Object.entries(rest)) {
    if (value !== "" || !SOURCE_FIELDS.includes(name)) parts.append(name, value);
  }
  parts.append("file", file);
  return { form: parts };
}

function accepted(answer, form, context) {
  const { execution_id: id, total_hosts: total } = answer;
  const log = {
    id, total_hosts: total, pending_count: total, execution_status: "running", success_count: 0, failed_count: 0,
    no_data_count: 0, not_in_pool_count: 0, cancelled_count: 0,
  };
  const onEnd = () => context.say(`Execution ${id} has ended.`);
  return [
    element("p", {}, `${answer.message}. `, link(`/executions/${id}`, `Execution ${id}`)),
    liveProgress(log, context.signal, { onEnd, onRefusal: context.refuse }),
    invalidLines(answer.invalid_lines ?? [], answer.invalid_line_count ?? 0),
  ];
}

function invalidLines(lines, lineCount) {
  if (lines.length === 0) return null;
  const shown = lines.length < lineCount ? `, of which the first ${words.count(lines.length)}` : "";
  return table(`Lines that are no addresses, left out: ${words.count(lineCount)}${shown}`, ["Line", "Text", "Reason"],
    lines.map(({ line, text, reason }) => [words.count(line), element("code", {}, text), reason]));
}
