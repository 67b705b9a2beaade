"""The logs of jobs: which there are, and following them for a socket. Rights are looked at here."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from trainingjob_console.access.caller import Caller
from trainingjob_console.access.gate import Gate
from trainingjob_console.errors import BusyError, ForbiddenError, NotFoundError, RequestError
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.archive import Archive, Body, archive_name
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.files import file_of
from trainingjob_console.logs.first_errors import FirstErrors
from trainingjob_console.logs.follower import Follower, Reader, Seat
from trainingjob_console.logs.followers import Followers
from trainingjob_console.logs.merged import Merged, RankPlace, read_places
from trainingjob_console.logs.pieces import incomplete, pieces_of
from trainingjob_console.logs.pods import MAIN, PodLog, logs_of_job
from trainingjob_console.logs.reading import LiveReader
from trainingjob_console.logs.sources import Place, SourceId, of_body, of_pod, read_source
from trainingjob_console.sockets.log_ring import LogRing

_ROOM_S: Final = 0.05
_MAX_CATCH_UPS: Final = 3
_REFUSED: Final = (401, 403)
_ROTATED: Final = "rotated"
"""The end for a reader whose place is one of an older file: it has to read the log's end again."""

_MAX_MERGED: Final = 64
"""Ranks whose live logs one page follows merged."""


_MERGED_AT_ONCE: Final = 4
"""Of their logs, those that are read up to where they are followed, when a page comes back."""


class _Behind(Reader, Protocol):
    """A reader that may have to be told of a part that is not there to be sent."""

    def skip(self, start: int, end: int, /) -> None:
        """Say so."""
        ...


class _RotatedError(Exception):
    """The place from which to read on is one of an older file than the node's.

    Attributes:
        file: the node's; empty: it is not known.
    """

    def __init__(self, file: str = "") -> None:
        super().__init__(file)
        self.file = file


