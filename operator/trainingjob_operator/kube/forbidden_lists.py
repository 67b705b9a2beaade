"""Holds the lists that the API server refuses us with 403, and limits how often each is logged.

Where a Role is missing in one of several namespaces, that namespace is left out and the others are
served. The content of a forbidden list is unknown: nothing is concluded from the absence of an
object in it. The callers decide when to list again.

Bound: the namespaces that the settings name, for each kind of list.
"""

from collections.abc import Callable
from typing import Final

LOG_EVERY_S: Final = 600.0
"""Seconds between two log lines about a list that stays forbidden."""


class ForbiddenLists:
    """The lists that are forbidden now, and when each was last logged.

    Attributes:
        forbidden_total: number of list requests that were forbidden.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Begin with nothing forbidden.

        Args:
            monotonic: returns seconds of a monotonic clock.
        """
        self._monotonic: Final = monotonic
        self._logged_at: Final[dict[tuple[str, str | None], float]] = {}
        self.forbidden_total = 0

    def __len__(self) -> int:
        return len(self._logged_at)

    def namespaces(self) -> list[str]:
        """Return the namespaces with at least one forbidden list, sorted."""
        return sorted({namespace for _, namespace in self._logged_at if namespace is not None})

    def note_forbidden(self, what: str, namespace: str | None) -> bool:
        """Note that a list was forbidden; return True if this is to be logged now."""
        self.forbidden_total += 1
        now, key = self._monotonic(), (what, namespace)
        if now - self._logged_at.get(key, float("-inf")) < LOG_EVERY_S:
            return False
        self._logged_at[key] = now
        return True

    def note_allowed(self, what: str, namespace: str | None) -> bool:
        """Note that a list was read; return True if it had been forbidden before."""
        return self._logged_at.pop((what, namespace), None) is not None
