"""kopf ends when it is told to, and what it raises of its own is not lost."""

import asyncio

import pytest

from trainingjob_operator.handlers.shell import LINGERS_S, Shell


async def test_kopf_that_lingers_after_our_parts_have_stopped_is_cut_short() -> None:
    shell, cut_short = Shell(), asyncio.Event()

    async def kopf() -> None:
        await shell.told.wait()
        shell.leave()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cut_short.set()
            raise

    shell.told.set()
    async with asyncio.timeout(20 * LINGERS_S):
        await shell.run(kopf())
        await cut_short.wait()


async def test_what_kopf_raises_after_it_was_told_to_stop_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shell = Shell()

    async def kopf() -> None:
        raise ConnectionError("connector is closed")

    shell.told.set()
    await shell.run(kopf())
    assert "connector is closed" in caplog.text


async def test_a_fault_of_kopfs_own_is_raised_even_if_it_takes_its_time() -> None:
    shell = Shell()

    async def kopf() -> None:
        shell.leave()
        await asyncio.sleep(2 * LINGERS_S)
        raise ConnectionError("the watch failed")

    with pytest.raises(ConnectionError, match="the watch failed"):
        await shell.run(kopf())
