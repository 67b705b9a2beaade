// Keyboard shortcuts. A page adds its own while it is shown. In input fields only Escape is handled.
// Sequences have at most two keys ("g j"), the second within a second of the first.

const layers = []; // the newest first: {keys: {"j": [function, "description"]}}
let prefix = "";
let forget = null;

// Adds shortcuts; returns the function that removes them.
export function addKeys(keys) {
  const layer = { keys };
  layers.unshift(layer);
  return () => layers.splice(layers.indexOf(layer), 1);
}

// Returns [[key, description], ...] of all active shortcuts.
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
