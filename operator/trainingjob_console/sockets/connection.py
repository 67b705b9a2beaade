"""One socket: a task that reads, one that writes, one that looks whether the user may still be here.

What is subscribed to is opened by a task of its own, `MAX_SUBSCRIPTIONS` at most: the API server, which is
asked for rights, may take its time, and the client's other frames do not wait for it.
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
"""For the rooms to say yes or no to a subscription."""

REASONS: Final = (
    *("client", "shutdown", "logged-out", "rights", "age"),
    *("slow", "no-pong", "bad-frame", "too-many-frames", "error"),
)
"""The reasons for which a socket ends."""

_LISTS: Final = (frozenset({"jobs", "job"}), MAX_JOBS_SUBSCRIPTIONS, "lists")
_MOST: Final = {
    "jobs": _LISTS,
    "job": _LISTS,
    "logs": (frozenset({"logs"}), MAX_LOG_SUBSCRIPTIONS, "logs"),
}
"""By the kind of a subscription: the kinds that count together, how many there may be, and what they are."""

_MAX_CONTROL: Final = 32
"""Frames that answer the client and wait; with more the socket is closed."""

_logger = logging.getLogger(__name__)


class SocketClosedError(Exception):
    """The socket is at its end, by our decision or the client's.

    Attributes:
        code: of the close frame.
        reason: a word, which is counted.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connection:
    """A socket that was accepted."""

    def __init__(
        self,
        *,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        limits: Limits,
        opener: Opener,
        recheck: Callable[[], Awaitable[bool]],
        beside: Callable[[], Coroutine[Any, Any, None]],
        ending: "asyncio.Future[SocketClosedError]",
    ) -> None:
        """Begin nothing yet.

        Args:
            receive: of ASGI.
            send: likewise.
            limits: of the hub.
            opener: makes what a subscription asks for. Raises RequestError, or SocketClosedError where it is
                the end of the socket.
            recheck: returns True if the user may still be here.
            beside: what else is done for as long as the socket lives; it does not end by itself.
            ending: done once others want the socket to end, with the reason.
        """
        self._receive: Final = receive
        self._send_message: Final = send
        self._limits: Final = limits
        self._opener: Final = opener
        self._recheck: Final = recheck
        self._beside: Final = beside
        self._ending: Final = ending
        self._control: Final[deque[str]] = deque()
        self._asked: Final[dict[int, Subscribe]] = {}  # what is open, or being opened
        self._opening: Final[dict[int, asyncio.Task[None]]] = {}
        self._subscriptions: Final[dict[int, Subscription]] = {}
        self._tasks: Final[dict[int, asyncio.Task[None]]] = {}
        self._wake: Final = asyncio.Event()
        self._clock: Final = asyncio.get_running_loop().time
        self._begun: Final = self._clock()
        self._allowance = float(FRAMES_PER_S)
        self._allowed_at = self._begun
        self._pong: StallTolerantDeadline | None = None
        self._ping_due = self._begun + limits.ping

    def wake(self) -> None:
        """Have the writer look again."""
        self._wake.set()

    def start(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        """Run what a subscription needs beside its queue, for as long as it lives."""
        self._tasks[number] = asyncio.create_task(work)

    def end(self, ended: SocketClosedError) -> None:
        """End the socket, unless it is ending."""
        if not self._ending.done():
            self._ending.set_result(ended)

    async def live(self) -> SocketClosedError:
        """Serve the socket until its end, and return why it came."""
        works = (self._read, self._write, self._watch, self._beside)
        tasks = [asyncio.create_task(each()) for each in works]
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
        if isinstance(error, OSError):  # uvicorn's word for a client that is gone is one
            return SocketClosedError(1006, "client")
        _logger.error("a socket failed", exc_info=error)
        return SocketClosedError(1011, "error")

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        tasks += [*self._opening.values(), *self._tasks.values()]
        for number in list(self._asked):
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
                asked = frames.parse(message.get("text") or "")
            except (BadFrameError, RequestError) as error:
                raise SocketClosedError(1008, "bad-frame") from error
            self._answer(asked)

    def _count_frame(self) -> None:
        now = self._clock()
        earned = (now - self._allowed_at) * FRAMES_PER_S
        self._allowance = min(self._allowance + earned, float(FRAMES_PER_S)) - 1
        self._allowed_at = now
        if self._allowance < 0:
            raise SocketClosedError(1008, "too-many-frames")

    def _answer(self, asked: Subscribe | Unsubscribe | Pong) -> None:
        match asked:
            case Pong():
                self._take_pong()
            case Unsubscribe(id=number):
                self._forget(number)
                self._say(frames.frame("end", number, reason="unsubscribed"))
            case Subscribe():
                self._subscribe(asked)

    def _take_pong(self) -> None:
        if self._pong is not None:
            self._pong = None
            self._ping_due = self._clock() + self._limits.ping
            self._wake.set()

    def _subscribe(self, asked: Subscribe) -> None:
        try:
            self._check_room(asked)
        except BusyError as error:
            self._refuse(asked.id, error.reason, str(error))
        else:
            self._asked[asked.id] = asked
            self._opening[asked.id] = asyncio.create_task(self._open(asked))

    def _check_room(self, asked: Subscribe) -> None:
        """Return if there may be one more of this kind; those that are being opened count, too.

        Raises:
            BusyError: there may not.
        """
        if asked.id in self._asked:
            raise BusyError("this id is in use", status=409, reason="Conflict")
        if len(self._asked) >= MAX_SUBSCRIPTIONS:
            raise BusyError(f"a page has {MAX_SUBSCRIPTIONS} subscriptions at most")
        kinds, most, words = _MOST.get(asked.kind, (frozenset(), 1, ""))
        if sum(each.kind in kinds for each in self._asked.values()) >= most:
            raise BusyError(f"a page follows {most} {words} at most")

    async def _open(self, asked: Subscribe) -> None:
        """Open it. Cancelled by the client's wish or the socket's end, it leaves nothing."""
        try:
            async with StallTolerantTimeout(_OPEN_S):
                made = await self._opener(self, asked)
        except RequestError as error:
            self._give_up(asked.id, error.reason, str(error))
        except TimeoutError:
            self._give_up(asked.id, "Timeout", "the API server does not answer; try again")
        except SocketClosedError as error:
            self.end(error)
        except Exception:
            _logger.exception("a subscription cannot be opened")
            self.end(SocketClosedError(1011, "error"))
        else:
            del self._opening[asked.id]
            self._subscriptions[asked.id] = made
            self.wake()

    def _give_up(self, number: int, reason: str, message: str) -> None:
        del self._opening[number], self._asked[number]
        self._refuse(number, reason, message)

    def _refuse(self, number: int, reason: str, message: str) -> None:
        self._say(frames.frame("error", number, reason=reason, message=message))

    def _say(self, text: str) -> None:
        if len(self._control) >= _MAX_CONTROL:
            self.end(SocketClosedError(1008, "too-many-frames"))
            return
        self._control.append(text)
        self.wake()

    def _forget(self, number: int) -> None:
        self._asked.pop(number, None)
        for tasks in (self._opening, self._tasks):
            if (task := tasks.pop(number, None)) is not None:
                task.cancel()
        found = self._subscriptions.pop(number, None)
        if found is not None:
            found.close()

    # --- our frames -------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            self._wake.clear()
            now = self._clock()
            self._check_times(now)
            text, pause = self._next(now)
            if text is not None:
                await self._send(text)
                continue
            try:
                async with asyncio.timeout(min(self._until_look(now), pause)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _check_times(self, now: float) -> None:
        if now - self._begun > self._limits.age:
            raise SocketClosedError(1008, "age")
        if self._pong is not None:
            if self._pong.has_passed(now):
                raise SocketClosedError(1011, "no-pong")
        elif now >= self._ping_due:
            self._pong = StallTolerantDeadline(self._limits.pong, now)
            self._control.append(frames.PING)

    def _until_look(self, now: float) -> float:
        """Return the seconds until the next ping is due, or until the answer to the last is looked for."""
        return max(self._ping_due - now, 0.0) if self._pong is None else self._pong.interval

    def _next(self, now: float) -> tuple[str | None, float]:
        """Return the next frame, or how long to wait for one; no subscription waits for another."""
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
                self._subscriptions[number] = each  # behind all others
            return text, 0.0
        return None, pause

    async def _send(self, text: str) -> None:
        try:
            async with StallTolerantTimeout(self._limits.send):
                await self._send_message({"type": "websocket.send", "text": text})
        except TimeoutError as error:
            raise SocketClosedError(1013, "slow") from error

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._limits.recheck)
            if not await self._recheck():
                raise SocketClosedError(1008, "rights")
