"""Revoked rights: an open page receives no more data of the namespace."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.console.conftest import until_indexed
from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from tests.support.console.endless_log import pod_that_writes
from tests.support.console.hub import fake_job
from tests.support.console.raw_socket import RawSocket
from trainingjob_console.sockets.limits import Limits
from trainingjob_sandbox.apiserver.reviews import Account

TOKEN = "a-token-of-rita"
QUICK = Limits(recheck=0.2)

pytestmark = pytest.mark.sandbox_only


@pytest.fixture
async def token_console(api: Api) -> AsyncIterator[ConsoleUnderTest]:
    """Run a console that reviews rights often, and an API server where the user Rita has rights to one namespace."""
    accounts = api.server.inside.server.accounts.by_token
    accounts["admin"] = Account("admin")
    _let_rita(api, True)
    try:
        async with running_console(api.server, limits=QUICK, auth="token") as console:
            yield console
    finally:
        accounts.clear()


def _let_rita(api: Api, may: bool, *more: str) -> None:
    namespaces = frozenset({api.namespace, *more} if may else ())
    api.server.inside.server.accounts.by_token[TOKEN] = Account(
        "rita", namespaces=namespaces, verbs=frozenset({"get", "list"})
    )


async def _subscribed(console: ConsoleUnderTest) -> RawSocket:
    """Return a socket that follows the list of jobs as subscription 1."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    position = (await console.get("/api/jobs", headers=bearer)).json["position"]
    page = await console.socket(TOKEN)
    await page.send({"type": "sub", "id": 1, "kind": "jobs", "position": position})
    return page


async def _drain_frames(page: RawSocket) -> list[dict[str, Any]]:
    """Return all frames that were sent before the response to a request sent now."""
    await page.send({"type": "unsub", "id": 99})
    found = []
    while (frame := await page.receive()) is not None and frame["id"] != 99:
        found.append(frame)
    assert frame is not None
    return found


async def test_a_followed_log_ends_when_the_right_to_its_namespace_is_revoked(
    api: Api, token_console: ConsoleUnderTest
) -> None:
    job = await api.apply(make_job("mine"))
    await until_indexed(token_console, job)
    async with pod_that_writes(api, job):
        page = await _subscribed(token_console)
        wanted = {"kind": "logs", "uid": job["metadata"]["uid"], "source": "live:0:0:main"}
        await page.send({"type": "sub", "id": 2, **wanted})
        await page.receive_kind("log")
        _let_rita(api, False)
        ended: dict[int, str] = {}
        async with asyncio.timeout(30):
            while len(ended) < 2:
                frame = await page.receive()
                assert frame is not None
                assert frame.get("id") not in ended
                if frame["type"] in ("error", "resync", "end"):
                    ended[frame["id"]] = frame.get("reason", frame["type"])
        assert ended == {1: "resync", 2: "Forbidden"}
        assert await _drain_frames(page) == []
        await page.send({"type": "sub", "id": 3, **wanted})
        refused = await page.receive_kind("error")
        assert (refused["id"], refused["reason"]) == (3, "NotFound")
        page.close()


async def test_a_new_job_is_hidden_if_the_right_was_revoked_while_its_namespace_was_empty(
    api: Api, token_console: ConsoleUnderTest
) -> None:
    job = await api.apply(make_job("first"))
    await until_indexed(token_console, job)
    page = await _subscribed(token_console)
    await api.delete_job("first")
    assert (await page.receive_kind("delta"))["gone"] == [job["metadata"]["uid"]]
    _let_rita(api, False)
    await page.receive_kind("resync")
    late = await api.apply(make_job("late"))
    await until_indexed(token_console, late)
    assert await _drain_frames(page) == []
    page.close()


async def test_denied_namespaces_are_not_reviewed_again_but_new_ones_are(
    api: Api, token_console: ConsoleUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    components = token_console.console.components
    job = await api.apply(make_job("mine"))
    await until_indexed(token_console, job)
    async with asyncio.timeout(30):
        while not components.index.is_complete:  # its list would take away what comes now
            await asyncio.sleep(0.01)
    for number in range(40):
        components.index.put(fake_job(f"foreign-{number}", namespace=f"foreign-{number}"))
    page = await _subscribed(token_console)
    components.index.put(fake_job("probe", namespace=api.namespace))
    await page.receive_kind("delta")  # the list is open
    asked = _asked_about(token_console, monkeypatch)

    async def until_asked(namespace: str, times: int) -> None:
        async with asyncio.timeout(30):
            while asked.count(namespace) < times:
                await asyncio.sleep(0.01)

    await until_asked(api.namespace, 3)
    assert set(asked) == {"", api.namespace}
    components.index.put(fake_job("new", namespace="new"))
    await until_asked("new", 1)
    await until_asked(api.namespace, asked.count(api.namespace) + 3)
    assert set(asked) == {"", api.namespace, "new"}
    assert asked.count("new") == 1
    page.close()


async def test_the_first_job_of_a_namespace_soon_appears_for_a_user_with_rights_to_it_alone(
    api: Api, token_console: ConsoleUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_rita(api, True, "granted-1", "granted-2")
    limits = Limits(newcomers=0.1)
    async with running_console(api.server, limits=limits, auth="token") as console:
        index = console.console.components.index
        job = await api.apply(make_job("mine"))
        await until_indexed(console, job)
        async with asyncio.timeout(30):
            while not index.is_complete:
                await asyncio.sleep(0.01)
        page = await _subscribed(console)
        index.put(fake_job("probe", namespace=api.namespace))
        await page.receive_kind("delta")
        asked = _asked_about(console, monkeypatch)
        # The next review of all rights is half a minute away.
        for name in ("foreign", "granted-1"):
            index.put(fake_job(name, namespace=name))
        index.put(fake_job("granted-1-too", namespace="granted-1"))
        assert (await page.receive_kind("resync"))["id"] == 1
        assert sorted(asked) == ["foreign", "granted-1"]
        # One that follows one job has nothing to load again.
        await page.send({"type": "sub", "id": 2, "kind": "job", "uid": job["metadata"]["uid"]})
        await page.send({"type": "sub", "id": 3, "kind": "jobs", "position": index.position})
        index.put(fake_job("probe-2", namespace=api.namespace))
        await page.receive_kind("delta")
        index.put(fake_job("granted-2", namespace="granted-2"))
        assert (await page.receive_kind("resync"))["id"] == 3
        assert await _drain_frames(page) == []
        page.close()


def _asked_about(console: ConsoleUnderTest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the namespaces of access reviews from now on; an empty name: all namespaces."""
    kube = console.console.components.kube
    asked: list[str] = []
    call = kube.call

    async def counted(method: str, path: str, **arguments: Any) -> Any:
        if path.endswith("selfsubjectaccessreviews"):
            spec = arguments["body"]["spec"]["resourceAttributes"]
            asked.append(spec.get("namespace", ""))
        return await call(method, path, **arguments)

    monkeypatch.setattr(kube, "call", counted)
    return asked
