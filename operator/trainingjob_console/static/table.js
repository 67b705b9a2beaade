// A plain table that scrolls horizontally in a narrow window.
//
//   plainTable("Ranks", ["#Rank", "State"], [[0, phaseMark("Running")], ...])
//
// A heading that begins with `#` marks a column of numbers; a cell is any child that `el` accepts. The number of rows is
// not limited here: callers pass at most 200.

import { el } from "./el.js";

export function plainTable(label, heads, rows) {
  const kinds = heads.map((head) => (head.startsWith("#") ? "number" : null));
  const head = el("tr", {}, heads.map((each, i) => el("th", { scope: "col", class: kinds[i] }, each.replace("#", ""))));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell, i) => el("td", { class: kinds[i] }, cell))));
  return el("div", { class: "scroll-x" }, el("table", { class: "plain", "aria-label": label }, el("thead", {}, head), el("tbody", {}, body)));
}
