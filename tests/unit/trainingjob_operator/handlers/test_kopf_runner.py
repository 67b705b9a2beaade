"""kopf stops on request, its own errors are raised, and its memory of objects is counted."""

import asyncio
from typing import Any

import pytest

from trainingjob_operator.handlers.kopf_runner import (
    KOPF_GRACE_S,
    CountedMemories,
    KopfRunner,
)

POLICY: Any = {"kind": "RetentionPolicy", "metadata": {"uid": "r", "name": "default"}}


async def test_kopf_that_lingers_after_our_parts_have_stopped_is_cut_short() -> None:
    runner, cut_short = KopfRunner(), asyncio.Event()

    async def kopf() -> None:
        await runner.stop_requested.wait()
        runner.engine_stopped()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cut_short.set()
            raise

    runner.stop_requested.set()
    async with asyncio.timeout(20 * KOPF_GRACE_S):
        await runner.run(kopf())
        await cut_short.wait()


async def test_what_kopf_raises_after_it_was_told_to_stop_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner = KopfRunner()

    async def kopf() -> None:
        raise ConnectionError("connector is closed")

    runner.stop_requested.set()
    await runner.run(kopf())
    assert "connector is closed" in caplog.text


async def test_a_fault_of_kopfs_own_is_raised_even_if_it_takes_its_time() -> None:
    runner = KopfRunner()

    async def kopf() -> None:
        runner.engine_stopped()
        await asyncio.sleep(2 * KOPF_GRACE_S)
        raise ConnectionError("the watch failed")

    with pytest.raises(ConnectionError, match="the watch failed"):
        await runner.run(kopf())


async def test_what_a_timer_needs_is_kept_and_counted_until_its_object_goes() -> None:
    memories = CountedMemories()
    first = await memories.recall(POLICY)
    assert await memories.recall(POLICY) is first
    assert len(memories) == 1
    await memories.forget(POLICY)
    assert len(memories) == 0
