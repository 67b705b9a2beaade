"""Puts the logs of pods on the log volume, behind the reconciler's back.

The reconciler says whose logs are wanted and goes on; when one is archived or given up, it hears of
it and looks again. Nothing here holds a job for long: a log that cannot be read or written is given
up after three tries, or a minute after it was asked for, whichever comes first.

While the volume ails it is asked again every half minute, and in between its logs are given up at
once: ten thousand jobs that end must not wait for it one after the other. An error of one job's
entry (`EntryError`) is not the volume's, and costs that job alone its log.

Bounds: `concurrency` logs at once, of which memory holds a part each; the queue's `max_waiting`
pods that wait, and as many outcomes.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Final

from trainingjob_operator.clock import Clock
from trainingjob_operator.core.decision import LogOutcome
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.text import one_line
from trainingjob_operator.errors import (
    EntryError,
    GoneError,
    KubernetesError,
    VolumeError,
)
from trainingjob_operator.reconciler.ports import LogArchive, LogShelf, LogSource
from trainingjob_operator.stores.log_queue import LogQueue, LogTask
from trainingjob_operator.volume.archive import Section

DEADLINE_S: Final = 60.0
"""A log is given up so long after it was asked for; its pod is held for no longer."""

TRIES: Final = 3
RETRY_S: Final = 2.0
AILING_S: Final = 30.0
"""For how long a volume that failed is left alone."""

TELL_EVERY_S: Final = 1.0
CONCURRENCY: Final = 8
MAX_WAITING: Final = 10_000

_TOO_LATE: Final = f"it was not archived within {DEADLINE_S:g} s"
_MAX_WHY: Final = 300
_logger = logging.getLogger(__name__)


class Archiver:
    """Archives what it is asked for, a job's pods one after the other.

    Attributes:
        volume_fault: why the volume did not take something; None once a log was archived since.
    """

    def __init__(
        self,
        *,
        pods: LogSource,
        shelf: LogShelf,
        clock: Clock,
        on_news: Callable[[JobKey], None],
        concurrency: int = CONCURRENCY,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Prepare to archive; nothing runs yet.

        Args:
            pods: where logs are read.
            shelf: where they are put.
            clock: the time.
            on_news: called with a key of which there is news for the reconciler.
            concurrency: logs that are read at once.
            max_waiting: pods that wait at most.
        """
        self._pods: Final = pods
        self._shelf: Final = shelf
        self._clock: Final = clock
        self._on_news: Final = on_news
        self.concurrency: Final = concurrency
        self.queue: Final = LogQueue(max_waiting)
        self._wake: Final = asyncio.Event()
        self._tries: Final[dict[str, int]] = {}  # of pods in the queue that failed before
        self._telling: Final[set[JobKey]] = set()
        self._ails = ""
        self._ails_until = float("-inf")
        self.volume_fault: VolumeError | None = None
        self.archived_total = 0
        self.given_up_total = 0

    # --- what the reconciler does with it -------------------------------------------------------

    @property
    def volume_ails(self) -> str:
        """Why the volume cannot be written at the moment; "" when it can, or might."""
        return self._ails if self._clock.monotonic() < self._ails_until else ""

    def outcomes_of(self, job: JobView) -> Mapping[str, LogOutcome]:
        """What became of the logs of this job's pods, as far as it is remembered."""
        return self.queue.outcomes_of(job.uid)

    def want(self, job: JobView, pods: Iterable[PodView]) -> bool:
        """Ask for the logs of these pods, each once. False: not all of them could be taken."""
        is_room = True
        for pod in pods:
            if pod.uid not in self.queue.outcomes_of(job.uid):
                is_room = self.queue.put(self._task(job, pod)) and is_room
        self._wake.set()
        return is_room

    def forget(self, job: JobView, present: Collection[str]) -> None:
        """The status says what became of the logs of earlier attempts."""
        self.queue.forget(job.uid, before=job.status.attempt, present=present)

    def settled(self, uid: str) -> None:
        """The status says the last word about a job's logs, or there is no such job any more."""
        self.queue.settled(uid)

    async def prepare(self, job: JobView) -> bool:
        """Make a job's directory, if the volume takes it within a moment. Whether it did."""
        if self.volume_ails:
            return False
        try:
            await self._shelf.prepare(job.key, job.uid)
        except VolumeError as error:
            self._volume_failed(error)
            return False
        except EntryError as error:  # the others' directories are none the worse for it
            _logger.warning("job %s: its directory cannot be prepared: %s", job.key, error)
            return False
        return True

    # --- the work -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Archive what is asked for, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.concurrency):
                group.create_task(self._work(), name=f"archiver-{number}")

    async def _work(self) -> None:
        while True:
            task = self.queue.take()
            if task is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            outcome = await self._try(task)
            if outcome is None:
                self._again_later(task)
            else:
                self._done(task, outcome)
            self._wake.set()  # its job's next pod may be taken

    async def _try(self, task: LogTask) -> LogOutcome | None:
        """What became of a log; None: another try is due."""
        left = task.asked_at + DEADLINE_S - self._clock.monotonic()
        if left > 0 and not self.volume_ails:
            return await self._try_for(task, left)
        if self.volume_ails:
            return _lost(task, self.volume_ails, volume_fault=True)
        return _lost(task, _TOO_LATE)

    async def _try_for(self, task: LogTask, left: float) -> LogOutcome | None:
        try:
            async with asyncio.timeout(left):
                return await self._copy(task)
        except TimeoutError:
            return _lost(task, _TOO_LATE)
        except (VolumeError, EntryError, KubernetesError) as error:
            return self._again_or_lost(task, error)
        except Exception as error:
            # A fault of ours with one log must neither take the others along nor hold its pod.
            _logger.exception("job %s: a log was not archived; this is a bug", task.key)
            return _lost(task, f"{type(error).__name__} in the operator")

    def _again_or_lost(
        self, task: LogTask, error: VolumeError | EntryError | KubernetesError
    ) -> LogOutcome | None:
        tries = self._tries.get(task.pod_uid, 0) + 1
        volume_fault = isinstance(error, VolumeError)
        for_good = isinstance(error, KubernetesError) and (
            error.permanent or isinstance(error, GoneError)
        )
        if tries < TRIES and not for_good:
            self._tries[task.pod_uid] = tries
            return None
        if isinstance(error, VolumeError):
            self._volume_failed(error)
        return _lost(task, str(error), volume_fault=volume_fault)

    async def _copy(self, task: LogTask) -> LogOutcome:
        """Add a log to its job's archive, unless it is there."""
        archive = await self._shelf.open(task.key, task.job_uid)
        try:
            found = await archive.find(task.pod_uid)
            if found is not None:
                return _archived(task, cut=found.cut, size=archive.size)
            section = Section(attempt=task.attempt, rank=task.rank, pod=task.pod_uid)
            log = self._pods.pod_log(task.key.namespace, task.pod, container=task.container)
            async with aclosing(log):
                await self._fill(archive, section, log)
            await archive.finish(running=task.running)
            return _archived(task, cut=archive.cut, size=archive.size)
        finally:
            await archive.close()

    async def _fill(
        self, archive: LogArchive, section: Section, log: AsyncGenerator[bytes, None]
    ) -> None:
        """Copy a log, a part at a time. The section is begun when there is something to write."""
        is_begun = False
        async for part in log:
            if not is_begun:
                await archive.begin(section)
                is_begun = True
            await archive.write(part)
        if not is_begun:
            await archive.begin(section)

    def _again_later(self, task: LogTask) -> None:
        """Let others go first, and try again in a moment."""
        self.queue.release(task)

        def put_back() -> None:
            self.queue.put_back(task)
            self._wake.set()

        asyncio.get_running_loop().call_later(RETRY_S, put_back)

    def _done(self, task: LogTask, outcome: LogOutcome) -> None:
        self._tries.pop(task.pod_uid, None)
        if outcome.lost:
            self.given_up_total += 1
            _logger.warning(
                "job %s: the log of rank %d of attempt %d is given up: %s",
                task.key,
                task.rank,
                task.attempt,
                outcome.lost,
            )
        else:
            self.archived_total += 1
            self._ails_until = float("-inf")
            self.volume_fault = None
        self.queue.done(task, outcome)
        self._tell(task)

    def _tell(self, task: LogTask) -> None:
        """Let the reconciler look: when the last of a job's logs is done, and now and then before.

        A look after each of a thousand ranks would be a thousand reads of the job.
        """
        if not self.queue.waits(task.job_uid):
            self._on_news(task.key)
        elif task.key not in self._telling:
            self._telling.add(task.key)

            def tell() -> None:
                self._telling.discard(task.key)
                self._on_news(task.key)

            asyncio.get_running_loop().call_later(TELL_EVERY_S, tell)

    def _volume_failed(self, error: VolumeError) -> None:
        if not self.volume_ails:
            _logger.warning("the log volume ails: %s; it is asked again in %g s", error, AILING_S)
        self._ails, self.volume_fault = one_line(str(error), _MAX_WHY), error
        self._ails_until = self._clock.monotonic() + AILING_S

    def _task(self, job: JobView, pod: PodView) -> LogTask:
        return LogTask(
            key=job.key,
            job_uid=job.uid,
            pod=pod.name,
            pod_uid=pod.uid,
            container=pod.container,
            attempt=pod.attempt,
            rank=pod.index,
            running=not pod.is_terminal,
            asked_at=self._clock.monotonic(),
        )


class NoArchive:
    """Where there is no log volume: nothing is owed, and nothing is wanted."""

    volume_ails: Final = ""

    def outcomes_of(self, job: JobView) -> Mapping[str, LogOutcome]:
        """Nothing."""
        return {}

    def want(self, job: JobView, pods: Iterable[PodView]) -> bool:
        """Nobody asks."""
        return True

    def forget(self, job: JobView, present: Collection[str]) -> None:
        """Nothing is remembered."""

    def settled(self, uid: str) -> None:
        """Nothing is remembered."""

    async def prepare(self, job: JobView) -> bool:
        """There is nothing to make."""
        return True


def _archived(task: LogTask, *, cut: int, size: int) -> LogOutcome:
    return LogOutcome(attempt=task.attempt, rank=task.rank, cut=cut, size=size)


def _lost(task: LogTask, why: str, *, volume_fault: bool = False) -> LogOutcome:
    return LogOutcome(
        attempt=task.attempt,
        rank=task.rank,
        lost=one_line(why, _MAX_WHY),
        volume_fault=volume_fault,
    )
