"""Runs long work without pauses."""

from typing import TypeVar

from trainingjob_console.jobs.fair_scheduler import Work

T = TypeVar("T")


def run_work(work: Work[T]) -> T:
    """Run the work without a pause, and return its result."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: T = end.value
        return result
