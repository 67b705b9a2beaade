// A time series chart: lines, an area under the first one, a limit line, axes, and a cursor that shows the values
// (moved with the mouse or the arrow keys). Drawn as SVG, and redrawn when its data or width change.
//
// Limits: 6 series of 600 points each. Of longer series the maximum of each interval is drawn, so that no
// peak is lost. A gap in the data is a gap in the line.

import { el, fill, svg } from "./el.js";

const HEIGHT = 150;
const MARGIN = { left: 56, right: 12, top: 10, bottom: 22 };
const MOST_POINTS = 600;

// `format(value)` formats a value with its unit. Returns {node, show({series: [{name, points}], limit, from, to})}.
export function chart(title, format, { unit = "" } = {}) {
  const drawing = svg("svg", { class: "chart", role: "img", tabindex: "0", height: HEIGHT });
  const reading = el("div", { class: "reading", role: "status", "aria-live": "off" });
  const heading = el("h2", {}, title);
  const legend = el("div", { class: "legend" });
  const node = el("figure", { class: "figure" }, el("figcaption", {}, heading, reading), drawing, legend);
  let data = null;
  let scale = null;
  let at = null; // index of the time that the cursor is at
  let width = 0;

  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width || now === 0) return;
    width = now;
    draw();
  }).observe(node);
  drawing.addEventListener("pointermove", (event) => {
    const x = event.clientX - drawing.getBoundingClientRect().left;
    read(nearest(scale?.time(x)));
  });
  drawing.addEventListener("pointerleave", () => read(null));
  drawing.addEventListener("blur", () => read(null));
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !data) return;
    event.preventDefault();
    const length = data.series[0].points.length;
    read(Math.min(length - 1, Math.max(0, (at ?? length) + step)));
  });

  function show(next) {
    data = { ...next, series: next.series.slice(0, 6).map((each) => ({ ...each, points: thinned(each.points) })) };
    at = null;
    draw();
  }

  function draw() {
    if (!data || !width) return;
    const { series, limit, from, to } = data;
    const values = series.flatMap(({ points }) => points.map(([, value]) => value)).filter((value) => value !== null);
    const highest = Math.max(0, ...values);
    // A limit far above all values would flatten them: then it appears in the text only.
    const limitShown = limit && highest > limit / 8;
    const top = niceTop(limitShown ? Math.max(highest, limit) : highest, unit);
    scale = scaleOf({ width, from, to, top });
    drawing.setAttribute("width", width);
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const last = series[0].points.findLast(([, value]) => value !== null);
    drawing.setAttribute("aria-label", `${title}: ${last ? `now ${format(last[1])}, highest ${format(highest)}` : "no data"}${limit ? `, limit ${format(limit)}` : ""}`);
    drawing.replaceChildren(...axes(scale, top, format, { from, to }), ...series.flatMap((each, i) => shapes(each.points, scale, i)),
      ...(limitShown ? [limitLine(scale, limit)] : []), pointer);
    pointer.replaceChildren();
    const now = series.map(({ name, points }, i) => [i > 0 && ", ", el("strong", {}, format(points.findLast(([, value]) => value !== null)?.[1] ?? 0)), series.length > 1 && ` ${name}`]);
    fill(reading, last ? [now, limit ? ` of ${format(limit)}` : ""] : el("span", { class: "muted" }, "no data yet"));
    fill(legend, series.length > 1 && series.map(({ name }, i) => el("span", { class: `key key-${i}` }, name)));
  }

  const pointer = svg("g", { class: "pointer" });

  function nearest(time) {
    const points = data?.series[0].points ?? [];
    if (time === undefined || !points.length) return null;
    let best = 0;
    for (let i = 1; i < points.length; i += 1) if (Math.abs(points[i][0] - time) < Math.abs(points[best][0] - time)) best = i;
    return best;
  }

  function read(index) {
    if (!data || !scale) return;
    at = index;
    if (index === null) {
      draw();
      return;
    }
    const [moment] = data.series[0].points[index];
    const x = scale.x(moment);
    const found = data.series.map(({ name, points }) => ({ name, value: points[Math.min(index, points.length - 1)]?.[1] ?? null }));
    pointer.replaceChildren(svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
      ...found.map(({ value }, i) => value !== null && svg("circle", { class: `dot-${i}`, cx: x, cy: scale.y(value), r: 3 })).filter(Boolean));
    const clock = new Date(moment * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    fill(reading, `${clock}  `, found.map(({ name, value }) => [data.series.length > 1 && `${name} `, el("strong", {}, value === null ? "–" : format(value)), " "]));
  }

  return { node, show };
}

