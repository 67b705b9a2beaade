"""`/metrics`: the exposed metrics are those of docs/metrics.md, and their label values are bounded."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from kubernetes.aio.client import Configuration
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.cluster.cluster import FakeCluster
from tests.support.repository import ROOT
from tests.support.volume.volume import AdjustableClock
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended
from trainingjob_api.errors import ForbiddenError
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.runtime import Operator
from trainingjob_operator.settings import (
    MetricsSettings,
    PersistSettings,
    Settings,
    VolumeSettings,
    WebSettings,
)
from trainingjob_operator.volume.sweep.rules import DiskSpace, VolumeReport

PAGE = ROOT / "docs" / "metrics.md"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MAX_SERIES = 400


def job(name: str = "mnist", namespace: str = "ml") -> JobView:
    return JobView(
        key=JobKey(namespace, name),
        uid=f"uid-of-{name}",
        resource_version="1",
        generation=1,
        created_at=NOW,
    )


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    """An operator with a record endpoint and a log volume, without an API server; every label has a value."""
    settings = Settings(
        persist=PersistSettings(url="https://records.example/jobs"),
        volume=VolumeSettings(root=str(tmp_path)),
        metrics=MetricsSettings(secure_address="127.0.0.1:0", certificate_dir=str(tmp_path)),
    )
    operator = Operator(settings, Connection(Configuration(), "default"))
    operator.metrics.gc.jobs_swept(skipped={"Pending": 1}, errors=0, seconds=0.1, at=NOW)
    operator.metrics.gc.volume_swept(
        VolumeReport(skipped={"Foreign": 1}, healthy=True, room=DiskSpace(100, 40)),
        seconds=0.1,
        at=NOW,
    )
    operator.engine.pressure.check()
    operator.gateway.requests.note("GET", {"limit"}, 200)
    yield operator
    await operator._stop()
    assert operator.writer is not None
    await operator.writer.close()
    await operator.gateway.close()


def families(operator: Operator) -> list[Metric]:
    """Return the exposed metric families."""
    found = text_string_to_metric_families(operator.metrics.render().decode())
    return [family for family in found if not family.name.endswith("_created")]


def value(operator: Operator, name: str, **labels: str) -> float | None:
    """Return a sample; None: there is none."""
    return operator.metrics.registry.get_sample_value(f"trainingjob_operator_{name}", labels)


def rows(found: Iterable[Metric]) -> list[str]:
    """Return the lines of the table in docs/metrics.md."""
    lines = []
    for family in found:
        if not family.name.startswith("trainingjob_operator_"):
            continue
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown = ", ".join(f"`{label}`" for label in sorted(labels))
        lines.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return sorted(lines)


async def test_the_metrics_page_documents_every_exposed_metric(operator: Operator) -> None:
    written = re.findall(r"^\| `trainingjob_operator_.*$", PAGE.read_text(), re.MULTILINE)
    assert written == rows(families(operator))


async def test_the_metrics_page_names_every_bounded_structure(operator: Operator) -> None:
    found = {f.name: f for f in families(operator)}
    used = {s.labels["structure"] for s in found["trainingjob_operator_bounded_used"].samples}
    limit = {s.labels["structure"] for s in found["trainingjob_operator_bounded_limit"].samples}
    assert used == limit
    written = re.findall(r"^\| `([a-z_]+)` \| [^|]* \| [^|]* \|$", PAGE.read_text(), re.MULTILINE)
    assert set(written) - {"structure"} == used


async def test_no_structure_exceeds_its_limit(operator: Operator) -> None:
    found = {f.name: f for f in families(operator)}
    limits = found["trainingjob_operator_bounded_limit"].samples
    for limit in limits:
        used = value(operator, "bounded_used", **limit.labels)
        assert used is not None
        assert 0 <= used <= limit.value


async def test_jobs_are_counted_by_phase_without_their_names(operator: Operator) -> None:
    before = sum(len(family.samples) for family in families(operator))
    for number in range(300):
        operator.engine.index.observe_job(job(f"planted-{number}", f"ns-{number}"))
    assert value(operator, "jobs", phase="New") == 300
    assert value(operator, "bounded_used", structure="index") == 300
    assert sum(len(family.samples) for family in families(operator)) == before < MAX_SERIES
    assert b"planted" not in operator.metrics.render()
    assert b"ns-" not in operator.metrics.render()


async def test_pods_are_counted(operator: Operator) -> None:
    operator.engine.index.observe_job(job())
    pod = PodView(
        namespace="ml",
        name="mnist-0-0",
        uid="pod-0-0",
        resource_version="1",
        job_name="mnist",
        owner_uid="uid-of-mnist",
        attempt=0,
        index=0,
    )
    operator.engine.index.observe_pod(pod)
    assert value(operator, "index_pods") == 1


async def test_a_deletion_at_its_time_is_counted_at_once_and_so_is_a_failed_one(
    operator: Operator,
) -> None:
    """Not by the next run: its policy may be deleted by then, and the count with it."""
    cluster = FakeCluster(SystemClock())
    ended(cluster, "old")
    remover = operator.engine.remover
    remover._jobs = cluster  # type: ignore[misc]
    operator.engine.policies.replace([], "1")
    job = job_view(cluster.job("old"))
    cluster.fail_next("delete_finished_job", ForbiddenError("no right", status=403))
    with pytest.raises(ForbiddenError):
        await remover.remove(job)
    await remover.remove(job)
    assert value(operator, "gc_objects_deleted_total", reason="TTL") == 1
    assert value(operator, "gc_objects_deleted_total", reason="HistoryLimit") == 0
    assert value(operator, "gc_delete_errors_total") == 1


async def test_pauses_of_retention_are_counted_by_cause() -> None:
    clock = AdjustableClock()
    operator = Operator(Settings(), Connection(Configuration(), "default"), clock=clock)

    def holds() -> list[float | None]:
        causes = ("ClockStepped", "StoodStill")
        return [value(operator, "gc_holds_total", cause=cause) for cause in causes]

    beating = asyncio.create_task(operator.engine.guard.run())
    await asyncio.sleep(0)  # the first beat
    assert holds() == [0, 0]
    clock.wall_ns += 86_400 * 10**9
    assert operator.engine.guard.deletions_are_paused()
    assert holds() == [1, 0]
    clock.wall_ns, clock.monotonic_s = clock.wall_ns + 120 * 10**9, clock.monotonic_s + 120
    assert operator.engine.guard.deletions_are_paused()
    assert holds() == [1, 1]
    beating.cancel()
    await operator.gateway.close()


async def test_the_metrics_are_served_beside_the_probes() -> None:
    settings = Settings(web=WebSettings(address="127.0.0.1:0"))
    operator = Operator(settings, Connection(Configuration(), "default"))
    address = await operator.web.start()
    port = address.rpartition(":")[2]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        text = await answer.text()
    await operator.web.stop()
    await operator.gateway.close()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "\ntrainingjob_operator_jobs{" in text
    assert "\nprocess_resident_memory_bytes " in text


async def test_a_pass_is_counted_and_timed(operator: Operator) -> None:
    done = asyncio.Event()

    async def reconcile(_: object) -> None:
        done.set()

    operator.engine.workers._reconcile = reconcile  # type: ignore[misc]
    operator.engine.workers.start()
    operator.engine.queue.add(job().key)
    await done.wait()
    await operator.engine.workers.stop()
    assert value(operator, "reconciles_total") == 1
    assert value(operator, "reconcile_duration_seconds_count") == 1
    assert value(operator, "work_queue_adds_total") == 1


async def test_without_a_record_endpoint_and_a_volume_their_metrics_are_not_exposed() -> None:
    operator = Operator(Settings(), Connection(Configuration(), "default"))
    assert value(operator, "bounded_limit", structure="index") == 20_000
    assert value(operator, "records_stored_total") is None
    assert value(operator, "bounded_limit", structure="retry_cache") is None
    assert value(operator, "bounded_limit", structure="log_queue") is None
    await operator.gateway.close()
