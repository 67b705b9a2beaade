"""The database: it is migrated at the start, and every failure of it becomes one kind of error."""

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
    longest_connect_s,
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
    "there is no room for more records: enlarge the volume, or remove some with "
    "`trainingjob records prune`"
)
_FULL_RETRY_AFTER_S: Final = 30
_POSTGRES_DISK_FULL: Final = "53100"
_logger = logging.getLogger(__name__)

Done = TypeVar("Done")


class Database:
    """One database for the life of the process: many readers, one writer.

    Until `prepare` has come to its end, and whenever the database cannot be reached, everything
    raises `UnavailableError`.
    """

    def __init__(self, settings: Settings) -> None:
        """Open nothing yet.

        Raises:
            SettingsError: the settings name no database that can be used.
        """
        self.name: Final = settings.url.render_as_string(hide_password=True)
        self._engine: Final = open_engine(settings.url, connections=settings.pool_size + 1)
        self._file: Final = open_sqlite_writer(settings.url) if is_sqlite(settings.url) else None
        self._thread: Final = ThreadPoolExecutor(1, "sqlite-writer")
        self._silence_s: Final = longest_connect_s(settings.url) + _PING_TIMEOUT_S
        self._connections: Final = None if self._file else OpenConnections(self._engine)
        self._look: asyncio.Task[None] | None = None
        self._prepared = False
        self._path: Final = Path(settings.url.database or "").absolute() if self._file else None
        self._reserve: Final = Reserve(self._path) if self._path else None
        self._filled: Final = asyncio.Event()
        self.prepared: Final = asyncio.Event()
        self.usage: Final = Usage()

    @property
    def is_file(self) -> bool:
        """True if it is a file of SQLite's, so that we know how much room it has."""
        return self._path is not None

    async def prepare(self) -> None:
        """Create or upgrade the tables; waits for as long as the database cannot be reached.

        Raises:
            StartError: this is no database, the tables may not be created, or they are those of a
                later version.
        """
        wait_s = _FIRST_WAIT_S
        while not self.prepared.is_set():
            try:
                if not self._prepared:
                    await self._write(upgrade)
                    self._prepared = True
                # The retention waits for this: a fault that passes must not be the last look.
                await self.measure()
                self.prepared.set()
            except UnavailableError as error:
                if self._reserve is not None:
                    # On a full disk the file cannot even be opened. It is made again later.
                    self._reserve.release()
                _logger.warning("%s: %s; trying again in %g s", self.name, error, wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            except DBAPIError as error:
                raise StartError(f"{self.name}: cannot create the tables: {error.orig}") from error
        _logger.info("records are kept in %s", self.name)

    async def close(self) -> None:
        """Close all connections."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])
        await self._engine.dispose()
        if self._file is not None:
            # Closed by the thread that uses it, and after what it still does.
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.dispose)
        self._thread.shutdown(wait=False)

    async def write(self, work: Callable[[Connection], Done]) -> Done:
        """Do some work in a transaction. It is committed when this returns.

        Raises:
            UnavailableError: nothing is promised; what was written may be there or not.
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
        """Do some work in a transaction that makes room or only reads, even on a full disk.

        Raises:
            UnavailableError: it was not done, or it is not known.
        """
        self._check_prepared()
        return await self._write(work)

    async def measure(self) -> Space:
        """Measure the room, and set it in `usage`.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        space = await self.write_even_if_full(lambda connection: measure(connection, self._path))
        self.usage.space = space
        return space

    async def wait_until_full(self, seconds: float) -> None:
        """Wait for this time, or until there is no room for a record."""
        try:
            async with asyncio.timeout(seconds):
                await self._filled.wait()
        except TimeoutError:
            return
        self._filled.clear()

    async def use_reserve(self) -> None:
        """Remove the reserve, and write SQLite's log into the file."""
        if self._file is None or self._reserve is None:
            return
        self._reserve.release()
        with self._failures():
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, _checkpoint, self._file)
        await self.measure()

    async def restore_reserve(self) -> None:
        """Make the reserve again, and accept records again, if there is room for both."""
        is_there = self._reserve is None or await asyncio.to_thread(self._reserve.restore)
        if not self.usage.is_full or not is_there:
            return
        space = await self.measure()
        if space.has_room(self._reserve.size if self._reserve else 0):
            self.usage.is_full = False
            _logger.warning("%s: there is room for records again", self.name)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction to read in, for some seconds at most.

        Raises:
            UnavailableError: the database cannot be reached, or is too slow.
        """
        self._check_prepared()
        with self._failures():
            async with asyncio.timeout(_READ_TIMEOUT_S), self._engine.begin() as connection:
                yield connection

    async def ping(self) -> None:
        """Ask the database for something that only a working one can answer.

        To connect can take longer than a ping may. So what is begun goes on, and the next ping takes it
        up: else no ping would ever get past a host that is gone to the one that has taken its place.

        Raises:
            UnavailableError: it cannot answer, or not yet.
        """
        self._check_prepared()
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_at_it())
        with self._failures():
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await asyncio.shield(self._look)
        if self.usage.is_full:
            raise FullError(_FULL, retry_after_s=_FULL_RETRY_AFTER_S)

    async def _look_at_it(self) -> None:
        """Connect, if need be, and ask.

        A server that hangs is silent on all of its connections, and the one writer would wait for ever
        on its own. A commit that waits for a standby is no silence: that server answers here.
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
        """Raise `UnavailableError` if the database cannot be used, and note whether it answered."""
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
                return await loop.run_in_executor(self._thread, _in_file, self._file, work)
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)


def _in_file(file: Engine, work: Callable[[Connection], Done]) -> Done:
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
    """Raise `UnavailableError` if the database cannot be used; other errors stay as they are."""
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
    """Return the driver's message on one line; it names a host or a file, never a password."""
    words = str(error.orig) if isinstance(error, DBAPIError) else "it does not answer in time"
    return f"the database cannot be used: {' '.join(words.split())[:200]}"
