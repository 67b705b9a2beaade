"""Batches writes (group commit): commits waiting records in one transaction, then responds to each.

A commit waits for the disk. With one commit for each record, every sender would wait for all senders
before it. Here the next batch fills while the disk is busy. Senders that have just received a
response get a moment to send their next record.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from trainingjob_records.errors import RequestError, UnavailableError
from trainingjob_records.record import Entry
from trainingjob_records.writes import Outcome

_QUEUE_RETRY_AFTER_S: Final = 1
_COMMIT_RETRY_AFTER_S: Final = 5
_GATHER_S: Final = 0.01
"""How long a batch waits to become as large as the last one. A single sender never waits."""

_BATCH_BYTES: Final = 8 * 1024 * 1024
_logger = logging.getLogger(__name__)


Store = Callable[[Sequence[Entry]], Awaitable[list[Outcome]]]
"""Commits entries of different uids; when it returns, they are committed with these outcomes."""


class _Waiting:
    """A record and the request that waits for it."""

    __slots__ = ("answer", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def succeed(self, outcome: Outcome) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # Its request may have been cancelled; asyncio would warn about an unread exception.
            self.answer.exception()


class BatchWriter:
    """The only writer of the process.

    Bounds: at most `max_records` and `max_bytes` wait; at the limit a request is refused with
    `UnavailableError`, and its sender retries. A batch has at most `batch_records` records and
    8 MiB, or is one record of any size.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_records: int,
        max_bytes: int,
        batch_records: int,
        commit_timeout_s: float,
    ) -> None:
        self._store: Final = store
        self._batch_records: Final = batch_records
        self._commit_timeout_s: Final = commit_timeout_s
        self._queue: Final[deque[_Waiting]] = deque()
        self._wake: Final = asyncio.Event()
        self._bytes = 0
        # The size of the last batch: that many senders are likely to send again.
        self._last_batch = 1
        self._complete: Final = asyncio.Event()
        self.max_records: Final = max_records
        self.max_bytes: Final = max_bytes

    @property
    def waiting(self) -> int:
        """Records that wait for their commit to begin."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for their commit to begin."""
        return self._bytes

    async def write(self, entry: Entry) -> Outcome:
        """Store a record; when this returns, it is committed.

        Raises:
            UnavailableError: the record was not committed, or not in time; it may still be committed.
        """
        if len(self._queue) >= self.max_records or self._bytes + entry.size > self.max_bytes:
            raise UnavailableError(
                f"the queue is full: {len(self._queue)} records wait for the database",
                retry_after_s=_QUEUE_RETRY_AFTER_S,
            )
        waiting = _Waiting(entry)
        self._queue.append(waiting)
        self._bytes += entry.size
        self._wake.set()
        if len(self._queue) >= self._last_batch:
            self._complete.set()
        try:
            async with asyncio.timeout(self._commit_timeout_s):
                return await asyncio.shield(waiting.answer)
        except TimeoutError as error:
            raise UnavailableError(
                f"the database has not committed within {self._commit_timeout_s:g} s",
                retry_after_s=_COMMIT_RETRY_AFTER_S,
            ) from error

    async def keep_writing(self) -> None:
        """Commit the waiting records, until cancelled."""
        while True:
            await self._wake.wait()
            while self._queue:
                await self._gather()
                batch = self._next_batch()
                self._last_batch = len(batch)
                await self._commit(batch)
            self._wake.clear()

    async def _gather(self) -> None:
        """Wait a moment for the senders of the last batch to send again."""
        self._complete.clear()
        if len(self._queue) >= self._last_batch:
            return
        try:
            async with asyncio.timeout(_GATHER_S):
                await self._complete.wait()
        except TimeoutError:
            pass

    def _next_batch(self) -> list[_Waiting]:
        """Dequeue the oldest entries that fit into one transaction, each uid once; keep the others' order."""
        batch: dict[str, _Waiting] = {}
        size = 0
        again: list[_Waiting] = []
        while self._queue and len(batch) < self._batch_records:
            waiting = self._queue[0]
            if batch and size + waiting.entry.size > _BATCH_BYTES:
                break
            self._queue.popleft()
            if waiting.entry.uid in batch:
                again.append(waiting)
                continue
            batch[waiting.entry.uid] = waiting
            size += waiting.entry.size
        self._queue.extendleft(reversed(again))
        self._bytes -= size
        return list(batch.values())

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = await self._store([waiting.entry for waiting in batch])
        except RequestError as error:
            for waiting in batch:
                waiting.fail(error)
        except SQLAlchemyError as error:
            await self._isolate(batch, error)
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.succeed(outcome)

    async def _isolate(self, batch: list[_Waiting], error: SQLAlchemyError) -> None:
        """Commit each record on its own, because the database refuses one of them."""
        if len(batch) == 1:
            _logger.error("record %s: the database refuses it: %s", batch[0].entry.uid, error)
            batch[0].fail(error)
            return
        for waiting in batch:
            await self._commit([waiting])
