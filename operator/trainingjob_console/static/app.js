// The shell around the pages: header, strips, keys, theme; and one page at a time.
//
// A page is a function (view, route, scope) that fills the view. Its scope ends when another page is
// shown: requests are aborted (`scope.signal`), and everything given to `scope.add` is called. A page
// whose address changes within itself may return a function that takes the new route; else it is made anew.

import { get, isAbort, post, whenLoginNeeded } from "./api.js";
import { backoff } from "./backoff.js";
import { closeDialog, showHelp } from "./dialog.js";
import { el, fill } from "./el.js";
import { addKeys, startKeys } from "./keys.js";
import { clearFailure, failure, notices } from "./notice.js";
import { aboutPage } from "./about.js";
import { housekeepingPage } from "./housekeeping.js";
import { jobPage } from "./job.js";
import { jobsPage } from "./jobs.js";
import { loginPage } from "./login.js";
import { go, route, startRouter } from "./router.js";
import { connectNow, startSocket, stopSocket } from "./socket.js";
import { connection, remember, remembered, session } from "./store.js";

const view = el("main", { id: "main", tabindex: "-1" });
const SECTIONS = [["/jobs", "Jobs", "g j"], ["/housekeeping", "Housekeeping", "g h"], ["/about", "About", "g a"]];
const otherTabs = new BroadcastChannel("trainingjob"); // one browser's tabs have one log-in
let scope = null;
let atLogin = false;
let shown = null; // {page, name, refresh}; `name` is what the page is of: a job, whichever of its tabs

function newScope() {
  const aborting = new AbortController();
  const endings = [];
  return {
    signal: aborting.signal,
    add: (...functions) => endings.push(...functions),
    every(milliseconds, work) {
      const timer = setInterval(() => { if (!document.hidden) work(); }, milliseconds);
      endings.push(() => clearInterval(timer));
    },
    end() {
      aborting.abort();
      for (const ending of endings.splice(0)) ending();
    },
  };
}

