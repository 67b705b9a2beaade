"""Limits the bytes in all queues together: above the limit, the largest queue is cleared."""

from typing import Final, Protocol


class Queue(Protocol):
    """The queue of one subscription."""

    @property
    def size(self) -> int:
        """Queued bytes."""
        ...

    def cut(self) -> None:
        """Drop all queued entries, and report that to the client."""
        ...


class Budget:
    """The limit of queued bytes. Above it, the largest queue is cut, then the next largest, until the rest fits.

    A text that several queues share is counted in each of them, so the sum is more than the memory in use.
    """

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.used = 0
        self.cuts = 0
        self._queues: Final[set[Queue]] = set()

    def add(self, queue: Queue) -> None:
        """Register an empty queue."""
        self._queues.add(queue)

    def remove(self, queue: Queue) -> None:
        """Unregister a queue and its bytes."""
        if queue in self._queues:
            self._queues.remove(queue)
            self.used -= queue.size

    def charge(self, difference: int) -> None:
        """Add the change in size of a queue."""
        self.used += difference
        while self.used > self.limit and self._queues:
            largest = max(self._queues, key=lambda queue: queue.size)
            before = self.used
            largest.cut()
            self.cuts += 1
            if self.used >= before:  # the rest cannot be dropped: entries that report earlier cuts
                return

    def __len__(self) -> int:
        return len(self._queues)
