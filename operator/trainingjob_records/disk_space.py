"""The room for records: used, free, and a reserve for a full disk.

Removing a row writes before it frees, so on a full disk even that fails. A file of zeros beside the
database is removed first, and made again when there is room.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select

from trainingjob_records.tables import records

_MAX_RESERVE: Final = 16 * 1024 * 1024
_SHARE_OF_RESERVE: Final = 4
_MIN_ROOM: Final = 1024 * 1024
_LOW: Final = 5
"""Percent of the volume: with less, there is a warning."""


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes.

    Attributes:
        used: what the records take: pages in use (SQLite), or the text of all records (PostgreSQL).
        free: what the database can still take, pages that it has and does not use included; None:
            the server knows.
        available: of that, what the volume has left; None: the server knows.
        total: the size of the volume; None: the server knows.
        ceiling: what the database may grow to; None: the server knows.
    """

    used: int
    free: int | None = None
    available: int | None = None
    total: int | None = None
    ceiling: int | None = None

    @property
    def is_low(self) -> bool:
        """True if little of the volume is left."""
        return bool(self.total) and (self.free or 0) * 100 < (self.total or 0) * _LOW

    def has_room(self, reserve: int) -> bool:
        """Return True if records can be taken beside a reserve of this size."""
        room = min(_MIN_ROOM, reserve)
        return self.free is None or (self.free >= room and (self.available or 0) >= room)


class Usage:
    """The last measurement, and its consequences. `removed` counts records by the reason.

    Attributes:
        is_reachable: the last request of the database got an answer.
    """

    def __init__(self) -> None:
        self.is_reachable = False
        self.space: Space | None = None
        self.limit: int | None = None
        self.is_full = False
        self.removed: Final[Counter[str]] = Counter(age=0, size=0)

    @property
    def warning(self) -> str:
        """A sentence if little room is left, else nothing."""
        if self.space is None or not self.space.is_low:
            return ""
        return (
            f"{(self.space.free or 0) >> 20} MiB are left for records, of {(self.space.total or 0) >> 20}"
            " MiB: make room on the volume, or remove records with `trainingjob records prune`"
        )


class Reserve:
    """A file beside the database that only occupies room, until removal needs it."""

    def __init__(self, database: Path) -> None:
        self._path: Final = database.with_name(database.name + ".reserve")

    @property
    def size(self) -> int:
        """Bytes that it is to have: a quarter of the volume, and 16 MiB at most."""
        volume = os.statvfs(self._path.parent)
        return reserve_of(volume.f_blocks * volume.f_frsize)

    def release(self) -> None:
        """Remove it, to free its room."""
        self._path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Make it again; return True if there was room for all of it."""
        size = self.size
        file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if os.fstat(file).st_size != size:
                os.ftruncate(file, 0)
                _allocate(file, size)
        except OSError:
            self.release()
            return False
        finally:
            os.close(file)
        return True


def reserve_of(total: int) -> int:
    """Return the bytes of the reserve on a volume of this size."""
    return min(_MAX_RESERVE, total // _SHARE_OF_RESERVE)


def ceiling_of(total: int) -> int:
    """Return the bytes that an SQLite file may grow to on a volume of this size.

    It never shrinks, so it must leave the reserve, and as much again for its log.
    """
    return total - 2 * reserve_of(total)


def measure(connection: Connection, database: Path | None) -> Space:
    """Measure, within a transaction; set the ceiling of an SQLite file.

    Args:
        connection: to the database.
        database: SQLite's file; None: PostgreSQL.
    """
    if database is None:
        size = func.coalesce(func.sum(func.octet_length(records.c.body)), 0)
        return Space(used=int(connection.execute(select(size)).scalar_one()))

    def pragma(name: str) -> int:
        return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())

    page, pages, unused = pragma("page_size"), pragma("page_count"), pragma("freelist_count")
    volume = os.statvfs(database.parent)
    available, total = volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize
    # Of this connection alone, and the volume may have been enlarged.
    pragma(f"max_page_count = {max(ceiling_of(total) // page, 1)}")
    more = min(available, (pragma("max_page_count") - pages) * page)
    return Space(
        used=(pages - unused) * page,
        free=more + unused * page,
        available=available,
        total=total,
        ceiling=ceiling_of(total),
    )


def _allocate(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    for start in range(0, size, _MIN_ROOM):
        os.pwrite(file, bytes(min(_MIN_ROOM, size - start)), start)
