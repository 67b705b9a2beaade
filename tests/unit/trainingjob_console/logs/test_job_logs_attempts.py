"""Two pods of one rank, from two attempts, exist at once: each has its own log."""

import asyncio
from pathlib import Path

import pytest

from tests.support.console.log_page import Page
from tests.support.console.log_server import FakeLog, log_server, user
from trainingjob_console.errors import NotFoundError
from trainingjob_console.logs.sources import parse_source


async def test_the_logs_of_both_pods_are_listed_and_followed(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        server.logs.append(FakeLog(rank=0, attempt=1))
        await server.write("old\n", 0)
        await server.write("new\n", 1)
        place = await server.job_logs.authorize(user("anna"), server.uid)
        names = [each["id"] for each in await server.job_logs.sources(place)]
        assert names == ["live:1:0:main", "live:0:0:main"]
        pages = [Page(server, user("anna"), name) for name in names]
        await asyncio.gather(pages[0].has("new\n"), pages[1].has("old\n"))
        for page in pages:
            await page.close()


async def test_a_page_of_a_deleted_pod_is_not_sent_the_log_of_the_next_one(
    tmp_path: Path,
) -> None:
    async with log_server(tmp_path) as server:
        await server.write("old\n", 0)
        place = await server.job_logs.authorize(user("anna"), server.uid)
        server.logs[0].gone = True
        server.logs.append(FakeLog(rank=0, attempt=1, begun=False))
        with pytest.raises(NotFoundError):
            await server.job_logs.pod_log(place, parse_source("live:0:0:main"))
        error = await Page(server, user("anna"), "live:0:0:main", offset=4).error()
        assert error.status == 404
