// Keys. A page adds its own for as long as it is shown; typing in a field is left alone, but for Escape.
// Sequences have two keys at most ("g j"), the second within a second.

const layers = []; // the newest first: {keys: {"j": [function, "what it does"]}}
let prefix = "";
let forget = null;

// Returns the function that takes the keys away again.
export function addKeys(keys) {
  const layer = { keys };
  layers.unshift(layer);
  return () => layers.splice(layers.indexOf(layer), 1);
}

// [[key, what it does], ...] of all that is in force.
export function allKeys() {
  const known = new Map();
  for (const { keys } of layers) {
    for (const [key, [, text]] of Object.entries(keys)) if (!known.has(key)) known.set(key, text);
  }
  return [...known];
}

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.matches?.("input:not([type=checkbox]):not([type=range]), textarea, select");
    if (typing && event.key !== "Escape") return;
    if (event.key === "Enter" && event.target.matches?.("a, button, summary, input")) return;
    const sequence = prefix + event.key;
    clearTimeout(forget);
    prefix = "";
    for (const { keys } of layers) {
      const action = keys[sequence];
      if (action) {
        event.preventDefault();
        action[0](event);
        return;
      }
    }
    if (layers.some(({ keys }) => Object.keys(keys).some((key) => key.startsWith(`${event.key} `)))) {
      prefix = `${event.key} `;
      forget = setTimeout(() => { prefix = ""; }, 1_000);
    }
  });
}
