// How far a job is, as its trainer says it: a bar of its steps, and how long it will still take.
//
// How fast it goes is known from what this page has seen of it: the changes of the last minutes, 60 at
// most. What it was when the page was loaded may be old, and is no measure. After a restart, when steps
// are done again, it begins anew; and it says nothing of a job that has made no step for long.

import { el } from "./el.js";
import { duration, whole } from "./format.js";

const KEPT = 60;
const APART_MS = 5_000; // between two changes that are kept
const LEAST_MS = 2_000; // of time over which a pace can be told
const QUIET_MS = 10_000; // beside three times the longest pause: then the next step is overdue
const UNITS = [[1, "s"], [60, "min"], [3_600, "h"], [86_400, "day"]];

export function progressBar({ done, total }) {
  const percent = Math.floor((100 * done) / total);
  const part = el("span", { class: "bar-ready" });
  part.style.setProperty("width", `${percent}%`);
  return el("span", { class: "rank-bar progress", role: "progressbar", "aria-label": "Progress", "aria-valuemin": "0", "aria-valuemax": total,
    "aria-valuenow": done, title: stepsOf({ done, total }) }, el("span", {}, `${percent}%`), el("span", { class: "bar", "aria-hidden": "true" }, part));
}

function stepsOf({ done, total }) {
  return `${whole(done)} of ${whole(total)} steps`;
}

// The pace of one job, whose rows it is shown as they come.
export function paceOf() {
  let of = null; // the attempt and its steps in all
  let done = null;
  let changedAt = 0;
  let longest = 0; // pause between two changes
  let samples = []; // {at, done}, the oldest first

  function saw({ progress, attempt }, now = Date.now()) {
    const key = progress && `${attempt}/${progress.total}`;
    if (key !== of || !progress || progress.done < done) {
      of = key;
      done = progress ? progress.done : null;
      samples = [];
      longest = 0;
      return;
    }
    if (progress.done === done) return;
    if (samples.length) longest = Math.max(longest, now - changedAt);
    done = progress.done;
    changedAt = now;
    if (samples.length && now - samples.at(-1).at < APART_MS) return;
    samples.push({ at: now, done });
    if (samples.length > KEPT) samples.shift();
  }

  // ["3.2 steps/s", "about 12m left"], or less where less is known.
  function words(now = Date.now()) {
    const span = samples.length ? changedAt - samples[0].at : 0;
    if (span < LEAST_MS) return [];
    if (now - changedAt > 3 * longest + QUIET_MS) return [`last step ${duration((now - changedAt) / 1_000)} ago`];
    const rate = (1_000 * (done - samples[0].done)) / span;
    const left = (Number(of.split("/")[1]) - done) / rate;
    return [rateText(rate), left > 0 && `about ${duration(rounded(left))} left`];
  }

  // Says it, and goes on saying it as time passes.
  function show(row) {
    saw(row);
    if (!row.progress) return null;
    const rest = el("span", { class: "pace running-time" });
    rest.refresh = () => { rest.textContent = row.phase === "Running" ? words().filter(Boolean).map((each) => ` · ${each}`).join("") : ""; };
    rest.refresh();
    return [progressBar(row.progress), ` ${stepsOf(row.progress)}`, rest];
  }

  return { saw, words, show };
}

// In the shortest unit of time in which there is a step: 0.2 steps a second are 12 a minute.
function rateText(rate) {
  const [seconds, unit] = UNITS.find(([length]) => rate * length >= 1) ?? UNITS.at(-1);
  const count = rate * seconds;
  return `${count < 10 ? count.toFixed(1) : whole(Math.round(count))} steps/${unit}`;
}

// An estimate that is not told to the second.
function rounded(seconds) {
  const step = seconds < 60 ? 5 : seconds < 600 ? 10 : 60;
  return Math.max(step, Math.ceil(seconds / step) * step);
}
