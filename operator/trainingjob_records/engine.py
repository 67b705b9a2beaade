"""Opens each database so that what is committed stays committed."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trainingjob_records.errors import SettingsError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

POOL_TIMEOUT_S: Final = 2.0
"""How long a reader waits for a free connection."""

_BUSY_TIMEOUT_MS: Final = 500
_CONNECT_TIMEOUT_S: Final = 5
"""For one host. Of several the first ones may be those that are gone, so each gets less."""
_CONNECT_TOTAL_S: Final = 6
_LEAST_CONNECT_TIMEOUT_S: Final = 2
"""libpq takes no less for a host."""
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
        "connect_timeout": connect_timeout_s(url),
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


def connect_timeout_s(url: URL) -> int:
    """Return the seconds that one host of this URL has to take a connection, if the URL sets none."""
    share = _CONNECT_TOTAL_S // _hosts(url)
    return max(_LEAST_CONNECT_TIMEOUT_S, min(_CONNECT_TIMEOUT_S, share))


def longest_connect_s(url: URL) -> float:
    """Return the seconds after which even the last host of this URL would have taken a connection.

    That is: an old connection is given up first, and every host but the last one says nothing.
    """
    return _STATEMENT_TIMEOUT_MS / 1000 + _hosts(url) * connect_timeout_s(url)


def _hosts(url: URL) -> int:
    """Count the hosts, which a URL has in its query, or separated by commas."""
    named = [url.host or "", *url.normalized_query.get("host", ())]
    return max(1, sum(len(hosts.split(",")) for hosts in named if hosts))


class OpenConnections:
    """The connections of an engine of PostgreSQL's: as many as its pool has."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Follow the engine, which has not connected yet."""
        self._open: Final = WeakSet["AsyncConnection[Any]"]()
        in_turn = engine.url.query.get("load_balance_hosts", "disable") == "disable"

        @event.listens_for(engine.sync_engine, "connect")
        def add(connection: Any, _: Any) -> None:
            new = connection.driver_connection
            if in_turn:
                self._leave_other_hosts(new)
            self._open.add(new)

    def _leave_other_hosts(self, new: "AsyncConnection[Any]") -> None:
        """Break the connections to hosts other than that of a new one.

        The hosts are tried in turn, so another one has refused this connection, or said nothing, or
        takes no writes: it was left, or a host before it is back. Without this the one writer would
        wait on a host that hangs for as long as the others answer whoever looks.
        """
        for connection in list(self._open):
            if not connection.closed and _host_of(connection) != _host_of(new):
                _break(connection)

    def break_all(self) -> None:
        """Break all of them, as if the server had gone.

        No statement is cancelled at the server: one that waits for a synchronous standby would be
        committed without it, and the same record, sent again, be acknowledged.
        """
        for connection in list(self._open):
            if not connection.closed:
                _break(connection)


def _host_of(connection: "AsyncConnection[Any]") -> tuple[str, int]:
    return connection.info.host, connection.info.port


def _break(connection: "AsyncConnection[Any]") -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


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
