// One host's values from what the source says to the row of `server_resources`, side by side.

import { table } from "./elements.js";
import * as words from "./words.js";

/** The columns of `server_resources`, with what they are and their unit. */
export const COLUMNS = [
  ["cpu_load", "CPU", "%"],
  ["cpu_percent_max", "CPU, highest", "%"],
  ["cpu_percent_avg", "CPU, average", "%"],
  ["cpu_percent_min", "CPU, lowest", "%"],
  ["used_memory", "Memory in use", "GB"],
  ["mem_percent_max", "Memory, highest", "%"],
  ["mem_percent_avg", "Memory, average", "%"],
  ["mem_percent_min", "Memory, lowest", "%"],
  ["used_disk", "Disk in use", "GB"],
  ["disk_percent_max", "Disk, highest", "%"],
  ["disk_percent_avg", "Disk, average", "%"],
  ["disk_percent_min", "Disk, lowest", "%"],
];

/** As the source says them, in the mapping's units; null without any. */
export function rawTable(raw) {
  if (!raw) return null;
  const rows = [["CPU", raw.cpu], ["Memory", raw.memory], ["Disk", raw.disk]].map(([name, stats]) =>
    [name, ...["max", "avg", "min"].map((key) => words.measured(stats?.[key]))]);
  const { max, min } = raw.disk_slices ?? {};
  if (max && min) {
    rows.push(["Disk: sum ÷ fetches of the slice", ...[max, null, min].map((slice) =>
      slice ? `${words.measured(slice.sum)} ÷ ${words.measured(slice.fetches)}, from ${words.instant(slice.from)}` : "")]);
  }
  return table(`Raw values, of ${words.count(raw.documents)} documents`, ["", "Highest", "Average", "Lowest"], rows);
}

/** As converted, and the day's row before and after; null without any. */
export function measuredTable({ converted, row_before: before, row_after: after }) {
  if (!converted && !before && !after) return null;
  const rows = COLUMNS.map(([column, name, unit]) =>
    [name, ...[converted, before, after].map((values) => words.measured(values?.[column], unit))]);
  return table("Values of the day", ["", "Converted", "Row before", "Row after"], rows);
}
