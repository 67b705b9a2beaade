// Notices: a toast that disappears after 5 s, and an error strip that stays until it is closed. Both are ARIA live
// regions, so screen readers announce them. Each shows only the newest message.

import { el, fill } from "./el.js";

const passing = el("div", { class: "toast", role: "status", "aria-live": "polite", hidden: true });
const staying = el("div", { class: "strip strip-problem", role: "alert", hidden: true });
let fading = null;

export const notices = [staying, passing];

export function announce(text) {
  clearTimeout(fading);
  passing.hidden = false;
  fill(passing, text);
  fading = setTimeout(() => { passing.hidden = true; }, 5_000);
}

export function failure(error) {
  staying.hidden = false;
  fill(staying, el("span", {}, error.message),
    el("button", { type: "button", class: "quiet", "aria-label": "Close this message", onclick: clearFailure }, "✕"));
}

export function clearFailure() {
  staying.hidden = true;
  fill(staying);
}
