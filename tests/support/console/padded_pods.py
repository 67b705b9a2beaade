"""A server with one job whose pods have sizes set by the test, listed in pages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.console.log_server import kubeconfig_of
from trainingjob_api import constants

UID: Final = "00000000-0000-4000-8000-000000000001"
PODS: Final = "/api/v1/namespaces/ml/pods"
_JOBS: Final = f"/apis/{constants.API_VERSION}"
_JOB: Final[dict[str, Any]] = {
    "apiVersion": constants.API_VERSION,
    "kind": constants.KIND_TRAINING_JOB,
    "metadata": {
        "uid": UID,
        "name": "large",
        "namespace": "ml",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "resourceVersion": "1",
    },
    "status": {"phase": "Running", "attempt": 0},
}


class PaddedPods:
    """The server.

    Attributes:
        sizes: of the pods, by rank.
        limits: that were asked for.
        hold: answers wait for this after half of their body.
        kubeconfig: of a console there.
    """

    kubeconfig: Path

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.limits: list[int] = []
        self.hold: asyncio.Event | None = None
        self._bodies: dict[tuple[int, int], bytes] = {}
        self.app = web.Application()
        for path in (PODS, "/api/v1/namespaces/ml/events"):
            self.app.router.add_get(path, self.pods if path == PODS else self.nothing)
        self.app.router.add_get(f"{_JOBS}/trainingjobs", self.jobs)
        self.app.router.add_get(f"{_JOBS}/namespaces/ml/trainingjobs/large", self.job)

    def body(self, start: int, limit: int) -> bytes:
        """A page; each is made once, so that readers at once take nothing here."""
        if (start, limit) not in self._bodies:
            end = min(start + limit, len(self.sizes))
            items = ",".join(_pod(rank, self.sizes[rank]) for rank in range(start, end))
            more = str(end) if end < len(self.sizes) else ""
            text = f'{{"metadata":{{"continue":"{more}"}},"items":[{items}]}}'
            self._bodies[start, limit] = text.encode()
        return self._bodies[start, limit]

    async def pods(self, request: web.Request) -> web.StreamResponse:
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        self.limits.append(limit)
        body = memoryview(self.body(start, limit))
        response = web.StreamResponse()
        await response.prepare(request)
        half = len(body) // 2
        await response.write(body[:half])
        if self.hold is not None:
            await self.hold.wait()
        await response.write(body[half:])
        return response

    async def nothing(self, _: web.Request) -> web.Response:
        return web.json_response({"items": []})

    async def job(self, _: web.Request) -> web.Response:
        return web.json_response(_JOB)

    async def jobs(self, request: web.Request) -> web.Response:
        if "watch" in request.query:
            return web.Response()
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [_JOB]})


def _pod(rank: int, size: int) -> str:
    labels = (
        f'{{"{constants.LABEL_INDEX}":"{rank}","{constants.LABEL_ATTEMPT}":"0",'
        f'"{constants.LABEL_JOB_UID}":"{UID}"}}'
    )
    metadata = f'{{"name":"large-{rank}","labels":{labels}}}'
    return f'{{"metadata":{metadata},"spec":{{"padding":"{"x" * size}"}}}}'


@asynccontextmanager
async def padded_pods(folder: Path, sizes: list[int]) -> AsyncIterator[PaddedPods]:
    """Serve until the context ends."""
    played = PaddedPods(sizes)
    async with TestServer(played.app) as server:
        played.kubeconfig = folder / "kubeconfig"
        played.kubeconfig.write_text(kubeconfig_of(str(server.make_url(""))))
        yield played
