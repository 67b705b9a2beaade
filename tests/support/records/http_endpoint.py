"""A record endpoint in a separate thread, which can be down, slow or faulty."""

import asyncio
import json
import threading
from collections import Counter
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from hack.ports import free_port

Object = dict[str, Any]


class HttpEndpoint:
    """Keeps the highest revision of each record, and counts every PUT.

    Attributes:
        rows: by uid.
        puts: how often each uid arrived.
        bodies: the raw bodies and headers of everything that arrived, for a test that looks for
            what must not be there.
        delay_s: before each answer.
    """

    def __init__(self, *, keep_bodies: bool = False) -> None:
        self.rows: dict[str, Object] = {}
        self.puts: Counter[str] = Counter()
        self.bodies: list[str] = []
        self.delay_s = 0.0
        self._keep_bodies = keep_bodies
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        # Reserved, so that no client gets it as its own port while nothing listens.
        self._port = free_port()

    def __enter__(self) -> Self:
        self._thread.start()
        self.come_up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The URL of the endpoint."""
        return f"http://127.0.0.1:{self._port}/api/v1/jobs"

    def has(self, names: list[str]) -> bool:
        """Return True if there are records of all jobs of these names."""
        if len(self.rows) < len(set(names)):
            return False  # without a look at each, for those who ask again and again
        return {row["name"] for row in self.rows.copy().values()} >= set(names)

    def come_up(self) -> None:
        """Listen, on the same port as before."""
        asyncio.run_coroutine_threadsafe(self._up(), self._loop).result(10)

    def go_down(self) -> None:
        """Stop listening."""
        asyncio.run_coroutine_threadsafe(self._down(), self._loop).result(10)

    async def _up(self) -> None:
        app = web.Application()
        app.router.add_put("/api/v1/jobs/{uid}", self._put)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def _down(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self._keep_bodies:
            self.bodies.append(f"{dict(request.headers)} {body.decode()}")
        record: Object = json.loads(body)
        uid = request.match_info["uid"]
        assert record["uid"] == uid
        self.puts[uid] += 1
        known = self.rows.get(uid)
        if known is not None and known["revision"] == record["revision"] and known != record:
            return web.json_response({"error": "another record of this revision"}, status=409)
        if known is None or known["revision"] < record["revision"]:
            self.rows[uid] = record
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return web.json_response({"uid": uid, "revision": self.rows[uid]["revision"]})
