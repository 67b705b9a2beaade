"""Derives the runs of retention from the operator's counters: what each removed, skipped, and why."""

from collections import deque
from typing import Any, Final

from trainingjob_console.jobs.summary import time_text
from trainingjob_console.samples.series import Scrape, total

MAX_RUNS: Final = 100
_KEPT: Final = "gc_skipped_total"
_COUNTS: Final = {
    "jobs": "gc_objects_deleted_total",
    "files": "gc_files_removed_total",
    "directories": "gc_directories_removed_total",
    "bytes": "gc_freed_bytes_total",
    "errors": "gc_errors_total",
}


class RetentionRuns:
    """The last `MAX_RUNS` runs, each with the increase of the counters since the run before.

    Several runs between two samples are one entry with their number. The counters of an operator that restarts begin
    at zero: runs before its first sample are not shown.
    """

    def __init__(self) -> None:
        self._found: Final[deque[dict[str, Any]]] = deque(maxlen=MAX_RUNS)
        self._before: Scrape | None = None

    def __len__(self) -> int:
        return len(self._found)

    @property
    def newest_first(self) -> list[dict[str, Any]]:
        """Descriptions of the runs for the page, newest first."""
        return list(reversed(self._found))

    def update(self, now: float, scrape: Scrape) -> None:
        """Compare the newest scrape of the leader with the previous one; empty: no operator responds.

        Args:
            now: seconds since 1970.
            scrape: of the leader.
        """
        runs = total(scrape, "gc_runs_total")
        if runs is None:
            return
        before = self._before
        earlier = None if before is None else total(before, "gc_runs_total")
        if before is None or earlier is None or runs < earlier:
            self._before = scrape
        elif runs > earlier:
            self._before = scrape
            counts = {key: _grown(before, scrape, name) for key, name in _COUNTS.items()}
            why = _reasons(before, scrape)
            entry = {"time": time_text(int(now)), "runs": int(runs - earlier), **counts}
            self._found.append(entry | {"kept": sum(why.values()), "why": why})


def _grown(before: Scrape, after: Scrape, name: str) -> int:
    return int((total(after, name) or 0) - (total(before, name) or 0))


def _reasons(before: Scrape, after: Scrape) -> dict[str, int]:
    found: dict[str, int] = {}
    for labels, value in after.get(_KEPT, {}).items():
        grown = int(value - before.get(_KEPT, {}).get(labels, 0))
        reason = dict(labels).get("reason", "")
        if grown > 0:
            found[reason] = found.get(reason, 0) + grown
    return found
