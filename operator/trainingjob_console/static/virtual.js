// Shows the rows of a long list that are in view, and 12 above and below: some 70 nodes, whatever its
// length. All rows have one height, so that where a row stands is a multiplication.
//
//   const list = virtualList(scroller, { height: 18, count: () => n, keyAt: (i) => ..., draw: (i, node) => ... });
//   list.refresh();
//
// A row keeps its node, and a selection in it, for as long as it is near. Limit: browsers end an
// element at 16 million pixels, so at this height 900,000 rows; `logwindow.js` keeps at most 500,000.

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

  // Forgets what is drawn: the rows will look otherwise.
  function redraw() {
    nodes.clear();
    block.replaceChildren();
    refresh();
  }

  return {
    refresh,
    redraw,
    setSize: () => sizer.style.setProperty("height", `${count() * height}px`),
    // Moves what is seen by so many rows without moving it on the screen: rows came or went above.
    shift: (rows) => {
      sizer.style.setProperty("height", `${count() * height}px`);
      scroller.scrollTop += rows * height;
    },
    scrollTo: (row, share = 0) => { scroller.scrollTop = row * height - share * scroller.clientHeight; },
    firstVisible: () => Math.floor(scroller.scrollTop / height),
  };
}
