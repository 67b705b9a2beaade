// The application shell: header, status strips, keyboard shortcuts and theme around one page at a time.
//
// A page is a function (view, route, scope) that fills the view. When another page is shown, its scope ends:
// requests are aborted (`scope.signal`) and the functions passed to `scope.add` are called. A page may return a
// function that handles changes of its own address; without one the page is built anew.

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
const otherTabs = new BroadcastChannel("trainingjob"); // all tabs of a browser share the log-in
let scope = null;
let atLogin = false;
let shown = null; // {page, name, refresh}; `name` identifies the content, e.g. a job, whichever of its tabs is shown

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
  fill(target, el("div", { class: "empty" }, el("h1", {}, "Page not found"),
    el("p", {}, el("a", { href: "/jobs" }, "Show all jobs"))));
}

// Shows the log-in form. Closes the socket, aborts requests and removes all data of the previous user.
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

// Follows a log-in or log-out in another tab.
function loginChanged({ data }) {
  if (data === "logged out" && session.get()?.user) showLogin();
  else if (data === "logged in") location.reload();
}

// The socket may be refused because the user is no longer logged in: without this check the strip would stay for ever.
async function lostConnection({ state }) {
  if (state !== "lost" || atLogin) return;
  try {
    const known = await get("/api/session");
    if (known.loginNeeded) showLogin();
  } catch { /* the console is unavailable, and the strip says so */ }
}

function markSection(path) {
  for (const link of document.querySelectorAll("header nav a")) {
    const here = path === link.pathname || path.startsWith(`${link.pathname}/`);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// Returns the button that cycles through the themes: light, dark, the system's.
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

// Returns the strip that reports a lost connection, with a countdown to the next try. It is hidden while connected.
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
      fill(text, "Connection lost. This page may be out of date.");
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
  const help = el("button", { type: "button", class: "quiet", "aria-label": "Help: keyboard shortcuts", title: "Keyboard shortcuts (?)", onclick: showHelp }, "?");
  const skip = el("a", { class: "skip", href: "#main", onclick: (event) => {
    event.preventDefault();
    view.focus();
  } }, "Skip to content");
  const brand = el("a", { class: "brand", href: "/jobs" }, "trainingjob");
  document.body.replaceChildren(skip,
    el("header", {}, brand, el("nav", { "aria-label": "Sections" }, links), el("span", { class: "space" }), userMenu(), themeButton(), help),
    connectionStrip(), ...notices.slice(0, 1), view, ...notices.slice(1));
  const jumps = SECTIONS.map(([address, name, keys]) => [keys, [() => go(address), `Go to ${name}`]]);
  addKeys({ "?": [showHelp, "Show these shortcuts"], ...Object.fromEntries(jumps) });
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
  otherTabs.onmessage = loginChanged;
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
