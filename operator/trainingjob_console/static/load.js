// Reloads the page if one of its files failed to load: the network has changed, or the console was replaced by
// another version, which has other files. This script is not a module, because a missing module keeps all
// modules from running.
//
// The delay starts at 1 s and doubles up to 30 s, with jitter. The tab's session storage counts the reloads until
// the page has loaded completely.

const LOADS = "trainingjob.loads";
let isWhole = true;

addEventListener("error", ({ target }) => {
  const isPart = target.tagName === "SCRIPT" || target.rel === "stylesheet"; // a failed file, not an error thrown by a script
  if (!isPart || !isWhole) return;
  isWhole = false;
  const before = Number(withStorage(() => sessionStorage.getItem(LOADS)));
  withStorage(() => sessionStorage.setItem(LOADS, before + 1));
  const words = document.createElement("p");
  words.className = "noscript";
  words.setAttribute("role", "status");
  words.textContent = "A part of this page failed to load. It will reload in a moment.";
  document.documentElement.append(words);
  setTimeout(() => location.reload(), Math.min(30_000, 1_000 * 2 ** before) * (0.5 + Math.random() / 2));
}, { capture: true });

addEventListener("load", () => {
  if (isWhole) withStorage(() => sessionStorage.removeItem(LOADS));
});

// Session storage may be disabled; then the delay is always 1 s.
function withStorage(work) {
  try {
    return work();
  } catch {
    return null;
  }
}
