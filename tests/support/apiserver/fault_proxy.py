"""A proxy between the operator and the API server that injects faults.

It works with a real API server as well as with the sandbox's, so both get the same faults.
"""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from hack.ports import free_port
from trainingjob_web.kubeconfig import load_kubeconfig

T = TypeVar("T")
_RESOURCE = re.compile(
    r"^/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]))?/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?$"
)


@dataclass(frozen=True)
class ProxiedRequest:
    """One request of the operator.

    Attributes:
        verb: `get`, `list`, `watch`, `create`, `patch`, `delete` or `update`.
        resource: the plural, with the subresource behind a slash.
        namespace: "" for what has none, or for all.
    """

    verb: str
    resource: str
    name: str
    namespace: str = ""

    @property
    def writes(self) -> bool:
        """True if it changes a job or a pod: the crash tests kill the operator before and after these."""
        return self.verb in {"create", "patch", "delete", "update"} and self.resource != "events"

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


Hook = Callable[[], None]
Match = Callable[[ProxiedRequest], bool]


@dataclass
class Fault:
    """A fault to inject into matching requests.

    Attributes:
        match: predicate that selects requests.
        skip: number of matching requests to forward first.
        times: number of requests to break after these; None: all.
        status: respond with this status, `headers` and a Status body, without forwarding the request.
        delay_s: wait before forwarding.
        until: wait until this is true before forwarding; None: do not wait.
        before: called, and the connection is reset, before the server has the request.
        after: called, and the connection is reset, after the server has acted.
        hang: never respond.
    """

    match: Match
    skip: int = 0
    times: int | None = 1
    status: int | None = None
    reason: str = ""
    message: str = "staged"
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    until: Callable[[], bool] | None = None
    before: Hook | None = None
    after: Hook | None = None
    hang: bool = False
    hits: int = 0

    def takes(self, seen: ProxiedRequest) -> bool:
        """Return True if the fault applies to this request; counts it."""
        if not self.match(seen):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class FaultProxy:
    """Runs in a thread and loop of its own. `faults` and `requests` may be used from the test."""

    def __init__(self, upstream_kubeconfig: Path, folder: Path) -> None:
        self._credentials = load_kubeconfig(upstream_kubeconfig)
        [upstream] = yaml.safe_load(upstream_kubeconfig.read_text())["contexts"]
        self._namespace = upstream["context"].get("namespace", "default")
        self.kubeconfig = folder / "proxy.kubeconfig"
        self.faults: list[Fault] = []
        self.requests: list[ProxiedRequest] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._watches: set[asyncio.Task[Any]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        # Reserved, so that no client gets it as its own port while nothing listens.
        self._port = free_port()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._open())
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(self, fault: Fault) -> Fault:
        """Inject this fault from now on."""
        self.faults.append(fault)
        return fault

    def count(self, *kinds: str) -> int:
        """Count the requests of these kinds (`create pods`)."""
        return sum(str(seen) in kinds for seen in tuple(self.requests))

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._run(self._listen())

    def stop(self) -> None:
        """Stop listening and break all connections, as an API server that crashes does."""
        self._run(self._unlisten())

    def drop_watches(self) -> None:
        """Break the connections of all watches."""
        self._run(self._drop())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> None:
        headers = {}
        if self._credentials.token:
            headers["Authorization"] = f"Bearer {self._credentials.token}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(ssl=self._credentials.ssl_context() or True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )

    async def _close(self) -> None:
        assert self._session is not None
        await self._session.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}  # requests that hang
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _listen(self) -> None:
        app = web.Application(client_max_size=32 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=0.01
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self._write_kubeconfig()

    async def _unlisten(self) -> None:
        await self._drop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _drop(self) -> None:
        for task in tuple(self._watches):
            task.cancel()
        await asyncio.sleep(0)

    def _write_kubeconfig(self) -> None:
        context = {"cluster": "c", "user": "u", "namespace": self._namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": context}],
            "current-context": "c",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = _parse_request(request)
        self.requests.append(seen)
        fault = next((fault for fault in self.faults if fault.takes(seen)), None)
        lasts = seen.verb == "watch" or request.query.get("follow") in {"true", "1"}
        if fault is None:
            return await self._forward(request, lasts=lasts)
        if fault.hang:
            await asyncio.sleep(3600)
        await asyncio.sleep(fault.delay_s)
        while fault.until is not None and not fault.until():
            await asyncio.sleep(0.01)
        if fault.status is not None:
            return _watch_error(fault) if seen.verb == "watch" else _status(fault)
        if fault.before is not None:
            return _reset(request, fault.before)
        if fault.after is not None:
            await self._ask(request)
            return _reset(request, fault.after)
        return await self._forward(request, lasts=lasts)

    async def _ask(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        async with self._upstream(request, await request.read()) as answer:
            return answer.status, _headers(answer.headers), await answer.read()

    async def _forward(self, request: web.Request, *, lasts: bool) -> web.StreamResponse:
        """Forward a response: as a whole, or streamed if it is a watch or a followed log."""
        if not lasts:
            status, headers, body = await self._ask(request)
            return web.Response(status=status, headers=headers, body=body)
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            return await self._stream(request)
        finally:
            self._watches.discard(task)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        async with self._upstream(request, b"") as answer:
            response = web.StreamResponse(status=answer.status, headers=_headers(answer.headers))
            await response.prepare(request)
            try:
                with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
            finally:
                _abort_connection(answer)
            return response

    def _upstream(
        self, request: web.Request, body: bytes
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert self._session is not None
        passed = {"Accept", "Content-Type", "User-Agent"}
        headers = {name: value for name, value in request.headers.items() if name in passed}
        url = self._credentials.server.rstrip("/") + request.raw_path
        return self._session.request(
            request.method, URL(url, encoded=True), headers=headers, data=body or None
        )


def _abort_connection(answer: aiohttp.ClientResponse) -> None:
    """Abort without a TLS shutdown: a server that still sends would delay it, and the loop does not wait for it."""
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()


def _parse_request(request: web.Request) -> ProxiedRequest:
    found = _RESOURCE.match(request.path)
    if found is None:
        return ProxiedRequest("get", request.path, "")
    name = found["name"] or ""
    resource = found["resource"] + (f"/{found['subresource']}" if found["subresource"] else "")
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    verb = verbs.get(request.method, "get" if name else "list")
    if verb == "list" and request.query.get("watch") in {"true", "1"}:
        verb = "watch"
    return ProxiedRequest(verb, resource, name, found["namespace"] or "")


def _status(fault: Fault) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": fault.status,
        "reason": fault.reason,
        "message": fault.message,
    }
    return web.Response(
        status=fault.status or 500,
        headers={"Content-Type": "application/json", **fault.headers},
        body=json.dumps(body).encode(),
    )


def _watch_error(fault: Fault) -> web.Response:
    """Return a watch's ERROR event: the response has already begun with 200."""
    status = {"kind": "Status", "code": fault.status, "reason": fault.reason}
    body = json.dumps({"type": "ERROR", "object": status | {"message": fault.message}})
    return web.Response(body=f"{body}\n".encode(), content_type="application/json")


def _reset(request: web.Request, hook: Hook) -> web.Response:
    hook()
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _headers(headers: Any) -> dict[str, str]:
    passed = {"Content-Type", "Content-Encoding", "Retry-After"}
    return {name: value for name, value in headers.items() if name in passed}
