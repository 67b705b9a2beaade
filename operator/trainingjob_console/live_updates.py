"""Builds the live-updates feature: the WebSocket, the logs, and the samples of the operators' metrics."""

from starlette.routing import WebSocketRoute

from trainingjob_console.api.housekeeping import HousekeepingApi
from trainingjob_console.api.logs import LogsApi
from trainingjob_console.clock import utc_now
from trainingjob_console.components import Components, Feature
from trainingjob_console.jobs.summary import as_text
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.job_logs import JobLogs
from trainingjob_console.samples.addresses import Addresses
from trainingjob_console.samples.pinned_auth import PinnedAuth
from trainingjob_console.samples.retention_runs import MAX_RUNS
from trainingjob_console.samples.sampler import Sampler
from trainingjob_console.sockets.admission import REFUSALS
from trainingjob_console.sockets.connection import REASONS
from trainingjob_console.sockets.hub import Hub
from trainingjob_console.sockets.job_topics import JobTopics
from trainingjob_console.sockets.log_ring import LOSS_REASONS


def live_updates_feature(components: Components) -> Feature:
    """Return the routes and tasks of live updates."""

    async def history_namespace(uid: str, user: str) -> str:
        record = await components.history.record(uid, user)
        return as_text((record or {}).get("namespace"))

    archives = ArchiveReader(components.settings.log_volume)
    logs = JobLogs(
        components.kube,
        components.access,
        components.index,
        archives,
        history_namespace,
        recheck_s=components.limits.recheck,
        unsure_s=components.limits.unsure,
    )
    settings = components.settings
    certificate = settings.operator_metrics_certificate
    sampler = Sampler(
        Addresses(settings.operator_metrics),
        utc_now,
        None if certificate is None else PinnedAuth(certificate, components.kube.token),
    )
    about = HousekeepingApi(
        components.access, components.informer, sampler, components.metrics.registry, utc_now
    )
    hub = Hub(
        access=components.access,
        topics=JobTopics(components.index),
        logs=logs,
        housekeeping=sampler,
        scheduler=components.scheduler,
        limits=components.limits,
    )
    watch = components.metrics.watch_bound
    watch("sockets", lambda: hub.admission.used, lambda: hub.limits.sockets)
    watch("queued_bytes", lambda: hub.budget.used, lambda: hub.budget.limit)
    components.metrics.watch_reasons(
        "sockets_refused", "Sockets refused before the upgrade.", REFUSALS, hub.admission.refused
    )
    components.metrics.watch_reasons("sockets_closed", "Sockets that ended.", REASONS, hub.closed)
    components.metrics.watch_count(
        "queues_cut",
        "Queues of sockets that were cut, because all together were too large.",
        lambda: hub.budget.cuts,
    )
    components.metrics.watch_reasons(
        "log_gaps", "Gaps in the live logs that pages were sent.", LOSS_REASONS, hub.losses.gaps
    )
    components.metrics.watch_reasons(
        "log_lines_dropped",
        "Lines of live logs that waited for a page and were dropped.",
        LOSS_REASONS,
        hub.losses.lines,
    )
    watch("samples", lambda: len(sampler.ring), lambda: sampler.ring.limit)
    watch("sweeps", lambda: len(sampler.sweeps), lambda: MAX_RUNS)
    watch("log_streams", lambda: len(logs.followers), lambda: logs.followers.limit)
    watch("live_reads", lambda: len(logs.live.reads), lambda: logs.live.reads.limit)
    watch("first_errors", lambda: len(logs.errors), lambda: logs.errors.limit)
    watch("archive_reads", lambda: len(archives), lambda: archives.limit)

    return Feature(
        routes=[
            WebSocketRoute("/ws", hub),
            *LogsApi(components.access, logs).routes(),
            *about.routes(),
        ],
        tasks=[("samples", sampler.run)],
        closers=[logs.followers.close],
    )
