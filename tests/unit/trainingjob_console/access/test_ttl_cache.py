"""The look-up cache: concurrent look-ups of a key are merged, answers and refusals are bounded separately."""

import asyncio

import pytest

from trainingjob_console.access.ttl_cache import LookupCache


class Questions:
    """Counts the look-ups, each of which is answered when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: asyncio.Event = asyncio.Event()
        self.error: Exception | None = None

    async def ask(self) -> str:
        self.asked += 1
        number = self.asked
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return f"answer {number}"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def get(remembered: LookupCache[str, str], questions: Questions) -> asyncio.Task[str | None]:
    return asyncio.ensure_future(remembered.get("key", questions.ask))


def new(limit: int = 4, refusals: int = 2) -> LookupCache[str, str]:
    return LookupCache(limit, refusals, fresh_s=60.0, refused_s=5.0, clock=lambda: 0.0)


async def test_concurrent_look_ups_of_a_key_are_merged() -> None:
    remembered, questions = new(), Questions()
    waiters = [get(remembered, questions) for _ in range(3)]
    await settle()
    questions.answer.set()
    assert await asyncio.gather(*waiters) == ["answer 1"] * 3
    assert await get(remembered, questions) == "answer 1"
    assert questions.asked == 1


async def test_a_cancelled_look_up_is_repeated_for_the_other_waiters() -> None:
    # A browser that closes a tab cancels the request that happened to ask first.
    remembered, questions = new(), Questions()
    first, *others = [get(remembered, questions) for _ in range(3)]
    await settle()
    first.cancel()
    await settle()
    questions.answer.set()
    assert await asyncio.gather(*others) == ["answer 2"] * 2
    assert first.cancelled()
    assert questions.asked == 2


async def test_an_error_is_raised_to_all_waiters_and_not_cached() -> None:
    remembered, questions = new(), Questions()
    questions.error = OSError("no answer")
    waiters = [get(remembered, questions) for _ in range(2)]
    await settle()
    questions.answer.set()
    for waiter in waiters:
        with pytest.raises(OSError, match="no answer"):
            await waiter
    questions.error = None
    assert await get(remembered, questions) == "answer 2"


async def test_the_least_recently_used_value_is_evicted_at_the_limit() -> None:
    remembered, questions = new(2), Questions()
    questions.answer.set()
    for key in ("a", "b", "c"):
        await remembered.get(key, questions.ask)
    assert len(remembered.answers) == 2
    assert await remembered.get("c", questions.ask) == "answer 3"
    assert await remembered.get("a", questions.ask) == "answer 4"


async def test_refusals_evict_one_another_and_no_answer() -> None:
    remembered, questions = new(), Questions()
    questions.answer.set()
    assert await get(remembered, questions) == "answer 1"

    async def refuse() -> None:
        questions.asked += 1

    for number in range(1000):
        assert await remembered.get(f"junk {number}", refuse) is None
    assert (len(remembered.answers), len(remembered.refusals)) == (1, 2)
    assert await get(remembered, questions) == "answer 1"
    assert questions.asked == 1001
    assert await remembered.get("junk 999", refuse) is None
    assert questions.asked == 1001
    assert await remembered.get("junk 0", refuse) is None
    assert questions.asked == 1002


async def test_a_refusal_replaces_the_cached_answer() -> None:
    now = 0.0
    remembered: LookupCache[str, str] = LookupCache(
        4, 4, fresh_s=60.0, refused_s=5.0, clock=lambda: now
    )
    questions = Questions()
    questions.answer.set()
    assert await get(remembered, questions) == "answer 1"
    now = 61.0

    async def refuse() -> None:
        return None

    assert await remembered.get("key", refuse) is None
    assert (len(remembered.answers), len(remembered.refusals)) == (0, 1)
    now = 67.0
    assert await get(remembered, questions) == "answer 2"
