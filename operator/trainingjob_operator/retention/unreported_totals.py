"""Counts work done for a policy that is not in the policy's status yet.

The job deleter adds to the counts, the housekeeper writes them to the status, and the policy watch
drops those of deleted policies.

Bound: a count for each reason and four totals for each policy, until they are written or the policy
is deleted.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final


class UnreportedTotals:
    """The counts, by the namespace of the policy. Synchronous."""

    def __init__(self) -> None:
        """Start empty."""
        self._deleted: Final[dict[str, Counter[str]]] = {}
        self._sums: Final[dict[str, dict[str, int]]] = {}

    def add_deleted(self, namespace: str, deleted: Mapping[str, int]) -> None:
        """Add the number of jobs deleted for the policy of this namespace, by reason."""
        if deleted:
            self._deleted.setdefault(namespace, Counter()).update(deleted)

    def take_deleted(self, namespace: str) -> Counter[str]:
        """Return and reset the number of deleted jobs, by reason."""
        return self._deleted.pop(namespace, Counter())

    def sums_of(self, namespace: str) -> Mapping[str, int]:
        """Return the totals of earlier runs whose status could not be written."""
        return self._sums.get(namespace, {})

    def keep_sums(self, namespace: str, sums: dict[str, int]) -> None:
        """Store the totals of all runs whose status could not be written, including this one."""
        self._sums[namespace] = sums

    def forget_sums(self, namespace: str) -> None:
        """Drop the totals: the status has been written."""
        self._sums.pop(namespace, None)

    def forget(self, namespace: str) -> None:
        """Drop all counts of a deleted policy."""
        self.take_deleted(namespace)
        self.forget_sums(namespace)
