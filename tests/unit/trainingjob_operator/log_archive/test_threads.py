"""A volume that hangs holds some threads, for a bounded time, and nobody else."""

import asyncio
import threading
import time

import pytest

from trainingjob_api.errors import VolumeError
from trainingjob_operator.log_archive.threads import FileThreads


async def test_what_a_call_returns_and_raises_comes_back() -> None:
    threads = FileThreads(2)
    assert await threads.run(lambda: 42, deadline_s=5) == 42
    with pytest.raises(FileNotFoundError):
        await threads.run(lambda: open("/nonexistent/file"), deadline_s=5)  # noqa: SIM115, PTH123
    assert (threads.used, threads.hanging) == (0, 0)


async def test_calls_that_hang_are_left_behind_and_then_nobody_waits_any_more() -> None:
    threads, end = FileThreads(2), threading.Event()
    for _ in range(2):
        with pytest.raises(VolumeError, match="did not answer within"):
            await threads.run(end.wait, deadline_s=0.05)
    assert (threads.used, threads.hanging) == (2, 2)

    begun = time.monotonic()
    with pytest.raises(VolumeError, match="hangs"):
        await threads.run(lambda: 1, deadline_s=60)
    assert time.monotonic() - begun < 5

    end.set()
    async with asyncio.timeout(10):
        while threads.used:
            await asyncio.sleep(0.01)
    assert threads.hanging == 0
    assert await threads.run(lambda: 1, deadline_s=5) == 1


async def test_a_caller_that_goes_away_leaves_its_thread_counted() -> None:
    threads, end = FileThreads(1), threading.Event()
    caller = asyncio.create_task(threads.run(end.wait, deadline_s=60))
    while not threads.used:
        await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.wait([caller])
    assert threads.hanging == 1
    end.set()
    async with asyncio.timeout(10):
        while threads.hanging:
            await asyncio.sleep(0.01)


async def test_one_that_finds_no_thread_in_time_is_never_run() -> None:
    threads, end = FileThreads(1), threading.Event()
    ran: list[int] = []
    first = asyncio.create_task(threads.run(end.wait, deadline_s=60))
    while not threads.used:
        await asyncio.sleep(0.01)
    with pytest.raises(VolumeError):
        await threads.run(lambda: ran.append(1), deadline_s=0.05)
    end.set()
    assert await first
    assert ran == []
