// Values as people read them. Knows nothing of the page: text in, text out.

/** What stands where there is no value. */
export const NOTHING = "–";

const isAbsent = (value) => value === null || value === undefined || value === "";

export function text(value) {
  return isAbsent(value) ? NOTHING : String(value);
}

export function count(value) {
  return isAbsent(value) ? NOTHING : value.toLocaleString("en");
}

/** A measured value; two digits behind the point are what the database keeps. */
export function measured(value, unit = "") {
  return isAbsent(value) ? NOTHING : `${Number(value.toFixed(2)).toLocaleString("en")}${unit && ` ${unit}`}`;
}

/** A share from 0 to 1. */
export function share(value) {
  return isAbsent(value) ? NOTHING : `${Number((value * 100).toFixed(2))} %`;
}

/** An instant of the API, in UTC to the second. */
export function instant(value) {
  return isAbsent(value) ? NOTHING : value.replace("T", " ").replace(/(\.\d+)?Z$/, "");
}

/** The same on the clocks of a zone, with its difference from UTC. */
export function instantIn(value, zone) {
  const options = { timeZone: zone, dateStyle: "full", timeStyle: "medium", hourCycle: "h23" };
  const offset = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
  const name = offset.formatToParts(new Date(value)).find((part) => part.type === "timeZoneName");
  return `${new Intl.DateTimeFormat("en-GB", options).format(new Date(value))} (${name.value})`;
}

export function duration(milliseconds) {
  if (isAbsent(milliseconds)) return NOTHING;
  if (milliseconds < 1000) return `${milliseconds} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${Math.floor(seconds % 60)} s`;
}

/** A status or trigger as two words where it is two: `not_in_pool` is "not in pool". */
export function status(value) {
  return isAbsent(value) ? NOTHING : value.replaceAll("_", " ");
}

export function hosts(number) {
  return number === 1 ? "1 host" : `${count(number)} hosts`;
}
