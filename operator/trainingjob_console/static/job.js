// The page of one job: state, timeline, ranks, files, manifest and logs.
//
// The head is updated at once on each change. The rest is reloaded at most every 2 s, and after each new
// connection: events and pods have no messages of their own. The server limits events and ranks; 200 ranks are
// shown, failed and waiting ones first. Failed loads and subscriptions are retried with back-off.

import { get, isAbort, isTransient } from "./api.js";
import { backoff } from "./backoff.js";
import { confirmAction } from "./dialog.js";
import { el, fill } from "./el.js";
import { age, bytes, exact, explanation, isOver, phaseMark, plural, whole } from "./format.js";
import { durationOf, rankBar } from "./jobrow.js";
import { addKeys } from "./keys.js";
import { logsView } from "./logs.js";
import { announce, clearFailure, failure } from "./notice.js";
import { progressDisplay } from "./progress.js";
import { go, jobAddress } from "./router.js";
import { isPermanent, subscribe } from "./socket.js";
import { connection } from "./store.js";
import { plainTable } from "./table.js";
import { timeline } from "./timeline.js";

const AGAIN_MS = 2_000;
const RANKS_SHOWN = 200;
const TABS = [["", "Overview"], ["logs", "Logs"], ["manifest", "Manifest"]];

export function jobPage(view, route, scope) {
  const { namespace, name } = route.parameters;
  let { tab = "" } = route.parameters;
  let uid = route.search.get("uid");
  let job = null;
  let dirty = null;
  let isFailureShown = false; // the user is shown that the subscription failed
  const waits = backoff();
  const pace = progressDisplay();
  let leaving = false; // the user is deleting the job on this page: nothing is reloaded any more
  let logs = null; // the log viewer, while its tab is shown
  let position = null; // the last position in the server's changes that this page has received
  let leave = null;
  document.title = `${name} · Training jobs`;

  const head = el("div", { class: "job-head" });
  const tabs = el("nav", { class: "tabs", "aria-label": "Parts of this job" });
  const body = el("div", { class: "tab-body" });
  fill(view, el("p", { class: "crumbs" }, el("a", { href: "/jobs" }, "Jobs"), " / ",
    el("a", { href: `/jobs?namespace=${encodeURIComponent(namespace)}` }, namespace)), head, tabs, body);
  fill(head, el("h1", {}, name));

  async function load() {
    try {
      if (!uid) uid = await uidOf(namespace, name, scope.signal);
      job = await get(`/api/jobs/${encodeURIComponent(uid)}`, {}, scope.signal);
    } catch (error) {
      if (isAbort(error)) return;
      const isRetried = isTransient(error);
      if (job === null) fill(body, notThere(error));
      else if (error.status === 404) wasDeleted();
      else if (!isRetried) failure(error); // while the console is unavailable, the strip says so
      if (isRetried) loadSoon(waits.next());
      return;
    }
    if (isFailureShown) clearFailure();
    isFailureShown = false;
    showHead();
    showTab();
    if (!leave && !scope.signal.aborted) follow();
  }

  // Subscribes from the position of the loaded page. If the server no longer has that position, the page is reloaded.
  function follow() {
    position = job.position;
    let connections = 0;
    leave = subscribe(() => {
      connections += 1;
      if (connections > 1) loadSoon();
      return { kind: "job", uid, position };
    }, received);
  }

  // Handles a job that was deleted elsewhere and has no record: the page keeps showing the last known state.
  function wasDeleted() {
    job = { ...job, rights: {}, row: { ...job.row, source: "gone", reason: null, waiting: "This job is no longer in the cluster, and has no record." } };
    showHead();
  }

  function showHead() {
    const { row, rights } = job;
    const why = explanation(row);
    const title = el("h1", {}, row.name);
    fill(head, el("div", { class: "job-title" }, title, phaseMark(row.phase),
      row.source === "history" && el("span", { class: "tag" }, "history"),
      el("span", { class: "space" }), buttons(row, rights ?? {})),
    why && el("p", { class: isOver(row) && row.phase === "Failed" ? "why why-failed" : "why" }, row.reason && el("strong", {}, row.reason), row.reason && " ", why === row.reason ? "" : why),
    el("dl", { class: "facts" }, facts(row)));
    fill(tabs, TABS.map(([part, label]) => el("a", { href: jobAddress(row, part && `/${part}`), "aria-current": part === tab ? "page" : null }, label)));
  }

  function buttons(row, rights) {
    const button = (action, label, extra = {}) => el("button", { type: "button", onclick: () => act(action), ...extra }, label);
    const living = row.source === "live" && !isOver(row);
    const wanted = [];
    if (living && rights.patch) {
      wanted.push(row.suspended ? button("resume", "Resume") : button("suspend", "Suspend"));
      if (!row.shutdown) wanted.push(button("stop", "Stop"));
      else if (row.shutdown !== "Immediate") wanted.push(button("terminate", "Stop at once"));
    }
    if (rights.create && isOver(row)) wanted.push(button("run-again", "Run again", { class: "primary" }));
    if (row.source === "live" && rights.delete) wanted.push(button("delete", "Delete", { class: "danger" }));
    return el("span", { class: "buttons" }, wanted);
  }

  function facts(row) {
    const pairs = [
      ["Ranks", rankBar(row.ranks)], ["Progress", pace.show(row)], ["Duration", durationOf(row)], ["Created", age(row.created)],
      ["Started", row.started && age(row.started)], ["Ended", row.completed && age(row.completed)],
      ["Attempt", row.attempt === null || row.attempt === undefined ? null : `${row.attempt + 1}`], ["Restarts", row.restarts ? String(row.restarts) : null],
      ["Exit code", row.exitCode ?? null], ["Record", row.record && row.record !== "NotRequired" ? row.record : null],
      ["Shutdown", row.shutdown], ["Labels", labelsOf(row.labels)],
    ];
    return pairs.filter(([, value]) => value !== null && value !== undefined && value !== false)
      .map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)));
  }

  function showTab() {
    if (tab === "logs") {
      if (!logs) {
        body.replaceChildren();
        logs = logsView(body, job, scope);
      }
      logs.jobChanged(job);
      return;
    }
    logs?.end();
    logs = null;
    if (tab === "manifest") manifest();
    else fill(body, overview());
  }

  function overview() {
    const { ranks, files } = job;
    return el("div", { class: "overview" },
      el("div", {}, el("section", {}, el("h2", {}, "Ranks"), ranks?.length ? ranksTable(ranks) : el("p", { class: "muted" }, "No pod has been created yet.")),
        files && el("section", {}, el("h2", {}, "Files"), filesOf(files))),
      el("section", {}, el("h2", {}, "Timeline"), timeline(job)));
  }

  function ranksTable(ranks) {
    const weight = { Failed: 0, Waiting: 1, Terminating: 2, Running: 3, Gone: 4, Succeeded: 5 };
    const sorted = ranks.length > RANKS_SHOWN ? [...ranks].sort((a, b) => (weight[a.state] ?? 9) - (weight[b.state] ?? 9) || a.rank - b.rank) : ranks;
    const mono = (text) => el("span", { class: "mono" }, text ?? "–");
    const cells = (rank) => [rank.rank, [phaseMark(rank.state), rank.reason && el("div", { class: "muted small" }, rank.reason)],
      el("a", { href: `${jobAddress(job.row, "/logs")}&rank=${rank.rank}`, "aria-label": `Logs of rank ${rank.rank}` }, "Logs"),
      rank.exitCode ?? "–", mono(rank.pod), mono(rank.node), whole(rank.restarts), age(rank.started)];
    return [plainTable("Ranks", ["#Rank", "State", "Log", "#Exit", "Pod", "Node", "#Restarts", "Started"], sorted.slice(0, RANKS_SHOWN).map(cells)),
    ranks.length > RANKS_SHOWN && el("p", { class: "muted" }, `${RANKS_SHOWN} of ${plural(ranks.length, "rank")}, failed and waiting ones first.`)];
  }

  function manifest() {
    const copy = el("button", { type: "button", onclick: async () => {
      try {
        await navigator.clipboard.writeText(job.manifest);
        announce("The manifest has been copied.");
      } catch {
        failure(new Error("The browser allows copying only over HTTPS or on localhost. Select the text instead."));
      }
    } }, "Copy");
    if (body.dataset.manifest === job.manifest && body.querySelector("pre.manifest")) return;
    body.dataset.manifest = job.manifest;
    fill(body, el("div", { class: "toolbar" }, copy), el("pre", { class: "manifest", tabindex: "0", "aria-label": "Manifest" }, job.manifest ?? ""));
  }

  async function act(action) {
    leaving = action === "delete";
    const results = await confirmAction(action, [job.row]);
    const again = results?.find((result) => result.ok && result.name);
    if (action === "run-again" && again) go(jobAddress({ namespace, name: again.name, uid: null }));
    else if (action === "delete" && results?.some((result) => result.ok)) go("/jobs");
    else {
      leaving = false;
      if (!results) return;
      stopWaiting();
      loadSoon();
    }
  }

  function loadSoon(wait = 0) {
    if (dirty || leaving) return;
    dirty = setTimeout(() => {
      dirty = null;
      load();
    }, Math.max(AGAIN_MS, wait));
  }

  function stopWaiting() {
    clearTimeout(dirty);
    dirty = null;
  }

  // Handles the end of a subscription: the job is reloaded, which subscribes again.
  function subscriptionEnded({ type, reason, message: words }) {
    leave?.();
    leave = null;
    if (type === "error") {
      failure(new Error(words));
      isFailureShown = true;
    }
    if (isPermanent(reason)) return;
    stopWaiting();
    loadSoon(waits.next());
  }

  function received(message) {
    if (message.seq) position = message.seq;
    if (message.type === "error" || message.type === "resync") {
      subscriptionEnded(message);
      return;
    }
    if (message.type === "delta") waits.worked();
    const rows = message.rows ?? (message.row ? [message.row] : []);
    const row = rows.find((each) => each.uid === uid);
    if (row && job) {
      job = { ...job, row };
      showHead();
      logs?.jobChanged(job);
    }
    if (["delta", "snapshot"].includes(message.type)) loadSoon();
  }

  function show(found) {
    tab = found.parameters.tab ?? "";
    if (!job) return;
    showHead();
    showTab();
    logs?.addressChanged(found.search);
  }

  load();
  const to = (part) => () => go(jobAddress({ namespace, name, uid }, part));
  scope.add(stopWaiting, connection.watch(({ state }) => {
    if (state !== "open" || !dirty) return;
    stopWaiting(); // the console is available again: reload without the rest of the back-off
    loadSoon();
  }), () => leave?.(), () => logs?.end(), addKeys({
    o: [to(""), "Overview"], l: [to("/logs"), "Logs"], m: [to("/manifest"), "Manifest"], u: [() => go("/jobs"), "Back to the list"],
  }));
  return show;
}

