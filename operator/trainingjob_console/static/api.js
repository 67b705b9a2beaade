// The console's HTTP API. Every answer is JSON; every failure is an ApiError with a sentence for people.
// A request is given up after 30 s. A page gives its `signal`, so that leaving it ends what it asked for.

const DEADLINE_MS = 30_000;

export class ApiError extends Error {
  constructor(status, reason, message) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

let onLoginNeeded = () => {};

// Has `callback` called when the server does not know the user (any more).
export function whenLoginNeeded(callback) {
  onLoginNeeded = callback;
}

export async function get(path, parameters = {}, signal = null) {
  return request(path + query(parameters), { signal });
}

export async function post(path, body = {}, signal = null) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

// "?a=1&b=2" of what is set; lists become repeated parameters.
export function query(parameters) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") search.append(name, each);
    }
  }
  const text = search.toString();
  return text && `?${text}`;
}

async function request(path, { signal, ...options }) {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
  let response;
  try {
    response = await fetch(path, { ...options, signal: either, credentials: "same-origin" });
    if (response.ok) return response.status === 204 ? null : await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (deadline.aborted) throw new ApiError(0, "Timeout", "The console has not answered for 30 seconds. Try again.");
    throw new ApiError(0, "Unreachable", "The console can not be reached. Is it running, and is the network up?");
  }
  const failure = await failureOf(response);
  if (failure.status === 401 && path !== "/api/login") onLoginNeeded();
  throw failure;
}

async function failureOf(response) {
  try {
    const { error } = await response.json();
    return new ApiError(response.status, String(error.reason), String(error.message));
  } catch {
    return new ApiError(response.status, "Unknown", `The console answered ${response.status} ${response.statusText}.`);
  }
}

// True if the same request may succeed later: the console or what is behind it is away, or too busy.
export function mayPass({ status }) {
  return status === 0 || status === 429 || status >= 500;
}

// True if this is what a page gets for leaving: nothing to show.
export function isAbort(error) {
  return error?.name === "AbortError";
}
