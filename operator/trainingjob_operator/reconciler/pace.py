"""How soon mere progress is written: at once where that costs nothing, later in a crush.

A job's progress says nothing that anybody decides from. While a status write takes long, the API
server has more to do than it can, and a write that says "running" only holds up the one that says
"finished", which mostly replaces it.
"""

from typing import Final

PROGRESS_EVERY_S: Final = 1.0
"""Mere progress is written so many seconds after a job's last status write, and not before."""

PROGRESS_AT_LAST_S: Final = 30.0
"""And after so many, however busy the API server is."""

_WRITES_TO_PROGRESS: Final = 10.0
_RECENT: Final = 1 / 8


class Pace:
    """Learns from each status write how busy the API server is."""

    def __init__(self) -> None:
        self._write_s = 0.0

    def took(self, seconds: float) -> None:
        """Note how long a status write took."""
        self._write_s += (seconds - self._write_s) * _RECENT

    @property
    def interval_s(self) -> float:
        """Seconds from a job's last status write to the next one of mere progress."""
        slow = self._write_s * _WRITES_TO_PROGRESS
        return min(max(slow, PROGRESS_EVERY_S), PROGRESS_AT_LAST_S)
