"""What a socket is sent about each thing it subscribed to: the queue, and the frames made of it."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from trainingjob_console.access.caller import Caller
from trainingjob_console.jobs.fair_scheduler import Work
from trainingjob_console.sockets import frames
from trainingjob_console.sockets.coalescing_queue import CoalescingQueue
from trainingjob_console.sockets.job_topics import JobTopics, Topic, TopicKey
from trainingjob_console.sockets.log_ring import Gap, LogRing


class Subscription(Protocol):
    """One thing that a socket is sent."""

    is_over: bool
    """True once the last frame has been taken."""

    def wait(self, now: float) -> float | None:
        """Return the seconds until a frame is due; None: nothing waits."""
        ...

    def frame(self, now: float) -> str:
        """Return the frame that is due, which leaves the queue."""
        ...

    def close(self) -> None:
        """Leave the topics, and forget what waits."""
        ...


class LogSource(Protocol):
    """The logs that are being written."""

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
        """Put what is written from an offset, or from places of ranks, on into a ring, and return why it ended.

        Raises:
            RequestError: there is no such log, the user may not read it, or too many are read.
        """
        ...


class SampleSource(Protocol):
    """The newest sample, which replaces all before it."""

    def join(self, queue: CoalescingQueue) -> None:
        """Send a queue the newest, and each that follows."""
        ...

    def leave(self, queue: CoalescingQueue) -> None:
        """Send a queue nothing more."""
        ...


class JobsSubscription:
    """The changes of jobs: the latest of each, at most one frame in `coalesce` seconds."""

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
        self._not_before = 0.0
        self._topic: Topic | None = None

    def join(self, position: str | None) -> Work[None]:
        """Begin at a position; no frame may be taken before the end of this."""
        self._topic = yield from self._topics.join(self._key, position, self._queue)

    @property
    def namespaces(self) -> frozenset[str] | None:
        """The namespaces whose jobs it may be sent; None: all."""
        return self._key.namespaces

    def recheck(self, allowed: frozenset[str] | None) -> None:
        """Have the client load its page again if the user may list other namespaces by now.

        Args:
            allowed: those of `namespaces` that the user may still list, and those that have come; None:
                all.
        """
        if allowed != self._key.namespaces:
            self._queue.cut()

    def wait(self, now: float) -> float | None:
        """Return the seconds until a frame is due; None: nothing waits."""
        if self._queue.is_broken:
            return 0.0
        return max(self._not_before - now, 0.0) if len(self._queue) else None

    def frame(self, now: float) -> str:
        """Return the frame that is due, which leaves the queue."""
        batch = self._queue.take()
        if self._queue.is_broken or batch is None:
            self.is_over = True
            return frames.frame("resync", self._number)
        assert self._topic is not None
        self._not_before = now + self._coalesce
        seq = self._topics.index.position
        return frames.delta(self._number, seq, batch.rows, batch.gone, self._topic.counts)

    def close(self) -> None:
        """Leave the topic, and forget what waits."""
        self.is_over = True
        self._topics.leave(self._key, self._queue)
        self._queue.close()


class LogSubscription:
    """A log: its pieces, a gap before those that follow it, and in the end the reason for that."""

    def __init__(self, number: int, epoch: str, ring: LogRing) -> None:
        self.is_over = False
        self._number: Final = number
        self._epoch: Final = epoch
        self._ring: Final = ring
        self._last: str | None = None

    def end(self, frame: str) -> None:
        """Send this frame after all that waits, and nothing more."""
        self._last = frame

    def wait(self, now: float) -> float | None:
        """Return the seconds until a frame is due; None: nothing waits."""
        return None if self._ring.is_empty and self._last is None else 0.0

    def frame(self, now: float) -> str:
        """Return the frame that is due, which leaves the queue."""
        found = self._ring.take()
        if isinstance(found, Gap):
            return frames.frame(
                "gap", self._number, **{"from": found.start, "to": found.end, "lines": found.lines}
            )
        if found is not None:
            seq = f"{self._epoch}:{found.following}"
            return frames.log(self._number, seq, found)
        assert self._last is not None
        self.is_over = True
        return self._last

    def close(self) -> None:
        """Forget what waits."""
        self.is_over = True
        self._ring.close()


class SampleSubscription:
    """The newest of what replaces all before it; what is behind by several is sent the last one."""

    def __init__(
        self, number: int, queue: CoalescingQueue, leave: Callable[[CoalescingQueue], None]
    ) -> None:
        self.is_over = False
        self._number: Final = number
        self._queue: Final = queue
        self._leave: Final = leave

    def cut(self) -> None:
        """Have the client ask anew, to which it may have no right any more."""
        if not self.is_over:
            self._queue.cut()

    def wait(self, now: float) -> float | None:
        """Return the seconds until a frame is due; None: nothing waits."""
        return 0.0 if len(self._queue) or self._queue.is_broken else None

    def frame(self, now: float) -> str:
        """Return the frame that is due, which leaves the queue."""
        batch = self._queue.take()
        if batch is None:
            self.is_over = True
            return frames.frame("resync", self._number)
        return f'{{"type":"delta","id":{self._number},{batch.rows[0]}}}'

    def close(self) -> None:
        """Leave, and forget what waits."""
        self.is_over = True
        self._leave(self._queue)
        self._queue.close()
