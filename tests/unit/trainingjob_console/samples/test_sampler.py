"""The sampler scrapes operators, and one of them is down only if it does not respond."""

import asyncio

import pytest

from tests.support.console.stalled_process import StalledLoop, slow_server
from trainingjob_console.clock import utc_now
from trainingjob_console.samples import sampler as sampler_module
from trainingjob_console.samples.addresses import Addresses
from trainingjob_console.samples.sampler import Sampler


async def first_sample(sampler: Sampler) -> list[tuple[bool, str | None]]:
    """Sample once; returns for each operator whether it is up, and its version."""
    sampling = asyncio.create_task(sampler.run())
    while not sampler.operators:
        await asyncio.sleep(0.005)
    sampling.cancel()
    await asyncio.wait([sampling])
    return [(each["up"], each["version"]) for each in sampler.operators]


async def test_an_operator_that_responded_while_the_process_was_stalled_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standstill = StalledLoop(monkeypatch)
    async with slow_server() as server:
        sampling = asyncio.create_task(first_sample(Sampler(Addresses([server.url]), utc_now)))
        await server.was_asked.wait()
        server.answer_text('trainingjob_operator_build_info{version="1.2"} 1\n')
        standstill.lasts(600)
        assert await sampling == [(True, "1.2")]


async def test_an_operator_that_does_not_respond_in_time_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler_module, "_TIMEOUT_S", 0.1)
    async with slow_server() as server:
        assert await first_sample(Sampler(Addresses([server.url]), utc_now)) == [(False, None)]
        await server.was_asked.wait()
        server.answer_text("too late")
