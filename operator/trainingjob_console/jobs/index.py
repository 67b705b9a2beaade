"""The bounded index of the jobs that live in the cluster, and what has changed in it lately."""

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from trainingjob_console.jobs.summary import Summary

MAX_CHANGES: Final = 4096
"""Changes that are remembered, so that a page that was away gets what it missed."""

BYTES_A_JOB: Final = 2400
"""Room for each job of the limit: 20,000 jobs fill 46 MiB."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the index.

    Attributes:
        number: counts changes since the process began.
        before: the job as it was; None: it was not there.
        after: the job as it is; None: it is gone.
    """

    number: int
    before: Summary | None
    after: Summary | None

    @property
    def uid(self) -> str:
        """The job's."""
        job = self.after if self.after is not None else self.before
        assert job is not None
        return job.uid


Listener = Callable[[Change], None]


class JobIndex:
    """Summaries by uid.

    Bound: `max_jobs`, and `BYTES_A_JOB` bytes for each of them together. At the limit the job that
    finished longest ago leaves for one that comes: it is found in the history. If none is finished,
    or the new one finished before all others, the new one is left out and counted. The last
    `MAX_CHANGES` changes are kept, each with two summaries that are in the index as a rule.

    Attributes:
        left_out: jobs that found no room since the last complete list.
        is_complete: True once a complete list was read.
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
        """Return the job of this uid; None: it is not in the index."""
        return self._jobs.get(uid)

    def jobs(self) -> Collection[Summary]:
        """Return all jobs, in no order. Nothing may be awaited while they are looked through."""
        return self._jobs.values()

    def namespaces(self) -> Iterable[str]:
        """Return the namespaces that have jobs."""
        return self._namespaces.keys()

    # --- changes ----------------------------------------------------------------------------------

    @property
    def position(self) -> str:
        """The place after the last change, as `epoch:number`."""
        return f"{self._epoch}:{self._last}"

    def changes_since(self, position: str) -> list[Change] | None:
        """Return the changes after a place, the oldest first; None: the place is not known (any more)."""
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
        """Call the listener at every change, at once and in order; returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def listen_for_namespaces(self, listener: Callable[[], None]) -> None:
        """Call the listener whenever a namespace gets its first job."""
        self._of_namespaces.append(listener)

    # --- writing ----------------------------------------------------------------------------------

    def put(self, job: Summary) -> None:
        """Take a job as it is now."""
        before = self._jobs.get(job.uid)
        if before == job:
            return
        if before is None and not self._make_room(job):
            self.left_out += 1
            return
        self._store(before, job)

    def remove(self, uid: str) -> None:
        """Forget a job, which is gone."""
        before = self._jobs.get(uid)
        if before is not None:
            self._store(before, None)

    def keep_only(self, uids: Collection[str], *, complete: bool = True) -> None:
        """Forget every other job: a complete list has these.

        Args:
            uids: of the jobs that are there.
            complete: every namespace has been listed by now.
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
