// A row of the job list. A cell is redrawn only if the values it shows have changed.

import { el, fill } from "./el.js";
import { age, duration, exact, explanation, isOver, phaseMark, secondsBetween } from "./format.js";
import { progressBar } from "./progress.js";
import { jobAddress } from "./router.js";

// Returns {node, update(row)}. `isChosen(uid)` and `choose(uid, yes)` read and change the list's selection.
export function jobRow({ uid, source }, { isChosen, choose }) {
  const box = el("input", { type: "checkbox", onchange: () => choose(uid, box.checked) });
  const phase = el("td", { class: "phase-cell" });
  const name = el("a", { class: "job-name" });
  const where = el("td", { class: "where" });
  const past = el("span", { class: "tag", title: "The job was deleted; this is its record" }, "history");
  const logs = el("a", { class: "to-logs", title: "Logs" }, "Logs");
  const ranks = el("td", { class: "ranks" });
  const restarts = el("td", { class: "number" });
  const created = el("td", { class: "age" });
  const lasted = el("td", { class: "age lasted" });
  const detail = el("td", { class: "detail" });
  const node = el("tr", { "data-uid": uid }, el("td", { class: "select" }, box), phase,
    el("td", { class: "name" }, el("div", { class: "name-line" }, name, past, logs)), where, ranks, restarts, created, lasted, detail);
  const before = {};

  // Calls `draw` only if the values have changed.
  function cell(key, values, draw) {
    const now = JSON.stringify(values);
    if (before[key] === now) return;
    before[key] = now;
    draw();
  }

  function update(row) {
    box.disabled = source !== "live" || Boolean(row.gone);
    box.checked = isChosen(uid);
    node.classList.toggle("chosen", box.checked);
    node.classList.toggle("gone", Boolean(row.gone));
    cell("name", [row.namespace, row.name, row.source], () => {
      box.setAttribute("aria-label", `Select ${row.name}`);
      name.href = jobAddress(row);
      logs.href = jobAddress(row, "/logs");
      logs.setAttribute("aria-label", `Logs of ${row.name}`);
      fill(name, row.name);
      fill(where, row.namespace);
      where.title = row.namespace;
      past.hidden = row.source !== "history";
    });
    cell("phase", [row.phase], () => fill(phase, phaseMark(row.phase)));
    cell("ranks", row.ranks, () => fill(ranks, rankBar(row.ranks)));
    cell("restarts", row.restarts, () => fill(restarts, row.restarts ? String(row.restarts) : el("span", { class: "none" }, "0")));
    cell("created", row.created, () => fill(created, age(row.created, { suffix: false })));
    cell("lasted", [row.started, row.completed, row.phase], () => fill(lasted, durationOf(row)));
    cell("detail", [explanation(row), row.exitCode, row.gone, row.progress], () => fill(detail, detailOf(row)));
  }

  return { node, update };
}

export function durationOf(row) {
  if (!row.started) return el("span", { class: "none" }, "–");
  if (!row.completed) return isOver(row) ? "–" : age(row.started, { suffix: false });
  const title = `${exact(row.started)} to ${exact(row.completed)}`;
  return el("span", { title }, duration(secondsBetween(row.started, row.completed)));
}

// Returns "3/4" (ready and succeeded ranks of all) and a bar of succeeded, ready, failed and missing ranks.
export function rankBar(ranks) {
  const { ready = 0, succeeded = 0, failed = 0, total = 0 } = ranks ?? {};
  if (!total) return el("span", { class: "none" }, "–");
  const parts = [["succeeded", succeeded], ["ready", ready], ["failed", failed]].filter(([, count]) => count > 0);
  const bar = el("span", { class: "bar", "aria-hidden": "true" }, parts.map(([kind, count]) => {
    const part = el("span", { class: `bar-${kind}` });
    part.style.setProperty("width", `${(100 * Math.min(count, total)) / total}%`);
    return part;
  }));
  const title = `${ready} ready, ${succeeded} succeeded, ${failed} failed, of ${total}`;
  return el("span", { class: "rank-bar", title }, el("span", {}, `${Math.min(total, ready + succeeded)}/${total}`), bar);
}

function detailOf(row) {
  if (row.gone) return el("span", { class: "muted" }, "no longer in the cluster");
  const text = explanation(row);
  const code = row.exitCode !== null && row.exitCode !== undefined && row.exitCode !== 0 && el("span", { class: "tag code" }, `exit ${row.exitCode}`);
  return [code, row.progress && progressBar(row.progress), el("span", { title: text }, text)];
}
