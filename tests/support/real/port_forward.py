"""Forwards a port of a Service to this machine with `kubectl port-forward`."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from tests.support.real.real_cluster import KUBECTL

_FORWARDING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+) ->")
_PATIENCE_S = 60.0
_AGAIN = 3


@dataclass(frozen=True)
class PortForward:
    """The forwarded port.

    Attributes:
        url: without a trailing slash.
    """

    url: str

    def ask(
        self, path: str, *, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Message]:
        """Send a GET, or a POST with a body as the page does; return status, answer and headers.

        A GET is sent again where kubectl has lost the connection that it forwards.
        """
        data = None if body is None else json.dumps(body).encode()
        own = {"Content-Type": "application/json", "Origin": self.url} if data else {}
        request = urllib.request.Request(self.url + path, data, {**own, **(headers or {})})
        for _ in range(0 if data else _AGAIN):
            with suppress(OSError):  # a response with a status raises none of these
                return _answer_of(request)
            time.sleep(0.5)
        return _answer_of(request)

    def log_in(self, token: str) -> dict[str, str]:
        """Log in at the console as its page does; return the headers of the session."""
        status, _, headers = self.ask("/api/login", body={"token": token})
        assert status == 204
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        return {"Cookie": cookie.partition(";")[0]}


@contextmanager
def port_forward(
    kubeconfig: Path, namespace: str, service: str, port: int, log: Path
) -> Iterator[PortForward]:
    """Forward a port of a Service for as long as the block lasts.

    Raises:
        AssertionError: kubectl fails.
    """
    where = ("--kubeconfig", kubeconfig, "--namespace", namespace)
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [KUBECTL, *where, "port-forward", f"service/{service}", f":{port}"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while not (found := _FORWARDING.search(log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield PortForward(f"http://{found[1]}")
        finally:
            process.terminate()


def _answer_of(request: urllib.request.Request) -> tuple[int, Any, Message]:
    """Send a request; status, answer and headers, of an error, too.

    Raises:
        OSError: there is no answer.
    """
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            text, found = answer.read().decode(), answer.headers
            is_json = text and "json" in found.get("Content-Type", "")
            return answer.status, json.loads(text) if is_json else text, found
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers
