"""The places that a request may come from: a page of another origin can send requests, with cookies."""

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
    """The origins that are the console's own."""

    def __init__(self, settings: Settings) -> None:
        self._more: Final = frozenset(settings.origins)
        self._hosts: Final = frozenset(urlsplit(origin).netloc for origin in settings.origins)
        self._only_loopback: Final = settings.auth == "none"

    def check_host(self, connection: HTTPConnection) -> None:
        """Return if the request came here under a name that is this machine's.

        Without a log-in a foreign page whose name was made to point here would see all.

        Raises:
            ForbiddenError: there is no log-in, and the name is neither a loopback's nor configured.
        """
        host = connection.headers.get("host", "").lower()
        if self._only_loopback and not is_loopback(host_name(host)) and host not in self._hosts:
            raise ForbiddenError("without a log-in the console is served as localhost only")

    def check(self, connection: HTTPConnection, *, header_token: bool) -> None:
        """Return if the request came from a page of ours.

        Args:
            connection: a request that changes something, or a WebSocket.
            header_token: a token came in a header, which no page of another origin can send.

        Raises:
            ForbiddenError: `Origin` is neither `Host` nor configured, or is missing.
        """
        origin = connection.headers.get("origin", "").lower()
        if not origin and header_token:
            return
        host = connection.headers.get("host", "").lower()
        scheme, _, place = origin.partition("://")
        if scheme in ("http", "https") and host and place == host:
            return
        if origin not in self._more:
            raise ForbiddenError(
                "this request comes from a page of another origin; name the one that browsers see "
                "in TRAININGJOB_CONSOLE_ORIGINS if a proxy changes it"
            )


def is_secure(connection: HTTPConnection, origins: Sequence[str]) -> bool:
    """Return True if the browser speaks TLS, with us or with the proxy before us.

    A proxy that says how the browser came is believed: the origins of the settings have a name that
    the same proxy may serve over plain HTTP, too. Of a WebSocket some proxies say `wss`.
    """
    forwarded = connection.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    if forwarded:
        return forwarded in _TLS
    if connection.url.scheme in _TLS:
        return True
    host = connection.headers.get("host", "").lower()
    return f"https://{host}" in origins


def is_local(connection: HTTPConnection) -> bool:
    """Return True if the browser speaks to a loopback address: nobody listens in between."""
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
