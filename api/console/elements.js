// Elements of the page. Text goes in as text nodes alone, so nothing that the API says can become markup.

import * as words from "./words.js";

/** What is there of some children, nested or not: one that is null, undefined or false is left out. */
const there = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Shows these children in a place, and nothing else. */
export function fill(place, ...children) {
  place.replaceChildren(...there(children));
}

function make(created, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) created.addEventListener(name.slice(2), value);
    else if (value === true) created.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) created.setAttribute(name, value);
  }
  created.append(...there(children));
  return created;
}

/** An element of HTML. An attribute `onclick` listens, one that is false or null is left out; so is such a child. */
export function element(name, attributes = {}, ...children) {
  return make(document.createElement(name), attributes, children);
}

/** The same of SVG. */
export function drawn(name, attributes = {}, ...children) {
  return make(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/** A link to a view of the console. */
export function link(view, ...children) {
  return element("a", { href: `#${view}` }, ...children);
}

/** The address of a view, with what it filters by. Empty values are left out. */
export function viewAddress(path, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(pairs).toString();
  return `${path}${search && `?${search}`}`;
}

export function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

/** An instant, with the reader's own time when pointed at. */
export function time(value) {
  if (!value) return words.NOTHING;
  return element("time", { datetime: value, title: new Date(value).toLocaleString() }, words.instant(value));
}

/** A status; its colour never says more than its word. */
export function badge(status) {
  return status ? element("span", { class: `badge ${status}` }, words.status(status)) : words.NOTHING;
}

let hints = 0;

/** A labelled input, select or textarea. The label holds the control, so it needs no id; a hint describes it. */
export function field(label, control, hint) {
  const labelled = element("label", {}, element("span", {}, label), control);
  if (!hint) return element("div", { class: "field" }, labelled);
  hints += 1;
  control.setAttribute("aria-describedby", `hint-${hints}`);
  return element("div", { class: "field" }, labelled, element("small", { id: `hint-${hints}` }, hint));
}

/** A select of `[value, text]` pairs. */
export function select(name, chosen, options, attributes = {}) {
  const made = options.map(([value, text]) => element("option", { value, selected: value === chosen }, text));
  return element("select", { name, ...attributes }, made);
}

/** A table that scrolls by itself where the screen is narrow. */
export function table(caption, heads, rows) {
  const head = element("tr", {}, heads.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map((cells) => element("tr", {}, cells.map((cell) => element("td", {}, cell))));
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, body)),
  );
}

/** Leads to the first and the next page of a list. The page before is the browser's own button. */
export function pager(path, query, nextCursor) {
  const first = query.cursor ? link(viewAddress(path, { ...query, cursor: "" }), "First page") : null;
  const next = nextCursor ? link(viewAddress(path, { ...query, cursor: nextCursor }), "Next page") : null;
  return (first || next) ? element("nav", { class: "pager", "aria-label": "Pages" }, first, next) : null;
}

/** Names and what belongs to them. */
export function facts(pairs) {
  return element("dl", {}, pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

/** The values of a form by name, as text. */
export function valuesOf(form) {
  return Object.fromEntries(new FormData(form));
}

/** Where a form tells what is wrong with it; heard at once by a screen reader. */
export function alertBox() {
  return element("div", { class: "problem", role: "alert" });
}

/** Tells a refusal in a box, with the fields that it names. */
export function tell(box, refusal) {
  const errors = refusal.errors ?? [];
  const list = errors.map(({ field, message }) => element("li", {}, `${field}: ${message}`));
  fill(box, list.length > 0 ? element("ul", {}, list) : refusal.message);
}
