"""Reads archives in at most four threads, with a deadline for each request.

A thread that reads from a hung volume cannot be interrupted. So a thread counts against the limit until it has ended,
not until its request has timed out. While all threads hang, further requests are rejected at once.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar

from trainingjob_console.concurrency import ConcurrencyLimit
from trainingjob_console.deadlines import StallTolerantTimeout
from trainingjob_console.errors import BusyError
from trainingjob_console.logs.archive import Archive

T = TypeVar("T")

THREADS: Final = 4
MAX_WAITING: Final = 64
_DEADLINE_S: Final = 20.0


class ArchiveReader:
    """Reads archives in four threads. At most 64 requests run or wait; further ones are rejected.

    One user has at most two threads, and a quarter of the requests.

    The threads are daemons: they end with the process even if the volume hangs.
    """

    def __init__(self, root: Path | None, *, deadline_s: float = _DEADLINE_S) -> None:
        """Initialize without reading anything.

        Args:
            root: of the log volume; None: no log volume.
            deadline_s: seconds for a request.
        """
        self._root: Final = root
        self._deadline_s: Final = deadline_s
        self._free: Final = asyncio.Semaphore(THREADS)
        self._requests: Final = ConcurrencyLimit(THREADS, MAX_WAITING - THREADS)
        self._hanging = 0  # threads whose requests have timed out or were cancelled

    @property
    def limit(self) -> int:
        """Maximum number of requests that run or wait."""
        return self._requests.limit

    def __len__(self) -> int:
        return len(self._requests)

    async def with_archive(self, uid: str, work: Callable[[Archive], T], *, user: str) -> T | None:
        """Call a function with a job's archive in a thread, and return its result; None: there is no archive.

        Args:
            uid: of the job.
            work: called with the archive.
            user: the user who reads: `Caller.user`.

        Raises:
            BusyError: the volume does not respond, or too many requests wait for it.
        """
        root = self._root
        if root is None:
            return None
        if self._hanging >= THREADS:
            raise BusyError(
                f"the log volume does not respond: {THREADS} reads hang, and no further one is started",
                retry_after_s=30,
            )
        slot = self._requests.slot(user, "too many archived logs are being read")
        try:
            async with StallTolerantTimeout(self._deadline_s), slot:
                await self._free.acquire()
                return await self._in_thread(lambda: _with_archive(root, uid, work))
        except TimeoutError as error:
            raise BusyError("the log volume does not respond", retry_after_s=10) from error
        except OSError as error:
            raise BusyError(
                f"the archived log cannot be read: {error.strerror}", retry_after_s=10
            ) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Call this in a thread, which counts against the limit until it has ended."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        given_up = False

        def end(result: T | None, error: BaseException | None) -> None:
            self._free.release()
            self._hanging -= given_up
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type] # it is a T without an error

        def run() -> None:
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - the request raises it
                failure = error
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(end, result, failure)

        try:
            Thread(target=run, name="archive", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise BusyError("no thread can be started: try again", retry_after_s=5) from error
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():  # else the thread has just ended
                given_up = True
                self._hanging += 1
            raise


def _with_archive(root: Path, uid: str, work: Callable[[Archive], T]) -> T | None:
    found = Archive.open(root, uid)
    if found is None:
        return None
    with found as archive:
        return work(archive)
