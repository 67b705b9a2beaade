"""The work that was done for a policy and is not in its status yet.

Shared by the deleter, which adds to it, by the housekeeper, which writes it down, and by the policy
watch, which drops what belongs to a policy that is gone.

Bound: a count for each reason and four sums for each policy, until they are written or it is gone.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final


class UnreportedTotals:
    """Counts by the namespace of the policy. Synchronous."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._deleted: Final[dict[str, Counter[str]]] = {}
        self._sums: Final[dict[str, dict[str, int]]] = {}

    def add_deleted(self, namespace: str, deleted: Mapping[str, int]) -> None:
        """Add jobs that were deleted for the policy of this namespace, by reason."""
        if deleted:
            self._deleted.setdefault(namespace, Counter()).update(deleted)

    def take_deleted(self, namespace: str) -> Counter[str]:
        """Return the jobs that were deleted since last asked, by reason, and forget them."""
        return self._deleted.pop(namespace, Counter())

    def sums_of(self, namespace: str) -> Mapping[str, int]:
        """Return the sums of earlier runs that could not be written."""
        return self._sums.get(namespace, {})

    def keep_sums(self, namespace: str, sums: dict[str, int]) -> None:
        """Keep the sums of all runs that could not be written, this one included."""
        self._sums[namespace] = sums

    def forget_sums(self, namespace: str) -> None:
        """Forget the sums: they are written."""
        self._sums.pop(namespace, None)

    def forget(self, namespace: str) -> None:
        """Forget everything about a policy that is gone."""
        self.take_deleted(namespace)
        self.forget_sums(namespace)
