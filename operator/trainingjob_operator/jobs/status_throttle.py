"""Throttling of status writes that say mere progress: one for what happens together, later in a crush.

A job's progress says nothing that anybody decides from. What is new is mostly followed by more of
its kind within moments, so it waits for that; that every rank runs follows nothing, and waits for
no more. While other jobs wait to be worked on, or a status write takes long, a write that says
"running" only holds up those that say "finished", of which one mostly replaces it.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from trainingjob_operator.core.progress import Progress

PROGRESS_EVERY_S: Final = 1.0
"""Mere progress is written so many seconds after a job's last status write, and not before."""

PROGRESS_AT_LAST_S: Final = 30.0
"""And after so many, however busy the API server is."""

START_EVERY_S: Final = 5.0
"""How many ranks of a gang have started is written so many seconds after the first of them."""

DONE_EVERY_S: Final = 1.0
"""Which ranks are done is written so many seconds after the first of them, however busy the API
server is: no longer does that rest on their pods alone."""


class _Pace(NamedTuple):
    """The shortest and the longest wait, in seconds."""

    shortest_s: float
    longest_s: float


_PACES: Final[Mapping[Progress, _Pace]] = {
    Progress.ALL_RUN: _Pace(PROGRESS_EVERY_S, PROGRESS_AT_LAST_S),
    Progress.SOME_STARTED: _Pace(START_EVERY_S, PROGRESS_AT_LAST_S),
    Progress.COUNTS: _Pace(PROGRESS_EVERY_S, PROGRESS_AT_LAST_S),
    Progress.DONE: _Pace(DONE_EVERY_S, DONE_EVERY_S),
}

_SHORTEST_S: Final = 0.001
"""A wait that is left of another one by rounding is none: time would not move on in it."""

_WRITES_TO_PROGRESS: Final = 10.0
_RECENT: Final = 1 / 8


class StatusThrottle:
    """Learns from each status write how busy the API server is."""

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        """Begin without experience.

        Args:
            is_busy: whether other jobs wait to be worked on.
        """
        self._is_busy: Final = is_busy
        self._write_s = 0.0

    def took(self, seconds: float) -> None:
        """Note how long a status write took."""
        self._write_s += (seconds - self._write_s) * _RECENT

    def wait_s(
        self, progress: Progress, *, since_write_s: float, since_seen_s: float = 0.0
    ) -> float:
        """Return the seconds until mere progress may be written; 0: now.

        Args:
            progress: what is to be written.
            since_write_s: seconds since the job's last status write.
            since_seen_s: seconds since there was progress to be written, after that write.
        """
        pace = _PACES[progress]
        since_s = since_write_s if progress is Progress.ALL_RUN else since_seen_s
        slow = self._write_s * _WRITES_TO_PROGRESS
        wait = min(max(slow, pace.shortest_s), pace.longest_s) - since_s
        if self._is_busy():
            wait = min(max(wait, PROGRESS_EVERY_S), pace.longest_s - since_s)
        return wait if wait >= _SHORTEST_S else 0.0
