"""A page that follows a log of `JobLogs`, without a WebSocket in between."""

import asyncio
import json
from collections.abc import Iterable

import pytest

from tests.support.console.log_server import LogServer
from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import RequestError
from trainingjob_console.sockets.budget import Budget
from trainingjob_console.sockets.log_ring import Gap, LogRing


class Page:
    """A page that follows a log.

    Attributes:
        text: received so far.
        start: offset of the first byte received; None: nothing received yet.
        next_offset: offset of the next byte.
        places: of the merged log, the last position by rank.
    """

    def __init__(
        self,
        server: LogServer,
        caller: Caller,
        source: str = "live:0:0:main",
        *,
        offset: int = 0,
        file: str = "",
        places: Iterable[str] = (),
    ) -> None:
        self.ring = LogRing(256 * 1024, 512, Budget(2**20))
        self.text = ""
        self.start: int | None = None
        self.next_offset = offset
        self.places: dict[str, str] = {}
        self.caller = caller
        self.task = asyncio.create_task(
            server.job_logs.follow(
                caller, server.uid, source, offset, self.ring, file=file, places=list(places)
            )
        )

    def read(self) -> str:
        """Read all chunks, and return the text received so far."""
        while (found := self.ring.take()) is not None:
            assert not isinstance(found, Gap)
            self.start = found.offset if self.start is None else self.start
            self.next_offset = found.next_offset
            if found.place:
                self.places[found.place.partition(":")[0]] = found.place
            self.text += str(json.loads(found.text))
        return self.text

    async def has(self, text: str) -> None:
        """Wait until it has received exactly this text."""
        async with asyncio.timeout(20):
            while self.read() != text:
                assert not self.task.done() or self.text == text, self.task
                await asyncio.sleep(0.005)

    async def error(self) -> RequestError:
        """Wait for the error that ends the log."""
        async with asyncio.timeout(20):
            with pytest.raises(RequestError) as caught:
                await self.task
        return caught.value

    async def close(self) -> None:
        """Stop following."""
        self.task.cancel()
        await asyncio.wait([self.task])
