"""The retry cache: keys of jobs whose records wait to be stored (FIFO), with their back-off.

It holds keys only; the truth is `status.recordState` of the jobs. Bound: `max_keys`. At the limit
the oldest key is evicted, which loses nothing: the refill finds it again in the cluster.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import JobKey


@dataclass(slots=True)
class _Try:
    """The time of the next try of a key, in monotonic seconds, and the number of failed ones."""

    due: float
    failures: int = 0
    in_flight: bool = False


class RetryCache:
    """Keys in the order in which they were added. Synchronous; all times are monotonic seconds."""

    def __init__(self, max_keys: int) -> None:
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        self.max_keys: Final = max_keys
        self._tries: Final[OrderedDict[JobKey, _Try]] = OrderedDict()
        self.evicted_total = 0

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound("retry_cache", len(self), self.max_keys),)

    def __len__(self) -> int:
        return len(self._tries)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._tries

    @property
    def room(self) -> int:
        """The number of keys that can be added without an eviction."""
        return self.max_keys - len(self._tries)

    def put(self, key: JobKey, *, now: float) -> JobKey | None:
        """Add a key, due at once. One that is here already keeps its position and its back-off.

        Returns:
            The oldest key, if it was evicted.
        """
        if key in self._tries:
            return None
        evicted = None
        if not self.room:
            evicted, _ = self._tries.popitem(last=False)
            self.evicted_total += 1
        self._tries[key] = _Try(due=now)
        return evicted

    def take(self, *, now: float) -> JobKey | None:
        """Return the oldest key that is due and not in flight, and mark it as in flight."""
        for key, each in self._tries.items():
            if not each.in_flight and each.due <= now:
                each.in_flight = True
                return key
        return None

    def mark_in_flight(self, key: JobKey, *, now: float) -> None:
        """Mark a key as in flight; add it if there is a free entry. Evicts nothing."""
        if key in self._tries or self.room:
            self._tries.setdefault(key, _Try(due=now)).in_flight = True

    def is_backing_off(self, key: JobKey, *, now: float) -> bool:
        """True if a key is in flight, or has failed and its next try is not due yet."""
        each = self._tries.get(key)
        return each is not None and (each.in_flight or each.due > now)

    def take_probe(self) -> JobKey | None:
        """Return a key, due or not, whose record is to be sent as a probe of the endpoint.

        It is the key with the fewest failures, and the oldest of these: a record that makes the
        endpoint fail must not be the probe for ever.
        """
        waiting = [key for key, each in self._tries.items() if not each.in_flight]
        key = min(waiting, key=self.failures, default=None)
        if key is not None:
            self._tries[key].in_flight = True
        return key

    def failed(self, key: JobKey, *, due: float) -> None:
        """Note a failed try, and when the next one is due. Does nothing if the key was evicted."""
        if (each := self._tries.get(key)) is not None:
            each.in_flight, each.due = False, due
            each.failures += 1

    def failures(self, key: JobKey) -> int:
        """Return the number of failed tries of a key."""
        each = self._tries.get(key)
        return each.failures if each is not None else 0

    def remove(self, key: JobKey) -> None:
        """Remove a key: its record is stored, or its job no longer needs one."""
        self._tries.pop(key, None)

    def make_all_due(self, *, now: float) -> None:
        """Make all keys due now: the endpoint answers again."""
        for each in self._tries.values():
            each.due = min(each.due, now)

    def next_due(self, *, now: float) -> float | None:
        """Return when the next key is due: `now` if one is due already; None: none waits."""
        first: float | None = None
        for each in self._tries.values():
            if each.in_flight:
                continue
            if each.due <= now:
                return now  # the usual case, mostly at the first key
            first = each.due if first is None else min(first, each.due)
        return first
