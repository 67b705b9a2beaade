// Follows a live log over the socket, from where it is here on.
//
// Merged live logs have no places of their own: they go on after a break from the place that each rank's
// log had then, and of what the socket left out a line says what is missing.

import { isAbort } from "./api.js";
import { backoff } from "./backoff.js";
import { TAIL } from "./logpane.js";
import { announce } from "./notice.js";
import { isForGood, subscribe } from "./socket.js";

// `beginAnew()`: what is here of merged logs cannot be joined to what follows; `ended(source)`: this log will
// not go on.
export function logFollower(uid, signal, pane, { beginAnew, ended }) {
  const waits = backoff();
  let leave = null;
  let again = null;
  let places = new Map(); // of merged live logs: rank -> the place up to which its log is here

  function follow(source) {
    stop();
    leave = subscribe(() => {
      const { log } = pane;
      return { kind: "logs", uid, source: source.id, offset: log.atEnd ? log.end : log.size, file: log.file, places: [...places.values()] };
    }, (received) => {
      if (received.type === "log") takeLive(received);
      else if (received.type === "gap") takeGap(received);
      else if (received.type === "error") {
        stop();
        hasFailed(source, received);
      } else if (received.type === "end") {
        stop();
        if (received.reason === "rotated") toNewFile(source);
        else ended(source);
      }
    });
  }

  function stop() {
    leave?.();
    leave = null;
    clearTimeout(again);
  }

  // A reader who is elsewhere in the log is not disturbed: the log is only known to be longer.
  function takeLive(received) {
    const { log } = pane;
    waits.worked();
    if (received.place) places.set(received.place.split(":")[0], received.place);
    if (!log.append(received)) pane.refresh();
    log.learnFile().catch(() => {}); // its pod may have gone: what is here stays
  }

  function takeGap(gap) {
    const { log } = pane;
    if (log.onlyLive) log.gap(gap);
    else log.grown(gap.to);
    pane.refresh();
  }

  // What can not be followed now is tried again, more and more seldom; what is gone may be archived.
  function hasFailed(source, { reason, message }) {
    if (reason === "NotFound") {
      ended(source);
      return;
    }
    pane.say(message, true);
    if (isForGood(reason)) return;
    again = setTimeout(() => follow(source), waits.next());
  }

  // The place that was reached is one of an older file: goes on at the end of the new one.
  async function toNewFile(source) {
    if (pane.log.onlyLive) {
      places = new Map();
      beginAnew();
    }
    const mine = pane.log;
    mine.forget();
    try {
      await mine.jump(TAIL);
      if (mine === pane.log && !leave && !signal.aborted) followNewFile(source);
    } catch (error) {
      if (mine === pane.log && !isAbort(error)) hasFailed(source, error);
    }
  }

  function followNewFile(source) {
    follow(source);
    announce("The node has begun a new file of this log. What was written before it is not kept there.");
  }

  return {
    follow,
    // The log that was followed is shown no more.
    leave() {
      stop();
      places = new Map();
    },
    // A window of the log that is followed was found to be of a new file.
    fileChanged: (source) => { if (leave) followNewFile(source); },
  };
}
