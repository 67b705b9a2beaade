"""Finds the first error line of each archived log, and caches the results."""

from collections import OrderedDict
from threading import Lock
from typing import Final

from trainingjob_console.logs.archive import Archive, SectionBody
from trainingjob_console.logs.search import first_error

MAX_REMEMBERED: Final = 4096
MAX_SCAN: Final = 64 * 2**20
"""Bytes that are searched per list of a job's logs; the remaining logs are searched by later lists."""

Key = tuple[str, int, int]


class FirstErrors:
    """Finds and caches first error lines; thread-safe. Sections of an archive never change, so neither do results.

    Bound: an LRU cache of `limit` results.
    """

    def __init__(self, *, limit: int = MAX_REMEMBERED, max_scan: int = MAX_SCAN) -> None:
        self.limit: Final = limit
        self._max_scan: Final = max_scan
        self._lock: Final = Lock()
        self._known: Final[OrderedDict[Key, int | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, uid: str, archive: Archive, bodies: list[SectionBody]) -> list[int | None]:
        """Return the offset of the first error line of each log; None: none, or not searched yet.

        Raises:
            OSError: the volume does not respond.
        """
        left = self._max_scan
        found: list[int | None] = []
        for body in bodies:
            key = (uid, body.start, body.end)
            with self._lock:
                if key in self._known:
                    self._known.move_to_end(key)
                    found.append(self._known[key])
                    continue
            size = body.end - body.start
            if size > left:
                found.append(None)
                continue
            left -= size
            found.append(self._remember(key, first_error(archive.lines(body))))
        return found

    def _remember(self, key: Key, offset: int | None) -> int | None:
        with self._lock:
            self._known[key] = offset
            while len(self._known) > self.limit:
                self._known.popitem(last=False)
        return offset
