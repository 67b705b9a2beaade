"""Threads for files: a volume that hangs holds some of them, and nothing else.

A call to a network file system whose server is gone can hang for ever, and nothing ends it. So each
file has a thread of its own, which alone touches it from opening to closing, and each call has a
deadline, after which its caller goes on without it. There are only so many threads. When all of
them hang, further calls fail at once. The threads end with the process, whether they hang or not.

Bound: `limit` threads, hanging ones included; further callers wait for one within their deadline.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from trainingjob_api.constants import REASON_VOLUME_UNAVAILABLE
from trainingjob_api.errors import VolumeError

T = TypeVar("T")


def _nothing() -> None:
    """There is nothing to do at the end."""


class FileThreads:
    """The threads that there may be. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        """Make no thread yet.

        Args:
            limit: threads at most.
        """
        self.limit: Final = limit
        self.free: Final = asyncio.Semaphore(limit)
        self.used = 0
        self.hanging = 0

    async def call_once(self, call: Callable[[], T], *, deadline_s: float) -> T:
        """Run one call in a thread of its own.

        Raises:
            VolumeError: it was not done in time, or every thread hangs.
            OSError: as the call raises it.
        """
        thread = FileThread(self)
        try:
            return await thread.call(call, deadline_s=deadline_s)
        finally:
            await thread.end(deadline_s=deadline_s)


class FileThread:
    """One thread, for all calls on one file. It starts with the first call; `end` it.

    A caller whose call is late, or that is cancelled, goes on at once. The thread then takes no
    further call, counts as hanging, and ends when the call comes back.
    """

    def __init__(
        self,
        threads: FileThreads,
        *,
        at_end: Callable[[], None] = _nothing,
        on_end: Callable[[], None] = _nothing,
    ) -> None:
        """Start nothing yet.

        Args:
            threads: those that there may be.
            at_end: called in the thread when it ends, however its calls went.
            on_end: called in the event loop when it has ended, or was never started.
        """
        self._threads: Final = threads
        self._at_end: Final = at_end
        self._on_end: Final = on_end
        self._calls: Final[SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None]] = (
            SimpleQueue()
        )
        self._ended: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._is_started = False
        self._is_late = False

    async def call(self, call: Callable[[], T], *, deadline_s: float) -> T:
        """Run a call in the thread.

        Args:
            call: what to run; when it is late it goes on, and what it returns is dropped.
            deadline_s: how long to wait for it, and for a thread, in seconds.

        Raises:
            VolumeError: it was not done in time, or every thread hangs.
            OSError: as the call raises it.
        """
        hanging = self._threads.hanging
        if self._is_late or (not self._is_started and hanging >= self._threads.limit):
            raise _unavailable(f"the volume hangs: {hanging} calls have not come back")
        try:
            async with asyncio.timeout(deadline_s):
                if not self._is_started:
                    await self._start()
                answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
                self._calls.put((call, answer))
                return await self._wait_for(answer)
        except TimeoutError as error:
            raise _unavailable(f"the volume did not answer within {deadline_s:g} s") from error

    async def end(self, *, deadline_s: float) -> None:
        """Have the thread end, and wait for that unless a call is late.

        Args:
            deadline_s: how long to wait, in seconds; then it ends without being waited for.
        """
        if not self._is_started:
            self._on_end()
            return
        self._calls.put(None)
        if not self._is_late:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await self._wait_for(self._ended)

    async def _wait_for(self, answer: asyncio.Future[T]) -> T:
        try:
            return await asyncio.shield(answer)
        finally:
            if not answer.done():
                self._is_late = True
                self._threads.hanging += 1

    async def _start(self) -> None:
        await self._threads.free.acquire()
        loop = asyncio.get_running_loop()
        try:
            threading.Thread(target=self._work, args=(loop,), name="volume", daemon=True).start()
        except BaseException:
            self._threads.free.release()
            raise
        self._is_started = True
        self._threads.used += 1

    def _finish(self) -> None:
        self._threads.hanging -= self._is_late
        self._threads.used -= 1
        self._threads.free.release()
        self._on_end()
        self._ended.set_result(None)

    # --- in the thread ------------------------------------------------------------------------

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (asked := self._calls.get()) is not None:
            _answer(loop, *asked)
            del asked  # it may hold a part of a log, and the next one may be long in coming
        try:
            with suppress(OSError):
                self._at_end()
        finally:
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(self._finish)


def _answer(
    loop: asyncio.AbstractEventLoop, call: Callable[[], T], answer: asyncio.Future[T]
) -> None:
    result, fault = None, None
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
        fault = error
    with suppress(RuntimeError):  # the loop is closed: the process ends
        loop.call_soon_threadsafe(_settle, answer, result, fault)


def _settle(answer: asyncio.Future[T], result: T | None, fault: BaseException | None) -> None:
    if fault is not None:
        answer.set_exception(fault)
        answer.exception()  # its caller may have gone on without it
    else:
        answer.set_result(result)  # type: ignore[arg-type]


def _unavailable(message: str) -> VolumeError:
    return VolumeError(message, reason=REASON_VOLUME_UNAVAILABLE)
