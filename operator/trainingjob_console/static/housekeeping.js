// The Housekeeping page: charts of the operators' usage and limits, firing alerts, the operators, and the runs of
// the housekeeping with what each removed, kept and why.
//
// It reloads every 15 s, the console's sampling interval, and when the socket reports a change. The server
// keeps 24 h of samples and thins them in its answers; 100 runs are shown.

import { get, isAbort } from "./api.js";
import { chart } from "./chart.js";
import { el, fill } from "./el.js";
import { age, bytes, duration, phaseMark, plural, whole } from "./format.js";
import { failure } from "./notice.js";
import { refine } from "./router.js";
import { subscribe } from "./socket.js";
import { plainTable } from "./table.js";

const EVERY_MS = 15_000;
const SWEEPS = 100;
const SPANS = [["1h", "1 hour", 3_600], ["6h", "6 hours", 21_600], ["24h", "24 hours", 86_400]];
const POINTS = 360;
const SHORTEST_S = 120; // the shortest period of a chart
// The charts: title, and the series with the names of their lines.
const CHARTS = [
  ["Jobs in memory", { jobsInMemory: "in memory" }],
  ["Jobs by state", { jobsActive: "active", jobsFinished: "finished" }],
  ["Memory used", { memoryBytes: "memory" }],
  ["Records waiting", { recordsWaiting: "waiting" }],
  ["Log volume", { logVolumeUsedBytes: "used" }],
  ["Work queue", { queueLength: "keys" }],
  ["Memory pressure", { pressure: "level" }],
  ["Removed and kept, in all", { sweepRemoved: "removed", sweepKept: "kept" }],
];

export function housekeepingPage(view, route, scope) {
  document.title = "Housekeeping · Training jobs";
  let span = SPANS[0];
  const alerts = el("div", { class: "alerts", role: "status", "aria-live": "polite" });
  const spans = el("div", { class: "chips", role: "group", "aria-label": "Period" });
  const charts = el("div", { class: "charts" });
  const tables = el("div");
  const drawn = new Map(); // title -> chart
  fill(view, el("div", { class: "page-title" }, el("h1", {}, "Housekeeping"), el("span", { class: "space" }), spans), alerts, charts, tables);

  async function load() {
    const now = Date.now() / 1000;
    const since = new Date((now - span[2]) * 1000).toISOString().replace(/\.\d+/, "");
    let answer;
    try {
      answer = await get("/api/housekeeping", { since, step: Math.max(15, Math.ceil(span[2] / POINTS / 15) * 15) }, scope.signal);
    } catch (error) {
      if (error.status === 404) fill(charts, el("p", { class: "muted" }, "No operator metrics are configured for this console, so there is nothing to draw. The alerts and the dashboard of the Helm chart use the same metrics."));
      else if (!isAbort(error)) failure(error);
      return;
    }
    showAlerts(answer.alerts ?? [], answer.operators ?? []);
    showCharts(answer, now);
    fill(tables, operatorsTable(answer.operators ?? []), sweepsTable(answer.sweeps ?? []));
  }

  function showAlerts(found, operators) {
    const quiet = operators.length ? "No alert is firing." : "No operator has been seen yet.";
    fill(alerts, found.length ? found.map(alert) : el("p", { class: operators.length ? "alert alert-none" : "alert" }, operators.length ? phaseMark("Succeeded") : null, quiet));
    alerts.querySelector(".alert-none .phase")?.replaceChildren(...alerts.querySelectorAll(".alert-none .phase svg"));
  }

  function showCharts({ series = {}, limits = {} }, now) {
    const known = new Set(CHARTS.flatMap(([, lines]) => Object.keys(lines)));
    const others = Object.keys(series).filter((name) => !known.has(name)).sort().map((name) => [words(name), { [name]: name }]);
    const from = beginOf(series, now);
    for (const [title, lines] of [...CHARTS, ...others]) {
      const names = Object.keys(lines).filter((name) => series[name]);
      if (!names.length) continue;
      const { unit } = series[names[0]];
      if (!drawn.has(title)) {
        drawn.set(title, chart(title, formatOf(unit), { unit }));
        charts.append(drawn.get(title).node);
      }
      drawn.get(title).show({
        series: names.map((name) => ({ name: lines[name], points: series[name].points })),
        limit: limits[names[0]] ?? null, from, to: now,
      });
    }
    if (!drawn.size) fill(charts, el("p", { class: "muted" }, "There is no sample yet: one is taken every 15 s."));
    else charts.querySelector(":scope > p")?.remove();
  }

  // Returns the begin of the charts: the first sample, if the console started within the period.
  function beginOf(series, now) {
    const firsts = Object.values(series).map(({ points }) => points.find(([, value]) => value !== null)?.[0] ?? now);
    return Math.max(now - span[2], Math.min(now - SHORTEST_S, ...firsts));
  }

  function show(found) {
    span = SPANS.find(([key]) => key === found.search.get("span")) ?? SPANS[0];
    fill(spans, SPANS.map(([key, label]) => el("button", { type: "button", class: "chip", "aria-pressed": String(key === span[0]), onclick: () => refine({ span: key === "1h" ? null : key }) }, label)));
    load();
  }

  scope.every(EVERY_MS, load);
  scope.add(subscribe(() => ({ kind: "housekeeping" }), (message) => {
    if (message.type !== "error") load();
  }));
  show(route);
  return show;
}

