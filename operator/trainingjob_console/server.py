"""Builds the components of the console, serves until SIGTERM or SIGINT, and shuts down in order."""

import asyncio
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Final

from starlette.types import ASGIApp

from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.access.subject_reviews import SubjectReviews
from trainingjob_console.access.ttl_cache import TtlCache
from trainingjob_console.api.actions import ActionsApi
from trainingjob_console.api.job import JobApi
from trainingjob_console.api.jobs import JobsApi
from trainingjob_console.api.session import SessionApi
from trainingjob_console.app import create_app, create_metrics_app
from trainingjob_console.components import Components, Feature
from trainingjob_console.errors import SettingsError, StartError
from trainingjob_console.jobs.fair_scheduler import FairScheduler
from trainingjob_console.jobs.history import History
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.informer import JobInformer
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.credentials import Account
from trainingjob_console.live_updates import live_updates_feature
from trainingjob_console.metrics import Metrics
from trainingjob_console.settings import Settings, host_and_port
from trainingjob_console.sockets.limits import MAX_FRAME, Limits
from trainingjob_console.sockets.protocol import SocketProtocol
from trainingjob_console.static_files import StaticFiles
from trainingjob_web.certificate import Certificate, CertificateError
from trainingjob_web.connections import Connections, connections_within
from trainingjob_web.listener import ListenError, bracketed, listen
from trainingjob_web.tls import HANDSHAKES, TlsAcceptor
from trainingjob_web.uvicorn_server import make_server

FEATURES: Final[tuple[Callable[[Components], Feature], ...]] = (
    lambda components: SessionApi(components).feature(),
    lambda components: JobsApi(components).feature(),
    lambda components: JobApi(components).feature(),
    lambda components: ActionsApi(components).feature(),
    live_updates_feature,
)
"""All features of the console; a new one is added only here. Routes are matched in this order."""

_METRICS_CONNECTIONS: Final = 32
_GRACE_S: Final = 0.5
"""Time for requests that are in flight at shutdown."""

_CLOSE_TIMEOUT_S: Final = 3.0
_logger = logging.getLogger(__name__)


