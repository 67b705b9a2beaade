"""A page that follows a log of the room's, without a socket between."""

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
    """One that follows a log.

    Attributes:
        text: that it was sent.
        start: the offset of the first of it; None: nothing has come yet.
        following: the offset of what follows it.
        places: of merged logs, by rank: up to where it has them.
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
        self.following = offset
        self.places: dict[str, str] = {}
        self.caller = caller
        self.task = asyncio.create_task(
            server.job_logs.follow(
                caller, server.uid, source, offset, self.ring, file=file, places=list(places)
            )
        )

    def read(self) -> str:
        """Take what has come, and return all the text so far."""
        while (found := self.ring.take()) is not None:
            assert not isinstance(found, Gap)
            self.start = found.offset if self.start is None else self.start
            self.following = found.following
            if found.place:
                self.places[found.place.partition(":")[0]] = found.place
            self.text += str(json.loads(found.text))
        return self.text

    async def has(self, text: str) -> None:
        """Wait until it was sent this, and no more."""
        async with asyncio.timeout(20):
            while self.read() != text:
                assert not self.task.done() or self.text == text, self.task
                await asyncio.sleep(0.005)

    async def error(self) -> RequestError:
        """Wait for the error that ends it."""
        async with asyncio.timeout(20):
            with pytest.raises(RequestError) as caught:
                await self.task
        return caught.value

    async def close(self) -> None:
        """Follow no more."""
        self.task.cancel()
        await asyncio.wait([self.task])
