// Formats times, durations, sizes and phases for display. A time shown as an age has the exact time as its title,
// and is updated every second while it is in the page.

import { el, fill, svg } from "./el.js";

const UNITS = [["d", 86_400], ["h", 3_600], ["m", 60], ["s", 1]];

// "3d 4h", "12m 5s", "8s": the two largest units.
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  let rest = Math.max(0, Math.floor(seconds));
  if (rest < 1) return seconds > 0 ? "<1s" : "0s";
  const parts = [];
  for (const [name, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count || parts.length) parts.push(count ? `${count}${name}` : "");
    if (parts.length === 2) break;
  }
  return parts.filter(Boolean).join(" ");
}

export function secondsBetween(from, to = null) {
  if (!from) return null;
  return ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (Math.abs(count) >= 1024 && step < names.length - 1) {
    count /= 1024;
    step += 1;
  }
  return `${count.toFixed(step && count < 100 ? 1 : 0)} ${names[step]}`;
}

export function whole(count) {
  return count === null || count === undefined ? "–" : Number(count).toLocaleString("en");
}

export function plural(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

// Formats a time in the user's time zone, with the zone's name.
export function exact(time) {
  const options = { dateStyle: "medium", timeStyle: "long" };
  return new Date(time).toLocaleString("en-GB", options);
}

export function ago(time) {
  const seconds = secondsBetween(time);
  if (Math.abs(seconds) < 2) return "now";
  return seconds < 0 ? `in ${duration(-seconds)}` : `${duration(seconds)} ago`;
}

// Returns a <time> element with an age ("5m ago"), or with the duration of something that has not ended.
export function age(time, { until = null, suffix = true } = {}) {
  if (!time) return el("span", { class: "none" }, "–");
  const node = el("time", { datetime: time, title: exact(time) });
  node.refresh = () => fill(node, suffix ? ago(time) : duration(secondsBetween(time, until)));
  node.refresh();
  if (!until) node.classList.add("running-time");
  return node;
}

setInterval(() => {
  if (document.hidden) return;
  for (const node of document.getElementsByClassName("running-time")) node.refresh?.();
}, 1_000);

// Each phase has an icon of its own besides its colour and its name.
const SHAPES = {
  Pending: "M8 4.5V8l2.5 1.5M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 1 0 8 1.8z",
  Running: "M5.5 3.5v9l7-4.5z",
  Suspended: "M5.5 3.5v9M10.5 3.5v9",
  Restarting: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v2.6h-2.6",
  Stopping: "M4.5 4.5h7v7h-7z",
  Succeeded: "M3 8.5l3.2 3.2L13 5",
  Failed: "M4 4l8 8M12 4l-8 8",
  Cancelled: "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 1 0 8 1.8zM3.8 3.8l8.4 8.4",
};
export const PHASES = Object.keys(SHAPES);

const AS_PHASE = { Waiting: "Pending", Terminating: "Stopping", Gone: "Cancelled", True: "Succeeded", False: "Cancelled" };

// Returns the mark of a phase or of a rank's state: icon, name and colour.
export function phaseMark(word) {
  const phase = SHAPES[word] ? word : AS_PHASE[word] ?? "Pending";
  const shape = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: SHAPES[phase] }));
  return el("span", { class: `phase phase-${phase.toLowerCase()}` }, shape, word);
}

export function isOver(row) {
  return ["Succeeded", "Failed", "Cancelled"].includes(row.phase);
}

// Returns the text that explains the job's state: why it waits, else its message or reason; empty if all is well.
export function explanation(row) {
  if (row.phase === "Running" || row.phase === "Succeeded") return row.waiting ?? "";
  return row.waiting ?? row.message ?? row.reason ?? "";
}
