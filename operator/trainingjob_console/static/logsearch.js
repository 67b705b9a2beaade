// The log search, which the server executes: a search field, and a panel with at most 1,000 hits. A search that
// reached its deadline shows how far it got, and can be continued.

import { el, fill } from "./el.js";
import { bytes, plural } from "./format.js";
import { isAbort } from "./api.js";
import { plainText } from "./ansi.js";

const SHOWN_OF_A_LINE = 300;

// `search(text, from)` resolves to {hits: [{offset, line}], scanned, complete}.
export function logSearch({ search, goTo, mark }) {
  let hits = [];
  let at = -1;
  let text = "";
  let turn = 0;
  const input = el("input", { type: "search", placeholder: "Search …", "aria-label": "Search in the log", onkeydown: pressed });
  const field = el("span", { class: "log-search" }, input);
  const summary = el("span", { role: "status", "aria-live": "polite" });
  const more = el("button", { type: "button", hidden: true }, "Continue the search");
  const before = el("button", { type: "button", "aria-label": "Previous hit", onclick: () => step(-1) }, "↑");
  const next = el("button", { type: "button", "aria-label": "Next hit", onclick: () => step(1) }, "↓");
  const close = el("button", { type: "button", class: "quiet", "aria-label": "End the search", onclick: () => reset() }, "✕");
  const list = el("ol", { class: "hits" });
  const panel = el("div", { class: "hits-panel", hidden: true }, el("div", { class: "toolbar" }, summary, before, next, more, el("span", { class: "space" }), close), list);

  function pressed(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const wanted = input.value.trim();
    if (wanted && wanted === text) step(event.shiftKey ? -1 : 1);
    else if (wanted) find(wanted, 0);
    else reset();
  }

  async function find(wanted, from) {
    turn += 1;
    const mine = turn;
    text = wanted;
    if (from === 0) {
      hits = [];
      at = -1;
      fill(list);
    }
    panel.hidden = false;
    more.hidden = true;
    fill(summary, "Searching …");
    mark(wanted);
    try {
      const answer = await search(wanted, from);
      if (mine !== turn) return;
      show(answer, from);
    } catch (error) {
      if (!isAbort(error) && mine === turn) fill(summary, error.message);
    }
  }

  function show({ hits: found, scanned, complete }, from) {
    hits = from ? [...hits, ...found].slice(-1000) : found;
    fill(list, hits.map(({ offset, line }, i) => el("li", {}, el("button", { type: "button", onclick: () => go(i) },
      el("span", { class: "hit-place" }, bytes(offset)), plainText(line).slice(0, SHOWN_OF_A_LINE)))));
    const full = found.length >= 1000;
    fill(summary, hits.length ? `${plural(hits.length, "hit")}${full ? ", the first ones" : ""}` : complete ? "Not found" : "No hit yet",
      !complete && !full ? ` in the first ${bytes(scanned)}` : "");
    more.hidden = complete && !full;
    const last = found.at(-1);
    const on = full ? last.offset + new TextEncoder().encode(last.line).length + 1 : scanned;
    more.onclick = () => find(text, on);
    if (hits.length && from === 0) go(0);
  }

  function go(index) {
    list.children[at]?.removeAttribute("aria-current");
    at = index;
    list.children[at]?.setAttribute("aria-current", "true");
    list.children[at]?.scrollIntoView({ block: "nearest" });
    goTo(hits[at].offset);
  }

  function step(by) {
    if (hits.length) go((at + by + hits.length) % hits.length);
  }

  function reset() {
    turn += 1;
    hits = [];
    at = -1;
    if (text) mark("");
    text = "";
    input.value = "";
    panel.hidden = true;
    fill(list);
  }

  return { field, panel, step, reset, focus: () => input.focus() };
}
