"""What the API server said about a token is remembered, and asked for once by all who wait."""

import asyncio

import pytest

from trainingjob_console.access.reviews import Remembered


class Questions:
    """Counts the questions, each of which is answered when the test says so."""

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


def get(remembered: Remembered[str, str], questions: Questions) -> asyncio.Task[str]:
    return asyncio.ensure_future(remembered.get("key", questions.ask, lambda _: 60.0))


async def test_all_who_wait_share_one_question() -> None:
    remembered, questions = Remembered[str, str](4, lambda: 0.0), Questions()
    waiters = [get(remembered, questions) for _ in range(3)]
    await settle()
    questions.answer.set()
    assert await asyncio.gather(*waiters) == ["answer 1"] * 3
    assert await get(remembered, questions) == "answer 1"
    assert questions.asked == 1


async def test_one_who_goes_away_takes_the_answer_from_no_other() -> None:
    # A browser that closes a tab cancels the request that happened to ask first.
    remembered, questions = Remembered[str, str](4, lambda: 0.0), Questions()
    first, *others = [get(remembered, questions) for _ in range(3)]
    await settle()
    first.cancel()
    await settle()
    questions.answer.set()
    assert await asyncio.gather(*others) == ["answer 2"] * 2
    assert first.cancelled()
    assert questions.asked == 2


async def test_a_failure_reaches_all_who_wait_and_is_not_remembered() -> None:
    remembered, questions = Remembered[str, str](4, lambda: 0.0), Questions()
    questions.error = OSError("no answer")
    waiters = [get(remembered, questions) for _ in range(2)]
    await settle()
    questions.answer.set()
    for waiter in waiters:
        with pytest.raises(OSError, match="no answer"):
            await waiter
    questions.error = None
    assert await get(remembered, questions) == "answer 2"


async def test_no_more_values_than_the_limit_are_kept() -> None:
    remembered, questions = Remembered[str, str](2, lambda: 0.0), Questions()
    questions.answer.set()
    for key in ("a", "b", "c"):
        await remembered.get(key, questions.ask, lambda _: 60.0)
    assert len(remembered) == 2
    assert await remembered.get("c", questions.ask, lambda _: 60.0) == "answer 3"
    assert await remembered.get("a", questions.ask, lambda _: 60.0) == "answer 4"
