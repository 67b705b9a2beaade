"""Requests that are being answered: how many at once, in all and of one address.

The limit of connections is none to the work: a request goes on after its client has hung up, and who
sends one and hangs up, again and again, has as many as memory allows.
"""

from collections import Counter
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from trainingjob_console.concurrency import decrement
from trainingjob_console.errors import BusyError, error_response

_PROBES: Final = frozenset({"/healthz", "/readyz"})
"""They wait for nothing, and are to be answered when all else is busy."""


class RequestLimit:
    """Answers so many requests at once, and the next one with a 503; sockets have limits of their own.

    Bound: `limit` requests, of one address `of_address`. Each counts until its handler has ended,
    whether its client is still there or not.
    """

    def __init__(self, app: ASGIApp, *, limit: int = 256, of_address: int = 128) -> None:
        self.limit: Final = limit
        self._of_address: Final = of_address
        self._app: Final = app
        self._addresses: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        return self._addresses.total()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
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
