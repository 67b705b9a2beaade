"""Opens each database so that what is committed stays committed."""

import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trainingjob_records.errors import SettingsError

POOL_TIMEOUT_S: Final = 2.0
"""How long a reader waits for a free connection."""

_BUSY_TIMEOUT_MS: Final = 500
_CONNECT_TIMEOUT_S: Final = 5
_STATEMENT_TIMEOUT_MS: Final = 7000
_READ_ONLY: Final = "25006"
"""PostgreSQL's code for a write where nothing may be written."""

_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_PRAGMAS: Final = (
    # First: switching to WAL needs a lock that another process may hold for a moment.
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    # In WAL mode NORMAL loses the last commits at a power failure; FULL syncs each of them.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # What is removed is not overwritten: on a full disk there is no room for that.
    "PRAGMA secure_delete = OFF",
    # The log is emptied while it is smaller than the reserve that a full disk is left by.
    "PRAGMA wal_autocheckpoint = 500",
    f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}",
)


def open_engine(url: URL, *, connections: int) -> AsyncEngine:
    """Return an engine for this database; nothing is connected yet.

    Args:
        url: with the driver's name in it.
        connections: open at most.

    Raises:
        SettingsError: the folder of an SQLite file does not exist or cannot be written.
    """
    common: dict[str, Any] = {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": POOL_TIMEOUT_S,
        # An error message must not carry the records that it is about into the log.
        "hide_parameters": True,
    }
    if is_sqlite(url):
        _create_file(Path(url.database or ""))
        engine = create_async_engine(url, **common)
        _keep_promises(engine.sync_engine, begin="BEGIN")
        return engine
    arguments = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        # A server that has gone without a word is noticed in seconds, not after TCP's quarter hour.
        "tcp_user_timeout": _STATEMENT_TIMEOUT_MS,
        "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=UTC",
        "application_name": "trainingjob-records",
        # After a fail-over an address may lead to a standby for a while, and one of several hosts is
        # one. Connected to it, the service would read for ever and never write.
        "target_session_attrs": "read-write",
        # A pooler in between (PgBouncer) may run each transaction on another connection.
        "prepare_threshold": None,
    }
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    engine = create_async_engine(url, **common, pool_pre_ping=True, connect_args=arguments)
    _leave_what_is_read_only(engine.sync_engine)
    return engine


def open_sqlite_writer(url: URL) -> Engine:
    """Open the one connection that writes to an SQLite file, to be used by one thread.

    It is no asynchronous one: that hands each call of a transaction to a thread and back, 15 times
    for a batch, and on a busy machine the waiting costs more than the work.
    """
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        pool_size=1,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,
    )
    # A transaction that reads first and writes later fails at once if another wrote meanwhile; one
    # that takes the lock at its beginning waits for its turn.
    _keep_promises(engine, begin="BEGIN IMMEDIATE")
    return engine


def is_sqlite(url: URL) -> bool:
    """Return True if it is a file of SQLite's."""
    return url.get_backend_name() == "sqlite"


def _create_file(path: Path) -> None:
    """Create the file before SQLite does, for its owner only; SQLite's other files follow it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise SettingsError(
            f"TRAININGJOB_RECORDS_DATABASE: cannot write {path}: {error.strerror}"
        ) from error


def _leave_what_is_read_only(engine: Engine) -> None:
    """Close the connections of a server that takes no writes any more, as those of one that has gone."""

    @event.listens_for(engine, "handle_error")
    def notice(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True


def _keep_promises(engine: Engine, *, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver would begin transactions too late, and without a lock for writing.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
