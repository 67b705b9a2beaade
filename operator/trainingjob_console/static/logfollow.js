// Follows a live log over the socket, from the end of what the page has.
//
// The merged live log has no byte offsets of its own: after a lost connection it resumes at the offset of each rank's
// log. A line in the log marks what the socket skipped.

import { isAbort } from "./api.js";
import { backoff } from "./backoff.js";
import { TAIL } from "./logpane.js";
import { announce } from "./notice.js";
import { isPermanent, subscribe } from "./socket.js";

// `clearWindow()`: called when the merged log must be cleared, because what follows cannot be joined to it;
// `ended(source)`: called when nothing more will be written to the log.
export function logFollower(uid, signal, pane, { clearWindow, ended }) {
  const waits = backoff();
  let leave = null;
  let again = null;
  let places = new Map(); // of the merged live log: rank -> the position up to which its log was received

  function follow(source) {
    stop();
    leave = subscribe(() => {
      const { log } = pane;
      return { kind: "logs", uid, source: source.id, offset: log.atEnd ? log.end : log.size, file: log.file, places: [...places.values()] };
    }, (received) => {
      if (received.type === "log") appendLive(received);
      else if (received.type === "gap") handleGap(received);
      else if (received.type === "error") {
        stop();
        handleError(source, received);
      } else if (received.type === "end") {
        stop();
        if (received.reason === "rotated") followRotated(source);
        else ended(source);
      }
    });
  }

  function stop() {
    leave?.();
    leave = null;
    clearTimeout(again);
  }

  // If the page shows another part of the log, only the log's known size changes.
  function appendLive(received) {
    const { log } = pane;
    waits.worked();
    if (received.place) places.set(received.place.split(":")[0], received.place);
    if (!log.append(received)) pane.refresh();
    log.loadFileName().catch(() => {}); // the pod may have been deleted: the page keeps what it has
  }

  function handleGap(gap) {
    const { log } = pane;
    if (log.onlyLive) log.gap(gap);
    else log.extendTo(gap.to);
    pane.refresh();
  }

  // Retries with back-off. A log that no longer exists may have been archived: then it has ended.
  function handleError(source, { reason, message }) {
    if (reason === "NotFound") {
      ended(source);
      return;
    }
    pane.say(message, true);
    if (isPermanent(reason)) return;
    again = setTimeout(() => follow(source), waits.next());
  }

  // Handles log rotation: the offset is one of the older file, so the log is followed from the end of the new one.
  async function followRotated(source) {
    if (pane.log.onlyLive) {
      places = new Map();
      clearWindow();
    }
    const mine = pane.log;
    mine.resetFile();
    try {
      await mine.jump(TAIL);
      if (mine === pane.log && !leave && !signal.aborted) followNewFile(source);
    } catch (error) {
      if (mine === pane.log && !isAbort(error)) handleError(source, error);
    }
  }

  function followNewFile(source) {
    follow(source);
    announce("The node has rotated this log. Earlier lines are no longer available there.");
  }

  return {
    follow,
    // Stops following: another log is shown.
    leave() {
      stop();
      places = new Map();
    },
    // Restarts following, because a response showed that the log was rotated.
    fileChanged: (source) => { if (leave) followNewFile(source); },
  };
}
