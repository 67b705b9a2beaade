"""The byte semaphore: never above its limit, first come, first served, nothing lost on cancellation."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_operator.jobs.byte_semaphore import ByteSemaphore

LIMIT = 100


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 5), st.booleans()), max_size=30))
def test_never_more_is_held_than_the_limit_and_in_the_end_nothing(
    asked: list[tuple[int, int, bool]],
) -> None:
    semaphore = ByteSemaphore(LIMIT)

    async def hold(weight: int, turns: int) -> None:
        async with semaphore.acquire(weight):
            assert semaphore.used <= LIMIT
            for _ in range(turns):
                await asyncio.sleep(0)

    async def run() -> None:
        tasks = [asyncio.create_task(hold(weight, turns)) for weight, turns, _ in asked]
        for task, (_, _, cancelled) in zip(tasks, asked, strict=True):
            await asyncio.sleep(0)
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    assert semaphore.used == 0


@in_simulated_time
async def test_a_large_one_is_not_overtaken_for_ever_by_small_ones() -> None:
    semaphore = ByteSemaphore(LIMIT)
    order: list[str] = []

    async def hold(name: str, weight: int) -> None:
        async with semaphore.acquire(weight):
            order.append(name)
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        for name, weight in (("first", 60), ("large", 500), ("small", 10)):
            group.create_task(hold(name, weight))
    assert order == ["first", "large", "small"]
