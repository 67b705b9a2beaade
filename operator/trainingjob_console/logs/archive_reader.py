"""Reads archives in threads: at most four, whatever the volume does, and a deadline for each request.

A volume that hangs holds a thread for as long as it hangs, and nothing can end that. So a thread is
counted until it has ended, not until its request was answered. While all of them hang, requests
are refused at once.
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
_CALL_S: Final = 20.0


class ArchiveReader:
    """Reads archives in four threads. At most 64 requests wait or are worked on; then one is refused.

    One user has two threads at most, and a quarter of the requests.

    The threads end with the process, also where the volume hangs.
    """

    def __init__(self, root: Path | None, *, deadline_s: float = _CALL_S) -> None:
        """Read nothing yet.

        Args:
            root: of the log volume; None: there is none.
            deadline_s: seconds for a request.
        """
        self._root: Final = root
        self._deadline_s: Final = deadline_s
        self._free: Final = asyncio.Semaphore(THREADS)
        self._requests: Final = ConcurrencyLimit(THREADS, MAX_WAITING - THREADS)
        self._hanging = 0  # threads whose requests have been given up

    @property
    def limit(self) -> int:
        """Requests that wait or are worked on, at most."""
        return self._requests.limit

    def __len__(self) -> int:
        return len(self._requests)

    async def with_archive(self, uid: str, work: Callable[[Archive], T], *, user: str) -> T | None:
        """Return what is made of a job's archive, in a thread; None: there is none.

        Args:
            uid: of the job.
            work: makes it.
            user: who asks: `Caller.user`.

        Raises:
            BusyError: the volume does not answer, or too many wait for it.
        """
        root = self._root
        if root is None:
            return None
        if self._hanging >= THREADS:
            raise BusyError(
                f"the log volume does not answer: {THREADS} reads hang, and no further one is begun",
                retry_after_s=30,
            )
        slot = self._requests.slot(user, "too many archived logs are being read")
        try:
            async with StallTolerantTimeout(self._deadline_s), slot:
                await self._free.acquire()
                return await self._in_thread(lambda: _with_archive(root, uid, work))
        except TimeoutError as error:
            raise BusyError("the log volume does not answer", retry_after_s=10) from error
        except OSError as error:
            raise BusyError(
                f"the archived log cannot be read: {error.strerror}", retry_after_s=10
            ) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do this in a thread, which gives its place back when it has ended."""
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
            with suppress(RuntimeError):  # the loop has gone
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
