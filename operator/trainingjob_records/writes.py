"""Upserts many records in one transaction; a record replaces only a lower revision of its uid.

The comparison of revisions is part of the upsert. So when writers race, the higher revision wins:
the second writer waits for the first one's row lock (PostgreSQL) or for the file's write lock
(SQLite), and then compares with what was committed.
"""

import enum
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from trainingjob_records.record import MAX_MESSAGE, MAX_REASON, Entry, searchable, storable
from trainingjob_records.tables import record_labels, records

_KEPT_ON_CONFLICT: Final = {"uid", "stored_at"}


class Result(enum.Enum):
    """The result of a write."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a write, and the stored revision."""

    result: Result
    revision: int


def store(connection: Connection, entries: Sequence[Entry]) -> list[Outcome]:
    """Store records within the transaction of this connection.

    Args:
        connection: a connection in a transaction, which the caller commits.
        entries: entries of different uids, because PostgreSQL refuses to change a row twice in one
            statement. They are written in the order of their uids, so that two transactions cannot
            deadlock.

    Returns:
        One outcome for each entry, in the same order. They hold once the transaction is committed.
    """
    ordered = sorted(entries, key=lambda entry: entry.uid)
    upsert = _upsert(connection.dialect.name)
    rows = connection.execute(upsert, [_row(entry) for entry in ordered])
    written = set(rows.scalars())
    _store_labels(connection, [entry for entry in ordered if entry.uid in written])
    kept = _kept(connection, [entry.uid for entry in ordered if entry.uid not in written])
    return [
        Outcome(Result.STORED, entry.record.revision)
        if entry.uid in written
        else _compare(entry, *kept[entry.uid])
        for entry in entries
    ]


def _compare(entry: Entry, revision: int, digest: str) -> Outcome:
    if revision > entry.record.revision:
        return Outcome(Result.SUPERSEDED, revision)
    same = digest == entry.digest
    return Outcome(Result.UNCHANGED if same else Result.CONFLICT, revision)


@functools.cache
def _upsert(dialect: str) -> Any:
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = make(records)
    changed: dict[str, Any] = {
        column.name: statement.excluded[column.name]
        for column in records.columns
        if column.name not in _KEPT_ON_CONFLICT
    }
    return statement.on_conflict_do_update(
        index_elements=[records.c.uid],
        set_=changed | {"stored_at": func.now()},
        where=statement.excluded.revision > records.c.revision,
    ).returning(records.c.uid)


def _store_labels(connection: Connection, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    uids = [entry.uid for entry in entries]
    connection.execute(delete(record_labels).where(record_labels.c.uid.in_(uids)))
    rows = [
        {"uid": entry.uid, "key": key, "value": value, "ordered_at": entry.ordered_at}
        for entry in entries
        for key, value in entry.indexed_labels.items()
    ]
    if rows:
        connection.execute(insert(record_labels), rows)


def _kept(connection: Connection, uids: Sequence[str]) -> dict[str, tuple[int, str]]:
    if not uids:
        return {}
    wanted = select(records.c.uid, records.c.revision, records.c.digest)
    rows = connection.execute(wanted.where(records.c.uid.in_(uids)))
    return {uid: (revision, digest) for uid, revision, digest in rows}


def _row(entry: Entry) -> dict[str, Any]:
    record = entry.record
    reason, message = (record.reason or "")[:MAX_REASON], (record.message or "")[:MAX_MESSAGE]
    words = (record.name, record.namespace, record.cluster or "", reason, message)
    return {
        "uid": entry.uid,
        "revision": record.revision,
        "digest": entry.digest,
        "schema_version": str(record.schema_version),
        "cluster": _text(record.cluster),
        "namespace": storable(record.namespace),
        "name": storable(record.name),
        "labels": json.dumps(entry.indexed_labels),
        "attempt": record.attempt,
        "phase": _text(record.phase),
        "reason": storable(reason),
        "message": storable(message),
        "created_at": record.created_at,
        "started_at": record.started_at,
        "completed_at": record.completed_at,
        "ordered_at": entry.ordered_at,
        "duration_seconds": record.duration_seconds,
        "num_nodes": record.num_nodes,
        "framework": _text(record.framework),
        "restarts": record.restarts,
        "disruptions": record.disruptions,
        "exit_code": record.exit_code,
        "search": searchable("\n".join(words)),
        "body": entry.body,
    }


def _text(value: str | None) -> str | None:
    return storable(value) if value is not None else None
