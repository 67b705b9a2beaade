"""Reading: one record, or a page of the list. Every page costs at most what it may hold.

The list is ordered by the time of completion, the newest first, then by uid; each filter has an
index in that order. A text is looked for row by row, so a page looks at 20,000 rows at most and
returns how far it came.
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
"""Rows that a search for a text looks at for one page."""

_LISTED: Final = tuple(
    column for column in records.columns if column.name not in {"body", "search", "digest"}
)


@dataclass(frozen=True, slots=True)
class Filter:
    """The filter of a list; None and empty narrow nothing.

    Attributes:
        namespace: exactly.
        phase: exactly.
        labels: pairs of key and value that a record must have, all of them.
        since: completed then or later.
        until: completed before then.
        text: is part of the name, the namespace, the cluster, the reason or the message, whatever
            its case.
    """

    namespace: str | None = None
    phase: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the place where the next ones begin; None: there are no more."""

    rows: Sequence[Row[Any]]
    next: Cursor | None


async def read_body(connection: AsyncConnection, uid: str) -> str | None:
    """Return the record as it was sent; None: there is none."""
    found = await connection.execute(select(records.c.body).where(records.c.uid == uid))
    return found.scalar_one_or_none()


async def read_page(
    connection: AsyncConnection, wanted: Filter, *, limit: int, after: Cursor | None
) -> Page:
    """Return a page of the list.

    Args:
        connection: in a transaction, so that both statements of a search see the same rows.
        wanted: the filter.
        limit: rows at most.
        after: where the page before ended.
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
    return Page(rows, await _end_of(connection, window))


async def _end_of(connection: AsyncConnection, window: Subquery) -> Cursor | None:
    """Return the place of the last row that was looked at; None: there are no more."""
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
    """Return the statement for a page, without the text.

    With a label the statement walks the index of that label, which keeps the same order; else one
    of the indexes of the records.
    """
    columns = (*_LISTED, records.c.search) if with_search else _LISTED
    query = select(*columns)
    place: tuple[ColumnElement[datetime], ColumnElement[str]]
    place = (records.c.ordered_at, records.c.uid)
    if wanted.labels:
        query = query.select_from(record_labels.join(records))
        query = query.where(*_has(wanted.labels[0]))
        place = (record_labels.c.ordered_at, record_labels.c.uid)
    for label in wanted.labels[1:]:
        other = record_labels.alias()
        query = query.where(
            exists().where(
                other.c.uid == records.c.uid,
                other.c.key == storable(label[0]),
                other.c.value == storable(label[1]),
            )
        )
    query = query.where(*_conditions(wanted, place[0]))
    if after is not None:
        bound = tuple_(literal(after.ordered_at, UtcDateTime), literal(after.uid))
        query = query.where(tuple_(*place) < bound)
    return query.order_by(place[0].desc(), place[1].desc()).limit(limit)


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
