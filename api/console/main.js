// Which view is shown: the part of the address behind `#`, as in `#/executions/12?status=failed`.
//
// Owns what surrounds the views: one at a time, given up when the next one comes; what is said to the reader; and the
// token, asked for when the API says that it needs another one.

import { Refusal } from "./api.js";
import { element, viewAddress } from "./elements.js";
import { showExecution } from "./execution.js";
import { showExecutions } from "./executions.js";
import { showExplanation } from "./explain.js";
import { showHost } from "./host.js";
import { showRun } from "./run.js";
import { showSignIn } from "./sign-in.js";
import { showStats } from "./stats.js";
import { showTaskForm } from "./task-form.js";
import { showTasks } from "./tasks.js";
import { forgetToken, token } from "./token.js";

const VIEWS = [
  [/^\/tasks$/, showTasks],
  [/^\/tasks\/new$/, showTaskForm],
  [/^\/tasks\/(?<task_id>\d+)$/, showTaskForm],
  [/^\/executions$/, showExecutions],
  [/^\/executions\/(?<execution_id>\d+)$/, showExecution],
  [/^\/executions\/(?<execution_id>\d+)\/hosts\/(?<host_ip>[^/]+)$/, showExplanation],
  [/^\/hosts\/(?<host_ip>[^/]+)$/, showHost],
  [/^\/run$/, showRun],
  [/^\/stats$/, showStats],
];

const place = document.getElementById("content");
const message = document.getElementById("message");
const signOut = document.getElementById("sign-out");

/** Ends what the view before has begun. */
let current = new AbortController();

function say(text) {
  message.replaceChildren(text);
}

function parts() {
  const [path, search] = (location.hash.slice(1) || "/tasks").split("?");
  return { path, query: Object.fromEntries(new URLSearchParams(search)) };
}

function askForToken(reason) {
  current.abort();
  signOut.hidden = true;
  place.removeAttribute("aria-busy");
  showSignIn(place, reason, () => show());
}

/** Tells a refusal where it belongs: a token that is not good is asked for again, all else is said. */
function refuse(error, telling) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Refusal)) throw error;
  if (error.status === 401) {
    const reason = token() ? error.message : "";
    forgetToken();
    askForToken(reason);
  } else telling(error);
}

/** What a view gets: where to draw, what of, until when, and how to act. */
function contextOf(parameters, query, signal) {
  return {
    place,
    parameters,
    query,
    signal,
    say,
    /** Shows the same view anew. */
    reload: () => show({ isReload: true }),
    /** The same when nobody has asked for it: not while somebody types in a form of the view. */
    refresh() {
      if (!place.contains(document.activeElement?.form ?? null)) show({ isReload: true });
    },
    refuse: (error) => refuse(error, (refusal) => say(refusal.message)),
    /** Does what a button is for. It cannot be pressed again meanwhile; `telling` gets a refusal, else it is said. */
    async act(pressed, work, telling = (refusal) => say(refusal.message)) {
      pressed.disabled = true;
      try {
        await work();
      } catch (error) {
        refuse(error, telling);
      } finally {
        pressed.disabled = false;
      }
    },
  };
}

async function show({ isReload = false } = {}) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const { path, query } = parts();
  const hadFocus = place.contains(document.activeElement);
  if (!isReload) say("");
  signOut.hidden = token() === null;
  for (const item of document.querySelectorAll("nav a")) {
    const isHere = item.hash !== "" && (path === item.hash.slice(1) || path.startsWith(`${item.hash.slice(1)}/`));
    if (isHere) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  const [pattern, view] = VIEWS.find(([pattern]) => pattern.test(path)) ?? [];
  if (!view) {
    place.replaceChildren(element("h1", {}, "There is no such page"));
    return;
  }
  const named = Object.entries(pattern.exec(path).groups ?? {});
  const parameters = Object.fromEntries(named.map(([name, value]) => [name, decodeURIComponent(value)]));
  place.setAttribute("aria-busy", "true");
  try {
    await view(contextOf(parameters, query, signal));
    if (!signal.aborted && (hadFocus || !isReload)) place.focus({ preventScroll: isReload });
  } catch (error) {
    const title = (refusal) => element("h1", {}, refusal.status === 404 ? "Not found" : "This cannot be shown");
    refuse(error, (refusal) => place.replaceChildren(title(refusal), element("p", { role: "alert" }, refusal.message)));
  } finally {
    if (!signal.aborted) place.removeAttribute("aria-busy");
  }
}

// Its address is no view, and must not become one.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  place.focus();
});
window.addEventListener("hashchange", () => show());
signOut.addEventListener("click", () => {
  forgetToken();
  askForToken("");
});
document.getElementById("find-host").addEventListener("submit", (event) => {
  event.preventDefault();
  const host = event.target.elements.host_ip.value.trim();
  if (host) location.hash = viewAddress(`/hosts/${encodeURIComponent(host)}`);
});
if (token() === null) askForToken("");
else show();
