"""Lists in pages of bounded weight, few large responses at once, and no object left out."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from tests.support.console.padded_pods import PODS, PaddedPods, padded_pods
from tests.support.console.stalled_process import StalledLoop, unread_response
from trainingjob_console.errors import (
    AnswerTooLargeError,
    ApiServerError,
    BusyError,
    RequestError,
)
from trainingjob_console.kube import response_reader
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.credentials import Account
from trainingjob_console.kube.pages import MAX_PAGE, pages
from trainingjob_console.kube.response_reader import (
    LARGE_AT_ONCE,
    MAX_WAITING,
    PAGE_WEIGHT,
    ResponseReader,
)

MOST: Final = 96 * 2**20
"""The bytes that all responses together may take: see docs/limits.md."""


@asynccontextmanager
async def served(folder: Path, sizes: list[int]) -> AsyncIterator[tuple[PaddedPods, Kube]]:
    async with padded_pods(folder, sizes) as server:
        kube = Kube(Account(server.kubeconfig))
        try:
            yield server, kube
        finally:
            await kube.close()


def name_of(raw: dict[str, Any]) -> int:
    return int(raw["metadata"]["name"].removeprefix("large-"))


async def names(kube: Kube) -> list[int]:
    return [n async for page in pages(kube, PODS, name_of, token="anna") for n in page.items]


async def names_in_the_end(kube: Kube) -> list[int]:
    """Retries while the console is busy, which may take long on a slow machine."""
    while True:
        try:
            return await names(kube)
        except RequestError:
            await asyncio.sleep(0.01)


async def test_no_page_exceeds_its_maximum_weight_and_no_object_is_left_out(
    tmp_path: Path,
) -> None:
    sizes = [10] * 600 + [200_000] * 60 + [10] * 600
    async with served(tmp_path, sizes) as (server, kube):
        assert await names(kube) == list(range(len(sizes)))
        assert max(server.limits) == server.limits[-1] == MAX_PAGE
        assert min(server.limits) < 20
        assert len(server.limits) < 30


async def test_an_object_larger_than_a_page_is_read_alone(tmp_path: Path) -> None:
    async with served(tmp_path, [10, 2 * PAGE_WEIGHT, 10]) as (server, kube):
        assert await names(kube) == [0, 1, 2]
        assert 1 in server.limits


async def test_an_object_above_the_maximum_size_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path, [10, response_reader.MAX_BYTES + 1]) as (_, kube):
        with pytest.raises(AnswerTooLargeError, match="larger than"):
            await names(kube)


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"<html>"])
async def test_an_invalid_list_does_not_count_as_an_empty_one(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaddedPods, "body", lambda *_: answer)
    async with served(tmp_path, []) as (_, kube):
        with pytest.raises(ApiServerError, match="does not answer"):
            await names(kube)


async def test_concurrent_lists_take_bounded_memory(tmp_path: Path) -> None:
    """Read 28 lists of 10 MiB: at most four pages are in memory, each as text, copy and objects."""
    ranks = list(range(600))
    async with served(tmp_path, [16_700] * len(ranks)) as (_, kube):
        assert (
            await names(kube) == ranks
        )  # the server has built its responses now, outside of the measurement
        tracemalloc.start()
        try:
            lists = [names_in_the_end(kube) for _ in range(LARGE_AT_ONCE + MAX_WAITING)]
            found = await asyncio.gather(*lists)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert found == [ranks] * len(lists)
        assert peak < MOST


async def test_a_large_response_is_refused_when_the_queue_is_full(tmp_path: Path) -> None:
    async with served(tmp_path, [50_000] * 40) as (server, kube):
        server.hold = asyncio.Event()
        limit = kube.response_reader.limit
        lists = [asyncio.create_task(names(kube)) for _ in range(limit)]
        async with asyncio.timeout(20):
            while len(kube.response_reader) < limit:
                await asyncio.sleep(0.001)
        with pytest.raises(BusyError, match="large responses") as caught:
            await names(kube)
        assert (caught.value.status, caught.value.retry_after_s) == (503, 2)
        events, _ = await kube.read(PODS.replace("pods", "events"), dict, token="anna")
        assert events == {"items": []}  # small responses are not affected
        server.hold.set()
        assert {len(each) for each in await asyncio.gather(*lists)} == {40}
        assert len(kube.response_reader) == 0


async def test_a_large_response_that_gets_no_slot_in_time_is_a_503(tmp_path: Path) -> None:
    async with served(tmp_path, [50_000] * 40) as (server, kube):
        server.hold = asyncio.Event()
        kube.response_reader = ResponseReader(wait_s=0.05)  # type: ignore[misc]
        lists = [asyncio.create_task(names(kube)) for _ in range(LARGE_AT_ONCE)]
        async with asyncio.timeout(20):
            while len(kube.response_reader) < LARGE_AT_ONCE:
                await asyncio.sleep(0.001)
        with pytest.raises(BusyError, match="too many large"):
            await names(kube)
        server.hold.set()
        assert {len(each) for each in await asyncio.gather(*lists)} == {40}


async def test_a_large_response_waits_for_its_slot_while_the_process_is_stalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standstill, was_read = StalledLoop(monkeypatch), asyncio.Event()
    reader = ResponseReader()

    class Content:
        """A large body that ends once the answer has been read."""

        def __init__(self) -> None:
            self._parts = [b'{"text": "', b"x" * response_reader.LARGE, b'"}', b""]

        async def readany(self) -> bytes:
            if len(self._parts) <= 2:
                await was_read.wait()
            return self._parts.pop(0)

    def read() -> asyncio.Task[tuple[int, int]]:
        response: Any = SimpleNamespace(content=Content())
        return asyncio.create_task(reader.read(response, len, None))

    with unread_response(was_read) as answer:
        reading = [read() for _ in range(LARGE_AT_ONCE + 1)]
        while len(reader) < len(reading):
            await asyncio.sleep(0)
        answer.arrive()
        standstill.lasts(600)
        assert [found for found, _ in await asyncio.gather(*reading)] == [1] * len(reading)
