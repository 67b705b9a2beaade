"""Items are made one at a time, while others are worked on, and the first error ends it all."""

import threading
from collections.abc import Iterator

import pytest

from trainingjob_operator.gc.logs.budget import BudgetError, spread


def test_one_item_is_made_while_another_is_worked_on() -> None:
    is_made = threading.Event()
    done: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        is_made.set()
        yield 2

    def work(item: int) -> None:
        assert is_made.wait(30)
        done.append(item)

    spread(items(), work, threads=2)
    assert sorted(done) == [1, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_each_item_is_made_and_worked_on_once(threads: int) -> None:
    done: list[int] = []
    spread((number for number in range(500)), done.append, threads=threads)
    assert sorted(done) == list(range(500))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_making_an_item_is_raised_when_what_was_begun_is_done(threads: int) -> None:
    done: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        raise BudgetError("no time left")

    with pytest.raises(BudgetError, match="no time left"):
        spread(items(), done.append, threads=threads)
    assert done == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_the_work_ends_the_others(threads: int) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise OSError("the volume is gone")
        done.append(item)

    with pytest.raises(OSError, match="is gone"):
        spread(iter(range(1_000_000)), work, threads=threads)
    assert len(done) < 1_000_000