class Console:
    """The console: builds its components, and starts and stops them.

    Attributes:
        components: shared by all features.
        app: for browsers.
    """

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        """Build the components, without serving or sending requests.

        Args:
            settings: of the console.
            limits: of WebSockets.

        Raises:
            SettingsError: the account, the certificate or another setting is invalid.
        """
        kube = Kube(Account(settings.kubeconfig))
        limits, scheduler = limits or Limits(), FairScheduler()
        reviews = SubjectReviews(kube, fresh_s=limits.recheck)
        index = JobIndex(max_jobs=settings.max_jobs, epoch=secrets.token_hex(4))
        self.components: Final = Components(
            settings=settings,
            limits=limits,
            kube=kube,
            access=AccessControl(settings, reviews, index.namespaces),
            index=index,
            scheduler=scheduler,
            informer=JobInformer(kube, index, settings.namespaces),
            history=History(
                settings.records_url, settings.records_token_file, settings.cluster_name
            ),
            metrics=Metrics(),
        )
        self._certificate: Final = _certificate(settings)
        self._features: Final = tuple(feature(self.components) for feature in FEATURES)
        metrics = self.components.metrics
        self._connections: Final = Connections(connections_within(settings.max_connections))
        metrics.watch_bound("jobs", lambda: len(index), lambda: index.max_jobs)
        metrics.watch_bound("jobs_bytes", lambda: index.bytes, lambda: index.max_bytes)
        metrics.watch_bound("long_works", lambda: len(scheduler), lambda: scheduler.limit)
        checks, calls = reviews.unknown, self.components.history.calls
        metrics.watch_bound("token_checks", lambda: len(checks), lambda: checks.limit)
        metrics.watch_bound("history_calls", lambda: len(calls), lambda: calls.limit)
        caches: dict[str, TtlCache[Any, Any]] = {
            "owners": reviews.owners.answers,
            "unknown_tokens": reviews.owners.refusals,
            "rights": reviews.rights.answers,
            "refused_rights": reviews.rights.refusals,
        }
        for name, cache in caches.items():
            metrics.watch_bound(name, cache.__len__, partial(getattr, cache, "limit"))
        metrics.watch_bound(
            "connections", lambda: len(self._connections), lambda: self._connections.limit
        )
        self.app: Final = create_app(
            [route for feature in self._features for route in feature.routes],
            files=StaticFiles(),
            metrics=metrics,
            not_ready_reason=self.not_ready_reason,
        )

    def not_ready_reason(self) -> str:
        """Return why pages cannot be served yet; empty: ready. Readable without authentication."""
        if self.components.index.is_complete:
            return ""
        if self.components.informer.error:
            return "the jobs cannot be listed: the console's log says why"
        return "the jobs are being listed"

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            StartError: an address is in use.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with self.running() as url:
            _logger.info("the console is on %s", url)
            await stop.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve while this context is open; yields the URL. Exit the context in the task that entered it.

        Raises:
            StartError: an address is in use.
            Exception: a task of the console has failed, which cancels the body of the context.
        """
        settings, metrics = self.components.settings, self.components.metrics
        server = _Server(
            self.app, self._connections, _listener(settings.address), self._certificate
        )
        servers = [server]
        if (door := server.door) is not None:
            metrics.watch_bound("handshakes", lambda: len(door), lambda: HANDSHAKES)
        if settings.metrics_address is not None:
            servers.append(
                _Server(
                    create_metrics_app(metrics, self.not_ready_reason),
                    Connections(_METRICS_CONNECTIONS),
                    _listener(settings.metrics_address),
                )
            )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(work(), name=name)
                    for name, work in (
                        ("jobs", self.components.informer.run),
                        *(task for feature in self._features for task in feature.tasks),
                        *(("server", each.run) for each in servers),
                    )
                ]
                try:
                    yield server.url
                    await self._close_features()
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            for each in servers:
                each.close()
            await self.components.history.close()
            await self.components.kube.close()

    async def _close_features(self) -> None:
        """Run the closers of all features, up to a timeout."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                for feature in self._features:
                    for close in feature.closers:
                        await close()
        except TimeoutError:
            _logger.warning("WebSockets did not close in time")


class _Server:
    """A uvicorn server on one address, without signal handlers."""

    def __init__(
        self,
        app: ASGIApp,
        connections: Connections,
        listener: socket.socket,
        certificate: Certificate | None = None,
    ) -> None:
        self._connections: Final = connections
        self._listener: Final = listener
        self._server: Final = make_server(
            app,
            connections,
            grace_s=_GRACE_S,
            ws=SocketProtocol,
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,
            ws_ping_interval=None,  # the hub sends its own pings, which the page answers
        )
        # The process handles signals itself.
        self._server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
        # None: plain HTTP.
        self.door: Final = (
            TlsAcceptor(self._server, listener, certificate.context) if certificate else None
        )

    @property
    def url(self) -> str:
        """The URL for browsers."""
        host, port = self._listener.getsockname()[:2]
        scheme = "http" if self.door is None else "https"
        return f"{scheme}://{bracketed(host)}:{port}/"

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._connections.watch_timeouts(), name="connections")
            helpers = [watch]
            if self.door is not None:
                self._server.config.load()
                helpers.append(group.create_task(self.door.run(), name="door"))
            listeners = [self._listener] if self.door is None else []
            serving = asyncio.create_task(self._server.serve(sockets=listeners))
            try:
                await asyncio.shield(serving)
            except asyncio.CancelledError:
                self._server.should_exit = True
                await serving
                raise
            finally:
                for task in helpers:
                    task.cancel()

    def close(self) -> None:
        """Close the listening socket."""
        self._listener.close()


def _certificate(settings: Settings) -> Certificate | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    try:
        return Certificate(settings.tls_cert, settings.tls_key)
    except CertificateError as error:
        raise SettingsError(f"TRAININGJOB_CONSOLE_TLS_CERT: {error}") from error


def _listener(address: str) -> socket.socket:
    try:
        return listen(*host_and_port(address))
    except ListenError as error:
        raise StartError(str(error)) from error
