"""Throttles status writes that report mere progress, more strongly while the API server is slow.

No decision depends on a job's progress. A change is mostly followed by more of its kind within
moments, so the write waits for these; "all ranks run" is the last of its kind, and does not wait.
While other jobs wait for a worker, or status writes take long, a write of "running" only delays
writes of "finished", one of which mostly replaces it.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from trainingjob_operator.core.progress import Progress

PROGRESS_EVERY_S: Final = 1.0
"""Shortest time in seconds between a job's last status write and a write of mere progress."""

PROGRESS_AT_LAST_S: Final = 30.0
"""Seconds after which progress is written, however busy the API server is."""

START_EVERY_S: Final = 5.0
"""Seconds from the first started rank of a gang to the write of how many have started."""

DONE_EVERY_S: Final = 1.0
"""Seconds from the first completed rank to the write of which ranks are done, however busy the API
server is. Until then only the pods themselves show that these ranks are done."""


class _Delay(NamedTuple):
    """The shortest and the longest delay of a write, in seconds."""

    shortest_s: float
    longest_s: float


_DELAYS: Final[Mapping[Progress, _Delay]] = {
    Progress.ALL_RUN: _Delay(PROGRESS_EVERY_S, PROGRESS_AT_LAST_S),
    Progress.SOME_STARTED: _Delay(START_EVERY_S, PROGRESS_AT_LAST_S),
    Progress.COUNTS: _Delay(PROGRESS_EVERY_S, PROGRESS_AT_LAST_S),
    Progress.DONE: _Delay(DONE_EVERY_S, DONE_EVERY_S),
}

_SHORTEST_S: Final = 0.001
"""A shorter wait is a rounding error of another one, and counts as none."""

_WRITES_TO_PROGRESS: Final = 10.0
_RECENT: Final = 1 / 8


class StatusThrottle:
    """Estimates from the duration of status writes how busy the API server is."""

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        """Begin without measurements.

        Args:
            is_busy: returns True if other jobs wait for a worker.
        """
        self._is_busy: Final = is_busy
        self._write_s = 0.0

    def note_write(self, seconds: float) -> None:
        """Add the duration of a status write to the moving average."""
        self._write_s += (seconds - self._write_s) * _RECENT

    def wait_s(
        self, progress: Progress, *, since_write_s: float, since_seen_s: float = 0.0
    ) -> float:
        """Return the seconds until mere progress may be written; 0: now.

        Args:
            progress: the kind of progress to write.
            since_write_s: seconds since the job's last status write.
            since_seen_s: seconds since the first progress after that write.
        """
        delay = _DELAYS[progress]
        since_s = since_write_s if progress is Progress.ALL_RUN else since_seen_s
        slow = self._write_s * _WRITES_TO_PROGRESS
        wait = min(max(slow, delay.shortest_s), delay.longest_s) - since_s
        if self._is_busy():
            wait = min(max(wait, PROGRESS_EVERY_S), delay.longest_s - since_s)
        return wait if wait >= _SHORTEST_S else 0.0
