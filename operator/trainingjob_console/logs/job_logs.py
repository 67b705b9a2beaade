"""Authorizes access to the logs of jobs, lists them, and follows them for WebSockets."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import BusyError, ForbiddenError, NotFoundError, RequestError
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.archive import Archive, SectionBody, archive_name
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.first_errors import FirstErrors
from trainingjob_console.logs.follower_pool import FollowerPool
from trainingjob_console.logs.log_reader import LiveReader
from trainingjob_console.logs.log_tailer import LogTailer, RotatedError
from trainingjob_console.logs.merged_follower import MergedFollower
from trainingjob_console.logs.merged_log import MergedLog, parse_positions
from trainingjob_console.logs.pods import PodLog, logs_of_job
from trainingjob_console.logs.sources import (
    LogAccess,
    SourceId,
    describe_archived_log,
    describe_pod_log,
    parse_source,
)
from trainingjob_console.sockets.log_ring import LogRing

_REFUSED: Final = (401, 403)
_ROTATED: Final = "rotated"
"""End reason for a reader whose offset is in an older file, before log rotation: it must reload the end of the log."""


class JobLogs:
    """The logs of all jobs, for users who may `get pods/log` in the namespace of the job."""

    def __init__(
        self,
        kube: Kube,
        access: AccessControl,
        index: JobIndex,
        archives: ArchiveReader,
        history_namespace: Callable[[str, str], Awaitable[str]],
        *,
        recheck_s: float = 30.0,
        unsure_s: float = 60.0,
        live: LiveReader | None = None,
    ) -> None:
        """Initialize without reading anything.

        Args:
            kube: client of the API server.
            access: authorizes users.
            index: existing jobs.
            archives: reads the log volume.
            history_namespace: returns the namespace of a recorded job, by the job's uid and the user; empty: no such
                record.
            recheck_s: seconds between two authorization checks of a user who follows a log.
            unsure_s: seconds without a successful check, as the API server does not respond, after which the next
                failed check ends the log.
            live: reads logs of pods; None: with the default limits.
        """
        self._recheck_s: Final = recheck_s
        self._unsure_s: Final = unsure_s
        self._kube: Final = kube
        self._access_control: Final = access
        self._index: Final = index
        self._history_namespace: Final = history_namespace
        self.archives: Final = archives
        self.live: Final = live or LiveReader(kube)
        self.followers: Final = FollowerPool(kube)
        self.errors: Final = FirstErrors()
        self._tailer: Final = LogTailer(kube, self.live, self.followers)

    async def authorize(self, caller: Caller, uid: str) -> LogAccess:
        """Return the access of a user to the logs of a job.

        Args:
            caller: the user who reads.
            uid: of the job.

        Raises:
            NotFoundError: there is no such job, or the user may not list it.
            BusyError: the console has just started, and has not listed all jobs.
            ForbiddenError: the user may not read logs in the job's namespace.
        """
        if archive_name(uid) is None:
            raise NotFoundError("there is no such job")
        job = self._index.get(uid)
        where = (
            job.namespace if job is not None else await self._history_namespace(uid, caller.user)
        )
        if not where or not (await self._access_control.visible(caller, where))(where):
            if not self._index.is_complete:
                raise BusyError("not all jobs have been listed yet: try again", retry_after_s=1)
            raise NotFoundError("there is no such job, or you may not list it")
        await self._check(caller, where)
        return LogAccess(caller, uid, where)

    async def _check(self, caller: Caller, namespace: str) -> None:
        if not await self._access_control.is_allowed(
            caller, "get", "pods", namespace, subresource="log"
        ):
            raise ForbiddenError(f"you may not read logs in {namespace} (get pods/log)")

    async def sources(self, access: LogAccess) -> list[dict[str, Any]]:
        """Return descriptions of the job's logs: live ones, then archived ones, newest attempt first."""
        pods = await self._pod_logs(access)

        def describe(archive: Archive) -> list[dict[str, Any]]:
            newest: dict[tuple[int, int, str], SectionBody] = {
                (-body.section.attempt, body.section.rank, body.section.container): body
                for body in archive.bodies()
            }
            bodies = [newest[key] for key in sorted(newest)]
            errors = self.errors.find(access.uid, archive, bodies)
            return [
                describe_archived_log(body, first_error=error)
                for body, error in zip(bodies, errors, strict=True)
            ]

        archived = (
            await self.archives.with_archive(access.uid, describe, user=access.caller.user) or []
        )
        known = {(each["attempt"], each["rank"], each["container"]) for each in archived}
        live = [
            log
            for log in pods
            if log.has_started and (log.attempt, log.rank, log.source_container) not in known
        ]
        live.sort(key=lambda log: -log.attempt)
        return [describe_pod_log(log) for log in live] + archived

    async def pod_log(self, access: LogAccess, source: SourceId) -> PodLog:
        """Return the live log of a source. Raises NotFoundError."""
        for log in await self._pod_logs(access):
            called = SourceId("live", log.rank, log.source_container, log.attempt)
            if called == source:
                return log
        raise NotFoundError("the pod was deleted: see whether its log was archived")

    async def _pod_logs(self, access: LogAccess) -> list[PodLog]:
        return await logs_of_job(self._kube, access.caller.token, access.namespace, access.uid)

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
        """Follow a log from a position into a ring, and return the end reason.

        Args:
            caller: the user who reads.
            uid: of the job.
            source: id of the log.
            offset: first byte that the page does not have; for the merged log, the offset at which its numbering
                continues.
            ring: of the page.
            file: name of the file that the offset counts in; empty: unknown.
            places: for the merged log, the last position of each rank that the page has.

        Raises:
            RequestError: there is no such log, the user may not read it, or too many logs are being read.
        """
        access, wanted = await self.authorize(caller, uid), parse_source(source)
        if wanted.kind == "archive":
            return "archived"
        if wanted.kind == "live":
            log = await self.pod_log(access, wanted)
            follow = self._tailer.follow(caller, log, offset, ring, asyncio.Semaphore(), file=file)
        else:
            follow = MergedFollower(
                access,
                MergedLog(ring, offset),
                parse_positions(places),
                index=self._index,
                pod_logs=self._pod_logs,
                tailer=self._tailer,
                archives=self.archives,
                live=self.live,
            ).follow()
        try:
            return await self._while_allowed(access, follow)
        except RotatedError:
            return _ROTATED

    async def _while_allowed(self, access: LogAccess, work: Coroutine[Any, Any, str]) -> str:
        """Run this for as long as the user is authorized, as a follower may read with another user's token.

        Raises:
            RequestError: the user is no longer authorized, or this could not be checked for too long; or the work
                raised it.
        """
        task = asyncio.create_task(work)
        clock = asyncio.get_running_loop().time
        confirmed_at = clock()
        try:
            while not (await asyncio.wait([task], timeout=self._recheck_s))[0]:
                started_at = clock()
                try:
                    await self._check(access.caller, access.namespace)
                    confirmed_at = started_at
                except RequestError as error:
                    # While the API server does not respond, the last successful check is trusted for a while.
                    if error.status in _REFUSED or started_at - confirmed_at >= self._unsure_s:
                        raise
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
