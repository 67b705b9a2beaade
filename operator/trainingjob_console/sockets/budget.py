"""The bytes that wait in all queues together, and which queue is cut when they are too many."""

from typing import Final, Protocol


class Queue(Protocol):
    """The queue of one subscription."""

    @property
    def size(self) -> int:
        """Bytes that wait."""
        ...

    def cut(self) -> None:
        """Drop all that waits, in a way that the client learns of."""
        ...


class Budget:
    """The limit of queued bytes: above it the largest queue is cut, and the next, until they fit.

    Each queue has the bytes of a shared text counted, so the sum is above what memory holds.
    """

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.used = 0
        self.cuts = 0
        self._queues: Final[set[Queue]] = set()

    def add(self, queue: Queue) -> None:
        """Count a queue, which is empty."""
        self._queues.add(queue)

    def remove(self, queue: Queue) -> None:
        """Forget a queue and what waits in it."""
        if queue in self._queues:
            self._queues.remove(queue)
            self.used -= queue.size

    def charge(self, difference: int) -> None:
        """Count bytes that a queue was given, or gave back."""
        self.used += difference
        while self.used > self.limit and self._queues:
            largest = max(self._queues, key=lambda queue: queue.size)
            before = self.used
            largest.cut()
            self.cuts += 1
            if self.used >= before:  # what is left cannot be cut: the marks of what was
                return

    def __len__(self) -> int:
        return len(self._queues)
