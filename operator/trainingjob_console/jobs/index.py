"""The bounded in-memory index of the cluster's jobs, with a log of recent changes and change listeners."""

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from trainingjob_console.jobs.summary import Summary

MAX_CHANGES: Final = 4096
"""Changes that are kept, so that a page that reconnects receives the ones it missed."""

BYTES_A_JOB: Final = 2400
"""The average size that the byte limit allows per job: 20,000 jobs take at most 46 MiB."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the index.

    Attributes:
        number: the sequence number, counted since the process started.
        before: the job before the change; None: it was not in the index.
        after: the job after the change; None: it was removed.
    """

    number: int
    before: Summary | None
    after: Summary | None

    @property
    def uid(self) -> str:
        """The job's uid."""
        job = self.after if self.after is not None else self.before
        assert job is not None
        return job.uid


Listener = Callable[[Change], None]


class JobIndex:
    """Summaries by uid.

    Bound: `max_jobs` jobs, and `max_jobs * BYTES_A_JOB` bytes. At the limit a new job evicts the one that
    finished longest ago, which the history still has. If none has finished, or the new job finished before all
    others, the new job is not added but counted. The last `MAX_CHANGES` changes are kept, each with two
    summaries, most of which the index holds anyway.

    Attributes:
        left_out: the number of jobs that were not added since the last complete list.
        is_complete: True once a complete list has been read.
    """

    def __init__(self, *, max_jobs: int, epoch: str, max_changes: int = MAX_CHANGES) -> None:
        self.max_jobs: Final = max_jobs
        self.max_bytes: Final = max_jobs * BYTES_A_JOB
        self.bytes = 0
        self.left_out = 0
        self.is_complete = False
        self._epoch: Final = epoch
        self._jobs: Final[dict[str, Summary]] = {}
        self._namespaces: Final[Counter[str]] = Counter()
        self._finished: list[tuple[int, str]] = []
        self._changes: Final[deque[Change]] = deque(maxlen=max_changes)
        self._numbers: Final = itertools.count(1)
        self._last = 0
        self._listeners: Final[list[Listener]] = []
        self._of_namespaces: Final[list[Callable[[], None]]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, uid: str) -> Summary | None:
        """Return the job with this uid; None: it is not in the index."""
        return self._jobs.get(uid)

    def jobs(self) -> Collection[Summary]:
        """Return a live view of all jobs, unordered. The caller must not await while iterating over it."""
        return self._jobs.values()

    def namespaces(self) -> Iterable[str]:
        """Return the namespaces that have jobs."""
        return self._namespaces.keys()

    # --- changes ----------------------------------------------------------------------------------

    @property
    def position(self) -> str:
        """The position after the last change, as `epoch:number`."""
        return f"{self._epoch}:{self._last}"

    def changes_since(self, position: str) -> list[Change] | None:
        """Return the changes after a position, the oldest first; None: the position is too old or unknown."""
        epoch, _, text = position.rpartition(":")
        if epoch != self._epoch or not text.isdecimal() or len(text) > 18:  # noqa: PLR2004 - digits
            return None
        number = int(text)
        if number > self._last or number < self._last - len(self._changes):
            return None
        return list(
            itertools.islice(self._changes, len(self._changes) - self._last + number, None)
        )

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call the listener synchronously at every change; return a function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def listen_for_namespaces(self, listener: Callable[[], None]) -> None:
        """Call the listener whenever a namespace gets its first job."""
        self._of_namespaces.append(listener)

    # --- writing ----------------------------------------------------------------------------------

    def put(self, job: Summary) -> None:
        """Add a job, or replace its summary."""
        before = self._jobs.get(job.uid)
        if before == job:
            return
        if before is None and not self._make_room(job):
            self.left_out += 1
            return
        self._store(before, job)

    def remove(self, uid: str) -> None:
        """Remove a job that was deleted."""
        before = self._jobs.get(uid)
        if before is not None:
            self._store(before, None)

    def keep_only(self, uids: Collection[str], *, complete: bool = True) -> None:
        """Remove all jobs that a complete list lacks.

        Args:
            uids: the uids in the list.
            complete: True if every namespace has been listed by now.
        """
        for uid in [uid for uid in self._jobs if uid not in uids]:
            self.remove(uid)
        self.is_complete = self.is_complete or complete

    def _store(self, before: Summary | None, after: Summary | None) -> None:
        if before is not None:
            self.bytes -= before.weight()
            self._namespaces[before.namespace] -= 1
            if not self._namespaces[before.namespace]:
                del self._namespaces[before.namespace]
        if after is not None:
            self._jobs[after.uid] = after
            self.bytes += after.weight()
            self._namespaces[after.namespace] += 1
            if after.completed is not None and (before is None or before.completed is None):
                self._remember_end(after.completed, after.uid)
        elif before is not None:
            del self._jobs[before.uid]
        self._last = next(self._numbers)
        change = Change(self._last, before, after)
        self._changes.append(change)
        for listener in tuple(self._listeners):
            listener(change)
        if before is None and after is not None and self._namespaces[after.namespace] == 1:
            for look in self._of_namespaces:
                look()

    def _remember_end(self, completed: int, uid: str) -> None:
        heapq.heappush(self._finished, (completed, uid))
        if len(self._finished) > 2 * self.max_jobs:
            self._finished = [
                (job.completed, job.uid)
                for job in self._jobs.values()
                if job.completed is not None
            ]
            heapq.heapify(self._finished)

    def _make_room(self, job: Summary) -> bool:
        weight = job.weight()
        while len(self._jobs) >= self.max_jobs or self.bytes + weight > self.max_bytes:
            oldest = self._oldest_finished()
            if oldest is None or (job.completed is not None and job.completed < oldest[0]):
                return False
            heapq.heappop(self._finished)
            self.remove(oldest[1])
        return True

    def _oldest_finished(self) -> tuple[int, str] | None:
        while self._finished:
            completed, uid = self._finished[0]
            job = self._jobs.get(uid)
            if job is not None and job.completed == completed:
                return completed, uid
            heapq.heappop(self._finished)
        return None
