"""Reads the bodies of answers, such that their sum stays small however large each may be.

How large an object is, its user decides. Small answers are read as they come. Of those that turn out
to be large a few are read at once; some wait for their turn, and the others are refused.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import aiohttp

from trainingjob_console.errors import AnswerTooLargeError, ApiServerError, BusyError
from trainingjob_web.json_size import decoded_size

T = TypeVar("T")
Object = dict[str, Any]

LARGE: Final = 256 * 1024
"""Weight from which on an answer is large; see `trainingjob_web.json_size`."""

_QUICK: Final = 16 * 1024
"""Weight up to which no thread is worth while."""

LARGE_AT_ONCE: Final = 4
MAX_WAITING: Final = 24
"""Large answers that wait: each holds a connection, and more than half of those are for small ones."""

PAGE_WEIGHT: Final = 4 * 1024 * 1024
"""The most that a page of a list may weigh, unless it is a single object."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a single object; what etcd takes is a tenth of it."""

_WAIT_S: Final = 5.0


class ResponseReader:
    """Reads bodies, and makes of each what is kept of it before another has its turn.

    Bound: `LARGE_AT_ONCE` large answers, of `PAGE_WEIGHT` each; one of them may be a single object that
    weighs more. Of each there are its text twice and what is decoded of it.

    Attributes:
        limit: large answers that are read, or wait, at most.
    """

    def __init__(self, *, wait_s: float = _WAIT_S) -> None:
        """Read nothing yet.

        Args:
            wait_s: seconds for which a large answer waits at most.
        """
        self.limit: Final = LARGE_AT_ONCE + MAX_WAITING
        self._wait_s: Final = wait_s
        self._places: Final = asyncio.Semaphore(LARGE_AT_ONCE)
        self._heavy: Final = asyncio.Semaphore(1)
        self._large = 0

    def __len__(self) -> int:
        """Return how many large answers are read, or wait."""
        return self._large

    async def read(
        self, response: aiohttp.ClientResponse, make: Callable[[Object], T], most: int | None
    ) -> tuple[T, int]:
        """Read a body to its end; return what is made of the object in it, and what the body weighs.

        Args:
            response: its headers are there.
            make: makes of the object what is kept; it is called in a thread, unless the body is small.
            most: what the body may weigh; None: it is one object, of `MAX_BYTES` at most.

        Raises:
            AnswerTooLargeError: it is larger.
            BusyError: too many large ones are being read.
            ApiServerError: it is no JSON.
        """
        body = _Body(response)
        if await body.read_until(LARGE):
            if body.weight <= _QUICK:
                return make(body.decoded()), body.weight
            return await _in_thread(lambda: make(body.decoded())), body.weight
        if self._large >= self.limit:
            raise _busy()
        self._large += 1
        try:
            async with self._turn(self._places):
                if await body.read_until(most or PAGE_WEIGHT):
                    return await _in_thread(lambda: make(body.decoded())), body.weight
                if most is not None:
                    raise AnswerTooLargeError(f"the answer weighs more than {most} bytes")
                async with self._turn(self._heavy):
                    await body.read_until(None)
                    return await _in_thread(lambda: make(body.decoded())), body.weight
        finally:
            self._large -= 1

    @asynccontextmanager
    async def _turn(self, places: asyncio.Semaphore) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_s):
                await places.acquire()
        except TimeoutError as error:
            raise _busy() from error
        try:
            yield
        finally:
            places.release()


class _Body:
    """A body that is being read.

    Attributes:
        weight: of what has come.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response: Final = response
        self._data = bytearray()
        self.weight = 0

    async def read_until(self, most: int | None) -> bool:
        """Read on. True: this was the end; False: it weighs more than `most`.

        Raises:
            AnswerTooLargeError: it has more than `MAX_BYTES`.
        """
        while most is None or self.weight <= most:
            piece = await self._response.content.readany()
            if not piece:
                return True
            self._data += piece
            self.weight += decoded_size(piece)
            if len(self._data) > MAX_BYTES:
                raise AnswerTooLargeError(f"the answer is larger than {MAX_BYTES} bytes")
        return False

    def decoded(self) -> Object:
        """Return the object in it.

        Raises:
            ApiServerError: there is none.
        """
        try:
            found = json.loads(self._data)
        except ValueError as error:
            raise ApiServerError("the API server does not answer in JSON") from error
        if not isinstance(found, dict):
            raise ApiServerError("the API server does not answer with an object")
        return found


def _busy() -> BusyError:
    return BusyError(
        "too many large answers of the API server are being read: try again", retry_after_s=2
    )


async def _in_thread(work: Callable[[], T]) -> T:
    """Return what the work returns. A cancellation waits for its end: until then it holds memory."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    given_up: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            given_up = error
    if given_up is not None:
        running.exception()
        raise given_up
    return running.result()
