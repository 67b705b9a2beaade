// Client of the console's HTTP API. Responses are JSON; every failure is an ApiError with a message for the user.
// A request times out after 30 s. A page passes its `signal`, so that its requests are aborted when it is left.

const DEADLINE_MS = 30_000;

export class ApiError extends Error {
  constructor(status, reason, message) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

let onLoginNeeded = () => {};

// Sets the callback for status 401: the user is not logged in, or no longer.
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

// Returns a query string such as "?a=1&b=2". Empty values are omitted; arrays become repeated parameters.
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
    throw new ApiError(0, "Unreachable", "The console cannot be reached. Is it running, and is the network up?");
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

// Returns true if the same request may succeed later: the console or its backend is unavailable or overloaded.
export function isTransient({ status }) {
  return status === 0 || status === 429 || status >= 500;
}

// Returns true if the request was aborted because its page was left: there is nothing to show.
export function isAbort(error) {
  return error?.name === "AbortError";
}
