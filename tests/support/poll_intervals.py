"""Intervals for polling a server: short at first, growing with the time waited.

Each poll is a request, and costs the server and the test some milliseconds of CPU. A test that polls fifty
times a second for half a minute takes a tenth of a core from all tests that run in parallel.
"""

from collections.abc import Iterator

FIRST_S = 0.02
LONGEST_S = 0.2
_GROWTH = 1.15
"""What is waited for is seen late by at most about so much of the whole wait."""


def poll_intervals() -> Iterator[float]:
    """Yield the seconds until the next poll, without end: use a new one for each wait."""
    pause = FIRST_S
    while True:
        yield pause
        pause = min(pause * _GROWTH, LONGEST_S)
