"""HTTP access of the benchmark's processes to the API server: credentials, lists and timed watches.

It uses raw HTTP and JSON, because a client library's models would cost more than what is measured.
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
    """A server URL, and the files of a user's client certificate."""

    server: str
    authority: str
    certificate: str
    key: str

    def dumps(self) -> str:
        """Return the value as one command line argument for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Self:
        """Parse what `dumps` has written."""
        return cls(**json.loads(text))

    def session(self, *, connections: int) -> aiohttp.ClientSession:
        """Create a session with at most this many connections; call it in a running event loop."""
        tls = ssl.create_default_context(cafile=self.authority)
        tls.load_cert_chain(self.certificate, self.key)
        return aiohttp.ClientSession(
            self.server,
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls),
            timeout=_ONE_ANSWER,
            read_bufsize=_BUFFER_BYTES,
        )


class Change(NamedTuple):
    """One change from a list or a watch.

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
    """List the objects at a path and watch them for ever.

    Args:
        session: HTTP session of the user.
        path: of a collection.
        listed: set when the list is complete and the watch has started.

    Raises:
        WatchError: events were lost, so that the results are useless.
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
    """Yield lines with the arrival time of their end; all lines of one chunk arrived together.

    A time taken at the decoding of a line would include the decoding of the lines before it.
    """
    rest = b""
    async for chunk in content.iter_any():
        at = time.monotonic()
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield at, line
