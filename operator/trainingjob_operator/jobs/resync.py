"""Resync: lists all jobs and pods, compares them with the index by uid, and repairs the index.

A watch that had to relist (at its start, or after HTTP 410) never reports what was deleted before,
and events can be lost in other ways. So the index is compared with complete lists at the start,
before anything is decided; soon after a watch was opened behind a list that the index was not
compared with; and every few minutes.

Jobs are listed before pods: a launched attempt without pods means lost ranks, and pods are created
before the status says "launched". So a list of pods that is read later contains them.

A namespace that we may not list (its Role is missing) is skipped and retried with back-off. The
others are compared meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from trainingjob_api.errors import ForbiddenError, KubernetesError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.attempt import should_run
from trainingjob_operator.core.backoff import Backoff
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.core.job import JobKey, JobView, describe_rewind, is_newer, is_rewound
from trainingjob_operator.core.job_stage import awaits_release
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.plan import is_ours
from trainingjob_operator.core.readiness import says_queued
from trainingjob_operator.core.retention import finished_at, finishes_ahead
from trainingjob_operator.core.suspension import is_settled
from trainingjob_operator.jobs.fair_queue import in_fair_order
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.pod_comparison import PodComparison
from trainingjob_operator.jobs.protocols import ListReader
from trainingjob_operator.jobs.work_queue import WorkQueue
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.kube.forbidden_lists import ForbiddenLists

_DEBOUNCE_S: Final = 0.5
_RETRY_S: Final = 2.0
_RETRY_FORBIDDEN: Final = Backoff(_RETRY_S, 60.0)
"""The wait before a namespace that may not be listed is retried."""

_WHAT: Final = "jobs and pods"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Jobs:
    """The result of listing the jobs of a namespace.

    Attributes:
        uids: uids of all jobs.
        settled: uids of settled jobs outside the index, which need no entry while without pods.
        newcomers: jobs that the index lacks and should have.
        version: the list's resourceVersion.
    """

    uids: set[str]
    settled: set[str]
    newcomers: list[JobView]
    version: str


class Resync:
    """Compares the index with the API server's lists.

    Attributes:
        forbidden_lists: the lists that are forbidden to us.
        jobs_versions: by namespace, resourceVersion of the last complete list of jobs that the
            index was compared with, together with their pods.
        pods_versions: by namespace, resourceVersion of the last complete list of pods.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        index: JobIndex,
        queue: WorkQueue[JobKey],
        clock: Clock,
        namespaces: Sequence[str | None],
        retention_s: Callable[[], float],
        interval_s: float,
        settings: DecisionSettings,
        forbidden_lists: ForbiddenLists | None = None,
        on_rewind: Callable[[str], object] = lambda why: None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            cluster: the API server.
            index: the jobs in memory.
            queue: receives the keys of jobs that differ.
            clock: the time.
            namespaces: the namespaces to list; None alone stands for all of them.
            retention_s: returns the age in seconds up to which a finished job is put back into the
                index; it is less under memory pressure. A job with running pods always comes back;
                one that finished in the future, by its status, does not.
            interval_s: seconds between two passes.
            settings: the settings of decisions.
            forbidden_lists: the lists that are forbidden to us; None: one of its own.
            on_rewind: called with the reason when the cluster was put back to an earlier state.
        """
        self.forbidden_lists: Final = (
            forbidden_lists if forbidden_lists is not None else ForbiddenLists(clock.monotonic)
        )
        self._cluster: Final = cluster
        self._index: Final = index
        self._queue: Final = queue
        self._clock: Final = clock
        self._namespaces: Final = namespaces
        self._retention_s: Final = retention_s
        self._interval_s: Final = interval_s
        self._settings: Final = settings
        self._on_rewind: Final = on_rewind
        self._readers: tuple[ListReader, ...] = ()  # while the first pass is made
        self._requested: Final = asyncio.Event()
        self._left_out: frozenset[str | None] = frozenset()  # by the last pass
        self._retry_forbidden_s = _RETRY_S
        self.jobs_versions: Final[dict[str | None, str]] = {}
        self.pods_versions: Final[dict[str | None, str]] = {}
        self.runs_total = 0
        self.phantoms_total = 0

    def request(self) -> None:
        """Request a pass soon: a watch was opened, which reports no earlier deletions."""
        self._requested.set()

    @property
    def is_requested(self) -> bool:
        """True if a pass was requested and has not begun."""
        return self._requested.is_set()

    async def resync_until_done(self, readers: Sequence[ListReader] = ()) -> None:
        """Make one pass, and retry until it succeeds: nothing may be decided before.

        Args:
            readers: also receive every listed job.
        """
        self._readers = tuple(readers)
        while not await self._try():  # noqa: ASYNC110 - nothing else can say that it is done
            await asyncio.sleep(_RETRY_S)
        for reader in self._readers:
            reader.end(is_complete=not self._left_out)
        self._readers = ()

    async def keep_in_sync(self) -> None:
        """Make a pass every interval and on request, until cancelled."""
        due = self._clock.monotonic() + self._interval_s
        while True:
            namespaces = await self._wait_until(due)
            if namespaces is self._namespaces:
                self._requested.clear()
                due = self._clock.monotonic() + self._interval_s
            try:
                is_done = await self._try(namespaces)
            except Exception:
                # One object that we cannot handle must not end the repair of all others, and a
                # permanent failure must not list everything every two seconds.
                _logger.exception("the resync failed; this is a bug; it runs again as scheduled")
                self._left_out = frozenset()
                continue
            if not is_done:
                self._requested.set()
                await asyncio.sleep(_RETRY_S)

    async def _wait_until(self, due: float) -> Sequence[str | None]:
        """Wait for the next pass; return its namespaces. Skipped ones are retried in between."""
        left = max(due - self._clock.monotonic(), 0.0)
        wait = min(left, self._retry_forbidden_s) if self._left_out else left
        try:
            async with asyncio.timeout(wait):
                await self._requested.wait()
            # Watches of several resources are opened together: one pass serves all of them.
            await asyncio.sleep(_DEBOUNCE_S)
        except TimeoutError:
            if wait < left:
                return tuple(self._left_out)
        return self._namespaces

    async def _try(self, namespaces: Sequence[str | None] | None = None) -> bool:
        try:
            await self._compare(self._namespaces if namespaces is None else namespaces)
        except KubernetesError as error:
            _logger.warning("cannot list jobs and pods: %s; retrying", error)
            return False
        self.runs_total += 1
        return True

    async def _compare(self, namespaces: Sequence[str | None]) -> None:
        for reader in self._readers:
            reader.begin()
        refused: dict[str | None, ForbiddenError] = {}
        listed: dict[str | None, _Jobs] = {}
        for namespace in namespaces:
            try:
                listed[namespace] = await self._list_jobs(namespace)
            except ForbiddenError as error:
                refused[namespace] = error
        # Lists are sorted by name; free entries must go neither to the first names, nor to the
        # namespaces with the most jobs.
        newcomers = [job for jobs in listed.values() for job in jobs.newcomers]
        for job in in_fair_order(newcomers):
            self._take_in(job)
        over = {job.key for job in newcomers if job.status.is_finished}
        for namespace, jobs in listed.items():
            try:
                await self._compare_pods(namespace, jobs, over)
            except ForbiddenError as error:
                refused[namespace] = error
        self._note(namespaces, refused)

    def _note(
        self, namespaces: Sequence[str | None], refused: dict[str | None, ForbiddenError]
    ) -> None:
        """Note the namespaces that could not be listed.

        Raises:
            ForbiddenError: it was all of them, as with an API server that has just started.
        """
        if len(refused) == len(self._namespaces):
            raise next(iter(refused.values()))
        for namespace in namespaces:
            error = refused.get(namespace)
            if error is not None:
                if self.forbidden_lists.note_forbidden(_WHAT, namespace):
                    _logger.warning(
                        "cannot list the jobs and pods of namespace %s: %s; the others are served",
                        namespace,
                        error,
                    )
            elif self.forbidden_lists.note_allowed(_WHAT, namespace):
                _logger.info("the jobs and pods of namespace %s can be listed now", namespace)
        left_out = frozenset(refused)
        is_same = left_out == self._left_out
        self._retry_forbidden_s = _RETRY_FORBIDDEN.next_s(
            self._retry_forbidden_s if is_same else 0.0
        )
        self._left_out = left_out

    def _take_in(self, job: JobView) -> None:
        """Add a job to the index. A finished one gets only a free entry.

        If it evicted another one, finished jobs would evict each other at every pass.
        """
        if job.status.is_finished:
            if len(self._index) < self._index.max_jobs or _has_pods_left(job):
                self._index.observe_job(job)
        elif not self._index.observe_job(job) and not (
            says_queued(job.status) and should_run(job)
        ):
            self._queue.add(job.key)  # turned away: its status must say so, or it needs no entry

    async def _compare_pods(
        self, namespace: str | None, jobs: _Jobs, over: Collection[JobKey]
    ) -> None:
        """Compare the pods of a namespace, and enqueue the jobs that can have changed.

        Finished jobs that were just added are enqueued, too: the pass schedules their deletion.
        """
        here = (e for e in self._index if namespace in {None, e.job.key.namespace})
        pods = PodComparison(self._index, here, unplaced=jobs.settled, on_change=self._queue.add)
        async for page in self._cluster.list_pods(namespace):
            pods.compare_page(page)
        pods.forget_unlisted()
        self.pods_versions[namespace] = pods.version
        for entry in pods.entries:
            if entry.job.uid in jobs.uids:
                lives = not entry.job.status.is_finished or entry.pods or awaits_release(entry.job)
                if lives or entry.job.key in over:
                    self._queue.add(entry.job.key)
            else:
                self._forget_phantom(entry, jobs.version)
        self.jobs_versions[namespace] = jobs.version

    async def _list_jobs(self, namespace: str | None) -> _Jobs:
        """List all jobs of a namespace, and update those that the index has."""
        uids: set[str] = set()
        settled: set[str] = set()
        newcomers: list[JobView] = []
        version = "0"
        async for page in self._cluster.list_jobs(namespace):
            version = page.resource_version
            for raw in page.items:
                job = job_view(raw)
                uids.add(job.uid)
                for reader in self._readers:
                    reader.look(job)
                known = self._index.get(job.key)
                if known is not None:
                    if is_rewound(known.job.resource_version, job.resource_version, at=version):
                        self._on_rewind(describe_rewind(known.job, job))
                    self._index.observe_job(job)
                elif is_settled(job, self._settings) and is_ours(job):
                    settled.add(job.uid)
                elif self._is_wanted(job):
                    newcomers.append(job)
                elif awaits_release(job):
                    self._queue.add(job.key)  # finished long ago, and still to be released
        return _Jobs(uids=uids, settled=settled, newcomers=newcomers, version=version)

    def _is_wanted(self, job: JobView) -> bool:
        if not is_ours(job):
            return False
        if not job.status.is_finished or _has_pods_left(job):
            return True
        ended, now = finished_at(job.status), self._clock.now()
        if ended is None:
            return True
        # One that finished in the future would come back until then; the sweep deletes it.
        return not finishes_ahead(ended, now=now) and now - ended < timedelta(
            seconds=self._retention_s()
        )

    def _forget_phantom(self, entry: JobEntry, version: str) -> None:
        """Remove a job that the list lacks, unless it is newer than the list."""
        if is_newer(entry.job.resource_version, version):
            return
        if self._index.forget_job(entry.job.key, entry.job.uid):
            self._queue.drop(entry.job.key)
            self.phantoms_total += 1
            _logger.info("job %s was deleted, which no watch event reported", entry.job.key)


def _has_pods_left(job: JobView) -> bool:
    """True if it had running pods at its last status write: they may have to be deleted."""
    return job.status.active + job.status.terminating > 0