// Returns the uid of the newest job with this name, for addresses without a uid.
async function uidOf(namespace, name, signal) {
  for (let tries = 0; ; tries += 1) {
    const { items } = await get("/api/jobs", { namespace, text: name, sort: "-created", limit: 200 }, signal);
    const found = items.find((row) => row.name === name && row.namespace === namespace);
    if (found) return found.uid;
    // The console's watch may not have received a job that was just created.
    if (tries === 3) throw new Error(`There is no job ${name} in ${namespace}, and no record of one.`);
    await new Promise((resolve) => { setTimeout(resolve, 500); });
  }
}

function notThere(error) {
  return el("div", { class: "empty", role: "alert" }, el("h2", {}, "This job cannot be shown"), el("p", {}, error.message),
    el("p", {}, el("a", { href: "/jobs" }, "Show all jobs")));
}

function labelsOf(labels) {
  const pairs = Object.entries(labels ?? {}).slice(0, 20);
  return pairs.length ? pairs.map(([key, value]) => el("a", { class: "tag", href: `/jobs?label=${encodeURIComponent(`${key}=${value}`)}`, title: `All jobs with ${key}=${value}` }, `${key}=${value}`)) : null;
}

function filesOf({ path, bytes: size, goesAt, kept }) {
  return el("p", {}, el("code", {}, path), size ? ` · ${bytes(size)}` : " · no files yet",
    kept ? " · kept" : goesAt && [" · removed by age on or after ", el("time", { datetime: goesAt, title: exact(goesAt) }, new Date(goesAt).toLocaleDateString("en-GB", { dateStyle: "medium" }))]);
}