class LogRoom:
    """All logs, for users with the right to read those of pods in the job's namespace."""

    def __init__(
        self,
        kube: Kube,
        gate: Gate,
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
            gate: who may read what.
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
        self._gate: Final = gate
        self._index: Final = index
        self._past: Final = past
        self.archives: Final = archives
        self.live: Final = live or LiveReader(kube)
        self.followers: Final = Followers(kube)
        self.errors: Final = FirstErrors()

    async def place(self, caller: Caller, uid: str) -> Place:
        """Return the job whose logs a user may read.

        Args:
            caller: who reads.
            uid: of the job.

        Raises:
            NotFoundError: there is no such job, as far as the user may know.
            ForbiddenError: the user may not read logs there.
        """
        if archive_name(uid) is None:
            raise NotFoundError("there is no such job")
        job = self._index.get(uid)
        where = job.namespace if job is not None else await self._past(uid, caller.user)
        if not where or not (await self._gate.visible(caller, where))(where):
            raise NotFoundError("there is no such job, or you may not list it")
        await self._check(caller, where)
        return Place(caller, uid, where)

    async def _check(self, caller: Caller, namespace: str) -> None:
        if not await self._gate.may(caller, "get", "pods", namespace, subresource="log"):
            raise ForbiddenError(f"you may not read logs in {namespace} (get pods/log)")

    async def sources(self, place: Place) -> list[dict[str, Any]]:
        """Return the logs that there are: live ones, then archived ones, the newest first."""
        token = place.caller.token
        pods = await logs_of_job(self._kube, token, place.namespace, place.uid)

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

    async def pod_log(self, place: Place, source: SourceId) -> PodLog:
        """Return the live log of a source. Raises NotFoundError."""
        for log in await logs_of_job(self._kube, place.caller.token, place.namespace, place.uid):
            called = SourceId("live", log.rank, log.called, log.attempt)
            if called == source:
                return log
        raise NotFoundError("the pod is gone: look whether its log was archived")

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
        place, wanted = await self.place(caller, uid), read_source(source)
        if wanted.kind == "archive":
            return "archived"
        if wanted.kind == "live":
            log = await self.pod_log(place, wanted)
            following = self._follow_one(place, log, offset, ring, asyncio.Semaphore(), file=file)
        else:
            following = self._follow_all(place, Merged(ring, offset), read_places(places))
        try:
            return await self._while_allowed(place, following)
        except _RotatedError:
            return _ROTATED

    async def _while_allowed(self, place: Place, work: Coroutine[Any, Any, str]) -> str:
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

    async def _follow_one(
        self,
        place: Place,
        log: PodLog,
        offset: int,
        reader: _Behind,
        turns: asyncio.Semaphore,
        *,
        file: str = "",
    ) -> str:
        """Follow one log from an offset on, up to which it is read when it is its turn.

        Raises:
            RequestError: it cannot be followed.
            _RotatedError: the offset is one of an older file.
        """
        while True:
            seat = self._enter(log, place.caller)
            try:
                async with turns:
                    again = await self._catch_up(seat, log, offset, reader, file)
                if again is None:
                    return await seat.end()
                offset = again
            finally:
                self.followers.leave(seat)

    def _enter(self, log: PodLog, caller: Caller) -> Seat:
        return self.followers.enter(
            log, caller, lambda: BusyError("too many logs are followed: try again later")
        )

    async def _catch_up(
        self, seat: Seat, log: PodLog, offset: int, ring: _Behind, file: str
    ) -> int | None:
        """Bring a reader to where the follower is, as fast as it reads and no faster.

        None: it follows by now. Else the follower was replaced, as the node had begun a new file: the
        offset from which to go on with another.

        Raises:
            _RotatedError: the reader has a place of an older file.
        """
        follower = seat.follower
        for _ in range(_MAX_CATCH_UPS):
            is_new = follower.position < offset or follower.position == 0
            if not is_new and _has_file(follower, file) and follower.attach(seat, ring, offset):
                return None
            if log.begun:
                was_at = follower.window_start
                try:
                    offset, length = await self._read_on(log, seat.caller, offset, ring, file)
                except _RotatedError as error:
                    if not _has_file(follower, error.file):
                        self.followers.replace(follower)
                    raise
                is_other = length < was_at or not _has_file(follower, file)
                if is_other:
                    self.followers.replace(follower)
                if length < offset:
                    raise _RotatedError
                if is_other:
                    return offset
            if follower.attach(seat, ring, offset):
                return None
        ring.skip(offset, follower.window_start)
        follower.attach(seat, ring, follower.window_start)
        return None

    async def _read_on(
        self, log: PodLog, caller: Caller, offset: int, ring: Reader, file: str
    ) -> tuple[int, int]:
        """Send what the node's file has from an offset on; returns up to where, and its length.

        Raises:
            _RotatedError: it is another file than this.
        """
        position, rest, is_sure = 0, b"", not file
        async with self.live.passed_on(log, caller) as parts:
            async for part in parts:
                if not is_sure:
                    # Of an answer that has begun: it is of this file, or of one before it.
                    await self._check_file(log, caller, file)
                    is_sure = True
                start, position = position, position + len(part)
                if position <= offset:
                    continue
                data = rest + part[max(offset - start, 0) :]
                kept = incomplete(data)
                data, rest = data[: len(data) - kept], data[len(data) - kept :]
                for piece in pieces_of(offset, data):
                    while not ring.has_room:  # noqa: ASYNC110 - the queue wakes its writer only
                        await asyncio.sleep(_ROOM_S)
                    ring.put(piece)
                    offset = piece.following
        return offset, position

    async def _check_file(self, log: PodLog, caller: Caller, file: str) -> None:
        """Return if the node still has this file. Raises _RotatedError."""
        now = await file_of(self._kube, caller.token, log)
        if now != file:
            raise _RotatedError(now)

    async def _follow_all(self, place: Place, merged: Merged, places: dict[int, RankPlace]) -> str:
        """Follow all ranks, each line with its rank, from their places on; without any, from now on.

        Raises:
            RequestError: one of them cannot be followed.
            _RotatedError: the node has begun a new file of one that has a place.
        """
        pods = await logs_of_job(self._kube, place.caller.token, place.namespace, place.uid)
        logs = list({log.rank: log for log in pods if log.called == MAIN}.values())
        if len(logs) > _MAX_MERGED:
            raise BusyError(f"more than {_MAX_MERGED} ranks: choose one")
        turns = asyncio.Semaphore(_MERGED_AT_ONCE)
        tasks: list[asyncio.Task[None]] = []
        for log in logs:
            known = places.get(log.rank)
            begun = 0 if places else None  # a page that comes back has nothing of a new pod
            if known is not None and known.is_in(log):
                begun = known.offset
            tasks.append(asyncio.create_task(self._follow_rank(place, log, begun, merged, turns)))
        try:
            await asyncio.gather(*tasks)
            return "finished"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow_rank(
        self,
        place: Place,
        log: PodLog,
        offset: int | None,
        merged: Merged,
        turns: asyncio.Semaphore,
    ) -> None:
        """Follow one of several logs from an offset on; None: from what is kept for late readers."""
        if offset is not None:
            mouth = merged.of(log, offset)
            await self._follow_one(place, log, offset, mouth, turns)
        else:
            seat = self._enter(log, place.caller)
            try:
                mouth = merged.of(log, seat.follower.window_start)
                seat.follower.attach(seat, mouth, seat.follower.window_start)
                await seat.end()
            finally:
                self.followers.leave(seat)
        mouth.close()


def _has_file(follower: Follower, file: str) -> bool:
    """Return False if the follower's places are known to be those of another file."""
    return not file or not follower.file or follower.file == file
