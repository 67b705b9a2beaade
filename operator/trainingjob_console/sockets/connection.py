"""Serves one WebSocket with tasks that read frames, write frames, and re-check the user's rights.

Each subscription is opened by a task of its own, at most `MAX_SUBSCRIPTIONS`. The API server, which authorizes the user,
may be slow, and other frames of the client must not wait for it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final

from trainingjob_console.deadlines import StallTolerantDeadline, StallTolerantTimeout
from trainingjob_console.errors import BusyError, RequestError
from trainingjob_console.sockets import frames
from trainingjob_console.sockets.frames import BadFrameError, Pong, Subscribe, Unsubscribe
from trainingjob_console.sockets.limits import (
    FRAMES_PER_S,
    MAX_JOBS_SUBSCRIPTIONS,
    MAX_LOG_SUBSCRIPTIONS,
    MAX_SUBSCRIPTIONS,
    Limits,
)
from trainingjob_console.sockets.subscriptions import Subscription

Message = MutableMapping[str, Any]
Opener = Callable[["Connection", Subscribe], Awaitable[Subscription]]

_OPEN_S: Final = 15.0
"""Timeout for opening a subscription."""

REASONS: Final = (
    *("client", "shutdown", "logged-out", "rights", "age"),
    *("slow", "no-pong", "bad-frame", "too-many-frames", "error"),
)
"""Reasons for which a socket is closed."""

_LISTS: Final = (frozenset({"jobs", "job"}), MAX_JOBS_SUBSCRIPTIONS, "lists")
_LIMIT_OF_KIND: Final = {
    "jobs": _LISTS,
    "job": _LISTS,
    "logs": (frozenset({"logs"}), MAX_LOG_SUBSCRIPTIONS, "logs"),
}
"""By kind of subscription: the kinds that share a limit, the limit, and their name in messages."""

_MAX_CONTROL: Final = 32
"""Maximum number of queued replies to the client; with more the socket is closed."""

_logger = logging.getLogger(__name__)


class SocketClosedError(Exception):
    """The socket is closed, by the console or by the client.

    Attributes:
        code: of the close frame.
        reason: one of `REASONS`, which is counted.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connection:
    """An accepted WebSocket."""

    def __init__(
        self,
        *,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        limits: Limits,
        opener: Opener,
        recheck: Callable[[], Awaitable[bool]],
        background: Callable[[], Coroutine[Any, Any, None]],
        ending: "asyncio.Future[SocketClosedError]",
    ) -> None:
        """Initialize without starting tasks.

        Args:
            receive: of ASGI.
            send: of ASGI.
            limits: of the hub.
            opener: opens a subscription. Raises RequestError, or SocketClosedError to close the socket.
            recheck: returns True if the user is still authorized.
            background: another task that runs while the socket is open; it does not end by itself.
            ending: a future that others complete, with the reason, to close the socket.
        """
        self._receive: Final = receive
        self._send_message: Final = send
        self._limits: Final = limits
        self._opener: Final = opener
        self._recheck: Final = recheck
        self._background: Final = background
        self._ending: Final = ending
        self._control: Final[deque[str]] = deque()
        self._requests: Final[dict[int, Subscribe]] = {}  # open, or being opened
        self._opening: Final[dict[int, asyncio.Task[None]]] = {}
        self._subscriptions: Final[dict[int, Subscription]] = {}
        self._tasks: Final[dict[int, asyncio.Task[None]]] = {}
        self._wake: Final = asyncio.Event()
        self._clock: Final = asyncio.get_running_loop().time
        self._opened_at: Final = self._clock()
        self._frame_tokens = float(FRAMES_PER_S)
        self._refilled_at = self._opened_at
        self._pong: StallTolerantDeadline | None = None
        self._ping_due = self._opened_at + limits.ping

    def wake(self) -> None:
        """Wake the writer."""
        self._wake.set()

    def start(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that feeds a subscription, until the subscription ends."""
        self._tasks[number] = asyncio.create_task(work)

    def end(self, ended: SocketClosedError) -> None:
        """Close the socket, unless it is being closed already."""
        if not self._ending.done():
            self._ending.set_result(ended)

    async def serve(self) -> SocketClosedError:
        """Serve the socket until it is closed, and return the reason."""
        loops = (self._read, self._write, self._recheck_rights, self._background)
        tasks = [asyncio.create_task(each()) for each in loops]
        watched: list[asyncio.Future[Any]] = [*tasks, self._ending]
        try:
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if self._ending in done:
                return self._ending.result()
            error = next(iter(done)).exception()
        finally:
            await self._stop(tasks)
        if isinstance(error, SocketClosedError):
            return error
        if isinstance(error, OSError):  # uvicorn raises one when the client has disconnected
            return SocketClosedError(1006, "client")
        _logger.error("a socket failed", exc_info=error)
        return SocketClosedError(1011, "error")

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        tasks += [*self._opening.values(), *self._tasks.values()]
        for number in list(self._requests):
            self._forget(number)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the client's frames ----------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code") or 1005
                raise SocketClosedError(code, "shutdown" if code == 1012 else "client")  # noqa: PLR2004
            self._count_frame()
            try:
                request = frames.parse(message.get("text") or "")
            except (BadFrameError, RequestError) as error:
                raise SocketClosedError(1008, "bad-frame") from error
            self._handle(request)

    def _count_frame(self) -> None:
        now = self._clock()
        earned = (now - self._refilled_at) * FRAMES_PER_S
        self._frame_tokens = min(self._frame_tokens + earned, float(FRAMES_PER_S)) - 1
        self._refilled_at = now
        if self._frame_tokens < 0:
            raise SocketClosedError(1008, "too-many-frames")

    def _handle(self, request: Subscribe | Unsubscribe | Pong) -> None:
        match request:
            case Pong():
                self._handle_pong()
            case Unsubscribe(id=number):
                self._forget(number)
                self._reply(frames.frame("end", number, reason="unsubscribed"))
            case Subscribe():
                self._subscribe(request)

    def _handle_pong(self) -> None:
        if self._pong is not None:
            self._pong = None
            self._ping_due = self._clock() + self._limits.ping
            self._wake.set()

    def _subscribe(self, request: Subscribe) -> None:
        try:
            self._check_limits(request)
        except BusyError as error:
            self._refuse(request.id, error.reason, str(error))
        else:
            self._requests[request.id] = request
            self._opening[request.id] = asyncio.create_task(self._open(request))

    def _check_limits(self, request: Subscribe) -> None:
        """Check the limits of subscriptions; those that are being opened count, too.

        Raises:
            BusyError: the id is in use, or a limit is reached.
        """
        if request.id in self._requests:
            raise BusyError("this id is in use", status=409, reason="Conflict")
        if len(self._requests) >= MAX_SUBSCRIPTIONS:
            raise BusyError(f"a page may have at most {MAX_SUBSCRIPTIONS} subscriptions")
        kinds, limit, noun = _LIMIT_OF_KIND.get(request.kind, (frozenset(), 1, ""))
        if sum(each.kind in kinds for each in self._requests.values()) >= limit:
            raise BusyError(f"a page may follow at most {limit} {noun}")

    async def _open(self, request: Subscribe) -> None:
        """Open a subscription. Leaves nothing behind when the client unsubscribes or the socket is closed."""
        try:
            async with StallTolerantTimeout(_OPEN_S):
                subscription = await self._opener(self, request)
        except RequestError as error:
            self._fail(request.id, error.reason, str(error))
        except TimeoutError:
            self._fail(request.id, "Timeout", "the API server does not respond; try again")
        except SocketClosedError as error:
            self.end(error)
        except Exception:
            _logger.exception("a subscription cannot be opened")
            self.end(SocketClosedError(1011, "error"))
        else:
            del self._opening[request.id]
            self._subscriptions[request.id] = subscription
            self.wake()

    def _fail(self, number: int, reason: str, message: str) -> None:
        del self._opening[number], self._requests[number]
        self._refuse(number, reason, message)

    def _refuse(self, number: int, reason: str, message: str) -> None:
        self._reply(frames.frame("error", number, reason=reason, message=message))

    def _reply(self, text: str) -> None:
        if len(self._control) >= _MAX_CONTROL:
            self.end(SocketClosedError(1008, "too-many-frames"))
            return
        self._control.append(text)
        self.wake()

    def _forget(self, number: int) -> None:
        self._requests.pop(number, None)
        for tasks in (self._opening, self._tasks):
            if (task := tasks.pop(number, None)) is not None:
                task.cancel()
        found = self._subscriptions.pop(number, None)
        if found is not None:
            found.close()

    # --- frames to the client ---------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            self._wake.clear()
            now = self._clock()
            self._check_deadlines(now)
            text, pause = self._next(now)
            if text is not None:
                await self._send(text)
                continue
            try:
                async with asyncio.timeout(min(self._until_next_check(now), pause)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _check_deadlines(self, now: float) -> None:
        if now - self._opened_at > self._limits.age:
            raise SocketClosedError(1008, "age")
        if self._pong is not None:
            if self._pong.has_passed(now):
                raise SocketClosedError(1011, "no-pong")
        elif now >= self._ping_due:
            self._pong = StallTolerantDeadline(self._limits.pong, now)
            self._control.append(frames.PING)

    def _until_next_check(self, now: float) -> float:
        """Return the seconds until the next ping is due, or until the next check for a pong."""
        return max(self._ping_due - now, 0.0) if self._pong is None else self._pong.interval

    def _next(self, now: float) -> tuple[str | None, float]:
        """Return the next frame, or the seconds to wait for one; subscriptions are served round-robin."""
        if self._control:
            return self._control.popleft(), 0.0
        pause = self._limits.ping
        for number, each in list(self._subscriptions.items()):
            wait = each.wait(now)
            if wait is None:
                continue
            if wait > 0:
                pause = min(pause, wait)
                continue
            text = each.frame(now)
            if each.is_over:
                self._forget(number)
            else:
                del self._subscriptions[number]
                self._subscriptions[number] = each  # moves it to the end
            return text, 0.0
        return None, pause

    async def _send(self, text: str) -> None:
        try:
            async with StallTolerantTimeout(self._limits.send):
                await self._send_message({"type": "websocket.send", "text": text})
        except TimeoutError as error:
            raise SocketClosedError(1013, "slow") from error

    async def _recheck_rights(self) -> None:
        while True:
            await asyncio.sleep(self._limits.recheck)
            if not await self._recheck():
                raise SocketClosedError(1008, "rights")
