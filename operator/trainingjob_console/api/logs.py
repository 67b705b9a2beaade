"""`/api/jobs/{uid}/logs`: the list of a job's logs, byte windows of them, search, and download."""

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
from trainingjob_console.api.requests import (
    int_parameter,
    json_response,
    reject_unknown_parameters,
)
from trainingjob_console.concurrency import share_per_user
from trainingjob_console.errors import BadRequestError, BusyError, NotFoundError
from trainingjob_console.logs.archive import Archive, SectionBody
from trainingjob_console.logs.job_logs import JobLogs
from trainingjob_console.logs.log_reader import archived_parts, archived_window, search_archived
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
    """Serves the logs of one job."""

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
        """Return the list of logs."""
        reject_unknown_parameters(request, ())
        found = await self._logs.sources((await self._authorize(request))[1])
        return json_response({"sources": found, "message": None if found else _NO_LOG})

    async def window(self, request: Request) -> Response:
        """Return a window of one log."""
        reject_unknown_parameters(request, ("offset", "limit"))
        offset = int_parameter(request, "offset", default=0, least=-_FAR, most=_FAR)
        limit = int_parameter(request, "limit", default=MAX_WINDOW, least=1, most=MAX_WINDOW)
        caller, log_access, source = await self._opened(request)
        if source.kind == "live":
            log = await self._logs.pod_log(log_access, source)
            window, size, file = await self._logs.live.window(log, caller, offset, limit)
            return json_response(_as_json(window, size, growing=not log.has_ended, file=file))
        found = await self._archived(
            log_access, source, lambda a, b: archived_window(a, b, offset, limit)
        )
        if found is None:  # the merged log, and nothing is archived yet
            return json_response(_as_json(Window(0, 0, "", 0), 0, growing=True))
        return json_response(_as_json(*found, growing=False))

    async def search(self, request: Request) -> Response:
        """Return the lines of one log that contain a text; a user may run one search at a time."""
        reject_unknown_parameters(request, ("text", "from", "limit"))
        text = request.query_params.get("text", "")
        if not 0 < len(text) <= _MAX_TEXT:
            raise BadRequestError(f"text: must have 1 to {_MAX_TEXT} characters")
        start = int_parameter(request, "from", default=0, least=0, most=_FAR)
        limit = int_parameter(request, "limit", default=MAX_HITS, least=1, most=MAX_HITS)
        caller, log_access, source = await self._opened(request)
        if caller.user in self._searching:
            raise BusyError("your previous search is still running", retry_after_s=1)
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
                        log_access,
                        source,
                        lambda a, b: search_archived(a, b, pattern, start, limit),
                    )
                    or nothing
                )
        finally:
            self._searching.discard(caller.user)
        return json_response(found)

    async def download(self, request: Request) -> Response:
        """Return one whole log as it was written, without a deadline: the client sets the pace."""
        reject_unknown_parameters(request, ())
        caller, log_access, source = await self._opened(request)
        user = caller.user
        if self._downloads[user] >= share_per_user(_MAX_DOWNLOADS):
            raise BusyError(
                "you are downloading too many logs: wait until one is finished", retry_after_s=5
            )
        if self._downloads.total() >= _MAX_DOWNLOADS:
            raise BusyError("too many logs are being downloaded: try again", retry_after_s=5)
        # Counted before the first await: concurrent requests must not all pass the check.
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
        """Return a log's content in parts. Errors are raised here, before the response begins."""
        if source.kind == "live":
            log = await self._logs.pod_log(log_access, source)
            if not log.has_started:
                raise NotFoundError("the container has not started: it has no log yet")
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
        """Return the result of `work` on an archived log; None: `merged`, and nothing is archived."""

        def look(archive: Archive) -> Any:
            body: SectionBody | None = None
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
            raise NotFoundError("this log is not archived: reload the page")
        return found

    async def _live_parts(self, log: PodLog, caller: Caller) -> AsyncGenerator[bytes]:
        async with self._logs.live.stream(log, caller) as parts:
            async for part in parts:
                yield part


class _Download(StreamingResponse):
    """A streaming response that calls `on_end` when it ends, fails or is cancelled.

    A `finally` in the generator of the parts is not enough: if the client disconnects before the first
    part, the generator never starts.
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
        """Send the response."""
        try:
            async with aclosing(self._parts):
                await super().__call__(scope, receive, send)
        finally:
            self._on_end()


def _as_json(window: Window, size: int, *, growing: bool, file: str = "") -> dict[str, Any]:
    return {
        "file": file,
        "offset": window.offset,
        "next": window.next_offset,
        "size": max(size, window.next_offset),
        "growing": growing,
        "text": window.text,
        "truncatedLines": window.cut,
    }
