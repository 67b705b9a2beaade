// The pane that shows a log: the lines around an offset, or the end, which it follows while the log grows.
//
// There is no gap in what it shows: parts that the socket skipped are loaded over HTTP, at once if the end is
// followed. It draws about 70 lines (`virtual.js`); `logwindow.js` limits how much of the log is in memory.

import { isAbort } from "./api.js";
import { el, fill } from "./el.js";
import { bytes } from "./format.js";
import { hasTime, lineNodes } from "./logline.js";
import { virtualList } from "./virtual.js";

const LINE_PX = 18;
const NEAR = 300; // lines from the edge of the window at which more is loaded
export const TAIL = -262_144;
const FAR = 1_048_576; // if more bytes than this are missing, following jumps to the end
const BUSY_MS = 50;
const BEFORE = 65_536; // bytes that are loaded before the offset of a jump

// `isLive()`: true if the log may grow; `isCut()`: true if its beginning was not kept; `isMerged()`: true if it is of
// several ranks; `linkTo(index)`: called for a link to a line; `changed()`: called when the log has changed;
// `followed(yes)`: called when following starts or stops.
export function logPane(log, { isLive, isCut, isMerged, linkTo, changed, followed }) {
  let follow = false;
  let times = false;
  let needle = "";
  let target = null; // the index of the line that the page's address links to
  let catching = false;
  let lastTop = 0;

  const scroller = el("div", { class: "log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Log" });
  const message = el("div", { class: "log-message", hidden: true });
  const place = el("input", { type: "range", min: "0", max: "1000", value: "0", "aria-label": "Position in the log", onchange: () => toShare(place.value / 1000) });
  const where = el("span", { class: "log-where" });
  const lines = virtualList(scroller, { height: LINE_PX, count: () => log.count, keyAt: (i) => log.base + i, draw, onShown: shown });
  const resized = new ResizeObserver(() => {
    if (follow) scroller.scrollTop = scroller.scrollHeight;
    lines.refresh();
  });
  resized.observe(scroller);
  scroller.addEventListener("scroll", scrolled, { passive: true });

  function draw(index, node) {
    const line = log.line(index);
    node.classList.toggle("target", target !== null && index === target);
    if (node.shownLine === line) return;
    node.shownLine = line;
    const link = el("button", { type: "button", class: "link-line", tabindex: "-1", "aria-hidden": "true", title: "Link to this line", onclick: () => linkTo(node.key - log.base) });
    fill(node, link, lineNodes(line, { times, needle, ranks: isMerged() }));
    node.setAttribute("aria-rowindex", index + 1);
    node.key = log.base + index;
  }

  // Loads more if the edge of the window is near, and updates the position display.
  function shown(first, last) {
    if (follow) catchUp();
    else guarded(first < NEAR && log.start > log.floor ? log.moreAbove() : last > log.count - NEAR && !log.atEnd ? log.moreBelow() : null);
    const span = log.end - log.start;
    const at = log.count ? log.start + span * Math.min(1, (first + last) / 2 / log.count) : 0;
    const share = follow || !log.size ? 1 : Math.min(1, at / log.size);
    if (document.activeElement !== place) place.value = Math.round(share * 1000);
    place.setAttribute("aria-valuetext", `${Math.round(share * 100)} percent`);
    fill(where, log.size ? `${bytes(Math.round(share * log.size))} of ${bytes(log.size)}` : "", isCut() ? " · the beginning was not kept" : "");
  }

  function scrolled() {
    const top = scroller.scrollTop;
    const bottom = scroller.scrollHeight - scroller.clientHeight - top;
    if (follow && top < lastTop && bottom > 2 * LINE_PX) setFollow(false);
    else if (!follow && top > lastTop && bottom < 2 && log.atEnd && isLive()) setFollow(true);
    lastTop = top;
    lines.refresh();
  }

  // Handles a change of the log; `above` is the number of lines added above the shown ones (removed, if negative).
  function logChanged({ above, anew = false }) {
    if (anew) lines.redraw();
    if (target !== null) target += above;
    if (above) lines.shift(above);
    if (follow) toBottom();
    lines.refresh();
    changed();
  }

  function toBottom() {
    lines.setSize();
    scroller.scrollTop = scroller.scrollHeight;
  }

  function setFollow(yes) {
    follow = yes;
    followed(yes);
    if (yes) logChanged({ above: 0 });
  }

  // Loads the part between the window and the end that is followed.
  async function catchUp() {
    if (catching || log.onlyLive || !log.chunks.length) return;
    catching = true;
    const mine = log;
    await guarded((async () => {
      while (follow && mine === log && !log.atEnd && !log.busy) {
        const before = log.end;
        await (log.size - log.end > FAR ? log.jump(TAIL) : log.moreBelow());
        if (log.end === before) break; // the next change of the log calls this again
      }
    })());
    catching = false;
  }

  async function guarded(promise) {
    try {
      await promise;
    } catch (error) {
      if (!isAbort(error)) say(error.message, true);
    }
  }

  const toStart = () => guarded((async () => {
    setFollow(false);
    await log.jump(0);
    scroller.scrollTop = 0;
  })());

  const toEnd = () => guarded((async () => {
    if (!log.atEnd || !log.chunks.length) await log.jump(TAIL);
    setFollow(isLive());
    toBottom();
    lines.refresh();
  })());

  const toShare = (share) => (share >= 0.995 ? toEnd() : goTo(Math.floor(share * log.size), { pointed: false }));

  // Loads lines below until the offset is in the window; waits for a load of lines above that is in progress.
  async function loadTo(offset) {
    const mine = log;
    while (mine === log && log.indexAt(offset) === null && !log.atEnd && log.end <= offset) {
      const before = log.end;
      const wasBusy = log.busy;
      await log.moreBelow();
      if (log.end !== before) continue;
      if (!wasBusy) return;
      await new Promise((go) => setTimeout(go, BUSY_MS));
    }
  }

  function goTo(offset, { pointed = true } = {}) {
    return guarded((async () => {
      setFollow(false);
      if (log.indexAt(offset) === null && !log.onlyLive) {
        await log.jump(Math.max(0, offset - BEFORE));
        await loadTo(offset);
      }
      const index = log.indexAt(offset);
      target = pointed ? index : null;
      lines.setSize();
      lines.scrollTo(index ?? 0, 0.3);
      lines.refresh();
    })());
  }

  function say(text, problem = false) {
    message.hidden = !text;
    message.classList.toggle("problem", problem);
    fill(message, text ?? "");
  }

  return {
    nodes: [el("div", { class: "log-frame" }, scroller, message), el("div", { class: "log-foot" }, place, where)],
    get log() { return log; },
    get follow() { return follow; },
    get target() { return target; },
    get isAtBottom() { return log.atEnd && scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop < 2; },
    get firstVisible() { return lines.firstVisible(); },
    get hasTimes() { return log.count > 0 && (hasTime(log.line(log.count - 1)) || hasTime(log.line(0))); },
    logChanged, setFollow, toStart, toEnd, goTo, guarded, say,
    refresh: lines.refresh,
    focus: () => scroller.focus(),
    end: () => resized.disconnect(),
    // The byte offset of the first visible line; null: the end is followed, or the log has no offsets.
    place: () => (follow || log.onlyLive || !log.count ? null : log.offsetOf(lines.firstVisible())),
    point(index) {
      target = index;
      lines.refresh();
    },
    setTimes(yes) {
      times = yes;
      lines.redraw();
    },
    mark(text) {
      needle = text.toLowerCase();
      lines.redraw();
    },
    // Replaces the shown window by another one.
    show(other, label) {
      log = other;
      target = null;
      scroller.setAttribute("aria-label", label);
      lines.redraw();
    },
  };
}
