"""Lists in pages of bounded weight, whatever the size of the objects, and without losing one."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from trainingjob_operator.kube import response_reader
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.gateway import Gateway

SIZES = [10] * 300 + [400_000] * 120 + [10] * 300
"""Small ones first, so that the pages are large when the large ones come."""


class Jobs:
    """A server with jobs of these sizes, which lists them in pages."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.limits: list[int] = []

    async def answer(self, request: web.Request) -> web.Response:
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        self.limits.append(limit)
        end = min(start + limit, len(self.sizes))
        found = [
            {"metadata": {"name": str(n)}, "spec": "x" * self.sizes[n]} for n in range(start, end)
        ]
        more = str(end) if end < len(self.sizes) else ""
        metadata = {"resourceVersion": "7", "continue": more}
        return web.json_response({"metadata": metadata, "items": found})


@pytest.fixture
async def jobs() -> AsyncIterator[tuple[Jobs, Gateway]]:
    jobs = Jobs(SIZES)
    app = web.Application()
    app.router.add_get("/{path:.*}", jobs.answer)
    async with TestServer(app) as server:
        configuration = Configuration(host=str(server.make_url("")).rstrip("/"))
        async with Gateway(Connection(configuration, "default"), timeout_s=30) as gateway:
            yield jobs, gateway


async def test_no_page_exceeds_the_weight_limit_and_no_object_is_lost(
    jobs: tuple[Jobs, Gateway],
) -> None:
    _, gateway = jobs
    names: list[str] = []
    async for page in gateway.list_jobs(None):
        assert sum(len(each["spec"]) for each in page.items) <= response_reader.PAGE_WEIGHT
        names += [each["metadata"]["name"] for each in page.items]
    assert names == [str(number) for number in range(len(SIZES))]


async def test_pages_grow_again_for_small_objects_after_large_ones(
    jobs: tuple[Jobs, Gateway],
) -> None:
    server, gateway = jobs
    async for _ in gateway.list_jobs(None):
        pass
    assert server.limits[0] == server.limits[-1] == response_reader.MAX_ITEMS
    assert min(server.limits) < 40
    assert len(server.limits) < 20


async def test_a_page_of_jobs_whose_records_wait_is_bounded_as_well(
    jobs: tuple[Jobs, Gateway],
) -> None:
    server, gateway = jobs
    server.sizes = [400_000] * 100
    page = await gateway.jobs_by_record_state(None, "Pending", limit=100, token="")
    assert 0 < sum(len(each["spec"]) for each in page.items) <= response_reader.PAGE_WEIGHT
    assert page.next_token == str(len(page.items))


async def test_an_object_above_the_page_limit_is_read_in_a_page_of_its_own(
    jobs: tuple[Jobs, Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, gateway = jobs
    monkeypatch.setattr(response_reader, "LARGE", 100)
    monkeypatch.setattr(response_reader, "PAGE_WEIGHT", 1000)
    server.sizes = [5000, 5000, 5000]
    lengths = [len(page.items) async for page in gateway.list_jobs(None)]
    assert lengths == [1, 1, 1]


async def test_a_page_is_dropped_when_the_next_one_is_requested(
    jobs: tuple[Jobs, Gateway],
) -> None:
    _, gateway = jobs
    kept = [page async for page in gateway.list_jobs(None)]
    assert [page.items for page in kept] == [[]] * len(kept)
