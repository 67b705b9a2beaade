"""Runs blocking file calls in threads with a timeout, so that a hanging volume blocks only threads.

A call on a network file system whose server is unreachable can hang for ever, and cannot be
cancelled. So each file has its own thread, the only one to use it from opening to closing. Each call
has a timeout, after which its caller continues without it. The number of threads is limited; when
all of them hang, further calls fail at once. They are daemon threads: hanging ones do not keep the
process from exiting.

Bound: `limit` threads, hanging ones included; further callers wait for one within their timeout.
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
    """Do nothing: the default of `at_end` and `on_end`."""


class FileThreads:
    """Limits the number of threads, and counts hanging ones. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        """Start no thread yet.

        Args:
            limit: the most threads.
        """
        self.limit: Final = limit
        self.free: Final = asyncio.Semaphore(limit)
        self.used = 0
        self.hanging = 0

    async def call_once(self, call: Callable[[], T], *, deadline_s: float) -> T:
        """Run a single call in its own thread.

        Raises:
            VolumeError: it timed out, or every thread hangs.
            OSError: as the call raises it.
        """
        thread = FileThread(self)
        try:
            return await thread.call(call, deadline_s=deadline_s)
        finally:
            await thread.end(deadline_s=deadline_s)


class FileThread:
    """One thread for all calls on one file. It starts with the first call; the caller must `end` it.

    If a call times out or its caller is cancelled, the caller continues at once. The thread then
    accepts no further call, counts as hanging, and ends when the call returns.
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
            threads: the limit of threads.
            at_end: called in the thread when it ends, also after failed calls.
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
            call: the call; after the timeout it goes on, and its result is dropped.
            deadline_s: timeout in seconds, including the wait for a thread.

        Raises:
            VolumeError: it timed out, or every thread hangs.
            OSError: as the call raises it.
        """
        hanging = self._threads.hanging
        if self._is_late or (not self._is_started and hanging >= self._threads.limit):
            raise _unavailable(f"the volume hangs: {hanging} calls have not returned")
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
        """End the thread, and wait for that unless a call has timed out.

        Args:
            deadline_s: longest wait in seconds; the thread ends later by itself.
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
            del asked  # it may hold a chunk of a log, and the next call may come much later
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
    except BaseException as error:  # noqa: BLE001 - every error is passed to the caller
        fault = error
    with suppress(RuntimeError):  # the loop is closed: the process ends
        loop.call_soon_threadsafe(_settle, answer, result, fault)


def _settle(answer: asyncio.Future[T], result: T | None, fault: BaseException | None) -> None:
    if fault is not None:
        answer.set_exception(fault)
        answer.exception()  # mark it as retrieved: its caller may have timed out
    else:
        answer.set_result(result)  # type: ignore[arg-type]


def _unavailable(message: str) -> VolumeError:
    return VolumeError(message, reason=REASON_VOLUME_UNAVAILABLE)
