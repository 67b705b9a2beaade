"""The live logs of all ranks of a job as one, those of pods that come later, too, until the job is over.

The console's own account may not watch pods, so they are listed with the token of the page's user: when
the status of the job changes, and in between, more and more seldom, while a rank of its attempt has no log.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Final

from trainingjob_console.errors import BusyError, RequestError
from trainingjob_console.jobs.index import Change, JobIndex
from trainingjob_console.jobs.summary import Summary
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.archived_ranks import ArchivedRankLog, archived_rank_logs
from trainingjob_console.logs.follower import ARCHIVED
from trainingjob_console.logs.log_reader import LiveReader, archived_parts
from trainingjob_console.logs.log_tailer import LogTailer, pass_on
from trainingjob_console.logs.merged_log import MergedLog, RankPosition
from trainingjob_console.logs.pods import MAIN, PodLog
from trainingjob_console.logs.sources import LogAccess

MAX_MERGED: Final = 64
"""Ranks whose live logs one page follows merged."""

_AT_ONCE: Final = 4
"""Of their logs, those that are read up to where they are followed, when a page comes back."""

_APART_S: Final = 0.3
"""Between two lists of pods: a job's status changes often while its ranks start."""

_LOOK_S: Final = (1.0, 15.0)
"""Between two lists while the status does not change: at first, and at last."""

_DOUBLINGS: Final = 6
"""Of the wait for a log that is not there, at most."""

_PART: Final = 65_536
"""Bytes of an archived log that are held for a page that takes them slowly."""

_REFUSED: Final = (401, 403)
_NOT_FOUND: Final = 404


