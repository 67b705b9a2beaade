"""Reads one record, or a page of the list with keyset pagination and a bounded cost.

The list is sorted by the time of completion, the newest first, then by uid; each filter has an index
in that order. A text search scans rows, so a page scans at most 20,000 rows and returns a cursor for
the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, Subquery, exists, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from trainingjob_records.cursor import Cursor
from trainingjob_records.record import searchable, storable
from trainingjob_records.tables import UtcDateTime, record_labels, records

SCAN_ROWS: Final = 20_000
"""Maximum number of rows that a text search scans for one page."""

_LISTED: Final = tuple(
    column for column in records.columns if column.name not in {"body", "search", "digest"}
)


@dataclass(frozen=True, slots=True)
class Filter:
    """The filter of a list; None and empty values select all records.

    Attributes:
        namespace: exact namespace.
        phase: exact phase.
        labels: pairs of key and value; a record must have all of them.
        since: only records completed at this time or later.
        until: only records completed before this time.
        text: substring of the name, namespace, cluster, reason or message, case-insensitive.
    """

    namespace: str | None = None
    phase: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of a page, and the cursor of the next page; None: this is the last one."""

    rows: Sequence[Row[Any]]
    next: Cursor | None


async def read_body(connection: AsyncConnection, uid: str) -> str | None:
    """Return the body of a record; None: there is none."""
    found = await connection.execute(select(records.c.body).where(records.c.uid == uid))
    return found.scalar_one_or_none()


async def read_page(
    connection: AsyncConnection, wanted: Filter, *, limit: int, after: Cursor | None
) -> Page:
    """Return a page of the list.

    Args:
        connection: a connection in a transaction, so that both statements of a search see the same
            rows.
        wanted: the filter.
        limit: maximum number of rows.
        after: cursor of the previous page's end; None: the first page.
    """
    if wanted.text:
        return await _search(connection, wanted, limit=limit, after=after)
    rows = (await connection.execute(page_query(wanted, limit=limit + 1, after=after))).all()
    return _page(rows, limit)


async def _search(
    connection: AsyncConnection, wanted: Filter, *, limit: int, after: Cursor | None
) -> Page:
    window = page_query(wanted, limit=SCAN_ROWS, after=after, with_search=True).subquery()
    found = await connection.execute(
        select(*(window.c[column.name] for column in _LISTED))
        .where(window.c.search.contains(searchable(wanted.text or ""), autoescape=True))
        .order_by(window.c.ordered_at.desc(), window.c.uid.desc())
        .limit(limit + 1)
    )
    rows = found.all()
    if len(rows) > limit:
        return _page(rows, limit)
    return Page(rows, await _scan_end(connection, window))


async def _scan_end(connection: AsyncConnection, window: Subquery) -> Cursor | None:
    """Return the cursor of the last scanned row; None: the scan has reached the end of the list."""
    last = (
        await connection.execute(
            select(window.c.ordered_at, window.c.uid)
            .order_by(window.c.ordered_at.desc(), window.c.uid.desc())
            .offset(SCAN_ROWS - 1)
            .limit(1)
        )
    ).one_or_none()
    return Cursor(last.ordered_at, last.uid) if last is not None else None


def _page(rows: Sequence[Row[Any]], limit: int) -> Page:
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], Cursor(last.ordered_at, last.uid))


def page_query(
    wanted: Filter, *, limit: int, after: Cursor | None, with_search: bool = False
) -> Select[Any]:
    """Return the SELECT statement of a page, without the text filter.

    With a label, the statement uses the label's index, which has the same order; otherwise one of
    the indexes of the records.
    """
    columns = (*_LISTED, records.c.search) if with_search else _LISTED
    query = select(*columns)
    sort_key: tuple[ColumnElement[datetime], ColumnElement[str]]
    sort_key = (records.c.ordered_at, records.c.uid)
    if wanted.labels:
        query = query.select_from(record_labels.join(records))
        query = query.where(*_has(wanted.labels[0]))
        sort_key = (record_labels.c.ordered_at, record_labels.c.uid)
    for label in wanted.labels[1:]:
        other = record_labels.alias()
        query = query.where(
            exists().where(
                other.c.uid == records.c.uid,
                other.c.key == storable(label[0]),
                other.c.value == storable(label[1]),
            )
        )
    query = query.where(*_conditions(wanted, sort_key[0]))
    if after is not None:
        bound = tuple_(literal(after.ordered_at, UtcDateTime), literal(after.uid))
        query = query.where(tuple_(*sort_key) < bound)
    return query.order_by(sort_key[0].desc(), sort_key[1].desc()).limit(limit)


def _has(label: tuple[str, str]) -> tuple[ColumnElement[bool], ...]:
    key, value = label
    return (record_labels.c.key == storable(key), record_labels.c.value == storable(value))


def _conditions(wanted: Filter, time: ColumnElement[datetime]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.namespace is not None:
        conditions.append(records.c.namespace == storable(wanted.namespace))
    if wanted.phase is not None:
        conditions.append(records.c.phase == storable(wanted.phase))
    if wanted.since is not None:
        conditions.append(time >= wanted.since)
    if wanted.until is not None:
        conditions.append(time < wanted.until)
    return conditions
