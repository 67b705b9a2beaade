// The About page: versions, the usage of each limit, and current problems with their remedies.

import { get, isAbort } from "./api.js";
import { el, fill } from "./el.js";
import { bytes, phaseMark, whole } from "./format.js";
import { failure } from "./notice.js";
import { session } from "./store.js";
import { plainTable } from "./table.js";

const EVERY_MS = 15_000;
// Display names of the limits; a limit without one is shown under its metric's name.
const WORDS = {
  jobs: "Jobs in memory", jobs_bytes: "Memory of these jobs", sockets: "Open pages (WebSockets)", queued_bytes: "Memory of messages queued for pages",
  connections: "HTTP connections", log_streams: "Followed logs", archive_reads: "Reads of archived logs", live_reads: "Reads of pod logs",
  first_errors: "Cached first errors of logs",
  samples: "Samples of operator metrics", sweeps: "Runs of the housekeeping", owners: "Cached log-ins", rights: "Cached rights",
  unknown_tokens: "Cached refused log-ins", refused_rights: "Cached refused rights",
  long_works: "Job lists being computed", token_checks: "Log-ins being checked", history_calls: "Calls of the record service", running_requests: "Requests in progress",
  handshakes: "TLS handshakes", job_reads: "Job pages being read", large_answers: "Large responses of the API server being read",
};

export function aboutPage(view, route, scope) {
  document.title = "About · Training jobs";
  const body = el("div");
  fill(view, el("h1", {}, "About"), body);

  async function load() {
    try {
      const { version, operators, limits, problems } = await get("/api/about", {}, scope.signal);
      fill(body, problemsList(problems ?? []), versions(version, operators ?? []), limitsTable(limits ?? []));
    } catch (error) {
      if (error.status === 404) fill(body, versions(session.get()?.version ?? "–", [])); // an older console, without this path
      else if (!isAbort(error)) failure(error);
    }
  }

  scope.every(EVERY_MS, load);
  load();
}

function problemsList(problems) {
  if (!problems.length) return el("p", { class: "alert alert-none" }, phaseMark("Succeeded").firstChild, "No known problems.");
  return el("ul", { class: "alerts" }, problems.map(({ message, todo }) => el("li", { class: "alert alert-warning" }, el("strong", {}, message), todo && el("span", {}, todo))));
}

function versions(version, operators) {
  const { user, mode, namespaces } = session.get() ?? {};
  const facts = [["Console", version], ...operators.map(({ pod, version: its, leader, up }) => [`Operator ${pod}`, `${its ?? "–"}${leader ? ", leader" : ""}${up === false ? ", does not answer" : ""}`]),
    ["User", user && mode !== "none" ? user.name : "no log-in: the page is served on this machine only"],
    ["Visible namespaces", namespaces ? namespaces.join(", ") || "none of the namespaces that have live jobs now" : "all"]];
  return el("section", {}, el("h2", {}, "Versions"), el("dl", { class: "facts" }, facts.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)))));
}

function limitsTable(limits) {
  if (!limits.length) return null;
  const cells = ({ name, used, limit }) => {
    const write = /bytes|memory/i.test(name) ? bytes : whole;
    const share = limit ? Math.min(1, (used ?? 0) / limit) : 0;
    const meter = el("meter", { min: "0", max: "1", high: "0.8", optimum: "0", value: String(share), "aria-label": `${WORDS[name] ?? name}: ${Math.round(share * 100)} percent used` });
    return [WORDS[name] ?? name.replaceAll("_", " "), write(used), write(limit), meter];
  };
  return el("section", {}, el("h2", {}, "Limits"), plainTable("Limits", ["Resource", "#Used", "#Limit", "Share"], [...limits].sort(byFullness).map(cells)));
}

// The fullest first; equally full ones in the order of WORDS.
function byFullness(a, b) {
  const share = ({ used, limit }) => (limit ? Math.round((100 * (used ?? 0)) / limit) : 0);
  const place = ({ name }) => (Object.keys(WORDS).indexOf(name) + 1) || Infinity;
  return share(b) - share(a) || place(a) - place(b);
}
