"""Archives the logs of pods on the log volume, in the background of the reconciler.

The reconciler requests logs and continues; when a log is archived or given up, its job is enqueued
again. No job is blocked for ever. A log is given up after three tries, after a minute of reading
and writing (from its turn on), or when its timeout in the queue expires, whichever comes first. The
timeout begins with the request, and grows with the number of waiting logs.

If another process holds a job's archive open (an operator that is exiting, or one on a lost node),
the archiver waits for up to a minute from the log's turn on.

For a rank whose pod was deleted, it searches the archive for the log (an `ArchiveSearch`).

A broken volume is tried again every half minute. In between logs are given up at once, so that ten
thousand finishing jobs do not wait for it one after the other. An error of a single job's entry
(`EntryError`) does not count as one of the volume, and costs only that job its log.

Bounds: `concurrency` logs at once, each with one chunk in memory; the queue's `max_waiting` pods,
and as many outcomes.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from trainingjob_api.errors import (
    ArchiveBusyError,
    EntryError,
    GoneError,
    KubernetesError,
    VolumeError,
)
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.decision import ArchiveSearch, LogOutcome
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.message_text import one_line, truncate
from trainingjob_operator.core.naming import format_indexes
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.log_archive.log_queue import LogQueue, LogTask
from trainingjob_operator.log_archive.pod_log_copy import copy_logs
from trainingjob_operator.log_archive.protocols import LogStore

DEADLINE_S: Final = 60.0
"""Timeout in seconds for reading and writing a log, from its turn on, all tries together."""

PER_LOG_S: Final = 2.0
"""Seconds by which each waiting log extends the timeout of those behind it: 10 MiB at 5 MiB/s."""

TRIES: Final = 3
RETRY_S: Final = 2.0
VOLUME_RETRY_S: Final = 30.0
"""Seconds for which a volume is not used after it has failed."""

NOTIFY_EVERY_S: Final = 1.0
CONCURRENCY: Final = 8
MAX_WAITING: Final = 10_000

_TOO_SLOW: Final = f"it was not read and written within {DEADLINE_S:g} s"
_TOO_LATE: Final = "too many logs waited: its turn did not come within {:g} s"
_MAX_WHY: Final = 300
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tries:
    """The tries to archive a log so far.

    Attributes:
        since: start of its first try, in monotonic seconds.
        worked_s: seconds spent reading and writing.
    """

    since: float
    tries: int = 0
    worked_s: float = 0.0


class Archiver:
    """Archives the requested logs; of each job, one pod at a time.

    Attributes:
        volume_fault: the last error of the volume; None again once a log was archived.
    """

    def __init__(
        self,
        *,
        pods: Cluster,
        store: LogStore,
        clock: Clock,
        enqueue: Callable[[JobKey], None],
        concurrency: int = CONCURRENCY,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Prepare to archive; nothing runs yet.

        Args:
            pods: the API server, from which logs are read.
            store: the archives on the volume.
            clock: the time.
            enqueue: called with the key of a job that needs another pass.
            concurrency: logs that are read at once.
            max_waiting: the most waiting pods.
        """
        self._pods: Final = pods
        self._store: Final = store
        self._clock: Final = clock
        self._enqueue: Final = enqueue
        self.concurrency: Final = concurrency
        self.queue: Final = LogQueue(max_waiting)
        self._wake: Final = asyncio.Event()
        self._efforts: Final[dict[str, _Tries]] = {}  # of pods in the queue, from their turn on
        self._notify_soon: Final[set[JobKey]] = set()
        self._volume_error = ""
        self._volume_error_until = float("-inf")
        self.volume_fault: VolumeError | None = None
        self.archived_total = 0
        self.given_up_total = 0

    # --- for the reconciler ---------------------------------------------------------------------

    @property
    def volume_error(self) -> str:
        """The reason why the volume is not used at the moment; "" if it is."""
        return self._volume_error if self._clock.monotonic() < self._volume_error_until else ""

    def outcomes_of(self, job: JobView) -> Mapping[str, LogOutcome]:
        """Return the remembered outcomes of the logs of this job's pods, by pod uid."""
        return self.queue.outcomes_of(job.uid)

    def request_logs(
        self, job: JobView, pods: Iterable[PodView], archive_search: ArchiveSearch | None = None
    ) -> bool:
        """Request the logs of these pods, each once. False: the queue has no room for all of them.

        Args:
            job: the pods' job.
            pods: the pods whose logs are to be archived.
            archive_search: ranks without a pod, for whose logs the archive is searched.
        """
        known = self.queue.outcomes_of(job.uid)
        new = [pod for pod in pods if pod.uid not in known]
        # All get the timeout of the last one, since a log that is retried goes to the queue's end.
        timeout_s = DEADLINE_S + PER_LOG_S * (
            len(self.queue) + len(new) + (archive_search is not None)
        )
        is_room = archive_search is None or self.queue.add(
            self._search_task(job, archive_search, timeout_s)
        )
        for pod in new:
            is_room = self.queue.add(self._task(job, pod, timeout_s)) and is_room
        self._wake.set()
        return is_room

    def forget(self, job: JobView, present: Collection[str]) -> None:
        """Forget the outcomes of earlier attempts, except those whose unread logs are in status."""
        noted = [unread.attempt for unread in job.status.unread_logs]
        self.queue.forget(job.uid, before=min([job.status.attempt, *noted]), present=present)

    def forget_log_outcomes(self, uid: str) -> None:
        """Forget the outcomes of a job's logs: they are in its status, or the job was deleted."""
        self.queue.forget_log_outcomes(uid)

    async def ensure_job_directory(self, job: JobView) -> bool:
        """Create a job's directory unless it exists. False: that failed, or took too long."""
        if self.volume_error:
            return False
        try:
            await self._store.ensure_job_directory(job.key, job.uid)
        except VolumeError as error:
            self._volume_failed(error)
            return False
        except EntryError as error:  # other jobs' directories are not affected
            _logger.warning("job %s: its directory cannot be created: %s", job.key, error)
            return False
        return True

    # --- the work -------------------------------------------------------------------------------

    async def keep_archiving(self) -> None:
        """Archive requested logs, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.concurrency):
                group.create_task(self._work(), name=f"archiver-{number}")

    async def _work(self) -> None:
        while True:
            task = self.queue.next_task()
            if task is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            outcome = await self._try(task)
            if outcome is None:
                self._retry_later(task)
            else:
                self._done(task, outcome)
            self._wake.set()  # another pod of the same job may be next

    async def _try(self, task: LogTask) -> LogOutcome | None:
        """Return the outcome of a log; None: another try is due."""
        if self.volume_error:
            return _lost(task, self.volume_error, volume_fault=True)
        begun = self._clock.monotonic()
        effort = self._efforts.setdefault(task.pod_uid, _Tries(begun))
        left = DEADLINE_S - effort.worked_s
        left_in_queue = task.give_up_at - begun
        if left_in_queue <= 0:
            return _lost(task, _TOO_LATE.format(task.give_up_at - task.asked_at))
        try:
            return await self._try_for(task, effort, min(left, left_in_queue))
        finally:
            effort.worked_s += self._clock.monotonic() - begun

    async def _try_for(self, task: LogTask, effort: _Tries, left: float) -> LogOutcome | None:
        try:
            async with asyncio.timeout(left):
                return await copy_logs(self._pods, self._store, task)
        except TimeoutError:
            return _lost(task, _TOO_SLOW)
        except ArchiveBusyError as error:
            waited = self._clock.monotonic() - effort.since
            return None if waited < DEADLINE_S else _lost(task, str(error))
        except (VolumeError, EntryError, KubernetesError) as error:
            return self._retry_or_give_up(task, effort, error)
        except Exception as error:
            # A bug with one log must neither stop the others nor keep its pod for ever.
            _logger.exception("job %s: a log was not archived; this is a bug", task.key)
            return _lost(task, f"{type(error).__name__} in the operator")

    def _retry_or_give_up(
        self, task: LogTask, effort: _Tries, error: VolumeError | EntryError | KubernetesError
    ) -> LogOutcome | None:
        effort.tries += 1
        volume_fault = isinstance(error, VolumeError)
        for_good = isinstance(error, KubernetesError) and (
            error.permanent or isinstance(error, GoneError)
        )
        if effort.tries < TRIES and not for_good:
            return None
        if isinstance(error, VolumeError):
            self._volume_failed(error)
        return _lost(task, str(error), volume_fault=volume_fault)

    def _retry_later(self, task: LogTask) -> None:
        """Let other logs go first, and retry in a moment."""
        self.queue.pause(task)

        def resume() -> None:
            self.queue.resume(task)
            self._wake.set()

        asyncio.get_running_loop().call_later(RETRY_S, resume)

    def _done(self, task: LogTask, outcome: LogOutcome) -> None:
        self._efforts.pop(task.pod_uid, None)
        if outcome.lost:
            self.given_up_total += len(outcome.missing)
            _logger.warning(
                "job %s: the log of rank %s of attempt %d is given up: %s",
                task.key,
                truncate(format_indexes(outcome.missing), _MAX_WHY),
                task.attempt,
                outcome.lost,
            )
        elif not task.searched_ranks:
            self.archived_total += 1
            self._volume_error_until = float("-inf")
            self.volume_fault = None
        self.queue.set_outcome(task, outcome)
        self._notify(task)

    def _notify(self, task: LogTask) -> None:
        """Enqueue the job when the last of its logs is done, and at most once a second before.

        Enqueuing it after each of a thousand ranks would cause a thousand reads of the job.
        """
        if not self.queue.has_waiting(task.job_uid):
            self._enqueue(task.key)
        elif task.key not in self._notify_soon:
            self._notify_soon.add(task.key)

            def notify() -> None:
                self._notify_soon.discard(task.key)
                self._enqueue(task.key)

            asyncio.get_running_loop().call_later(NOTIFY_EVERY_S, notify)

    def _volume_failed(self, error: VolumeError) -> None:
        if not self.volume_error:
            _logger.warning(
                "the log volume cannot be used: %s; it is tried again in %g s",
                error,
                VOLUME_RETRY_S,
            )
        self._volume_error, self.volume_fault = one_line(str(error), _MAX_WHY), error
        self._volume_error_until = self._clock.monotonic() + VOLUME_RETRY_S

    def _task(self, job: JobView, pod: PodView, timeout_s: float) -> LogTask:
        now = self._clock.monotonic()
        return LogTask(
            key=job.key,
            job_uid=job.uid,
            pod=pod.name,
            pod_uid=pod.uid,
            container=pod.container if pod.has_begun else "",
            beside=pod.failed_beside,
            attempt=pod.attempt,
            rank=pod.index,
            running=not pod.has_ended,
            asked_at=now,
            give_up_at=now + timeout_s,
        )

    def _search_task(
        self, job: JobView, archive_search: ArchiveSearch, timeout_s: float
    ) -> LogTask:
        now = self._clock.monotonic()
        return LogTask(
            key=job.key,
            job_uid=job.uid,
            pod="",
            pod_uid=f"{job.uid}/{archive_search.attempt}/{format_indexes(archive_search.ranks)}",
            container="",
            attempt=archive_search.attempt,
            rank=min(archive_search.ranks),
            running=False,
            asked_at=now,
            give_up_at=now + timeout_s,
            searched_ranks=archive_search.ranks,
        )


def _lost(task: LogTask, why: str, *, volume_fault: bool = False) -> LogOutcome:
    return LogOutcome(
        attempt=task.attempt,
        rank=task.rank,
        ranks=task.searched_ranks,
        searched_ranks=task.searched_ranks,
        lost=one_line(why, _MAX_WHY),
        volume_fault=volume_fault,
    )


class NoLogArchive:
    """The archiver if there is no log volume: archives nothing, and reports no log as missing."""

    volume_error: Final = ""

    def outcomes_of(self, job: JobView) -> Mapping[str, LogOutcome]:
        """Return none."""
        return {}

    def request_logs(
        self, job: JobView, pods: Iterable[PodView], archive_search: ArchiveSearch | None = None
    ) -> bool:
        """Request nothing."""
        return True

    def forget(self, job: JobView, present: Collection[str]) -> None:
        """Forget nothing."""

    def forget_log_outcomes(self, uid: str) -> None:
        """Forget nothing."""

    async def ensure_job_directory(self, job: JobView) -> bool:
        """Return True: no directory is needed."""
        return True
