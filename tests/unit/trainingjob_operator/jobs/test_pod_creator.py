"""Creating an attempt: slow start, the order of creation, and the classification of refusals."""

import asyncio
from collections import Counter

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from trainingjob_api.constants import (
    REASON_FORBIDDEN,
    REASON_INVALID_POD_TEMPLATE,
    REASON_QUOTA_EXCEEDED,
)
from trainingjob_api.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubernetesError,
    NotYetReadyError,
    QuotaExceededError,
    RightMissingError,
    UnavailableError,
)
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.naming import owner_prefix
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.jobs.create_errors import LONGEST_RETRY_S
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.pod_creator import PodCreator


class Launch:
    """A job that an operator is about to launch."""

    def __init__(self, nodes: int) -> None:
        self.cluster = FakeCluster(LoopClock())
        self.index = JobIndex(10)
        self._raw = self.cluster.create_job(make_job(nodes=nodes))
        self._job = job_view(self._raw)
        self._nodes = nodes
        self.index.observe_job(self._job)
        self._launcher = PodCreator(self.cluster, self.index, self.cluster.clock, accelerators=())

    @property
    def entry(self) -> JobEntry:
        found = self.index.get(self._job.key)
        assert found is not None
        return found

    @property
    def service_name(self) -> str:
        return owner_prefix(self._job.key.name, self._job.uid)

    @property
    def asked(self) -> Counter[str]:
        return Counter(call.method for call in self.cluster.calls)

    async def launch(self, *ranks: int) -> None:
        spec = parse_spec(self._raw["spec"])
        wanted = ranks or tuple(range(self._nodes))
        await self._launcher.launch(self.entry, self._job, spec, wanted)


@in_simulated_time
async def test_the_service_is_there_before_the_first_rank() -> None:
    launch = Launch(nodes=2)
    await launch.launch()
    assert [call.method for call in launch.cluster.calls] == [
        "create_service",
        "create_pod",
        "create_pod",
    ]
    assert launch.cluster.calls[0].name == launch.service_name


@in_simulated_time
async def test_a_single_rank_has_no_service() -> None:
    launch = Launch(nodes=1)
    await launch.launch()
    assert launch.asked == {"create_pod": 1}


@in_simulated_time
async def test_the_service_is_created_once_for_all_ranks_that_follow() -> None:
    launch = Launch(nodes=3)
    await launch.launch(0)
    await launch.launch(1, 2)
    assert launch.asked == {"create_service": 1, "create_pod": 3}


@in_simulated_time
async def test_what_was_created_is_in_the_index_before_any_watch_tells() -> None:
    launch = Launch(nodes=3)
    await launch.launch()
    assert sorted(pod.index for pod in launch.entry.pods.values()) == [0, 1, 2]
    assert launch.entry.refusal is None


@in_simulated_time
async def test_creation_starts_slowly_and_doubles() -> None:
    launch = Launch(nodes=1000)
    most, at_once = 0, 0
    create = launch.cluster.create_pod

    async def count(manifest: dict[str, object]) -> dict[str, object]:
        nonlocal most, at_once
        at_once += 1
        batches.append(at_once)
        most = max(most, at_once)
        await asyncio.sleep(1)
        at_once -= 1
        return await create(manifest)

    batches: list[int] = []
    launch.cluster.create_pod = count  # type: ignore[method-assign]
    await launch.launch(*range(40))
    assert batches[:7] == [1, 1, 2, 1, 2, 3, 4]
    assert most == 16
    assert len(launch.cluster.pods()) == 40


@in_simulated_time
async def test_a_refusal_in_the_middle_ends_the_launch_with_its_batch() -> None:
    launch = Launch(nodes=1000)
    launch.cluster.pod_quota = 5
    await launch.launch()
    assert launch.asked["create_pod"] == 7, "batches of 1, 2 and 4"
    assert len(launch.cluster.pods()) == 5
    assert len(launch.entry.pods) == 5
    assert launch.entry.refusal is not None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QuotaExceededError("exceeded quota: pods", status=403), REASON_QUOTA_EXCEEDED),
        (ForbiddenError("violates PodSecurity", status=403), REASON_FORBIDDEN),
    ],
    ids=["quota", "admission"],
)
@pytest.mark.parametrize("method", ["create_service", "create_pod"])
def test_a_refusal_is_noted_with_its_reason_and_when_to_ask_again(
    method: str, error: KubernetesError, reason: str
) -> None:
    @in_simulated_time
    async def play() -> None:
        launch = Launch(nodes=2)
        launch.cluster.fail_next(method, error)
        await launch.launch()
        refusal = launch.entry.refusal
        assert refusal is not None
        assert (refusal.reason, refusal.message, refusal.fatal) == (reason, error.message, False)
        wait = refusal.retry_at - launch.cluster.clock.now()
        assert wait.total_seconds() == pytest.approx(LONGEST_RETRY_S)
        assert launch.cluster.pods() == []

    play()


