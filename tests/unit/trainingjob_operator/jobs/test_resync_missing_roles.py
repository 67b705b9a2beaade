"""Several namespaces, one of which has no Role: the others are still served."""

import asyncio
import itertools
import logging

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from tests.support.records.endpoint import FakeEndpoint
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended
from trainingjob_api.errors import UnavailableError
from trainingjob_operator.core.job import JobKey

ML, WEB = JobKey("ml", "mnist"), JobKey("web", "mnist")


def new_cluster() -> FakeCluster:
    cluster = FakeCluster(LoopClock(), namespaces=("ml", "web", "ops"))
    for key in (ML, WEB):
        cluster.create_job(make_job(key.name, namespace=key.namespace))
    return cluster


def new_life(cluster: FakeCluster) -> SimulatedOperator:
    return SimulatedOperator(cluster, namespaces=("web", "ml"))


@pytest.mark.parametrize("method", ["list_jobs", "list_pods"])
def test_the_namespaces_that_can_be_read_are_served_and_the_other_joins_when_its_role_comes(
    method: str,
) -> None:
    @in_simulated_time
    async def play() -> None:
        cluster = new_cluster()
        cluster.forbidden.add((method, "web"))
        async with new_life(cluster) as life:
            await asyncio.sleep(5)
            assert [pod["metadata"]["namespace"] for pod in cluster.pods()].count("ml") == 1
            assert life.resync.runs_total >= 1
            assert len(life.forbidden_lists) == 1
            cluster.forbidden.clear()
            await asyncio.sleep(61)
            assert len(life.forbidden_lists) == 0
            entry = life.index.get(WEB)
            assert entry is not None
            assert entry.pods_known

    play()


@in_simulated_time
async def test_only_forbidden_namespaces_are_listed_again_with_back_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = new_cluster()
    cluster.forbidden.add(("list_jobs", "web"))
    life = SimulatedOperator(cluster, namespaces=("web", "ml"), interval_s=600)
    clock, asked = cluster.clock, []
    with caplog.at_level(logging.INFO, logger="trainingjob_operator.jobs.resync"):
        await life.resync.resync_until_done()
        running = asyncio.create_task(life.resync.keep_in_sync())
        cluster.calls.clear()
        began, known = clock.monotonic(), 0
        while clock.monotonic() - began < 599:
            await asyncio.sleep(0.5)
            if len(cluster.calls) > known:
                known = len(cluster.calls)
                asked.append(clock.monotonic() - began)
        assert {call.name for call in cluster.calls} == {"web"}, "the others are not listed for it"
        gaps = [later - sooner for sooner, later in itertools.pairwise(asked)]
        assert gaps == sorted(gaps)
        assert gaps[-1] == pytest.approx(60, abs=1)
        assert asked[0] <= 3
        await asyncio.sleep(10)  # the regular pass is made when it is due, for all
        assert {call.name for call in cluster.calls} == {"web", "ml"}
        cluster.forbidden.clear()
        await asyncio.sleep(61)
    running.cancel()
    said = [record.getMessage() for record in caplog.records if "namespace web" in record.message]
    assert [line for line in said if "can be listed now" in line] == said[-1:]
    assert 1 <= len(said) - 1 <= 2, "not once for each try"


@in_simulated_time
async def test_no_job_is_taken_for_vanished_while_its_namespace_is_forbidden() -> None:
    cluster = new_cluster()
    life = new_life(cluster)
    await life.resync.resync_until_done()
    cluster.forbidden.add(("list_jobs", "web"))
    cluster.delete_job()
    await life.resync.resync_until_done()
    assert (ML in life.index, WEB in life.index) == (False, True)
    assert life.resync.phantoms_total == 1


@in_simulated_time
async def test_a_server_that_forbids_everything_is_waited_for() -> None:
    cluster = new_cluster()
    cluster.forbidden.update({("list_jobs", "web"), ("list_jobs", "ml")})
    life = new_life(cluster)
    starting = asyncio.create_task(life.resync.resync_until_done())
    await asyncio.sleep(60)
    assert not starting.done()
    cluster.forbidden.remove(("list_jobs", "ml"))
    await asyncio.sleep(3)
    assert starting.done()
    assert ML in life.index


@in_simulated_time
async def test_a_server_that_does_not_answer_is_not_taken_for_a_missing_role() -> None:
    cluster = new_cluster()
    cluster.fail_next("list_jobs", UnavailableError("503"))
    life = new_life(cluster)
    assert not await life.resync._try()
    assert len(life.forbidden_lists) == 0


@in_simulated_time
async def test_records_of_the_other_namespaces_are_found() -> None:
    cluster = new_cluster()
    ended(cluster, "owed", state="Pending")
    ended(cluster, "owed", state="Pending", namespace="web")
    cluster.forbidden.add(("jobs_by_record_state", "web"))
    endpoint = FakeEndpoint(cluster)
    async with SimulatedOperator(cluster, namespaces=("web", "ml"), endpoint=endpoint):
        await asyncio.sleep(20)
        stored = {record["namespace"] for record in endpoint.taken}
        assert "ml" in stored
