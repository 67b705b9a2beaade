"""`/api/jobs/{uid}/logs`: which logs there are, windows of them by bytes, search, and download."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.access.caller import Caller
from trainingjob_console.api.requests import answer, check_names, number
from trainingjob_console.concurrency import share_per_user
from trainingjob_console.errors import BadRequestError, BusyError, NotFoundError
from trainingjob_console.logs.archive import Archive, Body
from trainingjob_console.logs.job_logs import JobLogs
from trainingjob_console.logs.log_reader import archived_parts, search_of, window_of
from trainingjob_console.logs.pods import MAIN, PodLog
from trainingjob_console.logs.search import MAX_HITS
from trainingjob_console.logs.sources import LogAccess, SourceId, parse_source
from trainingjob_console.logs.window import MAX_WINDOW, Window
from trainingjob_web.connections import LASTING

_FAR: Final = 2**53
_MAX_TEXT: Final = 200
_MAX_DOWNLOADS: Final = 8
_NO_LOG: Final = "no log has been written or archived"


class LogsApi:
    """Answers about the logs of one job."""

    def __init__(self, access: AccessControl, logs: JobLogs) -> None:
        self._access: Final = access
        self._logs: Final = logs
        self._searching: Final[set[str]] = set()
        self._downloads: Final[Counter[str]] = Counter()

    def routes(self) -> list[Route]:
        """Return the routes."""
        path = "/api/jobs/{uid}/logs"
        return [
            Route(path, self.sources, methods=["GET"]),
            Route(path + "/{source}", self.window, methods=["GET"]),
            Route(path + "/{source}/search", self.search, methods=["GET"]),
            Route(path + "/{source}/download", self.download, methods=["GET"]),
        ]

    async def sources(self, request: Request) -> Response:
        """Return which logs there are."""
        check_names(request, ())
        found = await self._logs.sources((await self._authorize(request))[1])
        return answer({"sources": found, "message": None if found else _NO_LOG})

    async def window(self, request: Request) -> Response:
        """Return a window of one log."""
        check_names(request, ("offset", "limit"))
        offset = number(request, "offset", default=0, least=-_FAR, most=_FAR)
        limit = number(request, "limit", default=MAX_WINDOW, least=1, most=MAX_WINDOW)
        caller, log_access, source = await self._opened(request)
        if source.kind == "live":
            log = await self._logs.pod_log(log_access, source)
            window, size, file = await self._logs.live.window(log, caller, offset, limit)
            return answer(_as_json(window, size, growing=not log.ended, file=file))
        found = await self._archived(
            log_access, source, lambda a, b: window_of(a, b, offset, limit)
        )
        if found is None:  # merged, and nothing is archived yet
            return answer(_as_json(Window(0, 0, "", 0), 0, growing=True))
        return answer(_as_json(*found, growing=False))

    async def search(self, request: Request) -> Response:
        """Return the lines of one log that have a text; one search at a time for a user."""
        check_names(request, ("text", "from", "limit"))
        text = request.query_params.get("text", "")
        if not 0 < len(text) <= _MAX_TEXT:
            raise BadRequestError(f"text: must have 1 to {_MAX_TEXT} characters")
        start = number(request, "from", default=0, least=0, most=_FAR)
        limit = number(request, "limit", default=MAX_HITS, least=1, most=MAX_HITS)
        caller, log_access, source = await self._opened(request)
        if caller.user in self._searching:
            raise BusyError("you have a search that still runs", retry_after_s=1)
        pattern = re.compile(re.escape(text.encode()), re.IGNORECASE)
        self._searching.add(caller.user)
        try:
            if source.kind == "live":
                log = await self._logs.pod_log(log_access, source)
                found = await self._logs.live.search(log, caller, pattern, start, limit)
            else:
                nothing = {"hits": [], "scanned": 0, "complete": True}
                found = (
                    await self._archived(
                        log_access, source, lambda a, b: search_of(a, b, pattern, start, limit)
                    )
                    or nothing
                )
        finally:
            self._searching.discard(caller.user)
        return answer(found)

    async def download(self, request: Request) -> Response:
        """Return one log whole, as it was written; it may take as long as its reader needs."""
        check_names(request, ())
        caller, log_access, source = await self._opened(request)
        user = caller.user
        if self._downloads[user] >= share_per_user(_MAX_DOWNLOADS):
            raise BusyError("you download too many logs: wait for one", retry_after_s=5)
        if self._downloads.total() >= _MAX_DOWNLOADS:
            raise BusyError("too many logs are downloaded: try again", retry_after_s=5)
        # Its place is taken before anything is waited for: many can come together.
        self._downloads[user] += 1
        try:
            parts = await self._parts_of(caller, log_access, source)
        except BaseException:
            self._end_download(user)
            raise
        setattr(request.state, LASTING, True)
        name = f"{log_access.uid}-{source.kind}-{source.attempt}-{source.rank}.log"
        return _Download(parts, name, partial(self._end_download, user))

    def _end_download(self, user: str) -> None:
        self._downloads[user] -= 1
        if not self._downloads[user]:
            del self._downloads[user]

    async def _parts_of(
        self, caller: Caller, log_access: LogAccess, source: SourceId
    ) -> AsyncGenerator[bytes]:
        """Return a log's parts. Whatever can be refused is refused before the answer begins."""
        if source.kind == "live":
            log = await self._logs.pod_log(log_access, source)
            if not log.begun:
                raise NotFoundError("the container has not begun: it has no log yet")
            return self._live_parts(log, caller)
        found = await self._archived(
            log_access, source, lambda archive, body: (archive.size, body)
        )
        if found is None:
            raise NotFoundError("nothing is archived yet")
        size, body = found
        return archived_parts(self._logs.archives, log_access.uid, caller.user, size, body)

    async def _authorize(self, request: Request) -> tuple[Caller, LogAccess]:
        caller = await self._access.authenticate(request)
        return caller, await self._logs.authorize(caller, request.path_params["uid"])

    async def _opened(self, request: Request) -> tuple[Caller, LogAccess, SourceId]:
        source = parse_source(request.path_params["source"])
        caller, log_access = await self._authorize(request)
        return caller, log_access, source

    async def _archived(self, log_access: LogAccess, source: SourceId, work: Any) -> Any:
        """Return what is made of an archived log; None: `merged`, and nothing is archived."""

        def look(archive: Archive) -> Any:
            body: Body | None = None
            if source.kind == "archive":
                container = "" if source.container == MAIN else source.container
                body = archive.body(source.attempt, source.rank, container)
                if body is None:
                    return None
            return work(archive, body)

        found = await self._logs.archives.with_archive(
            log_access.uid, look, user=log_access.caller.user
        )
        if found is None and source.kind == "archive":
            raise NotFoundError("this log is not archived: load the page again")
        return found

    async def _live_parts(self, log: PodLog, caller: Caller) -> AsyncGenerator[bytes]:
        async with self._logs.live.stream(log, caller) as parts:
            async for part in parts:
                yield part


class _Download(StreamingResponse):
    """A log that is sent, and what is to be done in the end, however that comes.

    The end of the parts is not enough: where the client has gone before the first, they never begin.
    """

    def __init__(
        self, parts: AsyncGenerator[bytes], name: str, on_end: Callable[[], None]
    ) -> None:
        super().__init__(
            parts,
            media_type="text/plain; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "Cache-Control": "no-store",
            },
        )
        self._parts: Final = parts
        self._on_end: Final = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            async with aclosing(self._parts):
                await super().__call__(scope, receive, send)
        finally:
            self._on_end()


def _as_json(window: Window, size: int, *, growing: bool, file: str = "") -> dict[str, Any]:
    return {
        "file": file,
        "offset": window.offset,
        "next": window.following,
        "size": max(size, window.following),
        "growing": growing,
        "text": window.text,
        "truncatedLines": window.cut,
    }
