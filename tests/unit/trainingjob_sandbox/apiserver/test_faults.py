"""Faults on demand, as clients meet them."""

import asyncio
import time

import aiohttp
import pytest

from tests.unit.trainingjob_sandbox.apiserver.http import Client
from tests.unit.trainingjob_sandbox.apiserver.widgets import CONFIG_MAPS, config_map
from trainingjob_sandbox.apiserver import (
    ApiServer,
    Call,
    Delay,
    Fault,
    Hang,
    Match,
    RequestRecord,
    Reset,
    Respond,
)

CREATE = Match(verb="create", resource="configmaps")


def exists(server: ApiServer, name: str = "a") -> bool:
    return name in [obj["metadata"]["name"] for obj in server.store.list("configmaps")]


@pytest.mark.parametrize("after", [False, True])
async def test_an_error_comes_instead_of_the_effect_or_instead_of_its_answer(
    server: ApiServer, client: Client, *, after: bool
) -> None:
    server.faults.add(
        Fault(Respond(429, "TooManyRequests", "slow down", retry_after_s=7, after=after), CREATE)
    )

    answer = await client.post(CONFIG_MAPS, config_map("a"))

    assert (answer.status, answer.body["reason"]) == (429, "TooManyRequests")
    assert answer.headers["Retry-After"] == "7"
    assert exists(server) is after
    assert (await client.post(CONFIG_MAPS, config_map("b"))).status == 201


@pytest.mark.parametrize("after", [False, True])
async def test_a_connection_breaks_before_or_after_the_effect(
    server: ApiServer, client: Client, *, after: bool
) -> None:
    server.faults.add(Fault(Reset(after=after), CREATE))

    with pytest.raises(aiohttp.ClientError):
        await client.post(CONFIG_MAPS, config_map("a"))

    assert exists(server) is after


@pytest.mark.parametrize("after", [False, True])
async def test_a_request_hangs_without_a_byte_until_the_client_gives_up(
    server: ApiServer, client: Client, *, after: bool
) -> None:
    server.faults.add(Fault(Hang(after=after), CREATE))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.post(CONFIG_MAPS, config_map("a"))

    assert exists(server) is after
    assert server.requests[-1].status == 0


async def test_a_hanging_request_does_not_keep_the_server_from_stopping(
    server: ApiServer, client: Client
) -> None:
    hit = asyncio.Event()
    server.faults.add(Fault(Call(lambda record: hit.set()), CREATE))
    server.faults.add(Fault(Hang(), CREATE))
    request = asyncio.create_task(client.post(CONFIG_MAPS, config_map("a")))
    await hit.wait()

    await asyncio.wait_for(server.stop(), 5)

    with pytest.raises(aiohttp.ClientError):
        await request


async def test_an_answer_takes_its_time(server: ApiServer, client: Client) -> None:
    server.faults.add(Fault(Delay(0.2), CREATE))
    start = time.perf_counter()

    answer = await client.post(CONFIG_MAPS, config_map("a"))

    assert answer.status == 201
    assert time.perf_counter() - start >= 0.2


@pytest.mark.parametrize("after", [False, True])
async def test_a_function_is_called_at_the_nth_request_before_or_after_its_effect(
    server: ApiServer, client: Client, *, after: bool
) -> None:
    seen: list[tuple[str, bool]] = []

    async def look(record: RequestRecord) -> None:
        seen.append((record.verb, exists(server, "b")))

    server.faults.add(Fault(Call(look, after=after), CREATE, nth=2))

    for name in ("a", "b", "c"):
        assert (await client.post(CONFIG_MAPS, config_map(name))).status == 201

    assert seen == [("create", after)]


async def test_a_refused_request_is_seen_by_what_comes_after(
    server: ApiServer, client: Client
) -> None:
    called: list[str] = []
    fault = Fault(Call(lambda record: called.append(record.verb), after=True), Match(verb="get"))
    server.faults.add(fault)

    assert (await client.get(f"{CONFIG_MAPS}/nope")).status == 404
    assert called == ["get"]


async def test_a_watch_can_be_refused(server: ApiServer, client: Client) -> None:
    server.faults.add(Fault(Respond(500), Match(verb="watch")))

    async with client.watch(CONFIG_MAPS) as stream:
        assert stream.response.status == 500
    async with client.watch(CONFIG_MAPS) as stream:
        assert stream.response.status == 200
