// Versions, limits and how much of them is used, and what is wrong now with what to do about it.

import { get, isAbort } from "./api.js";
import { el, fill } from "./el.js";
import { bytes, phaseMark, whole } from "./format.js";
import { failure } from "./notice.js";
import { session } from "./store.js";
import { plainTable } from "./table.js";

const EVERY_MS = 15_000;
// What the console calls its limits, in words; one that is not here is shown as it is called.
const WORDS = {
  jobs: "Jobs of the cluster", jobs_bytes: "Memory of these jobs", sockets: "Open pages", queued_bytes: "Memory of what waits for pages",
  connections: "HTTP connections", log_streams: "Logs that are followed", archive_reads: "Archived logs that are read", live_reads: "Logs of pods that are read",
  first_errors: "Logs whose first error is remembered",
  samples: "Samples of the operators", sweeps: "Runs of the housekeeping", owners: "Log-ins that are remembered", rights: "Rights that are remembered",
  unknown_tokens: "Refused log-ins that are remembered", refused_rights: "Refused rights that are remembered",
  long_works: "Lists that are being made", token_checks: "Log-ins that are being checked", history_calls: "Calls of the record service", running_requests: "Requests that are being answered",
  handshakes: "TLS handshakes", job_reads: "Jobs that are read for their page", large_answers: "Large answers of the API server that are read",
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
      if (error.status === 404) fill(body, versions(session.get()?.version ?? "–", [])); // this console knows no limits
      else if (!isAbort(error)) failure(error);
    }
  }

  scope.every(EVERY_MS, load);
  load();
}

function problemsList(problems) {
  if (!problems.length) return el("p", { class: "alert alert-none" }, phaseMark("Succeeded").firstChild, "Nothing is known to be wrong.");
  return el("ul", { class: "alerts" }, problems.map(({ message, todo }) => el("li", { class: "alert alert-warning" }, el("strong", {}, message), todo && el("span", {}, todo))));
}

function versions(version, operators) {
  const { user, mode, namespaces } = session.get() ?? {};
  const facts = [["Console", version], ...operators.map(({ pod, version: its, leader, up }) => [`Operator ${pod}`, `${its ?? "–"}${leader ? ", leads" : ""}${up === false ? ", does not answer" : ""}`]),
    ["You are", user && mode !== "none" ? user.name : "not asked for: the page is on this machine only"],
    ["You see", namespaces ? namespaces.join(", ") || "none of the namespaces that have live jobs now" : "all namespaces"]];
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
  return el("section", {}, el("h2", {}, "Limits"), plainTable("Limits", ["What", "#Used", "#Limit", "Share"], [...limits].sort(byFullness).map(cells)));
}

// What is fullest first; of what is as empty, in the order of the words above.
function byFullness(a, b) {
  const share = ({ used, limit }) => (limit ? Math.round((100 * (used ?? 0)) / limit) : 0);
  const place = ({ name }) => (Object.keys(WORDS).indexOf(name) + 1) || Infinity;
  return share(b) - share(a) || place(a) - place(b);
}
