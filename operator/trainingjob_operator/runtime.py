"""The operator process: runs the engine with kopf, the watches, the HTTP servers and the signals."""

import asyncio
import gc
import logging
import socket
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import kopf

from trainingjob_api.errors import SettingsError
from trainingjob_operator.clock import Clock, ClockSinceBoot, SystemClock
from trainingjob_operator.core.gitops import instance_label
from trainingjob_operator.core.lease import ALL_NAMESPACES
from trainingjob_operator.engine import Engine, policy_namespaces
from trainingjob_operator.handlers.kopf_runner import CountedMemories, KopfRunner
from trainingjob_operator.handlers.lifecycle import (
    operator_settings,
    register_lifecycle,
    register_login,
)
from trainingjob_operator.handlers.retention import register_policies
from trainingjob_operator.jobs.reset_detector import ResetDetector
from trainingjob_operator.kube.connection import Connection, connect
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.kopf_trace import KopfRequestTrace
from trainingjob_operator.kube.lease import LeaseGateway
from trainingjob_operator.kube.object_watch import JOBS, PODS, ObjectWatch
from trainingjob_operator.kube.reviews import ReviewGateway
from trainingjob_operator.kube.watch_client import WatchClient
from trainingjob_operator.leadership import Leadership, new_identity
from trainingjob_operator.log_archive.log_volume import log_volume_from
from trainingjob_operator.observability.collector import OperatorCollector
from trainingjob_operator.observability.metrics import Metrics
from trainingjob_operator.observability.metrics_auth import MetricsAuthorizer
from trainingjob_operator.observability.probes import WebServer
from trainingjob_operator.observability.secure_metrics import PATH as METRICS_PATH
from trainingjob_operator.observability.secure_metrics import SecureMetrics
from trainingjob_operator.records.endpoint import writer_from
from trainingjob_operator.settings import Settings

_IDENTITY: Final = cast(Any, "trainingjob-operator")
"""Identity for kopf's peering, which is not used. (kopf's own type for it is not public.)"""

_logger = logging.getLogger(__name__)


