// The progress that a job's trainer reports: a bar of its steps, the rate, and the estimated time left.
//
// The rate is computed from the changes that this page has received, at most 60 samples. The value at
// loading time is not used, because it may be old. After a restart, when steps are repeated, the samples are
// discarded. If the next step is overdue, the time of the last step is shown instead of an estimate.

import { el } from "./el.js";
import { duration, whole } from "./format.js";

const MAX_SAMPLES = 60;
const SAMPLE_INTERVAL_MS = 5_000; // the minimum time between two samples
const MIN_SPAN_MS = 2_000; // the minimum time for which a rate is computed
const OVERDUE_MS = 10_000; // the next step is overdue after this time plus three times the longest pause
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

// Returns the progress display of one job; pass it each new row.
export function progressDisplay() {
  let of = null; // the attempt and its total steps
  let done = null;
  let changedAt = 0;
  let longest = 0; // pause between two changes
  let samples = []; // {at, done}, the oldest first

  function observe({ progress, attempt }, now = Date.now()) {
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
    if (samples.length && now - samples.at(-1).at < SAMPLE_INTERVAL_MS) return;
    samples.push({ at: now, done });
    if (samples.length > MAX_SAMPLES) samples.shift();
  }

  // Returns ["3.2 steps/s", "about 12m left"], or fewer texts if less is known.
  function words(now = Date.now()) {
    const span = samples.length ? changedAt - samples[0].at : 0;
    if (span < MIN_SPAN_MS) return [];
    if (now - changedAt > 3 * longest + OVERDUE_MS) return [`last step ${duration((now - changedAt) / 1_000)} ago`];
    const rate = (1_000 * (done - samples[0].done)) / span;
    const left = (Number(of.split("/")[1]) - done) / rate;
    return [rateText(rate), left > 0 && `about ${duration(rounded(left))} left`];
  }

  // Returns the nodes of the display, which updates itself as time passes.
  function show(row) {
    observe(row);
    if (!row.progress) return null;
    const rest = el("span", { class: "pace running-time" });
    rest.refresh = () => { rest.textContent = row.phase === "Running" ? words().filter(Boolean).map((each) => ` · ${each}`).join("") : ""; };
    rest.refresh();
    return [progressBar(row.progress), ` ${stepsOf(row.progress)}`, rest];
  }

  return { observe, words, show };
}

// Formats a rate in the shortest unit of time with at least one step: 0.2 steps/s become 12 steps/min.
function rateText(rate) {
  const [seconds, unit] = UNITS.find(([length]) => rate * length >= 1) ?? UNITS.at(-1);
  const count = rate * seconds;
  return `${count < 10 ? count.toFixed(1) : whole(Math.round(count))} steps/${unit}`;
}

// Rounds an estimate up to 5 s, 10 s or a minute, depending on its size.
function rounded(seconds) {
  const step = seconds < 60 ? 5 : seconds < 600 ? 10 : 60;
  return Math.max(step, Math.ceil(seconds / step) * step);
}
