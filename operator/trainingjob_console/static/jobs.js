// The list of live and deleted jobs, which the server filters, counts, sorts and pages.
//
// Rows are updated in place, and their order does not change. A new job, or one that a change moves to this page,
// is announced by "3 new jobs" until the user loads it. Limits: 200 rows per page, and nothing is kept of
// other pages; 2,000 uids of new jobs, above which it says "many".
//
// Failed loads and subscriptions are retried with back-off. So is a list that one replica of the console has served
// while the socket is connected to another, which does not know the positions of the first.

import { get, isAbort, isTransient } from "./api.js";
import { backoff } from "./backoff.js";
import { confirmAction, MOST_AT_ONCE } from "./dialog.js";
import { el, fill } from "./el.js";
import { PHASES, phaseMark, plural, secondsBetween, whole } from "./format.js";
import { jobRow } from "./jobrow.js";
import { keyedList } from "./keyed.js";
import { addKeys } from "./keys.js";
import { announce, clearFailure, failure } from "./notice.js";
import { go, jobAddress, refine } from "./router.js";
import { isPermanent, subscribe } from "./socket.js";
import { connection } from "./store.js";

const PAGE = 100;
const MOST_NEW = 2_000;
const COLUMNS = [
  ["", "select"], ["Phase", "phase-cell", "phase"], ["Name", "name", "name"], ["Namespace", "where"], ["Ranks", "ranks"],
  ["Restarts", "number"], ["Created", "age", "created"], ["Duration", "age lasted", "duration"], ["Detail", "detail"],
];
const LISTED_AGAIN_MS = 1_000;
const NEWEST = "-created"; // the others have one direction: names and phases ascending, the longest duration first
const PERIODS = [["", "Any time"], ["1h", "Last hour"], ["1d", "Last day"], ["7d", "Last 7 days"], ["30d", "Last 30 days"]];
const PERIOD_MS = { "1h": 3_600_000, "1d": 86_400_000, "7d": 604_800_000, "30d": 2_592_000_000 };
const BULK = ["suspend", "resume", "stop", "delete"];

