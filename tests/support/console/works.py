"""Long work, done at once."""

from typing import TypeVar

from trainingjob_console.jobs.fair_scheduler import Work

T = TypeVar("T")


def done(work: Work[T]) -> T:
    """Return what it returns, without a pause."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: T = end.value
        return result
