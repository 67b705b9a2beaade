"""How a process of the bench speaks to the API server: as whom, and what a watch tells it when.

Raw HTTP and JSON: a client library's models would cost more than what is measured.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Self

import aiohttp

Object = dict[str, Any]

PODS: Final = "/api/v1/pods"

_BUFFER_BYTES: Final = 4 << 20
_ONE_ANSWER: Final = aiohttp.ClientTimeout(total=60)
_FOR_EVER: Final = aiohttp.ClientTimeout(total=None)


class WatchError(Exception):
    """The API server has ended a watch in a way that loses events."""


@dataclass(frozen=True)
class Access:
    """A server and a user whom a client certificate names; all but the server are files."""

    server: str
    authority: str
    certificate: str
    key: str

    def dumps(self) -> str:
        """One word for another process's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Self:
        """What `dumps` wrote."""
        return cls(**json.loads(text))

    def session(self, *, connections: int) -> aiohttp.ClientSession:
        """A session with at most so many connections; to be made inside a running loop."""
        tls = ssl.create_default_context(cafile=self.authority)
        tls.load_cert_chain(self.certificate, self.key)
        return aiohttp.ClientSession(
            self.server,
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls),
            timeout=_ONE_ANSWER,
            read_bufsize=_BUFFER_BYTES,
        )


class Change(NamedTuple):
    """What a list or a watch told.

    Attributes:
        at: when its bytes arrived, in seconds of the machine's monotonic clock.
        kind: ADDED (a list's items too), MODIFIED or DELETED.
        object: as it is now.
    """

    at: float
    kind: str
    object: Object


async def changes(
    session: aiohttp.ClientSession, path: str, *, listed: asyncio.Event | None = None
) -> AsyncIterator[Change]:
    """List what is at a path and follow it, for ever.

    Args:
        session: as whom.
        path: of a collection.
        listed: set when the list is in and the watch has begun.

    Raises:
        WatchError: events were lost, so that nothing can be concluded any more.
    """
    async with session.get(path) as answer:
        answer.raise_for_status()
        found = await answer.json()
    version = found["metadata"]["resourceVersion"]
    for each in found["items"]:
        yield Change(time.monotonic(), "ADDED", each)
    while True:
        query = {"watch": "1", "resourceVersion": version}
        async with session.get(path, params=query, timeout=_FOR_EVER) as answer:
            answer.raise_for_status()
            if listed is not None:
                listed.set()
            async for at, line in _lines(answer.content):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise WatchError(f"{path}: {event['object']}")
                version = event["object"]["metadata"]["resourceVersion"]
                yield Change(at, event["type"], event["object"])


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[tuple[float, bytes]]:
    """Lines with the arrival of their end: all lines of one chunk came together.

    A stamp at the time of decoding would charge each line for the decoding of those before it.
    """
    rest = b""
    async for chunk in content.iter_any():
        at = time.monotonic()
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield at, line
