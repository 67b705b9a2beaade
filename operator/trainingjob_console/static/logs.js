// The log viewer: one for live and archived logs, of a rank or of all merged.
//
// A live log is read to its end over HTTP and followed over the socket from that byte on. When its pod
// goes and the log has been archived, the viewer goes on in the archive, at the same place, by itself.
// What it shows has no hole: what the socket left out is loaded over HTTP, at once where the end is
// followed. Only of merged live logs nothing can be loaded: a line says what is missing. They go on after
// a break from the place that each rank's log had then.
// What it keeps is bounded in `logwindow.js` (4 MiB), what it draws in `virtual.js` (some 70 lines).

import { get, isAbort } from "./api.js";
import { backoff } from "./backoff.js";
import { el, fill } from "./el.js";
import { bytes } from "./format.js";
import { addKeys } from "./keys.js";
import { hasTime, lineNodes } from "./logline.js";
import { logSearch } from "./logsearch.js";
import { LogWindow } from "./logwindow.js";
import { announce } from "./notice.js";
import { refine } from "./router.js";
import { isForGood, subscribe } from "./socket.js";
import { remember, remembered } from "./store.js";
import { virtualList } from "./virtual.js";

const LINE_PX = 18;
const NEAR = 300; // lines from the edge of the window at which more is asked for
const TAIL = -262_144;
const FAR = 1_048_576; // bytes behind the end, from which on following begins anew at the end
const BEFORE = 65_536; // bytes above a place that is jumped to
const LOOKS_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000];

