// How an execution goes on, by its server-sent events.
//
// Read from a fetch, since a browser's EventSource cannot send a token. Each event tells the whole state, so a stream that
// breaks is begun again behind the last event that was heard.

import { Refusal, send } from "./api.js";

/** Longest pause before a broken stream is begun again, in milliseconds. */
const LONGEST_PAUSE = 30_000;

/** Takes the whole events out of a text: `{events, rest}`, where `rest` is the beginning of the next one. */
export function parseEvents(text) {
  const blocks = text.replace(/\r\n?/g, "\n").split("\n\n");
  const rest = blocks.pop();
  const events = [];
  for (const block of blocks) {
    const event = { name: "message", id: null, data: [] };
    for (const line of block.split("\n")) {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (name === "event") event.name = value;
      else if (name === "id") event.id = value;
      else if (name === "data") event.data.push(value);
    }
    if (event.data.length > 0) events.push({ ...event, data: event.data.join("\n") });
  }
  return { events, rest };
}

/** The events of one stream until it ends. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const { events, rest } = parseEvents(text + value);
    text = rest;
    yield* events;
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/**
 * Tells `onState` each state of an execution, until it has ended or the signal gives it up. Returns whether it has ended.
 *
 * Throws a refusal that waiting does not mend: the token, or an execution that is not there.
 */
export async function follow(executionId, onState, signal) {
  let lastId = null;
  let breaks = 0;
  while (!signal.aborted) {
    let retryAfter = null;
    try {
      const response = await send("GET", "/es-sync-executions/{execution_id}/events", {
        parameters: { execution_id: executionId },
        headers: lastId ? { "Last-Event-ID": lastId } : {},
        signal,
      });
      if (response.status === 204) return true;
      for await (const event of eventsOf(response)) {
        breaks = 0;
        lastId = event.id;
        onState(JSON.parse(event.data));
        if (event.name === "end") return true;
      }
    } catch (error) {
      if (signal.aborted) return false;
      if (error instanceof Refusal) {
        if (error.status !== 0 && error.status !== 429 && error.status < 500) throw error;
        retryAfter = error.retryAfter;
      }
    }
    breaks += 1;
    await pause(Math.min(LONGEST_PAUSE, retryAfter ? retryAfter * 1000 : 500 * 2 ** breaks), signal);
  }
  return false;
}
