"""Manages the database: migrations at the start, readers and the one writer, and error translation."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from trainingjob_records.disk_space import Reserve, Space, Usage, measure
from trainingjob_records.engine import (
    OpenConnections,
    is_sqlite,
    max_connect_s,
    open_engine,
    open_sqlite_writer,
)
from trainingjob_records.errors import FullError, StartError, UnavailableError
from trainingjob_records.migrations import upgrade
from trainingjob_records.settings import Settings

RETRY_AFTER_S: Final = 5
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0
_PING_TIMEOUT_S: Final = 2.0
_READ_TIMEOUT_S: Final = 8.0
_FULL: Final = (
    "the database is full: enlarge the volume, or remove records with `trainingjob records prune`"
)
_FULL_RETRY_AFTER_S: Final = 30
_POSTGRES_DISK_FULL: Final = "53100"
_logger = logging.getLogger(__name__)

Done = TypeVar("Done")


class Database:
    """One database for the life of the process: many readers, one writer.

    Until `prepare` has finished, and whenever the database cannot be reached, every method raises
    `UnavailableError`.
    """

    def __init__(self, settings: Settings) -> None:
        """Build the engines; nothing is connected yet.

        Raises:
            SettingsError: the database that the settings name cannot be used.
        """
        self.name: Final = settings.url.render_as_string(hide_password=True)
        self._engine: Final = open_engine(settings.url, connections=settings.pool_size + 1)
        self._file: Final = open_sqlite_writer(settings.url) if is_sqlite(settings.url) else None
        self._thread: Final = ThreadPoolExecutor(1, "sqlite-writer")
        self._silence_s: Final = max_connect_s(settings.url) + _PING_TIMEOUT_S
        self._connections: Final = None if self._file else OpenConnections(self._engine)
        self._ping_task: asyncio.Task[None] | None = None
        self._prepared = False
        self._path: Final = Path(settings.url.database or "").absolute() if self._file else None
        self._reserve: Final = Reserve(self._path) if self._path else None
        self._filled: Final = asyncio.Event()
        self.prepared: Final = asyncio.Event()
        self.usage: Final = Usage()

    @property
    def is_file(self) -> bool:
        """True if this is an SQLite file, so that its free space can be measured."""
        return self._path is not None

    async def prepare(self) -> None:
        """Create or upgrade the tables; retry with back-off until the database can be reached.

        Raises:
            StartError: this is not a database, the tables cannot be created, or they belong to a
                later version.
        """
        wait_s = _FIRST_WAIT_S
        while not self.prepared.is_set():
            try:
                if not self._prepared:
                    await self._write(upgrade)
                    self._prepared = True
                # Retention waits for this event, so a transient fault here must be retried.
                await self.measure()
                self.prepared.set()
            except UnavailableError as error:
                if self._reserve is not None:
                    # On a full disk the file cannot even be opened. The reserve is restored later.
                    self._reserve.release()
                _logger.warning("%s: %s; trying again in %g s", self.name, error, wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            except DBAPIError as error:
                raise StartError(f"{self.name}: cannot create the tables: {error.orig}") from error
        _logger.info("records are kept in %s", self.name)

    async def close(self) -> None:
        """Close all connections."""
        if self._ping_task is not None:
            self._ping_task.cancel()
            await asyncio.wait([self._ping_task])
        await self._engine.dispose()
        if self._file is not None:
            # Closed by the thread that uses it, after its pending work.
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.dispose)
        self._thread.shutdown(wait=False)

    async def write(self, work: Callable[[Connection], Done]) -> Done:
        """Run `work` in a transaction, which is committed when this returns.

        Raises:
            UnavailableError: the result is unknown: the transaction may be committed or not.
        """
        self._check_prepared()
        if self.usage.is_full:
            raise FullError(_FULL, retry_after_s=_FULL_RETRY_AFTER_S)
        try:
            return await self._write(work)
        except FullError:
            _logger.error("%s: %s", self.name, _FULL)  # noqa: TRY400 - the traceback would not help
            self.usage.is_full = True
            self._filled.set()
            raise

    async def write_even_if_full(self, work: Callable[[Connection], Done]) -> Done:
        """Run `work` in a transaction even on a full disk; for work that deletes or only reads.

        Raises:
            UnavailableError: the work was not done, or the result is unknown.
        """
        self._check_prepared()
        return await self._write(work)

    async def measure(self) -> Space:
        """Measure the used and the free space, and set them in `usage`.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        space = await self.write_even_if_full(lambda connection: measure(connection, self._path))
        self.usage.space = space
        return space

    async def wait_until_full(self, seconds: float) -> None:
        """Wait for this time, or until a write finds the database full."""
        try:
            async with asyncio.timeout(seconds):
                await self._filled.wait()
        except TimeoutError:
            return
        self._filled.clear()

    async def use_reserve(self) -> None:
        """Delete the reserve file, and checkpoint SQLite's write-ahead log into the database file."""
        if self._file is None or self._reserve is None:
            return
        self._reserve.release()
        with self._failures():
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, _checkpoint, self._file)
        await self.measure()

    async def restore_reserve(self) -> None:
        """Create the reserve file again, and accept records again, if there is space for both."""
        is_there = self._reserve is None or await asyncio.to_thread(self._reserve.restore)
        if not self.usage.is_full or not is_there:
            return
        space = await self.measure()
        if space.has_room(self._reserve.size if self._reserve else 0):
            self.usage.is_full = False
            _logger.warning("%s: records are accepted again, there is free space", self.name)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a read transaction, with a timeout.

        Raises:
            UnavailableError: the database cannot be reached, or is too slow.
        """
        self._check_prepared()
        with self._failures():
            async with asyncio.timeout(_READ_TIMEOUT_S), self._engine.begin() as connection:
                yield connection

    async def ping(self) -> None:
        """Run a query that only a working, migrated database can answer.

        Connecting can take longer than the timeout of a ping. So the query continues after that
        timeout, and the next ping waits for the same query. Otherwise no ping would ever get past a
        dead host to the one that has replaced it.

        Raises:
            UnavailableError: the database does not answer, or has not answered yet.
        """
        self._check_prepared()
        if self._ping_task is None or self._ping_task.done():
            self._ping_task = asyncio.create_task(self._query_version())
        with self._failures():
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await asyncio.shield(self._ping_task)
        if self.usage.is_full:
            raise FullError(_FULL, retry_after_s=_FULL_RETRY_AFTER_S)

    async def _query_version(self) -> None:
        """Query the schema version, on a new connection if necessary.

        If the server does not answer in time, all connections are closed: a hanging server is silent
        on all of them, and the one writer would wait on its connection for ever. A server on which a
        commit waits for a synchronous standby does answer this query, so it is not affected.
        """
        loop, connections = asyncio.get_running_loop(), self._connections
        timer = loop.call_later(self._silence_s, connections.break_all) if connections else None
        try:
            async with self._engine.begin() as connection:
                await connection.execute(text("SELECT version_num FROM alembic_version"))
        finally:
            if timer is not None:
                timer.cancel()

    def _check_prepared(self) -> None:
        if not self._prepared:
            raise UnavailableError(
                "the database has not been reached yet", retry_after_s=RETRY_AFTER_S
            )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Translate failures to `UnavailableError`, and set `usage.is_reachable`."""
        try:
            with _translated():
                yield
        except UnavailableError as error:
            self.usage.is_reachable = isinstance(error, FullError)
            raise
        self.usage.is_reachable = True

    async def _write(self, work: Callable[[Connection], Done]) -> Done:
        with self._failures():
            if self._file is not None:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, _write_file, self._file, work)
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)


