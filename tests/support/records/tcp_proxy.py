"""A TCP proxy in front of a PostgreSQL server that can be redirected to another one, or go silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from tests.support.records.postgres import Postgres


class TcpProxy:
    """An address that is forwarded to one server, and later to another one, like a Service's."""

    def __init__(self, target: Postgres) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._answers = asyncio.Event()
        self._answers.set()
        self.port = 0

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield
            self._answers.set()
            self.move_to(self._target)

    def move_to(self, target: Postgres) -> None:
        """Forward new connections to this server, and break the open ones."""
        self._target = target
        for writer in self._writers:
            writer.transport.abort()

    def hang(self) -> None:
        """Accept data and new connections, but send no response from now on."""
        self._answers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(writer.transport.abort)
            self._writers.add(writer)
            await self._answers.wait()
            with suppress(OSError):
                far = await asyncio.open_connection("127.0.0.1", self._target.port)
                stack.callback(far[1].transport.abort)
                ours = {writer, far[1]}
                self._writers |= ours
                await asyncio.wait(
                    [
                        asyncio.create_task(self._pump(reader, far[1])),
                        asyncio.create_task(self._pump(far[0], writer)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                self._writers -= ours

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(2**16):
                await self._answers.wait()
                sink.write(data)
                await sink.drain()
