"""The server process: builds all components, serves until a signal is received, and shuts down."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from trainingjob_records.app import create_app
from trainingjob_records.auth import Gate
from trainingjob_records.batching import BatchWriter
from trainingjob_records.database import Database
from trainingjob_records.errors import StartError
from trainingjob_records.jobs_api import JobsApi
from trainingjob_records.metrics import Metrics
from trainingjob_records.record import Entry
from trainingjob_records.retention import Retention
from trainingjob_records.settings import Settings
from trainingjob_records.writes import Outcome, store
from trainingjob_web.connections import Connections, connections_within
from trainingjob_web.listener import ListenError, bracketed, listen
from trainingjob_web.uvicorn_server import make_server

_GRACE_S: Final = 0.5
"""Grace period for requests in flight when the signal is received, in seconds."""

_STOP_TIMEOUT_S: Final = 0.3
_logger = logging.getLogger(__name__)


class Service:
    """The record service: its components and their life cycle."""

    def __init__(self, settings: Settings) -> None:
        """Build the components; nothing is served yet.

        Raises:
            SettingsError: a token file or the database that the settings name cannot be used.
        """
        self._settings: Final = settings
        self._database: Final = Database(settings)
        self._writer: Final = BatchWriter(
            self._store,
            max_records=settings.queue_records,
            max_bytes=settings.queue_bytes,
            batch_records=settings.batch_records,
            commit_timeout_s=settings.commit_timeout,
        )
        self._connections: Final = Connections(connections_within(settings.max_connections))
        self._metrics: Final = Metrics(self._writer, self._connections, self._database.usage)
        self._retention: Final = Retention(
            self._database,
            age=settings.age_limit,
            size=settings.size_limit,
            interval_s=settings.retention_interval,
        )
        api = JobsApi(
            database=self._database,
            writer=self._writer,
            gate=Gate(settings),
            metrics=self._metrics,
            max_body=settings.max_body_bytes,
        )
        app = create_app(api, database=self._database, metrics=self._metrics)
        self._server: Final = make_server(app, self._connections, grace_s=_GRACE_S, ws="none")

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            StartError: the address is in use, or the database cannot be used by this version.
        """
        try:
            listener = listen(self._settings.host, self._settings.port)
        except ListenError as error:
            raise StartError(str(error)) from error
        host, port = listener.getsockname()[:2]
        _logger.info("records are taken on http://%s:%d/api/v1/jobs", bracketed(host), port)
        tasks = [
            asyncio.create_task(self._database.prepare(), name="prepare"),
            asyncio.create_task(self._writer.keep_writing(), name="writer"),
            asyncio.create_task(self._connections.watch_timeouts(), name="connections"),
            asyncio.create_task(self._retention.keep_limits(), name="retention"),
        ]
        for task in tasks:
            task.add_done_callback(self._stop_if_failed)
        # At its end, uvicorn raises the signal again for the earlier handlers. Python's default
        # handlers would then end the process with an exit code other than 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            await self._server.serve(sockets=[listener])
            _raise_first(tasks)
        finally:
            for task in tasks:
                task.cancel()
            # A database that does not answer must not delay the exit; commits are durable anyway.
            await asyncio.wait(tasks, timeout=_STOP_TIMEOUT_S)
            closing = asyncio.create_task(self._database.close(), name="close")
            await asyncio.wait([closing], timeout=_STOP_TIMEOUT_S)
            listener.close()

    def _stop(self, *_: object) -> None:
        self._server.should_exit = True

    def _stop_if_failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._server.should_exit = True

    async def _store(self, entries: Sequence[Entry]) -> list[Outcome]:
        begun = perf_counter()
        outcomes = await self._database.write(lambda connection: store(connection, entries))
        self._metrics.count_commit(len(entries), perf_counter() - begun)
        return outcomes


def _raise_first(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
