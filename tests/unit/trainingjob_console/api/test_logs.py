"""Downloads of logs: limited in number, sent in small parts, complete or visibly aborted."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.requests import ClientDisconnect
from starlette.routing import Router

from tests.support.console.archives import section_of, write_archive
from tests.support.console.log_server import LogServer, log_server
from trainingjob_console.api.logs import LogsApi
from trainingjob_console.errors import BusyError, NotFoundError
from trainingjob_console.logs.log_reader import PART

LIVE = "live:0:0:main"
ARCHIVED = "archive:0:0:main"
LOG = b"0123456789abcde\n" * 10 * 2**16
"""10 MiB."""


class Client:
    """A client that downloads a log.

    Attributes:
        takes: it takes what comes; else it waits.
        gone: it hears nothing any more.
        begun: the answer has.
        ended: so has this, and it is whole.
        sizes: of the parts.
        body: what came.
    """

    def __init__(self, app: Router, server: LogServer, source: str, token: str) -> None:
        self.takes = asyncio.Event()
        self.gone = False
        self.begun = self.ended = False
        self.sizes: list[int] = []
        self.body = b""
        self._app = app
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "GET",
            "scheme": "http",
            "path": f"/api/jobs/{server.uid}/logs/{source}/download",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
        }
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self.gone:
            raise OSError("the client has gone")
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            self.begun = True
            return
        await self.takes.wait()
        part = message.get("body", b"")
        self.sizes.append(len(part))
        self.body += part
        self.ended = not message.get("more_body")


class Start(Protocol):
    """Starts a download of a source."""

    def __call__(self, source: str, token: str = "anna") -> Client: ...


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LogServer]:
    """A job with a live log and an archived one."""
    async with log_server(tmp_path, volume=tmp_path) as found:
        await found.write("one\n")
        write_archive(tmp_path, section_of(LOG), uid=found.uid)
        yield found


@pytest.fixture
async def start(server: LogServer) -> AsyncIterator[Start]:
    """Starts downloads; all have ended at the end of the test."""
    app = Router(routes=LogsApi(server.access, server.job_logs).routes())
    begun: list[Client] = []

    def start(source: str, token: str = "anna") -> Client:
        begun.append(Client(app, server, source, token))
        return begun[-1]

    yield start
    for each in begun:
        each.task.cancel()
    await asyncio.gather(*(each.task for each in begun), return_exceptions=True)


async def until_each_has_begun_or_failed(clients: list[Client]) -> None:
    async with asyncio.timeout(20):
        while not all(each.begun or each.task.done() for each in clients):
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("source", [LIVE, ARCHIVED, "merged"])
async def test_of_concurrent_downloads_those_above_the_limit_are_refused(
    start: Start, source: str
) -> None:
    clients = [start(source, f"user-{number}") for number in range(12)]
    await until_each_has_begun_or_failed(clients)
    refused = [each for each in clients if each.task.done()]
    assert len(refused) == 4
    for each in refused:
        with pytest.raises(BusyError, match="too many logs are being downloaded"):
            await each.task
    for each in clients:
        each.takes.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*(each.task for each in clients if each not in refused))
    assert {each.ended for each in clients if each not in refused} == {True}


async def test_a_user_with_two_tokens_downloads_two_logs_at_once_and_others_the_rest(
    start: Start,
) -> None:
    clients = [start(LIVE, f"anna.{number % 2}") for number in range(12)]
    await until_each_has_begun_or_failed(clients)
    refused = [each for each in clients if each.task.done()]
    assert len(refused) == 10
    for each in refused:
        with pytest.raises(BusyError, match="you are downloading too many logs"):
            await each.task
    other = start(LIVE, "ben")
    await until_each_has_begun_or_failed([other])
    assert other.begun
    for each in clients:
        each.takes.set()
    await asyncio.gather(*(each.task for each in clients if each not in refused))
    again = start(LIVE, "anna.0")
    again.takes.set()
    await again.task
    assert again.ended


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (LIVE, ClientDisconnect),
        (ARCHIVED, ClientDisconnect),
        ("archive:7:0:main", NotFoundError),
    ],
)
async def test_a_download_that_never_starts_releases_its_slot(
    start: Start, source: str, error: type[Exception]
) -> None:
    for _ in range(10):
        client = start(source)
        client.gone = True
        with pytest.raises(error):
            await client.task
    last = start(LIVE)
    last.takes.set()
    await last.task
    assert last.body == b"one\n"


async def test_an_archived_log_is_sent_in_parts(start: Start) -> None:
    client = start(ARCHIVED)
    client.takes.set()
    await client.task
    assert client.body == LOG
    assert max(client.sizes) <= PART


@pytest.mark.parametrize("source", [ARCHIVED, "merged"])
@pytest.mark.parametrize("left", [None, 2**20])
async def test_a_download_whose_archive_is_deleted_is_aborted(
    start: Start, server: LogServer, tmp_path: Path, source: str, left: int | None
) -> None:
    client = start(source)
    await until_each_has_begun_or_failed([client])
    archive = tmp_path / f"job_{server.uid}.log"
    if left is None:
        archive.unlink()
    else:
        with archive.open("r+b") as file:
            file.truncate(left)
    client.takes.set()
    with pytest.raises(BusyError, match="the archive was removed"):
        await client.task
    assert not client.ended
