"""Reads and decodes response bodies of the API server within a memory limit for all of them together.

Users determine how large their objects are. Small responses are read without a limit on their number. Of large ones
a few are read at once and some wait; further ones are refused.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import aiohttp

from trainingjob_console.deadlines import StallTolerantTimeout
from trainingjob_console.errors import AnswerTooLargeError, ApiServerError, BusyError
from trainingjob_web.json_size import decoded_size

T = TypeVar("T")
Object = dict[str, Any]

LARGE: Final = 256 * 1024
"""The weight (estimated decoded bytes, see `trainingjob_web.json_size`) above which a response is large."""

_QUICK: Final = 16 * 1024
"""The weight up to which a response is decoded without a thread."""

LARGE_AT_ONCE: Final = 4
MAX_WAITING: Final = 24
"""Large responses that wait. Each holds a connection; more than half of the connections remain for small ones."""

PAGE_WEIGHT: Final = 4 * 1024 * 1024
"""The maximum weight of a page of a list, unless it is a single object."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""The maximum bytes of a single object; etcd accepts a tenth of that."""

_WAIT_S: Final = 5.0


class ResponseReader:
    """Reads response bodies, and reduces each to what is kept of it before it reads the next large one.

    Bound: `LARGE_AT_ONCE` large responses of `PAGE_WEIGHT` each; one of them may be a single object that
    weighs more. Each takes twice the memory of its text, and that of the decoded object.

    Attributes:
        limit: the maximum number of large responses that are read or wait.
    """

    def __init__(self, *, wait_s: float = _WAIT_S) -> None:
        """Create an idle reader.

        Args:
            wait_s: seconds that a large response waits at most.
        """
        self.limit: Final = LARGE_AT_ONCE + MAX_WAITING
        self._wait_s: Final = wait_s
        self._slots: Final = asyncio.Semaphore(LARGE_AT_ONCE)
        self._heavy: Final = asyncio.Semaphore(1)
        self._large = 0

    def __len__(self) -> int:
        """Return the number of large responses that are read or wait."""
        return self._large

    async def read(
        self,
        response: aiohttp.ClientResponse,
        convert: Callable[[Object], T],
        max_weight: int | None,
    ) -> tuple[T, int]:
        """Read a body to its end; return the result of `convert` on its object, and the body's weight.

        Args:
            response: a response whose headers have been received.
            convert: converts the object to what is kept of it; called in a thread unless the body is small.
            max_weight: the maximum weight of the body; None: it is a single object of at most `MAX_BYTES`.

        Raises:
            AnswerTooLargeError: the body is larger.
            BusyError: too many large responses are being read.
            ApiServerError: the body is not JSON.
        """
        body = _Body(response)
        if await body.read_until(LARGE):
            if body.weight <= _QUICK:
                return convert(body.decoded()), body.weight
            return await _in_thread(lambda: convert(body.decoded())), body.weight
        if self._large >= self.limit:
            raise _busy()
        self._large += 1
        try:
            async with self._slot(self._slots):
                if await body.read_until(max_weight or PAGE_WEIGHT):
                    return await _in_thread(lambda: convert(body.decoded())), body.weight
                if max_weight is not None:
                    raise AnswerTooLargeError(
                        f"the response takes more than {max_weight} bytes when decoded"
                    )
                async with self._slot(self._heavy):
                    await body.read_until(None)
                    return await _in_thread(lambda: convert(body.decoded())), body.weight
        finally:
            self._large -= 1

    @asynccontextmanager
    async def _slot(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        try:
            async with StallTolerantTimeout(self._wait_s):
                await slots.acquire()
        except TimeoutError as error:
            raise _busy() from error
        try:
            yield
        finally:
            slots.release()


class _Body:
    """A body that is being read.

    Attributes:
        weight: the weight of the data received so far.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response: Final = response
        self._data = bytearray()
        self.weight = 0

    async def read_until(self, max_weight: int | None) -> bool:
        """Continue reading; return True at the end of the body, False once it weighs more than `max_weight`.

        Raises:
            AnswerTooLargeError: the body has more than `MAX_BYTES`.
        """
        while max_weight is None or self.weight <= max_weight:
            piece = await self._response.content.readany()
            if not piece:
                return True
            self._data += piece
            self.weight += decoded_size(piece)
            if len(self._data) > MAX_BYTES:
                raise AnswerTooLargeError(f"the response is larger than {MAX_BYTES} bytes")
        return False

    def decoded(self) -> Object:
        """Return the JSON object in the body.

        Raises:
            ApiServerError: the body is not a JSON object.
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
        "too many large responses of the API server are being read: try again", retry_after_s=2
    )


async def _in_thread(work: Callable[[], T]) -> T:
    """Run the work in a thread. A cancellation waits for the thread, which holds memory until it ends."""
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
