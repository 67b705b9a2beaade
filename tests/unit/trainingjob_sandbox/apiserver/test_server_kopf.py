"""A real kopf operator, in this process, against the server in its thread."""

import asyncio
from typing import Any

import kopf

from tests.support.apiserver.server_internals import record_requests
from tests.support.processes.processes import eventually
from tests.unit.trainingjob_sandbox.apiserver.widgets import CRD, widget
from trainingjob_sandbox.apiserver import ApiServer, ApiServerThread
from trainingjob_sandbox.apiserver.storage import CollectionId

PATIENCE_S = 60.0


async def test_an_operator_sees_objects_created_changed_and_deleted() -> None:
    seen: asyncio.Queue[tuple[str | None, str | None]] = asyncio.Queue()
    registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    stop, ready = asyncio.Event(), asyncio.Event()

    server = ApiServerThread([CRD], bookmark_interval_s=0.1)
    requests = record_requests(server.server)
    with server as api:

        @kopf.on.login(registry=registry)
        def login(**_: Any) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=api.url)

        @kopf.on.event("example.dev", "v1", "widgets", registry=registry)
        async def on_event(event: Any, name: str | None, **_: Any) -> None:
            await seen.put((event["type"], name))

        operator = asyncio.create_task(
            kopf.operator(
                registry=registry,
                settings=settings,
                standalone=True,
                clusterwide=True,
                stop_flag=stop,
                ready_flag=ready,
            )
        )
        try:
            api.call(lambda server: server.store.create("widgets", widget("old")))
            async with asyncio.timeout(PATIENCE_S):
                await ready.wait()
                assert await seen.get() in ((None, "old"), ("ADDED", "old"))
                api.call(lambda server: server.store.create("widgets", widget("new")))
                assert await seen.get() == ("ADDED", "new")
                api.call(touch)
                assert await seen.get() == ("MODIFIED", "new")
                # The operator comes back from where it was after its watch has broken.
                api.call(lambda server: server.drop_watches())
                api.call(lambda server: server.store.delete("widgets", "new"))
                assert await seen.get() == ("DELETED", "new")
        finally:
            stop.set()
            await asyncio.wait_for(operator, PATIENCE_S)
        assert {request.verb for request in requests} <= {"get", "list", "watch"}
        await eventually(lambda: api.call(watchers) == 0)  # it hears of a closed connection


def touch(server: ApiServer) -> None:
    server.store.update(
        "widgets", "new", lambda old: {**old, "status": {"phase": "X"}}, subresource="status"
    )


def watchers(server: ApiServer) -> int:
    return len(server._storage.collection(CollectionId("example.dev", "widgets")).subscribers)
