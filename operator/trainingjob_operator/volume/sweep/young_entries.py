"""Caches the last change of young entries, so that sweeps skip them until they can have expired.

An entry stays young for the maximum age after any change in it, whatever happens later: further
writes only make it younger, and deleting the young file changes its directory. So the last change
that was seen is a lower bound which needs no second look.

Bound: `limit` entries. Further ones are measured again by each sweep.
"""

from typing import Final

LIMIT: Final = 20_000


class YoungEntries:
    """Maps an entry's path to the last change that was seen. Not thread-safe."""

    def __init__(self, limit: int = LIMIT) -> None:
        """Start empty.

        Args:
            limit: maximum number of entries.
        """
        self.limit: Final = limit
        self._newest_ns: Final[dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._newest_ns)

    def is_young(self, path: str, cutoff_ns: int) -> bool:
        """True if an entry is known to have changed after this time."""
        newest_ns = self._newest_ns.get(path)
        return newest_ns is not None and newest_ns > cutoff_ns

    def note(self, path: str, newest_ns: int) -> None:
        """Store an entry that was found young."""
        if path in self._newest_ns or len(self._newest_ns) < self.limit:
            self._newest_ns[path] = newest_ns

    def forget_before(self, cutoff_ns: int) -> None:
        """Evict the entries that are no longer young."""
        for path in [p for p, newest_ns in self._newest_ns.items() if newest_ns <= cutoff_ns]:
            del self._newest_ns[path]

    def clear(self) -> None:
        """Evict all entries: the volume is another one, or a clock was set."""
        self._newest_ns.clear()
