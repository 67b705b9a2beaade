"""The entries that are known to be young, so that they are not looked at before their time.

An entry in which something changed at a moment stays young for the maximum age from then on,
whatever happens: what is written later only makes it younger, and removing the young file is a
change of its directory. So the last change that was seen is a bound that needs no second look.

Bound: `limit` entries. At the limit further ones are looked at again by each sweep.
"""

from typing import Final

LIMIT: Final = 20_000


class YoungEntries:
    """The last change that was seen, by an entry's path. For one thread at a time."""

    def __init__(self, limit: int = LIMIT) -> None:
        """Know nothing.

        Args:
            limit: entries that are remembered at most.
        """
        self.limit: Final = limit
        self._newest_ns: Final[dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._newest_ns)

    def is_young(self, path: str, cutoff_ns: int) -> bool:
        """True if an entry is known to have changed after this."""
        newest_ns = self._newest_ns.get(path)
        return newest_ns is not None and newest_ns > cutoff_ns

    def note(self, path: str, newest_ns: int) -> None:
        """Remember an entry that was found young."""
        if path in self._newest_ns or len(self._newest_ns) < self.limit:
            self._newest_ns[path] = newest_ns

    def forget_before(self, cutoff_ns: int) -> None:
        """Forget the entries that are not young any more."""
        for path in [p for p, newest_ns in self._newest_ns.items() if newest_ns <= cutoff_ns]:
            del self._newest_ns[path]

    def clear(self) -> None:
        """Forget everything: another volume, or a clock that was set."""
        self._newest_ns.clear()