export function jobsPage(view, route, scope) {
  document.title = "Training jobs";
  const rows = new Map(); // uid -> row, of this page of the list
  const selected = new Set();
  const fresh = new Set(); // uids of jobs that are not in this list yet
  let search = route.search;
  let answer = null;
  let leave = null;
  let asked = null;
  let cursorAt = -1;
  let since = null; // of the loaded list, so that rows, counts and the subscription have the same filter
  let again = null;
  let isFailureShown = false;
  const waits = backoff();

  const text = el("input", { type: "search", placeholder: "Name …", "aria-label": "Search in names", class: "search", oninput: () => typed() });
  const label = el("input", { type: "text", placeholder: "label=value", "aria-label": "Filter by labels", spellcheck: "false",
    onchange: () => refine({ label: label.value.trim(), cursor: null }) });
  const namespace = el("select", { "aria-label": "Namespace", onchange: () => refine({ namespace: namespace.value, cursor: null }) });
  const period = el("select", { "aria-label": "Running or ended within", onchange: () => refine({ period: period.value, cursor: null }) },
    PERIODS.map(([value, name]) => el("option", { value }, name)));
  const chips = el("div", { class: "chips", role: "group", "aria-label": "Phase" });
  const freshBar = el("button", { type: "button", class: "fresh", hidden: true, onclick: () => newest() });
  const freshLive = el("div", { role: "status", "aria-live": "polite" }, freshBar);
  const bulk = el("div", { class: "bulk", role: "region", "aria-label": "Selected jobs", hidden: true });
  const all = el("input", { type: "checkbox", "aria-label": "Select all jobs of this page", onchange: () => chooseAll(all.checked) });
  const heads = COLUMNS.map(([name, kind, sort]) => head(name, kind, sort));
  const body = el("tbody");
  const table = el("table", { class: "jobs", "aria-label": "Jobs" }, el("thead", {}, el("tr", {}, heads)), body);
  const empty = el("div", { class: "empty", hidden: true });
  const foot = el("div", { class: "foot" });
  const list = keyedList(body, (row) => row.uid, (row) => jobRow(row, { isChosen: (uid) => selected.has(uid), choose }));
  fill(view, el("h1", { class: "hidden" }, "Jobs"),
    el("div", { class: "filters", role: "search" }, text, namespace, label, period), chips, freshLive, bulk,
    el("div", { class: "scroll-x" }, table), empty, foot);

  function head(name, kind, sort) {
    if (kind === "select") return el("th", { class: kind, scope: "col" }, all);
    if (!sort) return el("th", { class: kind, scope: "col" }, name);
    return el("th", { class: kind, scope: "col", "data-sort": sort }, el("button", { type: "button", onclick: () => {
      const now = search.get("sort") ?? NEWEST;
      refine({ sort: sort === "created" ? (now === NEWEST ? "created" : null) : now === sort ? null : sort, cursor: null });
    } }, name));
  }

  function filter() {
    const labels = (search.get("label") ?? "").split(/[\s,]+/).filter(Boolean);
    return { namespace: search.get("namespace"), phase: search.get("phase"), label: labels, text: search.get("text"), since };
  }

  async function load({ quiet = false } = {}) {
    asked?.abort();
    asked = new AbortController();
    const signal = AbortSignal.any([asked.signal, scope.signal]);
    stopWaiting();
    since = beginOf(search.get("period"));
    if (!quiet) table.setAttribute("aria-busy", "true");
    try {
      answer = await get("/api/jobs", { ...filter(), sort: search.get("sort"), cursor: search.get("cursor"), limit: PAGE }, signal);
    } catch (error) {
      if (isAbort(error)) return;
      // A transient error of automatic reloads is shown once; status 0 not at all, because the strip reports it.
      const isRetried = isTransient(error);
      if (!quiet || !isRetried || (!isFailureShown && error.status !== 0)) showFailure(error);
      if (isRetried) loadSoon();
      return;
    } finally {
      table.removeAttribute("aria-busy");
    }
    stopWaiting();
    if (isFailureShown) clearFailure();
    isFailureShown = false;
    rows.clear();
    fresh.clear();
    for (const row of answer.items) rows.set(row.uid, row);
    for (const uid of selected) if (!rows.has(uid)) selected.delete(uid);
    list.show(answer.items);
    showCounts(answer);
    showFresh();
    showBulk();
    follow();
    if (answer.live?.complete === false) again = setTimeout(() => load({ quiet: true }), LISTED_AGAIN_MS);
  }

  function loadSoon() {
    again ??= setTimeout(() => load({ quiet: true }), waits.next());
  }

  function stopWaiting() {
    clearTimeout(again);
    again = null;
  }

  function showFailure(error) {
    failure(error);
    isFailureShown = true;
  }

  // Subscribes from the position of the loaded list, so that no change in between is missed.
  function follow() {
    leave?.();
    leave = subscribe(() => ({ kind: "jobs", filter: filter(), position: answer.position }), (message) => {
      if (message.seq) answer.position = message.seq;
      if (message.type === "delta") {
        waits.worked();
        changed(message);
      } else if (message.type === "resync" || message.type === "error") {
        subscriptionEnded(message);
      }
    });
  }

  // Handles the end of a subscription: the list is reloaded, which subscribes again.
  function subscriptionEnded({ type, reason, message: words }) {
    leave?.();
    leave = null;
    if (type === "error") showFailure(new Error(words));
    if (!isPermanent(reason)) loadSoon();
  }

  function changed({ rows: changes = [], gone = [], counts, total }) {
    for (const row of changes) {
      if (rows.has(row.uid)) {
        rows.set(row.uid, row);
        list.update(row);
      } else if (fresh.size < MOST_NEW && belongsHere(row)) {
        fresh.add(row.uid);
      }
    }
    for (const uid of gone) {
      fresh.delete(uid);
      const row = rows.get(uid);
      if (!row || row.source !== "live") continue;
      selected.delete(uid);
      rows.set(uid, { ...row, gone: true });
      list.update(rows.get(uid));
    }
    if (counts) showCounts({ ...answer, counts, total: total ?? answer.total });
    // An empty list has no order to keep, so it is reloaded at once.
    if (fresh.size && rows.size === 0) load({ quiet: true });
    else showFresh();
    showBulk();
  }

  // Returns true if the row sorts into this page, and not into an earlier or later one.
  function belongsHere(row) {
    const shown = [...rows.values()];
    const order = ORDERS[search.get("sort") ?? NEWEST] ?? ORDERS[NEWEST];
    const afterFirst = !search.get("cursor") || (shown.length > 0 && order(row, shown[0]) >= 0);
    return afterFirst && (!answer.next || shown.length === 0 || order(row, shown.at(-1)) <= 0);
  }

  function showFresh() {
    freshBar.hidden = fresh.size === 0;
    fill(freshBar, fresh.size >= MOST_NEW ? "Many new jobs · show them" : `${plural(fresh.size, "new job")} · show ${fresh.size === 1 ? "it" : "them"}`);
  }

  function newest() {
    if (search.get("cursor")) refine({ cursor: null });
    else load();
    scrollTo(0, 0);
  }

  function showCounts(now) {
    answer = now;
    const { counts, total, namespaces } = now;
    const chosen = search.get("phase") ?? "";
    const sum = Object.values(counts).reduce((a, b) => a + b, 0);
    const chip = (phase, count) => el("button", { type: "button", class: "chip", "aria-pressed": String(phase === chosen),
      onclick: () => refine({ phase: phase === chosen ? null : phase, cursor: null }) },
    phase ? phaseMark(phase) : "All", el("span", { class: "count" }, whole(count)));
    const focused = [...chips.children].indexOf(document.activeElement);
    fill(chips, chip("", sum), PHASES.filter((phase) => counts[phase] || phase === chosen).map((phase) => chip(phase, counts[phase] ?? 0)));
    chips.children[focused]?.focus();
    const options = ["", ...namespaces];
    if (search.get("namespace") && !options.includes(search.get("namespace"))) options.push(search.get("namespace"));
    if (namespace.dataset.options !== options.join()) {
      namespace.dataset.options = options.join();
      fill(namespace, options.map((name) => el("option", { value: name }, name || "All namespaces")));
    }
    namespace.value = search.get("namespace") ?? "";
    showEmpty();
    const next = el("button", { type: "button", disabled: !now.next, onclick: () => refine({ cursor: now.next }) }, "Next page");
    const first = el("button", { type: "button", disabled: !search.get("cursor"), onclick: () => refine({ cursor: null }) }, "First page");
    const isAll = !now.next && !search.get("cursor");
    const live = `${whole(total)} in the cluster${now.totalIsPartial ? ", and the history" : ""}`; // history is not counted
    fill(foot, el("span", {}, isAll ? plural(rows.size, "job") : `${whole(rows.size)} of ${live}`),
      now.history && !now.history.available && now.history.message && el("span", { class: "muted" }, now.history.message),
      el("span", { class: "space" }), (now.next || search.get("cursor")) && [first, next]);
  }

  function showEmpty() {
    const nothing = rows.size === 0;
    empty.hidden = !nothing;
    table.hidden = nothing;
    const filtered = ["namespace", "phase", "label", "text", "period", "cursor"].some((name) => search.get(name));
    chips.hidden = nothing && !filtered;
    foot.hidden = chips.hidden;
    if (!nothing) return;
    if (answer.live?.complete === false) {
      fill(empty, el("h2", {}, "Reading the jobs of the cluster …"), el("p", { class: "muted" }, "The console has just started, or the API server does not answer yet."));
    } else if (filtered) {
      fill(empty, el("h2", {}, "No job matches"), el("p", {}, el("button", { type: "button", onclick: () => go("/jobs") }, "Clear all filters")));
    } else {
      fill(empty, el("h2", {}, "No training jobs yet"), el("p", {}, "Create the first one. It appears in this list at once:"),
        el("pre", { class: "command" }, "kubectl apply -f manifests/samples/digits.yaml"),
        el("p", { class: "muted" }, "Two ranks train a model on handwritten digits, in about a minute on one node."));
    }
  }

  const canBeChosen = (row) => row.source === "live" && !row.gone;

  function choose(uid, yes) {
    if (yes) selected.add(uid);
    else selected.delete(uid);
    showBulk();
  }

  function chooseAll(yes) {
    for (const row of rows.values()) {
      if (yes && canBeChosen(row)) selected.add(row.uid);
      else selected.delete(row.uid);
      list.update(row);
    }
    showBulk();
  }

  function showBulk() {
    const jobs = [...selected].map((uid) => rows.get(uid));
    all.checked = jobs.length > 0 && jobs.length === [...rows.values()].filter(canBeChosen).length;
    all.indeterminate = jobs.length > 0 && !all.checked;
    bulk.hidden = jobs.length === 0;
    if (bulk.dataset.chosen === [...selected].join()) return;
    bulk.dataset.chosen = [...selected].join();
    fill(bulk, el("strong", {}, `${plural(jobs.length, "job")} selected`),
      BULK.map((action) => el("button", { type: "button", class: action === "delete" ? "danger" : "", onclick: () => act(action) },
        { suspend: "Suspend …", resume: "Resume …", stop: "Stop …", delete: "Delete …" }[action])),
      el("span", { class: "space" }), el("button", { type: "button", class: "quiet", onclick: () => chooseAll(false) }, "Clear selection"));
  }

  async function act(action) {
    const jobs = [...selected].map((uid) => rows.get(uid));
    if (jobs.length > MOST_AT_ONCE) announce(`Only the first ${MOST_AT_ONCE} jobs are included.`);
    const results = await confirmAction(action, jobs);
    for (const result of results ?? []) {
      selected.delete(result.uid);
      const row = rows.get(result.uid);
      if (row) list.update(row);
    }
    showBulk();
  }

  let typing = null;
  function typed() {
    clearTimeout(typing);
    typing = setTimeout(() => refine({ text: text.value.trim(), cursor: null }, { replace: true }), 250);
  }

  function move(step) {
    const links = [...body.querySelectorAll("a.job-name")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement.closest?.("tr")?.querySelector("a.job-name") ?? null);
    cursorAt = Math.min(links.length - 1, Math.max(0, (at < 0 ? cursorAt : at) + step));
    links[cursorAt].focus();
  }

  function focusedRow() {
    return rows.get(document.activeElement.closest?.("tr[data-uid]")?.dataset.uid);
  }

  function withFocused(work) {
    const row = focusedRow();
    if (row) work(row);
  }

  function show(found) {
    search = found.search;
    if (document.activeElement !== text) text.value = search.get("text") ?? "";
    label.value = search.get("label") ?? "";
    period.value = search.get("period") ?? "";
    const sort = search.get("sort") ?? NEWEST;
    for (const cell of heads) {
      if (cell.dataset.sort === sort.replace("-", "")) cell.setAttribute("aria-sort", [NEWEST, "duration"].includes(sort) ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    leave?.();
    leave = null;
    load();
  }

  scope.add(() => leave?.(), () => asked?.abort(), () => clearTimeout(typing), stopWaiting, connection.watch(({ state }) => {
    if (state === "open" && again) load({ quiet: true }); // available again: reload without the rest of the back-off
  }), addKeys({
    "/": [() => text.focus(), "Search"],
    j: [() => move(1), "Next job"],
    k: [() => move(-1), "Previous job"],
    Enter: [() => withFocused((row) => go(jobAddress(row))), "Open the job"],
    l: [() => withFocused((row) => go(jobAddress(row, "/logs"))), "Open its logs"],
    x: [() => withFocused((row) => {
      if (canBeChosen(row)) choose(row.uid, !selected.has(row.uid));
      list.update(row);
    }), "Select or deselect the job"],
    r: [() => newest(), "Reload the list"],
    Escape: [() => document.activeElement.blur(), "Leave the field"],
  }));
  show(route);
  return show;
}

// Returns the begin of a period, rounded to a minute, so that pages opened within it have equal filters.
function beginOf(name) {
  const length = PERIOD_MS[name];
  return length ? new Date(Math.floor((Date.now() - length) / 60_000) * 60_000).toISOString().replace(/\.\d+/, "") : null;
}

const texts = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const lasted = (row) => secondsBetween(row.started, row.completed) ?? 0;
// The comparators of the sort orders, equal to the server's.
const ORDERS = {
  "-created": (a, b) => texts(b.created ?? "", a.created ?? ""),
  created: (a, b) => texts(a.created ?? "", b.created ?? ""),
  name: (a, b) => texts(`${a.name}/${a.namespace}`, `${b.name}/${b.namespace}`),
  phase: (a, b) => texts(a.phase, b.phase),
  duration: (a, b) => lasted(b) - lasted(a),
};
