// A plain table that can be scrolled sideways where the window is narrow.
//
//   plainTable("Ranks", ["#Rank", "State"], [[0, phaseMark("Running")], ...])
//
// A head that begins with `#` is of numbers; a cell is what `el` takes. Rows are as many as given:
// users give at most 200.

import { el } from "./el.js";

export function plainTable(label, heads, rows) {
  const kinds = heads.map((head) => (head.startsWith("#") ? "number" : null));
  const head = el("tr", {}, heads.map((each, i) => el("th", { scope: "col", class: kinds[i] }, each.replace("#", ""))));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell, i) => el("td", { class: kinds[i] }, cell))));
  return el("div", { class: "scroll-x" }, el("table", { class: "plain", "aria-label": label }, el("thead", {}, head), el("tbody", {}, body)));
}
