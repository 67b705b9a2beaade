// Renders ANSI escape sequences of a line. Only SGR (`ESC [ ... m`) is interpreted, and of that only
// colours, bold, dim, italic, underline and inverse; all other sequences are dropped. Text is never parsed as HTML.
//
//   ansiNodes("\x1b[31mred\x1b[0m plain")   ->   [<span class="c1">red</span>, "plain"]
//
// Limits: a line becomes at most 512 pieces, the last of which is the rest of it. Colours do not carry over from the
// previous line: lines are drawn one at a time, and most of them not at all.

const PIECES = 512;
// CSI, OSC and other two-byte sequences, then single control characters except tab.
const SEQUENCE = /\x1b\[([0-9;:]*)m|\x1b\[[0-9;:?<=>]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f]/g;

export function plainText(text) {
  return text.includes("\x1b") || /[\x00-\x08\x0b-\x1f\x7f]/.test(text) ? text.replace(SEQUENCE, "") : text;
}

export function ansiNodes(text) {
  if (!text.includes("\x1b")) return [plainText(text)];
  const made = [];
  let style = {};
  let from = 0;
  for (const found of text.matchAll(SEQUENCE)) {
    if (made.length >= PIECES) break;
    if (found.index > from) made.push(piece(text.slice(from, found.index), style));
    from = found.index + found[0].length;
    if (found[1] !== undefined) style = changed(style, found[1]);
  }
  if (from < text.length) made.push(piece(plainText(text.slice(from)), style));
  return made;
}

function piece(text, style) {
  const classes = ["bold", "dim", "italic", "underline", "inverse"].filter((name) => style[name]);
  const colours = [["color", style.ink, "c"], ["background-color", style.paper, "b"]];
  for (const [, colour, letter] of colours) if (typeof colour === "number") classes.push(`${letter}${colour}`);
  const mixed = colours.filter(([, colour]) => typeof colour === "string");
  if (!classes.length && !mixed.length) return text;
  const node = document.createElement("span");
  if (classes.length) node.className = classes.join(" ");
  for (const [property, colour] of mixed) node.style.setProperty(property, colour);
  node.textContent = text;
  return node;
}

const ON = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse" };
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 39: ["ink"], 49: ["paper"] };

// Returns the style after one SGR sequence. Colours 0 to 15 are CSS classes, which suit dark and light themes.
function changed(style, codes) {
  const next = { ...style };
  const list = codes.split(/[;:]/).map(Number);
  for (let i = 0; i < list.length; i += 1) {
    const code = list[i];
    if (code === 0) for (const name of Object.keys(next)) delete next[name];
    else if (ON[code]) next[ON[code]] = true;
    else if (OFF[code]) for (const name of OFF[code]) delete next[name];
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(list, i + 1);
      if (colour !== null) next[code === 38 ? "ink" : "paper"] = colour;
      i += used;
    } else if (code >= 30 && code <= 37) next.ink = code - 30;
    else if (code >= 90 && code <= 97) next.ink = code - 82;
    else if (code >= 40 && code <= 47) next.paper = code - 40;
    else if (code >= 100 && code <= 107) next.paper = code - 92;
  }
  return next;
}

// Parses an extended colour: 5;n (256 colours) or 2;r;g;b. Returns [class number | CSS colour | null, codes consumed].
function extended(list, at) {
  if (list[at] === 5) {
    const n = list[at + 1];
    if (!(n >= 0 && n <= 255)) return [null, 2];
    if (n < 16) return [n, 2];
    if (n >= 232) return [`rgb(${Array(3).fill(8 + (n - 232) * 10)})`, 2];
    const level = (step) => (step ? 55 + step * 40 : 0);
    const cube = n - 16;
    return [`rgb(${[level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)]})`, 2];
  }
  if (list[at] === 2) {
    const parts = list.slice(at + 1, at + 4);
    return [parts.length === 3 && parts.every((n) => n >= 0 && n <= 255) ? `rgb(${parts})` : null, 4];
  }
  return [null, 1];
}
