// Client-side router. All state of a page is in its URL: a reload, a bookmark or a copied link shows the same.
//
// A route is a path with parameters (`/jobs/:namespace/:name`); each page defines its own query parameters.
// `go` navigates to an address; `refine` changes query parameters of the current one.

const routes = [];
let changed = () => {};

export function route(pattern, page) {
  const names = [];
  const source = pattern.replace(/:(\w+)/g, (_, name) => {
    names.push(name);
    return "([^/]+)";
  });
  routes.push({ expression: new RegExp(`^${source}/?$`), names, page });
}

// Calls `callback` with {page, path, parameters, search} now and whenever the address changes.
export function startRouter(callback) {
  changed = () => callback(current());
  addEventListener("popstate", changed);
  document.addEventListener("click", followed);
  changed();
}

export function current() {
  const search = new URLSearchParams(location.search);
  for (const { expression, names, page } of routes) {
    const found = expression.exec(location.pathname);
    if (found) {
      const parameters = Object.fromEntries(names.map((name, i) => [name, decoded(found[i + 1])]));
      return { page, path: location.pathname, parameters, search };
    }
  }
  return { page: null, path: location.pathname, parameters: {}, search };
}

export function go(address) {
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  changed();
}

// Changes some query parameters of the address; null or "" removes one.
export function refine(changes, { replace = false, render = true } = {}) {
  const search = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") search.delete(name);
    else search.set(name, value);
  }
  const text = search.toString();
  const address = location.pathname + (text && `?${text}`);
  if (address === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  if (render) changed();
}

export function jobAddress(row, part = "") {
  const path = `/jobs/${encodeURIComponent(row.namespace)}/${encodeURIComponent(row.name)}${part}`;
  return row.uid ? `${path}?uid=${encodeURIComponent(row.uid)}` : path;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Follows internal links without reloading the page; clicks with a modifier key are left to the browser.
function followed(event) {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.origin !== location.origin || link.target || link.hasAttribute("download")) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
