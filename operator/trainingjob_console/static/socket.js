// The tab's WebSocket and its subscriptions (the server allows 8).
//
// A lost connection is restored after the delays of `backoff.js`, and at once when the network returns or the
// tab is shown. Each subscription is renewed with its own position (`seq` of jobs, `offset` of a log), so
// nothing is lost or repeated. A tab that is hidden for 30 s closes its socket and shows "paused" until it is
// shown again.
//
//   const leave = subscribe(() => ({ kind: "jobs", filter, position }), (message) => ...);
//
// There is no queue: a message is passed to its subscriber at once, or dropped if there is none.

import { backoff } from "./backoff.js";
import { connection } from "./store.js";

const RESTARTS = 1012; // the close code of a restarting server
const SPREAD_MS = 4_000; // the maximum random delay added then, so that not all tabs reconnect at once
const HIDDEN_MS = 30_000;
const SILENT_MS = 50_000; // the server pings every 20 s: after this silence the connection is dead, whatever TCP says

const waits = backoff();
const subscriptions = new Map(); // id -> {describe, receive}
let socket = null;
let nextId = 1;
let retry = null;
let lastMessageAt = 0;
let hiddenSince = null;
let started = false;
let silenceTimer = null;

// `describe()` is called at each connection and returns the subscription; `receive(message)` gets its messages.
export function subscribe(describe, receive) {
  const id = nextId;
  nextId += 1;
  subscriptions.set(id, { describe, receive });
  if (socket?.readyState === WebSocket.OPEN) send({ type: "sub", id, ...describe() });
  return () => {
    subscriptions.delete(id);
    if (socket?.readyState === WebSocket.OPEN) send({ type: "unsub", id });
  };
}

// Returns true if retrying is useless after this reason: the user lacks a right.
export function isPermanent(reason) {
  return reason === "Forbidden" || reason === "Unauthorized";
}

export function startSocket() {
  if (started) return;
  started = true;
  silenceTimer = setInterval(watchSilence, 5_000);
  connect();
}

// Closes the socket for good, at the log-out.
export function stopSocket() {
  started = false;
  clearTimeout(retry);
  clearInterval(silenceTimer);
  const ended = socket;
  socket = null;
  ended?.close(1000);
}

// Reconnects without waiting for the rest of the delay.
export function connectNow() {
  if (!started || socket || document.hidden) return;
  clearTimeout(retry);
  connect();
}

document.addEventListener("visibilitychange", visibilityChanged);
addEventListener("online", connectNow);

function connect() {
  retry = null;
  if (socket || !started) return;
  const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
  const made = new WebSocket(address, "trainingjob.v1");
  socket = made;
  made.onopen = () => {
    waits.worked();
    lastMessageAt = Date.now();
    for (const [id, { describe }] of subscriptions) send({ type: "sub", id, ...describe() });
    connection.set({ state: "open", retryAt: null });
  };
  made.onmessage = (event) => received(event.data);
  made.onclose = (event) => {
    if (socket === made) lost(event.code);
  };
}

function received(text) {
  lastMessageAt = Date.now();
  const message = JSON.parse(text);
  if (message.type === "ping") send({ type: "pong" });
  else subscriptions.get(message.id)?.receive(message);
}

function lost(code) {
  socket = null;
  if (hiddenSince !== null && document.hidden && Date.now() - hiddenSince >= HIDDEN_MS) {
    connection.set({ state: "paused", retryAt: null });
    return;
  }
  const wait = waits.next() + (code === RESTARTS ? Math.random() * SPREAD_MS : 0);
  connection.set({ state: "lost", retryAt: Date.now() + wait });
  retry = setTimeout(connect, wait);
}

function send(message) {
  socket.send(JSON.stringify(message));
}

function visibilityChanged() {
  hiddenSince = document.hidden ? Date.now() : null;
  if (!started) return;
  if (document.hidden) {
    setTimeout(() => {
      if (!started || !document.hidden || hiddenSince === null || Date.now() - hiddenSince < HIDDEN_MS) return;
      clearTimeout(retry);
      if (socket) socket.close(1000);
      else connection.set({ state: "paused", retryAt: null });
    }, HIDDEN_MS + 50);
  } else {
    connectNow();
  }
}

function watchSilence() {
  if (socket?.readyState !== WebSocket.OPEN || Date.now() - lastMessageAt < SILENT_MS) return;
  const silent = socket;
  silent.close(1000);
  if (socket === silent) lost(1006); // its `onclose` may take minutes where packets vanish
}
