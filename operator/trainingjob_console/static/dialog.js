// Dialogs, built on the browser's <dialog>, which traps the focus and restores it on close. One is open at a time.
// A dialog lists at most 100 jobs, the maximum of one action.

import { isAbort, post } from "./api.js";
import { el, fill } from "./el.js";
import { plural } from "./format.js";
import { allKeys } from "./keys.js";
import { announce, failure } from "./notice.js";

export const MOST_AT_ONCE = 100;

export const ACTIONS = {
  suspend: { verb: "Suspend", done: "suspended" },
  resume: { verb: "Resume", done: "resumed" },
  stop: { verb: "Stop", done: "asked to stop", danger: true },
  terminate: { verb: "Stop at once", done: "asked to stop at once", danger: true },
  delete: { verb: "Delete", done: "deleted", danger: true },
  "run-again": { verb: "Run again", done: "started again" },
};

export function closeDialog() {
  document.querySelector("dialog[open]")?.close();
}

function open(title, body, buttons, { wide = false } = {}) {
  const heading = el("h2", { id: "dialog-title" }, title);
  const form = el("form", { method: "dialog" }, heading, body, el("div", { class: "dialog-buttons" }, buttons));
  const node = el("dialog", { "aria-labelledby": "dialog-title", class: wide ? "wide" : "" }, form);
  node.addEventListener("close", () => node.remove());
  node.addEventListener("click", (event) => {
    if (event.target === node) node.close();
  });
  document.body.append(node);
  node.showModal();
  return node;
}

// Shows the server's dry run of an action for each job, and executes the action when the user confirms it.
// Resolves to the results, or to null if the dialog was cancelled.
export function confirmAction(action, jobs) {
  const { verb, danger } = ACTIONS[action];
  const named = jobs.slice(0, MOST_AT_ONCE).map(({ namespace, name, uid }) => ({ namespace, name, uid }));
  const title = jobs.length === 1 ? `${verb} ${jobs[0].name}?` : `${verb} ${plural(named.length, "job")}?`;
  const body = el("div", { class: "dialog-body" }, el("p", { class: "muted" }, "Checking what this would do …"));
  const confirm = el("button", { type: "button", class: danger ? "danger" : "primary", disabled: true }, verb);
  const cancel = el("button", { value: "cancel", autofocus: true }, "Cancel");
  const leaving = new AbortController();
  const node = open(title, body, [cancel, confirm]);

  return new Promise((resolve) => {
    node.addEventListener("close", () => {
      leaving.abort();
      resolve(null);
    });
    preview(action, named, body, leaving.signal).then((possible) => {
      confirm.disabled = possible.length === 0;
      confirm.addEventListener("click", async () => {
        confirm.disabled = true;
        fill(confirm, "Working …");
        try {
          const { results } = await post("/api/actions", { action, jobs: possible, dryRun: false });
          report(action, possible, results);
          resolve(results);
        } catch (error) {
          failure(error);
        }
        node.close();
      });
    }).catch((error) => {
      if (!isAbort(error)) fill(body, el("p", { class: "problem", role: "alert" }, error.message));
    });
  });
}

// Shows the dry run; returns the jobs on which the action is possible.
async function preview(action, jobs, body, signal) {
  const { results } = await post("/api/actions", { action, jobs, dryRun: true }, signal);
  const byUid = new Map(results.map((result) => [result.uid, result]));
  const possible = jobs.filter((job) => byUid.get(job.uid)?.ok);
  const lines = jobs.map((job) => {
    const result = byUid.get(job.uid);
    return el("li", { class: result?.ok ? "" : "refused" },
      el("strong", {}, job.name), " ", el("span", { class: "muted" }, job.namespace),
      el("span", { class: "effect" }, result?.message ?? "The server returned no result for it."));
  });
  const refused = jobs.length - possible.length;
  fill(body, el("ul", { class: "effects" }, lines),
    refused > 0 && el("p", { class: "problem" }, `${plural(refused, "job")} will not be changed.`));
  return possible;
}

function report(action, jobs, results) {
  const failed = results.filter((result) => !result.ok);
  const done = results.length - failed.length;
  if (done) announce(`${plural(done, "job")} ${ACTIONS[action].done}.`);
  if (failed.length) {
    const names = new Map(jobs.map((job) => [job.uid, job.name]));
    failure(new Error(failed.slice(0, 3).map((each) => `${names.get(each.uid)}: ${each.message}`).join(" ")
      + (failed.length > 3 ? ` And ${failed.length - 3} more.` : "")));
  }
}

export function showHelp() {
  const shown = { " ": "space", Enter: "↵", Escape: "esc", ArrowDown: "↓", ArrowUp: "↑" };
  const keys = allKeys().map(([key, text]) => [
    el("dt", {}, key.split(/(?<=.) /).map((each) => el("kbd", {}, shown[each] ?? each))), el("dd", {}, text)]);
  open("Keyboard shortcuts", el("dl", { class: "keys" }, keys), [el("button", { value: "close", autofocus: true }, "Close")]);
}

