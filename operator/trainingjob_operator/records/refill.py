"""The refill: lists jobs whose records wait, page by page, and passes them to the outbox.

It makes up for evicted keys and for restarts of the process, so that no record is lost. It also
saves hundreds of reads, since a page contains everything that the records need. It evicts nothing:
pages of `status.recordState=Pending` are listed only while there is room. A cursor (the list's
continue token) moves on, so that the first thousand jobs do not hide the others.

If the list that filled the index at the start contained no such job, the first walk is skipped:
jobs that finish later are offered to the outbox.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from trainingjob_api.errors import ForbiddenError, GoneError, KubernetesError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.job import JobView, RecordState
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.records.outbox import Outbox
from trainingjob_operator.records.retry_cache import RetryCache

EVERY_S: Final = 300.0
REJECTED_EVERY_S: Final = 86_400.0
"""Rejected records are offered again once a day, and by every new process: the receiver may have been
corrected."""

_WAITING: Final = frozenset({RecordState.PENDING, RecordState.REJECTED})
_PAGE: Final = 100
_RETRY_S: Final = 5.0
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Cursor:
    """The position of a walk: the index of the namespace, and the list's continue token."""

    namespace: int = 0
    token: str = ""


class Refill:
    """Keeps the outbox supplied while records wait in the cluster."""

    def __init__(
        self,
        *,
        jobs: Cluster,
        cache: RetryCache,
        clock: Clock,
        namespaces: Sequence[str | None],
        outbox: Outbox,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            jobs: the API server.
            cache: the waiting keys, and the number of evicted ones.
            clock: the time.
            namespaces: the namespaces to list; None alone stands for all.
            outbox: receives the jobs whose records wait.
        """
        self._jobs: Final = jobs
        self._cache: Final = cache
        self._clock: Final = clock
        self._namespaces: Final = namespaces
        self._outbox: Final = outbox
        self._evicted_before = 0
        self._has_missed = False
        self._cursor: _Cursor | None = self._begin()
        self._rejected: _Cursor | None = None
        self._rejected_due = float("-inf")
        self._wake: Final = asyncio.Event()
        self._has_seen_some = False
        self._skips_first_pass = False  # the first pass: nothing waits
        self.runs_total = 0

    def begin(self) -> None:
        """Begin the list that fills the index; a method of `jobs.protocols.ListReader`."""
        self._has_seen_some = False

    def look(self, job: JobView) -> None:
        """Receive a job of that list, whether the index has room for it or not."""
        self._has_seen_some |= job.status.record_state in _WAITING

    def end(self, *, is_complete: bool) -> None:
        """Skip the first pass, if that list is complete and contained no waiting record."""
        if is_complete and not self._has_seen_some:
            self._skips_first_pass, self._cursor = True, None
            self._rejected_due = self._clock.monotonic() + REJECTED_EVERY_S

    def request_walk(self) -> None:
        """Request another walk: a record waits that is not in memory, or only its key is."""
        self._has_missed = True

    def wake(self) -> None:
        """Wake the refill after a send, if there is room for a page and more records may wait."""
        if self._has_more and self._has_room:
            self._wake.set()

    @property
    def _has_room(self) -> bool:
        return self._outbox.wants_more and self._outbox.listed.room >= _PAGE

    @property
    def _has_more(self) -> bool:
        """True if a record may wait that no walk has reached yet, or that was evicted since.

        Evictions count since the walk began, not since it was continued: an evicted key can be
        behind the cursor. A new walk waits for a free entry in the cache. Without one, a failing
        key would be evicted at once, and listed and tried again without a pause.
        """
        unfinished = self._cursor is not None or self._rejected is not None
        forgotten = self._has_missed or self._cache.evicted_total > self._evicted_before
        return unfinished or (forgotten and self._cache.room > 0)

    def _begin(self) -> _Cursor:
        """Return the cursor of a new walk, which reaches everything that waits now."""
        self._evicted_before, self._has_missed = self._cache.evicted_total, False
        return _Cursor()

    async def run(self) -> None:
        """List at once, every few minutes, and whenever the outbox runs low, until cancelled."""
        if self._skips_first_pass:
            await self._wait(EVERY_S)
        while True:
            wait = EVERY_S
            self._wake.clear()
            try:
                await self._pass()
            except GoneError:
                wait = _RETRY_S  # the continue token has expired: begin a new walk
                if self._cursor is not None:
                    self._cursor = self._begin()
                else:
                    self._rejected = _Cursor()
            except KubernetesError as error:
                _logger.warning("cannot list the jobs whose records wait: %s", error)
                wait = _RETRY_S
            else:
                self._wake.clear()  # this pass served earlier calls of `wake`; else all is listed again
                self.wake()  # everything may be sent by now, and then nothing else wakes this task
            await self._wait(wait)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _pass(self) -> None:
        """Continue the walk of the last pass, then that of rejected records if there is still room.

        Rejected records stay rejected. A walk over them that restarted whenever there was no room
        would offer the first ones for ever and never reach the end.
        """
        self._cursor = await self._walk(self._cursor or self._begin(), RecordState.PENDING)
        now = self._clock.monotonic()
        if now >= self._rejected_due:
            self._rejected, self._rejected_due = _Cursor(), now + REJECTED_EVERY_S
        if self._cursor is None and self._rejected is not None:
            self._rejected = await self._walk(self._rejected, RecordState.REJECTED)
        self.runs_total += 1

    async def _walk(self, cursor: _Cursor, state: str) -> _Cursor | None:
        """Pass pages to the outbox while there is room; return the new cursor, or None at the end."""
        while cursor.namespace < len(self._namespaces):
            if not self._has_room:
                return cursor
            namespace = self._namespaces[cursor.namespace]
            try:
                page = await self._jobs.jobs_by_record_state(
                    namespace, state, limit=_PAGE, token=cursor.token
                )
            except ForbiddenError as error:
                if len(self._namespaces) == 1:
                    raise
                # Its Role is missing: skip it, and try it again with the next walk.
                _logger.warning(
                    "cannot list the jobs of namespace %s whose records wait: %s", namespace, error
                )
                cursor.namespace, cursor.token = cursor.namespace + 1, ""
                continue
            for raw in page.items:
                job = job_view(raw)
                if job.status.record_state == state:
                    self._outbox.add_listed(job, raw)
            cursor.token = page.next_token
            if not cursor.token:
                cursor.namespace += 1
        return None
