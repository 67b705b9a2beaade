// The timeline of a job: conditions, attempts and events in one list, the newest first. It shows at most 300 entries.

import { el } from "./el.js";
import { age, plural } from "./format.js";

const MOST = 300;

export function timeline({ row, conditions = [], attempts = [], events = [] }) {
  const entries = [
    ...conditions.map(ofCondition), ...events.map(ofEvent), ...attempts.flatMap(ofAttempt),
    { time: row.created, kind: "fact", title: "Created", text: "" }, // last in the array: the sort is stable, so of equal times it is the oldest
  ].filter((entry) => entry.time);
  entries.sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
  const left = entries.length - MOST;
  return [el("ol", { class: "timeline" }, entries.slice(0, MOST).map(line)), left > 0 && el("p", { class: "muted" }, `${plural(left, "older entry is", "older entries are")} not shown.`)];
}

function line({ time, kind, title, text }) {
  return el("li", { class: `entry entry-${kind}` }, el("span", { class: "entry-time" }, age(time)),
    el("span", { class: "entry-text" }, el("strong", {}, title), text && ` ${text}`));
}

const BAD = new Set(["Failed", "Cancelled"]);

function ofCondition({ type, status, reason, message, lastTransitionTime }) {
  const bad = BAD.has(type) && status === "True";
  const good = type === "Complete" && status === "True";
  return { time: lastTransitionTime, kind: bad ? "bad" : good ? "good" : "condition",
    title: status === "True" ? type : `${type}: ${status}`, text: [reason === type ? null : reason, message].filter(Boolean).join(": ") };
}

function ofAttempt({ attempt, from, to, outcome }) {
  const begun = { time: from, kind: "attempt", title: `Attempt ${attempt + 1}`, text: "started" };
  return to ? [begun, { time: to, kind: "attempt", title: `Attempt ${attempt + 1}`, text: `ended: ${outcome ?? "unknown"}` }] : [begun];
}

function ofEvent({ time, type, reason, message, object, count }) {
  const times = count > 1 ? ` (${count} times)` : "";
  return { time, kind: type === "Warning" ? "warning" : "event", title: reason, text: `${message ?? ""}${times}${object ? ` · ${object}` : ""}` };
}
