// Line charts in SVG. A value that is null is a gap in its line, never 0.

import { drawn, element } from "./elements.js";

const WIDTH = 640;
const HEIGHT = 180;
const LEFT = 64;
const BOTTOM = 24;
const MARGIN = 8;

/** The next round number at or above a value: 1, 2 or 5 times a power of ten. */
export function roundTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value);
}

/** The stretches of a line without a gap, as points `[x, y]` from 0 to 1. */
export function stretches(values, top) {
  const found = [];
  let open = null;
  values.forEach((value, index) => {
    if (value === null) {
      open = null;
      return;
    }
    if (!open) found.push((open = []));
    open.push([values.length === 1 ? 0.5 : index / (values.length - 1), Math.min(value / top, 1)]);
  });
  return found;
}

const across = (x) => (LEFT + x * (WIDTH - LEFT - MARGIN)).toFixed(1);
const down = (y) => (HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - MARGIN)).toFixed(1);

/**
 * A chart of `lines`, `{name, values}` each, with a value or null for every one of `labels`.
 *
 * `top` is the end of the scale, else it goes by the values; `write` turns a value into text.
 */
export function lineChart(title, labels, lines, { top, write }) {
  const values = lines.flatMap((line) => line.values).filter((value) => value !== null);
  const end = top ?? roundTop(Math.max(0, ...values));
  return element("figure", {},
    element("figcaption", {}, title),
    drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": inWords(title, lines, write) },
      scale(end, write), ends(labels), lines.map((line, index) => lineOf(line, index, labels, end, write))),
    element("ul", { class: "legend" }, lines.map(({ name }, index) => element("li", { class: `line-${index}` }, name))));
}

/** What is told to who does not see the chart: the lowest, highest and last value of each line. */
function inWords(title, lines, write) {
  const parts = lines.map(({ name, values }) => {
    const known = values.filter((value) => value !== null);
    if (known.length === 0) return `${name}: no value`;
    return `${name}: from ${write(Math.min(...known))} to ${write(Math.max(...known))}, last ${write(known.at(-1))}`;
  });
  return `${title}. ${parts.join("; ")}`;
}

function scale(end, write) {
  return [0, 0.5, 1].map((y) => [
    drawn("line", { class: "grid", x1: across(0), x2: across(1), y1: down(y), y2: down(y) }),
    drawn("text", { x: LEFT - 6, y: down(y), "text-anchor": "end", "dominant-baseline": "middle" }, write(y * end)),
  ]);
}

function ends(labels) {
  const y = HEIGHT - 6;
  const last = labels.length > 1 ? drawn("text", { x: across(1), y, "text-anchor": "end" }, labels.at(-1)) : null;
  return [drawn("text", { x: across(0), y }, labels[0]), last];
}

function lineOf({ name, values }, index, labels, end, write) {
  const lines = stretches(values, end).map((points) =>
    drawn("polyline", { points: points.map(([x, y]) => `${across(x)},${down(y)}`).join(" ") }));
  const dots = values.map((value, at) => value !== null && drawn("circle", {
    cx: across(values.length === 1 ? 0.5 : at / (values.length - 1)), cy: down(Math.min(value / end, 1)), r: 2.5,
  }, drawn("title", {}, `${labels[at]}, ${name}: ${write(value)}`)));
  return drawn("g", { class: `line-${index}` }, lines, dots);
}
