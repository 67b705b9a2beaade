"""The addresses of the operators: a name that leads to several is asked for all of them.

So the name of a headless Service finds each operator, and no right to look at pods is needed.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from trainingjob_web.listener import bracketed

MAX_OPERATORS: Final = 8
"""Addresses at most; those beyond it are not asked."""

_PATIENCE_S: Final = 5.0
_PORTS: Final = {"http": 80, "https": 443}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses that a name has, of one family; raises OSError."""


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in order, and of the family that the system puts first.

    Raises:
        OSError: the name has none, or nobody knows.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family = found[0][0]
    return sorted({str(each[4][0]) for each in found if each[0] == family})


class Addresses:
    """The addresses of the operators' metrics, as they are now."""

    def __init__(self, urls: Sequence[str], resolve: Resolve = resolve) -> None:
        """Remember the names.

        Args:
            urls: of their metrics, with a name or an address as host.
            resolve: asks for the addresses of a name.
        """
        self._urls: Final = tuple(urls)[:MAX_OPERATORS]
        self._resolve: Final = resolve
        self._asked: Final[dict[str, asyncio.Task[Sequence[str]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._urls)

    async def now(self) -> list[str]:
        """Return a URL for each address; that of a name as it is, if nobody knows its addresses."""
        found = await asyncio.gather(*(self._of(url) for url in self._urls))
        return list(dict.fromkeys(url for urls in found for url in urls))[:MAX_OPERATORS]

    async def _of(self, url: str) -> list[str]:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # A thread asks, and nobody can end it: there is one for each name, however long it takes.
        task = self._asked.get(url)
        if task is None:
            port = parts.port or _PORTS.get(parts.scheme, 80)
            task = asyncio.ensure_future(self._resolve(host, port))
            self._asked[url] = task
        await asyncio.wait([task], timeout=_PATIENCE_S)
        if not task.done():
            return [url]
        del self._asked[url]
        if task.exception() is not None:
            return [url]
        suffix = f":{parts.port}" if parts.port else ""
        return [
            urlunsplit(parts._replace(netloc=f"{bracketed(address)}{suffix}"))
            for address in task.result()
        ] or [url]
