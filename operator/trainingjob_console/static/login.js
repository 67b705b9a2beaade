// The log-in form for the user's Kubernetes token. The page does not keep the token: the server sets an HttpOnly
// cookie. Over plain HTTP there is no form: the server would reject the token, but an eavesdropper would already
// have it.

import { post } from "./api.js";
import { el, fill } from "./el.js";

export function loginPage(view, scope, onDone) {
  document.title = "Log in · Training jobs";
  if (location.protocol === "http:" && !isLoopback(location.hostname)) {
    fill(view, el("div", { class: "login" }, el("h1", {}, "Log in"), el("p", { class: "problem", role: "alert" },
      "This page was loaded over plain HTTP, so others on the network could read your token. "
      + `Open https://${location.host} instead, or use kubectl port-forward and http://localhost.`)));
    return;
  }
  const problem = el("p", { class: "problem", role: "alert" });
  const token = el("input", { type: "password", id: "token", name: "token", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-help" });
  const button = el("button", { class: "primary" }, "Log in");
  const form = el("form", { class: "login", onsubmit: (event) => {
    event.preventDefault();
    submit();
  } },
  el("h1", {}, "Log in"), el("label", { for: "token" }, "Your Kubernetes token"), token,
  el("p", { id: "token-help", class: "muted" }, "The page uses this token's rights in the cluster. To create a token that is valid for a day:"),
  el("pre", { class: "command" }, "kubectl create token SERVICEACCOUNT --duration 24h"), problem, button);

  async function submit() {
    button.disabled = true;
    fill(problem);
    try {
      await post("/api/login", { token: token.value.trim() }, scope.signal);
      token.value = "";
      await onDone();
    } catch (error) {
      fill(problem, error.message);
      token.focus();
    } finally {
      button.disabled = false;
    }
  }

  fill(view, form);
  token.focus();
}

// Returns true for loopback names, which need no TLS. The server applies the same rule.
function isLoopback(host) {
  return host === "localhost" || host === "[::1]" || /^127(\.\d+){3}$/.test(host);
}
