// What a probe says of a source: whether it answers, whether each field can be used, and one host's numbers.

import { badge, element, facts, table } from "./elements.js";
import { measuredTable, rawTable } from "./values.js";
import * as words from "./words.js";

const told = (value, yes, no) => (value === null ? "not known" : value ? yes : no);

export function probed(answer) {
  const product = answer.product && `${answer.product} ${words.text(answer.version)}`;
  return [
    element("p", {}, answer.message),
    answer.problems.length > 0 && element("ul", { "aria-label": "Problems" },
      answer.problems.map((problem) => element("li", { class: "warning" }, problem))),
    facts([
      ["Endpoint", `${answer.es_endpoint}: ${answer.reachable ? product ?? "reachable" : "not reachable"}`],
      ["Index", `${answer.es_index_pattern}: ${told(answer.index_exists, "there", "not there")}`],
      ["Documents", words.count(answer.documents)],
      ["Window", `${words.instant(answer.window_from)} to ${words.instant(answer.window_to)}`],
    ]),
    answer.fields.length > 0 && table(`Fields of the mapping ${answer.mapping}`, ["Key", "Field", "Types", "Usable", "Columns"],
      answer.fields.map((field) => [
        field.key,
        [element("code", {}, field.field), field.unit && ` (${field.unit})`],
        words.text(field.types),
        [told(field.usable, "yes", "no"), field.reason && element("small", {}, field.reason)],
        field.columns.join(", "),
      ])),
    answer.host && host(answer.host),
  ];
}

function host(shown) {
  return [
    element("h3", {}, shown.host_ip),
    element("p", {}, badge(shown.sync_status), " ", shown.error_message ?? "",
      shown.in_pool ? ` In the pool as ${words.text(shown.host_name)}.` : " Not in the pool."),
    rawTable(shown.raw),
    measuredTable(shown),
  ];
}
