"""Resolves the metrics URLs of the operators to one URL per address.

So the name of a headless Service leads to each operator, without a right to list pods.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from trainingjob_web.listener import bracketed

MAX_OPERATORS: Final = 8
"""Maximum number of addresses; further ones are not scraped."""

_RESOLVE_TIMEOUT_S: Final = 5.0
_PORTS: Final = {"http": 80, "https": 443}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name, of one address family; raises OSError."""


async def resolve(host: str, port: int) -> list[str]:
    """Return the sorted addresses of a host, of the address family that the system prefers.

    Raises:
        OSError: the name cannot be resolved.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family = found[0][0]
    return sorted({str(each[4][0]) for each in found if each[0] == family})


class Addresses:
    """The current addresses of the operators' metrics."""

    def __init__(self, urls: Sequence[str], resolve: Resolve = resolve) -> None:
        """Initialize without resolving anything.

        Args:
            urls: of the operators' metrics; the host is a name or an address.
            resolve: resolves a host name.
        """
        self._urls: Final = tuple(urls)[:MAX_OPERATORS]
        self._resolve: Final = resolve
        self._lookups: Final[dict[str, asyncio.Task[Sequence[str]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._urls)

    async def resolved(self) -> list[str]:
        """Return a URL for each address; a URL whose name cannot be resolved is returned unchanged."""
        found = await asyncio.gather(*(self._resolved_url(url) for url in self._urls))
        return list(dict.fromkeys(url for urls in found for url in urls))[:MAX_OPERATORS]

    async def _resolved_url(self, url: str) -> list[str]:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # A lookup runs in a thread, which cannot be interrupted. So there is at most one for each name.
        task = self._lookups.get(url)
        if task is None:
            port = parts.port or _PORTS.get(parts.scheme, 80)
            task = asyncio.ensure_future(self._resolve(host, port))
            self._lookups[url] = task
        await asyncio.wait([task], timeout=_RESOLVE_TIMEOUT_S)
        if not task.done():
            return [url]
        del self._lookups[url]
        if task.exception() is not None:
            return [url]
        suffix = f":{parts.port}" if parts.port else ""
        return [
            urlunsplit(parts._replace(netloc=f"{bracketed(address)}{suffix}"))
            for address in task.result()
        ] or [url]
