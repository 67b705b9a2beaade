"""Work is run in slices, round-robin by user, and is limited in number."""

import asyncio
from collections.abc import Generator
from time import thread_time

import pytest

from tests.support.console.run_work import run_work
from tests.support.console.summaries import BEGIN, make_summary
from trainingjob_console.errors import BusyError
from trainingjob_console.jobs.fair_scheduler import MAX_WORK_PER_USER, SLICE_S, FairScheduler, Work
from trainingjob_console.jobs.filters import Filter
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.listing import LivePage, live_page
from trainingjob_console.sockets.job_topics import Topic, TopicKey


class Clock:
    """A clock that advances by a slice with each step of a work item."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps: list[str] = []
        self.closed: list[str] = []

    def work(self, name: str, steps: int) -> Generator[None, None, str]:
        try:
            for _ in range(steps):
                self.steps.append(name)
                self.now += SLICE_S
                yield
        finally:
            self.closed.append(name)
        return name


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_user_with_much_work_delays_another_by_one_slice_at_a_time() -> None:
    clock = Clock()
    scheduler = FairScheduler(lambda: clock.now)
    many = [
        asyncio.ensure_future(scheduler.execute("eve", clock.work(f"e{n}", 3))) for n in range(5)
    ]
    await settle()
    one = asyncio.ensure_future(scheduler.execute("anna", clock.work("a", 3)))
    assert await one == "a"
    assert [step for step in clock.steps if step == "a"] == ["a"] * 3
    between = clock.steps[clock.steps.index("a") :]
    assert between[: between.index("a", 1)].count("e0") <= 1
    assert (
        len(clock.steps) <= 8
    )  # a slice of Eve's for each of Anna's, and the one that had already started
    assert await asyncio.gather(*many) == [f"e{n}" for n in range(5)]
    assert clock.steps[-12:] == ["e1"] * 3 + ["e2"] * 3 + ["e3"] * 3 + ["e4"] * 3
    assert len(scheduler) == 0


async def test_work_above_the_limit_of_a_user_is_refused_and_that_of_others_is_not() -> None:
    clock = Clock()
    scheduler = FairScheduler(lambda: clock.now)
    many = [scheduler.execute("eve", clock.work("e", 2)) for _ in range(MAX_WORK_PER_USER)]
    waiting = [asyncio.ensure_future(each) for each in many]
    await settle()
    with pytest.raises(BusyError) as refused:
        await scheduler.execute("eve", clock.work("too many", 1))
    assert refused.value.retry_after_s == 1
    assert len(scheduler) == MAX_WORK_PER_USER
    assert await scheduler.execute("anna", clock.work("a", 1)) == "a"
    await asyncio.gather(*waiting)
    assert "too many" not in clock.steps
    assert await scheduler.execute("eve", clock.work("again", 1)) == "again"


async def test_cancelled_work_is_removed() -> None:
    clock = Clock()
    scheduler = FairScheduler(lambda: clock.now)
    begun, waits = [asyncio.ensure_future(scheduler.execute("a", clock.work(n, 99))) for n in "xy"]
    await settle()
    for each in (waits, begun):
        each.cancel()
    await asyncio.wait([begun, waits])
    assert clock.closed == ["x"]
    assert len(scheduler) == 0
    assert await scheduler.execute("a", clock.work("z", 1)) == "z"


@pytest.mark.serial
async def test_lists_and_topics_of_20_000_jobs_block_the_loop_for_milliseconds() -> None:
    index = JobIndex(max_jobs=20_000, epoch="e")
    for number in range(20_000):
        index.put(make_summary(number, namespace=f"ns{number % 50}"))

    def page(sort: str) -> Work[LivePage]:
        return live_page(
            index.jobs(),
            Filter(),
            lambda _: True,
            sort=sort,
            now=BEGIN,
            after=None,
            limit=200,
        )

    def cpu_ms(work: Work[object]) -> float:
        begun = thread_time()
        run_work(work)
        return (thread_time() - begun) * 1000

    at_once = [
        cpu_ms(page("name")),
        cpu_ms(Topic(TopicKey(filter=Filter(text="no"))).count(index)),
    ]
    scheduler = FairScheduler()
    topics = [Topic(TopicKey(filter=Filter(text=f"no {n}"))) for n in range(3)]
    waiting = asyncio.gather(
        *(scheduler.execute(f"user {n}", page("name")) for n in range(3)),
        *(scheduler.execute(f"user {n}", each.count(index)) for n, each in enumerate(topics)),
    )
    held: list[float] = []
    while not waiting.done():
        begun = thread_time()
        await asyncio.sleep(0)
        held.append((thread_time() - begun) * 1000)
    held.sort()
    long = [each for each in held if each > 1]
    print(  # noqa: T201
        f"a list and a topic of 20,000 jobs: {at_once[0]:.0f} and {at_once[1]:.0f} ms of CPU at once; "
        f"three of each in slices: the loop is held {len(long)} times for more than 1 ms, half of them "
        f"{long[len(long) // 2]:.1f} ms or less, 99 of 100 {long[len(long) * 99 // 100]:.1f}, the longest "
        f"{long[-1]:.1f}"
    )
    # Compared with the same work in one piece: absolute times depend on the machine and its load.
    assert len(long) > 10
    assert long[len(long) // 2] < max(at_once) / 3
    assert long[len(long) * 99 // 100] < max(at_once)