class Operator:
    """One operator process."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        *,
        clock: Clock | None = None,
        leadership: Leadership | None = None,
    ) -> None:
        """Build the parts; nothing runs and nothing is sent yet.

        Args:
            settings: all settings.
            connection: the API server with our credentials.
            clock: the time; None: the machine's clocks.
            leadership: the leader election; None: this process is always active.
        """
        clock = clock or SystemClock()
        self._namespace: Final = settings.own_namespace(connection.namespace)
        self.settings: Final = settings
        self.connection: Final = connection
        self.leadership: Final = leadership
        self._may_write: Final = self._leads if leadership is not None else None
        self.gateway: Final = Gateway(
            connection,
            timeout_s=settings.kubernetes.timeout,
            may_write=self._may_write,
        )
        self.metrics: Final = Metrics(has_volume=bool(settings.volume.root))
        # In addition to the outbox, each worker can store a record before its status write.
        more = settings.reconciler.workers
        self.writer: Final = (
            writer_from(settings.persist, more_connections=more) if settings.persist.url else None
        )
        self.engine: Final = Engine(
            settings,
            self.gateway,
            clock,
            namespace=self._namespace,
            on_pass=self.metrics.passes.observe,
            counts=self.metrics.gc,
            endpoint=self.writer,
            volume=log_volume_from(settings, clock),
            request_restart=self.request_restart,
        )
        self.kopf_requests: Final = KopfRequestTrace(self._restart_without_crd)
        self.watch_client: Final = WatchClient(connection, self.gateway.requests)
        watch = partial(
            ObjectWatch,
            client=self.watch_client,
            namespaces=settings.namespaces or (None,),
            on_relist=self.engine.resync.request,
            clock=clock,
        )
        self.job_watch: Final = watch(
            JOBS,
            current_version=self.gateway.jobs_version,
            listed_version=lambda namespace: self.engine.resync.jobs_versions.get(namespace, ""),
            on_event=self.engine.watch_events.job_event,
            on_missing=self._restart_without_crd,
        )
        self.pod_watch: Final = watch(
            PODS,
            current_version=self.gateway.pods_version,
            listed_version=lambda namespace: self.engine.resync.pods_versions.get(namespace, ""),
            on_event=self.engine.watch_events.pod_event,
        )
        self.reset_detector: Final = ResetDetector(
            self.gateway,
            namespace=next(iter(settings.namespaces), None),
            newest_version=lambda: self.engine.index.newest_version,
            compare=self.engine.resync.request,
            restart=self.request_restart,
            is_watching=lambda: self.kopf_requests.has_asked,
            monotonic=clock.monotonic,
        )
        self.web: Final = WebServer(
            settings.web.address,
            healthy=self.engine.liveness_problem,
            ready=self.readiness_problem,
            metrics=self.metrics.render,
            leads=self._leads,
            metrics_for_all=not settings.metrics.secure_address,
        )
        self.reviews: Final = ReviewGateway(connection)
        self.secure_metrics: Final = (
            SecureMetrics(
                settings.metrics.secure_address,
                Path(settings.metrics.certificate_dir),
                MetricsAuthorizer(self._may_get_metrics, monotonic=clock.monotonic),
                self.web.metrics_page,
            )
            if settings.metrics.secure_address
            else None
        )
        self.memories: Final = CountedMemories()
        self.metrics.registry.register(
            OperatorCollector(
                self.engine,
                self.gateway.requests,
                self.memories,
                self.web,
                leads=self._leads,
                secure=self.secure_metrics,
                is_ready=lambda: self.readiness_problem() is None,
            )
        )
        self.kopf_runner: Final = KopfRunner()
        self.restart_requested = False

    async def run(self, *, handle_signals: bool = False) -> None:
        """Run until `kopf_runner.stop_requested` is set, by SIGTERM or SIGINT if signals are handled.

        Raises:
            SettingsError: the web address cannot be taken.
        """
        registry = kopf.OperatorRegistry()
        register_login(registry, server=self.connection.server, open_session=self._open_session)
        register_lifecycle(registry, start=self._start, stop=self._stop)
        policies = self.engine.policy_watch
        register_policies(
            registry,
            policies.policy_event,
            is_current=policies.is_current,
            tick=self.engine.housekeeper.tick,
            interval_s=self.settings.gc.interval,
        )
        if handle_signals:
            self.kopf_runner.handle_signals()
        try:
            settings = self.settings
            address = await _serve(self.web, "WEB__ADDRESS", settings.web.address)
            _logger.info("probes are served on %s", address)
            if self.secure_metrics is not None:
                address = await _serve(
                    self.secure_metrics,
                    "METRICS__SECURE_ADDRESS",
                    settings.metrics.secure_address,
                    example="0.0.0.0:8443",
                )
                _logger.info("metrics are served on %s", address)
            # kopf looks for our kinds when it starts, and of some namespaces never again.
            if await self.kopf_runner.wait_unless_stopped(self._until_active()):
                await self.kopf_runner.run(self._kopf(registry))
        finally:
            await self.web.stop()
            if self.secure_metrics is not None:
                await self.secure_metrics.stop()
            if self.writer is not None:
                await self.writer.close()
            await self.reviews.close()
            await self.watch_client.close()
            await self.gateway.close()

    async def _until_active(self) -> None:
        """Wait for the Lease, then for the CRDs. A standby watches nothing and writes nothing."""
        if self.leadership is not None:
            await self.leadership.wait_until_acquired()
        await self.reset_detector.until_served()

    def _leads(self) -> bool:
        return self.leadership is None or self.leadership.leads

    def request_restart(self, why: str) -> None:
        """Stop in order, since the in-memory state is invalid; `run` then starts a new Operator."""
        if not self.kopf_runner.stop_requested.is_set():
            _logger.warning("restarting: %s", why)
            self.restart_requested = True
            self.kopf_runner.stop_requested.set()

    def _restart_without_crd(self, path: str) -> None:
        self.request_restart(f"404 on GET {path}: its CRD was deleted")

    def _kopf(self, registry: kopf.OperatorRegistry) -> Coroutine[Any, Any, None]:
        clusterwide = not self.settings.namespaces
        return kopf.operator(
            registry=registry,
            settings=operator_settings(clusterwide=clusterwide),
            memories=self.memories,
            standalone=True,
            # By default kopf looks up the user's name, and the image's user has only a number.
            identity=_IDENTITY,
            clusterwide=clusterwide,
            namespaces=[
                each for each in policy_namespaces(self.settings, self._namespace) if each
            ],
            stop_flag=self.kopf_runner.stop_requested,
        )

    async def _may_get_metrics(self, token: str) -> bool | None:
        return await self.reviews.may_get(token, METRICS_PATH)

    async def _open_session(self) -> aiohttp.ClientSession:
        return await self.connection.open_session(
            self.kopf_requests.config,
            self.gateway.requests.trace(),
            may_write=self._may_write,
        )

    def readiness_problem(self) -> str | None:
        """Return the reason why `/readyz` fails; None: this process is ready.

        A standby is ready if it could take over.
        """
        leadership = self.leadership
        if leadership is not None and not leadership.leads and not self.engine.is_stopping:
            return leadership.standby_problem()
        if self.reset_detector.missing is not None and not self.engine.is_stopping:
            return self.reset_detector.missing
        if (problem := self.engine.readiness_problem()) is not None:
            return problem
        if not self.job_watch.has_begun:
            return "the watch of jobs is not open yet"
        return None if self.pod_watch.has_begun else "the watch of pods is not open yet"

    async def _start(self) -> None:
        try:
            await self.engine.start()
        except asyncio.CancelledError:
            self.kopf_runner.engine_stopped()  # kopf does not call `_stop` then: there is nothing to stop
            raise
        self.engine.add_task(self.job_watch.run(), "job-watch")
        self.engine.add_task(self.pod_watch.run(), "pod-watch")
        self.engine.add_task(self.reset_detector.watch_cluster(), "reset-detector")

    async def _stop(self) -> None:
        await self.engine.stop()
        self.kopf_runner.engine_stopped()


async def _serve(
    server: WebServer | SecureMetrics,
    variable: str,
    address: str,
    *,
    example: str = "0.0.0.0:8081",
) -> str:
    """Start a server; return the address on which it listens.

    Raises:
        SettingsError: it cannot listen on the address in the settings.
    """
    try:
        return await server.start()
    except OSError as error:
        raise SettingsError(
            f"TRAININGJOB_{variable}: cannot serve on {address} ({error.strerror or error}); set a "
            f"host:port that is free, as in {example}"
        ) from error


async def run(settings: Settings, *, kubeconfig: str | None, context: str | None) -> None:
    """Connect to the API server and run the operator until it is signalled to stop.

    Raises:
        SettingsError: no API server is configured, or an address cannot be listened on.
    """
    _freeze_imports()
    instance_label.set(settings.gc.argocd_label)
    connection = await connect(kubeconfig, context)
    leadership = (
        leadership_from(settings, connection) if settings.leader_election.enabled else None
    )
    if leadership is not None:
        leadership.start()
    operator: Operator | None = None
    try:
        while operator is None or (
            operator.restart_requested and not operator.kopf_runner.is_signalled
        ):
            if operator is not None:
                connection = await connect(kubeconfig, context)
                if operator.kopf_runner.is_signalled:
                    return
            _logger.info("the API server is %s", connection.server)
            operator = Operator(settings, connection, leadership=leadership)
            await operator.run(handle_signals=True)
    finally:
        # Everything has stopped: from here on another operator may be active.
        if leadership is not None:
            await leadership.stop()


def leadership_from(settings: Settings, connection: Connection) -> Leadership:
    """Return this process as a candidate for the Lease; nothing is sent yet."""
    lease = LeaseGateway(
        connection,
        namespace=settings.own_namespace(connection.namespace),
        name=settings.leader_election.lease_name,
        serves=",".join(settings.namespaces) or ALL_NAMESPACES,
    )
    return Leadership(
        lease,
        ClockSinceBoot(),
        identity=new_identity(socket.gethostname()),
        times=settings.leader_election.times,
    )


def _freeze_imports() -> None:
    """Exclude imported modules from garbage collection (`gc.freeze`); they are never freed anyway.

    They are most of the memory, and scanning them stops the process for a tenth of a second: three
    times while a start lists ten thousand jobs, and repeatedly during bursts.
    """
    gc.collect()
    gc.freeze()
