"""Deadlines of a process that may be stalled."""

import asyncio

import pytest

from trainingjob_console.deadlines import StallTolerantDeadline, StallTolerantTimeout


@pytest.mark.parametrize(
    ("looks", "is_over"),
    [
        ([1.0] * 9, False),
        ([1.0] * 10, True),
        ([0.25] * 39, False),  # looked at more often: by the clock
        ([0.25] * 40, True),
        ([1.0] * 4 + [1000.0] + [1.0] * 4, False),  # a pause counts as one look
        ([1.0] * 4 + [1000.0] + [1.0] * 5, True),
        ([1000.0] * 9, False),
        ([1000.0] * 10, True),
    ],
)
def test_a_deadline_of_ten_seconds(looks: list[float], is_over: bool) -> None:
    now = 5.0
    deadline = StallTolerantDeadline(10.0, now)
    assert deadline.interval == 1.0
    for seconds in looks[:-1]:
        now += seconds
        assert not deadline.has_passed(now)
    assert deadline.has_passed(now + looks[-1]) == is_over


async def test_a_timeout_cancels_only_what_takes_longer() -> None:
    async with StallTolerantTimeout(10.0):
        await asyncio.sleep(0)
    with pytest.raises(KeyError):
        async with StallTolerantTimeout(10.0):
            raise KeyError
    begun = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        async with StallTolerantTimeout(0.1):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() - begun > 0.09
    work = asyncio.create_task(_waiting())
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def _waiting() -> None:
    async with StallTolerantTimeout(10.0):
        await asyncio.Event().wait()
