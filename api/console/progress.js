// How far an execution is, as a bar with its counters, live while it is going.

import { element, badge } from "./elements.js";
import { follow } from "./events.js";
import * as words from "./words.js";

/** In the order in which they are shown. */
const OUTCOMES = ["success", "no_data", "not_in_pool", "failed", "cancelled", "pending"];

/** Whether an execution may still change. */
export function isGoing(status) {
  return status === "running" || status === "waiting";
}

/** A bar for an execution log or for the state of an event; `update` shows a later state. */
export function progressBar(first) {
  const bar = element("progress", { "aria-label": "Hosts with an outcome" });
  const told = element("span", { class: "counters" });
  const status = element("span", {});
  const update = (state) => {
    const total = state.total_hosts;
    const done = (total ?? 0) - state.pending_count;
    const isUnknown = total === null || (isGoing(state.execution_status) && total === 0);
    if (isUnknown) bar.removeAttribute("value");
    else {
      bar.max = Math.max(total, 1);
      bar.value = total === 0 ? 1 : done;
    }
    const counters = OUTCOMES.filter((outcome) => state[`${outcome}_count`] > 0);
    const parts = counters.map((outcome) => `${words.count(state[`${outcome}_count`])} ${words.status(outcome)}`);
    const of = isUnknown ? "hosts not counted yet" : `${words.count(done)} of ${words.hosts(total)}`;
    told.replaceChildren([of, ...parts].join(" · "));
    status.replaceChildren(badge(state.execution_status));
  };
  update(first);
  return { element: element("div", { class: "progress" }, status, bar, told), update };
}

/** A bar that follows its execution to the end, then calls `onEnd`. */
export function liveProgress(log, signal, { onEnd, onRefusal }) {
  const bar = progressBar(log);
  if (isGoing(log.execution_status)) {
    follow(log.id, bar.update, signal).then((hasEnded) => hasEnded && onEnd(), onRefusal);
  }
  return bar.element;
}
