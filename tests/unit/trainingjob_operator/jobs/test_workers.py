"""The reaction of the workers to each result of a pass."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from trainingjob_api.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubernetesError,
    QuotaExceededError,
    RightMissingError,
    ThrottledError,
    UnavailableError,
)
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.work_queue import WorkQueue
from trainingjob_operator.jobs.workers import Workers

KEY = JobKey("ml", "mnist")
OTHER = JobKey("ml", "other")


class Bench:
    """Workers whose passes do as they are told, and the times at which they were made."""

    def __init__(self, act: Callable[[JobKey], Awaitable[float | None]], count: int = 2) -> None:
        self.queue: WorkQueue[JobKey] = WorkQueue()
        self.workers = Workers(self.queue, self._pass, count=count)
        self.passes: dict[JobKey, list[float]] = {KEY: [], OTHER: []}
        self._act = act

    async def _pass(self, key: JobKey) -> float | None:
        self.passes[key].append(LoopClock().monotonic())
        return await self._act(key)

    async def flood(self, seconds: int, *keys: JobKey) -> None:
        """An event for each key ten times a second."""
        for _ in range(seconds * 10):
            for key in keys:
                self.queue.add(key)
            await asyncio.sleep(0.1)


@asynccontextmanager
async def at_work(
    act: Callable[[JobKey], Awaitable[float | None]], count: int = 2
) -> AsyncIterator[Bench]:
    bench = Bench(act, count)
    bench.workers.start()
    try:
        yield bench
    finally:
        await bench.workers.stop()


def failing_with(error: Exception) -> Callable[[JobKey], Awaitable[float | None]]:
    """Passes over KEY fail; those over any other job succeed."""

    async def act(key: JobKey) -> float | None:
        if key == KEY:
            raise error
        return None

    return act


@in_simulated_time
async def test_a_pass_that_asks_for_another_one_gets_it_then() -> None:
    async def act(key: JobKey) -> float | None:
        return 7.0

    async with at_work(act) as bench:
        bench.queue.add(KEY)
        await asyncio.sleep(22)
    assert bench.passes[KEY] == pytest.approx([0, 7, 14, 21])


@pytest.mark.parametrize(
    "error",
    [
        ForbiddenError("no", status=403),
        QuotaExceededError("exceeded quota", status=403),
        InvalidError("wrong", status=422),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_permanent_error_is_retried_once_a_minute_whatever_events_arrive(
    error: KubernetesError,
) -> None:
    @in_simulated_time
    async def play() -> None:
        async with at_work(failing_with(error)) as bench:
            await bench.flood(200, KEY, OTHER)
        assert bench.passes[KEY] == pytest.approx([0, 60, 120, 180], abs=0.2)
        assert len(bench.passes[OTHER]) == 2000, "nobody else waits"

    play()


@in_simulated_time
async def test_a_missing_right_is_retried_soon_then_once_a_minute_whatever_events_arrive() -> None:
    async with at_work(failing_with(RightMissingError("no right", status=403))) as bench:
        await bench.flood(400, KEY, OTHER)
    made = bench.passes[KEY]
    waits = [late - early for early, late in itertools.pairwise(made)]
    for number, wait in enumerate(waits):
        least = min(60.0, max(1.0, 0.1 * 2**number))
        assert least <= wait <= least * 1.25 + 0.2
    assert waits[0] < 2
    assert waits[-1] >= 60
    assert len(bench.passes[OTHER]) == 4000, "nobody else waits"


@in_simulated_time
async def test_a_throttled_job_waits_for_as_long_as_it_was_asked_to() -> None:
    error = ThrottledError("slow down", retry_after_s=17)
    async with at_work(failing_with(error)) as bench:
        await bench.flood(60, KEY, OTHER)
    assert bench.passes[KEY] == pytest.approx([0, 17, 34, 51], abs=0.2)
    assert len(bench.passes[OTHER]) == 600


@in_simulated_time
async def test_a_throttling_response_without_a_wait_causes_no_hot_loop() -> None:
    async with at_work(failing_with(ThrottledError("slow down", retry_after_s=0))) as bench:
        bench.queue.add(KEY)
        await asyncio.sleep(10)
    assert len(bench.passes[KEY]) <= 101


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("503", status=503),
        ConflictError("changed", status=409),
        GoneError("expired", status=410),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_that_passes_is_tried_again_with_waits_that_double_up_to_a_minute(
    error: KubernetesError,
) -> None:
    @in_simulated_time
    async def play() -> None:
        async with at_work(failing_with(error)) as bench:
            bench.queue.add(KEY)
            await asyncio.sleep(600)
        made = bench.passes[KEY]
        waits = [late - early for early, late in itertools.pairwise(made)]
        for number, wait in enumerate(waits):
            least = min(60.0, 0.1 * 2**number)
            assert least <= wait <= least * 1.25 + 0.001
        assert len(waits) > 12

    play()


@in_simulated_time
async def test_success_forgets_the_failures() -> None:
    outcomes = [True, True, True, True, False, True]

    async def act(key: JobKey) -> float | None:
        if outcomes and outcomes.pop(0):
            raise UnavailableError("503")
        return 100.0 if outcomes else None

    async with at_work(act) as bench:
        bench.queue.add(KEY)
        await asyncio.sleep(200)
    assert bench.passes[KEY][-1] - bench.passes[KEY][-2] < 0.2, "as after a first failure"


@in_simulated_time
async def test_a_bug_in_one_jobs_pass_kills_no_worker_and_delays_no_other_job() -> None:
    async with at_work(failing_with(ZeroDivisionError("a bug")), count=1) as bench:
        bench.queue.add(KEY)
        await bench.flood(10, OTHER)
        assert bench.workers.are_alive
    assert len(bench.passes[OTHER]) == 100
    assert 2 <= len(bench.passes[KEY]) <= 10
    assert bench.workers.failures_total == len(bench.passes[KEY])


@in_simulated_time
async def test_a_slow_pass_delays_only_its_own_job() -> None:
    async def act(key: JobKey) -> float | None:
        if key == KEY:
            await asyncio.sleep(30)
        return None

    async with at_work(act) as bench:
        bench.queue.add(KEY)
        await bench.flood(20, OTHER)
    assert len(bench.passes[OTHER]) == 200


@in_simulated_time
async def test_what_comes_in_during_a_pass_is_one_more_pass_afterwards() -> None:
    at_once, most = 0, 0

    async def act(key: JobKey) -> float | None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(5)
        at_once -= 1
        return None

    async with at_work(act) as bench:
        await bench.flood(4, KEY)
        await asyncio.sleep(30)
    assert bench.passes[KEY] == pytest.approx([0, 5])
    assert most == 1


@in_simulated_time
async def test_stopping_ends_a_pass_in_its_middle_and_all_appointments() -> None:
    async def act(key: JobKey) -> float | None:
        if key == OTHER:
            return 5.0
        await asyncio.sleep(1000)
        return None

    bench = Bench(act)
    bench.workers.start()
    bench.queue.add(KEY)
    bench.queue.add(OTHER)
    await asyncio.sleep(1)
    assert bench.workers.are_alive
    await bench.workers.stop()
    assert not bench.workers.are_alive
    assert LoopClock().monotonic() == pytest.approx(1)
    await asyncio.sleep(100)
    assert [len(made) for made in bench.passes.values()] == [1, 1]
