"""Limits concurrent HTTP requests, in total and per client address.

A limit of connections is not enough: a request continues after its client has disconnected. A client that repeatedly sends
a request and disconnects could otherwise exhaust memory.
"""

from collections import Counter
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from trainingjob_console.concurrency import decrement
from trainingjob_console.errors import BusyError, error_response

_PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Not limited: they wait for nothing, and must be answered under load."""


class RequestLimit:
    """ASGI middleware that rejects requests above a limit with 503. WebSockets have separate limits.

    Bound: `limit` requests, and `of_address` per client address. Each counts until its handler has returned, even
    if its client has disconnected.
    """

    def __init__(self, app: ASGIApp, *, limit: int = 256, of_address: int = 128) -> None:
        self.limit: Final = limit
        self._of_address: Final = of_address
        self._app: Final = app
        self._addresses: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        return self._addresses.total()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or reject it."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        if len(self) >= self.limit or self._addresses.get(address, 0) >= self._of_address:
            error = BusyError("too many requests are being answered: try again", retry_after_s=1)
            await error_response(error)(scope, receive, send)
            return
        self._addresses[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            decrement(self._addresses, address)
