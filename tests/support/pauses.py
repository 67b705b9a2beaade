"""The pauses between two looks at a server: short at first, longer the longer it takes.

Each look is a request, and costs the server and the test some milliseconds of CPU. Whoever waits for half a
minute and looks fifty times a second keeps a tenth of a core from all tests beside it.
"""

from collections.abc import Iterator

FIRST_S = 0.02
LONGEST_S = 0.2
_GROWTH = 1.15
"""What is waited for is seen late by at most about so much of the whole wait."""


def pauses() -> Iterator[float]:
    """Yield the seconds until the next look, for ever: use a new one for each wait."""
    pause = FIRST_S
    while True:
        yield pause
        pause = min(pause * _GROWTH, LONGEST_S)