export function logsView(parent, firstJob, pageScope) {
  const uid = firstJob.row.uid;
  const base = `/api/jobs/${encodeURIComponent(uid)}/logs`;
  const ending = new AbortController();
  const signal = AbortSignal.any([ending.signal, pageScope.signal]);
  let job = firstJob;
  let search = new URLSearchParams(location.search);
  let sources = [];
  let source = null; // of `sources`, or the one that merges them
  let opened = new AbortController(); // ends with the source that is shown
  let log = windowOf(null);
  let places = new Map(); // of merged live logs: rank -> the place up to which its log is here
  let follow = false;
  let times = remembered("timestamps", "no") === "yes";
  let needle = "";
  let target = null; // the byte that the address points at
  let leave = null;
  let looking = null;
  let catching = false;
  const waits = backoff();
  let version = "";

  const choice = el("select", { "aria-label": "Log", onchange: () => refine({ source: choice.value, rank: null, at: null }) });
  const state = el("span", { class: "tag", role: "status", "aria-live": "polite" });
  const followButton = toggle("Follow", "Stay at the end", () => (follow ? setFollow(false) : toEnd()));
  const timesButton = toggle("Times", "Show the times of lines", () => setTimes(!times));
  const errorButton = el("button", { type: "button", onclick: () => toError() }, "First error");
  const download = el("a", { class: "button", download: "" }, "Download");
  const finder = logSearch({ search: findOnServer, goTo, mark: (text) => {
    needle = text.toLowerCase();
    lines.redraw();
  } });
  const scroller = el("div", { class: "log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Log" });
  const place = el("input", { type: "range", min: "0", max: "1000", value: "0", "aria-label": "Place in the log", onchange: () => toShare(place.value / 1000) });
  const where = el("span", { class: "log-where" });
  const message = el("div", { class: "log-message", hidden: true });
  const toolbar = el("div", { class: "toolbar", role: "toolbar", "aria-label": "Log" }, choice, state, followButton, timesButton,
    el("button", { type: "button", onclick: () => toStart() }, "Start"), el("button", { type: "button", onclick: () => toEnd() }, "End"), errorButton,
    finder.field, el("span", { class: "space" }), download);
  parent.append(el("div", { class: "log-view" }, toolbar, finder.panel, el("div", { class: "log-frame" }, scroller, message), el("div", { class: "log-foot" }, place, where)));

  const lines = virtualList(scroller, {
    height: LINE_PX, count: () => log.count, keyAt: (i) => log.base + i, draw, onShown: shown,
  });

  function toggle(label, title, onclick) {
    return el("button", { type: "button", class: "toggle", "aria-pressed": "false", title, onclick }, label);
  }

  function draw(index, node) {
    const line = log.line(index);
    node.classList.toggle("target", target !== null && index === target);
    if (node.shownLine === line) return;
    node.shownLine = line;
    const link = el("button", { type: "button", class: "link-line", tabindex: "-1", "aria-hidden": "true", title: "Link to this line", onclick: () => linkTo(node.key - log.base) });
    fill(node, link, lineNodes(line, { times, needle, ranks: source.id === "merged" }));
    node.setAttribute("aria-rowindex", index + 1);
    node.key = log.base + index;
  }

  function linkTo(index) {
    if (!log.count) return;
    if (log.onlyLive) {
      announce("A line of merged live logs has no place to link to. Choose a rank, and link to its line.");
      return;
    }
    target = index;
    refine({ source: source.id, rank: null, at: String(log.offsetOf(index)) }, { replace: true, render: false });
    lines.refresh();
    navigator.clipboard?.writeText(location.href).then(() => announce("The link to this line has been copied."), () => announce("The address now links to this line."));
  }

  // A window reads its own source, and is not listened to any more once another is shown.
  function windowOf(which) {
    const either = AbortSignal.any([signal, opened.signal]);
    const made = new LogWindow(
      (offset, limit) => get(`${base}/${encodeURIComponent(which.id)}`, { offset: String(offset), limit }, either),
      (how) => { if (made === log) changed(how); },
      () => { if (made === log && leave) followNewFile(); },
    );
    return made;
  }

  function changed({ above, anew = false }) {
    if (anew) lines.redraw();
    if (target !== null) target += above;
    if (above) lines.shift(above);
    if (log.count && timesButton.hidden) timesButton.hidden = !hasTime(log.line(log.count - 1)) && !hasTime(log.line(0));
    if (follow) {
      lines.setSize();
      scroller.scrollTop = scroller.scrollHeight;
    }
    lines.refresh();
    showState();
  }

  // Asks for more where the edge of the window is near; says where in the log this is.
  function shown(first, last) {
    if (follow) catchUp();
    else guarded(first < NEAR && log.start > log.floor ? log.moreAbove() : last > log.count - NEAR && !log.atEnd ? log.moreBelow() : null);
    const span = log.end - log.start;
    const at = log.count ? log.start + span * Math.min(1, (first + last) / 2 / log.count) : 0;
    const share = follow || !log.size ? 1 : Math.min(1, at / log.size);
    if (document.activeElement !== place) place.value = Math.round(share * 1000);
    place.setAttribute("aria-valuetext", `${Math.round(share * 100)} percent`);
    fill(where, log.size ? `${bytes(Math.round(share * log.size))} of ${bytes(log.size)}` : "", source?.cut ? " · the beginning is not kept" : "");
  }

  let lastTop = 0;
  scroller.addEventListener("scroll", () => {
    const top = scroller.scrollTop;
    const bottom = scroller.scrollHeight - scroller.clientHeight - top;
    if (follow && top < lastTop && bottom > 2 * LINE_PX) setFollow(false);
    else if (!follow && top > lastTop && bottom < 2 && log.atEnd && isLive()) setFollow(true);
    lastTop = top;
    lines.refresh();
  }, { passive: true });

  const isLive = () => source?.state === "live" || (source?.id === "merged" && sources.some((each) => each.state === "live"));

  function setFollow(yes) {
    follow = yes;
    followButton.setAttribute("aria-pressed", String(yes));
    if (yes) changed({ above: 0 });
  }

  function setTimes(yes) {
    times = yes;
    timesButton.setAttribute("aria-pressed", String(yes));
    remember("timestamps", yes ? "yes" : null);
    lines.redraw();
  }

  // Loads what is between the window and the end that is followed.
  async function catchUp() {
    if (catching || log.onlyLive || !log.chunks.length) return;
    catching = true;
    const mine = log;
    await guarded((async () => {
      while (follow && mine === log && !log.atEnd && !log.busy) {
        const before = log.end;
        await (log.size - log.end > FAR ? log.jump(TAIL) : log.moreBelow());
        if (log.end === before) break; // what comes next has it look again
      }
    })());
    catching = false;
  }

  async function guarded(promise) {
    try {
      await promise;
    } catch (error) {
      if (!isAbort(error)) showMessage(error.message, true);
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
    lines.setSize();
    scroller.scrollTop = scroller.scrollHeight;
    lines.refresh();
  })());

  const toShare = (share) => (share >= 0.995 ? toEnd() : goTo(Math.floor(share * log.size), { pointed: false }));

  function goTo(offset, { pointed = true } = {}) {
    return guarded((async () => {
      setFollow(false);
      if (log.indexAt(offset) === null && !log.onlyLive) {
        await log.jump(Math.max(0, offset - BEFORE));
        while (log.indexAt(offset) === null && !log.atEnd && log.end <= offset) await log.moreBelow();
      }
      const index = log.indexAt(offset);
      target = pointed ? index : null;
      lines.setSize();
      lines.scrollTo(index ?? 0, 0.3);
      lines.refresh();
    })());
  }

  const toError = () => goTo(source.firstError);

  function findOnServer(text, from) {
    return get(`${base}/${encodeURIComponent(source.id)}/search`, { text, from: String(from), limit: 1000 }, signal);
  }

  function showMessage(text, problem = false) {
    message.hidden = !text;
    message.classList.toggle("problem", problem);
    fill(message, text ?? "");
  }

  function showState() {
    const word = isLive() ? "Live" : source ? "Archived" : "";
    fill(state, word);
    state.className = `tag ${isLive() ? "tag-live" : ""}`;
    state.hidden = !word;
    followButton.hidden = !isLive();
    if (source && log.count === 0) showMessage(isLive() ? "Nothing has been written yet." : "This log is empty.");
    else if (log.count) showMessage(null);
  }

  async function loadSources() {
    const answer = await get(base, {}, signal);
    sources = answer.sources;
    const several = new Set(sources.map((each) => each.rank)).size > 1 || sources.length > 1;
    const options = several ? [{ id: "merged", label: "All ranks, merged" }, ...sources] : sources;
    fill(choice, options.map((each) => el("option", { value: each.id }, each.label ?? labelOf(each, sources))));
    if (!sources.length) showMessage(answer.message ?? (job.row.waiting ? `No log yet: ${job.row.waiting}` : "There is no log of this job."));
    return sources;
  }

  function wanted() {
    const id = search.get("source");
    if (id === "merged" && sources.length) return { id: "merged", state: null, firstError: null, cut: 0 };
    const exact = sources.find((each) => each.id === id);
    if (exact || !sources.length) return exact ?? null;
    const [, attempt, rank, container] = /^(?:live|archive):(\d+):(\d+):(.+)$/.exec(id ?? "") ?? [];
    const number = Number(search.get("rank") ?? rank ?? 0);
    const ofRank = sources.filter((each) => each.rank === number && (container === undefined || each.container === container));
    const ofAttempt = ofRank.filter((each) => attempt === undefined || each.attempt === Number(attempt));
    const fits = [ofAttempt, ofRank, sources].find((each) => each.length);
    const newest = fits.toSorted((a, b) => b.attempt - a.attempt || (a.state === "live" ? -1 : 1) - (b.state === "live" ? -1 : 1));
    return newest.find((each) => each.container === "main" || each.container === newest[0].container) ?? newest[0];
  }

  // Shows a source: at the place of the address, else at its end. A place of the log while it lived is
  // as much nearer to the beginning of the archive as was cut off there.
  async function openSource(next, { at = null, wasLive = false } = {}) {
    leave?.();
    leave = null;
    clearTimeout(looking);
    opened.abort();
    opened = new AbortController();
    source = next;
    target = null;
    log = windowOf(next);
    places = new Map();
    const mine = log;
    lines.redraw();
    timesButton.hidden = true;
    if (!source) return;
    choice.value = source.id;
    scroller.setAttribute("aria-label", `Log: ${choice.selectedOptions[0]?.textContent ?? source.id}`);
    download.href = `${base}/${encodeURIComponent(source.id)}/download`;
    errorButton.disabled = source.firstError === null || source.firstError === undefined;
    errorButton.title = errorButton.disabled ? "No error has been found in this log" : "";
    finder.reset();
    log.onlyLive = source.id === "merged" && isLive();
    const place = at === null ? null : at - (wasLive ? source.cut ?? 0 : 0);
    if (place === null) await toEnd();
    else await goTo(Math.max(0, place), { pointed: place >= 0 });
    if (mine === log && place < 0) announce("The line of this link was in the beginning of the log, which is not kept.");
    if (mine === log && isLive() && !signal.aborted) followSource(); // else another has been chosen meanwhile
  }

  function followSource() {
    leave?.();
    const followed = source;
    const ended = () => {
      leave?.();
      leave = null;
    };
    leave = subscribe(() => {
      return { kind: "logs", uid, source: followed.id, offset: log.atEnd ? log.end : log.size, file: log.file, places: [...places.values()] };
    }, (received) => {
      if (received.type === "log") takeLive(received);
      else if (received.type === "gap") takeGap(received);
      else if (received.type === "error") {
        ended();
        hasFailed(followed, received);
      } else if (received.type === "end") {
        ended();
        if (received.reason === "rotated") toNewFile(followed);
        else hasEnded(followed);
      }
    });
  }

  // The place that was reached is one of an older file: goes on at the end of the new one.
  async function toNewFile(followed) {
    if (log.onlyLive) restart();
    const mine = log;
    log.forget();
    try {
      await log.jump(TAIL);
      if (mine === log && !leave && !signal.aborted) followNewFile();
    } catch (error) {
      if (mine === log && !isAbort(error)) hasFailed(followed, error);
    }
  }

  function followNewFile() {
    followSource();
    announce("The node has begun a new file of this log. What was written before it is not kept there.");
  }

  // What is here of merged live logs cannot be joined to what follows: they begin anew.
  function restart() {
    log = windowOf(source);
    places = new Map();
    log.onlyLive = true;
    lines.redraw();
  }

  // A reader who is elsewhere in the log is not disturbed: the log is only known to be longer.
  function takeLive(received) {
    waits.worked();
    if (received.place) places.set(received.place.split(":")[0], received.place);
    if (!log.append(received)) lines.refresh();
    guarded(log.learnFile());
  }

  function takeGap(gap) {
    if (log.onlyLive) log.gap(gap);
    else log.grown(gap.to);
    lines.refresh();
  }

  // What can not be followed now is tried again, more and more seldom; what is gone may be archived.
  function hasFailed(failed, { reason, message: words }) {
    if (reason === "NotFound") {
      hasEnded(failed);
      return;
    }
    showMessage(words, true);
    if (isForGood(reason)) return;
    looking = setTimeout(() => { if (source === failed) followSource(); }, waits.next());
  }

  // The pod has gone: looks for what was archived of it, more and more seldom, and goes on there.
  function hasEnded(ended) {
    clearTimeout(looking);
    let looks = 0;
    const look = async () => {
      try {
        await loadSources();
      } catch (error) {
        if (isAbort(error)) return;
      }
      if (source !== ended) return;
      const archived = sources.find((each) => each.state === "archived" && each.rank === ended.rank && each.attempt === ended.attempt && each.container === ended.container);
      const mergedDone = ended.id === "merged" && sources.length > 0 && !sources.some((each) => each.state === "live");
      if (archived || mergedDone) {
        await guarded(moveTo(archived ?? ended));
      } else if (looks < LOOKS_MS.length) {
        looking = setTimeout(look, LOOKS_MS[looks]);
        looks += 1;
      } else {
        source.state = "archived";
        showState();
      }
    };
    look();
  }

  // A live log and its archive are the same bytes, but for what is cut off in front: a reader stays
  // where it was.
  async function moveTo(next) {
    const was = follow || log.onlyLive || !log.count ? null : log.offsetOf(lines.firstVisible());
    await openSource(next);
    if (source !== next) return;
    if (was !== null) await goTo(Math.max(0, was - (next.cut ?? 0)), { pointed: false });
    refine({ source: next.id, rank: null }, { replace: true, render: false });
    search = new URLSearchParams(location.search);
    announce("The log has been archived. It goes on here, from the archive.");
  }

  // New ranks, attempts and archives come with changes of the job.
  function jobChanged(now) {
    job = now;
    const next = `${now.row.phase} ${now.row.attempt} ${now.row.ranks?.ready} ${now.row.ranks?.active} ${now.row.source}`;
    if (version === next) return;
    version = next;
    guarded(loadSources().then(async () => {
      const next = wanted();
      if (source === null) await openSource(next, placeOf(search, next));
      else choice.value = source.id;
    }));
  }

  function addressChanged(found) {
    const before = search.toString();
    search = found;
    if (before === found.toString() || !sources.length) return;
    const next = wanted();
    if (next && next.id !== source?.id) guarded(openSource(next, placeOf(found, next)));
    else if (atOf(found) !== null) goTo(atOf(found));
  }

  function end() {
    ending.abort();
    clearTimeout(looking);
    leave?.();
    resized.disconnect();
    takeKeys();
  }

  const resized = new ResizeObserver(() => {
    if (follow) scroller.scrollTop = scroller.scrollHeight;
    lines.refresh();
  });
  resized.observe(scroller);
  const takeKeys = addKeys({
    "/": [() => finder.focus(), "Search in the log"], n: [() => finder.step(1), "Next hit"], N: [() => finder.step(-1), "Hit before"],
    f: [() => (follow ? setFollow(false) : toEnd()), "Follow, or not"], t: [() => setTimes(!times), "Times of lines, or not"],
    s: [() => toStart(), "Start of the log"], e: [() => toEnd(), "End of the log"], "!": [() => !errorButton.disabled && toError(), "First error"],
    c: [() => linkTo(target ?? Math.min(log.count - 1, lines.firstVisible() + 1)), "Copy a link to this place"],
    Escape: [() => (document.activeElement === document.body ? finder.reset() : scroller.focus()), "Leave the field; end the search"],
  });
  setTimes(times);
  timesButton.hidden = true;
  return { jobChanged, addressChanged, end };
}

function placeOf(search, source) {
  return { at: atOf(search), wasLive: source?.state === "archived" && Boolean(search.get("source")?.startsWith("live:")) };
}

function atOf(search) {
  const at = search.get("at");
  return at !== null && /^\d+$/.test(at) ? Number(at) : null;
}

function labelOf({ rank, attempt, container, state, bytes: size }, all) {
  const attempts = new Set(all.map((each) => each.attempt)).size > 1;
  return [`Rank ${rank}`, attempts && `attempt ${attempt + 1}`, container !== "main" && container, state === "live" && "live", size && bytes(size)].filter(Boolean).join(" · ");
}

