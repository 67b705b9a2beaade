"""The logs of jobs: which there are, and following them for a socket. Rights are looked at here."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import BusyError, ForbiddenError, NotFoundError, RequestError
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.archive import Archive, Body, archive_name
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.first_errors import FirstErrors
from trainingjob_console.logs.follower_pool import FollowerPool
from trainingjob_console.logs.log_reader import LiveReader
from trainingjob_console.logs.log_tailer import LogTailer, RotatedError
from trainingjob_console.logs.merged_follower import MergedFollower
from trainingjob_console.logs.merged_log import MergedLog, parse_positions
from trainingjob_console.logs.pods import PodLog, logs_of_job
from trainingjob_console.logs.sources import LogAccess, SourceId, of_body, of_pod, parse_source
from trainingjob_console.sockets.log_ring import LogRing

_REFUSED: Final = (401, 403)
_ROTATED: Final = "rotated"
"""The end for a reader whose place is one of an older file: it has to read the log's end again."""


class JobLogs:
    """All logs, for users with the right to read those of pods in the job's namespace."""

    def __init__(
        self,
        kube: Kube,
        access: AccessControl,
        index: JobIndex,
        archives: ArchiveReader,
        past: Callable[[str, str], Awaitable[str]],
        *,
        recheck_s: float = 30.0,
        unsure_s: float = 60.0,
        live: LiveReader | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            kube: the API server.
            access: who may read what.
            index: the jobs that live.
            archives: the log volume.
            past: returns the namespace of a job of the history by its uid, for a user; empty: it has none.
            recheck_s: seconds between two looks at the rights of one who follows a log.
            unsure_s: seconds for which nobody could say whether the user still has the right; with the
                next look that finds no answer the log ends.
            live: reads logs of pods; None: with the usual limits.
        """
        self._recheck_s: Final = recheck_s
        self._unsure_s: Final = unsure_s
        self._kube: Final = kube
        self._access: Final = access
        self._index: Final = index
        self._past: Final = past
        self.archives: Final = archives
        self.live: Final = live or LiveReader(kube)
        self.followers: Final = FollowerPool(kube)
        self.errors: Final = FirstErrors()
        self._one_log: Final = LogTailer(kube, self.live, self.followers)

    async def authorize(self, caller: Caller, uid: str) -> LogAccess:
        """Return the job whose logs a user may read.

        Args:
            caller: who reads.
            uid: of the job.

        Raises:
            NotFoundError: there is no such job, as far as the user may know.
            BusyError: the console has just begun, and has not listed all jobs.
            ForbiddenError: the user may not read logs there.
        """
        if archive_name(uid) is None:
            raise NotFoundError("there is no such job")
        job = self._index.get(uid)
        where = job.namespace if job is not None else await self._past(uid, caller.user)
        if not where or not (await self._access.visible(caller, where))(where):
            if not self._index.is_complete:
                raise BusyError("not all jobs have been listed yet: try again", retry_after_s=1)
            raise NotFoundError("there is no such job, or you may not list it")
        await self._check(caller, where)
        return LogAccess(caller, uid, where)

    async def _check(self, caller: Caller, namespace: str) -> None:
        if not await self._access.is_allowed(caller, "get", "pods", namespace, subresource="log"):
            raise ForbiddenError(f"you may not read logs in {namespace} (get pods/log)")

    async def sources(self, place: LogAccess) -> list[dict[str, Any]]:
        """Return the logs that there are: live ones, then archived ones, the newest first."""
        pods = await self._pod_logs(place)

        def look(archive: Archive) -> list[dict[str, Any]]:
            newest: dict[tuple[int, int, str], Body] = {
                (-body.section.attempt, body.section.rank, body.section.container): body
                for body in archive.bodies()
            }
            bodies = [newest[key] for key in sorted(newest)]
            errors = self.errors.of(place.uid, archive, bodies)
            return [
                of_body(body, first_error=error)
                for body, error in zip(bodies, errors, strict=True)
            ]

        archived = await self.archives.with_archive(place.uid, look, user=place.caller.user) or []
        known = {(each["attempt"], each["rank"], each["container"]) for each in archived}
        live = [
            log for log in pods if log.begun and (log.attempt, log.rank, log.called) not in known
        ]
        live.sort(key=lambda log: -log.attempt)
        return [of_pod(log) for log in live] + archived

    async def pod_log(self, place: LogAccess, source: SourceId) -> PodLog:
        """Return the live log of a source. Raises NotFoundError."""
        for log in await self._pod_logs(place):
            called = SourceId("live", log.rank, log.called, log.attempt)
            if called == source:
                return log
        raise NotFoundError("the pod is gone: look whether its log was archived")

    async def _pod_logs(self, place: LogAccess) -> list[PodLog]:
        return await logs_of_job(self._kube, place.caller.token, place.namespace, place.uid)

    # --- following --------------------------------------------------------------------------------

    async def follow(
        self,
        caller: Caller,
        uid: str,
        source: str,
        offset: int,
        ring: LogRing,
        *,
        file: str = "",
        places: Sequence[str] = (),
    ) -> str:
        """Put what is written from a place on into a ring, and return why it ended.

        Args:
            caller: who reads.
            uid: of the job.
            source: which log.
            offset: of what the page has not; of merged logs only the places that follow count from it.
            ring: of the page.
            file: that the offset is of; empty: it is not known.
            places: in the logs of ranks that are merged, up to which the page has them.

        Raises:
            RequestError: there is no such log, the user may not read it, or too many are read.
        """
        place, wanted = await self.authorize(caller, uid), parse_source(source)
        if wanted.kind == "archive":
            return "archived"
        if wanted.kind == "live":
            log = await self.pod_log(place, wanted)
            following = self._one_log.follow(
                caller, log, offset, ring, asyncio.Semaphore(), file=file
            )
        else:
            following = MergedFollower(
                place,
                MergedLog(ring, offset),
                parse_positions(places),
                index=self._index,
                pod_logs=self._pod_logs,
                one_log=self._one_log,
                archives=self.archives,
                live=self.live,
            ).follow()
        try:
            return await self._while_allowed(place, following)
        except RotatedError:
            return _ROTATED

    async def _while_allowed(self, place: LogAccess, work: Coroutine[Any, Any, str]) -> str:
        """Do this for as long as the user may read logs: a follower asks in another's name, too.

        Raises:
            RequestError: the right or the token is gone, or may be; or the work raised it.
        """
        task = asyncio.create_task(work)
        clock = asyncio.get_running_loop().time
        sure_at = clock()
        try:
            while not (await asyncio.wait([task], timeout=self._recheck_s))[0]:
                begun = clock()
                try:
                    await self._check(place.caller, place.namespace)
                    sure_at = begun
                except RequestError as error:
                    # A server that does not answer takes no right away, for a while.
                    if error.status in _REFUSED or begun - sure_at >= self._unsure_s:
                        raise
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
