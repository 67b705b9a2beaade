// State shared by all pages: observable values, and settings in local storage. A watcher stays until it is removed;
// a page removes its own when its scope ends (`app.js`).

export function observable(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      if (next === value) return;
      value = next;
      for (const watcher of [...watchers]) watcher(value);
    },
    // Calls `watcher` now and on each change; returns the function that removes it.
    watch(watcher) {
      watchers.add(watcher);
      watcher(value);
      return () => watchers.delete(watcher);
    },
  };
}

// {mode, user, loginNeeded, namespaces, expires, version} of /api/session; null until it has been loaded.
export const session = observable(null);

// {state: "connecting" | "open" | "lost" | "paused", retryAt: milliseconds | null} of the socket.
export const connection = observable({ state: "connecting", retryAt: null });

// Reads a setting from local storage, which may be disabled.
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
  } catch { /* storage is disabled: the setting applies to this visit only */ }
}
