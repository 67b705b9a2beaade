// Loads the page again where a part of it did not come: the network has changed meanwhile, or the console
// was replaced by one of another version, which has other files. It is no module: where one of those is
// missing, none of them runs.
//
// It waits for a second at first, and twice as long each time up to 30 s, each shortened by chance. The tab
// keeps how often it was, until a page has come whole.

const LOADS = "trainingjob.loads";
let isWhole = true;

addEventListener("error", ({ target }) => {
  const isPart = target.tagName === "SCRIPT" || target.rel === "stylesheet"; // not an error in a script that has come
  if (!isPart || !isWhole) return;
  isWhole = false;
  const before = Number(kept(() => sessionStorage.getItem(LOADS)));
  kept(() => sessionStorage.setItem(LOADS, before + 1));
  const words = document.createElement("p");
  words.className = "noscript";
  words.setAttribute("role", "status");
  words.textContent = "A part of this page did not come. It is loaded again in a moment.";
  document.documentElement.append(words);
  setTimeout(() => location.reload(), Math.min(30_000, 1_000 * 2 ** before) * (0.5 + Math.random() / 2));
}, { capture: true });

addEventListener("load", () => {
  if (isWhole) kept(() => sessionStorage.removeItem(LOADS));
});

// Storage may be switched off: then it waits for a second each time.
function kept(work) {
  try {
    return work();
  } catch {
    return null;
  }
}