class MergedFollower:
    """Follows all ranks of one job for one page.

    Of each rank one log is followed at a time: what an attempt wrote comes before the next one's.

    Bound: `MAX_MERGED` ranks, of each the place at which its log was begun, and one log.
    """

    def __init__(
        self,
        place: LogAccess,
        merged: MergedLog,
        places: Mapping[int, RankPosition],
        *,
        index: JobIndex,
        pod_logs: Callable[[LogAccess], Awaitable[list[PodLog]]],
        one_log: LogTailer,
        archives: ArchiveReader,
        live: LiveReader,
    ) -> None:
        """Follow nothing yet.

        Args:
            place: the job, and who reads.
            merged: takes the lines.
            places: by rank, up to which the page has the logs; empty: it has none yet.
            index: the jobs that live.
            pod_logs: lists the logs of a job's pods, of each rank the oldest attempt first.
            one_log: follows one of them.
            archives: has what was written by pods that have gone.
            live: has the places for logs that a page takes at a speed of its own.
        """
        self._place: Final = place
        self._merged: Final = merged
        self._index: Final = index
        self._pod_logs: Final = pod_logs
        self._one_log: Final = one_log
        self._archives: Final = archives
        self._live: Final = live
        self._reached: Final = dict(places)
        # By rank, the uid of the pod whose log was begun last.
        self._begun: Final[dict[int, str]] = {}
        self._tasks: Final[dict[int, asyncio.Task[None]]] = {}  # by rank
        self._turns: Final = asyncio.Semaphore(_AT_ONCE)
        self._changed: Final = asyncio.Event()
        self._was_listed = False
        self._some_wait = False  # for the end of an earlier log of their rank
        self._misses_some = bool(places)  # of pods that have gone
        self._not_found = 0  # times that there was no log of a pod that was listed

    async def follow(self) -> str:
        """Follow until the job is over and its logs have ended, and return the reason for the end.

        Raises:
            RequestError: a log cannot be followed, or the pods cannot be listed in this user's name.
            RotatedError: the node has begun a new file of a log that has a place.
        """
        try:
            with self._listening():
                await self._follow_until_over()
            await asyncio.gather(*self._tasks.values())
            return "finished"
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow_until_over(self) -> None:
        """Begin each log that comes, until none can come any more."""
        pause = _LOOK_S[0]
        while True:
            self._changed.clear()
            job = self._index.get(self._place.uid)
            is_over = job is None or job.is_finished
            looks_again = is_over or self._lacks_ranks_of(job)
            if looks_again or not self._was_listed or self._some_wait or self._misses_some:
                # A pod of a job that is over is in the list that is made after its end.
                is_listed = await self._begin_next()
                if is_listed and is_over and not self._some_wait:
                    return
                looks_again = looks_again or not is_listed
                await asyncio.sleep(_APART_S)
            waits = pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            is_news = await self._news(waits if looks_again else None)
            pause = _LOOK_S[0] if is_news else min(2 * pause, _LOOK_S[1])

    def _lacks_ranks_of(self, job: Summary | None) -> bool:
        """Return True if a rank of the job's attempt has no log here yet, and may get one."""
        if job is None or job.suspended:
            return False
        *_, wanted = job.ranks
        return sum(each.attempt >= job.attempt for each in self._reached.values()) < wanted

    async def _begin_next(self) -> bool:
        """List the pods, and begin each log whose turn it is. False: they cannot be listed now.

        Raises:
            RequestError: they may not be listed, or were never; or there are too many ranks.
        """
        try:
            logs = await self._pod_logs(self._place)
        except RequestError as error:
            if not self._was_listed or error.status in _REFUSED:
                raise
            return False
        logs = [log for log in logs if log.called == MAIN and log.begun]
        is_new_page = not self._was_listed and not self._reached
        # A new page wants the newest pod of each rank. Else one of each attempt: the operator makes no two.
        last = {(log.rank, 0 if is_new_page else log.attempt): log for log in logs}
        logs = list(last.values())
        gone = await self._gone(logs)
        ranks: list[PodLog | ArchivedRankLog] = [*gone, *logs]
        if len({log.rank for log in ranks} | self._reached.keys()) > MAX_MERGED:
            raise BusyError(f"more than {MAX_MERGED} ranks: choose one")
        self._was_listed, self._some_wait = True, False
        for log in sorted(ranks, key=lambda log: (log.rank, log.attempt)):
            if not self._is_next(log):
                continue
            if log.rank in self._tasks:
                self._some_wait = True
            else:
                self._begin(log, is_late=is_new_page)
        self._misses_some |= self._some_wait and bool(gone)
        return True

    async def _gone(self, logs: list[PodLog]) -> list[ArchivedRankLog]:
        """Return the logs of pods that have gone, if the page may have missed some."""
        misses_some, self._misses_some = self._misses_some, False
        skipped = (
            log.attempt > self._reached[log.rank].attempt + 1
            for log in logs
            if log.rank in self._reached
        )
        if not (misses_some or any(skipped)):
            return []
        since = min(each.attempt for each in self._reached.values())
        try:
            return await archived_rank_logs(self._archives, self._place, since, logs)
        except BusyError:  # what lives is not to wait for a volume that does not answer
            self._merged.skip()
            return []

    def _is_next(self, log: PodLog | ArchivedRankLog) -> bool:
        reached = self._reached.get(log.rank)
        if reached is None or reached.attempt < log.attempt:
            return True
        return reached.attempt == log.attempt and self._begun.get(log.rank) != log.uid

    def _begin(self, log: PodLog | ArchivedRankLog, *, is_late: bool) -> None:
        """Follow a log from where the page has it up to.

        Args:
            log: which.
            is_late: the page wants none of what was written before it came.
        """
        reached = self._reached.get(log.rank)
        offset = reached.offset if reached is not None and reached.is_in(log) else 0
        self._reached[log.rank] = RankPosition.in_log(log, offset)
        self._begun[log.rank] = log.uid
        if isinstance(log, ArchivedRankLog):
            work = self._send_gone(log, offset)
        else:
            work = self._follow_rank(log, None if is_late else offset)
        self._tasks[log.rank] = asyncio.create_task(work)

    async def _send_gone(self, log: ArchivedRankLog, offset: int) -> None:
        """Send an archived log from an offset on, which counts from its beginning, kept or not."""
        lines, body, place = self._merged.of(log), log.body, self._place
        try:
            async with (
                self._turns,
                self._live.streaming_slot(place.caller),
                aclosing(
                    archived_parts(
                        self._archives, place.uid, place.caller.user, body.end, body, part=_PART
                    )
                ) as parts,
            ):
                await pass_on(parts, max(offset, body.cut), lines, position=body.cut)
        except BusyError:  # as above
            lines.skip(offset, lines.following)
        lines.close()

    async def _follow_rank(self, log: PodLog, offset: int | None) -> None:
        """Follow a log to its end, from an offset on; None: from what is kept for late readers."""
        lines, caller = self._merged.of(log), self._place.caller
        try:
            if offset is None:
                reason = await self._one_log.follow_late(caller, log, lines)
            else:
                reason = await self._one_log.follow(caller, log, offset, lines, self._turns)
        except RequestError as error:
            if error.status != _NOT_FOUND:
                raise
            reason = ARCHIVED
            # A pod whose node is gone, or whose kubelet has just begun, is listed for a while still.
            await asyncio.sleep(min(_APART_S * 2**self._not_found, _LOOK_S[1]))
            self._not_found = min(self._not_found + 1, _DOUBLINGS)
        lines.close()
        if reason == ARCHIVED:
            # Its pod has gone, and what it wrote last may not have been read: the archive has it.
            self._reached[log.rank] = RankPosition.in_log(log, lines.following or offset or 0)
            del self._begun[log.rank]
            self._misses_some = True

    async def _news(self, seconds: float | None) -> bool:
        """Wait until the job changes or a log ends. False: neither came within this time; None: no limit.

        Raises:
            RequestError: a log cannot be followed.
            RotatedError: the node has begun a new file of a log that has a place.
        """
        change = asyncio.create_task(self._changed.wait())
        try:
            done, _ = await asyncio.wait(
                [change, *self._tasks.values()],
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            change.cancel()
        for rank in [rank for rank, task in self._tasks.items() if task.done()]:
            self._tasks.pop(rank).result()
        return bool(done)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Note each change of the job."""

        def note(change: Change) -> None:
            if change.uid == self._place.uid:
                self._changed.set()

        leave = self._index.listen(note)
        try:
            yield
        finally:
            leave()
