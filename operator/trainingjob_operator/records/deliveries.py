"""News of records: what became of each, until the reconciler has written it into the job's status.

The data come first, the bookkeeping after: while records go out as fast as they can, news of those
that have wait their turn. Two writes to the API server for each job would cost more than its record
does, and until the record is out it is in one place only. That an answer is not written down yet
loses nothing: a process that dies before it is sends the record again, and is answered the same.

However much has come together, only so much of it is with the reconciler at once that a job of
which the watch has news never queues behind an outage's.

Bound: `limit` news. The outbox sends nothing while there is no room for the answer; see `is_stuck`
for when nobody takes any.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from trainingjob_operator.clock import Clock
from trainingjob_operator.core.decision import Delivery
from trainingjob_operator.core.job import JobKey, JobView

YIELD_S: Final = 30.0
"""For so long news let records pass, however many there are."""

MAX_NOTIFIED: Final = 32
"""News that are with the reconciler at once: enough for each of its workers by default."""

_STUCK_S: Final = 10.0
"""News that the reconciler has not settled after so long (it is refused, or waits to try again)
hold up no others."""


class Deliveries:
    """Deliveries by job, the oldest first. All times are monotonic seconds."""

    def __init__(self, limit: int, clock: Clock, *, on_delivery: Callable[[JobKey], None]) -> None:
        """Begin without news.

        Args:
            limit: the most that are kept.
            clock: the time.
            on_delivery: called with a key of which there is news for the reconciler.
        """
        self.limit: Final = limit
        self._clock: Final = clock
        self._on_delivery: Final = on_delivery
        self._deliveries: Final[OrderedDict[JobKey, Delivery]] = OrderedDict()
        self._told_at: Final[OrderedDict[JobKey, float]] = OrderedDict()
        self._in_hand: Final[OrderedDict[JobKey, float]] = OrderedDict()
        self._settled_at = float("-inf")

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def waits(self) -> bool:
        """Whether there are news of which the reconciler does not know yet."""
        return bool(self._told_at)

    @property
    def is_stuck(self) -> bool:
        """Whether the reconciler takes none: jobs whose status cannot be written, say."""
        return self._clock.monotonic() - self._settled_at > _STUCK_S

    def of(self, job: JobView) -> Delivery | None:
        """What became of the record of this very job, until `forget_delivery` is called."""
        delivery = self._deliveries.get(job.key)
        return delivery if delivery is not None and delivery.uid == job.uid else None

    def add(self, key: JobKey, delivery: Delivery) -> None:
        """The endpoint has spoken. At the limit the oldest news make room.

        Those are found again one day: the record is sent again, and answered as it was before.
        """
        self._forget(key)
        self._deliveries[key] = delivery
        self._told_at[key] = self._clock.monotonic()
        if len(self._deliveries) > self.limit:
            self._forget(next(iter(self._deliveries)))

    def forget_delivery(self, key: JobKey) -> bool:
        """These news are in the job's status, or there is no such job any more.

        Returns:
            Whether there were any.
        """
        if key not in self._deliveries:
            return False
        self._forget(key)
        self._settled_at = self._clock.monotonic()
        return True

    def notify(self, *, sending: bool) -> None:
        """Let the reconciler know of what it can take.

        Args:
            sending: whether records go out as fast as they can.
        """
        now = self._clock.monotonic()
        while self._in_hand and now - next(iter(self._in_hand.values())) > _STUCK_S:
            self._in_hand.popitem(last=False)
        while self._told_at and len(self._in_hand) < MAX_NOTIFIED:
            key, told_at = next(iter(self._told_at.items()))
            if sending and now - told_at < YIELD_S:
                return
            del self._told_at[key]
            self._in_hand[key] = now
            self._on_delivery(key)

    def _forget(self, key: JobKey) -> None:
        self._deliveries.pop(key, None)
        self._told_at.pop(key, None)
        self._in_hand.pop(key, None)
