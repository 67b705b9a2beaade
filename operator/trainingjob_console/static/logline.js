// Renders a line of a log: rank, time, colours and search hits. Text is never parsed as HTML.
// Limits: about 16 KiB of a line are shown, and 200 hits in a line are marked.

import { ansiNodes } from "./ansi.js";
import { el } from "./el.js";
import { bytes } from "./format.js";

const LONGEST = 16_640; // the server truncates lines at 16 KiB, and appends a note
const MOST_MARKS = 200;
const RANK = /^\[rank (\d+)\] /;
const SECTION = /^(?:==>|<==) attempt \d+ rank \d+ pod /; // the headers and trailers of an archive's sections
const TIME = /^(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) /;

export function hasTime(line) {
  return typeof line === "string" && TIME.test(line.replace(RANK, ""));
}

// Returns the nodes of a line. `times`, `ranks`: show its time, its rank; `needle`: text to mark, in lower case, or "".
export function lineNodes(line, { times, needle, ranks }) {
  if (typeof line !== "string") return [el("span", { class: "gap" }, `⋯ ${line.gap} ⋯`)];
  if (SECTION.test(line)) return [el("span", { class: "section" }, line)];
  const nodes = [];
  let rest = line;
  const rank = RANK.exec(rest);
  if (rank) {
    if (ranks) nodes.push(el("span", { class: `rank rank-${rank[1] % 8}` }, rank[1]));
    rest = rest.slice(rank[0].length);
  }
  const time = TIME.exec(rest);
  if (time) {
    rest = rest.slice(time[0].length);
    if (times) nodes.push(el("span", { class: "stamp", title: time[1] }, time[2]));
  }
  rest = lastState(rest);
  const text = el("span", { class: "text" }, ansiNodes(rest.slice(0, LONGEST)));
  if (rest.length > LONGEST) text.append(el("span", { class: "cut" }, ` … ${bytes(rest.length - LONGEST)} more of this line: download the log to see them`));
  if (needle) mark(text, needle);
  nodes.push(text);
  return nodes;
}

// Returns what a terminal would show of a progress bar, which overwrites itself with `\r`.
function lastState(text) {
  if (!text.includes("\r")) return text;
  return text.split("\r").filter(Boolean).at(-1) ?? "";
}

function mark(root, needle) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  let left = MOST_MARKS;
  for (let node of texts) {
    for (; left > 0; left -= 1) {
      const at = node.data.toLowerCase().indexOf(needle);
      if (at < 0) break;
      const hit = node.splitText(at);
      node = hit.splitText(needle.length);
      const marked = el("mark");
      hit.replaceWith(marked);
      marked.append(hit);
    }
  }
}
