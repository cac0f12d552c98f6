// One call of the REST API: the token goes with it, a refusal comes back as a sentence for people.
//
// Paths are written as in the OpenAPI document, with their parameters in braces; a test holds every one against it.

import { token } from "./token.js";

const BASE_PATH = "api/cmdb/v1";

/** An answer that is no success, or none at all (status 0). */
export class Refusal extends Error {
  constructor(status, body, retryAfter) {
    super(sentence(status, body, retryAfter));
    this.status = status;
    /** For bad input: `{field, message}` each. */
    this.errors = body.errors ?? [];
    /** Of a host file without a good line. */
    this.invalidLines = body.invalid_lines ?? [];
    /** Seconds to wait before the next try, or null. */
    this.retryAfter = retryAfter;
  }
}

/** What a refusal means to the person who reads it. */
export function sentence(status, body, retryAfter) {
  const told = body.message ?? `The API answered with status ${status}.`;
  switch (status) {
    case 0:
      return "The API does not answer. Check the connection and try again.";
    case 401:
      return "The API does not know this token. Sign in again.";
    case 403:
      return "This token reads only. Sign in with the operator's token to change or run anything.";
    case 429:
    case 503:
      return `${told}${/[.!?]$/.test(told) ? "" : "."} Try again in ${retryAfter ?? 5} seconds.`;
    default:
      return told;
  }
}

/** A path below the base path, with its parameters and query filled in. Empty values of the query are left out. */
export function address(path, parameters = {}, query = {}) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(parameters[name]));
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(pairs).toString();
  return `${BASE_PATH}${filled}${search && `?${search}`}`;
}

/**
 * Sends a call and returns the response once its status is a success.
 *
 * `options`: `parameters` of the path, `query`, a JSON `body` or a `form`, an `idempotencyKey`, further `headers`, and the
 * `signal` that gives it up.
 */
export async function send(method, path, options = {}) {
  const headers = new Headers(options.headers);
  if (token()) headers.set("Authorization", `Bearer ${token()}`);
  if (options.idempotencyKey) headers.set("Idempotency-Key", options.idempotencyKey);
  if (options.body) headers.set("Content-Type", "application/json");
  const request = {
    method,
    headers,
    body: options.body ? JSON.stringify(options.body) : options.form,
    signal: options.signal,
    cache: "no-store",
  };
  let response;
  try {
    response = await fetch(address(path, options.parameters, options.query), request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, {}, null);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const retryAfter = Number.parseInt(response.headers.get("Retry-After"), 10);
  throw new Refusal(response.status, body, Number.isNaN(retryAfter) ? null : retryAfter);
}

/** Sends a call and returns the body of its answer. */
export async function call(method, path, options) {
  const response = await send(method, path, options);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, {}, null);
  }
}

/** A key for one enqueue: sent again with the same body it enqueues nothing. */
export function newIdempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
