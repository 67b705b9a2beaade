"""Deliveries: the result for each record, until the reconciler has written it into the job's status.

The data come first, the bookkeeping after: while records go out as fast as they can, deliveries of those
that have wait their turn. Two writes to the API server for each job would cost more than its record
does, and until the record is out it is in one place only. That an answer is not written down yet
loses nothing: a process that dies before it is sends the record again, and is answered the same.

However many there are, only so many are with the reconciler at once that a job of which the watch
reports a change never queues behind those of an outage.

Bound: `limit` deliveries. The outbox sends nothing while there is no room for the answer; see
`is_stuck` for when the reconciler takes none. At the limit the oldest one makes room.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from trainingjob_operator.clock import Clock
from trainingjob_operator.core.decision import Delivery
from trainingjob_operator.core.job import JobKey, JobView

YIELD_S: Final = 30.0
"""For so long deliveries let records pass, however many there are."""

MAX_NOTIFIED: Final = 32
"""Deliveries that are with the reconciler at once: enough for each of its workers by default."""

_STUCK_S: Final = 10.0
"""Deliveries that are not in status after so long (the write is refused, or waits to be tried
again) hold up no others."""


class Deliveries:
    """Deliveries by job, the oldest first. All times are monotonic seconds."""

    def __init__(self, limit: int, clock: Clock, *, on_delivery: Callable[[JobKey], None]) -> None:
        """Begin without deliveries.

        Args:
            limit: the most that are kept.
            clock: the time.
            on_delivery: called with a key whose record was delivered, for the reconciler.
        """
        self.limit: Final = limit
        self._clock: Final = clock
        self._on_delivery: Final = on_delivery
        self._deliveries: Final[OrderedDict[JobKey, Delivery]] = OrderedDict()
        self._unnotified: Final[OrderedDict[JobKey, float]] = OrderedDict()
        self._notified: Final[OrderedDict[JobKey, float]] = OrderedDict()
        self._last_forgotten_at = float("-inf")

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def waits(self) -> bool:
        """True if there are deliveries of which the reconciler does not know yet."""
        return bool(self._unnotified)

    @property
    def is_stuck(self) -> bool:
        """True if the reconciler takes none: jobs whose status cannot be written, say."""
        return self._clock.monotonic() - self._last_forgotten_at > _STUCK_S

    def of(self, job: JobView) -> Delivery | None:
        """Return the delivery of this very job's record, until `forget_delivery` is called."""
        delivery = self._deliveries.get(job.key)
        return delivery if delivery is not None and delivery.uid == job.uid else None

    def add(self, key: JobKey, delivery: Delivery) -> None:
        """Add a delivery. At the limit the oldest one makes room.

        Those are found again one day: the record is sent again, and answered as it was before.
        """
        self._forget(key)
        self._deliveries[key] = delivery
        self._unnotified[key] = self._clock.monotonic()
        if len(self._deliveries) > self.limit:
            self._forget(next(iter(self._deliveries)))

    def forget_delivery(self, key: JobKey) -> bool:
        """Forget a delivery that the job's status says, or whose job is gone.

        Returns:
            True if there was one.
        """
        if key not in self._deliveries:
            return False
        self._forget(key)
        self._last_forgotten_at = self._clock.monotonic()
        return True

    def notify(self, *, sending: bool) -> None:
        """Let the reconciler know of what it can take.

        Args:
            sending: records go out as fast as they can.
        """
        now = self._clock.monotonic()
        while self._notified and now - next(iter(self._notified.values())) > _STUCK_S:
            self._notified.popitem(last=False)
        while self._unnotified and len(self._notified) < MAX_NOTIFIED:
            key, added_at = next(iter(self._unnotified.items()))
            if sending and now - added_at < YIELD_S:
                return
            del self._unnotified[key]
            self._notified[key] = now
            self._on_delivery(key)

    def _forget(self, key: JobKey) -> None:
        self._deliveries.pop(key, None)
        self._unnotified.pop(key, None)
        self._notified.pop(key, None)
