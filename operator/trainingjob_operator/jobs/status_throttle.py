"""Throttling of status writes that say mere progress: at once where that costs nothing, later in a crush.

A job's progress says nothing that anybody decides from. While other jobs wait to be worked on, or
a status write takes long, a write that says "running" only holds up those that say "finished", of
which one mostly replaces it.
"""

from collections.abc import Callable
from typing import Final

PROGRESS_EVERY_S: Final = 1.0
"""Mere progress is written so many seconds after a job's last status write, and not before."""

PROGRESS_AT_LAST_S: Final = 30.0
"""And after so many, however busy the API server is."""

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

    def wait_s(self, since_s: float) -> float:
        """Seconds until mere progress may be written; 0: now.

        Args:
            since_s: seconds since the job's last status write.
        """
        slow = self._write_s * _WRITES_TO_PROGRESS
        wait = min(max(slow, PROGRESS_EVERY_S), PROGRESS_AT_LAST_S) - since_s
        if self._is_busy():
            wait = min(max(wait, PROGRESS_EVERY_S), PROGRESS_AT_LAST_S - since_s)
        return wait if wait >= _SHORTEST_S else 0.0
