// What all pages share: a value that can be watched, and what this browser remembers of its user.
// A value keeps its watchers until they leave; a page leaves with its scope (`app.js`).

export function observable(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      if (next === value) return;
      value = next;
      for (const watcher of [...watchers]) watcher(value);
    },
    // Calls `watcher` now and on each change; returns the function that ends it.
    watch(watcher) {
      watchers.add(watcher);
      watcher(value);
      return () => watchers.delete(watcher);
    },
  };
}

// {mode, user, loginNeeded, namespaces, expires, version} of /api/session; null until it has been read.
export const session = observable(null);

// {state: "connecting" | "open" | "lost" | "paused", retryAt: milliseconds | null} of the socket.
export const connection = observable({ state: "connecting", retryAt: null });

// Choices of this browser's user: a handful of short strings. Storage may be switched off.
export function remembered(name, fallback) {
  try {
    return localStorage.getItem(`trainingjob.${name}`) ?? fallback;
  } catch {
    return fallback;
  }
}

export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(`trainingjob.${name}`);
    else localStorage.setItem(`trainingjob.${name}`, value);
  } catch { /* then it holds for this visit */ }
}
