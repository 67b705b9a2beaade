// The log viewer, for live and archived logs of one rank or of all ranks merged.
//
// A live log is read to its end over HTTP and followed over the socket from that byte on (`logfollow.js`).
// When its pod is deleted and the log archived, the viewer switches to the archive at the same position
// and offers the log of the next attempt. The merged log continues with new attempts by itself until the
// job has ended. `logsources.js` has the list of logs to choose from, `logpane.js` shows one.

import { get, isAbort, isTransient } from "./api.js";
import { backoff } from "./backoff.js";
import { el, fill } from "./el.js";
import { isOver } from "./format.js";
import { addKeys } from "./keys.js";
import { logFollower } from "./logfollow.js";
import { logPane } from "./logpane.js";
import { logSearch } from "./logsearch.js";
import { atOf, LogSources, placeOf } from "./logsources.js";
import { LogWindow } from "./logwindow.js";
import { announce } from "./notice.js";
import { refine } from "./router.js";
import { remember, remembered } from "./store.js";

const CHECK_DELAYS_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000];

export function logsView(parent, firstJob, pageScope) {
  const uid = firstJob.row.uid;
  const base = `/api/jobs/${encodeURIComponent(uid)}/logs`;
  const ending = new AbortController();
  const signal = AbortSignal.any([ending.signal, pageScope.signal]);
  const sources = new LogSources(() => get(base, {}, signal));
  let job = firstJob;
  let search = new URLSearchParams(location.search);
  let source = null; // one of `sources`, or the merged one
  let opened = new AbortController(); // aborted when another source is shown
  let times = remembered("timestamps", "no") === "yes";
  let ended = false; // the log was live, and nothing more is written to it
  let checkTimer = null;
  let checks = 0; // the number of checks for its archive
  let version = "";
  const waits = backoff();

  const choice = el("select", { "aria-label": "Log", onchange: () => refine({ source: choice.value, rank: null, at: null }) });
  const state = el("span", { class: "tag", role: "status", "aria-live": "polite" });
  const nextButton = el("button", { type: "button", hidden: true, onclick: () => toNext() });
  const followButton = toggle("Follow", "Stay at the end", () => follow(!pane.follow));
  const timesButton = toggle("Times", "Show the times of lines", () => setTimes(!times));
  const errorButton = el("button", { type: "button", onclick: () => toError() }, "First error");
  const download = el("a", { class: "button", download: "" }, "Download");
  const isLive = () => !ended && (source?.id === "merged" ? pane.log.onlyLive : sources.isLive(source));
  const pane = logPane(windowOf(null), {
    isLive, linkTo, isCut: () => Boolean(source?.cut), isMerged: () => source?.id === "merged", changed: showState,
    followed: (yes) => followButton.setAttribute("aria-pressed", String(yes)),
  });
  const follower = logFollower(uid, signal, pane, { clearWindow: showWindow, ended: logEnded });
  const finder = logSearch({ search: findOnServer, goTo: pane.goTo, mark: pane.mark });
  const toolbar = el("div", { class: "toolbar", role: "toolbar", "aria-label": "Log" }, choice, state, nextButton, followButton, timesButton,
    el("button", { type: "button", onclick: () => pane.toStart() }, "Start"), el("button", { type: "button", onclick: () => pane.toEnd() }, "End"), errorButton,
    finder.field, el("span", { class: "space" }), download);
  parent.append(el("div", { class: "log-view" }, toolbar, finder.panel, ...pane.nodes));

  function toggle(label, title, onclick) {
    return el("button", { type: "button", class: "toggle", "aria-pressed": "false", title, onclick }, label);
  }

  const follow = (yes) => (yes ? pane.toEnd() : pane.setFollow(false));
  const toError = () => pane.goTo(source.firstError);

  function setTimes(yes) {
    times = yes;
    timesButton.setAttribute("aria-pressed", String(yes));
    remember("timestamps", yes ? "yes" : null);
    pane.setTimes(yes);
  }

  function linkTo(index) {
    const { log } = pane;
    if (!log.count) return;
    if (log.onlyLive) {
      announce("Lines of the merged live log cannot be linked to. Choose a rank, and link to a line of its log.");
      return;
    }
    pane.point(index);
    refine({ source: source.id, rank: null, at: String(log.offsetOf(index)) }, { replace: true, render: false });
    navigator.clipboard?.writeText(location.href).then(() => announce("The link to this line has been copied."), () => announce("The address now links to this line."));
  }

  function findOnServer(text, from) {
    return get(`${base}/${encodeURIComponent(source.id)}/search`, { text, from: String(from), limit: 1000 }, signal);
  }

  function showState() {
    const word = isLive() ? "Live" : ended ? "Ended" : source ? "Archived" : "";
    fill(state, word);
    state.className = `tag ${isLive() ? "tag-live" : ""}`;
    state.hidden = !word;
    followButton.hidden = !isLive();
    if (pane.hasTimes) timesButton.hidden = false;
    if (source && pane.log.count === 0) pane.say(isLive() ? "Nothing has been written yet." : "This log is empty.");
    else if (pane.log.count) pane.say(null);
  }

  async function loadSources() {
    await sources.load();
    fill(choice, sources.options.map(({ id, label }) => el("option", { value: id }, label)));
    if (!sources.list.length) pane.say(sources.message ?? (job.row.waiting ? `No log yet: ${job.row.waiting}` : "There is no log of this job."));
  }

  // Returns a window that reads a source. Once another window is shown, this one's events are ignored.
  function windowOf(which) {
    const either = AbortSignal.any([signal, opened.signal]);
    const made = new LogWindow(
      (offset, limit) => get(`${base}/${encodeURIComponent(which.id)}`, { offset: String(offset), limit }, either),
      (how) => { if (made === pane.log) pane.logChanged(how); },
      () => { if (made === pane.log) follower.fileChanged(which); },
    );
    made.onlyLive = which?.id === "merged" && sources.isLive(which);
    return made;
  }

  function showWindow() {
    pane.show(windowOf(source), source ? `Log: ${choice.selectedOptions[0]?.textContent ?? source.id}` : "Log");
  }

  // Shows a source at the offset in the address, else at its end. If the offset is one of the live log (`wasLive`) and
  // the archive lacks the beginning (`cut` bytes), the offset is reduced by that much.
  async function openSource(next, { at = null, wasLive = false } = {}) {
    follower.leave();
    clearTimeout(checkTimer);
    opened.abort();
    opened = new AbortController();
    source = next;
    ended = false;
    timesButton.hidden = true;
    if (source) choice.value = source.id;
    showWindow();
    if (!source) return;
    const mine = pane.log;
    showNext();
    download.href = `${base}/${encodeURIComponent(source.id)}/download`;
    errorButton.disabled = source.firstError === null || source.firstError === undefined;
    errorButton.title = errorButton.disabled ? "No error has been found in this log" : "";
    finder.reset();
    const place = at === null ? null : at - (wasLive ? source.cut ?? 0 : 0);
    if (place === null) await pane.toEnd();
    else await pane.goTo(Math.max(0, place), { pointed: place >= 0 });
    if (mine !== pane.log) return; // another one was chosen meanwhile
    if (place < 0) announce("The line of this link was in the beginning of the log, which was not kept.");
    if (isLive() && !signal.aborted) follower.follow(source);
  }

  // Handles the end of a live log: checks for its archive, with growing delays.
  function logEnded() {
    ended = true;
    checks = 0;
    showState();
    checkSources();
  }

  // Reloads the list of logs, and switches to the archive or the next attempt if there is one.
  async function checkSources() {
    clearTimeout(checkTimer);
    let failed = null;
    try {
      await loadSources();
      await switchSource();
    } catch (error) {
      if (isAbort(error)) return;
      failed = error;
      if (source === null) pane.say(error.message, true);
    }
    if (signal.aborted) return;
    clearTimeout(checkTimer);
    if (ended && checks < CHECK_DELAYS_MS.length) {
      checkTimer = setTimeout(checkSources, CHECK_DELAYS_MS[checks]);
      checks += 1;
    } else if (failed ? isTransient(failed) : mayAppear()) checkTimer = setTimeout(checkSources, waits.next());
  }

  async function switchSource() {
    const isMerged = source?.id === "merged";
    const archived = ended && (isMerged ? sources.list.length > 0 && !sources.someLive && source : sources.archiveOf(source));
    if (source === null) {
      const next = sources.wanted(search);
      await openSource(next, placeOf(search, next));
    } else if (archived) await moveTo(archived);
    else if (next() && isMerged && pane.isAtBottom && pane.target === null) await toNext({ replace: true });
    else choice.value = source.id;
    showNext();
  }

  // Returns true if a new log may appear without a change of the job, e.g. that of a rank that is not ready for long.
  const mayAppear = () => job.row.source === "live" && !isOver(job.row) && !job.row.suspended && !sources.someLive && !pane.log.onlyLive;

  // Returns the source that continues the shown log: the rank's next attempt or, for the merged log, the live logs.
  function next() {
    if (!source || isLive()) return null;
    if (source.id === "merged") return sources.someLive && !ended ? source : null;
    return sources.newerThan(source);
  }

  function showNext() {
    const found = next();
    nextButton.hidden = !found;
    if (found) fill(nextButton, found.id === "merged" ? "Continue live" : `Attempt ${found.attempt + 1} is live`);
  }

  async function toNext({ replace = false } = {}) {
    const found = next();
    if (!found) return;
    refine({ source: found.id, rank: null, at: null }, { replace, render: false });
    search = new URLSearchParams(location.search);
    await pane.guarded(openSource(found));
    announce("The log shown from here on is live.");
  }

  // Switches to the archive at the same position: it has the same bytes as the live log, except a beginning cut off.
  async function moveTo(next) {
    const was = pane.place();
    await openSource(next);
    if (source !== next) return;
    if (was !== null) await pane.goTo(Math.max(0, was - (next.cut ?? 0)), { pointed: false });
    refine({ source: next.id, rank: null }, { replace: true, render: false });
    search = new URLSearchParams(location.search);
    announce("The log has been archived. This is the archive.");
  }

  // Handles a change of the job, which may bring new ranks, attempts and archives.
  function jobChanged(now) {
    job = now;
    const seen = `${now.row.phase} ${now.row.attempt} ${now.row.ranks?.ready} ${now.row.ranks?.active} ${now.row.source}`;
    if (version === seen) return;
    version = seen;
    waits.worked();
    checkSources();
  }

  function addressChanged(found) {
    const before = search.toString();
    search = found;
    if (before === found.toString() || !sources.list.length) return;
    const next = sources.wanted(search);
    if (next && next.id !== source?.id) pane.guarded(openSource(next, placeOf(found, next)));
    else if (atOf(found) !== null) pane.goTo(atOf(found));
  }

  function end() {
    ending.abort();
    clearTimeout(checkTimer);
    follower.leave();
    pane.end();
    takeKeys();
  }

  const takeKeys = addKeys({
    "/": [() => finder.focus(), "Search in the log"], n: [() => finder.step(1), "Next hit"], N: [() => finder.step(-1), "Previous hit"],
    f: [() => follow(!pane.follow), "Follow on or off"], t: [() => setTimes(!times), "Times on or off"],
    s: [() => pane.toStart(), "Start of the log"], e: [() => pane.toEnd(), "End of the log"], "!": [() => !errorButton.disabled && toError(), "First error"],
    c: [() => linkTo(pane.target ?? Math.min(pane.log.count - 1, pane.firstVisible + 1)), "Copy a link to this line"],
    Escape: [() => (document.activeElement === document.body ? finder.reset() : pane.focus()), "Leave the field; end the search"],
  });
  setTimes(times);
  timesButton.hidden = true;
  return { jobChanged, addressChanged, end };
}
