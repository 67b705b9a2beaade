"""A hub on a real uvicorn, in this process, with an index that a test fills."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.requests import HTTPConnection

from tests.support.console.raw_socket import raw_sockets_closed
from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import BusyError, ForbiddenError, RequestError, UnauthorizedError
from trainingjob_console.jobs.fair_scheduler import FairScheduler
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.summary import Summary, summarize
from trainingjob_console.sockets.coalescing_queue import CoalescingQueue
from trainingjob_console.sockets.hub import Hub
from trainingjob_console.sockets.job_topics import JobTopics
from trainingjob_console.sockets.limits import MAX_FRAME, Limits
from trainingjob_console.sockets.log_ring import LogChunk, LogRing
from trainingjob_console.sockets.protocol import SocketProtocol
from trainingjob_web.connections import Connections

Follow = Callable[[LogRing, int], Coroutine[Any, Any, str]]


class FakeAccessControl:
    """Authenticates callers as the user in the query, with any tokens and with the rights that a test sets.

    Attributes:
        answers: set while authentication responds.
        tells: set while authorization responds.
    """

    def __init__(self) -> None:
        self.refused: set[str] = set()
        # Tokens that are invalid now, even if they were authenticated before.
        self.expired: set[str] = set()
        self.namespaces: set[str] | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.tells = asyncio.Event()
        self.tells.set()
        self.asked = 0
        self.forgotten: list[str] = []
        self.busy = False
        self.log_out: Callable[[str], None] = lambda key: None

    def forget(self, caller: Caller) -> None:
        self.forgotten.append(caller.name)

    def on_log_out(self, listener: Callable[[str], None]) -> None:
        self.log_out = listener

    def key_of(self, connection: HTTPConnection) -> str:
        asked = connection.query_params
        return asked.get("token") or asked.get("user", "anna")

    async def authenticate(self, connection: HTTPConnection) -> Caller:
        name = connection.query_params.get("user", "anna")
        self.asked += 1
        await self.answers.wait()
        if self.busy:
            raise BusyError("too many log-ins are being checked")
        if name in self.refused:
            raise UnauthorizedError("log in")
        return Caller(name=name, token=name, key=self.key_of(connection))

    def check_origin(self, connection: HTTPConnection) -> None:
        if connection.headers["origin"] != f"http://{connection.headers['host']}":
            raise ForbiddenError("another page")

    async def may_see_metrics(self, caller: Caller) -> bool:
        return True

    async def check_may_see_metrics(self, caller: Caller) -> None:
        return None

    def namespaces_to_check(self, namespace: str = "") -> frozenset[str]:
        return frozenset()

    async def listable_namespaces(
        self, caller: Caller, asked: Collection[str]
    ) -> frozenset[str] | None:
        await self.tells.wait()
        if caller.name in self.expired:
            raise UnauthorizedError("log in")
        return None if self.namespaces is None else frozenset(self.namespaces)


class FakeLogs:
    """A log that a test writes.

    Attributes:
        rings: of its readers.
        ended: set when the log has ended.
        refusal: error with which the log ends; None: it finishes.
    """

    def __init__(self) -> None:
        self.rings: list[LogRing] = []
        self.refusal: RequestError | None = None
        self.ended = asyncio.Event()

    async def follow(
        self,
        caller: Caller,
        uid: str,
        source: str,
        offset: int,
        ring: LogRing,
        *,
        file: str = "",
        places: Sequence[str] = (),
    ) -> str:
        self.rings.append(ring)
        try:
            await self.ended.wait()
        finally:
            self.rings.remove(ring)
        if self.refusal is not None:
            raise self.refusal
        return "finished"

    def write(self, offset: int, text: str) -> None:
        piece = LogChunk(
            offset, offset + len(text), text.count("\n"), f'"{text}"'.replace("\n", "\\n")
        )
        for ring in self.rings:
            ring.put(piece)


class FakeSamples:
    """A source of samples, which a test sets."""

    def __init__(self) -> None:
        self.queues: set[CoalescingQueue] = set()

    def join(self, queue: CoalescingQueue) -> None:
        self.queues.add(queue)
        queue.put("", '"sample":{"t":1}')

    def leave(self, queue: CoalescingQueue) -> None:
        self.queues.discard(queue)


@dataclass
class RunningHub:
    """A hub on a running server."""

    hub: Hub
    index: JobIndex
    port: int
    server: uvicorn.Server
    connections: Connections
    access: FakeAccessControl = field(default_factory=FakeAccessControl)
    logs: FakeLogs = field(default_factory=FakeLogs)
    samples: FakeSamples = field(default_factory=FakeSamples)


@asynccontextmanager
async def running_hub(limits: Limits | None = None) -> AsyncIterator[RunningHub]:
    """Serve while the context is open."""
    index = JobIndex(max_jobs=25_000, epoch="e")
    access, logs, samples = FakeAccessControl(), FakeLogs(), FakeSamples()
    hub = Hub(
        access=access,  # type: ignore[arg-type] # its two questions are what a hub asks
        topics=JobTopics(index),
        logs=logs,
        housekeeping=samples,
        scheduler=FairScheduler(),
        limits=limits,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    connections = Connections(2048)
    config = uvicorn.Config(
        hub,
        http=connections,  # type: ignore[arg-type] # makes the protocols
        ws=SocketProtocol,
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    port = listener.getsockname()[1]
    try:
        with raw_sockets_closed():
            yield RunningHub(hub, index, port, server, connections, access, logs, samples)
    finally:
        server.should_exit = True
        await serving
        listener.close()


def fake_job(
    uid: str, *, phase: str = "Running", namespace: str = "a", version: int = 1, label: str = "x"
) -> Summary:
    """Return a job as the index stores it."""
    found = summarize(
        {
            "metadata": {
                "uid": uid,
                "name": f"job-{uid}",
                "namespace": namespace,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "resourceVersion": str(version),
                "labels": {"of": label},
            },
            "status": {"phase": phase},
        }
    )
    assert found is not None
    return found
