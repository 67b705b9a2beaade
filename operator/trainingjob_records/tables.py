"""Defines the database tables. A change here needs a migration; a test compares the two."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    func,
)

metadata: Final = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """A time with its zone: `timestamptz` in PostgreSQL, sortable text in UTC in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC."""
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time with its zone, which SQLite does not store."""
        if value is None or value.tzinfo is not None:
            return value.astimezone(UTC) if value is not None else None
        return value.replace(tzinfo=UTC)


records: Final = Table(
    "records",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("schema_version", Text, nullable=False),
    Column("cluster", Text),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("attempt", Integer),
    Column("phase", Text),
    Column("reason", Text),
    Column("message", Text),
    Column("created_at", UtcDateTime),
    Column("started_at", UtcDateTime),
    Column("completed_at", UtcDateTime),
    Column("ordered_at", UtcDateTime, nullable=False),
    Column("duration_seconds", Float),
    Column("num_nodes", Integer),
    Column("framework", Text),
    Column("restarts", Integer),
    Column("disruptions", Integer),
    Column("exit_code", Integer),
    Column("search", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("stored_at", UtcDateTime, nullable=False, server_default=func.now()),
    # One index for each combination of filters, in the list's order: a page reads only its rows.
    Index("ix_records_time", "ordered_at", "uid"),
    Index("ix_records_namespace", "namespace", "ordered_at", "uid"),
    Index("ix_records_phase", "phase", "ordered_at", "uid"),
    Index("ix_records_namespace_phase", "namespace", "phase", "ordered_at", "uid"),
)
"""One row for each uid. `body` is the record as it was sent; the other columns are copied from it."""

record_labels: Final = Table(
    "record_labels",
    metadata,
    Column("uid", ForeignKey("records.uid", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    # Duplicated here, so that one index both finds a label and has the list's order.
    Column("ordered_at", UtcDateTime, nullable=False),
    Index("ix_record_labels", "key", "value", "ordered_at", "uid"),
)
"""One row for each label of each record."""
