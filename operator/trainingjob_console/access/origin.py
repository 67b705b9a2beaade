"""Checks the `Host` and `Origin` headers: protects against DNS rebinding and cross-site requests."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from trainingjob_console.errors import ForbiddenError
from trainingjob_console.settings import Settings
from trainingjob_web.listener import is_loopback

_PORT: Final = re.compile(r":([0-9]{1,5})$", re.ASCII)
_HTTP_PORT: Final = 80
_TLS: Final = ("https", "wss")


class Origins:
    """The console's own origins: the request's `Host`, and the ones in the settings."""

    def __init__(self, settings: Settings) -> None:
        self._more: Final = frozenset(settings.origins)
        self._hosts: Final = frozenset(urlsplit(origin).netloc for origin in settings.origins)
        self._only_loopback: Final = settings.auth == "none"

    def check_host(self, connection: HTTPConnection) -> None:
        """Check the `Host` header of a request.

        Without a log-in a page of a foreign domain that resolves to this machine (DNS rebinding)
        could read everything.

        Raises:
            ForbiddenError: there is no log-in, and the name is neither a loopback name nor configured.
        """
        host = connection.headers.get("host", "").lower()
        if self._only_loopback and not is_loopback(host_name(host)) and host not in self._hosts:
            raise ForbiddenError("without a log-in the console is served as localhost only")

    def check(self, connection: HTTPConnection, *, header_token: bool) -> None:
        """Check that the request was sent by a page of the console.

        Args:
            connection: a request that changes something, or a WebSocket.
            header_token: True if the token is in a header, which no page of another origin can send.

        Raises:
            ForbiddenError: `Origin` is missing, or neither matches `Host` nor is configured.
        """
        origin = connection.headers.get("origin", "").lower()
        if not origin and header_token:
            return
        host = connection.headers.get("host", "").lower()
        scheme, _, authority = origin.partition("://")
        if scheme in ("http", "https") and host and authority == host:
            return
        if origin not in self._more:
            raise ForbiddenError(
                "this request comes from a page of another origin; if a proxy changes the origin, "
                "put the one that browsers use into TRAININGJOB_CONSOLE_ORIGINS"
            )


def is_secure(connection: HTTPConnection, origins: Sequence[str]) -> bool:
    """Return True if the browser uses TLS, to the console or to a proxy in front of it.

    `X-Forwarded-Proto` takes precedence over the configured origins, because a proxy may serve the same
    name over plain HTTP, too. For a WebSocket some proxies send `wss`.
    """
    forwarded = connection.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    if forwarded:
        return forwarded in _TLS
    if connection.url.scheme in _TLS:
        return True
    host = connection.headers.get("host", "").lower()
    return f"https://{host}" in origins


def is_local(connection: HTTPConnection) -> bool:
    """Return True if the browser connects to a loopback address, where nobody can eavesdrop."""
    return is_loopback(host_name(connection.headers.get("host", "")))


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without the port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def host_port(host: str) -> int:
    """Return the port in a `Host` header; without one, that of plain HTTP."""
    found = _PORT.search(host)
    return int(found[1]) if found else _HTTP_PORT
