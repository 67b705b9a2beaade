"""A bounded queue of changes for one subscription, which keeps only the latest change per job."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trainingjob_console.sockets.budget import Budget

_ENTRY_OVERHEAD: Final = 100
"""Bytes of memory that an entry takes in addition to its text."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of one delta: encoded rows, and uids of removed jobs."""

    rows: list[str]
    gone: list[str]


class CoalescingQueue:
    """Changes of at most `limit` jobs. Above the limit, or when it is cut, one `resync` replaces all of them.

    After that, further changes are ignored: the client reloads its page and subscribes again.
    """

    def __init__(
        self, limit: int, budget: Budget, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        """Initialize an empty queue.

        Args:
            limit: maximum number of jobs.
            budget: limits the bytes of all queues.
            on_ready: called when there is something to send.
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
            row: current row of the job, encoded; None: the job was removed.
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
        """Remove and return all changes; None: there are none."""
        if not self._latest:
            return None
        rows = [row for row in self._latest.values() if row is not None]
        gone = [uid for uid, row in self._latest.items() if row is None]
        self._clear()
        return Batch(rows, gone)

    def cut(self) -> None:
        """Drop all changes; the client must reload its page."""
        self.is_broken = True
        self._clear()
        self._on_ready()

    def close(self) -> None:
        """Drop everything, and unregister from the budget."""
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
    return _ENTRY_OVERHEAD + len(row or "")