def _write_file(file: Engine, work: Callable[[Connection], Done]) -> Done:
    with file.begin() as connection:
        return work(connection)


def _checkpoint(file: Engine) -> None:
    connection = file.raw_connection()
    try:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _is_full(error: SQLAlchemyError | TimeoutError) -> bool:
    original = error.orig if isinstance(error, DBAPIError) else None
    return (
        getattr(original, "sqlite_errorname", None) == "SQLITE_FULL"
        or getattr(original, "sqlstate", None) == _POSTGRES_DISK_FULL
    )


@contextmanager
def _translated() -> Iterator[None]:
    """Raise `UnavailableError` if the database cannot be used; do not change other exceptions."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError, TimeoutError) as error:
        if _is_full(error):
            raise FullError(_FULL, retry_after_s=_FULL_RETRY_AFTER_S) from error
        raise UnavailableError(_reason(error), retry_after_s=RETRY_AFTER_S) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise UnavailableError(_reason(error), retry_after_s=RETRY_AFTER_S) from error
        raise


def _reason(error: SQLAlchemyError | TimeoutError) -> str:
    """Return the driver's message on one line; it can name a host or a file, never a password."""
    message = str(error.orig) if isinstance(error, DBAPIError) else "it does not answer in time"
    return f"the database cannot be used: {' '.join(message.split())[:200]}"
