"""The runs of the housekeeping: what each removed, and what it left alone and why."""

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
    """Made of the operator's counters, by how much they grew when one more run has ended.

    Several runs between two samples are one entry, which says how many. Bound: the last `MAX_RUNS`.
    An operator that begins anew counts from zero: its first runs after that are seen from its second
    sample on.
    """

    def __init__(self) -> None:
        self._found: Final[deque[dict[str, Any]]] = deque(maxlen=MAX_RUNS)
        self._before: Scrape | None = None

    def __len__(self) -> int:
        return len(self._found)

    @property
    def newest_first(self) -> list[dict[str, Any]]:
        """The runs, as the page shows them."""
        return list(reversed(self._found))

    def take(self, now: float, scrape: Scrape) -> None:
        """Look at the newest values of the operator that works; empty: none has answered.

        Args:
            now: seconds since 1970.
            scrape: its values.
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
