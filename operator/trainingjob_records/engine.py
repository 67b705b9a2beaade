"""Creates the SQLAlchemy engines for SQLite and PostgreSQL, configured for durable commits."""

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
"""How long a reader waits for a free connection of the pool, in seconds."""

_BUSY_TIMEOUT_MS: Final = 500
_CONNECT_TIMEOUT_S: Final = 5
"""Connect timeout of a single host. With several hosts the first ones may be down, so each gets less."""
_CONNECT_TOTAL_S: Final = 6
_MIN_CONNECT_TIMEOUT_S: Final = 2
"""libpq accepts no shorter timeout for a host."""
_STATEMENT_TIMEOUT_MS: Final = 7000
_READ_ONLY: Final = "25006"
"""SQLSTATE of a write in a read-only transaction (`read_only_sql_transaction`)."""

_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_PRAGMAS: Final = (
    # This one first: switching to WAL needs a lock that another process may hold for a moment.
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    # In WAL mode, NORMAL loses the last commits at a power failure; FULL syncs each commit.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # Do not overwrite deleted content: on a full disk there is no space for that.
    "PRAGMA secure_delete = OFF",
    # Checkpoint while the WAL is smaller than the reserve file, which frees a full disk.
    "PRAGMA wal_autocheckpoint = 500",
    f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}",
)


def open_engine(url: URL, *, connections: int) -> AsyncEngine:
    """Return an engine for this database; nothing is connected yet.

    Args:
        url: database URL with the driver's name.
        connections: limit of open connections.

    Raises:
        SettingsError: the directory of an SQLite file does not exist or cannot be written.
    """
    common: dict[str, Any] = {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": POOL_TIMEOUT_S,
        # Error messages go to the log and must not contain records.
        "hide_parameters": True,
    }
    if is_sqlite(url):
        _create_file(Path(url.database or ""))
        engine = create_async_engine(url, **common)
        _configure_sqlite(engine.sync_engine, begin="BEGIN")
        return engine
    arguments = {
        "connect_timeout": connect_timeout_s(url),
        # Detects a server that vanished without closing in seconds, not after TCP's quarter hour.
        "tcp_user_timeout": _STATEMENT_TIMEOUT_MS,
        "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=UTC",
        "application_name": "trainingjob-records",
        # After a fail-over an address may lead to a standby for a while, and one of several hosts may
        # be a standby. On a connection to it, the service could read but never write.
        "target_session_attrs": "read-write",
        # A pooler in between (PgBouncer) may run each transaction on another connection.
        "prepare_threshold": None,
    }
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    engine = create_async_engine(url, **common, pool_pre_ping=True, connect_args=arguments)
    _invalidate_read_only_connections(engine.sync_engine)
    return engine


def open_sqlite_writer(url: URL) -> Engine:
    """Return a synchronous engine with one connection that writes to an SQLite file, for one thread.

    An asynchronous engine would pass each call of a transaction to a thread and back, 15 times for a
    batch. On a busy machine, that waiting costs more than the work.
    """
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        pool_size=1,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,
    )
    # A transaction that reads first and writes later fails at once if another one wrote meanwhile.
    # One that takes the write lock at its beginning waits for the lock.
    _configure_sqlite(engine, begin="BEGIN IMMEDIATE")
    return engine


def connect_timeout_s(url: URL) -> int:
    """Return the default connect timeout for each host of this URL, in seconds."""
    share = _CONNECT_TOTAL_S // _count_hosts(url)
    return max(_MIN_CONNECT_TIMEOUT_S, min(_CONNECT_TIMEOUT_S, share))


def max_connect_s(url: URL) -> float:
    """Return the longest time that getting a working connection to this URL can take, in seconds.

    The worst case: an old connection times out first, and only the last host answers.
    """
    return _STATEMENT_TIMEOUT_MS / 1000 + _count_hosts(url) * connect_timeout_s(url)


def _count_hosts(url: URL) -> int:
    """Count the hosts of a URL: in its query, or separated by commas."""
    named = [url.host or "", *url.normalized_query.get("host", ())]
    return max(1, sum(len(hosts.split(",")) for hosts in named if hosts))


class OpenConnections:
    """Tracks the open connections of a PostgreSQL engine. Bound: the size of its pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Track the connections of an engine that has not connected yet."""
        self._open: Final = WeakSet["AsyncConnection[Any]"]()
        in_turn = engine.url.query.get("load_balance_hosts", "disable") == "disable"

        @event.listens_for(engine.sync_engine, "connect")
        def add(connection: Any, _: Any) -> None:
            new = connection.driver_connection
            if in_turn:
                self._leave_other_hosts(new)
            self._open.add(new)

    def _leave_other_hosts(self, new: "AsyncConnection[Any]") -> None:
        """Break the connections to all hosts but that of the new connection.

        Hosts are tried in order. So the other host refused this connection, did not answer, or is
        read-only: a fail-over has happened, or an earlier host is back. Without this, the one writer
        would wait on a hanging host for as long as another host answers the pings.
        """
        for connection in list(self._open):
            if not connection.closed and _host_of(connection) != _host_of(new):
                _break(connection)

    def break_all(self) -> None:
        """Break all connections, as if the server had vanished.

        No statement is cancelled at the server. A commit that waits for a synchronous standby would
        then be committed without it, and the same record, sent again, would be acknowledged.
        """
        for connection in list(self._open):
            if not connection.closed:
                _break(connection)


def _host_of(connection: "AsyncConnection[Any]") -> tuple[str, int]:
    return connection.info.host, connection.info.port


def _break(connection: "AsyncConnection[Any]") -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as tcp:
        tcp.shutdown(socket.SHUT_RDWR)


def is_sqlite(url: URL) -> bool:
    """Return True if this URL names an SQLite database."""
    return url.get_backend_name() == "sqlite"


def _create_file(path: Path) -> None:
    """Create the file before SQLite does, with mode 0600; SQLite's other files get the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise SettingsError(
            f"TRAININGJOB_RECORDS_DATABASE: cannot write {path}: {error.strerror}"
        ) from error


def _invalidate_read_only_connections(engine: Engine) -> None:
    """Treat a read-only error as a disconnect: the server has become a standby."""

    @event.listens_for(engine, "handle_error")
    def notice(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True


def _configure_sqlite(engine: Engine, *, begin: str) -> None:
    """Set the pragmas of each connection, and the statement that begins a transaction."""

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # By default the driver begins a transaction too late, and without the write lock.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