function scaleOf({ width, from, to, top }) {
  const inner = Math.max(10, width - MARGIN.left - MARGIN.right);
  const high = HEIGHT - MARGIN.top - MARGIN.bottom;
  const span = Math.max(1, to - from);
  return {
    width,
    x: (time) => MARGIN.left + (inner * (time - from)) / span,
    y: (value) => MARGIN.top + high * (1 - value / top),
    time: (x) => from + (span * (x - MARGIN.left)) / inner,
  };
}

function axes(scale, top, format, { from, to }) {
  const lines = [];
  for (const share of [0, 0.5, 1]) {
    const y = scale.y(top * share);
    lines.push(svg("line", { class: "grid", x1: MARGIN.left, x2: scale.width - MARGIN.right, y1: y, y2: y }),
      svg("text", { class: "tick", x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, format(top * share)));
  }
  for (const moment of moments(from, to, scale.width)) {
    const text = new Date(moment * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    lines.push(svg("text", { class: "tick", x: scale.x(moment), y: HEIGHT - 6, "text-anchor": "middle" }, text));
  }
  return lines;
}

// Returns round local times for the axis, about 90 pixels apart.
function moments(from, to, width) {
  const steps = [60, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400];
  const step = steps.find((each) => (to - from) / each <= Math.max(2, width / 90)) ?? 86_400;
  const shift = new Date(from * 1000).getTimezoneOffset() * 60;
  const found = [];
  const edge = (to - from) * 0.04;
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= to; at += step) {
    if (at >= from + edge && at <= to - edge) found.push(at);
  }
  return found;
}

function shapes(points, scale, number) {
  const pieces = [];
  let piece = [];
  for (const [time, value] of [...points, [0, null]]) {
    if (value !== null) piece.push(`${scale.x(time).toFixed(1)},${scale.y(value).toFixed(1)}`);
    else if (piece.length) {
      pieces.push(piece);
      piece = [];
    }
  }
  const ground = scale.y(0).toFixed(1);
  const areas = number ? [] : pieces.filter((each) => each.length > 1).map((each) => svg("path", { class: "area",
    d: `M${each[0].split(",")[0]},${ground}L${each.join("L")}L${each.at(-1).split(",")[0]},${ground}Z` }));
  return [...areas, ...pieces.map((each) => (each.length > 1
    ? svg("path", { class: `series series-${number}`, d: `M${each.join("L")}` })
    : svg("circle", { class: `dot-${number}`, cx: each[0].split(",")[0], cy: each[0].split(",")[1], r: 2.5 })))];
}

function limitLine(scale, limit) {
  const y = scale.y(limit);
  return svg("line", { class: "limit", x1: MARGIN.left, x2: scale.width - MARGIN.right, y1: y, y2: y });
}

// Returns a round number above all values: for bytes one that is round in KiB, MiB or GiB, for counts one whose
// half is a whole number, too.
function niceTop(value, unit) {
  const parts = ["bytes", "seconds", "ratio"].includes(unit);
  if (value <= 0) return parts ? 1 : 2;
  const thousand = unit === "bytes" ? 1024 ** Math.floor(Math.log2(value) / 10) : 1;
  if (thousand > 1) return thousand * niceTop(value / thousand, "ratio");
  const size = parts ? 10 ** Math.floor(Math.log10(value)) : Math.max(1, 10 ** Math.floor(Math.log10(value)));
  const steps = parts || size > 1 ? [1, 2, 2.5, 4, 5, 6, 8, 10] : [2, 4, 6, 8, 10];
  return steps.map((step) => step * size).find((step) => step >= value) ?? 10 * size;
}

function thinned(points) {
  if (points.length <= MOST_POINTS) return points;
  const stretch = Math.ceil(points.length / MOST_POINTS);
  const found = [];
  for (let i = 0; i < points.length; i += stretch) {
    found.push(points.slice(i, i + stretch).reduce((best, point) => ((point[1] ?? -Infinity) > (best[1] ?? -Infinity) ? point : best)));
  }
  return found;
}
