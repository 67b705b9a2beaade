"""A node that serves only the log of one container, which never ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiohttp import web

from tests.support.apiserver.api import Api, Object
from trainingjob_api import constants
from trainingjob_sandbox.apiserver.pod_logs import SCHEME_ANNOTATION

_EVERY_S = 0.02


class EndlessLog:
    """Writes the same line every 20 ms to all readers."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    async def write(self) -> None:
        while True:
            self._lines.append(f"line {len(self._lines)}\n")
            await asyncio.sleep(_EVERY_S)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        follows, stamped = "follow" in request.query, "timestamps" in request.query
        begun = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "000Z")
        sent = 0
        while True:
            for line in self._lines[sent:]:
                await response.write((f"{begun} {line}" if stamped else line).encode())
                sent += 1
            if not follows:
                return response
            await asyncio.sleep(_EVERY_S)


@asynccontextmanager
async def pod_that_writes(api: Api, job: Object) -> AsyncIterator[None]:
    """Yield a running pod of a job, on a node that serves its log while the context is open."""
    log = EndlessLog()
    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", log.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    writing = asyncio.create_task(log.write())
    node = f"node-of-{api.namespace}"
    try:
        await api.client.create("/api/v1/nodes", _node(node, runner.addresses[0][1]))
        pods = f"/api/v1/namespaces/{api.namespace}/pods"
        pod = await api.client.create(pods, _pod(job))
        await api.bind_pod(pod, node)
        await api.start_pod(pod)
        yield
    finally:
        await api.client.delete(f"/api/v1/nodes/{node}")
        writing.cancel()
        await runner.cleanup()


def _node(name: str, port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {SCHEME_ANNOTATION: "http"}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    }


def _pod(job: Object) -> Object:
    labels = {
        constants.LABEL_JOB_UID: job["metadata"]["uid"],
        constants.LABEL_INDEX: "0",
        constants.LABEL_ATTEMPT: "0",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{job['metadata']['name']}-0", "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "image"}]},
    }