function alert({ name, severity, since, summary, runbook }) {
  return el("div", { class: `alert alert-${severity}` }, el("strong", {}, name), el("span", {}, summary),
    since && el("span", { class: "muted" }, "for ", age(since, { suffix: false })),
    runbook && el("a", { href: runbook, target: "_blank", rel: "noreferrer" }, "What to do"));
}

function operatorsTable(operators) {
  if (!operators.length) return null;
  const state = ({ up, leader }) => (up ? (leader ? "leader" : "standby") : el("span", { class: "problem" }, "does not answer"));
  const cells = (each) => [el("span", { class: "mono" }, each.pod), state(each), each.version ?? "–"];
  return el("section", {}, el("h2", {}, "Operators"), plainTable("Operators", ["Operator", "State", "Version"], operators.map(cells)));
}

function sweepsTable(sweeps) {
  const heads = ["When", "#Jobs removed", "#Files removed", "#Freed", "#Kept", "Why kept"];
  const reasons = (why) => Object.entries(why ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 6).map(([reason, count]) => `${whole(count)} ${words(reason).toLowerCase()}`).join(", ");
  const cells = (each) => [[age(each.time), each.runs > 1 && el("span", { class: "muted" }, ` (${each.runs} runs)`)],
    whole(each.jobs), whole(each.files + each.directories), bytes(each.bytes), whole(each.kept),
    [each.errors > 0 && el("span", { class: "problem" }, plural(each.errors, "error"), " "), el("span", { class: "muted" }, reasons(each.why))]];
  return el("section", {}, el("h2", {}, "Runs of the housekeeping"), sweeps.length
    ? [plainTable("Runs of the housekeeping", heads, sweeps.slice(0, SWEEPS).map(cells)), sweeps.length > SWEEPS && el("p", { class: "muted" }, `The last ${SWEEPS} of ${plural(sweeps.length, "run")}.`)]
    : el("p", { class: "muted" }, "None since this console started."));
}

// "logVolumeUsedBytes", "record_waits" -> "Log volume used bytes", "Record waits"
function words(name) {
  const text = name.replace(/([a-z])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
}

function formatOf(unit) {
  if (unit === "bytes") return bytes;
  if (unit === "seconds") return duration;
  if (unit === "ratio") return (value) => `${Math.round(value * 100)} %`;
  return (value) => (Number.isInteger(value) || value >= 100 ? whole(Math.round(value)) : value.toFixed(1));
}
