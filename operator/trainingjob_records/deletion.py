"""Deletes records, the oldest first, in small batches: a concurrent write waits only for one of them."""

from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, select, type_coerce

from trainingjob_records.tables import UtcDateTime, records

Conditions = tuple[ColumnElement[bool], ...]

BATCH: Final = 20
"""Maximum number of records that one transaction removes."""

BATCH_BYTES: Final = 4 * 1024 * 1024


def is_aged(before: datetime) -> Conditions:
    """Return the SQL conditions that select expired records.

    Both the job's completion and the record's receipt must be before this time. If one of the two
    clocks was wrong, the other one protects the record.
    """
    return records.c.ordered_at < before, records.c.stored_at < before


def count(connection: Connection, *, conditions: Conditions = ()) -> int:
    """Return the number of records that meet the conditions."""
    found = connection.execute(select(func.count()).select_from(records).where(*conditions))
    return int(found.scalar_one())


def now(connection: Connection) -> datetime:
    """Return the time of the database, the clock that sets `stored_at`."""
    return connection.execute(select(type_coerce(func.now(), UtcDateTime))).scalar_one()


def remove_oldest(
    connection: Connection,
    *,
    conditions: Conditions = (),
    limit: int = BATCH,
    excess: int = BATCH_BYTES,
) -> tuple[int, int]:
    """Remove the oldest records that meet the conditions.

    Args:
        connection: a connection in a transaction.
        conditions: SQL conditions; empty: all records.
        limit: maximum number of records to remove.
        excess: stop once this many bytes are removed.

    Returns:
        The number of removed records, and the bytes of their bodies.
    """
    oldest = connection.execute(
        select(records.c.uid, func.length(records.c.body))
        .where(*conditions)
        .order_by(records.c.ordered_at, records.c.uid)
        .limit(limit)
    ).all()
    uids: list[str] = []
    size = 0
    for uid, length in oldest:
        if size >= excess or (uids and size + length > BATCH_BYTES):
            break
        uids.append(uid)
        size += length
    if not uids:
        return 0, 0
    # Check the conditions again: a new revision may arrive between the two statements (PostgreSQL).
    gone = connection.execute(delete(records).where(records.c.uid.in_(uids), *conditions))
    return gone.rowcount, size
