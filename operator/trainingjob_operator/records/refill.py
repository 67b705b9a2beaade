"""The refill: finds jobs whose records wait, in the cluster, with all that their records need.

It is why the cache may forget a key, and the process may die, without a record being lost; and why
hundreds of records go out without hundreds of reads. It never evicts: pages of
`status.recordState=Pending` go only into free places, with a cursor that moves on, so that the
first thousand do not hide the others.

A process that saw no such job in the list that filled its index begins with the walk after that: what
comes to wait later is offered to the outbox.
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
"""What was rejected is offered again once a day, and by every new process: the receiver may be corrected."""

_WAITING: Final = frozenset({RecordState.PENDING, RecordState.REJECTED})
_PAGE: Final = 100
_RETRY_S: Final = 5.0
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Cursor:
    """The position of a walk over the namespaces."""

    namespace: int = 0
    token: str = ""


class Refill:
    """Keeps the outbox from running dry while something waits."""

    def __init__(
        self,
        *,
        jobs: Cluster,
        cache: RetryCache,
        clock: Clock,
        namespaces: Sequence[str | None],
        found: Outbox,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            jobs: where to list.
            cache: what is known of anyway, and whether it has forgotten some of that.
            clock: the time.
            namespaces: which to list; None alone stands for all.
            found: takes in jobs whose records wait.
        """
        self._jobs: Final = jobs
        self._cache: Final = cache
        self._clock: Final = clock
        self._namespaces: Final = namespaces
        self._found: Final = found
        self._evicted_before = 0
        self._has_missed = False
        self._cursor: _Cursor | None = self._begin()
        self._rejected: _Cursor | None = None
        self._rejected_due = float("-inf")
        self._wake: Final = asyncio.Event()
        self._has_seen_some = False
        self._is_spared = False  # the first pass: there is nothing to be found
        self.runs_total = 0

    def begin(self) -> None:
        """Begin with the list that fills the index, as a `jobs.protocols.ListReader`."""
        self._has_seen_some = False

    def look(self, job: JobView) -> None:
        """Take in a job of that list, whether the index has room for it or not."""
        self._has_seen_some |= job.status.record_state in _WAITING

    def end(self, *, is_complete: bool) -> None:
        """Spare the first pass, if that list is complete and there is nothing to be found."""
        if is_complete and not self._has_seen_some:
            self._is_spared, self._cursor = True, None
            self._rejected_due = self._clock.monotonic() + REJECTED_EVERY_S

    def look_again(self) -> None:
        """Something waits that is nowhere in memory, or whose key alone is."""
        self._has_missed = True

    def poke(self) -> None:
        """Something has gone out: go on if there is room for a page, and more may wait."""
        if self._has_more and self._has_room:
            self._wake.set()

    @property
    def _has_room(self) -> bool:
        return self._found.wants_more and self._found.ready.room >= _PAGE

    @property
    def _has_more(self) -> bool:
        """True if something may wait that no walk has come by, or that was forgotten since.

        What was forgotten since the walk began counts, and not since it was gone on with: it can be
        behind the cursor. A new walk waits for a free place in the cache: without one, what fails
        is forgotten at once, and would be listed and tried again without a pause.
        """
        unfinished = self._cursor is not None or self._rejected is not None
        forgotten = self._has_missed or self._cache.evicted_total > self._evicted_before
        return unfinished or (forgotten and self._cache.room > 0)

    def _begin(self) -> _Cursor:
        """A walk from the beginning, which comes by everything that waits now."""
        self._evicted_before, self._has_missed = self._cache.evicted_total, False
        return _Cursor()

    async def run(self) -> None:
        """List now, every few minutes, and whenever the outbox runs low, until cancelled."""
        if self._is_spared:
            await self._wait(EVERY_S)
        while True:
            wait = EVERY_S
            self._wake.clear()
            try:
                await self._pass()
            except GoneError:
                wait = _RETRY_S  # the list is too old by now: begin anew
                if self._cursor is not None:
                    self._cursor = self._begin()
                else:
                    self._rejected = _Cursor()
            except KubernetesError as error:
                _logger.warning("cannot list the jobs whose records wait: %s", error)
                wait = _RETRY_S
            else:
                self._wake.clear()  # who poked meanwhile was heard: that would list all once more
                self.poke()  # all can have gone out meanwhile, and nothing be left to say so
            await self._wait(wait)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _pass(self) -> None:
        """Go on where the last pass stood; what was rejected takes places that nothing else needs.

        It stays rejected, so that a walk which began anew whenever it found no room would offer
        the first ones for ever, and never come to the end.
        """
        self._cursor = await self._walk(self._cursor or self._begin(), RecordState.PENDING)
        now = self._clock.monotonic()
        if now >= self._rejected_due:
            self._rejected, self._rejected_due = _Cursor(), now + REJECTED_EVERY_S
        if self._cursor is None and self._rejected is not None:
            self._rejected = await self._walk(self._rejected, RecordState.REJECTED)
        self.runs_total += 1

    async def _walk(self, cursor: _Cursor, state: str) -> _Cursor | None:
        """Take in what there is room for; where to go on, or None at the end."""
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
                # Its Role is missing: the next walk asks again, and the others go on.
                _logger.warning(
                    "cannot list the jobs of namespace %s whose records wait: %s", namespace, error
                )
                cursor.namespace, cursor.token = cursor.namespace + 1, ""
                continue
            for raw in page.items:
                job = job_view(raw)
                if job.status.record_state == state:
                    self._found.take_in(job, raw)
            cursor.token = page.next_token
            if not cursor.token:
                cursor.namespace += 1
        return None
