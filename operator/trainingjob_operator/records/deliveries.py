"""Deliveries: the result of each sent record, until the reconciler has written it into job status.

Sending records has priority over writing results. A job's two writes to the API server cost more
than its record does, and until the record is sent only the cluster holds it. An unwritten result
loses nothing: a process that dies before the write sends the record again, with the same response.

Only a few deliveries are passed to the reconciler at once, so that a job with a watch event never
queues behind the results that follow an outage.

Bound: `limit` deliveries. The outbox sends nothing while there is no room for the result, unless
the reconciler processes none (`is_stuck`). At the limit the oldest delivery is evicted.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from trainingjob_operator.clock import Clock
from trainingjob_operator.core.decision import Delivery
from trainingjob_operator.core.job import JobKey, JobView

YIELD_S: Final = 30.0
"""Seconds for which a delivery waits while records are being sent at full concurrency."""

MAX_NOTIFIED: Final = 32
"""Deliveries passed to the reconciler at once: one for each of its workers by default."""

_STUCK_S: Final = 10.0
"""Seconds after which a delivery that is not in status yet (the write is refused, or waits for a
retry) no longer counts towards `MAX_NOTIFIED`."""


class Deliveries:
    """Deliveries by job, the oldest first. All times are monotonic seconds."""

    def __init__(self, limit: int, clock: Clock, *, on_delivery: Callable[[JobKey], None]) -> None:
        """Begin without deliveries.

        Args:
            limit: the most that are kept.
            clock: the time.
            on_delivery: called with the key of a delivery, to enqueue it for the reconciler.
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
        """True if there are deliveries that were not passed to the reconciler yet."""
        return bool(self._unnotified)

    @property
    def is_stuck(self) -> bool:
        """True if the reconciler has processed none lately, as when status writes fail."""
        return self._clock.monotonic() - self._last_forgotten_at > _STUCK_S

    def of(self, job: JobView) -> Delivery | None:
        """Return the delivery of the record of this job (by uid), until `forget_delivery`."""
        delivery = self._deliveries.get(job.key)
        return delivery if delivery is not None and delivery.uid == job.uid else None

    def add(self, key: JobKey, delivery: Delivery) -> None:
        """Add a delivery. At the limit the oldest one is evicted.

        An evicted one is found again later: its record is sent again, with the same response.
        """
        self._forget(key)
        self._deliveries[key] = delivery
        self._unnotified[key] = self._clock.monotonic()
        if len(self._deliveries) > self.limit:
            self._forget(next(iter(self._deliveries)))

    def forget_delivery(self, key: JobKey) -> bool:
        """Forget a delivery that is in the job's status, or whose job was deleted.

        Returns:
            True if there was one.
        """
        if key not in self._deliveries:
            return False
        self._forget(key)
        self._last_forgotten_at = self._clock.monotonic()
        return True

    def notify(self, *, sending: bool) -> None:
        """Pass deliveries to the reconciler, up to `MAX_NOTIFIED` at once.

        Args:
            sending: records are being sent at full concurrency.
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
