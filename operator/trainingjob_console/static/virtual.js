// A virtual list: draws only the rows of a long list that are in view, and 12 above and below: about 70 nodes.
// All rows have the same height, so the position of a row is a multiplication.
//
//   const list = virtualList(scroller, { height: 18, count: () => n, keyAt: (i) => ..., draw: (i, node) => ... });
//   list.refresh();
//
// A row keeps its node, and a text selection in it, while it is near the view. Limit: browsers limit the height of an
// element to 16 million pixels, at this row height 900,000 rows; `logwindow.js` holds at most 500,000.

import { el } from "./el.js";

const AROUND = 12;

export function virtualList(scroller, { height, count, keyAt, draw, onShown = () => {} }) {
  const block = el("div", { class: "virtual-block" });
  const sizer = el("div", { class: "virtual-size" }, block);
  scroller.replaceChildren(sizer);
  const nodes = new Map(); // key -> node
  let asked = false;

  function refresh() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(drawNow);
  }

  function drawNow() {
    asked = false;
    const rows = count();
    const first = Math.max(0, Math.floor(scroller.scrollTop / height) - AROUND);
    const last = Math.min(rows, Math.ceil((scroller.scrollTop + scroller.clientHeight) / height) + AROUND);
    sizer.style.setProperty("height", `${rows * height}px`);
    block.style.setProperty("transform", `translateY(${first * height}px)`);
    const wanted = new Set();
    for (let i = first; i < last; i += 1) wanted.add(keyAt(i));
    for (const [key, node] of nodes) {
      if (!wanted.has(key)) {
        node.remove();
        nodes.delete(key);
      }
    }
    let next = block.firstChild;
    for (let i = first; i < last; i += 1) {
      const node = nodes.get(keyAt(i)) ?? made(keyAt(i));
      draw(i, node);
      if (node === next) next = next.nextSibling;
      else block.insertBefore(node, next);
    }
    onShown(first, last);
  }

  function made(key) {
    const node = el("div", { class: "line" });
    nodes.set(key, node);
    return node;
  }

  // Discards all nodes and draws the rows anew, because their look has changed.
  function redraw() {
    nodes.clear();
    block.replaceChildren();
    refresh();
  }

  return {
    refresh,
    redraw,
    setSize: () => sizer.style.setProperty("height", `${count() * height}px`),
    // Corrects the scroll position after rows were added or removed above, so that the view does not move.
    shift: (rows) => {
      sizer.style.setProperty("height", `${count() * height}px`);
      scroller.scrollTop += rows * height;
    },
    scrollTo: (row, share = 0) => { scroller.scrollTop = row * height - share * scroller.clientHeight; },
    firstVisible: () => Math.floor(scroller.scrollTop / height),
  };
}
