"""The changes of jobs that wait for one subscription: the latest of each job."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trainingjob_console.sockets.budget import Budget

_ENTRY: Final = 100
"""Bytes that an entry takes beside its text."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of one delta: rows as they were encoded, and the uids of jobs that are gone."""

    rows: list[str]
    gone: list[str]


class CoalescingQueue:
    """At most `limit` jobs. At the limit, or when it is cut, one `resync` replaces all of them.

    After that nothing more comes in: the client loads its page again and subscribes anew.
    """

    def __init__(
        self, limit: int, budget: Budget, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        """Begin empty.

        Args:
            limit: jobs at most.
            budget: counts the bytes.
            on_ready: called when there is something to be sent.
        """
        self._limit: Final = limit
        self._budget: Final = budget
        self._on_ready: Final = on_ready
        self._latest: Final[dict[str, str | None]] = {}
        self.coalesced = 0
        self.is_broken = False
        """True if changes were dropped."""

        self.size = 0
        budget.add(self)

    def __len__(self) -> int:
        return len(self._latest)

    def put(self, uid: str, row: str | None) -> None:
        """Add a change.

        Args:
            uid: of the job.
            row: the job as it is now, encoded; None: it is gone.
        """
        if self.is_broken:
            return
        if uid in self._latest:
            self.coalesced += 1
        elif len(self._latest) >= self._limit:
            self.cut()
            return
        difference = _weight(row) - (_weight(self._latest.pop(uid)) if uid in self._latest else 0)
        self._latest[uid] = row
        self._change(difference)
        self._on_ready()

    def take(self) -> Batch | None:
        """Return all that waits, and forget it. None: nothing does."""
        if not self._latest:
            return None
        rows = [row for row in self._latest.values() if row is not None]
        gone = [uid for uid, row in self._latest.items() if row is None]
        self._clear()
        return Batch(rows, gone)

    def cut(self) -> None:
        """Drop all that waits; the client has to load its page again."""
        self.is_broken = True
        self._clear()
        self._on_ready()

    def close(self) -> None:
        """Forget all."""
        self._budget.remove(self)
        self._latest.clear()
        self.size = 0

    def _clear(self) -> None:
        self._latest.clear()
        self._change(-self.size)

    def _change(self, difference: int) -> None:
        self.size += difference
        self._budget.charge(difference)


def _weight(row: str | None) -> int:
    return _ENTRY + len(row or "")