function show(found) {
  markSection(found.path);
  const name = JSON.stringify({ ...found.parameters, tab: undefined, uid: found.search.get("uid") });
  if (shown?.page === found.page && shown.name === name && shown.refresh) {
    shown.refresh(found);
    return;
  }
  scope?.end();
  scope = newScope();
  clearFailure();
  const first = shown === null;
  const page = found.page ?? notFoundPage;
  fill(view);
  shown = { page: found.page, name, refresh: page(view, found, scope) };
  if (!first) view.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function notFoundPage(target) {
  document.title = "Not found";
  fill(target, el("div", { class: "empty" }, el("h1", {}, "There is no such page"),
    el("p", {}, el("a", { href: "/jobs" }, "Show all jobs"))));
}

// Nothing of the user's stays: no socket, no row, no late answer.
function showLogin() {
  if (atLogin) return;
  atLogin = true;
  stopSocket();
  scope?.end();
  scope = newScope();
  shown = null;
  clearFailure();
  closeDialog();
  session.set({ ...session.get(), user: null, loginNeeded: true });
  loginPage(view, scope, async () => {
    otherTabs.postMessage("logged in");
    location.reload();
  });
}

async function logOut() {
  try {
    await post("/api/logout");
  } catch (error) {
    failure(error);
    return;
  }
  otherTabs.postMessage("logged out");
  stopSocket();
  location.reload();
}

// What another tab has done to the log-in, this one follows.
function heardOfLogin({ data }) {
  if (data === "logged out" && session.get()?.user) showLogin();
  else if (data === "logged in") location.reload();
}

// A socket that is refused may be refused for the user: the strip would wait for ever.
async function lostConnection({ state }) {
  if (state !== "lost" || atLogin) return;
  try {
    const known = await get("/api/session");
    if (known.loginNeeded) showLogin();
  } catch { /* then the console is away, as the strip says */ }
}

function markSection(path) {
  for (const link of document.querySelectorAll("header nav a")) {
    const here = path === link.pathname || path.startsWith(`${link.pathname}/`);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// Light, dark, or what the system says: one button goes round.
function themeButton() {
  const node = el("button", { type: "button", class: "quiet", onclick: () => apply(next(document.documentElement.dataset.theme)) });
  const next = (theme) => ({ light: "dark", dark: "system" })[theme] ?? "light";
  function apply(theme) {
    document.documentElement.dataset.theme = theme;
    remember("theme", theme === "system" ? null : theme);
    fill(node, { light: "☀", dark: "☾" }[theme] ?? "◐");
    node.setAttribute("aria-label", `Theme: ${theme}. Change to ${next(theme)}.`);
    node.title = `Theme: ${theme}`;
  }
  apply(remembered("theme", "system"));
  return node;
}

function userMenu() {
  const node = el("span", { class: "user" });
  session.watch((known) => {
    if (!known?.user || known.mode === "none") return fill(node);
    return fill(node, el("span", { class: "user-name", title: (known.user.groups ?? []).join(", ") }, known.user.name),
      el("button", { type: "button", class: "quiet", onclick: logOut }, "Log out"));
  });
  return node;
}

// Says that the connection is gone, counts down, and goes when it is back.
function connectionStrip() {
  const text = el("span", { role: "status", "aria-live": "polite" });
  const seconds = el("span", { "aria-hidden": "true" });
  const now = el("button", { type: "button", class: "quiet", onclick: connectNow }, "Try now");
  const node = el("div", { class: "strip strip-lost", id: "connection", hidden: true }, text, seconds, now);
  function refresh() {
    const { state, retryAt } = connection.get();
    if (state === "open") fill(text, "");
    node.hidden = state === "open" || state === "connecting" || session.get()?.loginNeeded === true;
    if (state === "lost") {
      const left = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
      fill(text, "Connection lost. What you see may be old.");
      fill(seconds, left ? `Next try in ${left} s.` : "Trying …");
    } else if (state === "paused") {
      fill(text, "Paused while this tab was hidden.");
      fill(seconds);
    }
    now.hidden = state !== "lost";
  }
  connection.watch(refresh);
  setInterval(refresh, 1_000);
  return node;
}

function buildShell() {
  const links = SECTIONS.map(([address, name]) => el("a", { href: address }, name));
  const help = el("button", { type: "button", class: "quiet", "aria-label": "Help: keys", title: "Keys (?)", onclick: showHelp }, "?");
  const skip = el("a", { class: "skip", href: "#main", onclick: (event) => {
    event.preventDefault();
    view.focus();
  } }, "Skip to the contents");
  const brand = el("a", { class: "brand", href: "/jobs" }, "trainingjob");
  document.body.replaceChildren(skip,
    el("header", {}, brand, el("nav", { "aria-label": "Sections" }, links), el("span", { class: "space" }), userMenu(), themeButton(), help),
    connectionStrip(), ...notices.slice(0, 1), view, ...notices.slice(1));
  const jumps = SECTIONS.map(([address, name, keys]) => [keys, [() => go(address), `Go to ${name}`]]);
  addKeys({ "?": [showHelp, "Show these keys"], ...Object.fromEntries(jumps) });
}

async function loadSession() {
  const known = await get("/api/session");
  session.set(known);
  return known;
}

function start() {
  startSocket();
  connection.watch(lostConnection);
  startRouter(show);
}

async function main() {
  route("/", jobsPage);
  route("/jobs", jobsPage);
  route("/jobs/:namespace/:name", jobPage);
  route("/jobs/:namespace/:name/:tab", jobPage);
  route("/housekeeping", housekeepingPage);
  route("/about", aboutPage);
  buildShell();
  startKeys();
  whenLoginNeeded(showLogin);
  otherTabs.onmessage = heardOfLogin;
  const waits = backoff();
  for (;;) {
    try {
      const known = await loadSession();
      if (known.loginNeeded) showLogin();
      else start();
      return;
    } catch (error) {
      if (isAbort(error) || error.status === 401) return;
      failure(error);
      await new Promise((resolve) => { setTimeout(resolve, waits.next()); });
    }
  }
}

main();
