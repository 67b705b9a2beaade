"""Measures the space of the database, and manages a reserve file that can be freed on a full disk.

Deleting a row writes before it frees space, so on a full disk even a delete fails. A reserve file
beside the database is deleted first, and created again when there is space.
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
_MIN_FREE: Final = 1024 * 1024
_LOW: Final = 5
"""Percent of the volume that is free; below this, there is a warning."""


@dataclass(frozen=True, slots=True)
class Space:
    """A measurement of the database's space, in bytes. None: unknown, it is the server's (PostgreSQL).

    Attributes:
        used: space that the records use: the used pages (SQLite), or the bodies of all records
            (PostgreSQL).
        free: space that the database can still use, including its own unused pages.
        available: free space of the volume.
        total: size of the volume.
        ceiling: size that the database file may grow to.
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
        """Return True if there is space for records beside a reserve of this size."""
        needed = min(_MIN_FREE, reserve)
        return self.free is None or (self.free >= needed and (self.available or 0) >= needed)


class Usage:
    """The state of the database: the last measurement, and what follows from it.

    Attributes:
        is_reachable: the database answered the last request.
        space: the last measurement; None: none yet.
        limit: the size limit of the records in bytes; None: no limit.
        is_full: no record is accepted, because the database is full.
        removed: number of records that retention removed, by limit: `age` or `size`.
    """

    def __init__(self) -> None:
        self.is_reachable = False
        self.space: Space | None = None
        self.limit: int | None = None
        self.is_full = False
        self.removed: Final[Counter[str]] = Counter(age=0, size=0)

    @property
    def warning(self) -> str:
        """A sentence if little space is left, else ""."""
        if self.space is None or not self.space.is_low:
            return ""
        return (
            f"{(self.space.free or 0) >> 20} MiB are left for records, of {(self.space.total or 0) >> 20}"
            " MiB: free space on the volume, or remove records with `trainingjob records prune`"
        )


class Reserve:
    """A file beside the database that only occupies space, until a delete on a full disk needs it."""

    def __init__(self, database: Path) -> None:
        self._path: Final = database.with_name(database.name + ".reserve")

    @property
    def size(self) -> int:
        """Intended size in bytes: a quarter of the volume, at most 16 MiB."""
        volume = os.statvfs(self._path.parent)
        return reserve_of(volume.f_blocks * volume.f_frsize)

    def release(self) -> None:
        """Delete the file, to free its space."""
        self._path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Create the file again; return True if there was enough space."""
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
    """Return the size of the reserve, in bytes, on a volume of this size."""
    return min(_MAX_RESERVE, total // _SHARE_OF_RESERVE)


def ceiling_of(total: int) -> int:
    """Return the size, in bytes, that an SQLite file may grow to on a volume of this size.

    The file never shrinks. So it must leave space for the reserve, and as much again for the WAL.
    """
    return total - 2 * reserve_of(total)


def measure(connection: Connection, database: Path | None) -> Space:
    """Measure the space, and set the maximum size of an SQLite file.

    Args:
        connection: a connection in a transaction.
        database: path of SQLite's file; None: PostgreSQL.
    """
    if database is None:
        size = func.coalesce(func.sum(func.octet_length(records.c.body)), 0)
        return Space(used=int(connection.execute(select(size)).scalar_one()))

    def pragma(name: str) -> int:
        return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())

    page, pages, unused = pragma("page_size"), pragma("page_count"), pragma("freelist_count")
    volume = os.statvfs(database.parent)
    available, total = volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize
    # Set each time: it applies to this connection only, and the volume may have been enlarged.
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
    for start in range(0, size, _MIN_FREE):
        os.pwrite(file, bytes(min(_MIN_FREE, size - start)), start)
