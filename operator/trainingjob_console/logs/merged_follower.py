"""Follows the merged live logs of all ranks of a job, including pods created later, until the job has finished.

The console's own account may not watch pods. So pods are listed with the token of the page's user: when the status
of the job changes, and in between with an exponential back-off, while a rank of the current attempt has no log.
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
from trainingjob_console.logs.log_tailer import LogTailer, send_chunks
from trainingjob_console.logs.merged_log import MergedLog, RankPosition
from trainingjob_console.logs.pods import MAIN, PodLog
from trainingjob_console.logs.sources import LogAccess

MAX_MERGED: Final = 64
"""Ranks whose live logs one page follows merged."""

_MAX_CATCH_UPS: Final = 4
"""Logs that one page catches up with concurrently, when it reconnects."""

_MIN_LIST_INTERVAL_S: Final = 0.3
"""Between two lists of pods. A job's status changes often while its ranks start."""

_LIST_INTERVAL_S: Final = (1.0, 15.0)
"""Between two lists while the status does not change: the first interval, and the longest."""

_DOUBLINGS: Final = 6
"""Maximum number of doublings of the wait after a log was not found."""

_PART: Final = 65_536
"""Bytes of an archived log that are held in memory for a slow page."""

_REFUSED: Final = (401, 403)
_NOT_FOUND: Final = 404


