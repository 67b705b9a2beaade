"""Removes records, the oldest first, some at a time: a record that arrives meanwhile waits briefly."""

from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, select, type_coerce

from trainingjob_records.tables import UtcDateTime, records

Conditions = tuple[ColumnElement[bool], ...]

BATCH: Final = 20
"""Records that one transaction removes."""

BATCH_BYTES: Final = 4 * 1024 * 1024


def is_aged(before: datetime) -> Conditions:
    """Return the conditions under which a record is removed for its age.

    It must have been completed and received before that time: if one of the two clocks was wrong,
    the other one keeps the record.
    """
    return records.c.ordered_at < before, records.c.stored_at < before


def count(connection: Connection, *, conditions: Conditions = ()) -> int:
    """Return how many records meet the conditions."""
    found = connection.execute(select(func.count()).select_from(records).where(*conditions))
    return int(found.scalar_one())


def now(connection: Connection) -> datetime:
    """Return the time of the clock by which records are received: the database's."""
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
        connection: with a transaction begun.
        conditions: none: all records meet them.
        limit: records at most.
        excess: bytes; with so many no more are removed.

    Returns:
        How many, and the bytes that their text had.
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
    # The conditions once more: a revision may have come between the two statements (PostgreSQL).
    gone = connection.execute(delete(records).where(records.c.uid.in_(uids), *conditions))
    return gone.rowcount, size
