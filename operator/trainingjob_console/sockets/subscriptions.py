"""Subscriptions of a WebSocket to jobs, logs and samples: each encodes the entries of its queue as frames."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from trainingjob_console.access.caller import Caller
from trainingjob_console.jobs.fair_scheduler import Work
from trainingjob_console.sockets import frames
from trainingjob_console.sockets.coalescing_queue import CoalescingQueue
from trainingjob_console.sockets.job_topics import JobTopics, Topic, TopicKey
from trainingjob_console.sockets.log_ring import Gap, LogRing


class Subscription(Protocol):
    """A subscription of a socket."""

    is_over: bool
    """True once the last frame has been returned."""

    def wait(self, now: float) -> float | None:
        """Return the seconds until a frame is due; None: nothing is queued."""
        ...

    def frame(self, now: float) -> str:
        """Remove the next entry from the queue, and return its frame."""
        ...

    def close(self) -> None:
        """Unsubscribe, and drop the queue."""
        ...


class LogSource(Protocol):
    """Follows logs of jobs."""

    async def follow(
        self,
        caller: Caller,
        uid: str,
        source: str,
        offset: int,
        ring: LogRing,
        *,
        file: str = "",
        places: Sequence[str] = (),
    ) -> str:
        """Follow a log from an offset, or from positions of ranks, into a ring, and return the end reason.

        Raises:
            RequestError: there is no such log, the user may not read it, or too many logs are being read.
        """
        ...


class SampleSource(Protocol):
    """Sends the newest sample of the operators' metrics."""

    def join(self, queue: CoalescingQueue) -> None:
        """Send the newest sample to a queue, and each later one."""
        ...

    def leave(self, queue: CoalescingQueue) -> None:
        """Stop sending to a queue."""
        ...


class JobsSubscription:
    """Sends the latest change of each job, at most one frame per `coalesce` seconds."""

    def __init__(
        self,
        number: int,
        key: TopicKey,
        topics: JobTopics,
        queue: CoalescingQueue,
        *,
        coalesce: float,
    ) -> None:
        self.is_over = False
        self._number: Final = number
        self._key: Final = key
        self._topics: Final = topics
        self._queue: Final = queue
        self._coalesce: Final = coalesce
        self._next_frame_at = 0.0
        self._topic: Topic | None = None

    def join(self, position: str | None) -> Work[None]:
        """Start at a position. No frame may be taken before this has finished."""
        self._topic = yield from self._topics.join(self._key, position, self._queue)

    @property
    def namespaces(self) -> frozenset[str] | None:
        """The permitted namespaces; None: all."""
        return self._key.namespaces

    def recheck(self, allowed: frozenset[str] | None) -> None:
        """Make the client reload its page if the permitted namespaces have changed.

        Args:
            allowed: those of `namespaces` that are still permitted, and newly permitted ones; None: all.
        """
        if allowed != self._key.namespaces:
            self._queue.cut()

    def wait(self, now: float) -> float | None:
        """Return the seconds until a frame is due; None: nothing is queued."""
        if self._queue.is_broken:
            return 0.0
        return max(self._next_frame_at - now, 0.0) if len(self._queue) else None

    def frame(self, now: float) -> str:
        """Remove the next entry from the queue, and return its frame."""
        batch = self._queue.take()
        if self._queue.is_broken or batch is None:
            self.is_over = True
            return frames.frame("resync", self._number)
        assert self._topic is not None
        self._next_frame_at = now + self._coalesce
        seq = self._topics.index.position
        return frames.delta(self._number, seq, batch.rows, batch.gone, self._topic.counts)

    def close(self) -> None:
        """Leave the topic, and drop the queue."""
        self.is_over = True
        self._topics.leave(self._key, self._queue)
        self._queue.close()


class LogSubscription:
    """Sends the chunks of a log, its gaps, and finally the end reason."""

    def __init__(self, number: int, epoch: str, ring: LogRing) -> None:
        self.is_over = False
        self._number: Final = number
        self._epoch: Final = epoch
        self._ring: Final = ring
        self._last: str | None = None

    def end(self, frame: str) -> None:
        """Send this frame after all queued chunks, as the last one."""
        self._last = frame

    def wait(self, now: float) -> float | None:
        """Return the seconds until a frame is due; None: nothing is queued."""
        return None if self._ring.is_empty and self._last is None else 0.0

    def frame(self, now: float) -> str:
        """Remove the next entry from the queue, and return its frame."""
        found = self._ring.take()
        if isinstance(found, Gap):
            return frames.frame(
                "gap", self._number, **{"from": found.start, "to": found.end, "lines": found.lines}
            )
        if found is not None:
            seq = f"{self._epoch}:{found.next_offset}"
            return frames.log(self._number, seq, found)
        assert self._last is not None
        self.is_over = True
        return self._last

    def close(self) -> None:
        """Drop the queue."""
        self.is_over = True
        self._ring.close()


class SampleSubscription:
    """Sends the newest sample; a slow client skips older ones."""

    def __init__(
        self, number: int, queue: CoalescingQueue, leave: Callable[[CoalescingQueue], None]
    ) -> None:
        self.is_over = False
        self._number: Final = number
        self._queue: Final = queue
        self._leave: Final = leave

    def cut(self) -> None:
        """Make the client subscribe again, which is rejected if it is no longer authorized."""
        if not self.is_over:
            self._queue.cut()

    def wait(self, now: float) -> float | None:
        """Return the seconds until a frame is due; None: nothing is queued."""
        return 0.0 if len(self._queue) or self._queue.is_broken else None

    def frame(self, now: float) -> str:
        """Remove the next entry from the queue, and return its frame."""
        batch = self._queue.take()
        if batch is None:
            self.is_over = True
            return frames.frame("resync", self._number)
        return f'{{"type":"delta","id":{self._number},{batch.rows[0]}}}'

    def close(self) -> None:
        """Leave the source, and drop the queue."""
        self.is_over = True
        self._leave(self._queue)
        self._queue.close()
