"""Threads for files: a volume that hangs holds some of them, and nobody else.

A call to a network file system whose server is gone can hang for ever, and nothing ends it. So each
call has a thread of its own and a deadline, after which its caller goes on without it; and there
are only so many threads. When all of them hang, further calls fail at once. The threads end with
the process, whether they hang or not.

Bound: `limit` threads, hanging ones included; further callers wait for one within their deadline.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from trainingjob_api.constants import REASON_VOLUME_UNAVAILABLE
from trainingjob_api.errors import VolumeError

T = TypeVar("T")


class FileThreads:
    """Runs blocking calls. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        """Make no thread yet.

        Args:
            limit: threads at most.
        """
        self.limit: Final = limit
        self._free: Final = asyncio.Semaphore(limit)
        self.used = 0
        self.hanging = 0

    async def run(
        self,
        call: Callable[[], T],
        *,
        deadline_s: float,
        on_start: Callable[[], None] = lambda: None,
    ) -> T:
        """Run a call in a thread.

        Args:
            call: what to run; when it is late it goes on, and what it returns is dropped.
            deadline_s: how long to wait for it, in seconds.
            on_start: called when the call is certain to be run.

        Raises:
            VolumeError: it was not done in time, or every thread hangs.
            OSError: as the call raises it.
        """
        if self.hanging >= self.limit:
            raise _unavailable(f"the volume hangs: {self.hanging} calls have not come back")
        answer: asyncio.Future[T] | None = None
        try:
            async with asyncio.timeout(deadline_s):
                await self._free.acquire()
                on_start()
                answer = self._start(call)
                return await asyncio.shield(answer)
        except TimeoutError as error:
            raise _unavailable(f"the volume did not answer within {deadline_s:g} s") from error
        finally:
            if answer is not None and not answer.done():
                self._note_late(answer)

    def _start(self, call: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self.used += 1

        def tell(result: T | None, error: BaseException | None) -> None:
            self.used -= 1
            self._free.release()
            if error is not None:
                answer.set_exception(error)
                answer.exception()  # nobody may be there any more to hear of it
            else:
                answer.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, fault = None, None
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
                fault = error
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(tell, result, fault)

        threading.Thread(target=work, name="volume", daemon=True).start()
        return answer

    def _note_late(self, answer: asyncio.Future[T]) -> None:
        self.hanging += 1

        def back(_: asyncio.Future[T]) -> None:
            self.hanging -= 1

        answer.add_done_callback(back)


def _unavailable(message: str) -> VolumeError:
    return VolumeError(message, reason=REASON_VOLUME_UNAVAILABLE)
