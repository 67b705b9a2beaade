"""The queue is bounded, and no user takes all slots."""

import asyncio
from collections.abc import Iterator

import pytest

from trainingjob_console.concurrency import ConcurrencyLimit, share_per_user
from trainingjob_console.errors import BusyError


class Crowd:
    """Tasks that hold their slots until they are released."""

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self.limit = limit
        self.inside: list[str] = []
        self.over = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *users: str) -> None:
        """Start a task for each user, and run all until they wait."""
        self.tasks += [asyncio.create_task(self._work(user)) for user in users]
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _work(self, user: str) -> None:
        async with self.limit.slot(user, "too much"):
            self.inside.append(user)
            await self.over.wait()

    @property
    def refused(self) -> int:
        ended = (each for each in self.tasks if each.done() and not each.cancelled())
        return sum(isinstance(each.exception(), BusyError) for each in ended)


def users() -> Iterator[str]:
    return (f"user-{number}" for number in range(10_000))


async def test_the_queue_is_bounded() -> None:
    crowd, names = Crowd(ConcurrencyLimit(4, 12)), users()
    await crowd.come(*(next(names) for _ in range(400)))
    assert (len(crowd.inside), len(crowd.limit), crowd.refused) == (4, 16, 400 - 16)
    crowd.over.set()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)
    assert len(crowd.inside) == 16
    assert len(crowd.limit) == 0


async def test_one_user_may_take_a_quarter_and_the_next_user_does_not_wait() -> None:
    crowd = Crowd(ConcurrencyLimit(8, 56))
    await crowd.come(*["anna"] * 100)
    assert crowd.inside == ["anna"] * 2
    assert (len(crowd.limit), crowd.refused) == (16, 84)
    await crowd.come("ben")
    assert crowd.inside == ["anna", "anna", "ben"]
    crowd.over.set()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)
    assert crowd.inside.count("anna") == 16


async def test_a_cancelled_task_releases_its_slot() -> None:
    crowd = Crowd(ConcurrencyLimit(2, 6))
    await crowd.come("anna", "anna", "ben", "ben", "cleo")
    for each in crowd.tasks:
        each.cancel()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)
    assert len(crowd.limit) == 0
    assert not crowd.limit._user_slots
    crowd.over.set()
    await crowd.come("anna", "ben")
    assert crowd.inside[-2:] == ["anna", "ben"]


async def test_a_rejection_names_the_limit_and_when_to_retry() -> None:
    crowd = Crowd(ConcurrencyLimit(1, 1))
    await crowd.come("anna", "ben")
    with pytest.raises(BusyError, match="too many logs are read: try again") as caught:
        async with crowd.limit.slot("cleo", "too many logs are read"):
            pass
    assert (caught.value.status, caught.value.retry_after_s) == (503, 5)
    crowd.over.set()
    await asyncio.gather(*crowd.tasks)


@pytest.mark.parametrize(("limit", "share"), [(1, 2), (8, 2), (9, 3), (64, 16), (256, 64)])
def test_a_share_is_a_quarter_and_at_least_two(limit: int, share: int) -> None:
    assert share_per_user(limit) == share