@in_simulated_time
async def test_a_pod_too_large_for_the_store_fails_its_first_attempt_unasked() -> None:
    launch = Launch(nodes=1)
    launch.cluster.fail_next("create_pod", InvalidError("request is too large", status=413))
    await launch.launch()
    refusal = launch.entry.refusal
    assert refusal is not None
    assert (refusal.reason, refusal.fatal) == (REASON_INVALID_POD_TEMPLATE, True)
    assert launch.asked == {"create_pod": 1}


@in_simulated_time
async def test_a_young_namespace_that_is_not_ready_is_retried_soon_and_then_with_back_off() -> (
    None
):
    launch = Launch(nodes=1)
    clock, waits = launch.cluster.clock, []
    for _ in range(9):
        launch.cluster.fail_next("create_pod", NotYetReadyError("no account", status=403))
        await launch.launch()
        refusal = launch.entry.refusal
        assert refusal is not None
        assert refusal.reason == REASON_FORBIDDEN
        waits.append((refusal.retry_at - clock.now()).total_seconds())
        await asyncio.sleep(waits[-1])
    assert waits == pytest.approx(
        [1, 1, 2, 4, 8, 16, 32, LONGEST_RETRY_S, LONGEST_RETRY_S], abs=0.01
    )


@in_simulated_time
async def test_a_missing_right_is_retried_soon_however_old_the_job_is() -> None:
    launch = Launch(nodes=1)
    clock = launch.cluster.clock
    await asyncio.sleep(10_000)

    async def refused(message: str) -> float:
        launch.cluster.fail_next("create_pod", RightMissingError(message, status=403))
        await launch.launch()
        refusal = launch.entry.refusal
        assert refusal is not None
        assert (refusal.reason, refusal.fatal) == (REASON_FORBIDDEN, False)
        return (refusal.retry_at - clock.now()).total_seconds()

    waits = [await refused("cannot create pods") for _ in range(8)]
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST_RETRY_S, LONGEST_RETRY_S]
    assert await refused("cannot create services") == 1
    launch.cluster.fail_next("create_pod", QuotaExceededError("exceeded quota", status=403))
    await launch.launch()
    assert await refused("cannot create pods") == 1, "a quota's minute was another matter"


@in_simulated_time
async def test_the_next_accepted_launch_clears_the_refusal() -> None:
    launch = Launch(nodes=1)
    launch.cluster.pod_quota = 0
    await launch.launch()
    launch.cluster.pod_quota = 1
    await launch.launch()
    assert launch.entry.refusal is None


@in_simulated_time
async def test_a_fault_that_passes_is_raised_and_what_was_created_is_kept() -> None:
    launch = Launch(nodes=2)
    launch.cluster.before["create_pod"] = lambda: launch.cluster.before.update(
        {"create_pod": lambda: launch.cluster.fail_next("create_pod", UnavailableError("sick"))}
    )
    with pytest.raises(UnavailableError):
        await launch.launch()
    assert [pod.index for pod in launch.entry.pods.values()] == [0]
    assert launch.entry.refusal is None


@in_simulated_time
async def test_a_pod_in_the_way_that_went_meanwhile_is_tried_again_later() -> None:
    launch = Launch(nodes=1)
    cluster = launch.cluster
    cluster.fail_next("create_pod", UnavailableError("no answer"), after=True)
    with pytest.raises(UnavailableError):
        await launch.launch()
    cluster.before["get_pod"] = lambda: cluster.lose_pod(cluster.pod())
    with pytest.raises(ConflictError, match="existed and was then deleted"):
        await launch.launch()


@in_simulated_time
async def test_a_service_in_the_way_that_went_meanwhile_is_tried_again_later() -> None:
    launch = Launch(nodes=2)
    cluster = launch.cluster
    cluster.fail_next("create_service", UnavailableError("no answer"), after=True)
    with pytest.raises(UnavailableError):
        await launch.launch()
    cluster.before["get_service"] = cluster.delete_job  # and the Service goes with it
    with pytest.raises(ConflictError, match="existed and was then deleted"):
        await launch.launch()
    assert not launch.entry.has_service
