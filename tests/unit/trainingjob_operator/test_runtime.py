"""The process as its probes see it, and the steps before it runs."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client import Configuration

from trainingjob_api.errors import SettingsError
from trainingjob_operator import runtime
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.object_watch import ObjectWatch
from trainingjob_operator.runtime import Operator
from trainingjob_operator.settings import Settings


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    """An operator whose first list is complete, without an API server."""
    operator = Operator(Settings(), Connection(Configuration(), "default"))

    async def at_once(readers: object = ()) -> None:
        operator.engine.resync.runs_total += 1

    operator.engine.resync.resync_until_done = at_once  # type: ignore[method-assign]
    yield operator
    await operator._stop()
    await operator.watch_client.close()
    await operator.gateway.close()


async def test_a_process_is_ready_when_it_has_listed_everything_and_hears_of_what_is_new(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert operator.engine.liveness_problem() is None
    assert operator.readiness_problem() == "the first list of jobs and pods is not complete"
    await operator._start()
    assert operator.engine.liveness_problem() is None
    assert operator.readiness_problem() == "the watch of jobs is not open yet"
    begun = [operator.job_watch]
    has_begun = property(lambda watch: watch in begun)
    monkeypatch.setattr(ObjectWatch, "has_begun", has_begun)
    assert operator.readiness_problem() == "the watch of pods is not open yet"
    begun.append(operator.pod_watch)
    assert operator.readiness_problem() is None


@pytest.mark.parametrize("name", ["resync", "events", "clock-guard", "job-watch", "pod-watch"])
async def test_a_dead_task_fails_both_probes(operator: Operator, name: str) -> None:
    await operator._start()
    victim = next(task for task in operator.engine._tasks if task.get_name() == name)
    victim.cancel()
    await asyncio.wait([victim])
    assert operator.engine.liveness_problem() == f"a task has died: {name}"
    assert operator.readiness_problem() == f"a task has died: {name}"


async def test_a_dead_worker_fails_the_probe(operator: Operator) -> None:
    await operator._start()
    victim = operator.engine.workers._tasks[0]
    victim.cancel()
    await asyncio.wait([victim])
    assert operator.engine.liveness_problem() == "a worker has died"


async def test_a_process_that_stops_is_well_but_not_ready(operator: Operator) -> None:
    await operator._start()
    await operator._stop()
    assert operator.engine.liveness_problem() is None
    assert operator.readiness_problem() == "stopping"


async def test_what_was_imported_is_not_looked_through_for_garbage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nowhere(kubeconfig: str | None, context: str | None) -> Connection:
        raise SettingsError("there is no API server")

    monkeypatch.setattr(runtime, "connect", nowhere)
    gc.unfreeze()  # what the tests have frozen themselves
    try:
        with pytest.raises(SettingsError):
            await runtime.run(Settings(), kubeconfig=None, context=None)
        assert gc.get_freeze_count() > 10 * len(gc.get_objects())
    finally:
        gc.freeze()
