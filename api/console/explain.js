// Why one host of an execution got its result: its attempts, the search behind each, its values and the day's row.

import { call } from "./api.js";
import { badge, element, facts, fill, link, time } from "./elements.js";
import { measuredTable, rawTable } from "./values.js";
import * as words from "./words.js";

export async function showExplanation({ place, parameters, signal }) {
  const answer = await call("GET", "/es-sync-executions/{execution_id}/hosts/{host_ip}", { parameters, signal });
  const { execution_log: log, execution_detail: detail } = answer;
  const isExplained = answer.raw || answer.converted || answer.row_before || answer.row_after;
  fill(
    place,
    element("h1", {}, `Host ${detail.host_ip} of execution ${log.id}`),
    element("p", {}, badge(detail.sync_status), " ", detail.error_message),
    element("div", { class: "buttons" },
      link(`/executions/${log.id}`, `Execution ${log.id}`),
      link(`/hosts/${encodeURIComponent(detail.host_ip)}`, "History of the host")),
    facts([
      ["Name", words.text(detail.host_name)],
      ["Window", [time(log.window_from), " to ", time(log.window_to)]],
      ["Documents", words.count(detail.data_point_count)],
      ["Ended", time(detail.finished_at)],
      ["Next attempt", time(answer.next_attempt_at)],
    ]),
    element("h2", {}, "Values"),
    isExplained ? [rawTable(answer.raw), measuredTable(answer)]
      : element("p", {}, answer.last_document ? `No document in the window: ${answer.last_document}.` : "No values were kept of this host."),
    element("h2", {}, "Attempts"),
    answer.attempts.length === 0 ? element("p", {}, "No attempt has ended.") : answer.attempts.map(attempt),
  );
}

function attempt({ attempt: number, ended_at: ended, worker, outcome, error_message: error, search }) {
  return element("section", { class: "attempt" },
    element("h3", {}, `Attempt ${number} `, badge(outcome)),
    element("p", {}, "Ended ", time(ended), ` in the worker ${worker}. `, error),
    search ? searched(search) : element("p", {}, "No search was made."));
}

function searched(search) {
  return [
    facts([
      ["Searched", time(search.searched_at)],
      ["Source", `${search.es_endpoint} / ${search.es_index_pattern}`],
      ["Hosts asked and found", `${words.count(search.hosts_asked)} and ${words.count(search.hosts_found)}`],
      ["Took", `${words.duration(search.took_ms)}, ${words.duration(search.elapsed_ms)} as the worker saw it`],
      ["Shards", words.count(search.shards)],
      ["Documents of all hosts", words.count(search.documents)],
    ]),
    search.error_message ? element("p", { class: "warning" }, search.error_message) : null,
    sent("The search, for this host alone", search.body),
    sent("The search of indices that have the host as a text", search.second_body),
  ];
}

function sent(title, body) {
  if (!body) return null;
  return element("details", {}, element("summary", {}, title), element("pre", { tabindex: "0" }, JSON.stringify(body, null, 2)));
}
