"""The lists that the API server forbids us; whoever lists decides when to ask again.

Where a Role is missing in one of several namespaces, that one is left out and the others are
served. What is in here is not known, and nothing is concluded from its absence.

Bound: the namespaces that the settings name, for each kind of list.
"""

from collections.abc import Callable
from typing import Final

SAY_EVERY_S: Final = 600.0
"""Seconds between two log lines about a list that stays forbidden."""


class Unreadable:
    """The lists that are forbidden now, and when each was last logged.

    Attributes:
        refused_total: how many lists were forbidden.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Begin with nothing forbidden.

        Args:
            monotonic: seconds that never go back.
        """
        self._monotonic: Final = monotonic
        self._said: Final[dict[tuple[str, str | None], float]] = {}
        self.refused_total = 0

    def __len__(self) -> int:
        return len(self._said)

    def namespaces(self) -> list[str]:
        """Return the namespaces of which a list is forbidden, sorted."""
        return sorted({namespace for _, namespace in self._said if namespace is not None})

    def refused(self, what: str, namespace: str | None) -> bool:
        """Note that a list was forbidden; return if it is time to log that."""
        self.refused_total += 1
        now, key = self._monotonic(), (what, namespace)
        if now - self._said.get(key, float("-inf")) < SAY_EVERY_S:
            return False
        self._said[key] = now
        return True

    def read(self, what: str, namespace: str | None) -> bool:
        """Note that a list was read; return if it had been forbidden before."""
        return self._said.pop((what, namespace), None) is not None