class MergedFollower:
    """Follows all ranks of one job for one page.

    One log of each rank is followed at a time, so the log of an attempt is sent before that of the next attempt.

    Bound: `MAX_MERGED` ranks, with one position and one log each.
    """

    def __init__(
        self,
        access: LogAccess,
        merged: MergedLog,
        positions: Mapping[int, RankPosition],
        *,
        index: JobIndex,
        pod_logs: Callable[[LogAccess], Awaitable[list[PodLog]]],
        tailer: LogTailer,
        archives: ArchiveReader,
        live: LiveReader,
    ) -> None:
        """Initialize without following anything.

        Args:
            access: the job, and the user who reads.
            merged: receives the lines.
            positions: by rank, the end of what the page has; empty: a new page.
            index: existing jobs.
            pod_logs: lists the logs of a job's pods, for each rank the oldest attempt first.
            tailer: follows one log.
            archives: has the logs of deleted pods.
            live: limits the logs that are streamed at the speed of their readers.
        """
        self._access: Final = access
        self._merged: Final = merged
        self._index: Final = index
        self._pod_logs: Final = pod_logs
        self._tailer: Final = tailer
        self._archives: Final = archives
        self._live: Final = live
        self._reached: Final = dict(positions)
        # By rank, the uid of the pod whose log was started last.
        self._started: Final[dict[int, str]] = {}
        self._tasks: Final[dict[int, asyncio.Task[None]]] = {}  # by rank
        self._catch_ups: Final = asyncio.Semaphore(_MAX_CATCH_UPS)
        self._changed: Final = asyncio.Event()
        self._has_listed = False
        self._some_queued = False  # a log waits until an earlier log of its rank has ended
        self._may_miss_some = bool(positions)  # logs of deleted pods
        self._not_found = 0  # times that a listed pod had no log

    async def follow(self) -> str:
        """Follow until the job has finished and its logs have ended; return the end reason.

        Raises:
            RequestError: a log cannot be followed, or the pods cannot be listed with this user's token.
            RotatedError: the node has rotated a log for which the page has a position.
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
        """Start following each log that appears, until no further one can appear."""
        interval = _LIST_INTERVAL_S[0]
        while True:
            self._changed.clear()
            job = self._index.get(self._access.uid)
            is_over = job is None or job.is_finished
            relist = is_over or self._lacks_ranks_of(job)
            if relist or not self._has_listed or self._some_queued or self._may_miss_some:
                # A list made after the job has finished has all of its pods.
                is_listed = await self._start_next()
                if is_listed and is_over and not self._some_queued:
                    return
                relist = relist or not is_listed
                await asyncio.sleep(_MIN_LIST_INTERVAL_S)
            delay = interval * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            has_changed = await self._wait_for_change(delay if relist else None)
            interval = (
                _LIST_INTERVAL_S[0] if has_changed else min(2 * interval, _LIST_INTERVAL_S[1])
            )

    def _lacks_ranks_of(self, job: Summary | None) -> bool:
        """Return True if a rank of the job's current attempt has no log here yet, and may get one."""
        if job is None or job.suspended:
            return False
        *_, wanted = job.ranks
        return sum(each.attempt >= job.attempt for each in self._reached.values()) < wanted

    async def _start_next(self) -> bool:
        """List the pods, and start each log that is next for its rank. False: they cannot be listed now.

        Raises:
            RequestError: the user may not list them, the first list failed, or there are too many ranks.
        """
        try:
            logs = await self._pod_logs(self._access)
        except RequestError as error:
            if not self._has_listed or error.status in _REFUSED:
                raise
            return False
        logs = [log for log in logs if log.source_container == MAIN and log.has_started]
        is_new_page = not self._has_listed and not self._reached
        # A new page gets the newest pod of each rank. Else one per attempt: the operator creates no two.
        last = {(log.rank, 0 if is_new_page else log.attempt): log for log in logs}
        logs = list(last.values())
        archived = await self._archived(logs)
        ranks: list[PodLog | ArchivedRankLog] = [*archived, *logs]
        if len({log.rank for log in ranks} | self._reached.keys()) > MAX_MERGED:
            raise BusyError(f"more than {MAX_MERGED} ranks: choose one")
        self._has_listed, self._some_queued = True, False
        for log in sorted(ranks, key=lambda log: (log.rank, log.attempt)):
            if not self._is_next(log):
                continue
            if log.rank in self._tasks:
                self._some_queued = True
            else:
                self._start(log, from_window=is_new_page)
        self._may_miss_some |= self._some_queued and bool(archived)
        return True

    async def _archived(self, logs: list[PodLog]) -> list[ArchivedRankLog]:
        """Return the archived logs of deleted pods, if the page may have missed some."""
        may_miss_some, self._may_miss_some = self._may_miss_some, False
        skipped = (
            log.attempt > self._reached[log.rank].attempt + 1
            for log in logs
            if log.rank in self._reached
        )
        if not (may_miss_some or any(skipped)):
            return []
        since = min(each.attempt for each in self._reached.values())
        try:
            return await archived_rank_logs(self._archives, self._access, since, logs)
        except BusyError:  # live logs must not wait for a volume that does not respond
            self._merged.skip()
            return []

    def _is_next(self, log: PodLog | ArchivedRankLog) -> bool:
        reached = self._reached.get(log.rank)
        if reached is None or reached.attempt < log.attempt:
            return True
        return reached.attempt == log.attempt and self._started.get(log.rank) != log.uid

    def _start(self, log: PodLog | ArchivedRankLog, *, from_window: bool) -> None:
        """Follow a log from the position that the page has.

        Args:
            log: the log.
            from_window: the page is new, and is sent only the window that followers keep.
        """
        reached = self._reached.get(log.rank)
        offset = reached.offset if reached is not None and reached.is_in(log) else 0
        self._reached[log.rank] = RankPosition.in_log(log, offset)
        self._started[log.rank] = log.uid
        if isinstance(log, ArchivedRankLog):
            work = self._send_archived(log, offset)
        else:
            work = self._follow_rank(log, None if from_window else offset)
        self._tasks[log.rank] = asyncio.create_task(work)

    async def _send_archived(self, log: ArchivedRankLog, offset: int) -> None:
        """Send an archived log from an offset. Offsets also count bytes that the archive left out."""
        lines, body, access = self._merged.of(log), log.body, self._access
        try:
            async with (
                self._catch_ups,
                self._live.streaming_slot(access.caller),
                aclosing(
                    archived_parts(
                        self._archives, access.uid, access.caller.user, body.end, body, part=_PART
                    )
                ) as parts,
            ):
                await send_chunks(parts, max(offset, body.cut), lines, position=body.cut)
        except BusyError:  # as above
            lines.skip(offset, lines.next_offset)
        lines.close()

    async def _follow_rank(self, log: PodLog, offset: int | None) -> None:
        """Follow a log to its end, from an offset; None: from the window that is kept for late readers."""
        lines, caller = self._merged.of(log), self._access.caller
        try:
            if offset is None:
                reason = await self._tailer.follow_from_window(caller, log, lines)
            else:
                reason = await self._tailer.follow(caller, log, offset, lines, self._catch_ups)
        except RequestError as error:
            if error.status != _NOT_FOUND:
                raise
            reason = ARCHIVED
            # A pod is listed for a while after its node has gone, and while its kubelet is starting.
            await asyncio.sleep(
                min(_MIN_LIST_INTERVAL_S * 2**self._not_found, _LIST_INTERVAL_S[1])
            )
            self._not_found = min(self._not_found + 1, _DOUBLINGS)
        lines.close()
        if reason == ARCHIVED:
            # The pod was deleted, and its last lines may not have been read: the archive has them.
            self._reached[log.rank] = RankPosition.in_log(log, lines.next_offset or offset or 0)
            del self._started[log.rank]
            self._may_miss_some = True

    async def _wait_for_change(self, seconds: float | None) -> bool:
        """Wait until the job changes or a log ends. False: neither within this time; None: wait without limit.

        Raises:
            RequestError: a log cannot be followed.
            RotatedError: the node has rotated a log for which the page has a position.
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
        """Set the event on each change of the job."""

        def note(change: Change) -> None:
            if change.uid == self._access.uid:
                self._changed.set()

        leave = self._index.listen(note)
        try:
            yield
        finally:
            leave()
