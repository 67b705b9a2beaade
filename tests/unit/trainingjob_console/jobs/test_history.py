"""Calls of the record service: limited in number, a quarter of it per user, and with a deadline."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.console.stalled_process import StalledLoop, slow_server
from trainingjob_console.errors import BusyError
from trainingjob_console.jobs import history
from trainingjob_console.jobs.history import History


class Service:
    """A record service without records, which answers once `may` is set.

    Attributes:
        asked: the uids of the requested records.
        may: lets it answer.
        history: the client under test.
    """

    history: History

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["uid"])
        await self.may.wait()
        return web.json_response({}, status=404)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.setattr(history, "_CALL_S", 60.0)
    played, app = Service(), web.Application()
    app.router.add_get("/api/v1/jobs/{uid}", played.answer)
    async with TestServer(app) as server:
        played.history = History(str(server.make_url("/api/v1/jobs")), None, "c")
        yield played
        played.may.set()
        await played.history.close()


async def test_one_user_has_four_calls_at_once_and_others_do_not_wait(service: Service) -> None:
    calls = [asyncio.create_task(service.history.record("of-anna", "anna")) for _ in range(40)]
    async with asyncio.timeout(20):
        while sum(each.done() for each in calls) < 24:
            await asyncio.sleep(0.005)
        with pytest.raises(BusyError, match="too many requests for the history"):
            await service.history.record("of-anna", "anna")
        calls.append(asyncio.create_task(service.history.record("of-ben", "ben")))
        while "of-ben" not in service.asked or len(service.asked) < 5:
            await asyncio.sleep(0.005)
    assert service.asked.count("of-anna") == 4
    assert len(service.history.calls) == 17
    service.may.set()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert ended.count(None) == 17
    assert len(service.history.calls) == 0


async def test_a_record_that_arrived_while_the_process_was_stalled_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standstill = StalledLoop(monkeypatch)
    async with slow_server() as server:
        asked = History(server.url, None, "c")
        reading = asyncio.create_task(asked.record("uid", "anna"))
        await server.was_asked.wait()
        server.answer({"uid": "uid", "cluster": "c"})
        standstill.lasts(600)
        assert await reading == {"uid": "uid", "cluster": "c"}
        await asked.close()
